"""Assignment 3: its public check and its hidden tests agree, files that are not honest, and figures that its suite takes for granted."""

import importlib.util
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from autograder.assignment.library import build_course
from autograder.assignment.source import read_assignment, to_bytes
from autograder.assignment.submission import read_submission
from autograder.grading import mutants
from autograder.grading.one import grade
from autograder.grading.result import Result
from autograder.sandbox.outside import Sandbox
from autograder.testing.suite import given
from course_lib.diffusion import schedules

A03 = read_assignment("a03")
OWN = ("test_mine_is_a_schedule", "test_mine_is_neither_of_the_others")
EXPERIMENT = ("test_networks_draw_digits", "test_file_says_what_the_networks_do", "test_verdict")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with the course_lib of assignment 3."""
    course = build_course(A03.course["withheld"], tmp_path_factory.mktemp("a03"))
    with Sandbox(course, given=A03.given) as running:
        yield running


@pytest.fixture(scope="module")
def suite() -> dict[str, Any]:
    """What the file of the hidden tests holds."""
    spec = importlib.util.spec_from_file_location("suite_of_a03", A03.suite / "test_a03.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return vars(module)


@pytest.fixture(scope="module")
def checks() -> ModuleType:
    """The public checks."""
    return given(A03.name, "checks")


def failed(result: Result) -> dict[str, str]:
    """What the tests say that failed."""
    return {test.name: test.message for test in result.tests if not test.passed}


# --- one's own schedule ------------------------------------------------------------------------------------------------------

LOGISTIC = "return torch.cat([torch.ones(1).double(), torch.sigmoid(torch.linspace({0}, dtype=torch.float64)){1}])"
WAYS = {
    "a straight line in log-SNR from t = 1": (LOGISTIC.format("8, -8, T", ""), True),
    "a straight line in log-SNR from t = 0": (LOGISTIC.format("8, -8, T + 1", "[1:]"), True),
    "a steep line in log-SNR": (LOGISTIC.format("12, -12, T + 1", "[1:]"), True),
    "in single precision": ("return torch.cat([torch.ones(1), torch.linspace(8, -8, T).sigmoid()])", True),
    "a straight line": ("return 1 - 0.99 * torch.arange(T + 1, dtype=torch.float64) / T", True),
    "a parabola": ("return (1 - 0.95 * torch.arange(T + 1, dtype=torch.float64) / T) ** 2", True),
    "exponential": ("return torch.exp(-5 * torch.arange(T + 1, dtype=torch.float64) / T)", True),
    "the linear schedule": ("return linear_schedule(T, 0.1 / T, 20 / T)", False),
    "the cosine schedule": ("return cosine_schedule(T)", False),
    "nearly the cosine schedule": ("return cosine_schedule(T, 0.045)", False),
    "betas that do not know T": ("return linear_schedule(T, 1e-3, 0.2)", False),
    "an end at 0": ("return 1 - torch.arange(T + 1, dtype=torch.float64) / T", False),
    "an end above 0.01": ("return 1 - 0.98 * torch.arange(T + 1, dtype=torch.float64) / T", False),
    "a first step that is large": (LOGISTIC.format("1, -8, T", ""), False),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_public_check_of_ones_own_schedule_is_the_hidden_test(way: str, box: Sandbox, checks: ModuleType) -> None:
    body, right = WAYS[way]
    notebook, names = A03.solved(), ("linear", "cosine")
    source = f"def my_schedule(T):\n    {body}"
    mutants.cell_named(notebook, "mine").source = source
    student: dict[str, Any] = {"torch": torch, "math": math}
    for code in (*(mutants.cell_named(notebook, name).source for name in names), source):
        exec(code, student)
    passes = True
    try:
        checks.mine(student["my_schedule"])
    except AssertionError:
        passes = False
    hidden = failed(mutants.grade_notebook(A03, notebook, box, only=OWN))
    assert passes == (not hidden) == right, hidden


def test_the_public_check_knows_the_other_two_schedules(checks: ModuleType) -> None:
    for name, known in checks.OTHERS.items():
        alpha_bar = getattr(schedules, name)(1000).alpha_bar[100:901:100]
        assert torch.allclose(torch.logit(alpha_bar), torch.tensor(known, dtype=torch.float64), atol=5.1e-5)


# --- the experiment ------------------------------------------------------------------------------------------------------------


def reference() -> dict[str, Tensor]:
    """The tensors of the reference's file."""
    return {name: value.clone() for name, value in load(A03.reference["experiment.safetensors"]).items()}


def swapped(file: dict[str, Tensor]) -> None:
    for name in [name for name in file if name.startswith("linear.network.")]:
        other = name.replace("linear", "cosine")
        file[name], file[other] = file[other].clone(), file[name].clone()


def copied(file: dict[str, Tensor]) -> None:
    for name in [name for name in file if name.startswith("linear.")]:
        file[name] = file[name.replace("linear", "mine")].clone()


def untrained(file: dict[str, Tensor]) -> None:
    torch.manual_seed(0)
    for name in [name for name in file if name.startswith("mine.network.")]:
        file[name] = file[name] + 0.1 * torch.randn_like(file[name])


def another_distance(file: dict[str, Tensor]) -> None:
    file["cosine.distances"][2] *= 0.6


def another_loss(file: dict[str, Tensor]) -> None:
    file["cosine.losses"][-1] *= 0.5


def none(file: dict[str, Tensor]) -> None:
    del file["mine.losses"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (swapped, dict.fromkeys(EXPERIMENT, "a network of its own")),
        (copied, dict.fromkeys(EXPERIMENT, "a network of its own")),
        (untrained, dict.fromkeys(EXPERIMENT, "a network of its own")),
        (another_distance, {EXPERIMENT[1]: "the distances of cosine in the file are not what its network gives"}),
        (another_loss, {EXPERIMENT[1]: "the last training loss of cosine in the file is not the loss of its network"}),
        (none, dict.fromkeys(EXPERIMENT[1:], "lacks mine.losses")),
    ],
)
def test_a_file_that_is_not_honest_costs_what_it_is_not_honest_in(
    change: Callable[[dict[str, Tensor]], None], says: dict[str, str], box: Sandbox
) -> None:
    change(file := reference())
    result = mutants.grade_notebook(A03, A03.solved(), box, {"experiment.safetensors": save(file)}, EXPERIMENT)
    found = failed(result)
    assert found.keys() == says.keys() and all(text in found[name] for name, text in says.items()), found


def carried(file: dict[str, Tensor], experiment: ModuleType, name: str) -> None:
    """Weights of the reference's that see digits in another ink as if they were in its own: first and last layer are scaled by pixel."""
    scale = experiment.pen(mutants.STUDENT) / experiment.pen(name)
    for which in ("linear", "cosine", "mine"):
        file[f"{which}.network.first.weight"] *= scale
        file[f"{which}.network.last.weight"] /= scale[:, None]
        file[f"{which}.network.last.bias"] /= scale


@pytest.mark.parametrize("way", ["as published", "carried over"])
def test_networks_of_somebody_else_are_worth_nothing(way: str, box: Sandbox, tmp_path: Path) -> None:
    file, notebook = reference(), A03.solved()
    if way == "carried over":
        carried(file, given(A03.name, "experiment"), "ada")
    mutants.cell_named(notebook, "NAME").source = 'NAME = "ada"'
    (tmp_path / "topic.ipynb").write_bytes(to_bytes(notebook))
    (tmp_path / "experiment.safetensors").write_bytes(save(file))
    submission = read_submission(tmp_path / "topic.ipynb", A03.files, "ada")
    result = grade(submission, A03.suite, A03.name, box, mutants.SECRET, A03.limits, EXPERIMENT)
    assert result.score() == 0
    assert all("in digits of other inks as well as in those of yours" in test.message for test in result.tests)


def test_a_network_that_stopped_early_is_worse_than_a_straight_line(box: Sandbox) -> None:
    experiment, file = given(A03.name, "experiment"), reference()
    student: dict[str, Any] = {"torch": torch}
    exec(mutants.cell_named(A03.solved(), "loss").source, student)
    alpha_bar = schedules.linear(1000).alpha_bar
    # It knows its ink by then (0.52 of the loss in others; 0.6 is the bound), and is 1.28 times as far off as a straight line (1.1).
    network, losses = experiment.train(student["loss"], alpha_bar, mutants.STUDENT, steps=500)
    file |= {f"linear.network.{name}": value.detach().clone() for name, value in network.state_dict().items()}
    file |= {"linear.losses": losses.repeat(6)}
    result = mutants.grade_notebook(A03, A03.solved(), box, {"experiment.safetensors": save(file)}, EXPERIMENT[:1])
    assert "the network of linear misses the noise by" in failed(result)[EXPERIMENT[0]]


def test_a_wrong_choice_of_times_costs_no_experiment(box: Sandbox) -> None:
    notebook = A03.solved()
    cell = mutants.cell_named(notebook, "spaced")
    cell.source = cell.source.replace(".round().long()", ".floor().long()")
    assert set(failed(mutants.grade_notebook(A03, notebook, box))) == {"test_spaced"}


# --- what the suite takes for granted ----------------------------------------------------------------------------------------


def test_the_best_straight_line_guess_is_what_least_squares_finds(suite: dict[str, Any]) -> None:
    """For one time: the affine map from x_t to the noise that fits 90,000 pairs best leaves as large an error."""
    a, x0 = 0.6, suite["experiment"].images("ada").double().repeat(50, 1)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_t = torch.cat([a**0.5 * x0 + (1 - a) ** 0.5 * noise, torch.ones(len(x0), 1, dtype=torch.float64)], 1)
    fit = torch.linalg.solve(x_t.T @ x_t, x_t.T @ noise)
    error = (x_t @ fit - noise).square().mean()
    table = torch.tensor([1.0, a], dtype=torch.float64)
    assert suite["straight_line"](table, "ada") == pytest.approx(float(error), rel=0.003)


def test_a_message_shows_that_a_number_is_too_large(suite: dict[str, Any]) -> None:
    assert suite["above"](1.2004, 1.2) == "1.2004" and suite["above"](4.0, 1.0) == "4.00"


def test_luck_and_power_are_stated(suite: dict[str, Any]) -> None:
    stated = {name: test.power for name, test in suite.items() if hasattr(test, "points")}
    fails = {mutant.name: mutant.fails for mutant in mutants.mutants(A03)}
    assert all(fails[smallest] == name for name, (smallest, _) in stated.items())
    assert sum(luck for _, luck in stated.values()) <= 1e-4
