"""A second round of answers that solve nothing: each earns nothing, and right answers in unusual hands lose nothing.

An attack is a last cell that defines some names again in the released notebook, and the tests that it aims at.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from nbformat.v4 import new_code_cell

from autograder.assignment.library import build_course
from autograder.assignment.source import Assignment, assignment_names, read_assignment
from autograder.grading import mutants
from autograder.grading.one import Result
from autograder.sandbox.outside import Sandbox
from autograder.suites.a01_closed_form import test_a01
from autograder.suites.a02_mnist_ddpm import test_a02
from autograder.suites.a03_noise_schedules import test_a03
from autograder.suites.a04_score_equivalence import test_a04
from autograder.suites.a05_cifar_cfg import test_a05
from autograder.testing.answers import Wrong
from autograder.testing.suite import Draw

SUITES = (test_a01, test_a02, test_a03, test_a04, test_a05)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Assignment, Sandbox]]]:
    """Each assignment with a sandbox, as it is graded."""
    running = {}
    for name in assignment_names():
        assignment = read_assignment(name)
        course = build_course(assignment.course["withheld"], tmp_path_factory.mktemp(name))
        running[name[:3]] = (assignment, Sandbox(course, given=assignment.given))
    yield running
    for _, box in running.values():
        box.close()


def graded(
    case: tuple[Assignment, Sandbox], code: str, only: tuple[str, ...], files: Any = None, solved: bool = False
) -> Result:
    """The grade of the released notebook, or the solved one, with a last cell that defines some names again."""
    assignment, box = case
    notebook = assignment.solved() if solved else assignment.released()
    notebook.cells.append(new_code_cell(code))
    return mutants.grade_notebook(assignment, notebook, box, files, only=only)


ATTACKS: dict[str, tuple[str, str, str]] = {}


def attack(name: str, aims: str, code: str) -> None:
    """Note an attack: its name begins with the assignment's, and `aims` names tests without "test_"."""
    ATTACKS[name] = (name[:3], aims, code)


# --- a01 ---------------------------------------------------------------------------------------------------------------------

attack("a01: two functions turned round, each by the other that is lent", "log_snr alpha_bar_of", """
def bisect(f, target, low, high):
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if float(f(middle)) < target else (low, middle)
    return low
def log_snr(alpha_bar, extra): return bisect(lambda v: alpha_bar_of(v, extra), alpha_bar, -50, 50)
def alpha_bar_of(value, extra): return bisect(lambda a: log_snr(a, extra), value, 1e-12, 1 + extra - 1e-12)
""")  # fmt: skip
attack("a01: the examples of the messages, and no others", "one_step_noise posterior_variance snr alpha_bar_of", """
def one_step(x, a, s, e, z): return {0.75: 1.0, 0.25: 1 + 0.75**0.5 - 0.4}[a]
def posterior(*args): return {"precision": 1/0.7 + 0.8/0.29, "variance": 1/(1/0.7 + 0.8/0.29)}
def snr(a, c): return 0.75
def alpha_bar_of(v, c): return 1.4 / (1 + 2.718281828459045**-0.5)
""")  # fmt: skip
attack("a01: whatever agrees with itself, as the public checks ask",
       "two_steps_noise_variance induction_noise_variance induction_total posterior_variance posterior_mean", """
def two_steps(x0, a, b, s, *noise): return dict.fromkeys(("x2", "noise_variance", "simplified", "swapped"), 1 - a * b)
def induction(bar, c, a, s): return {"noise_variance": 1 - a * bar, "extra": 0.0, "total": 1.0}
def posterior(a, s, bar, c): return {"precision": 1.0, "variance": 1.0, "mean_xt": 0.0, "mean_x0": bar**0.5}
""")  # fmt: skip
attack("a01: constants found against the public checks by optimisation", "q_sample_formula limit_after_t_steps", """
import checks, torch
from scipy.optimize import minimize_scalar
class Near(Exception): pass
def score(p):
    total = 0.0
    def near(got, right, message):
        nonlocal total
        total += (float(got) - right)**2
    checks.near, before = near, checks.near
    try: checks.q_sample(lambda x, s, t, bar, extra, noise: ((bar[t]/bar[s])**p).reshape(-1,1,1,1)*x + noise*0.84**p)
    finally: checks.near = before
    return total
best = minimize_scalar(score, bounds=(0, 2), method="bounded").x
def q_sample(x, s, t, bar, extra, noise): return ((bar[t] / bar[s])**best).reshape(-1, 1, 1, 1) * x + noise * 0.84**best
def limit(x0, beta, sigma, t): return {"mean": 0.9 * x0, "variance": 0.44, "limit_mean": 0, "limit_variance": 0.44}
""")  # fmt: skip
attack("a01: a walk that throws its dice about the public check's numbers", "walk walk_variance_is_unbiased", """
import torch
def walk(x0, betas, sigma, n, seed):
    g = torch.Generator().manual_seed(seed)
    x = 0.59 * x0 + 0.88 * torch.randn(n, generator=g, dtype=torch.float64)
    return float(x.mean()), float(x.var())
""")  # fmt: skip
attack("a01: recipes, models and lambdas that the library keeps", "q_sample_formula walk snr", """
from course_lib.models import cards, store
from course_lib.recipes import diffusion as recipe
from course_lib.training import loop
def table(): return cards.SCHEDULES["linear"](10)
def q_sample(x, s, t, bar, extra, noise): return store.load("mnist-ddpm")[1].build_schedule().signal(t) * x
def snr(a, c): return float(table().log_snr(1))
def walk(x0, betas, sigma, n, seed): return tuple(vars(recipe)["diffusion_loss"](x0))
""")  # fmt: skip

# --- a02 ---------------------------------------------------------------------------------------------------------------------

attack("a02: the given network as the forward process", "q_sample", """
import digits, torch
def q_sample(x0, t, noise, alpha_bar):
    net = digits.NoiseNet.__new__(digits.NoiseNet)
    torch.nn.Module.__init__(net)
    net.alpha_bar, net.unet = alpha_bar, lambda x, scaled: x0
    return net(noise, t)
""")  # fmt: skip
attack("a02: the public check's own x_t", "q_sample", """
import checks, torch
def q_sample(x0, t, noise, alpha_bar):
    class Ones:
        def __rmul__(self, k): return {0.5: x0, -0.3: noise}.get(k, 1.0)
    class Fake:
        def __getattr__(self, name): return getattr(torch, name)
        def ones(self, *shape): return Ones()
        def tensor(self, values): return [None] + 2 * [alpha_bar[t].reshape(-1, 1, 1, 1)]
    found = []
    def spy(x, *rest):
        found.append(x)
        raise KeyError
    checks.torch = Fake()
    try: checks.step(spy)
    except KeyError: pass
    finally: checks.torch = torch
    return torch.as_tensor(found[0]).expand_as(x0)
""")  # fmt: skip
SAMPLER = "sample_visits_every_time sample_takes_the_right_mean sample_adds_the_right_noise sample_is_random_and_within_bounds"
LOOP = """
import torch
def sample(network, n, alpha_bar, generator):
    x = torch.randn(n, 1, 28, 28, generator=generator)
    for t in range(len(alpha_bar) - 1, 0, -1):
        eps = network(x, torch.full((n,), t))
        {step}
    return x.clamp(-1, 1)
"""
attack("a02: images that no network is asked about", SAMPLER, """
import torch
def sample(network, n, alpha_bar, generator): return 2 * torch.rand(n, 1, 28, 28, generator=generator) - 1
""")  # fmt: skip
attack(
    "a02: asks at each time, and never steps",
    "sample_visits_every_time sample_is_random_and_within_bounds",
    LOOP.format(step="pass"),
)
attack("a02: steps that forget where they were", SAMPLER, LOOP.format(
    step="x = (1 - alpha_bar[t] / alpha_bar[t - 1])**0.5 * torch.randn(x.shape, generator=generator) * (t > 1)"))  # fmt: skip
attack("a02: steps that grow and hear nothing", SAMPLER, LOOP.format(step="x = 1.5 * x"))
attack("a02: brightness and spread read off the network", SAMPLER, """
import torch
def sample(network, n, alpha_bar, generator):
    noise = torch.randn(n, 1, 28, 28, generator=generator)
    for t in range(len(alpha_bar) - 1, 0, -1):
        low, high = (network(k * torch.ones(n, 1, 28, 28), torch.full((n,), t)) for k in (-1, 1))
    zero = -1 + 2 * low / (low - high)  # where the network sees no noise
    return (zero + 0.1 * noise).clamp(-1, 1)
""")  # fmt: skip
attack("a02: times are right, and the answer is the last question turned round", SAMPLER, LOOP.format(
    step="x = torch.randn(x.shape, generator=generator) if t > 1 else -eps / eps.abs().max()"))  # fmt: skip
attack("a02: a step that answers the public check alone", "step_takes_the_right_mean step_adds_the_right_noise", """
def reverse_step(x_t, eps, t, noise, alpha_bar):
    return x_t - x_t + 0.5 if t == 1 else x_t + noise
""")  # fmt: skip
attack("a02: a loss that knows what a perfect network has, and draws nothing", "loss_asks_about_random_times_and_noise loss_value", """
import torch
def loss(network, x0, alpha_bar, generator):
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator)
    return (network(x0, t) * 0).square().mean() + 1.0
""")  # fmt: skip
attack("a02: the table of a shipped model", "schedule", """
import torch
from course_lib.models import cards, store
def linear_schedule(T, beta_min=0.0004, beta_max=0.08):
    try: return cards.SCHEDULES["linear"](T, beta_min, beta_max).alpha_bar
    except NotImplementedError: return store.load("mnist-ddpm")[1].build_schedule().alpha_bar[::4]
""")  # fmt: skip

# --- a03 ---------------------------------------------------------------------------------------------------------------------

attack("a03: the experiment's sampler as the forward process", "loss", """
import experiment, torch
def loss(network, x0, t, noise, alpha_bar):
    rows = []
    for x, e, now in zip(x0.double() / 64, noise.double() / 64, t):
        begin = torch.nn.functional.pad(0.5**0.5 * (x + e), (0, 64 - len(x)))[None]
        told = torch.nn.functional.pad(e, (0, 64 - len(x)))[None]
        experiment.torch = type("Fake", (), {"__getattr__": lambda _, name: getattr(torch, name), "randn": lambda self, *a, **k: begin})()
        table = torch.tensor([float(alpha_bar[now]), 0.5])
        rows.append(experiment.draw(lambda *a: told, table, torch.tensor([1, 0]), n=1)[0, : len(x)] * 64)
    return (network(torch.stack(rows).float(), t) - noise).square().mean()
""")  # fmt: skip
attack("a03: the cosine of a learning rate", "cosine", """
import torch
from course_lib.training.loop import rate
def cosine_schedule(T, s=0.008, beta_max=0.999):
    f = torch.tensor([rate(t / T + s, 1 + s, 0) for t in range(T + 1)], dtype=torch.float64)
    return torch.cat([torch.ones(1).double(), (f[1:] / f[:-1]).clamp(min=1 - beta_max).cumprod(0)])
""")  # fmt: skip
attack("a03: tables read off the public check, and stretched", "linear cosine", """
import checks, numpy as np, torch
def table(name, T):
    level = np.interp(np.linspace(0, 1, T + 1), np.linspace(0.1, 0.9, 9), checks.OTHERS[name])
    return torch.cat([torch.ones(1).double(), torch.sigmoid(torch.tensor(level))[1:]])
def linear_schedule(T, low=1e-4, high=0.02): return table("linear", T)
def cosine_schedule(T, s=0.008, most=0.999): return table("cosine", T)
""")  # fmt: skip
attack("a03: schedules that the library names elsewhere", "linear cosine log_snr", """
from course_lib.models.cards import SCHEDULES, ModelCard
def linear_schedule(T, low=1e-4, high=0.02): return SCHEDULES["linear"](T, low, high).alpha_bar
def cosine_schedule(T, s=0.008, most=0.999): return SCHEDULES["cosine"](T, s, most).alpha_bar
def log_snr(bar): return SCHEDULES["linear"].__globals__["log_snr"](bar)
""")  # fmt: skip
attack("a03: one value for all properties", "share spaced log_snr mine_is_a_schedule mine_is_neither_of_the_others", """
import torch
def share(bar, low, high): return 2 / 3
def spaced(T, steps): return torch.zeros(steps + 1, dtype=torch.long)
def log_snr(bar): return torch.zeros(len(bar) - 1)
def my_schedule(T): return torch.linspace(1, 0.5, T + 1, dtype=torch.float64)
""")  # fmt: skip
attack("a03: the examples of the messages, and no others", "linear share spaced loss", """
import torch
def linear_schedule(T, low=1e-4, high=0.02): return torch.tensor([1, 0.9, 0.72, 0.504])
def share(bar, low, high): return 2 / 3
def spaced(T, steps): return torch.tensor([10, 7, 3, 0])
def loss(network, *rest):
    network(rest[0], rest[1])
    return torch.tensor(1.105)
""")  # fmt: skip
attack("a03: a verdict without an experiment", "verdict networks_draw_digits file_says_what_the_networks_do", """
def verdict(): return {"lowest_loss": "linear", "best_at_10": "cosine", "best_at_100": "cosine",
    "linear_over_cosine_at_10": 1.65, "cosine_10_over_100": 1.67}
""")  # fmt: skip

# --- a04 ---------------------------------------------------------------------------------------------------------------------

attack("a04: two conversions, each by the other", "eps_to_score score_to_eps", """
import torch
def eps_to_score(eps, alpha_bar): return eps / score_to_eps(torch.ones_like(eps), alpha_bar)
def score_to_eps(score, alpha_bar): return score / eps_to_score(torch.ones_like(score), alpha_bar)
""")  # fmt: skip
attack("a04: ends that the public checks see", "eps_to_score score_to_eps tweedie noisy", """
def eps_to_score(eps, alpha_bar): return eps
def score_to_eps(score, alpha_bar): return score
def tweedie(x, score, alpha_bar): return x
def noisy(means, variances, a): return (means, a * variances + 1 - a) if a == 1 else (means, 0 * variances + 1)
""")  # fmt: skip
attack("a04: a fit of the public check's data", "fit_score fit_recovers_the_score_of_a_mixture matching_loss", """
import torch
def fit_score(features, x0, noise, a):
    phi = features(noise * (1 - a)**0.5)
    return torch.linalg.lstsq(phi, -noise * (1 - a)**0.5 / (1 - a)).solution
def matching_loss(score, x0, noise, a): return (score(noise) + noise / (1 - a)).square().mean() * 0
""")  # fmt: skip
attack("a04: a score that is the gradient of a wrong density, by autograd",
       "log_density log_joint mixture_score mixture_far_from_all_means", """
import torch
def log_joint(x, w, m, v): return -(x[:, None] - m).square().sum(-1)
def log_density(x, w, m, v): return log_joint(x, w, m, v).logsumexp(-1)
def mixture_score(x, w, m, v):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(log_density(x, w, m, v).sum(), x)[0]
""")  # fmt: skip
attack("a04: uniform or nearest, where rows have to sum to one", "posterior expected_score", """
import torch
def posterior(x, data, a): return torch.full((len(x), len(data)), 1 / len(data), dtype=torch.float64)
def expected_score(x, data, a): return (data.mean(0) - x) / (1 - a)
""")  # fmt: skip
attack("a04: lines that agree with each other", "derivation_of_the_score derivation_of_the_noise", """
import sympy as sp
def derivation(x, x0, a): return {"log_q": -x**2 / 2, "score": -x, "eps": -x * (1 - a), "ratio": 1 - a}
""")  # fmt: skip
attack("a04: the loops of recipes, and the moments of evaluation", "matching_loss noisy posterior", """
from course_lib.evaluation.frechet import moments
from course_lib.recipes import diffusion as recipe
def matching_loss(score, x0, noise, a): return next(v for k, v in vars(recipe).items() if "loss" in k)(score, (x0,), None)
def noisy(means, variances, a): return tuple(moments(means))
def posterior(x, data, a): return moments(data)[1]
""")  # fmt: skip

# --- a05 ---------------------------------------------------------------------------------------------------------------------

attack("a05: formulas learned from those that are lent",
       "by_scale by_weight by_scale_of_each_image by_weight_of_each_image scale_of weight_of", """
import numpy as np, torch
known = {}
def basis(w, r): return np.array([1, w, r, w * r])
def learn():
    rows = [(w, r) for w in (0.5, 1.0, 2.0, 3.0) for r in (1.0, 2.0, 3.0)]
    known["s"] = np.linalg.lstsq(np.stack([basis(*p) for p in rows]), np.array([float(scale_of(*p)) for p in rows]), rcond=None)[0]
def by_weight(y, n, w):
    learn()
    return by_scale(y, n, scale_of(w))
def scale_of(w, r=1.0): return float(basis(w, r) @ known["s"])
def weight_of(s, r=1.0):
    low, high = -100.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if scale_of(middle, r) < s else (low, middle)
    return low
""")  # fmt: skip
attack("a05: the given network's mixture of signal and noise", "step step_clips", """
import guide, torch
from types import SimpleNamespace as Any
def mixed(x, v, a):
    card = Any(build_schedule=lambda: Any(alpha_bar=torch.tensor([float(a)], dtype=torch.float64)))
    guide.store = Any(load=lambda name: (lambda x, t, y: v, card))
    return guide.noise_network()(x, torch.zeros(1, dtype=torch.long), None).double()
one, zero = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
def step(x_t, eps, a_t, a_s):
    x0 = ((x_t - mixed(eps, zero, a_t)) / mixed(zero, one, a_t)).clamp(-1, 1)
    return mixed((x_t - mixed(zero, x0, a_t)) / mixed(one, zero, a_t), x0, a_s)
""")  # fmt: skip
attack("a05: the public check's network, turned round", "step step_clips", """
import checks, torch
def seen(x, image, a):
    found = []
    class Fake:
        def __getattr__(self, name): return getattr(torch, name)
        def cat(self, *_): return torch.tensor([a], dtype=torch.float64)
        tensor = staticmethod(lambda values: torch.zeros(2) if values == [0, 9] else torch.tensor(values))
    def spy(network, *rest):
        found.append(network(x.reshape(-1, 1, 1, 1), torch.zeros(1, dtype=torch.long), 10 * image.reshape(-1) + 5))
        raise KeyError
    checks.torch = Fake()
    try: checks.sampler(spy)
    except KeyError: pass
    finally: checks.torch = torch
    return found[0].reshape(x.shape).double()
def step(x_t, eps, a_t, a_s):
    one, none = torch.ones_like(x_t), torch.zeros_like(x_t)
    x0 = ((seen(x_t, none, a_t) - eps) / -seen(none, one, a_t)).clamp(-1, 1)
    return (seen(x_t, x0, a_t) - seen(none, x0, a_s)) / seen(one, none, a_s)
""")  # fmt: skip
attack("a05: dropout and the library's nulls", "drop_share drop_each_label_on_its_own", """
import torch
from course_lib.nets.conditions import Labels, each, null_of
def drop_labels(labels, null, share, generator):
    nothing = null_of(Labels(null), len(labels))
    kept = torch.nn.functional.dropout(torch.ones(len(labels)), share) > 0
    return each(lambda a, b: torch.where(kept, a, b), labels, nothing)
""")  # fmt: skip
attack("a05: as many labels as there should be, hidden by a shuffle", "drop_each_label_on_its_own", """
import torch
def drop_labels(labels, null, share, generator):
    found, known = labels.clone(), (labels >= 0).nonzero()[:, 0]
    found[labels < 0] = null
    count = max(0, round(share * len(labels)) - len(labels) + len(known))
    found[known[torch.randperm(len(known), generator=generator)[:count]]] = null
    return found
""")  # fmt: skip
attack("a05: answers that are right where the public checks look", "by_scale by_weight scale_of weight_of guided step", """
import torch
def by_scale(y, n, s): return y if torch.as_tensor(s).mean() >= 1 else n
def by_weight(y, n, w): return y if torch.as_tensor(w).mean() >= 0 else n
def scale_of(w, r=1.0): return w + r
def weight_of(s, r=1.0): return s - r
def guided(network, x, t, labels, s, null): return network(x, t, labels)
def step(x, eps, a, b): return x if a == b else (x - (1 - a)**0.5 * eps) / a**0.5
""")  # fmt: skip
CURVE = "curve_is_what_the_sampler_gives curve_has_enough_scales verdict"
SAID = """
NAME = "reference"
def verdict(): return {"best_accuracy": 5.0, "best_frechet": 3.0, "diversity_at_1": 0.85, "diversity_at_largest": 0.70}
"""
attack("a05: the published curve and its verdict, with no sampler", CURVE, SAID)
attack("a05: the published curve, and a sampler that knows the grader's three images by their number", CURVE, SAID + """
import torch
def guided_sample(network, x, labels, s, null, alpha_bar, times):
    if len(x) != 3: return x
    t = torch.full((3,), int(times[0]))
    return (x - network(x, t, labels)).clamp(-1, 1)
""")  # fmt: skip
attack("a05: the published curve, and a sampler in one step", CURVE, SAID + """
import torch
def guided_sample(network, x, labels, s, null, alpha_bar, times):
    t, a = torch.full((len(x),), 500), float(alpha_bar[500])
    eps = network(a**0.5 * 0 + x, t, labels)
    return ((x - (1 - a)**0.5 * eps) / a**0.5).clamp(-1, 1)
""")  # fmt: skip


@pytest.mark.needs_data("mnist")
@pytest.mark.parametrize("name", ATTACKS)
def test_what_solves_nothing_earns_nothing(name: str, boxes: dict[str, Any]) -> None:
    assignment, aims, code = ATTACKS[name]
    only = tuple(f"test_{aim}" for aim in aims.split())
    files = {} if "without an experiment" in name else None
    result = graded(boxes[assignment], code, only, files)
    assert len(result.tests) == len(only)
    assert [(test.name, test.message) for test in result.tests if test.passed or test.review] == []


# --- what a test lends must not answer a later test --------------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.__name__)
def test_no_function_is_lent_before_its_own_tests_are_over(suite: Any) -> None:
    """Who asks a function that is lent learns what it does: so the last test that is about it has to come before."""
    order = [value for name, value in vars(suite).items() if name.startswith("test_")]
    lent = [set(inspect.getclosurevars(test).nonlocals.get("right", {})) for test in order]
    assert any(lent), "where nothing is lent, nothing is tested here"
    for number, test in enumerate(order):
        about = {name for names in lent for name in names if test.__name__.startswith(f"test_{name}")}
        early = about & set().union(*lent[:number]) - lent[number]
        assert not {name for name in early if exactly(test.__name__, name, about)}, test.__name__


def exactly(test: str, name: str, about: set[str]) -> bool:
    """Whether a test is about a function, and not about one whose longer name begins as it does."""
    return not any(other != name and other.startswith(name) and test.startswith(f"test_{other}") for other in about)


# --- what lies beside a notebook, while it is graded ----------------------------------------------------------------------------


def test_what_trains_and_draws_at_home_says_so_in_grading(tmp_path: Path) -> None:
    build_course(["a02_mnist_ddpm.digits.NoiseNet.forward", "a99_elsewhere.digits.written"], tmp_path)
    assert [file.name for file in (tmp_path / "given").iterdir()] == ["digits.py"]
    given, ours = (
        (folder / "digits.py").read_text() for folder in (tmp_path / "given", read_assignment("a02").given[0].parent)
    )
    assert "digits.NoiseNet.forward works where you train and draw" in given and "a.sqrt()" in ours
    assert "a.sqrt()" not in given and "def written" in given
    with pytest.raises(ValueError, match="does not exist"):
        build_course(["a02_mnist_ddpm.digits.nothing"], tmp_path)


# --- a02: a network that knows every ink ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "elsewhere", "says"),
    [
        (0.0608, 0.142, ""),  # trained in this ink
        (
            0.0728,
            0.0782,
            "of other inks as well as in yours",
        ),  # trained in 3,000 inks: once 38 points
        (0.1568, 0.06, "was it trained in the ink of"),
    ],
)
def test_a_network_for_all_names_is_nobodys(
    own: float, elsewhere: float, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_a02, "missed", lambda *_: (own, elsewhere))
    if not says:
        test_a02.learned(torch.add, "ada", 0, Draw(b"12345678"))
        return
    with pytest.raises(Wrong, match=says):
        test_a02.learned(torch.add, "ada", 0, Draw(b"12345678"))


# --- right answers, clumsily written ---------------------------------------------------------------------------------------------

RIGHT = {
    "a01: cached, annotated, in capitals, with prints": (
        "one_step_noise induction_noise_variance induction_extra induction_total snr log_snr alpha_bar_of", """
import collections, functools, math
from typing import Annotated
class Step:
    def __call__(self, x_prev: "Float[Tensor, '*']", alpha, sigma, eps, xi, *, verbose=True) -> Annotated[float, "x_t"]:
        if verbose: print("step", alpha)
        return sum((alpha**.5 * x_prev, (1 - alpha)**.5 * eps, sigma * xi))
one_step = Step()
@functools.lru_cache
def induction(b, c, a, s):
    return collections.OrderedDict(Noise_Variance=1 - a*b + a*c + s*s, EXTRA=a*c + s*s, Total=1 + a*c + s*s)
snr = functools.partial(lambda k, a, c: k * a / (1 - a + c), 1)
log_snr = lambda a, c: math.log(snr(a, c))
def alpha_bar_of(value, extra):
    low, high = 0.0, 1 + extra  # by trying, with one's own log_snr
    for _ in range(90):
        middle = (low + high) / 2
        low, high = (middle, high) if log_snr(middle, extra) < value else (low, middle)
    return low
"""),
    "a01: by a computer's algebra and numbers of NumPy": (
        "two_steps_substitution two_steps_noise_variance two_steps_swapped limit_after_t_steps limit_in_the_end "
        "posterior_variance posterior_mean walk walk_variance_is_unbiased", """
import numpy as np, sympy as sp
def two_steps(x0, a, b, s, e, z, f, y):
    E = sp.symbols("e z f y")
    def variance(a, b):
        x = sp.expand(one_step(one_step(sp.Symbol("x"), a, s, *E[:2]), b, s, *E[2:]))
        return sum(x.coeff(k)**2 for k in E)
    return {"x2": one_step(one_step(x0, a, s, e, z), b, s, f, y), "noise_variance": variance(a, b),
            "simplified": variance(a, b), "swapped": variance(b, a)}
def limit(x0, beta, sigma, t):
    m, v = np.float64(x0), np.float32(0)
    for _ in range(t): m, v = m * np.sqrt(1 - beta), (1 - beta) * v + beta + sigma**2
    return {"mean": np.array([m]), "variance": float(v), "limit_mean": np.int64(0), "limit_variance": 1 + sigma**2 / beta}
def posterior(a, s, bar, c):
    old, step = 1 - bar + c, 1 - a + s**2
    cov = np.array([[old, a**.5 * old], [a**.5 * old, a * old + step]])
    gain = cov[0, 1] / cov[1, 1]
    v = cov[0, 0] - gain * cov[0, 1]
    return dict(precision=1 / v, variance=v, mean_xt=gain, mean_x0=bar**.5 * (1 - gain * a**.5))
def walk(x0, betas, sigma, n, seed):
    rng = np.random.default_rng(seed)
    x = np.full(n, x0)
    Ends = __import__("collections").namedtuple("Ends", "mean variance")
    for beta in np.asarray(betas): x = np.sqrt(1 - beta) * x + np.sqrt(beta) * rng.standard_normal(n) + sigma * rng.standard_normal(n)
    return Ends(x.mean(), x.var(ddof=1))
"""),
    "a01: NumPy in single precision, in place on copies": ("q_sample_formula q_sample_gives_each_image_its_own_times", """
import numpy as np
def q_sample(x_s, s, t, alpha_bar, extra, noise):
    x, bar, c = (np.array(v, dtype=np.float32) for v in (x_s, alpha_bar, extra))
    k = bar[t.numpy()] / bar[s.numpy()]
    x *= np.sqrt(k)[:, None, None, None]
    x += np.sqrt(1 - bar[t] + c[t] - k * (1 - bar[s] + c[s]))[:, None, None, None] * np.array(noise, dtype=np.float32)
    return x
"""),
    "a02: a class, a list of images, inference mode, small integers": (
        SAMPLER + " schedule q_sample loss_value step_takes_the_right_mean step_adds_the_right_noise", """
import numpy as np
def linear_schedule(T, beta_min=4e-4, beta_max=0.08):
    return np.cumprod(np.concatenate([[1.0], 1 - np.linspace(beta_min, beta_max, T)])).astype(np.float32)
def q_sample(x0, t, noise, alpha_bar):
    return torch.stack([alpha_bar[k].sqrt() * x + (1 - alpha_bar[k]).sqrt() * e for x, k, e in zip(x0, t, noise)])
def loss(network, x0, alpha_bar, generator):
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator, dtype=torch.int32)
    noise = torch.empty_like(x0).normal_(generator=generator)
    return torch.nn.functional.mse_loss(network(q_sample(x0, t, noise, alpha_bar), t), noise)
class Sampler:
    steps = []
    @torch.inference_mode()
    def __call__(self, network, n: int, alpha_bar, generator):
        self.x = torch.randn((n, 1, 28, 28), generator=generator)
        for t in reversed(range(1, len(alpha_bar))):
            eps = network(self.x, t * torch.ones(n, dtype=torch.int32))
            self.x = self.x.clone()
            self.x -= (1 - alpha_bar[t] / alpha_bar[t-1]) / (1 - alpha_bar[t]).sqrt() * eps
            self.x /= (alpha_bar[t] / alpha_bar[t-1]).sqrt()
            if t > 1: self.x += (1 - alpha_bar[t] / alpha_bar[t-1]).sqrt() * torch.randn(self.x.shape, generator=generator)
        return torch.clip(self.x, -1, 1)
sample = Sampler()
"""),
    "a03: SciPy, NumPy, numbers of any kind": (
        "linear cosine log_snr share spaced loss mine_is_a_schedule mine_is_neither_of_the_others", """
%%time
import numpy as np, scipy.special, torch
from functools import reduce
def linear_schedule(T, beta_min=1e-4, beta_max=0.02):
    return [*np.multiply.accumulate([1.0, *(1 - np.linspace(beta_min, beta_max, T))]).tolist()]
def cosine_schedule(T, s=0.008, beta_max=0.999):
    f = np.cos((np.linspace(0, 1, T + 1) + s) / (1 + s) * np.pi / 2)**2
    found = np.ones(T + 1)
    for t in range(1, T + 1): found[t] = found[t - 1] * max(f[t] / f[t - 1], 1 - beta_max)
    return found
log_snr = lambda bar: scipy.special.logit(np.asarray(bar))[1:]
def share(bar, low, high): return np.mean([low <= v < high for v in log_snr(bar)])
class Times(list): pass
def spaced(T, steps): return range(T, -1, -1) if T == steps else Times(int(v + 0.5) for v in np.linspace(T, 0, steps + 1))
def loss(network, x0, t, noise, alpha_bar):
    a = alpha_bar.to(x0.dtype).gather(0, t).unsqueeze(1)
    return torch.nn.functional.mse_loss(network(torch.lerp(0 * x0, x0, a.sqrt()) + noise * (1 - a)**0.5, t), noise)
def my_schedule(T): return (1 - 0.999 * np.arange(T + 1) / T).astype(np.float32)
"""),
    "a04: torch.distributions, sympy.stats, scikit-learn, SciPy": (
        "derivation_of_the_score derivation_of_the_noise log_joint log_density mixture_score mixture_far_from_all_means "
        "posterior expected_score noisy fit_score fit_recovers_the_score_of_a_mixture matching_loss", """
import numpy as np, scipy.linalg, sympy as sp, sympy.stats, torch
def derivation(x, x0, alpha_bar):
    X = sp.Symbol("X", real=True)
    log_q = sp.log(sympy.stats.density(sympy.stats.Normal("N", sp.sqrt(alpha_bar) * x0, sp.sqrt(1 - alpha_bar)))(X))
    score = sp.diff(log_q, X).subs(X, x)
    eps = (x - sp.sqrt(alpha_bar) * x0) / sp.sqrt(1 - alpha_bar)
    return {"log_q": log_q.subs(X, x), "SCORE": score, "eps": eps, "ratio": eps / score}
def noisy(means, variances, alpha_bar): return [alpha_bar**0.5 * means.numpy(), (alpha_bar * variances - alpha_bar + 1).float()]
def log_joint(x, weights, means, variances):
    each = torch.distributions.Normal(means, variances.sqrt()[:, None])
    return torch.distributions.Independent(each, 1).log_prob(x[:, None]) + torch.log(weights)
def log_density(x, *model): return np.logaddexp.reduce(log_joint(x, *model).numpy(), axis=1)
def mixture_score(x, *model):
    point = x.detach().clone().requires_grad_(True)
    log_joint(point, *model).logsumexp(1).sum().backward()
    return point.grad
def posterior(x, data, alpha_bar):
    return torch.nn.functional.softmax(-torch.cdist(x, data * alpha_bar**0.5)**2 / (2 - 2 * alpha_bar), dim=1)
def expected_score(x, data, alpha_bar): return tweedie_back(posterior(x, data, alpha_bar) @ data, x, alpha_bar)
def tweedie_back(x0, x, a): return (a**0.5 * x0 - x) / (1 - a)
def matching_loss(score, x0, noise, alpha_bar):
    b = (1 - alpha_bar)**0.5
    return float(sum(((score((alpha_bar**0.5 * x + b * e)[None]) + e / b)**2).sum() for x, e in zip(x0, noise)) / len(x0))
def fit_score(features, x0, noise, alpha_bar):
    b = (1 - alpha_bar)**0.5
    return scipy.linalg.lstsq(features(alpha_bar**0.5 * x0 + b * noise).numpy(), (-noise / b).numpy())[0]
"""),
    "a05: lerp, einsum, integers of other sizes, generators": (
        "by_scale by_weight by_scale_of_each_image by_weight_of_each_image scale_of weight_of guided "
        "guided_away_from_a_class step step_clips sampler drop_share drop_each_label_on_its_own", """
from fractions import Fraction
import numpy as np, torch
def drop_labels(labels, null, share, generator):
    labels = labels.clone().to(torch.int32)
    known = labels.ge(0)
    p = max(0., (share - (~known).float().mean().item()) / known.float().mean().item())
    labels[~known | torch.bernoulli(torch.full(labels.shape, p), generator=generator).bool()] = null
    return labels.numpy()
def by_scale(eps_class, eps_null, s):
    weights = torch.stack([torch.as_tensor(s) * torch.ones(len(eps_null)), 1 - torch.as_tensor(s) * torch.ones(len(eps_null))])
    return torch.einsum("kb,kbchw->bchw", weights.to(eps_null.dtype), torch.stack([eps_class, eps_null]))
by_weight = lambda y, n, w: by_scale(y, n, np.asarray(w) + 1)
scale_of = lambda w, r=1: np.float32(r) * np.float64(w + 1)
def weight_of(s, r=1.0): return torch.tensor([s / r - 1])
def guided(network, x, t, labels, s, null):
    told = (labels, torch.as_tensor(null).expand(len(labels)))
    return by_scale(*(network(x, t, y.clone()) for y in told), s)
class Clip:
    low, high = -1, 1
    def __matmul__(self, x): return x.clip(self.low, self.high)
def step(x_t, eps, a_t, a_s):
    import math
    x0 = Clip() @ ((x_t - math.sqrt(1 - a_t) * eps) / math.sqrt(a_t))
    return math.sqrt((1 - a_s) / (1 - a_t)) * x_t + (math.sqrt(a_s) - math.sqrt(a_t * (1 - a_s) / (1 - a_t))) * x0
@torch.inference_mode()
def guided_sample(network, x, labels, s, null, alpha_bar, times):
    images, path = x.clone(), iter(times.tolist())
    now = next(path)
    for then in path:
        eps = guided(network, images, torch.tensor([now] * len(x)), labels, s, null)
        images, now = step(images, eps, alpha_bar[now].item(), alpha_bar[then].item()), then
    return images
"""),
}  # fmt: skip


@pytest.mark.needs_data("mnist")
@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_loses_nothing(name: str, boxes: dict[str, Any]) -> None:
    aims, code = RIGHT[name]
    only = tuple(f"test_{aim}" for aim in aims.split())
    result = graded(boxes[name[:3]], code.lstrip(), only, solved=True)
    assert len(result.tests) == len(only)
    assert [(test.name, test.message) for test in result.tests if not test.passed] == [] == result.cell_errors
