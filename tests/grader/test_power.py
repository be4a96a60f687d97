"""What hidden tests promise: each says which smallest mistake it must catch, and how often luck refuses a right answer."""

import pytest

from autograder.assignment.source import assignment_names, read_assignment
from autograder.grading import mutants
from tools import power

TESTS = [(name, test) for name in assignment_names() for test in power.tests(read_assignment(name)).values()]


@pytest.mark.parametrize(("name", "test"), [pytest.param(n, t, id=f"{n[:3]}: {t.__name__}") for n, t in TESTS])
def test_it_names_the_smallest_mistake_that_it_must_catch(name: str, test: object) -> None:
    smallest, luck = test.power  # type: ignore[attr-defined]
    promised = {mutant.name: mutant for mutant in mutants.mutants(read_assignment(name))}
    assert promised[smallest].fails == test.__name__  # type: ignore[attr-defined]
    assert 0 <= luck <= 1e-4


@pytest.mark.parametrize("name", assignment_names())
def test_luck_refuses_hardly_any_right_submission(name: str) -> None:
    assert sum(test.power[1] for assignment, test in TESTS if assignment == name) <= 1e-4


@pytest.mark.parametrize("name", assignment_names())
def test_there_are_mistakes_and_right_answers_enough(name: str) -> None:
    assignment = read_assignment(name)
    assert len(mutants.mutants(assignment)) >= 45 and len(list(mutants.accepted(assignment))) >= 8


def test_power_is_measured_as_the_grader_grades() -> None:
    """With no sandbox, but the same verdicts: the reference passes, and the smallest mistake of each test does not."""
    assignment = read_assignment("a01")
    name, test = next((name, test) for name, test in power.tests(assignment).items() if name == "test_one_step_noise")
    handed_in = power.submission(assignment, assignment.solved())
    assert power.refused(assignment, handed_in, {name}, range(3))[0][name] == 0
    promised = {mutant.name: mutant for mutant in mutants.mutants(assignment)}
    wrong = power.submission(assignment, mutants.mutated(assignment, promised[test.power[0]]))
    assert power.refused(assignment, wrong, {name}, range(3))[0][name] == 3
