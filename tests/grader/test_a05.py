"""Assignment 5: how rarely chance fails a right answer, which curves are taken as they are, and what the library does not answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from nbformat.v4 import new_code_cell
from safetensors.torch import load, save
from scipy.stats import binom, chi2

from autograder.assignment.library import build_course
from autograder.assignment.source import read_assignment
from autograder.grading import mutants
from autograder.sandbox.outside import Sandbox
from autograder.suites.a05_cifar_cfg import test_a05 as suite
from autograder.testing.answers import Wrong

ASSIGNMENT = read_assignment("a05")


def outside(n: int, p: float, off: float) -> float:
    """How often the share of n coins that show heads is at least `off` away from p."""
    return float(binom.cdf(int(n * (p - off)), n, p) + binom.sf(int(n * (p + off)) - 1, n, p))


def test_luck_of_the_share_is_what_the_test_states() -> None:
    known = [(round(suite.LABELS * (1 - gaps / 100)), gaps / 100) for gaps in range(15, 31)]
    second = max(
        outside(count, suite.chance(share / 100, gaps), suite.OFF) for count, gaps in known for share in range(45, 61)
    )
    luck = outside(suite.LABELS, 0.1, suite.OFF) + second
    assert 0 < luck <= suite.test_drop_share.power[1]  # type: ignore[attr-defined]


def test_luck_of_labels_on_their_own_is_what_the_test_states() -> None:
    known, p = 3 * suite.LABELS // 4, 0.3
    shift = 0.025  # how far the share itself may be off, to which the bounds are relative
    share = outside(known, p, shift)
    classes = 10 * outside(known // 10, p, suite.CLASS_OFF - shift)
    # Pairs that share no label are independent, and all neighbours are two such halves.
    pairs = 2 * outside(known // 2, p**2, suite.PAIR_OFF - (p + shift) ** 2 + p**2)
    degrees, (low, high) = suite.CALLS - 1, suite.SPREAD
    spread = float(chi2.cdf(degrees * low, degrees) + chi2.sf(degrees * high, degrees))
    assert 0 < share + classes + pairs + spread <= suite.test_drop_each_label_on_its_own.power[1]  # type: ignore[attr-defined]


def test_the_sum_of_luck_is_small() -> None:
    tests = [test for test in vars(suite).values() if hasattr(test, "points")]
    assert all(test.power[0] in {mutant.name for mutant in mutants.mutants(ASSIGNMENT)} for test in tests)
    assert sum(test.power[1] for test in tests) <= 1e-4


# --- curves and verdicts as people make them -----------------------------------------------------------------------------------

FILE = ASSIGNMENT.reference["curve.safetensors"]
CURVE = load(FILE)
ROWS = [{"scale": scale, "accuracy": 0.5, "frechet": 100.0, "diversity": 0.8} for scale in (0, 1, 1.5, 2, 3, 5, 8)]


@pytest.mark.parametrize(
    "change",
    [
        lambda scales, images: (scales.float(), images),
        lambda scales, images: (scales.flip(0), images.flip(0)),
        lambda scales, images: ((2 * scales).long(), images),
    ],
    ids=["single precision", "from large to small", "whole numbers"],
)
def test_the_scales_of_a_file_may_come_in_any_kind_and_order(change: Any) -> None:
    scales, images = change(CURVE["scales"], CURVE["images"])
    found = suite.read_drawn({"scales": scales, "images": images})
    assert torch.equal(found.images, CURVE["images"]) and found.scales == sorted(scales.double().tolist())


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (ROWS[:5], "six are needed"),
        ([row for row in ROWS if row["scale"] != 1] + [ROWS[1] | {"scale": 0.9}], "scale 1"),
        ([row | {"scale": min(row["scale"], 3.9)} for row in ROWS], "reach from"),
        ([row for row in ROWS if row["scale"] != 1] + [ROWS[1] | {"scale": 0.9999999}], ""),
    ],
    ids=["five", "none at 1", "to 3.9", "nearly 1"],
)
def test_a_curve_needs_its_scales(rows: list[dict[str, float]], says: str) -> None:
    if not says:
        suite.test_curve_has_enough_scales(rows)
        return
    with pytest.raises(Wrong, match=says):
        suite.test_curve_has_enough_scales(rows)


def test_a_scale_is_the_nearest_one_of_the_curve() -> None:
    rows = [row | {"scale": scale} for row, scale in zip(ROWS, (0, 0.99999, 1.66667, 2.5, 3.33333, 5, 8), strict=True)]
    assert suite.nearest(rows, 10 / 3, suite.SAID) is suite.nearest(rows, 3.3, suite.SAID) is rows[4]
    assert suite.nearest(rows, 1, suite.SCALE_ONE) is rows[1]
    assert suite.nearest(rows, 3.0, suite.SAID) is suite.nearest(rows, 1.1, suite.SCALE_ONE) is None


@pytest.mark.parametrize(("value", "right"), [("2.5", 2.5), ([3], 3.0), (4, 4.0)])
def test_a_number_of_the_verdict_may_be_written_in_any_way(value: object, right: float) -> None:
    assert suite.said_number({"Best_Accuracy ": value}, "best_accuracy") == right
    with pytest.raises(Wrong, match="should be a number"):
        suite.said_number({"best_accuracy": [1, 2]}, "best_accuracy")
    with pytest.raises(Wrong, match="best_frechet is missing"):
        suite.said_number({"best_accuracy": value}, "best_frechet")


# --- what grading runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    course = build_course(ASSIGNMENT.course["withheld"], tmp_path_factory.mktemp("a05"))
    running = Sandbox(course, given=ASSIGNMENT.given)
    yield running
    running.close()


def test_scales_that_are_not_round_are_right(box: Sandbox) -> None:
    scales = torch.tensor([0.0001, 0.9999999, 1.5001, 1.9996, 3.0003, 5, 8], dtype=torch.float64)
    notebook, names = ASSIGNMENT.solved(), {"test_verdict", "test_curve_has_enough_scales"}
    result = mutants.grade_notebook(
        ASSIGNMENT, notebook, box, {"curve.safetensors": save(CURVE | {"scales": scales})}, names
    )
    assert [test.message for test in result.tests if not test.passed] == [] and result.score() == 18


def test_the_noise_is_the_same_for_a_name_however_it_is_written_and_for_no_other() -> None:
    x, labels = suite.guide.start("reference")
    assert torch.equal(x, suite.guide.start(" Reference ")[0]) and labels.bincount().tolist() == [10] * 10
    assert abs(float((x * suite.guide.start("eve")[0]).mean())) < 0.01
    assert abs(float(x.mean())) < 0.01 and abs(float(x.std()) - 1) < 0.01


def test_what_is_measured_at_home_is_measured_again_in_grading(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The images are handed in as they are looked at there, in whole numbers."""
    guide = suite.guide
    rows = guide.measure(lambda network, x, *rest: x.tanh(), "ada", [2, 1])
    guide.save(tmp_path / "file", rows)
    found = suite.read_drawn(load((tmp_path / "file").read_bytes()))
    assert found.scales == [1, 2] and "scale 1   accuracy" in capsys.readouterr().out
    labels = guide.start("ada")[1]
    for row, images in zip(rows, found.images, strict=True):
        assert {name: row[name] for name in guide.MEASURES} == guide.point(images, labels)
    for scales in ([1, 30], list(range(13))):
        with pytest.raises(ValueError, match="12 scales at most, and none beyond 20"):
            guide.measure(None, "ada", scales)


THROUGH_X0 = """
import torch
from course_lib.diffusion.predictions import EPS, SCORE, V, to_eps
def by_scale(y, n, s): return EPS.target(None, n, None, None).lerp(EPS.target(None, y, None, None), float(s))
def by_weight(y, n, w): return V.target(y, -n, torch.tensor(w), torch.tensor(1 + w))
def step(x_t, eps, a_t, a_s):
    signal, noise = torch.tensor([a_t**0.5]), torch.tensor([(1 - a_t) ** 0.5])
    x0 = EPS.to_x0(eps, x_t, signal, noise).clamp(-1, 1)
    return SCORE.to_x0(-x0, x0, torch.tensor([a_s**0.5]), torch.tensor([(1 - a_s) ** 0.5]))
"""
GUIDANCE = """
import torch
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import TableSchedule
from course_lib.sampling.guidance import extrapolated
from course_lib.sampling.steps import ddim
def by_scale(y, n, s): return extrapolated(lambda *_: y, lambda *_: n, s)(y, None)
def by_weight(y, n, w): return extrapolated(lambda *_: y, lambda *_: n, 1 + w)(y, None)
def guided(network, x, t, labels, s, null):
    told = lambda c: (lambda x, t: network(x, t, torch.zeros_like(labels) + c))
    return extrapolated(told(labels), told(null), s)(x, t)
def step(x_t, eps, a_t, a_s):
    process = GaussianDiffusion(TableSchedule(torch.tensor([1.0, a_s, a_t], dtype=torch.float64)))
    x0 = ((x_t - (1 - a_t) ** 0.5 * eps) / a_t**0.5).clamp(-1, 1)
    return ddim(lambda *_: x0, process)(x_t, torch.tensor(2), torch.tensor(1))
"""
RECIPE = """
import guide
from course_lib.models import store
from course_lib.nets.conditions import Labels, dropped
from course_lib.recipes.diffusion import drop_labels
def step(x_t, eps, a_t, a_s): return guide.schedule() * x_t
def guided_sample(network, x, labels, s, null, alpha_bar, times):
    return store.load_denoising("cifar10-cfg").draw(len(labels), labels, s)
"""
CHAPTER = """
import torch
def drop_labels(labels, null, share, generator):
    return torch.where(torch.rand((len(labels),), generator=generator) < share, null, labels)
"""


@pytest.mark.parametrize("code", [THROUGH_X0, GUIDANCE, RECIPE, CHAPTER], ids=["x_0", "guidance", "recipe", "chapter"])
def test_neither_the_library_nor_the_chapter_holds_an_answer(code: str, box: Sandbox) -> None:
    notebook = ASSIGNMENT.released()
    notebook.cells.append(new_code_cell(code))
    result = mutants.grade_notebook(ASSIGNMENT, notebook, box)
    assert [test.name for test in result.tests if test.passed] == []
    assert any("is what this assignment asks you to write" in test.message for test in result.tests) or code == CHAPTER


def test_the_same_answers_written_out_do_count(box: Sandbox) -> None:
    """What the answers above lack is the library alone: with their lines in the notebook they are right."""
    written = "def extrapolated(a, b, s): return lambda x, t: torch.lerp(b(x, t), a(x, t), s)\n"
    notebook = ASSIGNMENT.released()
    code = GUIDANCE[GUIDANCE.index("def by_scale") : GUIDANCE.index("def guided")]
    notebook.cells.append(new_code_cell("import torch\n" + written + code))
    result = mutants.grade_notebook(ASSIGNMENT, notebook, box, only={"test_by_scale", "test_by_weight"})
    assert result.score() == 4
