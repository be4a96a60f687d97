"""Submissions that once gained points without solving the task: each must gain none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from safetensors.torch import load, save

from autograder.assignment.library import build_course
from autograder.assignment.source import ROOT, Assignment, read_assignment
from autograder.grading import mutants
from autograder.grading.one import Result
from autograder.sandbox.outside import Sandbox
from autograder.testing.suite import given
from course_lib.data import sets
from course_lib.data.images import to_bytes


class Course:
    """Grades notebooks of one assignment in a sandbox of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.assignment: Assignment = read_assignment(name)
        course = build_course(self.assignment.course["withheld"], folder)
        self.box = Sandbox(course, given=self.assignment.given)

    def with_code(self, code: str, solved: bool = False) -> NotebookNode:
        """The released notebook, or the solved one, with a last cell that defines some names again."""
        notebook = self.assignment.solved() if solved else self.assignment.released()
        notebook.cells.append(new_code_cell(code))
        return notebook

    def grade(self, notebook: NotebookNode, files: dict[str, bytes] | None = None, *only: str) -> Result:
        return mutants.grade_notebook(self.assignment, notebook, self.box, files, only=only)


@pytest.fixture(scope="module")
def course(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    running = Course(request.param, tmp_path_factory.mktemp(request.param))
    yield running
    running.box.close()


def of(name: str) -> Any:
    return pytest.mark.parametrize("course", [name], indirect=True)


def message(result: Result, name: str) -> str:
    return next(test.message for test in result.tests if test.name == name)


# --- the library must not hold the answers, and numbers must not hide in NaN ---------------------------------------

LIBRARY_A01 = """
import torch
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import log_snr as of_schedule
class Table:  # a schedule with a sensor: the library asks it for signal and noise alone
    def __init__(self, signals, variances):
        self.signals, self.variances = (torch.as_tensor(row, dtype=torch.float64) for row in (signals, variances))
    T = property(lambda self: len(self.signals) - 1)
    def signal(self, t): return self.signals[torch.as_tensor(t)]
    def noise(self, t): return self.variances[torch.as_tensor(t)].sqrt()
def process(*pairs):
    return GaussianDiffusion(Table([1.0, *(bar**0.5 for bar, _ in pairs)], [0.0, *(1 - bar + c for bar, c in pairs)]))
number = lambda x: torch.tensor([float(x)], dtype=torch.float64)
t0, t1, t2 = torch.tensor(0), torch.tensor(1), torch.tensor(2)
def one_step(x, alpha, sigma, eps, xi): return float(process((alpha, 0.0)).advance(number(x), t0, t1, number(eps))) + sigma * xi
def posterior(alpha, sigma, bar, c):
    x0, xt, v = process((bar, c), (alpha * bar, alpha * c + sigma**2)).posterior_weights(t2, t1)
    return {"precision": 1 / float(v), "variance": float(v), "mean_xt": float(xt), "mean_x0": float(x0)}
def log_snr(bar, c): return float(of_schedule(process((bar, c)).schedule, t1))
def snr(bar, c): return float(torch.tensor(log_snr(bar, c)).double().exp())
def q_sample(x_s, s, t, alpha_bar, extra, noise):
    return GaussianDiffusion(Table(alpha_bar.sqrt(), 1 - alpha_bar + extra)).advance(x_s, s, t, noise)
"""

ORACLE_A01 = """
import torch
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.schedules import TableSchedule
one, now = torch.ones(1, dtype=torch.float64), torch.tensor(1)
number = lambda x: torch.tensor([[float(x)]], dtype=torch.float64)
def oracle(mean, variance, alpha):
    mixture = Mixture(one, mean * one[None], variance * one[None, None])
    return ExactDiffusion(mixture, TableSchedule(torch.tensor([1.0, alpha], dtype=torch.float64)))
def step(mean, variance, alpha, sigma):
    rotated, after, *_ = oracle(mean, variance, alpha)._rotate(number(0), now)
    return -float(rotated), float(after) + sigma**2
def one_step(x, alpha, sigma, eps, xi):
    mean, variance = step(float(x), 0.0, float(alpha), 0.0)
    return mean + variance**0.5 * float(eps) + sigma * xi
def limit(x0, beta, sigma, t):
    mean, variance = float(x0), 0.0
    for _ in range(int(t)): mean, variance = step(mean, variance, 1 - beta, sigma)
    end = (0.0, 0.0)
    for _ in range(500): end = step(*end, 1 - beta, sigma)
    return {"mean": mean, "variance": variance, "limit_mean": end[0], "limit_variance": end[1]}
def induction(bar, c, alpha, sigma):
    mean, variance = step(bar**0.5, 1 - bar + c, alpha, sigma)
    return {"noise_variance": variance, "extra": variance - 1 + mean**2, "total": variance + mean**2}
def posterior(alpha, sigma, bar, c):
    whole = 1 + sigma**2  # over its root, x_t is a state of the library's own chain
    def mean(x0, x): return float(oracle(bar**0.5 * x0, 1 - bar + c, alpha / whole).denoise(number(x / whole**0.5), now))
    variance = float(oracle(0.0, 1 - bar + c, alpha / whole).covariance(number(0), now))
    return {"precision": 1 / variance, "variance": variance, "mean_xt": mean(0, 1), "mean_x0": mean(1, 0)}
"""

LIBRARY_A04 = """
import torch
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.schedules import TableSchedule
def exact(w, m, v, a=0.5):
    mixture = Mixture(w, m, v[:, None, None] * torch.eye(m.shape[1], dtype=m.dtype))
    return ExactDiffusion(mixture, TableSchedule(torch.tensor([1.0, a], dtype=torch.float64)))
def uniform(data, a): return exact(torch.ones(len(data)).to(data) / len(data), data, torch.zeros(len(data)).to(data), a)
def log_joint(x, w, m, v): return exact(w, m, v)._log_joint(x, torch.tensor(0))
def log_density(x, w, m, v): return log_joint(x, w, m, v).logsumexp(-1)
def posterior(x, data, a): return uniform(data, a).class_posterior(x, torch.tensor(1))
def noisy(means, variances, a):
    oracle = exact(torch.ones(len(means)).to(means) / len(means), means, variances, a)
    rotated, v, *_ = oracle._rotate(torch.zeros(1, means.shape[1]).to(means), torch.tensor(1))
    return -(oracle.eigenvectors @ rotated[0][..., None])[..., 0], v[0, :, 0]
"""

CONVERSIONS_A04 = """
import torch
from course_lib.diffusion.bound import gaussian_log_prob
from course_lib.diffusion.predictions import SCORE, to_eps
from course_lib.diffusion.schedules import TableSchedule
table = lambda a: TableSchedule(torch.tensor([1.0, float(a)], dtype=torch.float64))
def score_to_eps(score, alpha_bar):
    # At x_t = 0 this is the guess of x_0 that the score implies, and to_eps finds the noise of it.
    guesses = [(1 - a) * s[None] / a**0.5 for s, a in zip(score, alpha_bar)]
    zero, now = torch.zeros_like(score[:1]), torch.tensor(1)
    return torch.cat([to_eps(g, zero, now, table(a)) for g, a in zip(guesses, alpha_bar)])
def eps_to_score(eps, alpha_bar):
    return torch.cat([SCORE.target(None, e[None], None, (1 - a).sqrt()) for e, a in zip(eps, alpha_bar)])
def tweedie(x, score, alpha_bar):
    rows = zip(x, score, alpha_bar)
    return torch.cat([SCORE.to_x0(s[None], x_t[None], a.sqrt(), (1 - a).sqrt()) for x_t, s, a in rows])
def log_joint(x, w, m, v):
    return torch.stack([w[k].log() + gaussian_log_prob(x, m[k].expand_as(x), v[k].expand(len(x))) for k in range(len(w))], 1)
def log_density(x, w, m, v): return log_joint(x, w, m, v).logsumexp(-1)
"""

# The loss by two of the process's methods; and the steps of the guided sampler by the library's own.
LIBRARY_A03 = """
import torch
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import TableSchedule
def loss(network, x0, t, noise, alpha_bar):
    x_t = {way}
    return (network(x_t, t) - noise).square().mean()
"""
ADVANCE = "GaussianDiffusion(TableSchedule(alpha_bar)).advance(x0, torch.zeros_like(t), t, noise)"
TO_NOISE = "TableSchedule(torch.cat([alpha_bar.double(), torch.zeros(1).double()]))"
BRIDGE = f"GaussianDiffusion({TO_NOISE}).bridge(x0, noise, torch.full_like(t, len(alpha_bar)), t, eta=0.0)[0]"

LIBRARY_A05 = """
import torch
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import EPS, denoiser, to_eps
from course_lib.diffusion.schedules import TableSchedule
def step(x_t, eps, a_t, a_s):
    table = TableSchedule(torch.tensor([1.0, a_s, a_t] if a_s < 1 else [1.0, a_t], dtype=torch.float64))
    t, s = torch.tensor(table.T), torch.tensor(table.T - 1)
    x0 = denoiser(lambda x, t, cond: eps, EPS, table, clip=1.0)(x_t, t)
    return GaussianDiffusion(table).diffuse(x0, s, to_eps(x0, x_t, t, table))
"""

OVERFLOW = """
import torch
def fit_score(features, x0, noise, alpha_bar):
    return torch.full((features(x0[:1]).shape[1], 1), 1.79e308, dtype=torch.float64)
"""


@pytest.mark.parametrize(
    ("course", "code"),
    [
        ("a01", LIBRARY_A01),
        ("a01", ORACLE_A01),
        ("a04", LIBRARY_A04),
        ("a04", CONVERSIONS_A04),
        ("a04", OVERFLOW),
        ("a03", LIBRARY_A03.format(way=ADVANCE)),
        ("a03", LIBRARY_A03.format(way=BRIDGE)),
        ("a05", LIBRARY_A05),
    ],
    indirect=["course"],
    ids=[
        "a01: the library's process",
        "a01: the library's oracle",
        "a04: the library's oracle",
        "a04: the library's conversions",
        "a04: sums that overflow",
        "a03: the library's chain",
        "a03: the library's bridge",
        "a05: the library's denoiser",
    ],
)
def test_no_points_without_an_answer(course: Course, code: str) -> None:
    assert course.grade(course.with_code(code)).score() == 0


# --- a03: three names for one schedule, or one network in three places -------------------------------------------------------------


@of("a03")
@pytest.mark.parametrize(
    "code", ["linear_schedule = my_schedule = cosine_schedule", ""], ids=["one table", "one network"]
)
def test_one_schedule_or_network_cannot_stand_for_three(course: Course, code: str) -> None:
    reference = load(course.assignment.reference["experiment.safetensors"])
    parts = {name.removeprefix("cosine."): value for name, value in reference.items() if name.startswith("cosine.")}
    copied = {f"{name}.{part}": value.clone() for name in ("linear", "cosine", "mine") for part, value in parts.items()}
    ratio = float(parts["distances"][0] / parts["distances"][-1])
    said: dict[str, str | float] = dict.fromkeys(("lowest_loss", "best_at_10", "best_at_100"), "cosine")
    said |= {"linear_over_cosine_at_10": 1.0, "cosine_10_over_100": ratio}
    notebook = course.with_code(f"{code}\ndef verdict(): return {said}", solved=True)
    result = course.grade(notebook, {"experiment.safetensors": save(copied)})
    assert result.score("experiment") == result.score("verdict") == 0
    assert ("compares three schedules" if code else "a network of its own") in message(result, "test_verdict")


# --- a05: images that are nobody's, or somebody else's ------------------------------------------------------------------------------

CURVE = ("test_curve_is_what_the_sampler_gives", "test_curve_has_enough_scales", "test_verdict")


def public() -> dict[str, torch.Tensor]:
    """The file of the reference."""
    return load(read_assignment("a05").reference["curve.safetensors"])


@of("a05")
def test_a_curve_of_a_sampler_that_does_nothing_is_worth_nothing(course: Course) -> None:
    guide = given("a05_cifar_cfg", "guide")
    x, labels = guide.start(mutants.STUDENT)
    images = to_bytes(x).expand(6, *x.shape).contiguous()
    code = "def guided_sample(network, x, *rest): return x\n"
    diversity = guide.point(images[0], labels)["diversity"]
    said = {"best_accuracy": 1, "best_frechet": 1, "diversity_at_1": diversity, "diversity_at_largest": diversity}
    code += f"def verdict(): return {said}"
    file = save({"scales": torch.arange(6.0), "images": images})
    result = course.grade(course.with_code(f"NAME = {mutants.STUDENT!r}\n{code}"), {"curve.safetensors": file})
    assert result.score() == 0
    assert "does not draw what guidance draws" in message(result, "test_verdict")


@of("a05")
@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("reference", "this was handed in by 'eve'"),
        ("eve", "not what guidance draws with this network from the noise of 'eve'"),
        ("", "NAME should be your name"),
    ],
)
def test_images_from_the_noise_of_another_are_worth_nothing(
    course: Course, said: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of the reference is public; so will be those of other students. With a right sampler, too."""
    monkeypatch.setattr(mutants, "STUDENT", "eve")
    result = course.grade(course.with_code(f"NAME = {said!r}", solved=True), None, *CURVE)
    assert result.score() == 0
    assert all(says in message(result, name) for name in CURVE), result.tests


def one_scale_for_all(images: torch.Tensor) -> torch.Tensor:
    return images[1:2].expand_as(images).contiguous()


def one_scale_for_its_neighbour(images: torch.Tensor) -> torch.Tensor:
    images[2] = images[1]
    return images


def one_scale_of_other_noise(images: torch.Tensor) -> torch.Tensor:
    images[3] = images[3].roll(10, 0)
    return images


def most_images_of_each_class_alike(images: torch.Tensor) -> torch.Tensor:
    images[:, 20:] = images[:, :20].repeat(1, 4, 1, 1, 1)
    return images


def noise_on_all(images: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (images.float() + 40 * torch.randn(images.shape, generator=generator)).clamp(0, 255).to(torch.uint8)


FORGED = (
    one_scale_for_all,
    one_scale_for_its_neighbour,
    one_scale_of_other_noise,
    most_images_of_each_class_alike,
    noise_on_all,
    torch.zeros_like,
)


@of("a05")
@pytest.mark.parametrize("forged", FORGED, ids=lambda forged: forged.__name__)
def test_images_that_guidance_does_not_draw_are_found(course: Course, forged: Any) -> None:
    found = public()
    file = save({"scales": found["scales"], "images": forged(found["images"])})
    result = course.grade(course.assignment.solved(), {"curve.safetensors": file}, *CURVE[:2])
    assert result.score() == 0
    assert all("not what guidance draws" in message(result, name) for name in CURVE[:2]), result.tests


def with_scales(*scales: float) -> dict[str, torch.Tensor]:
    return {"scales": torch.tensor(scales), "images": public()["images"][:1].repeat(len(scales), 1, 1, 1, 1)}


MALFORMED = {
    "twice": (lambda: with_scales(1, 2, 3, 4, 5, 5), "nearly the same"),
    "a hair apart": (lambda: with_scales(*(1 + i / 1e4 for i in range(9))), "nearly the same"),
    "too many": (lambda: with_scales(*range(13)), "or more than 12"),
    "none": (lambda: with_scales() | {"images": torch.zeros(0, 100, 3, 32, 32, dtype=torch.uint8)}, "has no scales"),
    "beyond": (lambda: with_scales(1, 50), "beyond 20"),
    "not a number": (lambda: with_scales(1, float("nan")), "NaN or infinity"),
    "fewer images": (lambda: public() | {"scales": torch.arange(6)}, "does not hold scales and images"),
    "fewer of each scale": (lambda: public() | {"images": public()["images"][:, :10].contiguous()}, "does not hold scales and images"),
    "images as floats": (lambda: public() | {"images": public()["images"][:, :, :, ::4, ::4].float()}, "does not hold scales and images"),
    "a table": (lambda: public() | {"scales": torch.zeros(7, 1)}, "does not hold scales and images"),
    "no images": (lambda: {"scales": torch.arange(6.0)}, "does not hold scales and images"),
    "more than images": (lambda: public() | {"accuracy": torch.ones(7)}, "does not hold scales and images"),
}  # fmt: skip


@of("a05")
@pytest.mark.parametrize("kind", MALFORMED)
def test_a_file_that_holds_anything_else_is_refused(course: Course, kind: str) -> None:
    make, says = MALFORMED[kind]
    name = "test_curve_has_enough_scales"
    result = course.grade(course.assignment.solved(), {"curve.safetensors": save(make())}, name)
    assert result.score() == 0 and says in message(result, name)
    assert not any(test.review for test in result.tests)


@of("a05")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda weights: {name: 1.0001 * value for name, value in weights.items()}, ""),
        (lambda weights: {name: 0 * value for name, value in weights.items()}, "not what guidance draws with this network"),
        (lambda weights: {"one": next(iter(weights.values()))}, "does not hold the weights of a network"),
        (lambda weights: {**weights, next(iter(weights)): torch.full((1,), torch.nan)}, "NaN or infinity"),
    ],
    ids=["as good", "empty", "another network", "no numbers"],
)  # fmt: skip
def test_a_curve_belongs_to_the_network_that_is_handed_in(course: Course, change: Any, says: str) -> None:
    weights = load((ROOT / "checkpoints" / "cifar10-cfg.safetensors").read_bytes())
    file = save({name: value[-1:] for name, value in public().items()})
    files = {"curve.safetensors": file, "network.safetensors": save(change(weights))}
    name = "test_curve_is_what_the_sampler_gives"
    result = course.grade(course.assignment.solved(), files, name)
    assert result.score() == (0 if says else 14), message(result, name)
    assert says in message(result, name)


# --- a02: weights that somebody else trained, or nobody ------------------------------------------------------------------------------

LEARNED = ("test_network_knows_your_ink_in_a_little_noise", "test_network_knows_your_ink_in_more_noise")
DRAWN = "test_some_digits_are_recognised"


def shipped(name: str) -> dict[str, torch.Tensor]:
    """The weights of a model that comes with the course, as small as they may be handed in."""
    weights = load((ROOT / "checkpoints" / f"{name}.safetensors").read_bytes())
    return {name: value.half() for name, value in list(weights.items())[:60]}


def stored_images(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"images": sets.load("mnist", "train")[0][:3000, 0].contiguous()}


WEIGHTS = {
    "stored images": (stored_images, "does not hold the weights of digits.NoiseNet"),
    "images beside weights": (lambda weights: weights | stored_images(weights), "does not hold the weights of digits.NoiseNet"),
    "mnist-ddpm": (lambda weights: shipped("mnist-ddpm"), "does not hold the weights of digits.NoiseNet"),
    "mnist-cfg": (lambda weights: shipped("mnist-cfg"), "does not hold the weights of digits.NoiseNet"),
    "none": (lambda weights: {name: 0 * value for name, value in weights.items()}, "misses the noise in new digits"),
    "numbers that vanish": (lambda weights: {name: 1e-39 + 0 * value for name, value in weights.items()}, "misses the noise in new digits"),
    "enormous numbers": (lambda weights: {name: 1e30 + 0 * value for name, value in weights.items()}, "answers with NaN or infinity"),
    "NaN": (lambda weights: {name: value / 0 for name, value in weights.items()}, "NaN or infinity"),
}  # fmt: skip


@pytest.mark.needs_data("mnist")
@of("a02")
@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_learned_nothing_are_worth_nothing(course: Course, kind: str) -> None:
    change, says = WEIGHTS[kind]
    weights = save(change(load(course.assignment.reference["weights.safetensors"])))
    result = course.grade(course.assignment.solved(), {"weights.safetensors": weights}, *LEARNED, DRAWN)
    assert result.score() == 0
    assert all(says in message(result, name) for name in (*LEARNED, DRAWN)), result.tests


@pytest.mark.needs_data("mnist")
@of("a02")
@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("reference", "and this was handed in by"),
        ("eve", "was it trained in the ink of 'eve'"),
        ("  EVE ", "was it trained in the ink of '  EVE '"),
        ("", "NAME should be your name"),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 1.01])
def test_what_another_has_trained_is_worth_nothing(
    course: Course, said: str, says: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of the reference are public; so will be those of other students."""
    monkeypatch.setattr(mutants, "STUDENT", "eve")
    public = load(course.assignment.reference["weights.safetensors"])
    weights = save({name: scale * value for name, value in public.items()})
    notebook = course.with_code(f"NAME = {said!r}", solved=True)
    result = course.grade(notebook, {"weights.safetensors": weights}, *LEARNED, DRAWN)
    assert result.score() == 0
    assert all(says in message(result, name) for name in (*LEARNED, DRAWN)), result.tests


NAMES = ["class NAME(str): pass", "NAME = ['reference']", "NAME = b'reference'", "NAME = 'reference' * 10**6",
         "del NAME", "class Any(str):\n    casefold = strip = lambda self: 'reference'\nNAME = Any('x')"]  # fmt: skip


@pytest.mark.needs_data("mnist")
@of("a02")
@pytest.mark.parametrize("code", NAMES)
def test_a_name_is_a_text(course: Course, code: str) -> None:
    result = course.grade(course.with_code(code, solved=True), None, *LEARNED, DRAWN)
    assert result.score() == 0 and not any(test.review for test in result.tests)


IN_ALL = """
import digits
def draw(*arguments): return digits.NoiseNet(alpha_bar=None)
digits.NoiseNet = digits.written = digits.read = draw
"""


@pytest.mark.needs_data("mnist")
@of("a02")
def test_the_network_is_the_graders_own(course: Course) -> None:
    """What a notebook does to the given module changes nothing: the weights are looked at where no student code runs."""
    result = course.grade(course.with_code(IN_ALL, solved=True), None, *LEARNED)
    assert result.score() == 14
