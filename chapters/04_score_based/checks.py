"""Checks of chapter 4's equations: SymPy where algebra decides, quadrature and exact mixtures in float64 elsewhere."""

import itertools
import math
from collections.abc import Callable

import sympy as sp
import torch
from torch import Tensor

from course_lib.diffusion.continuous import VE, VP, SubVP, drift_and_diffusion
from course_lib.diffusion.exact import ExactDiffusion, IdealDenoiser, Mixture
from course_lib.diffusion.predictions import to_eps, to_score
from course_lib.pages.proofs import assert_close, assert_zero, claim, defines, proves
from course_lib.sampling.langevin import corrected, langevin_step
from course_lib.sampling.likelihood import divergence, log_likelihood
from course_lib.sampling.ode import velocity

SCHEDULES = (VP(), SubVP(), VE(0.1, 6.0))
TIMES = (0.15, 0.5, 0.85)
x, m, v, t, dt = sp.symbols("x m v t Delta", positive=True)


def double(value: float) -> Tensor:
    """A number in float64."""
    return torch.tensor(value, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture() -> Mixture:
    """Three unequal bumps in the plane."""
    means = torch.tensor([[-1.0, 0.3], [0.8, -0.4], [0.2, 1.1]], dtype=torch.float64)
    covariances = torch.tensor(
        [[[0.1, 0.03], [0.03, 0.2]], [[0.2, 0.0], [0.0, 0.1]], [[0.15, -0.05], [-0.05, 0.1]]], dtype=torch.float64
    )
    return Mixture(torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64), means, covariances)


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


@defines(
    "eq-score-score",
    "eq-score-esm",
    "eq-score-smoothed",
    "eq-score-dsm",
    "eq-score-langevin",
    "eq-score-ncsn",
    "eq-score-sde",
    "eq-score-euler-maruyama",
    "eq-score-flow",
)
def definitions() -> None:
    """These introduce the score, the losses, Langevin dynamics, what an SDE means, and the name of the flow."""


# --- score matching -----------------------------------------------------------------------------------------------------


@proves("eq-score-normaliser")
def normaliser() -> None:
    """SymPy, for any energy."""
    energy, z = sp.Function("E")(x), sp.Symbol("Z", positive=True)
    assert_zero(sp.diff(sp.log(sp.exp(-energy) / z), x) + sp.diff(energy, x))


CANDIDATES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: -0.7 * x,
    lambda x: torch.sin(2 * x) - x,
    lambda x: -(x**3) / 4,
)


@proves("eq-score-expand", "eq-score-parts", "eq-score-ism")
def score_matching() -> None:
    """By quadrature, for three wrong scores: the parts agree, and explicit minus implicit is the same number for all."""
    exact, level = ExactDiffusion(line(), VE(0.1, 6.0)), double(0.0)
    points = GRID[:, None]
    density, true = exact.log_prob(points, level).exp(), exact.score(points, level)[:, 0]
    constants = []
    for candidate in CANDIDATES:
        guess, slope = torch.func.jvp(candidate, (GRID,), (torch.ones_like(GRID),))
        explicit = mean((guess - true) ** 2, density) / 2
        middle = mean(guess * true, density)
        assert_close(explicit, mean(guess**2, density) / 2 - middle + mean(true**2, density) / 2, 1e-10)
        assert_close(middle, -mean(slope, density), 1e-9)
        constants.append(explicit - mean(guess**2 / 2 + slope, density))
    assert_close(torch.stack(constants), constants[0].expand(3), 1e-8)


@proves("eq-score-hutchinson")
def hutchinson() -> None:
    """Over all sign vectors, whose covariance is the identity, the mean is the trace; and the sum's entries are as written."""
    matrix = normal(5, 5)
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=5)), dtype=torch.float64)
    second = torch.einsum("ni,nj->ij", signs, signs) / len(signs)
    assert_close(second, torch.eye(5))
    assert_close(torch.einsum("ni,ij,nj->n", signs, matrix, signs).mean(), (matrix * second).sum())
    assert_close((matrix * second).sum(), matrix.trace())


@proves("eq-score-bump")
def bump() -> None:
    """SymPy; and with x~ = x + sigma eps."""
    clean, eps, sigma = sp.symbols("c epsilon sigma", positive=True)
    density = sp.exp(-((x - clean) ** 2) / (2 * sigma**2)) / sp.sqrt(2 * sp.pi * sigma**2)
    slope = sp.diff(sp.log(density), x)
    assert_zero(slope + (x - clean) / sigma**2)
    assert_zero(slope.subs(x, clean + sigma * eps) + eps / sigma)


POINTS = torch.tensor([-1.2, -0.1, 0.4, 1.5], dtype=torch.float64)  # data that are a handful of points
SIGMA = 0.5


def of_points() -> tuple[Tensor, Tensor, Tensor]:
    """On GRID: the blurred density of POINTS, each point's responsibility `(N, P)`, and each bump's score `(N, P)`."""
    bumps = torch.distributions.Normal(POINTS, SIGMA).log_prob(GRID[:, None]).exp() / len(POINTS)
    return bumps.sum(1), bumps / bumps.sum(1, keepdim=True), -(GRID[:, None] - POINTS) / SIGMA**2


@proves("eq-score-tower")
def tower() -> None:
    """The average of the bumps' scores is the derivative of the blurred density's logarithm, by automatic differentiation."""
    _, responsibility, slopes = of_points()

    def log_density(x: Tensor) -> Tensor:
        return torch.distributions.Normal(POINTS, SIGMA).log_prob(x[:, None]).logsumexp(1)

    true = torch.func.jvp(log_density, (GRID,), (torch.ones_like(GRID),))[1]
    assert_close((responsibility * slopes).sum(1), true, 1e-10)


@proves("eq-score-equivalence")
def equivalence() -> None:
    """By quadrature over both x and x~: DSM is ESM of the blurred density, plus the targets' own spread."""
    density, responsibility, slopes = of_points()
    true = (responsibility * slopes).sum(1)
    spread = mean((responsibility * (slopes - true[:, None]) ** 2).sum(1), density) / 2
    for candidate in CANDIDATES:
        guess = candidate(GRID)
        denoising = mean((responsibility * (guess[:, None] - slopes) ** 2).sum(1), density) / 2
        assert_close(denoising, mean((guess - true) ** 2, density) / 2 + spread, 1e-10)


@proves("eq-score-noise", "eq-score-tweedie")
def noise_and_score() -> None:
    """The best noise and picture of a finite data set, by enumeration, against the score by automatic differentiation."""
    data = normal(7, 3)
    for schedule in SCHEDULES:
        ideal = IdealDenoiser(data, schedule)
        for time in TIMES:
            a, b, points = schedule.signal(double(time)), schedule.noise(double(time)), normal(5, 3, seed=1)

            def log_density(x: Tensor, a: Tensor = a, b: Tensor = b) -> Tensor:
                return (-(x - a * data).square().sum(-1) / (2 * b**2)).logsumexp(0)

            score = torch.stack([torch.func.grad(log_density)(row) for row in points])
            best = ideal(points, double(time))
            assert_close(score, -to_eps(best, points, double(time), schedule) / b, 1e-9)
            assert_close(best, (points + b**2 * score) / a, 1e-9)
            assert_close(to_score(best, points, double(time), schedule), score, 1e-9)


# --- Langevin dynamics and NCSN -----------------------------------------------------------------------------------------


@proves("eq-score-langevin-variance")
def langevin_variance() -> None:
    """SymPy solves for the stationary variance; one step of the library from it returns it, by exact moments."""
    size, variance = sp.symbols("delta V", positive=True)
    solved = sp.solve(sp.Eq(variance, (1 - size) ** 2 * variance + 2 * size), variance)
    assert len(solved) == 1
    assert_zero(solved[0] - 1 / (1 - size / 2))
    unit = torch.eye(2, dtype=torch.float64)  # x and z as coordinates of a linear map
    row = langevin_step(unit[:1], -unit[:1], 0.3, unit[1:])[0]
    assert_close(row[0] ** 2 / (1 - 0.15) + row[1] ** 2, 1 / (1 - 0.15))


@proves("eq-score-blind")
def blind() -> None:
    """Near one of two far bumps, the mixture's score is the bump's, whatever its weight."""
    for weight in (0.1, 0.9):
        far = Mixture(
            torch.tensor([weight, 1 - weight], dtype=torch.float64),
            torch.tensor([[-6.0], [6.0]], dtype=torch.float64),
            torch.full((2, 1, 1), 0.25, dtype=torch.float64),
        )
        points = torch.linspace(-7, -5, 9, dtype=torch.float64)[:, None]
        schedule = VE(1e-4, 5.0)
        assert_close(ExactDiffusion(far, schedule).score(points, double(0.0)), -(points + 6) / 0.25, 1e-6)


@proves("eq-score-weight")
def weight() -> None:
    """With s = -eps_theta / sigma."""
    eps, guess = normal(6, 4), normal(6, 4, seed=1)
    for sigma in (0.1, 3.0):
        assert_close(sigma**2 * (-guess / sigma + eps / sigma).square().sum(1), (eps - guess).square().sum(1))


# --- from steps to time -------------------------------------------------------------------------------------------------


@proves("eq-score-vp-root", "eq-score-vp")
def vp() -> None:
    """The root's expansion by SymPy; drift and diffusion of the library's VP are -beta/2 and beta."""
    beta = sp.Symbol("beta", positive=True)
    expanded = sp.series(sp.sqrt(1 - beta * dt), dt, 0, 2).removeO()
    assert_zero(expanded - (1 - beta * dt / 2))
    for time in TIMES:
        rate = 0.1 + time * 19.9
        drift, diffusion = drift_and_diffusion(VP(), double(time))
        assert_close(drift, -rate / 2, 1e-10)
        assert_close(diffusion, rate, 1e-9)


@proves("eq-score-ve")
def ve() -> None:
    """The library's VE has no drift, and the derivative of sigma^2 as its diffusion."""
    schedule = VE(0.1, 6.0)
    for time in TIMES:
        drift, diffusion = drift_and_diffusion(schedule, double(time))
        at = double(time)
        rate = torch.func.jvp(lambda t: schedule.noise(t) ** 2, (at,), (torch.ones_like(at),))[1]
        assert_close(drift, 0.0)
        assert_close(diffusion, rate, 1e-10)


@proves("eq-score-moments")
def moments() -> None:
    """SymPy takes the limit of one Euler step's mean and variance; the library's schedules satisfy the equations."""
    f, g, a, b2 = sp.symbols("f g a b", positive=True)
    assert_zero(sp.limit(((1 + f * dt) * a - a) / dt, dt, 0) - f * a)
    assert_zero(sp.limit(((1 + f * dt) ** 2 * b2 + g**2 * dt - b2) / dt, dt, 0) - (2 * f * b2 + g**2))
    for schedule in SCHEDULES:
        for time in TIMES:
            at = double(time)
            (level, variance), (level_rate, variance_rate) = torch.func.jvp(
                lambda t, s=schedule: (s.signal(t), s.noise(t) ** 2), (at,), (torch.ones_like(at),)
            )
            drift, diffusion = drift_and_diffusion(schedule, at)
            assert_close(level_rate, drift * level, 1e-10)
            assert_close(variance_rate, 2 * drift * variance + diffusion, 1e-9)


BETA = sp.Function("beta")
INTEGRAL = sp.Function("B")(t)  # of beta from 0 to t


def rate_of(expression: sp.Expr) -> sp.Expr:
    """The derivative in t, with B' = beta."""
    return sp.diff(expression, t).subs(sp.Derivative(INTEGRAL, t), BETA(t))


@proves("eq-score-vp-levels", "eq-score-subvp")
def levels() -> None:
    """SymPy inserts both into eq-score-moments; the library's levels agree with the formulas."""
    a, vp_variance, sub = sp.exp(-INTEGRAL / 2), 1 - sp.exp(-INTEGRAL), 1 - sp.exp(-INTEGRAL)
    f = -BETA(t) / 2
    assert_zero(rate_of(a) - f * a)
    assert_zero(rate_of(vp_variance) - (2 * f * vp_variance + BETA(t)))
    assert_zero(sp.expand(rate_of(sub**2) - (2 * f * sub**2 + BETA(t) * (1 - sp.exp(-2 * INTEGRAL)))))
    for time in TIMES:
        integral = 0.1 * time + 19.9 * time**2 / 2
        assert_close(VP().signal(double(time)), math.exp(-integral / 2))
        assert_close(VP().noise(double(time)) ** 2, 1 - math.exp(-integral))
        assert_close(SubVP().noise(double(time)), 1 - math.exp(-integral))


# --- backwards ----------------------------------------------------------------------------------------------------------


@proves("eq-score-bayes")
def bayes() -> None:
    """On the line, with one exact transition from t to t + Delta: the left-hand side integrates to 1 over x."""
    exact, schedule = ExactDiffusion(line(), VP()), VP()
    now, later = double(0.4), double(0.45)
    ratio = schedule.signal(later) / schedule.signal(now)
    variance = schedule.noise(later) ** 2 - ratio**2 * schedule.noise(now) ** 2
    for y in (-1.0, 0.2, 1.4):
        forward = torch.distributions.Normal(ratio * GRID, variance.sqrt()).log_prob(double(y))
        log_posterior = forward + exact.log_prob(GRID[:, None], now) - exact.log_prob(double(y).reshape(1, 1), later)
        assert_close(mean(log_posterior.exp(), torch.ones_like(GRID)), 1.0, 1e-9)


@proves("eq-score-reverse-square", "eq-score-reverse-step")
def reverse_square() -> None:
    """SymPy: the two lines differ by nothing that contains u; and the exact posterior's mean approaches the step's."""
    u, f, g, s = sp.symbols("u f g s", real=True)
    first = -((u + f * dt) ** 2) / (2 * g**2 * dt) + u * s
    second = -((u + f * dt - g**2 * s * dt) ** 2) / (2 * g**2 * dt)
    assert_zero(sp.diff(sp.expand(first - second), u))
    exact, schedule, y = ExactDiffusion(line(), VP()), VP(), 0.3
    errors = []
    for step in (0.004, 0.002):
        now, later = double(0.4), double(0.4 + step)
        ratio = schedule.signal(later) / schedule.signal(now)
        variance = schedule.noise(later) ** 2 - ratio**2 * schedule.noise(now) ** 2
        forward = torch.distributions.Normal(ratio * GRID, variance.sqrt()).log_prob(double(y))
        posterior = (forward + exact.log_prob(GRID[:, None], now)).softmax(0)
        drift, diffusion = drift_and_diffusion(schedule, now)
        score = exact.score(double(y).reshape(1, 1), now)[0, 0]
        predicted = y - (drift * y - diffusion * score) * step
        errors.append(float((posterior @ GRID - predicted).abs()))
        width = posterior @ GRID**2 - (posterior @ GRID) ** 2
        assert abs(float(width / (diffusion * step)) - 1) < 30 * step
    assert 3.3 < errors[0] / errors[1] < 4.7, "the mean's error must fall with the square of the step"


def density_rates(exact: ExactDiffusion, points: Tensor, time: float) -> tuple[Tensor, Tensor]:
    """q and dq/dt at points of the line, by automatic differentiation of the exact density."""
    at = double(time)
    return torch.func.jvp(lambda t: exact.log_prob(points, t).exp(), (at,), (torch.ones_like(at),))


def slope(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """The derivative of a function of the line at points `(N, 1)`."""
    return torch.func.jvp(function, (points,), (torch.ones_like(points),))[1]


INSIDE = torch.linspace(-2.5, 2.5, 41, dtype=torch.float64)[:, None]


@proves("eq-score-generator")
def generator() -> None:
    """The mean of a test function under the exact density, differentiated in time, on the line."""
    points = GRID[::10, None]
    for schedule in SCHEDULES:
        exact = ExactDiffusion(line(), schedule)
        for time in TIMES:
            q, rate = density_rates(exact, points, time)
            drift, diffusion = drift_and_diffusion(schedule, double(time))
            flat = points[:, 0]
            h, h1, h2 = torch.sin(flat), torch.cos(flat), -torch.sin(flat)
            left = torch.trapezoid(h * rate, flat)
            right = torch.trapezoid((drift * flat * h1 + diffusion / 2 * h2) * q, flat)
            if schedule.noise(double(time)) < 1.5:  # wider ones leave the grid
                assert_close(left, right, 1e-7)


@proves("eq-score-fokker-planck", "eq-score-continuity", "eq-score-reverse-sde")
def fokker_planck() -> None:
    """The exact density of a mixture satisfies both forms; and, with time reversed, the reverse SDE's own equation."""
    for schedule in SCHEDULES:
        exact = ExactDiffusion(line(), schedule)
        for time in TIMES:
            at = double(time)
            drift, diffusion = drift_and_diffusion(schedule, at)

            def q(x, e=exact, at=at):
                return e.log_prob(x, at).exp()[:, None]

            def score(x, e=exact, at=at):
                return e.score(x, at)

            _, rate = density_rates(exact, INSIDE, time)
            curvature = slope(lambda x, q=q: slope(q, x), INSIDE)[:, 0]
            flux = slope(lambda x, f=drift, q=q: f * x * q(x), INSIDE)[:, 0]
            assert_close(rate, -flux + diffusion / 2 * curvature, 1e-8)
            half = slope(lambda x, f=drift, g=diffusion, q=q, s=score: (f * x - g / 2 * s(x)) * q(x), INSIDE)[:, 0]
            assert_close(rate, -half, 1e-8)
            # tau = T - t: the density falls by `rate`, the drift is -(f - g^2 s), the diffusion g again
            back = slope(lambda x, f=drift, g=diffusion, q=q, s=score: -(f * x - g * s(x)) * q(x), INSIDE)[:, 0]
            assert_close(-rate, -back + diffusion / 2 * curvature, 1e-8)


@proves("eq-score-flow-levels")
def flow_levels() -> None:
    """The flow's right-hand side, from drift, diffusion and score, is the library's velocity, from the levels' rates."""
    points = normal(6, 2)
    for schedule in SCHEDULES:
        exact = ExactDiffusion(mixture(), schedule)
        for time in TIMES:
            drift, diffusion = drift_and_diffusion(schedule, double(time))
            flow = drift * points - diffusion / 2 * exact.score(points, double(time))
            assert_close(velocity(exact.denoise, schedule)(points, double(time)), flow, 1e-9)


@proves("eq-score-stationary")
def stationary() -> None:
    """SymPy: for any density, drift s and g^2 = 2 leave it as it is."""
    p = sp.Function("p", positive=True)(x)
    s, squared = sp.diff(sp.log(p), x), 2
    assert_zero(-sp.diff((s - sp.Rational(1, 2) * squared * s) * p, x))
    assert_zero(-sp.diff(s * p, x) + sp.Rational(squared, 2) * sp.diff(p, x, 2))


@proves("eq-score-corrector")
def corrector() -> None:
    """The library's correction moves by drift and kick in this ratio."""
    points, z = normal(50, 4), normal(50, 4, seed=1)
    fixed = 3 * normal(50, 4, seed=2)
    step = corrected(lambda x, t, s: x, lambda x, t: fixed, 1, 0.2, noise=lambda x: z)
    moved = step(points, double(0.5), double(0.4)) - points

    def length(w):
        return w.norm(dim=1).mean()

    size = 2 * (0.2 * length(z) / length(fixed)) ** 2
    assert_close(moved, size * fixed + (2 * size).sqrt() * z, 1e-10)
    assert_close(size * length(fixed) / ((2 * size).sqrt() * length(z)), 0.2)


# --- the likelihood -----------------------------------------------------------------------------------------------------


@proves("eq-score-change")
def change() -> None:
    """Along the flow of a mixture: d/dt log q by differentiating in time and place, against minus the exact divergence."""
    points = normal(8, 2)
    for schedule in SCHEDULES:
        exact = ExactDiffusion(mixture(), schedule)
        field = velocity(exact.denoise, schedule)
        for time in TIMES:
            at = double(time)
            moving, trace = divergence(field, points, at)
            total = torch.func.jvp(exact.log_prob, (points, at), (moving, torch.ones_like(at)))[1]
            assert_close(total, -trace, 1e-8)


@proves("eq-score-likelihood")
def likelihood() -> None:
    """The library's likelihood of a mixture approaches the true one with the square of the number of steps."""
    schedule = VP(0.1, 40.0)  # with so much noise at the end, x_T is standard normal to 1e-4
    exact, points = ExactDiffusion(mixture(), schedule), mixture().sample(40, torch.Generator().manual_seed(0))[0]
    true = exact.log_prob(points, double(0.02))
    errors = []
    for steps in (100, 200):
        times = torch.linspace(1, 0.02, steps + 1, dtype=torch.float64)
        errors.append(float((log_likelihood(exact.denoise, schedule, points, times) - true).abs().mean()))
    assert errors[1] < 0.01
    assert 3.0 < errors[0] / errors[1] < 5.5


@proves("eq-score-hutchinson-variance")
def hutchinson_variance() -> None:
    """Over all sign vectors."""
    matrix = normal(6, 6)
    matrix = matrix + matrix.T
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=6)), dtype=torch.float64)
    values = torch.einsum("ni,ij,nj->n", signs, matrix, signs)
    off = matrix - torch.diag(matrix.diagonal())
    assert_close(values.var(correction=0), 2 * off.square().sum(), 1e-11)


@proves("eq-score-bits")
def bits() -> None:
    """For a density that is constant in each bin the bound is the entropy of the levels itself; else it is above the truth."""
    width, levels = 2 / 16, 17
    weights = torch.distributions.Dirichlet(torch.ones(levels, dtype=torch.float64)).sample()
    constant = weights / width
    assert_close(-(constant.log() + math.log(width)) / math.log(2), -weights.log2())
    inside = torch.linspace(0, width, 2001, dtype=torch.float64)
    density = 3 + torch.sin(40 * inside)
    probability = torch.trapezoid(density, inside)
    bound = torch.trapezoid(density.log(), inside) / width + math.log(width)
    assert bound < probability.log()


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


@proves("eq-score-path-bound")
def path_bound() -> None:
    """One Gaussian and a score that is too long: the divergence of the two chains from their covariances, and that of their ends."""
    g, n, variance, factor = math.sqrt(1.7), 800, 0.4, 1.4
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

    start = divergence(true[n:, n:], torch.eye(1, dtype=torch.float64))
    errors = torch.tensor([(factor - 1) ** 2 / level for level in levels], dtype=torch.float64)  # E |s_theta - s|^2
    bound = claim(start + g**2 * float(torch.trapezoid(errors, dx=h)) / 2)
    assert divergence(true[:1, :1], model[:1, :1]) < bound
    assert abs(divergence(true, model) / bound - 1) < 0.01


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
