"""Every assignment: its notebooks, and the gates that make its grades worth trusting."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from autograder import gates
from autograder.assignment import HERE, Assignment, assignment_names, build, check_assignment, read_assignment
from autograder.image import build_course
from autograder.sandbox import Sandbox

ASSIGNMENTS = {name: read_assignment(name) for name in assignment_names()}
MUTANTS = [(name, mutant) for name, assignment in ASSIGNMENTS.items() for mutant in gates.mutants(assignment)]
ACCEPTED = [(name, way, notebook) for name, a in ASSIGNMENTS.items() for way, notebook in gates.accepted(a)]


def needing_data(name: str, *rest: object, id: str | None = None) -> ParameterSet:
    """A case that grades an assignment, which for some of them takes a data set."""
    needed = ASSIGNMENTS[name].data
    return pytest.param(name, *rest, id=id or name, marks=[pytest.mark.needs_data(*needed)] if needed else [])


GRADED = [needing_data(name) for name in ASSIGNMENTS]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Sandbox]]:
    """A sandbox for each assignment, with its course_lib."""
    running = {}
    for name, assignment in ASSIGNMENTS.items():
        course = build_course(assignment.course.get("withheld", []), tmp_path_factory.mktemp(name))
        running[name] = Sandbox(course, beside=assignment.beside)
    yield running
    for box in running.values():
        box.close()


def automatic(assignment: Assignment) -> dict[str, float]:
    """The points that tests give, by task."""
    return {name: cell.metadata["points"] for name, cell in assignment.cells("grade")}


@pytest.mark.parametrize("name", GRADED)
def test_reference_scores_everything_and_the_suite_is_worth_what_the_notebook_says(name: str, boxes: dict) -> None:
    assignment = ASSIGNMENTS[name]
    result = gates.grade_notebook(assignment, assignment.solved(), boxes[name])
    assert [(test.name, test.message) for test in result.tests if not test.passed] == []
    assert result.cell_errors == []
    assert {task: result.worth(task) for task in {test.task for test in result.tests}} == automatic(assignment)


@pytest.mark.parametrize("name", GRADED)
def test_untouched_release_scores_nothing(name: str, boxes: dict) -> None:
    result = gates.grade_notebook(ASSIGNMENTS[name], ASSIGNMENTS[name].released(), boxes[name])
    assert result.score() == 0 and len(result.tests) > 0
    assert not any(test.review for test in result.tests)


@pytest.mark.parametrize(
    ("name", "mutant"), [needing_data(n, m, id=f"{n.split('_')[0]}: {m.name}") for n, m in MUTANTS]
)
def test_every_mutant_fails_its_test_with_a_message_that_names_the_mistake(
    name: str, mutant: gates.Mutant, boxes: dict
) -> None:
    assignment = ASSIGNMENTS[name]
    result = gates.grade_notebook(assignment, gates.mutated(assignment, mutant), boxes[name], only=[mutant.fails])
    (test,) = result.tests
    assert not test.passed, "survived"
    assert mutant.says in test.message


@pytest.mark.parametrize(
    ("name", "notebook"), [needing_data(n, notebook, id=f"{n.split('_')[0]}: {way}") for n, way, notebook in ACCEPTED]
)
def test_other_correct_answers_score_everything(name: str, notebook, boxes: dict) -> None:
    result = gates.grade_notebook(ASSIGNMENTS[name], notebook, boxes[name])
    assert [(test.name, test.message) for test in result.tests if not test.passed] == [] and result.cell_errors == []


EARLIER = [
    ("a01_closed_form", "one_step", "sp.sqrt(1 - alpha) * eps", "(1 - alpha) * eps", ["test_two_steps_substitution"]),
    ("a02_mnist_ddpm", "q_sample", "(1 - a).sqrt()", "(1 - a)", ["test_loss_asks_about_random_times_and_noise", "test_loss_value"]),
    ("a03_noise_schedules", "log_snr", "alpha_bar[1:].log() -", "alpha_bar[1:].log10() -", ["test_share"]),
    ("a04_score_equivalence", "mixture", "weights.log()", "0", ["test_mixture_score", "test_mixture_far_from_all_means"]),
    ("a04_score_equivalence", "average", "math.sqrt(alpha_bar) * data", "data", ["test_expected_score"]),
    ("a05_cifar_cfg", "formulas", "eps_null + s * (eps_class - eps_null)", "s * (eps_class - eps_null)", ["test_guided", "test_sampler"]),
    ("a05_cifar_cfg", "guided", "both.chunk(2)", "both.chunk(2)[::-1]", ["test_sampler"]),
    ("a05_cifar_cfg", "step", ".clamp(-1, 1)", "", ["test_sampler"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "cell", "old", "new", "later"), [needing_data(*case, id=f"{case[0][:3]}: {case[1]}") for case in EARLIER]
)
def test_a_mistake_costs_no_later_task(name: str, cell: str, old: str, new: str, later: list[str], boxes: dict) -> None:
    assignment = ASSIGNMENTS[name]
    notebook = assignment.solved()
    source = gates.cell_named(notebook, cell).source
    assert old in source
    gates.cell_named(notebook, cell).source = source.replace(old, new, 1)
    own = [mutant.fails for mutant in gates.mutants(assignment) if mutant.cell == cell]
    result = gates.grade_notebook(assignment, notebook, boxes[name], only={*own, *later})
    passed = {test.name: test.passed for test in result.tests}
    assert not all(passed[test] for test in own), "the mistake should cost points"
    assert all(passed[test] for test in later), [test.message for test in result.tests]


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_there_are_enough_mutants_and_other_answers(name: str) -> None:
    found = gates.mutants(ASSIGNMENTS[name])
    assert len(found) >= 15 and len({m.name for m in found}) == len(found)
    assert len([1 for n, _, _ in ACCEPTED if n == name]) >= 4


# --- the notebooks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_build_writes_the_same_bytes_and_hides_every_solution(name: str, tmp_path: Path) -> None:
    first, second = ([(f.relative_to(tmp_path / k), f.read_bytes()) for f in build(name, tmp_path / k)] for k in "ab")
    assert first == second
    release = tmp_path / "a" / "release" / name
    text = (release / "topic.ipynb").read_text()
    assert "SOLUTION" not in text
    for cell_name, cell in ASSIGNMENTS[name].cells("solution"):
        inside = cell.source.split("### BEGIN SOLUTION\n")[1].split("    ### END SOLUTION")[0]
        assert json.dumps(inside)[1:-1] not in text, cell_name
    solved = (tmp_path / "a" / "solved" / name / "topic.ipynb").read_text()
    assert "SOLUTION" not in solved and "raise NotImplementedError" not in solved and HERE not in solved


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_notebooks_carry_what_nbgrader_reads(name: str) -> None:
    assignment = ASSIGNMENTS[name]
    for notebook in (assignment.released(), assignment.solved()):
        graded = {}
        for cell in notebook.cells:
            found = cell.metadata.get("nbgrader", {})
            if found.get("grade"):
                graded[found["grade_id"]] = found["points"]
                assert found["locked"] != found["solution"]
        assert sum(graded.values()) == 100
        assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_an_assignment_is_found_by_its_number_and_an_unknown_one_is_named() -> None:
    assert read_assignment("a01").name == "a01_closed_form"
    with pytest.raises(ValueError, match="assignment must be one of a01_closed_form.*; got 'a99'"):
        read_assignment("a99")


def test_malformed_assignments_are_refused() -> None:
    def changed(change) -> Assignment:
        assignment = read_assignment("a01")
        change(assignment)
        return assignment

    def points(assignment: Assignment) -> None:
        assignment.cells("grade")[0][1].metadata["points"] = 9

    def twice(assignment: Assignment) -> None:
        assignment.cells("solution")[0][1].metadata["solution"] = "two_steps"

    def unmarked(assignment: Assignment) -> None:
        assignment.cells("solution")[0][1].source = "pass"

    for change, message in (
        (points, "add up to 101 and not to 100"),
        (twice, "two solution cells have the same name"),
        (unmarked, "the cell one_step marks no solution"),
        (lambda a: a.course.pop("title"), "lacks title"),
    ):
        with pytest.raises(ValueError, match=message):
            check_assignment(changed(change))
