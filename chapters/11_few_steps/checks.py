"""Checks of chapter 11: a mixture in three dimensions whose flow is solved numerically, finite data sets, and random functions."""

import functools
import math

import torch
from scipy.integrate import simpson, solve_ivp
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor

from course_lib.diffusion.continuous import EDM, VP, Straight
from course_lib.diffusion.exact import ExactDiffusion, Mixture, two_bumps
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import FLOW, V
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, proves
from course_lib.recipes.few_steps import consistency_loss, mean_flow_loss
from course_lib.sampling.leaps import leap
from course_lib.sampling.ode import velocity

SCHEDULES = (Straight(), VP(), EDM(6.0))


def double(value: float | Tensor) -> Tensor:
    """A number in float64."""
    return torch.as_tensor(value, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def world() -> Mixture:
    """Two unequal bumps in three dimensions."""
    root = 0.4 * normal(2, 3, 3, seed=7)
    covariances = root @ root.mT + 0.05 * torch.eye(3, dtype=torch.float64)
    means = torch.tensor([[-1.0, 0.4, 0.2], [0.9, -0.5, 0.6]], dtype=torch.float64)
    return Mixture(torch.tensor([0.35, 0.65], dtype=torch.float64), means, covariances)


EXACT = ExactDiffusion(world(), Straight())


def field_at(x: Tensor, t: Tensor) -> Tensor:
    """The velocity of the straight path from that mixture, (x - E[x_0 | x]) / t."""
    return (x - EXACT.denoise(x, t)) / t


def path(x: Tensor, t: float, times: list[float]) -> Tensor:
    """The states `(len(times), B, 3)` of that mixture's flow from points x at time t, solved to ten digits."""

    def slope(time: float, flat: object) -> object:
        return field_at(torch.as_tensor(flat).reshape(x.shape), double(time)).flatten().numpy()

    start = x.flatten().numpy()
    found = solve_ivp(slope, (t, times[-1]), start, method="DOP853", t_eval=times, rtol=1e-10, atol=1e-11)
    return torch.from_numpy(found.y.T).reshape(-1, *x.shape)


def moved(x: Tensor, t: float, s: float) -> Tensor:
    """Where the flow carries points `(B, 3)` from time t to s."""
    return path(x, t, [s])[-1]


def mean_velocity(x: Tensor, t: float, s: float) -> Tensor:
    """The velocity's mean along the paths, by Simpson's rule."""
    times = torch.linspace(t, s, 41, dtype=torch.float64)
    states = path(x, t, times.tolist())
    speeds = torch.stack([field_at(state, time) for state, time in zip(states, times, strict=True)])
    return torch.as_tensor(simpson(speeds.numpy(), x=times.numpy(), axis=0)) / (s - t)


X = normal(2, 3, seed=1)
FROM, MIDDLE, TO, HOME = 0.9, 0.6, 0.25, 1e-3


@defines("eq-few-map", "eq-few-mean", "eq-few-skip", "eq-few-truncated")
def definitions() -> None:
    """These introduce the flow map, the mean velocity, the form of a consistency model, and a weight."""


@defines("eq-few-cd", "eq-few-meanflow-loss")
def losses() -> None:
    """The library's losses, of a network that is a known function, from the same times, data and noise."""
    seen: dict[str, Tensor] = {}

    def answer(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        if not torch._C._functorch.is_functorch_wrapped_tensor(x):
            seen.update(x=x, t=t, s=s)
        return torch.sin(x) * (1 + t[:, None]) + s[:, None]

    x0, process = normal(6, 3), GaussianDiffusion(Straight())
    guess = lambda x, t: x / 2  # noqa: E731
    found = consistency_loss(guess, process, FLOW, 5)(answer, x0, torch.Generator().manual_seed(0))
    x, t, s = seen["x"], seen["t"][:, None], seen["t"][:, None] - 0.2
    home = lambda x, t: x - t * (torch.sin(x) * (1 + t))  # noqa: E731
    there = (1 - s) * x / 2 + s / t * (x - (1 - t) * x / 2)
    page = claim(((home(x, t) - home(there, s)) / t).square(), "eq-few-cd")
    assert_close(found, page.mean())
    seen.clear()
    found = mean_flow_loss(process, FLOW, guess, 0.0)(answer, x0, torch.Generator().manual_seed(0))
    x, t, s = seen["x"], seen["t"].double()[:, None], seen["s"][:, None]
    v = (x - x / 2) / t
    change = torch.cos(x) * (1 + t) * v + torch.sin(x)
    wanted = claim(v - (t - s) * change, "eq-few-meanflow-loss")
    assert_close(found, (torch.sin(x) * (1 + t) + s - wanted).square().mean(), 1e-6)


# --- the flow map ------------------------------------------------------------------------------------------------------


@proves("eq-few-semigroup", "eq-few-consistency")
def semigroup() -> None:
    """Solve the flow in one go and in two; a path's points have one end."""
    whole, middle = moved(X, FROM, TO), moved(X, FROM, MIDDLE)
    assert_close(claim(moved(middle, MIDDLE, TO), "eq-few-semigroup"), whole, 1e-8)
    assert_close(claim(moved(moved(X, 0.9, 0.4), 0.4, 0.25), "eq-few-semigroup"), whole, 1e-8)
    home = moved(X, FROM, HOME)
    assert_close(home, claim(moved(middle, MIDDLE, HOME), "eq-few-consistency"), 1e-7)
    assert_close(home, claim(moved(whole, TO, HOME), "eq-few-consistency"), 1e-7)


def distribution(x: float, t: float) -> float:
    """F_t of the two bumps, from scipy."""
    bumps = two_bumps()
    centres = (1 - t) * bumps.means[:, 0].numpy()
    spreads = ((1 - t) ** 2 * bumps.covariances[:, 0, 0].numpy() + t**2) ** 0.5
    return float(bumps.weights.numpy() @ norm.cdf(x, centres, spreads))


def inverse(share: float, t: float) -> float:
    """The place with this share below it, by scipy's root."""
    return brentq(lambda y: distribution(y, t) - share, -9, 9, xtol=1e-13)  # type: ignore[return-value]


def on_the_line(x: float, t: float, s: float) -> float:
    """The flow of the two bumps, solved."""
    field = velocity(ExactDiffusion(two_bumps(), Straight()).denoise, Straight())
    slope = lambda time, y: field(torch.as_tensor(y).reshape(1, 1), double(time)).flatten().numpy()  # noqa: E731
    return float(solve_ivp(slope, (t, s), [x], method="DOP853", rtol=1e-11, atol=1e-12).y[0, -1])


@proves("eq-few-quantile", "eq-few-slope")
def quantile() -> None:
    """On the line: the flow is solved; the quantile is found with scipy's root; the slope comes from differences."""

    def density(x: float, t: float) -> float:
        return (distribution(x + 1e-5, t) - distribution(x - 1e-5, t)) / 2e-5

    for x, t, s in ((0.7, 1.0, 0.3), (-1.1, 0.8, 0.1), (0.1, 0.9, 0.5)):
        end = on_the_line(x, t, s)
        assert_close(end, claim(inverse(distribution(x, t), s), "eq-few-quantile"), 1e-8)
        assert_close(0.0, claim(distribution(end, s) - distribution(x, t), "eq-few-quantile"), 1e-8)
        slope = (on_the_line(x + 1e-4, t, s) - on_the_line(x - 1e-4, t, s)) / 2e-4
        assert_close(slope, claim(density(x, t) / density(end, s), "eq-few-slope"), 1e-6)
        assert_close(0.0, claim(slope * density(end, s) - density(x, t), "eq-few-slope"), 1e-6)


@proves("eq-few-leap")
def leap_is_exact() -> None:
    """The mean velocity is a quadrature along the solved path; as the leap shrinks it is the velocity."""
    assert_close(moved(X, FROM, TO), claim(X - (FROM - TO) * mean_velocity(X, FROM, TO)), 1e-6)


@proves("eq-few-ddim-error")
def ddim_error() -> None:
    """A short leap: the flow, solved, and the acceleration by differences along the path."""
    t, h = 0.7, 1e-3
    before, after = moved(X, t, t - 1e-4), moved(X, t, t + 1e-4)
    acceleration = (field_at(after, double(t + 1e-4)) - field_at(before, double(t - 1e-4))) / 2e-4
    off = moved(X, t, t - h) - (X - h * field_at(X, double(t)))
    page = claim(h**2 / 2 * acceleration)
    assert_close(1e6 * off, 1e6 * page, 5e-3)


# --- progressive distillation ------------------------------------------------------------------------------------------


@proves("eq-few-target")
def target() -> None:
    """Put into DDIM's step of the library, for every kind of schedule, it leads to the point that was wanted."""
    x, wanted = normal(4, 3), normal(4, 3, seed=1)
    for schedule in SCHEDULES:
        t, s = double(0.8 * schedule.T), double(0.3 * schedule.T)
        a, b, a_s, b_s = schedule.signal(t), schedule.noise(t), schedule.signal(s), schedule.noise(s)
        guess = claim((wanted - b_s / b * x) / (a_s - b_s / b * a))
        assert_close(GaussianDiffusion(schedule).bridge(guess, x, t, s, eta=0.0)[0], wanted, 1e-10)


@proves("eq-few-halves")
def halves() -> None:
    """Two of Euler's steps with any field, and the velocity of the one step that ends there, which is solved for."""
    field = lambda x, t: torch.sin(2 * x + t) + x.flip(1)  # noqa: E731
    x, t, s = normal(4, 3), 0.9, 0.3
    m = (t + s) / 2
    middle = x + (m - t) * field(x, t)
    end = middle + (s - m) * field(middle, m)
    one = torch.linalg.solve(torch.eye(3, dtype=torch.float64) * (s - t), (end - x).T).T
    assert_close(one, claim((x - end) / (t - s)))
    assert_close(one, claim((field(x, t) + field(middle, m)) / 2))


@proves("eq-few-target-v", "eq-few-weight")
def target_v() -> None:
    """On the circle: the leap of a network that says this v, through the library; and two answers for one state, compared."""
    schedule, x, wanted = VP(), normal(4, 3), normal(4, 3, seed=1)
    t, s = double(0.7), double(0.2)
    turn = math.atan2(float(schedule.noise(t)), float(schedule.signal(t)))
    turn -= math.atan2(float(schedule.noise(s)), float(schedule.signal(s)))
    v = claim((math.cos(turn) * x - wanted) / math.sin(turn), "eq-few-target-v")
    assert_close(leap(lambda x, t, cond: v, V, GaussianDiffusion(schedule))(x, t, s), wanted, 1e-10)
    a, b = schedule.signal(t), schedule.noise(t)
    first, second = normal(4, 3, seed=2), normal(4, 3, seed=3)
    answers_ = [a * (x - a * guess) / b - b * guess for guess in (first, second)]
    page = claim((1 + a**2 / b**2) * (first - second).square().sum(1), "eq-few-weight")
    assert_close((answers_[0] - answers_[1]).square().sum(1), page, 1e-9)


# --- consistency -------------------------------------------------------------------------------------------------------


@proves("eq-few-skip-ours")
def skip() -> None:
    """The leap to time 0 through the library, with a network that is a known function, on the line and on the circle."""
    answer = lambda x, t, s: torch.sin(3 * x) + t[:, None] * torch.ones_like(x)  # noqa: E731
    x, t, zero = normal(4, 3), double(0.7), double(0.0)
    said = answer(x, t.expand(4), None)
    assert_close(leap(answer, FLOW, GaussianDiffusion(Straight()))(x, t, zero), claim(x - t * said))
    a, b = VP().signal(t), VP().noise(t)
    assert_close(leap(answer, V, GaussianDiffusion(VP()))(x, t, zero), claim(a * x - b * said), 1e-10)


@functools.cache
def crowd(index: int) -> dict[str, Tensor]:
    """A finite data set seen from one point x at time t: the data's probabilities given x, the data, and their partners at s."""
    schedule = SCHEDULES[index]
    data, x = normal(6, 3, seed=4), 0.7 * normal(3, seed=5)
    t, s = double(0.6 * schedule.T / max(1.0, schedule.T / 2)), double(0.35 * schedule.T / max(1.0, schedule.T / 2))
    a, b, a_s, b_s = schedule.signal(t), schedule.noise(t), schedule.signal(s), schedule.noise(s)
    given = (-(x - a * data).square().sum(1) / (2 * b**2)).softmax(0)
    partners = a_s * data + b_s * (x - a * data) / b
    return {"given": given, "data": data, "x": x, "partners": partners, "a": a, "b": b, "a_s": a_s, "b_s": b_s}


def averaged(given: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of rows with probabilities."""
    mean = given @ values
    centred = values - mean
    return mean, (centred.T * given) @ centred


@proves("eq-few-ct-step", "eq-few-ct-spread")
def partners() -> None:
    """Enumerate the data behind one noisy point, for three schedules."""
    for index in range(3):
        at = crowd(index)
        mean, covariance = averaged(at["given"], at["partners"])
        guess, spread = averaged(at["given"], at["data"])
        noise = (at["x"] - at["a"] * guess) / at["b"]
        assert_close(mean, claim(at["a_s"] * guess + at["b_s"] * noise, "eq-few-ct-step"))
        factor = claim(at["a_s"] - at["b_s"] * at["a"] / at["b"], "eq-few-ct-spread")
        assert_close(covariance, claim(factor**2 * spread, "eq-few-ct-spread"))


@proves("eq-few-ct-split", "eq-few-ct-bias")
def training_without_a_teacher() -> None:
    """For any answer at x and any function of the partners the loss splits; for a quadratic function the bias is exact."""
    curve = normal(3, 3, 3, seed=6)
    curve = curve + curve.mT
    quadratic = lambda x: torch.einsum("bi,kij,bj->bk", x, curve, x) / 2 + x.flip(1)  # noqa: E731
    for index in range(3):
        at = crowd(index)
        given, answer = at["given"], normal(3, seed=8)
        values = torch.tanh(at["partners"] @ normal(3, 3, seed=9))
        mean, covariance = averaged(given, values)
        loss = given @ (answer - values).square().sum(1)
        assert_close(loss, claim((answer - mean).square().sum() + covariance.trace(), "eq-few-ct-split"))
        bent, _ = averaged(given, quadratic(at["partners"]))
        step = (given @ at["partners"])[None]
        _, spread = averaged(given, at["data"])
        factor = at["a_s"] - at["b_s"] * at["a"] / at["b"]
        bias = claim(factor**2 / 2 * torch.einsum("kij,ij->k", curve, spread), "eq-few-ct-bias")
        assert_close(bent - quadratic(step)[0], bias)


# --- mean flows --------------------------------------------------------------------------------------------------------


@proves("eq-few-total")
def total() -> None:
    """A random function along a solved path, by differences, and torch's Jacobian-vector product of it."""
    mix = normal(3, 3, seed=10)
    function = lambda x, t: torch.tanh(x @ mix) * (1 + t**2) + x * t  # noqa: E731
    t, h = 0.6, 1e-4
    along = (function(moved(X, t, t + h), double(t + h)) - function(moved(X, t, t - h), double(t - h))) / (2 * h)
    u = field_at(X, double(t))
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: function(x, double(t))))(X)
    in_time = torch.func.jacfwd(lambda t: function(X, t))(double(t))
    assert_close(along, claim(in_time + torch.einsum("bij,bj->bi", jacobian, u)), 1e-6)
    product = torch.func.jvp(function, (X, double(t)), (u, double(1.0)))[1]
    assert_close(along, product, 1e-6)


def rates(function: object, t: float, h: float = 2e-3) -> tuple[Tensor, Tensor]:
    """The derivative of function(x, t) in time at X, and along the velocity there, by differences of order four."""
    u = field_at(X, double(t))

    def slope(ask: object) -> Tensor:
        near, far = (ask(h) - ask(-h), ask(2 * h) - ask(-2 * h))  # type: ignore[operator]
        return (8 * near - far) / (12 * h)

    return slope(lambda d: function(X, t + d)), slope(lambda d: function(X + d * u, t))  # type: ignore[operator]


@proves("eq-few-transport")
def transport() -> None:
    """The flow map of the mixture, solved from shifted times and places."""
    in_time, along = rates(lambda x, t: moved(x, t, TO), 0.7)
    assert_close(claim(in_time + along), torch.zeros(2, 3), 1e-6)
    assert float(in_time.abs().max()) > 0.1


@proves("eq-few-meanflow")
def meanflow() -> None:
    """The mean velocity of the mixture from the solved flow; its derivatives by differences."""
    t = 0.7
    in_time, along = rates(lambda x, t: (x - moved(x, t, TO)) / (t - TO), t)
    mean = mean_velocity(X, t, TO)
    assert_close(mean, claim(field_at(X, double(t)) - (t - TO) * (in_time + along)), 1e-5)


@proves("eq-few-meanflow-unbiased")
def unbiased() -> None:
    """Enumerate the lines through one point: the mean of the targets is the target of the mean line, for any function."""
    at = crowd(0)
    given, data, x, t, s = at["given"], at["data"], at["x"], at["b"], double(0.2)
    mix = normal(3, 3, seed=11)
    function = lambda x, t: torch.tanh(x @ mix) * (1 + t)  # noqa: E731
    lines = (x - (1 - t) * data) / t - data
    change = lambda v: torch.func.jvp(function, (x, t), (v, torch.ones_like(t)))[1]  # noqa: E731
    targets = torch.stack([v - (t - s) * change(v) for v in lines])
    mean = given @ lines
    jacobian = torch.func.jacrev(lambda x: function(x, t))(x)
    in_time = torch.func.jacfwd(lambda t: function(x, t))(t)
    assert_close(given @ targets, claim(mean - (t - s) * (in_time + jacobian @ mean)))


# --- answers -----------------------------------------------------------------------------------------------------------


@answers("ex-few-gaussian")
def gaussian_answer() -> None:
    """The mean velocity of centred Gaussian data of standard deviation 2 from t = 1 to 0 is x times 1 - 2."""
    one = Mixture(torch.ones(1).double(), torch.zeros(1, 1).double(), torch.full((1, 1, 1), 4.0).double())
    field = velocity(ExactDiffusion(one, Straight()).denoise, Straight())
    slope = lambda time, y: field(torch.as_tensor(y).reshape(1, 1), double(time)).flatten().numpy()  # noqa: E731
    end = float(solve_ivp(slope, (1.0, 1e-6), [1.5], method="DOP853", rtol=1e-10, atol=1e-12).y[0, -1])
    assert_close(end, claim(2 * 1.5), 1e-4)
    assert_close(1.5 - end, claim((1 - 2) * 1.5), 1e-4)
    assert_printed((end - 1.5) / 1.5, "1.00")
