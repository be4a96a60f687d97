"""Checks of chapter 10's equations on flows: exact mixtures, finite data sets and correlated Gaussians in float64."""

import functools
import itertools
import math

import torch
from scipy.integrate import simpson
from torch import Tensor

from course_lib.diffusion.continuous import EDM, VP, Straight
from course_lib.diffusion.exact import ExactDiffusion, IdealDenoiser, Mixture, three_bumps
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import FLOW
from course_lib.pages.proofs import assert_close, claim, defines, proves
from course_lib.sampling.ode import heun, velocity
from course_lib.sampling.steps import last, sample
from course_lib.sampling.straightness import straightness
from course_lib.training.coupling import matched

SCHEDULES = (Straight(), VP(), EDM(6.0))
TIMES = (0.2, 0.55, 0.9)
UNIT = torch.eye(3, dtype=torch.float64)


def double(value: float) -> Tensor:
    """A number in float64."""
    return torch.tensor(value, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


EXACT = ExactDiffusion(three_bumps(), Straight())


@defines("eq-flow-ode", "eq-flow-path", "eq-flow-marginal", "eq-flow-interpolant")
def definitions() -> None:
    """These introduce the flow, the paths, the marginal velocity and the interpolants."""


@defines("eq-flow-loss", "eq-flow-straightness", "eq-flow-batch")
def library_definitions() -> None:
    """The library's loss, its straightness of a path and its matching are the ones defined."""
    x0, eps, t = normal(4, 3), normal(4, 3, seed=1), torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)
    answer = lambda x, t, cond: torch.sin(x)  # noqa: E731
    found = denoising_loss(answer, x0, t, eps, GaussianDiffusion(Straight()), FLOW)
    x_t, rate = (1 - t[:, None]) * x0 + t[:, None] * eps, eps - x0
    assert_close(found, claim((torch.sin(x_t) - rate).square(), "eq-flow-loss").mean(1))
    times = torch.linspace(1, 0, 1001, dtype=torch.float64)
    path = torch.stack([torch.stack([time**3, torch.sin(time)]) for time in times])[:, None]
    slope, chord = torch.stack([3 * times**2, times.cos()], 1), path[0, 0] - path[-1, 0]
    bend = claim((chord - slope).square(), "eq-flow-straightness").sum(1)
    assert_close(straightness(path, times)[0], simpson(bend.flip(0), x=times.flip(0)), 1e-5)
    pairs = {
        order: claim((x0 - eps[list(order)]).square(), "eq-flow-batch").sum()
        for order in itertools.permutations(range(4))
    }
    best = min(pairs, key=lambda order: float(pairs[order]))
    assert_close(matched(x0, eps), eps[list(best)])
    assert_close(torch.linalg.vector_norm(x0 - matched(x0, eps)), pairs[best].sqrt())


# --- the continuity equation and the theorem ----------------------------------------------------------------------------


@functools.cache
def field_at(time: float) -> dict[str, Tensor]:
    """For the exact mixture on the straight line: at a grid, density, its gradient and rate, velocity and its divergence."""
    axis = torch.linspace(-7, 7, 141, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis).requires_grad_()
    t, h = double(time), 1e-4
    log_density = EXACT.log_prob(x, t)
    density = log_density.exp()
    (slope,) = torch.autograd.grad(log_density.sum(), x, retain_graph=True)
    u = velocity(EXACT.denoise, Straight())(x, t)
    rows = [torch.autograd.grad(u[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(2)]
    later, earlier = (EXACT.log_prob(x, double(time + s)).exp() for s in (h, -h))
    found = {"x": x, "q": density, "gradient": density[:, None] * slope, "rate": (later - earlier) / (2 * h), "u": u}
    found["spread"] = rows[0] + rows[1]
    return {name: value.detach() for name, value in found.items()}


@proves("eq-flow-continuity", "eq-flow-weak")
def continuity() -> None:
    """On a grid in the plane: the density's rate by differences, the other side by automatic differentiation; then all integrated."""
    area = 0.1**2
    for time in (0.4, 0.8):
        at = field_at(time)
        x, q, u, gradient, spread = (at[name] for name in ("x", "q", "u", "gradient", "spread"))
        page = claim(-q * spread - (u * gradient).sum(1), "eq-flow-continuity")
        assert_close(at["rate"], page, 1e-5)
        test = torch.exp(-(x - torch.tensor([0.5, -0.3])).square().sum(1))
        test_slope = -2 * (x - torch.tensor([0.5, -0.3])) * test[:, None]
        left = (test * at["rate"]).sum() * area
        assert_close(100 * left, 100 * claim((u * test_slope).sum(1) * q, "eq-flow-weak").sum() * area, 1e-4)


@proves("eq-flow-conditional")
def conditional() -> None:
    """The derivative of the path, by differences, at the place where the path is."""
    x0, eps = normal(4, 3), normal(4, 3, seed=1)
    for schedule, time in itertools.product(SCHEDULES, TIMES):
        t, h = double(time), 1e-5
        a, b = schedule.signal(t), schedule.noise(t)
        a_rate, b_rate = schedule.rates(t)
        process = GaussianDiffusion(schedule)
        slope = (process.diffuse(x0, t + h, eps) - process.diffuse(x0, t - h, eps)) / (2 * h)
        x = process.diffuse(x0, t, eps)
        assert_close(slope, claim(a_rate * x0 + b_rate / b * (x - a * x0)), 1e-7)
        assert_close(slope, claim(a_rate * x0 + b_rate * eps), 1e-7)


@functools.cache
def gaussian_pair(time: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Correlated Gaussians x_0, x_1 in three dimensions on the line between them: Cov[x], its rate, Cov[dx/dt, x], Cov[dx/dt]."""
    root = normal(6, 6, seed=5) / 2
    joint = root @ root.T

    def covariance(t: float) -> Tensor:
        blend = torch.cat([(1 - t) * UNIT, t * UNIT], 1)
        return blend @ joint @ blend.T

    blend = torch.cat([(1 - time) * UNIT, time * UNIT], 1)
    rate = torch.cat([-UNIT, UNIT], 1)
    h = 1e-5
    slope = (covariance(time + h) - covariance(time - h)) / (2 * h)
    return covariance(time), slope, rate @ joint @ blend.T, rate @ joint @ rate.T


@proves("eq-flow-theorem", "eq-flow-equivalence")
def theorem() -> None:
    """For correlated Gaussians, whose conditional means are regressions, and quadratic test functions; any linear answer M x."""
    matrix = normal(3, 3, seed=2)
    matrix, answer = matrix + matrix.T, normal(3, 3, seed=3)  # phi(x) = x A x / 2, with gradient A x
    for time in TIMES:
        covariance, slope, cross, own = gaussian_pair(time)
        regression = cross @ torch.linalg.inv(covariance)  # E[dx/dt | x] = K x
        left = (matrix * slope).sum() / 2
        assert_close(left, claim((matrix * cross).sum(), "eq-flow-theorem"), 1e-7)
        assert_close(left, claim((matrix * (regression @ covariance)).sum(), "eq-flow-theorem"), 1e-7)
        loss = (own - 2 * answer @ cross.T + answer @ covariance @ answer.T).trace()
        gap = answer - regression
        off = (gap @ covariance @ gap.T).trace()
        rest = (own - regression @ covariance @ regression.T).trace()
        assert_close(loss, claim(off + rest, "eq-flow-equivalence"), 1e-9)


# --- Gaussian paths -----------------------------------------------------------------------------------------------------


@functools.cache
def ideal(index: int, time: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """For a finite data set: points, the mean of the conditional velocities, E[x_0 | x], E[eps | x], and the score."""
    schedule, data, points = SCHEDULES[index], normal(7, 3), normal(5, 3, seed=1)
    t, h = double(time), 1e-5
    a, b = schedule.signal(t), schedule.noise(t)
    given = (-(points[:, None] - a * data).square().sum(-1) / (2 * b**2)).softmax(1)
    noises = (points[:, None] - a * data) / b
    process = GaussianDiffusion(schedule)
    slopes = torch.stack(
        [
            torch.stack(
                [
                    (process.diffuse(y, t + h, e) - process.diffuse(y, t - h, e)) / (2 * h)
                    for y, e in zip(data, row, strict=True)
                ]
            )
            for row in noises
        ]
    )

    def log_density(x: Tensor) -> Tensor:
        return (-(x - a * data).square().sum(-1) / (2 * b**2)).logsumexp(0)

    score = torch.stack([torch.func.grad(log_density)(row) for row in points])
    return points, (given[:, :, None] * slopes).sum(1), given @ data, (given[:, :, None] * noises).sum(1), score


@proves("eq-flow-levels", "eq-flow-affine")
def levels() -> None:
    """The mean of the data set's conditional velocities, which come from differences; and the library's velocity."""
    for index, schedule in enumerate(SCHEDULES):
        for time in TIMES:
            t = double(time)
            x, u, x0, eps, _ = ideal(index, time)
            a, b, (a_rate, b_rate) = schedule.signal(t), schedule.noise(t), schedule.rates(t)
            assert_close(u, claim(a_rate * x0 + b_rate * eps, "eq-flow-levels"), 1e-7)
            assert_close(u, claim((a_rate - b_rate * a / b) * x0 + b_rate / b * x, "eq-flow-affine"), 1e-7)
            assert_close(velocity(IdealDenoiser(normal(7, 3), schedule), schedule)(x, t), u, 1e-7)


@proves("eq-flow-straight")
def straight() -> None:
    """On the straight line, for a finite data set: velocity by differences, picture and noise by enumeration, score by derivative."""
    for time in TIMES:
        t = double(time)
        x, u, x0, eps, score = ideal(0, time)
        assert_close(u, claim(eps - x0), 1e-7)
        assert_close(x0, claim(x - t * u), 1e-7)
        assert_close(eps, claim(x + (1 - t) * u), 1e-7)
        assert_close(score, claim(-(x + (1 - t) * u) / t), 1e-7)


@proves("eq-flow-weight")
def weights() -> None:
    """Two answers for the picture of the same states give two velocities through the library; their distances are compared."""
    x, first, second = normal(5, 3), normal(5, 3, seed=1), normal(5, 3, seed=2)
    for time in TIMES:
        t = double(time)
        u, other = (velocity(lambda x, t, x0=x0: x0, Straight())(x, t) for x0 in (first, second))
        noises = [(x - (1 - t) * x0) / t for x0 in (first, second)]
        assert_close((u - other).square().sum(1), claim((first - second).square().sum(1) / t**2), 1e-9)
        apart = noises[0] - noises[1]
        assert_close((u - other).square().sum(1), claim(apart.square().sum(1) / (1 - t) ** 2), 1e-9)


@proves("eq-flow-rescale")
def rescale() -> None:
    """The exact denoisers of two paths at times of equal noise over signal, which are found by bisection; the states rescaled."""
    other = ExactDiffusion(three_bumps(), VP())
    for time in TIMES:
        t, low, high = double(time), 1e-6, 1.0
        a, b = Straight().signal(t), Straight().noise(t)
        for _ in range(60):
            middle = (low + high) / 2
            ratio = float(VP().noise(double(middle)) / VP().signal(double(middle)))
            low, high = (middle, high) if ratio < float(b / a) else (low, middle)
        u = double(low)
        x, theirs = normal(5, 2), VP().signal(u)
        assert_close(other.denoise(claim(theirs / a * x), u), EXACT.denoise(x, t), 1e-9)


@proves("eq-flow-gaussian")
def gaussian_flow() -> None:
    """Its derivative, by differences, is the library's velocity for that Gaussian at that place."""
    mean, spread = torch.tensor([0.7, -1.2, 0.4]).double(), torch.tensor([0.3, 1.8, 0.9]).double()
    one = Mixture(torch.ones(1).double(), mean[None], torch.diag(spread**2)[None])
    field = velocity(ExactDiffusion(one, Straight()).denoise, Straight())
    start = normal(5, 3)

    def path(t: Tensor) -> Tensor:
        return claim((1 - t) * mean + (((1 - t) * spread) ** 2 + t**2).sqrt() * start)

    for time in TIMES:
        t, h = double(time), 1e-5
        assert_close((path(t + h) - path(t - h)) / (2 * h), field(path(t), t), 1e-7)
    assert_close(path(double(1.0)), start)


# --- stochastic interpolants --------------------------------------------------------------------------------------------

FIRST, SECOND = normal(4, 3, seed=7), 1.5 * normal(3, 3, seed=8)  # two data sets


def width(t: Tensor) -> Tensor:
    """A gamma that vanishes at both ends."""
    return (t * (1 - t)).sqrt()


def interpolated(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """At points x and time t, for all pairs of the two sets: log density, and the means of dI/dt, gamma' z and z given x."""
    pairs = (1 - t) * FIRST[:, None] + t * SECOND
    centres, chords = pairs.reshape(-1, 3), (SECOND - FIRST[:, None]).reshape(-1, 3)
    gamma, rate = width(t), (1 - 2 * t) / (2 * width(t))
    z = (x[:, None] - centres) / gamma
    exponent = -z.square().sum(-1) / 2 - 3 * (gamma.log() + math.log(2 * math.pi) / 2) - math.log(len(centres))
    given = exponent.softmax(1)[:, :, None]
    return exponent.logsumexp(1), (given * chords).sum(1), (given * rate * z).sum(1), (given * z).sum(1)


@functools.cache
def interpolant_at(time: float) -> dict[str, Tensor]:
    """Rate of the density over the density by differences, its score by a derivative, and the means with their divergences."""
    x, t, h = normal(6, 3).requires_grad_(), double(time), 1e-5
    log_density, chord, noise, z = interpolated(x, t)
    (score,) = torch.autograd.grad(log_density.sum(), x, retain_graph=True)
    spreads = {}
    for name, field in (("chord", chord), ("noise", noise)):
        spreads[name] = sum(torch.autograd.grad(field[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(3))
    rate = (interpolated(x, t + h)[0] - interpolated(x, t - h)[0]) / (2 * h)
    found = {"score": score, "rate": rate, "chord": chord, "noise": noise, "z": z}
    found |= {f"spread of {name}": value for name, value in spreads.items()}
    return {name: value.detach() for name, value in found.items()}


@proves("eq-flow-interpolant-velocity")
def interpolant() -> None:
    """The sum of the means obeys the continuity equation, divided by the density, at random points; and the score."""
    for time in (0.3, 0.6):
        at, gamma = interpolant_at(time), width(double(time))
        chord, noise, z = at["chord"], at["noise"], at["z"]
        u = claim(chord + noise)
        spread = at["spread of chord"] + at["spread of noise"]
        assert_close(at["rate"], -spread - (u * at["score"]).sum(1), 1e-5)
        assert_close(at["score"], claim(-z / gamma), 1e-9)


@proves("eq-flow-sde")
def sde() -> None:
    """One short step back of correlated Gaussians, whose velocity and score are linear: the covariance moves as it should."""
    for time, g in ((0.3, 0.5), (0.7, 1.5), (0.5, 0.0)):
        covariance, slope, cross, _ = gaussian_pair(time)
        inverse, delta = torch.linalg.inv(covariance), 1e-6
        u, s = cross @ inverse, -inverse
        drift = claim(u - g**2 / 2 * s)
        moved = UNIT - delta * drift
        after = moved @ covariance @ moved.T + claim(g**2 * delta) * UNIT
        assert_close((covariance - after) / delta, slope, 1e-3)


# --- straightness and couplings -----------------------------------------------------------------------------------------


@proves("eq-flow-budget", "eq-flow-floor")
def budget() -> None:
    """For independent Gaussians of standard deviations `spread` and 1: the flow is eq-flow-gaussian, all means are known, Simpson in t."""
    spread, t = torch.tensor([0.3, 0.8, 2.5]).double(), torch.linspace(0, 1, 4001).double()
    for chosen in (slice(0, 1), slice(0, 3), slice(1, 3)):
        one = spread[chosen, None]
        radius = (((1 - t) * one) ** 2 + t**2).sqrt()
        slope = (t - (1 - t) * one**2) / radius  # of the radius: the velocity of the flow, for a start of 1
        paired, moved = (one**2 + 1).sum(), ((1 - one) ** 2).sum()
        speed = simpson(slope.square().sum(0), x=t)
        # given x_t, the line's velocity has the variance of the regression's rest
        rest = 1 + one**2 - (t - (1 - t) * one**2) ** 2 / radius**2
        crossing, bend = simpson(rest.sum(0), x=t), simpson((slope - (1 - one)).square().sum(0), x=t)
        assert_close(paired - moved, claim(crossing + bend, "eq-flow-budget"), 1e-9)
        assert_close(bend, claim(speed - moved, "eq-flow-budget"), 1e-9)
        assert_close(crossing, claim(paired - speed, "eq-flow-floor"), 1e-9)


@functools.cache
def on_the_line() -> tuple[Tensor, Tensor, Mixture]:
    """Noises, and where the exact flow of two bumps on the line carries them."""
    bumps = Mixture(
        torch.tensor([0.35, 0.65]).double(),
        torch.tensor([[-1.0], [0.8]]).double(),
        torch.tensor([[[0.1]], [[0.2]]]).double(),
    )
    exact, start = ExactDiffusion(bumps, Straight()), torch.linspace(-2, 2, 7).double()[:, None]
    times = Straight().grid(400)
    return start, last(sample(heun(velocity(exact.denoise, Straight())), start, times)), bumps


@proves("eq-flow-quantile")
def quantile() -> None:
    """The flow of two bumps, by 400 steps of Heun's method: shares of data and noise below a particle, and the inverse by bisection."""
    noise, end, bumps = on_the_line()
    spreads, F_1 = bumps.covariances[:, 0, 0].sqrt(), torch.special.ndtr

    def F_0(x: Tensor) -> Tensor:
        return (bumps.weights * torch.special.ndtr((x - bumps.means[:, 0]) / spreads)).sum(-1, keepdim=True)

    def inverse(share: Tensor) -> Tensor:
        low, high = torch.full_like(share, -9.0), torch.full_like(share, 9.0)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = torch.where(F_0(middle) < share, middle, low), torch.where(F_0(middle) < share, high, middle)
        return low

    assert_close(claim(F_0(end) - F_1(noise)), torch.zeros_like(end), 1e-4)
    assert_close(claim(end - inverse(F_1(noise))), torch.zeros_like(end), 1e-3)


@proves("eq-flow-guidance")
def guidance() -> None:
    """Velocities of the guided picture, through the library, for one bump against the whole mixture."""
    one = EXACT.conditional(0)
    for schedule, time, scale in itertools.product(SCHEDULES, TIMES, (0.5, 2.0)):
        t, x = double(time), normal(5, 2)
        right, plain = (ExactDiffusion(exact.mixture, schedule) for exact in (one, EXACT))
        guided = lambda x, t, right=right, plain=plain, s=scale: (1 - s) * plain.denoise(x, t) + s * right.denoise(x, t)  # noqa: E731
        given, none = (velocity(exact.denoise, schedule)(x, t) for exact in (right, plain))
        assert_close(velocity(guided, schedule)(x, t), claim(none + scale * (given - none)), 1e-9)
