# tries: claim to have changed arguments that there are not, by numbers that are none
from autograder.sandbox.inside import service

honest = service.attempt
service.attempt = lambda student, request: {**honest(student, request), "changed": [-1, 10**30, True, 5] * 1000}
