"""Checks of chapter 4's equations: SymPy where algebra decides, quadrature and exact mixtures in float64 elsewhere."""

import functools
import itertools
import math
from collections.abc import Callable

import sympy as sp
import torch
from torch import Tensor

from course_lib.diffusion.continuous import VE, VP, SubVP, drift_and_diffusion
from course_lib.diffusion.exact import ExactDiffusion, IdealDenoiser, Mixture, three_bumps
from course_lib.diffusion.predictions import to_eps, to_score
from course_lib.pages.proofs import assert_close, assert_zero, claim, defines, proves
from course_lib.sampling.langevin import corrected, langevin_step
from course_lib.sampling.likelihood import divergence, log_likelihood
from course_lib.sampling.ode import velocity
from course_lib.sampling.sde import euler_maruyama

SCHEDULES = (VP(), SubVP(), VE(0.1, 6.0))
TIMES = (0.15, 0.5, 0.85)
x, m, v, t, dt = sp.symbols("x m v t Delta", positive=True)


def double(value: float) -> Tensor:
    """A number in float64."""
    return torch.tensor(value, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def line() -> Mixture:
    """Two bumps on the line."""
    return Mixture(
        torch.tensor([0.35, 0.65], dtype=torch.float64),
        torch.tensor([[-1.0], [0.8]], dtype=torch.float64),
        torch.tensor([[[0.1]], [[0.2]]], dtype=torch.float64),
    )


GRID = torch.linspace(-9, 9, 20_001, dtype=torch.float64)


def mean(values: Tensor, density: Tensor) -> Tensor:
    """The integral of values times density over GRID; the trapezoidal rule is exact to rounding for such smooth functions."""
    return torch.trapezoid(values * density, GRID)


@defines("eq-score-score", "eq-score-esm", "eq-score-smoothed", "eq-score-dsm", "eq-score-ncsn", "eq-score-sde")
def definitions() -> None:
    """These introduce the score, the losses and what an SDE means."""


@defines("eq-score-langevin", "eq-score-euler-maruyama")
def library_steps() -> None:
    """The library's Langevin step, and its step of Euler and Maruyama, which goes back in time along the reverse SDE."""
    points, s, z, delta = normal(5, 2), normal(5, 2, seed=1), normal(5, 2, seed=2), 0.3
    page = claim(points + delta * s + math.sqrt(2 * delta) * z, "eq-score-langevin")
    assert_close(langevin_step(points, s, delta, z), page)
    exact, now, then = ExactDiffusion(three_bumps(), VP()), double(0.5), double(0.48)
    drift, diffusion = drift_and_diffusion(VP(), now)
    f, g = drift * points - diffusion * exact.score(points, now), diffusion.sqrt()
    step, size = then - now, now - then
    drawn = euler_maruyama(exact.denoise, VP(), noise=lambda x: z)(points, now, then)
    assert_close(drawn, claim(points + f * step + g * size.sqrt() * z, "eq-score-euler-maruyama"), 1e-9)


# --- score matching -----------------------------------------------------------------------------------------------------


@proves("eq-score-normaliser")
def normaliser() -> None:
    """SymPy, for any energy: the first step for any divisor, the second for one that does not depend on x."""
    energy, z = sp.Function("E")(x), sp.Function("Z", positive=True)(x)
    left = sp.diff(sp.log(sp.exp(-energy) / z), x)
    middle = claim(-sp.diff(energy, x) - sp.diff(sp.log(z), x))
    assert_zero(left - middle)
    constant = sp.Symbol("Z", positive=True)
    assert_zero(sp.diff(sp.log(sp.exp(-energy) / constant), x) - claim(-sp.diff(energy, x)))


CANDIDATES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: -0.7 * x,
    lambda x: torch.sin(2 * x) - x,
    lambda x: -(x**3) / 4,
)


@functools.cache
def on_the_grid() -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    """The line's density and score on GRID, the score by automatic differentiation, and each candidate with its derivative."""
    exact, level = ExactDiffusion(line(), VE(0.1, 6.0)), double(0.0)
    points = GRID[:, None]
    log_density, true = torch.func.jvp(lambda x: exact.log_prob(x, level), (points,), (torch.ones_like(points),))
    found = [torch.func.jvp(candidate, (GRID,), (torch.ones_like(GRID),)) for candidate in CANDIDATES]
    return log_density.exp(), true, found


@proves("eq-score-expand", "eq-score-parts", "eq-score-ism")
def score_matching() -> None:
    """By quadrature, for three wrong scores; the derivatives of the density and of the scores by automatic differentiation."""
    density, true, candidates = on_the_grid()
    rate = density * true
    for guess, slope in candidates:
        explicit = mean((guess - true) ** 2, density) / 2
        size, middle, own = mean(guess**2, density), mean(guess * true, density), mean(true**2, density)
        assert_close(explicit, claim(size / 2 - middle + own / 2, "eq-score-expand"), 1e-10)
        assert_close(middle, torch.trapezoid(claim(guess * rate, "eq-score-parts"), GRID), 1e-9)
        assert_close(middle, -torch.trapezoid(claim(density * slope, "eq-score-parts"), GRID), 1e-9)
        assert_close(middle, claim(-mean(slope, density), "eq-score-parts"), 1e-9)
        implicit = mean(claim(guess**2 / 2 + slope, "eq-score-ism"), density)
        assert_close(explicit - implicit, own / 2, 1e-8)


@proves("eq-score-hutchinson")
def hutchinson() -> None:
    """Over all sign vectors, whose covariance is the identity, the mean is the trace; and the sum's entries are as written."""
    matrix = normal(5, 5)
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=5)), dtype=torch.float64)
    second = torch.einsum("ni,nj->ij", signs, signs) / len(signs)
    average = torch.einsum("ni,ij,nj->n", signs, matrix, signs).mean()
    assert_close(average, claim((matrix * second).sum()))
    assert_close(average, claim(matrix.trace()))
    assert_close(second, torch.eye(5))


@proves("eq-score-bump")
def bump() -> None:
    """SymPy; and with x~ = x + sigma eps."""
    clean, eps, sigma = sp.symbols("c epsilon sigma", positive=True)
    density = sp.exp(-((x - clean) ** 2) / (2 * sigma**2)) / sp.sqrt(2 * sp.pi * sigma**2)
    slope = sp.diff(sp.log(density), x)
    assert_zero(slope - claim(-(x - clean) / sigma**2))
    assert_zero(slope.subs(x, clean + sigma * eps) - claim(-eps / sigma))


POINTS = torch.tensor([-1.2, -0.1, 0.4, 1.5], dtype=torch.float64)  # data that are a handful of points
SIGMA = 0.5


@functools.cache
def of_points() -> tuple[Tensor, Tensor, Tensor]:
    """On GRID: the blurred density of POINTS, each point's responsibility `(N, P)`, and each bump's score `(N, P)`."""
    bumps = torch.distributions.Normal(POINTS, SIGMA).log_prob(GRID[:, None]).exp() / len(POINTS)
    return bumps.sum(1), bumps / bumps.sum(1, keepdim=True), -(GRID[:, None] - POINTS) / SIGMA**2


@functools.cache
def blurred_score() -> Tensor:
    """On GRID: the derivative of the blurred density's logarithm, by automatic differentiation."""

    def log_density(x: Tensor) -> Tensor:
        return torch.distributions.Normal(POINTS, SIGMA).log_prob(x[:, None]).logsumexp(1)

    return torch.func.jvp(log_density, (GRID,), (torch.ones_like(GRID),))[1]


@proves("eq-score-tower")
def tower() -> None:
    """The average of the bumps' scores is the derivative of the blurred density's logarithm, by automatic differentiation."""
    _, responsibility, slopes = of_points()
    assert_close(blurred_score(), claim((responsibility * slopes).sum(1)), 1e-10)


@proves("eq-score-equivalence")
def equivalence() -> None:
    """By quadrature over both x and x~: DSM is ESM of the blurred density, plus the targets' own spread."""
    density, responsibility, slopes = of_points()
    true = blurred_score()
    spread = mean((responsibility * (slopes - true[:, None]) ** 2).sum(1), density)
    for candidate in CANDIDATES:
        guess = candidate(GRID)
        denoising = mean((responsibility * (guess[:, None] - slopes) ** 2).sum(1), density) / 2
        explicit = mean((guess - true) ** 2, density)
        assert_close(denoising, claim(explicit / 2 + spread / 2), 1e-9)


@functools.cache
def ideal(index: int, time: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For a finite data set: points, the score by automatic differentiation, and E[x_0 | x_t] and E[eps | x_t] over the set."""
    schedule, data, points = SCHEDULES[index], normal(7, 3), normal(5, 3, seed=1)
    a, b = schedule.signal(double(time)), schedule.noise(double(time))

    def log_density(x: Tensor) -> Tensor:
        return (-(x - a * data).square().sum(-1) / (2 * b**2)).logsumexp(0)

    score = torch.stack([torch.func.grad(log_density)(row) for row in points])
    given = (-(points[:, None] - a * data).square().sum(-1) / (2 * b**2)).softmax(1)
    noises = (points[:, None] - a * data) / b
    return points, score, given @ data, (given[:, :, None] * noises).sum(1)


@proves("eq-score-noise", "eq-score-tweedie")
def noise_and_score() -> None:
    """The best noise and picture of a finite data set, by enumeration, against the score by automatic differentiation."""
    for index, schedule in enumerate(SCHEDULES):
        for time in TIMES:
            t = double(time)
            a, b = schedule.signal(t), schedule.noise(t)
            points, score, best, eps = ideal(index, time)
            assert_close(score, claim(-eps / b, "eq-score-noise"), 1e-9)
            assert_close(best, claim((points + b**2 * score) / a, "eq-score-tweedie"), 1e-9)
            assert_close(IdealDenoiser(normal(7, 3), schedule)(points, t), best, 1e-9)
            assert_close(to_score(best, points, t, schedule), score, 1e-9)
            assert_close(to_eps(best, points, t, schedule), eps, 1e-9)


# --- Langevin dynamics and NCSN -----------------------------------------------------------------------------------------


@proves("eq-score-langevin-variance")
def langevin_variance() -> None:
    """One step of the library for the score -x, as a linear map of x and z; the fixed point by SymPy, and by many steps."""
    size, variance = sp.symbols("delta V", positive=True)

    def after(delta, variance):
        return claim((1 - delta) ** 2 * variance + 2 * delta)

    fixed = claim(1 / (1 - size / 2))
    assert sp.simplify(sp.solve(sp.Eq(after(size, variance), variance), variance)[0] - fixed) == 0
    unit = torch.eye(2, dtype=torch.float64)  # x and z as coordinates of a linear map
    row = langevin_step(unit[:1], -unit[:1], 0.3, unit[1:])[0]
    assert_close(row[0] ** 2 * 0.7 + row[1] ** 2, after(0.3, 0.7))
    spread = 5.0
    for _ in range(100):
        spread = float(row[0] ** 2 * spread + row[1] ** 2)
    assert_close(spread, float(fixed.subs(size, 0.3)))


@proves("eq-score-blind")
def blind() -> None:
    """Near one of two far bumps, the mixture's score is the bump's, whatever its weight."""
    centre, variance = -6.0, 0.25
    for weight in (0.1, 0.9):
        far = Mixture(
            torch.tensor([weight, 1 - weight], dtype=torch.float64),
            torch.tensor([[centre], [6.0]], dtype=torch.float64),
            torch.full((2, 1, 1), variance, dtype=torch.float64),
        )
        points = torch.linspace(-7, -5, 9, dtype=torch.float64)[:, None]
        score = ExactDiffusion(far, VE(1e-4, 5.0)).score(points, double(0.0))
        assert_close(score, claim(-(points - centre) / variance), 1e-6)


@proves("eq-score-weight")
def weight() -> None:
    """Any score and noise: the weighted square of one difference is the plain square of the other."""
    eps, score = normal(6, 4), normal(6, 4, seed=1)
    for sigma in (0.1, 3.0):
        predicted = claim(-sigma * score)
        assert_close(claim(sigma**2 * (score + eps / sigma).square().sum(1)), claim((eps - predicted).square().sum(1)))


# --- from steps to time -------------------------------------------------------------------------------------------------


@proves("eq-score-vp-root", "eq-score-vp")
def vp() -> None:
    """SymPy: the limits of the chain's mean and variance in one short step; drift and diffusion of the library's VP."""
    beta = sp.Symbol("beta", positive=True)
    exact = sp.sqrt(1 - beta * dt) * x
    near = claim(x - beta * x * dt / 2, "eq-score-vp-root")
    assert_zero((exact - near).subs(dt, 0))
    assert_zero(sp.diff(exact - near, dt).subs(dt, 0))
    drift, kick = claim(-beta * x / 2, "eq-score-vp"), claim(sp.sqrt(beta), "eq-score-vp")
    assert_zero(sp.limit((exact - x) / dt, dt, 0) - drift)
    assert_zero(sp.sqrt(beta * dt) / sp.sqrt(dt) - kick)  # the chain's noise has the variance beta dt
    for time in TIMES:
        rate = 0.1 + time * 19.9
        f, g_squared = drift_and_diffusion(VP(), double(time))
        assert_close(f, float(drift.subs({x: 1, beta: rate})), 1e-10)
        assert_close(g_squared, rate, 1e-9)


@proves("eq-score-ve")
def ve() -> None:
    """NCSN's chain adds the difference of two variances: its limit, by ever shorter steps, and the library's diffusion."""
    schedule, low, high = VE(0.1, 6.0), sp.Rational(1, 10), 6
    sigma = low * (high / low) ** t
    kick = claim(sp.sqrt(sp.diff(sigma**2, t)))
    for time in TIMES:
        at = float(kick.subs(t, time))
        added = [schedule.noise(double(time + h)) ** 2 - schedule.noise(double(time)) ** 2 for h in (1e-4, 5e-5)]
        rate = 2 * added[1] / 5e-5 - added[0] / 1e-4  # without the error of first order in the step
        assert_close(rate.sqrt(), at, 1e-6)
        drift, diffusion = drift_and_diffusion(schedule, double(time))
        assert_close(drift, 0.0)
        assert_close(diffusion.sqrt(), at, 1e-9)


@proves("eq-score-moments")
def moments() -> None:
    """SymPy takes the limit of one Euler step's mean and variance; the library's schedules satisfy the equations."""
    f, g, a, b2 = sp.symbols("f g a b", positive=True)
    level, variance = claim(f * a), claim(2 * f * b2 + g**2)
    assert_zero(sp.limit(((1 + f * dt) * a - a) / dt, dt, 0) - level)
    assert_zero(sp.limit(((1 + f * dt) ** 2 * b2 + g**2 * dt - b2) / dt, dt, 0) - variance)
    for schedule in SCHEDULES:
        for time in TIMES:
            at = double(time)
            (signal, spread), (signal_rate, spread_rate) = torch.func.jvp(
                lambda t, s=schedule: (s.signal(t), s.noise(t) ** 2), (at,), (torch.ones_like(at),)
            )
            drift, diffusion = drift_and_diffusion(schedule, at)
            values = {f: float(drift), g: float(diffusion) ** 0.5, a: float(signal), b2: float(spread)}
            assert_close(signal_rate, float(level.subs(values)), 1e-10)
            assert_close(spread_rate, float(variance.subs(values)), 1e-9)


BETA = sp.Function("beta")
INTEGRAL = sp.Function("B")(t)  # of beta from 0 to t


def rate_of(expression: sp.Expr) -> sp.Expr:
    """The derivative in t, with B' = beta."""
    return sp.diff(expression, t).subs(sp.Derivative(INTEGRAL, t), BETA(t))


@proves("eq-score-vp-levels", "eq-score-subvp")
def levels() -> None:
    """The library's levels; and SymPy inserts each into eq-score-moments."""

    def signal(integral, exp):
        return claim(exp(-integral / 2), "eq-score-vp-levels")

    def vp_variance(a):
        return claim(1 - a**2, "eq-score-vp-levels")

    def sub_noise(integral, exp):
        return claim(1 - exp(-integral), "eq-score-subvp")

    for time in TIMES:
        integral = 0.1 * time + 19.9 * time**2 / 2
        a = signal(integral, math.exp)
        assert_close(VP().signal(double(time)), a)
        assert_close(VP().noise(double(time)) ** 2, vp_variance(a))
        assert_close(SubVP().noise(double(time)), sub_noise(integral, math.exp))
    f, a = -BETA(t) / 2, signal(INTEGRAL, sp.exp)
    assert_zero(rate_of(a) - f * a)
    variance, sub = vp_variance(a), sub_noise(INTEGRAL, sp.exp)
    assert_zero(rate_of(variance) - (2 * f * variance + BETA(t)))
    assert_zero(sp.expand(rate_of(sub**2) - (2 * f * sub**2 + BETA(t) * (1 - sp.exp(-2 * INTEGRAL)))))


# --- backwards ----------------------------------------------------------------------------------------------------------


def transition(step: float) -> tuple[Tensor, Tensor]:
    """The factor and the variance of q(x_{t + step} | x_t) at t = 0.4."""
    now, later = double(0.4), double(0.4 + step)
    ratio = VP().signal(later) / VP().signal(now)
    return ratio, VP().noise(later) ** 2 - ratio**2 * VP().noise(now) ** 2


def conditioned(y: float, step: float) -> tuple[Tensor, Tensor, Tensor]:
    """q(x_t | x_{t + step} = y) on the line at t = 0.4: weights, means and variances of two Gaussians, each bump conditioned on y."""
    (ratio, variance), start, now = transition(step), line(), double(0.4)
    mean = VP().signal(now) * start.means[:, 0]
    spread = VP().signal(now) ** 2 * start.covariances[:, 0, 0] + VP().noise(now) ** 2
    total = ratio**2 * spread + variance
    log_weight = start.weights.log() + torch.distributions.Normal(ratio * mean, total.sqrt()).log_prob(double(y))
    gain = ratio * spread / total
    return log_weight.softmax(0), mean + gain * (y - ratio * mean), spread - gain**2 * total


@proves("eq-score-bayes")
def bayes() -> None:
    """On the line, with one exact transition from t to t + Delta: each bump's joint Gaussian, conditioned on the later state."""
    exact, points, (ratio, variance) = ExactDiffusion(line(), VP()), GRID[6000:14000:500], transition(0.05)
    for y in (-1.0, 0.2, 1.4):
        weights, means, variances = conditioned(y, 0.05)
        parts = torch.distributions.Normal(means, variances.sqrt()).log_prob(points[:, None])
        left = (weights.log() + parts).logsumexp(1)
        forward = torch.distributions.Normal(ratio * points, variance.sqrt()).log_prob(double(y))
        prior = exact.log_prob(points[:, None], double(0.4))
        evidence = exact.log_prob(double(y).reshape(1, 1), double(0.45))
        assert_close(left, claim(forward + prior - evidence), 1e-9)


@functools.cache
def backward(y: float, step: float) -> tuple[float, float]:
    """Mean and variance of q(x_t | x_{t + step} = y) on the line, exact."""
    weights, means, variances = conditioned(y, step)
    mean = weights @ means
    return float(mean), float(weights @ (variances + (means - mean) ** 2))


@functools.cache
def coefficients(y: float) -> tuple[Tensor, Tensor, Tensor]:
    """f and g^2 of VP at t = 0.4, where f is the drift at y, and the score of the line there."""
    drift, diffusion = drift_and_diffusion(VP(), double(0.4))
    return drift * y, diffusion, ExactDiffusion(line(), VP()).score(double(y).reshape(1, 1), double(0.4))[0, 0]


@proves("eq-score-reverse-square", "eq-score-reverse-step")
def reverse_square() -> None:
    """SymPy: both lines are the two logarithms, up to what is free of x; the exact posterior's mean and variance approach the step's."""
    u, f, g, s, y = sp.symbols("u f g s y", real=True)  # u = x - y
    logs = -((y - (x + f * dt)) ** 2) / (2 * g**2 * dt) + s * (x - y)
    first = claim(-((u + f * dt) ** 2) / (2 * g**2 * dt) + u * s, "eq-score-reverse-square")
    second = claim(-((u + f * dt - g**2 * s * dt) ** 2) / (2 * g**2 * dt), "eq-score-reverse-square")
    for line_ in (first, second):
        assert_zero(sp.diff(logs - line_.subs(u, x - y), x))
    y, errors = 0.3, []
    f, diffusion, score = coefficients(y)
    for size in (0.004, 0.002):
        mean, variance = backward(y, size)
        errors.append(abs(float(mean - claim(y - (f - diffusion * score) * size, "eq-score-reverse-step"))))
        kick = claim(diffusion.sqrt() * math.sqrt(size), "eq-score-reverse-step")
        assert abs(variance / float(kick) ** 2 - 1) < 30 * size
        assert kick > 0
    assert 3.3 < errors[0] / errors[1] < 4.7, "the mean's error must fall with the square of the step"


@functools.cache
def backward_in_the_plane(y: tuple[float, float], step: float) -> tuple[Tensor, Tensor]:
    """Mean `(2,)` and covariance `(2, 2)` of q(x_t | x_{t + step} = y) for three bumps, each conditioned on y, at t = 0.4."""
    (ratio, variance), start, now, eye = transition(step), three_bumps(), double(0.4), torch.eye(2).double()
    means = VP().signal(now) * start.means
    spreads = VP().signal(now) ** 2 * start.covariances + VP().noise(now) ** 2 * eye
    later = torch.distributions.MultivariateNormal(ratio * means, ratio**2 * spreads + variance * eye)
    weights = (start.weights.log() + later.log_prob(torch.tensor(y).double())).softmax(0)
    gains = ratio * spreads @ torch.linalg.inv(later.covariance_matrix)
    centres = means + torch.einsum("kij,kj->ki", gains, torch.tensor(y).double() - later.mean)
    parts = Mixture(weights, centres, spreads - ratio * gains @ spreads)
    return parts.mean(), parts.covariance()


@proves("eq-score-reverse-sde")
def reverse_sde() -> None:
    """In the plane: the exact posterior's mean and covariance over the step, as the step goes to 0, which determine drift and diffusion."""
    drift, diffusion = drift_and_diffusion(VP(), double(0.4))
    exact, eye = ExactDiffusion(three_bumps(), VP()), torch.eye(2).double()
    for y in ((-1.2, 0.3), (0.3, 0.2), (1.1, -0.7)):
        x = torch.tensor(y).double()
        f, score = drift * x, exact.score(x[None], double(0.4))[0]
        rates = []
        for size in (2e-4, 1e-4):
            mean, covariance = backward_in_the_plane(y, size)
            rates.append(((x - mean) / size, covariance / size))
        found, spread = (2 * fine - coarse for coarse, fine in zip(*rates, strict=True))
        assert_close(found, claim(f - diffusion * score), 1e-3)
        assert_close(torch.linalg.cholesky(spread), claim(diffusion.sqrt()) * eye, 1e-3)


@functools.cache
def density_rates(index: int, time: float) -> tuple[Tensor, Tensor]:
    """q and dq/dt at INSIDE on the line, by automatic differentiation of the exact density."""
    at, exact = double(time), ExactDiffusion(line(), SCHEDULES[index])
    return torch.func.jvp(lambda t: exact.log_prob(INSIDE, t).exp(), (at,), (torch.ones_like(at),))


def slope(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """The derivative of a function of the line at points `(N, 1)`."""
    return torch.func.jvp(function, (points,), (torch.ones_like(points),))[1]


INSIDE = torch.linspace(-2.5, 2.5, 41, dtype=torch.float64)[:, None]


@functools.cache
def observed(index: int, time: float) -> tuple[Tensor, Tensor, Tensor]:
    """Points of the line, q there, and the rate of the mean of sin, by automatic differentiation of the exact density."""
    points, exact, at = GRID[::10], ExactDiffusion(line(), SCHEDULES[index]), double(time)
    q, rate = torch.func.jvp(lambda t: exact.log_prob(points[:, None], t).exp(), (at,), (torch.ones_like(at),))
    return points, q, torch.trapezoid(points.sin() * rate, points)


@proves("eq-score-generator")
def generator() -> None:
    """The mean of a test function under the exact density, differentiated in time, on the line."""
    for index, schedule in enumerate(SCHEDULES):
        for time in TIMES:
            if schedule.noise(double(time)) > 1.5:  # wider ones leave the grid
                continue
            points, q, left = observed(index, time)
            drift, diffusion = drift_and_diffusion(schedule, double(time))
            f, first, second = drift * points, points.cos(), -points.sin()
            assert_close(left, torch.trapezoid(claim(f * first + diffusion * second / 2) * q, points), 1e-7)


@functools.cache
def curves(index: int, time: float) -> tuple[Tensor, Tensor, Tensor]:
    """At INSIDE: the second derivative of q, the derivative of x q, and that of (d log q / dx) q; all by automatic differentiation."""
    exact, at = ExactDiffusion(line(), SCHEDULES[index]), double(time)

    def q(x: Tensor) -> Tensor:
        return exact.log_prob(x, at).exp()[:, None]

    curvature = slope(lambda x: slope(q, x), INSIDE)[:, 0]
    return curvature, slope(lambda x: x * q(x), INSIDE)[:, 0], slope(lambda x: exact.score(x, at) * q(x), INSIDE)[:, 0]


@proves("eq-score-fokker-planck", "eq-score-continuity")
def fokker_planck() -> None:
    """The exact density of a mixture on the line satisfies both forms."""
    for index, schedule in enumerate(SCHEDULES):
        for time in TIMES:
            f, diffusion = drift_and_diffusion(schedule, double(time))  # the drift is f x
            _, rate = density_rates(index, time)
            curvature, of_x, of_score = curves(index, time)
            assert_close(rate, claim(-f * of_x + diffusion / 2 * curvature, "eq-score-fokker-planck"), 1e-8)
            assert_close(rate, claim(-(f * of_x - diffusion / 2 * of_score), "eq-score-continuity"), 1e-8)


@functools.cache
def quantile_speed(index: int, time: float) -> tuple[Tensor, Tensor]:
    """The speed at INSIDE of the points that keep their share of the mass on their left, from the exact distribution; and the score.

    P(x_t <= x) stays as it is along such a path, so its speed is -(dP/dt) / q.
    """
    schedule, start = SCHEDULES[index], line()

    def share(x: Tensor, t: Tensor) -> Tensor:
        a, b = schedule.signal(t), schedule.noise(t)
        deviation = (a**2 * start.covariances[:, 0, 0] + b**2).sqrt()
        return (start.weights * (1 + torch.erf((x - a * start.means[:, 0]) / deviation / math.sqrt(2))) / 2).sum(1)

    at = double(time)
    rate = torch.func.jvp(lambda t: share(INSIDE, t), (at,), (torch.ones_like(at),))[1]
    density = torch.func.jvp(lambda x: share(x, at), (INSIDE,), (torch.ones_like(INSIDE),))[1]
    return -rate / density, ExactDiffusion(line(), schedule).score(INSIDE, at)[:, 0]


@proves("eq-score-flow")
def flow() -> None:
    """On the line, the flow moves each point so that the mass on its left stays the same: it has the density's own quantiles as paths."""
    for index, schedule in enumerate(SCHEDULES):
        for time in TIMES:
            drift, diffusion = drift_and_diffusion(schedule, double(time))
            speed, score = quantile_speed(index, time)
            f = drift * INSIDE[:, 0]
            assert_close(speed, claim(f - diffusion * score / 2), 1e-7)


@functools.cache
def exact_answers(index: int, time: float) -> tuple[Tensor, ...]:
    """Points in the plane, and the mixture's score, picture and noise there."""
    exact, points, t = ExactDiffusion(three_bumps(), SCHEDULES[index]), normal(6, 2), double(time)
    return points, exact.score(points, t), exact.denoise(points, t), exact.eps(points, t)


@proves("eq-score-flow-levels")
def flow_levels() -> None:
    """The flow's right-hand side, from drift, diffusion and score; and the library's velocity, from the levels' rates."""
    for index, schedule in enumerate(SCHEDULES):
        for time in TIMES:
            points, score, picture, eps = exact_answers(index, time)
            drift, diffusion = drift_and_diffusion(schedule, double(time))
            a_rate, b_rate = schedule.rates(double(time))
            page = claim(a_rate * picture + b_rate * eps)
            assert_close(drift * points - diffusion / 2 * score, page, 1e-9)
            exact = ExactDiffusion(three_bumps(), schedule)
            assert_close(velocity(exact.denoise, schedule)(points, double(time)), page, 1e-9)


@proves("eq-score-stationary")
def stationary() -> None:
    """SymPy: for any density, drift s and g^2 = 2 leave it as it is; no other diffusion does."""
    p = sp.Function("p", positive=True)(x)
    s, squared = sp.diff(sp.log(p), x), sp.Symbol("g_2", positive=True)
    assert_zero((-sp.diff(s * p, x) + squared / 2 * sp.diff(p, x, 2)).subs(squared, 2))
    score = sp.Symbol("s", real=True)
    assert_zero(claim(score - 2 * score / 2))


@proves("eq-score-corrector")
def corrector() -> None:
    """The library's correction moves by drift and kick in this ratio."""
    points, z = normal(50, 4), normal(50, 4, seed=1)
    fixed, r = 3 * normal(50, 4, seed=2), 0.2
    step = corrected(lambda x, t, s: x, lambda x, t: fixed, 1, r, noise=lambda x: z)
    moved = step(points, double(0.5), double(0.4)) - points
    noise, score = z.norm(dim=1).mean(), fixed.norm(dim=1).mean()
    delta = claim(2 * (r * noise / score) ** 2)
    assert_close(moved, delta * fixed + (2 * delta).sqrt() * z, 1e-10)
    assert_close(r, claim(delta * score / ((2 * delta).sqrt() * noise)))


# --- the likelihood -----------------------------------------------------------------------------------------------------


@functools.cache
def along_the_flow(index: int, time: float) -> tuple[Tensor, ...]:
    """At points of the plane: d/dt log q along the flow, d/dt log q in place, h . score, and the divergence of h, all differentiated."""
    exact, points, at = ExactDiffusion(three_bumps(), SCHEDULES[index]), normal(8, 2), double(time)
    moving, trace = divergence(velocity(exact.denoise, SCHEDULES[index]), points, at)
    total = torch.func.jvp(exact.log_prob, (points, at), (moving, torch.ones_like(at)))[1]
    still = torch.func.jvp(lambda t: exact.log_prob(points, t), (at,), (torch.ones_like(at),))[1]
    return total, still, (moving * exact.score(points, at)).sum(1), trace


@proves("eq-score-change")
def change() -> None:
    """Along the flow of a mixture: d/dt log q by differentiating in time and place, against each line."""
    for index in range(len(SCHEDULES)):
        for time in TIMES:
            total, still, along, trace = along_the_flow(index, time)
            assert_close(total, claim(still + along), 1e-8)
            assert_close(total, claim(-trace - along + along), 1e-8)
            assert_close(total, claim(-trace), 1e-8)


@functools.cache
def transported(steps: int = 30) -> tuple[Tensor, ...]:
    """Points, log q at their start by the exact mixture and at their end, and the integral of the divergence, by Runge and Kutta."""
    schedule = VP(0.1, 4.0)
    exact, x = ExactDiffusion(three_bumps(), schedule), three_bumps().sample(4, torch.Generator().manual_seed(0))[0]
    field, first, h = velocity(exact.denoise, schedule), double(0.05), 0.95 / steps
    start, area = exact.log_prob(x, first), torch.zeros(4, dtype=torch.float64)
    for k in range(steps):
        t = first + k * h
        v1, d1 = divergence(field, x, t)
        v2, d2 = divergence(field, x + h / 2 * v1, t + h / 2)
        v3, d3 = divergence(field, x + h / 2 * v2, t + h / 2)
        v4, d4 = divergence(field, x + h * v3, t + h)
        x, area = x + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), area + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    return start, exact.log_prob(x, double(1.0)), area


@functools.cache
def library_errors() -> tuple[float, float]:
    """The mean error of the library's likelihood of a mixture, for 30 and for 60 steps."""
    schedule = VP(0.1, 40.0)  # with so much noise at the end, x_T is standard normal to 1e-4
    exact, points = (
        ExactDiffusion(three_bumps(), schedule),
        three_bumps().sample(8, torch.Generator().manual_seed(0))[0],
    )
    true, found = exact.log_prob(points, double(0.02)), []
    for steps in (30, 60):
        times = torch.linspace(1, 0.02, steps + 1, dtype=torch.float64)
        found.append(float((log_likelihood(exact.denoise, schedule, points, times) - true).abs().mean()))
    return found[0], found[1]


@proves("eq-score-likelihood")
def likelihood() -> None:
    """Along the flow of a mixture, from 0.05 to 1; the library's likelihood approaches the true one with the square of the steps."""
    start, end, area = transported()
    assert_close(start, claim(end + area), 1e-5)
    coarse, fine = library_errors()
    assert fine < 0.15
    assert 3.0 < coarse / fine < 5.5


@proves("eq-score-hutchinson-variance")
def hutchinson_variance() -> None:
    """Over all sign vectors."""
    matrix = normal(6, 6)
    matrix = matrix + matrix.T
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=6)), dtype=torch.float64)
    values = torch.einsum("ni,ij,nj->n", signs, matrix, signs)
    off = matrix - torch.diag(matrix.diagonal())
    assert_close(values.var(correction=0), claim(2 * (off**2).sum()), 1e-11)


@proves("eq-score-bits")
def bits() -> None:
    """In two dimensions: equal to the bits of the cell for a density that is constant in it, above them for another."""
    width, D = 2 / 16, 2
    inside = torch.linspace(0, width, 401, dtype=torch.float64)
    for flat in (True, False):
        profile = torch.full_like(inside, 3.0) if flat else 3 + torch.sin(40 * inside)
        density = profile[:, None] * profile[None] / 2

        def integrated(values: Tensor) -> Tensor:
            return torch.trapezoid(torch.trapezoid(values, inside), inside)

        average = float(integrated(density.log()) / width**2)  # over u, uniform in the cell
        bound = claim(-(average + D * math.log(width)) / (D * math.log(2)))
        truth = -math.log2(float(integrated(density))) / D
        assert_close(bound, truth, 1e-9) if flat else None
        assert flat or bound > truth + 1e-3


# --- what a wrong score costs -------------------------------------------------------------------------------------------


@proves("eq-score-step-divergence")
def step_divergence() -> None:
    """The divergence of two Gaussian steps in the plane, from torch."""
    for seed, (g, h) in enumerate(((0.7, 0.01), (1.3, 0.2), (2.0, 0.5))):
        true, model, mean = normal(3, 2, seed=seed)
        spread = torch.full((2,), g * math.sqrt(h), dtype=torch.float64)
        steps = [torch.distributions.Normal(mean + g**2 * score * h, spread) for score in (true, model)]
        divergence = torch.distributions.kl_divergence(*steps).sum()
        square = (true - model).square().sum()
        assert_close(divergence, claim(g**4 * h**2 * square / (2 * g**2 * h)))
        assert_close(divergence, claim(g**2 * square * h / 2))


@functools.cache
def two_chains(n: int = 800) -> tuple[float, Tensor, float, float]:
    """One Gaussian that is diffused in n steps, and the chain back with a score that is too long, from their covariances.

    The divergence of their starts at T, E |s_theta - s|^2 at each time, the divergence of their ends at 0, and that of the whole paths.
    """
    g, variance, factor = PATH_G, 0.4, 1.4
    h = 1.0 / n
    levels = [variance]
    keep = math.exp(-(g**2) * h / 2)
    for _ in range(n):
        levels.append(keep**2 * levels[-1] + 1 - keep**2)
    true = torch.tensor([[levels[min(i, j)] * keep ** abs(i - j) for j in range(n + 1)] for i in range(n + 1)]).double()
    model = torch.zeros(n + 1, n + 1, dtype=torch.float64)
    model[n, n] = 1.0
    for k in range(n, 0, -1):  # a step back, from state k to k - 1
        shrink = 1 + g**2 * h / 2 - g**2 * h * factor / levels[k]
        model[k - 1, k:] = model[k:, k - 1] = shrink * model[k, k:]
        model[k - 1, k - 1] = shrink**2 * model[k, k] + g**2 * h

    def divergence(q: Tensor, p: Tensor) -> float:
        """KL of N(0, q) from N(0, p)."""
        return float(torch.trace(torch.linalg.solve(p, q)) - len(q) + torch.logdet(p) - torch.logdet(q)) / 2

    errors = torch.tensor([(factor - 1) ** 2 / level for level in levels], dtype=torch.float64)
    start = divergence(true[n:, n:], torch.eye(1, dtype=torch.float64))
    return start, errors, divergence(true[:1, :1], model[:1, :1]), divergence(true, model)


PATH_G = math.sqrt(1.7)


@proves("eq-score-path-bound")
def path_bound() -> None:
    """The divergence of the ends is below the bound, and that of the whole paths, which the proof uses, reaches it for small steps."""
    start, errors, ends, paths = two_chains()
    g = PATH_G
    integral = float(torch.trapezoid(errors, dx=1 / (len(errors) - 1)))
    bound = claim(start + g**2 * integral / 2)
    assert ends < bound
    assert abs(paths / bound - 1) < 0.01


# --- fields that are no gradients -----------------------------------------------------------------------------------------


@proves("eq-score-conservative")
def conservative() -> None:
    """A gradient's Jacobian is symmetric; and a field with a symmetric Jacobian is minus the gradient of its work along rays."""
    one, two, ray = sp.symbols("x_1 x_2 r", real=True)
    energy = sp.sin(one * two) + one**3 - two**2 * one
    field = (-sp.diff(energy, one), -sp.diff(energy, two))
    assert_zero(claim(sp.diff(field[0], two) - sp.diff(field[1], one)))
    a_, b_, c_ = sp.symbols("a b c", real=True)
    linear = (a_ * one + b_ * two**2, c_ * one * two)  # symmetric exactly if 2 b = c
    condition = sp.solve(sp.diff(linear[0], two) - sp.diff(linear[1], one), c_)[0]
    linear = [part.subs(c_, condition) for part in linear]
    along = [part.subs({one: ray * one, two: ray * two}, simultaneous=True) for part in linear]
    work = -sp.integrate(along[0] * one + along[1] * two, (ray, 0, 1))
    for part, coordinate in zip(linear, (one, two), strict=True):
        assert_zero(part + sp.diff(work, coordinate))


@defines("eq-score-gauge")
def gauge() -> None:
    """The condition on a part of the field under which no density notices it."""


@proves("eq-score-rotation")
def rotation() -> None:
    """Differentiate a density of two bumps in the plane, given as an expression."""
    one, two, c_ = sp.symbols("x_1 x_2 c", real=True)
    q = sp.exp(-(one**2) - one * two - 2 * two**2) + sp.exp(-((one - 1) ** 2) - two**2 / 3)
    names, R = (one, two), ((0, c_), (-c_, 0))
    score = [sp.diff(sp.log(q), name) for name in names]
    flux = [q * sum(R[i][j] * score[j] for j in range(2)) for i in range(2)]
    left = sum(sp.diff(flux[i], names[i]) for i in range(2))
    turned = [sum(R[i][j] * sp.diff(q, names[j]) for j in range(2)) for i in range(2)]
    assert_zero(left)
    assert_zero(sp.diff(turned[0], one) + sp.diff(turned[1], two))
    assert_zero(claim(R[0][1] * sp.diff(q, one, two) + R[1][0] * sp.diff(q, two, one)))
