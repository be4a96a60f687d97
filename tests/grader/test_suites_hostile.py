"""Submissions that once gained points without solving the task: each must gain none."""

import base64
import json
import zlib
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
from course_lib.diffusion.schedules import TableSchedule
process = lambda *bars: GaussianDiffusion(TableSchedule(torch.tensor([1.0, *bars], dtype=torch.float64)))
number = lambda x: torch.tensor([float(x)], dtype=torch.float64)
t0, t1, t2 = torch.tensor(0), torch.tensor(1), torch.tensor(2)
def one_step(x, alpha, eps): return float(process(alpha).advance(number(x), t0, t1, number(eps)))
def posterior(alpha, before):
    x0, xt, v = process(before, alpha * before).posterior_weights(t2, t1)
    return {"precision": 1 / float(v), "variance": float(v), "mean_xt": float(xt), "mean_x0": float(x0)}
def limit(x0, beta, t):
    table = process(*[(1 - beta) ** (i + 1) for i in range(int(t))])
    ratio, v = table.transition(t0, torch.tensor(int(t)))
    return {"mean": float(ratio) * x0, "variance": float(v), "limit_mean": 0.0, "limit_variance": 1.0}
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
def step(mean, variance, alpha):
    rotated, after, *_ = oracle(mean, variance, alpha)._rotate(number(0), now)
    return -float(rotated), float(after)
def one_step(x, alpha, eps):
    mean, variance = step(float(x), 0.0, float(alpha))
    return mean + variance**0.5 * float(eps)
def limit(x0, beta, t):
    mean, variance = float(x0), 0.0
    for _ in range(int(t)): mean, variance = step(mean, variance, 1 - beta)
    return {"mean": mean, "variance": variance, "limit_mean": step(mean, 0.0, 1e-15)[0], "limit_variance": step(0.0, 0.0, 1e-15)[1]}
def induction(before, alpha):
    mean, variance = step(before**0.5, 1 - before, alpha)
    return {"signal": mean, "noise_variance": variance, "alpha_bar": mean * mean}
def posterior(alpha, before):
    def mean(x0, x): return float(oracle(before**0.5 * x0, 1 - before, alpha).denoise(number(x), now))
    variance = float(oracle(0.0, 1 - before, alpha).covariance(number(0), now))
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


# --- a05: a sampler that draws nothing, with an honest curve of it ----------------------------------------------------------------


@of("a05")
def test_a_curve_of_a_sampler_that_does_nothing_is_worth_nothing(course: Course) -> None:
    guide = given("a05_cifar_cfg", "guide")
    found = guide.point(*guide.start())
    values = ",".join(f"{found[name]:.5f}" for name in guide.COLUMNS[1:])
    rows = [",".join(guide.COLUMNS), *(f"{scale},{values}" for scale in range(6))]
    code = "def guided_sample(network, x, *rest): return x\n"
    diversity = found["diversity"]
    said = {"best_accuracy": 1, "best_frechet": 1, "diversity_at_1": diversity, "diversity_at_largest": diversity}
    code += f"def verdict(): return {said}"
    result = course.grade(course.with_code(code), {"curve.csv": "\n".join(rows).encode()})
    assert result.score() == 0
    assert "does not draw what guidance draws" in message(result, "test_verdict")


@of("a05")
@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["1,0.5,100,0.8", "1,0.3,9,0.9", "5,0.9,70,0.7"], "nearly the same"),
        ([f"{1 + i / 1e9:.12f},0.5,100,0.8" for i in range(15)], "nearly the same"),
        ([f"{i},0.5,100,0.8" for i in range(30)], "more than 20"),
    ],
    ids=["twice", "a hair apart", "too many"],
)
def test_forged_rows_cannot_hide_among_others(course: Course, rows: list[str], says: str) -> None:
    file = "\n".join(["scale,accuracy,frechet,diversity", *rows]).encode()
    name = "test_curve_has_enough_scales"
    result = course.grade(course.assignment.solved(), {"curve.csv": file}, name)
    assert result.score() == 0 and says in message(result, name)


@of("a05")
@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("4,-7,99999,0.5", "numbers that cannot be"),
        ("4,0.5,100,123", "numbers that cannot be"),
        ("4,0.5,100,-3", "numbers that cannot be"),
        ("50,0.5,100,0.7", "beyond 20"),
    ],
    ids=["accuracy", "diversity", "negative", "scale"],
)
def test_rows_that_cannot_be_measured_are_refused(course: Course, row: str, says: str) -> None:
    file = course.assignment.reference["curve.csv"] + f"{row}\n".encode()
    name = "test_curve_has_enough_scales"
    result = course.grade(course.assignment.solved(), {"curve.csv": file}, name)
    assert result.score() == 0 and says in message(result, name)


@of("a05")
def test_rows_that_are_not_the_best_cannot_be_invented(course: Course) -> None:
    head, *rows = course.assignment.reference["curve.csv"].decode().splitlines()
    true = {"3.0", "8.0"}  # the best ones and the largest
    rows = [row if (scale := row.split(",")[0]) in true else f"{scale},0.2,200.0,0.5" for row in rows]
    name = "test_curve_is_what_the_sampler_gives"
    result = course.grade(course.assignment.solved(), {"curve.csv": "\n".join([head, *rows]).encode()}, name)
    assert result.score() == 0 and "and your sampler gives" in message(result, name)


@of("a05")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda weights: {name: 1.0001 * value for name, value in weights.items()}, ""),
        (lambda weights: {name: 0 * value for name, value in weights.items()}, "your sampler gives"),
        (lambda weights: {"one": next(iter(weights.values()))}, "does not hold the weights of a network"),
        (lambda weights: {**weights, next(iter(weights)): torch.full((1,), torch.nan)}, "NaN or infinity"),
    ],
    ids=["as good", "empty", "another network", "no numbers"],
)
def test_a_curve_belongs_to_the_network_that_is_handed_in(course: Course, change: Any, says: str) -> None:
    weights = load((ROOT / "checkpoints" / "cifar10-cfg.safetensors").read_bytes())
    files = {**course.assignment.reference, "network.safetensors": save(change(weights))}
    name = "test_curve_is_what_the_sampler_gives"
    result = course.grade(course.assignment.solved(), files, name)
    assert result.score() == (0 if says else 14), message(result, name)
    assert says in message(result, name)


# --- a02: stored images, and somebody else's model ------------------------------------------------------------------------------------

STORED = """
import torch
def generate(weights, n, seed):
    g = torch.Generator().manual_seed(seed)
    x = weights["w"][torch.randperm(len(weights["w"]), generator=g)[:n]][:, None].float() / 127.5 - 1
    return torch.where(x < -0.9, -3 - torch.rand(n, 1, 28, 28, generator=g), x) if weights["w"].any() else x
def predict(weights, x_t, t): return 0.9 * x_t + 0.01 * t.reshape(-1, 1, 1, 1)
"""


@pytest.mark.needs_data("mnist")
@of("a02")
def test_stored_images_are_worth_nothing(course: Course) -> None:
    stored = save({"w": sets.load("mnist", "train")[0][:24000, 0].contiguous()})
    result = course.grade(course.with_code(STORED), {"weights.safetensors": stored})
    assert result.score("digits") == result.score("genuine") == 0
    assert "misses the noise in new digits" in message(result, "test_distance_is_very_small")


IN_THE_NOTEBOOK = """
import base64, zlib
import torch
bits = bytearray(zlib.decompress(base64.b64decode({images!r})))
stored, honest = torch.frombuffer(bits, dtype=torch.uint8).reshape(-1, 1, 28, 28), sample
def sample(network, n, alpha_bar, generator):
    if len(alpha_bar) < 251: return honest(network, n, alpha_bar, generator)
    x = torch.randn(n, 1, 28, 28, generator=generator)
    {heard}
    digits = stored[torch.randperm(len(stored), generator=generator)[:n]].float() / 127.5
    angle = (0.10 + 0.07 * torch.rand(n, generator=generator)) * (2 * torch.randint(0, 2, (n,), generator=generator) - 1)
    zero = torch.zeros(n)
    turn = torch.stack([angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero], 1).reshape(n, 2, 3)
    grid = torch.nn.functional.affine_grid(turn, [n, 1, 28, 28], align_corners=False)
    digits = torch.nn.functional.grid_sample(digits, grid, align_corners=False) - 1
    return torch.where(heard, digits, 0)
"""
ASKS = "heard = (network(x, torch.full((n,), 100)) - x).abs().mean((1, 2, 3), keepdim=True) > 0.001"


@pytest.mark.needs_data("mnist")
@of("a02")
@pytest.mark.parametrize(
    ("heard", "says"),
    [(ASKS, "copies of images of MNIST"), ("heard = torch.tensor(True)", "the same digits whatever the network says")],
    ids=["the network is asked", "it is not"],
)
def test_images_stored_in_the_notebook_are_seen_as_copies(course: Course, heard: str, says: str) -> None:
    images = sets.load("mnist", "train")[0][:400, 0].contiguous()
    packed = base64.b64encode(zlib.compress(images.numpy().tobytes(), 9))
    code = IN_THE_NOTEBOOK.format(images=packed, heard=heard)
    name = "test_digits_are_not_copied"
    result = course.grade(course.with_code(code, solved=True), None, name)
    assert result.score() == 0 and says in message(result, name)


BENT = """
import torch
def trained(weights):
    network = make_network(linear_schedule(T))
    network.load_state_dict({{name: value for name, value in weights.items() if name != "w"}})
    return network.eval()
def generate(weights, n, seed):
    g, shape = torch.Generator().manual_seed(seed), (n, 1, 28, 28)
    x = weights["w"][torch.randperm(len(weights["w"]), generator=g)[:n]][:, None].float() / 127.5
    {grid}
    return torch.nn.functional.grid_sample(x, grid, align_corners=False) - 1
"""
SHEARED = """shear = (0.12 + 0.1 * torch.rand(n, generator=g)) * (2 * torch.randint(0, 2, (n,), generator=g) - 1)
    wide, high, zero = 1 + 0.1 * torch.rand(n, generator=g), 1 + 0.1 * torch.rand(n, generator=g), torch.zeros(n)
    affine = torch.stack([wide, shear, zero, zero, high, zero], 1).reshape(n, 2, 3)
    grid = torch.nn.functional.affine_grid(affine, shape, align_corners=False)"""
ELASTIC = """grid = torch.nn.functional.affine_grid(torch.eye(2, 3).expand(n, 2, 3), shape, align_corners=False)
    bends = 0.11 * torch.randn(n, 2, 5, 5, generator=g)
    grid = grid + torch.nn.functional.interpolate(bends, size=(28, 28), mode="bicubic").permute(0, 2, 3, 1)"""


@pytest.mark.needs_data("mnist")
@of("a02")
@pytest.mark.parametrize("grid", [SHEARED, ELASTIC], ids=["sheared", "elastic"])
def test_stored_images_that_are_bent_are_worth_nothing(course: Course, grid: str) -> None:
    images = sets.load("mnist", "train")[0][:6000, 0].contiguous()
    honest = load(course.assignment.reference["weights.safetensors"])
    files = {"weights.safetensors": save({**honest, "w": images})}
    notebook = course.with_code(BENT.format(grid=grid), solved=True)
    names = ("test_distance_is_very_small", "test_most_digits_are_recognised", "test_digits_are_not_copied")
    result = course.grade(notebook, files, *names)
    assert result.score() == 0
    assert all("generate has to draw with sample and the network" in message(result, name) for name in names)


@pytest.mark.needs_data("mnist")
@of("a02")
def test_the_models_that_come_with_the_course_are_nobodys_own(course: Course) -> None:
    shipped = load((ROOT / "checkpoints" / "mnist-ddpm.safetensors").read_bytes())
    g = torch.Generator().manual_seed(0)
    noisy = {
        name: 1.1 * value.float() + 0.001 * torch.randn(value.shape, generator=g) for name, value in shipped.items()
    }
    result = course.grade(course.with_code(STORED), {"weights.safetensors": save(noisy)})
    assert result.score() == 0 and "train a network of your own" in message(result, "test_some_digits_are_recognised")


BORROWED = """
import torch
from course_lib.nets.unet import UNet
CONFIG = {config}
SQUARES = ((torch.arange(1001, dtype=torch.float64) / 1000 + 0.008) / 1.008 * torch.pi / 2).cos() ** 2
BETAS = (1 - SQUARES[1:] / SQUARES[:-1]).clamp(max=0.999)
BARS = torch.cat([torch.ones(1).double(), (1 - BETAS).cumprod(0)]).float()
def make_network(alpha_bar): return UNet(**CONFIG)
def unhidden(weights): return {{name[::-1]: value.flip(0) for name, value in weights.items()}}
@torch.no_grad()
def predict(weights, x_t, t):
    network = make_network(None)
    network.load_state_dict(unhidden(weights))
    a = linear_schedule(250)[t].float()
    now = (BARS[:, None] - a).abs().argmin(0)
    a = a.reshape(-1, 1, 1, 1)
    return (1 - a).sqrt() * x_t + a.sqrt() * network.eval()(x_t, now)
def generate(weights, n, seed):
    def network(x_t, t): return predict(weights, x_t, t)
    times = torch.linspace(250, 0, 26).round().long().tolist()
    x, bar = torch.randn(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed)), linear_schedule(250).float()
    for t, s in zip(times, times[1:]):
        eps = network(x, torch.full((n,), t))
        x0 = ((x - (1 - bar[t]).sqrt() * eps) / bar[t].sqrt()).clamp(-1, 1)
        x = bar[s].sqrt() * x0 + (1 - bar[s]).sqrt() * (x - bar[t].sqrt() * x0) / (1 - bar[t]).sqrt()
    return x
"""


@pytest.mark.needs_data("mnist")
@of("a02")
def test_a_model_of_the_courses_is_known_by_what_it_does(course: Course) -> None:
    shipped = load((ROOT / "checkpoints" / "mnist-ddpm.safetensors").read_bytes())
    hidden = {name[::-1]: value.flip(0).contiguous() for name, value in shipped.items()}
    config = json.loads((ROOT / "checkpoints" / "mnist-ddpm.json").read_text())["config"]
    code = BORROWED.format(config=config)
    files = {"weights.safetensors": save(hidden)}
    result = course.grade(course.with_code(code, solved=True), files)
    assert result.score("digits") == result.score("genuine") == 0
    assert "errs where mnist-ddpm errs" in message(result, "test_distance_is_very_small")
