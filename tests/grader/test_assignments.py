"""Every assignment: its notebooks, and the gates that make its grades worth trusting."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from nbformat import NotebookNode
from safetensors.torch import load, load_file, save

from autograder.assignment.library import build_course
from autograder.assignment.source import (
    HERE,
    Assignment,
    assignment_names,
    build,
    check_assignment,
    read_assignment,
    to_bytes,
)
from autograder.grading import mutants
from autograder.sandbox.outside import Sandbox
from autograder.testing.suite import given

ASSIGNMENTS = {name: read_assignment(name) for name in assignment_names()}
MUTANTS = [(name, mutant) for name, assignment in ASSIGNMENTS.items() for mutant in mutants.mutants(assignment)]
ACCEPTED = [(name, way, notebook) for name, a in ASSIGNMENTS.items() for way, notebook in mutants.accepted(a)]


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
        running[name] = Sandbox(course, given=assignment.given)
    yield running
    for box in running.values():
        box.close()


def automatic(assignment: Assignment) -> dict[str, float]:
    """The points that tests give, by task."""
    return {name: cell.metadata["points"] for name, cell in assignment.cells("grade")}


@pytest.mark.parametrize("name", GRADED)
def test_reference_scores_everything_and_the_suite_is_worth_what_the_notebook_says(name: str, boxes: dict) -> None:
    assignment = ASSIGNMENTS[name]
    result = mutants.grade_notebook(assignment, assignment.solved(), boxes[name])
    assert [(test.name, test.message) for test in result.tests if not test.passed] == []
    assert result.cell_errors == []
    assert {task: result.worth(task) for task in {test.task for test in result.tests}} == automatic(assignment)


@pytest.mark.parametrize("name", GRADED)
def test_untouched_release_scores_nothing(name: str, boxes: dict) -> None:
    result = mutants.grade_notebook(ASSIGNMENTS[name], ASSIGNMENTS[name].released(), boxes[name])
    assert result.score() == 0 and len(result.tests) > 0
    assert not any(test.review for test in result.tests)


@pytest.mark.parametrize(
    ("name", "mutant"), [needing_data(n, m, id=f"{n.split('_')[0]}: {m.name}") for n, m in MUTANTS]
)
def test_every_mutant_fails_its_test_with_a_message_that_names_the_mistake(
    name: str, mutant: mutants.Mutant, boxes: dict
) -> None:
    assignment = ASSIGNMENTS[name]
    result = mutants.grade_notebook(assignment, mutants.mutated(assignment, mutant), boxes[name], only=[mutant.fails])
    (test,) = result.tests
    assert not test.passed, "survived"
    assert mutant.says in test.message


@pytest.mark.parametrize(
    ("name", "notebook"), [needing_data(n, notebook, id=f"{n.split('_')[0]}: {way}") for n, way, notebook in ACCEPTED]
)
def test_other_correct_answers_score_everything(name: str, notebook, boxes: dict) -> None:
    result = mutants.grade_notebook(ASSIGNMENTS[name], notebook, boxes[name])
    assert [(test.name, test.message) for test in result.tests if not test.passed] == [] and result.cell_errors == []


EARLIER = [
    ("a01_closed_form", "one_step", "sp.sqrt(1 - alpha) * eps", "(1 - alpha) * eps", ["test_two_steps_substitution"]),
    ("a01_closed_form", "one_step", "return sp.sqrt", "return oops.sqrt", ["test_two_steps_substitution", "test_two_steps_swapped"]),
    ("a01_closed_form", "two_steps", '"simplified": 1', '"simplified": sp.Symbol("a")', ["test_two_steps_substitution"]),
    ("a02_mnist_ddpm", "q_sample", "(1 - a).sqrt()", "(1 - a)", ["test_loss_asks_about_random_times_and_noise", "test_loss_value"]),
    ("a02_mnist_ddpm", "step", "math.sqrt((1 - before) / (1 - bar) * beta)", "beta",
     ["test_sample_visits_every_time", "test_sample_takes_the_right_mean", "test_sample_adds_the_right_noise",
      "test_sample_is_random_and_within_bounds"]),
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
    source = mutants.cell_named(notebook, cell).source
    assert old in source
    mutants.cell_named(notebook, cell).source = source.replace(old, new, 1)
    own = [mutant.fails for mutant in mutants.mutants(assignment) if mutant.cell == cell]
    result = mutants.grade_notebook(assignment, notebook, boxes[name], only={*own, *later})
    passed = {test.name: test.passed for test in result.tests}
    assert not all(passed[test] for test in own), "the mistake should cost points"
    assert all(passed[test] for test in later), [test.message for test in result.tests]


THROUGH = [  # tasks that are answered through an earlier one, which is wrong
    (
        "a01_closed_form",
        {
            "snr": "def snr(a, c): return sp.sqrt(a / (1 - a + c))\ndef log_snr(a, c): return sp.log(snr(a, c))\n"
            "def alpha_bar_of(value, c): return (1 + c) / (1 + sp.exp(-value))"
        },
        "test_snr",
        ["test_log_snr", "test_alpha_bar_of"],
    ),
    (
        "a01_closed_form",
        {
            "induction": "def induction(bar, c, a, s): return {'noise_variance': 1.0, 'extra': c + s**2, 'total': 1.0}",
            "limit": "def limit(x0, beta, sigma, t):\n    bar, c = 1, 0\n    for _ in range(t):\n"
            "        bar, c = bar * (1 - beta), induction(bar, c, 1 - beta, sigma)['extra']\n"
            "    return {'mean': bar**0.5 * x0, 'variance': 1 - bar + c, 'limit_mean': 0, 'limit_variance': 1 + sigma**2 / beta}",
        },
        "test_induction_extra",
        ["test_limit_after_t_steps", "test_limit_in_the_end"],
    ),
    (
        "a04_score_equivalence",
        {
            "convert": "def eps_to_score(eps, a): return eps\ndef score_to_eps(score, a): return score",
            "tweedie": "def tweedie(x, score, a):\n    b = a.reshape(-1, *[1] * (x.ndim - 1))\n"
            "    return (x - (1 - b).sqrt() * score_to_eps(score, a)) / b.sqrt()",
        },
        "test_score_to_eps",
        ["test_tweedie"],
    ),
]


@pytest.mark.parametrize(("name", "cells", "own", "later"), [pytest.param(*case, id=case[0][:3]) for case in THROUGH])
def test_an_answer_through_a_wrong_one_is_right(
    name: str, cells: dict[str, str], own: str, later: list[str], boxes: dict
) -> None:
    notebook = ASSIGNMENTS[name].solved()
    for cell, source in cells.items():
        mutants.cell_named(notebook, cell).source = source
    result = mutants.grade_notebook(ASSIGNMENTS[name], notebook, boxes[name], only={own, *later})
    assert {test.name: test.passed for test in result.tests} == {own: False, **dict.fromkeys(later, True)}


def test_an_experiment_with_a_wrong_table_is_honest(boxes: dict) -> None:
    """A mistake in a schedule costs that schedule's points: the experiment with it, and what it shows, are another matter."""
    assignment, wrong = ASSIGNMENTS["a03_noise_schedules"], "beta_min=1e-4, beta_max=0.01"
    notebook = assignment.solved()
    cell = mutants.cell_named(notebook, "linear")
    cell.source = cell.source.replace("beta_min=1e-4, beta_max=0.02", wrong)
    student: dict = {}
    for name in ("linear", "spaced", "loss"):
        exec("import torch\n" + mutants.cell_named(notebook, name).source, student)
    experiment = given(assignment.name, "experiment")
    found = experiment.run({"linear": student["linear_schedule"]}, student["loss"], student["spaced"], mutants.STUDENT)
    with tempfile.TemporaryDirectory() as folder:
        experiment.save(Path(folder) / "linear", found)
        tensors = {**load(assignment.reference["experiment.safetensors"]), **load_file(Path(folder) / "linear")}
    ratio = float(tensors["linear.distances"][0] / tensors["cosine.distances"][0])
    last = {name: float(tensors[f"{name}.losses"][-1]) for name in ("linear", "cosine", "mine")}
    verdict = mutants.cell_named(notebook, "verdict")
    verdict.source = verdict.source.replace("1.65", str(ratio)).replace(
        'lowest_loss = "linear"', f'lowest_loss = "{min(last, key=lambda name: last[name])}"'
    )
    files = {"experiment.safetensors": save({name: value.clone() for name, value in tensors.items()})}
    names = {"test_linear", "test_networks_draw_digits", "test_file_says_what_the_networks_do", "test_verdict"}
    result = mutants.grade_notebook(assignment, notebook, boxes[assignment.name], files, names)
    assert [test.name for test in result.tests if not test.passed] == ["test_linear"], result.tests


def test_an_own_schedule_may_end_at_a_hundredth(boxes: dict) -> None:
    assignment = ASSIGNMENTS["a03_noise_schedules"]
    notebook = assignment.solved()
    source = "def my_schedule(T): return 1 - 0.99 * torch.arange(T + 1, dtype=torch.float64) / T"
    mutants.cell_named(notebook, "mine").source = source
    result = mutants.grade_notebook(assignment, notebook, boxes[assignment.name], only={"test_mine_is_a_schedule"})
    assert result.score() == 5 and result.cell_errors == []


@pytest.mark.needs_data("mnist")
def test_the_name_of_a_student_may_be_written_with_capitals(boxes: dict) -> None:
    assignment = ASSIGNMENTS["a02_mnist_ddpm"]
    notebook = assignment.solved()
    mutants.cell_named(notebook, "NAME").source = 'NAME = " Reference"'
    name = "test_network_knows_your_ink_in_a_little_noise"
    result = mutants.grade_notebook(assignment, notebook, boxes[assignment.name], only=[name])
    assert result.score() == 7, result.tests


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_there_are_enough_mutants_and_other_answers(name: str) -> None:
    found = mutants.mutants(ASSIGNMENTS[name])
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


def test_validate_says_what_the_public_checks_say(tmp_path: Path) -> None:
    """In JupyterLab students press Validate, which runs the notebook and looks at graded cells alone."""
    assert "Success! Your notebook passes all the tests." in validated(
        ASSIGNMENTS["a01_closed_form"].solved(), tmp_path
    )


def test_what_a_check_says_stands_alone_in_validate(tmp_path: Path) -> None:
    """And an error in the answer keeps its lines, without those of the check's decorator."""
    notebook = ASSIGNMENTS["a01_closed_form"].released()
    mutants.cell_named(notebook, "one_step").source = "def one_step(x_prev, alpha, sigma, eps, xi): return x_prev"
    mutants.cell_named(notebook, "two_steps").source = "def two_steps(*args): return 1 / 0"
    mutants.cell_named(notebook, "limit").source = "def limit(*args): raise AssertionError('mine')"
    said = re.split(r"=+\nThe following cell failed:\n", validated(notebook, tmp_path))
    wrong, broken, missing, own = (part.split("The error was:")[1].strip() for part in said[1:5])
    assert wrong == "with no noise, x_t = sqrt(alpha) x_{t-1}: for alpha = 0.81 that is 0.9 (got 1.0000)"
    assert "return 1 / 0" in broken and "checking.py" not in broken
    assert missing == "write induction, then run this cell again"
    assert own.startswith("---") and own.endswith("AssertionError: mine")


def validated(notebook: NotebookNode, folder: Path) -> str:
    """What `nbgrader validate` says of a notebook of assignment 1."""
    release = build("a01", folder)[0].parent
    (release / "topic.ipynb").write_bytes(to_bytes(notebook))
    command = [Path(sys.executable).parent / "nbgrader", "validate", "topic.ipynb"]
    return subprocess.run(command, cwd=release, capture_output=True, text=True, check=True).stdout


def test_an_assignment_is_found_by_its_number_and_an_unknown_one_is_named() -> None:
    assert read_assignment("a01").name == "a01_closed_form"
    with pytest.raises(ValueError, match="assignment must be one of a01_closed_form.*; got 'a99'"):
        read_assignment("a99")


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_the_header_is_read_as_jupytext_reads_it(name: str) -> None:
    assert ASSIGNMENTS[name].course == ASSIGNMENTS[name].notebook.metadata["course"]


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
        for use in (check_assignment, Assignment.released, Assignment.solved):
            with pytest.raises(ValueError, match=message):
                use(changed(change))
