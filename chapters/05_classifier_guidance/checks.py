"""Checks of chapter 5's equations: exact mixtures, quadrature and SymPy; the Gaussian case also by running the samplers."""

import functools
import math
from itertools import pairwise

import sympy as sp
import torch
from scipy.integrate import quad, solve_ivp
from torch import Tensor

from course_lib.diffusion import schedules
from course_lib.diffusion.continuous import VE, VP
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.pages.proofs import answers, assert_close, assert_printed, assert_zero, claim, defines, proves
from course_lib.sampling.guidance import class_score, classifier_guided
from course_lib.sampling.langevin import langevin_step
from course_lib.sampling.ode import heun, velocity
from course_lib.sampling.sde import euler_maruyama

TIMES = (0.1, 0.4, 0.8)


def double(value: float) -> Tensor:
    """A number in float64."""
    return torch.tensor(value, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gauss(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """log N(x; mean, covariance), from torch."""
    return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)


def classes() -> Mixture:
    """Three classes, one Gaussian each, in the plane."""
    means = torch.tensor([[-1.0, 0.0], [0.9, 0.4], [0.0, -1.1]], dtype=torch.float64)
    covariances = torch.tensor(
        [[[0.2, 0.05], [0.05, 0.1]], [[0.1, 0.0], [0.0, 0.3]], [[0.15, -0.06], [-0.06, 0.2]]], dtype=torch.float64
    )
    return Mixture(torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64), means, covariances)


def on_the_line() -> Mixture:
    """Two classes on the line."""
    return Mixture(
        torch.tensor([0.3, 0.7], dtype=torch.float64),
        torch.tensor([[-0.6], [0.7]], dtype=torch.float64),
        torch.tensor([[[0.2]], [[0.3]]], dtype=torch.float64),
    )


EXACT, LINE = ExactDiffusion(classes(), VP()), ExactDiffusion(on_the_line(), VP())
X = normal(6, 2)
GRID = torch.linspace(-8, 8, 4001, dtype=torch.float64)
EYE = torch.eye(2, dtype=torch.float64)


def logits(x: Tensor, t: Tensor) -> Tensor:
    """The exact noisy classifier's logits, for class_score."""
    return EXACT.class_posterior(x, t).log()


@functools.cache
def class_gradient(time: float, y: int) -> Tensor:
    """The gradient of log q(y | x_t) at X, by automatic differentiation."""
    return class_score(logits, X, double(time).expand(len(X)), torch.full((len(X),), y))


@functools.cache
def class_moments(time: float, y: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of q(x_t | y), which is one Gaussian."""
    a, b, start = VP().signal(double(time)), VP().noise(double(time)), classes()
    return a * start.means[y], a**2 * start.covariances[y] + b**2 * EYE


def own_score(x: Tensor, time: float, y: int) -> Tensor:
    """The score of q(x_t | y), from the formula for one Gaussian."""
    mean, covariance = class_moments(time, y)
    return -torch.linalg.solve(covariance, (x - mean).T).T


# --- Bayes' rule, and the classifier that it needs ----------------------------------------------------------------------


@proves("eq-cg-bayes")
def bayes() -> None:
    """The class's own Gaussian is the quotient; its score is the sum, for every class and time."""
    for time in TIMES:
        t = double(time)
        for y, prior in enumerate(classes().weights):
            density, opinion = EXACT.log_prob(X, t).exp(), EXACT.class_posterior(X, t)[:, y]
            assert_close(gauss(X, *class_moments(time, y)).exp(), claim(density * opinion / prior), 1e-11)
            score, gradient = EXACT.score(X, t), class_gradient(time, y)
            assert_close(own_score(X, time, y), claim(score + gradient), 1e-9)


@proves("eq-cg-noisy-classifier")
def noisy_classifier() -> None:
    """On the line: the average of the clean posterior over q(x_0 | x_t), by quadrature."""
    clean, x0 = ExactDiffusion(on_the_line(), VE(1e-8, 5.0)), GRID[:, None]
    opinion, prior = clean.class_posterior(x0, double(0.0)), clean.log_prob(x0, double(0.0))
    for time in TIMES:
        t = double(time)
        a, b = VP().signal(t), VP().noise(t)
        for x in (-1.0, 0.2, 1.1):
            given = (prior - (x - a * x0[:, 0]) ** 2 / (2 * b**2)).softmax(0)[:, None]  # q(x_0 | x_t)
            assert_close(claim((opinion * given).sum(0)), LINE.class_posterior(double(x).reshape(1, 1), t)[0], 1e-6)


@functools.cache
def answers_at(time: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """On GRID: log of a wrong classifier's answer, the true answer (N, 2), the densities of the classes (N, 2), and of all."""
    t, x = double(time), GRID[:, None]
    guess = torch.stack([0.3 * GRID.sin(), 0.2 * GRID**2 + time], 1).log_softmax(1)
    by_class = torch.stack([LINE.conditional(y).log_prob(x, t).exp() for y in range(2)], 1)
    return guess, LINE.class_posterior(x, t), by_class, LINE.log_prob(x, t).exp()


@proves("eq-cg-cross-entropy")
def cross_entropy() -> None:
    """For a wrong classifier: the loss, averaged over the times, the classes and the x_t of each class, all by quadrature."""
    left = right = 0.0
    for time in TIMES:
        guess, truth, by_class, density = answers_at(time)
        for y, weight in enumerate(on_the_line().weights):
            left += weight * torch.trapezoid(-guess[:, y] * by_class[:, y], GRID)
        entropy = torch.distributions.Categorical(truth).entropy()
        divergence = (truth * (truth.log() - guess)).nan_to_num().sum(1)
        right += torch.trapezoid(density * claim(entropy + divergence), GRID)
    assert_close(left / 3, right / 3, 1e-9)


@proves("eq-cg-step")
def step() -> None:
    """Condition the class's own Gaussian on x_t; and, class by class, the mixture's, for the unguided step on the right."""
    s, t = double(0.3), double(0.5)
    ratio, variance = GaussianDiffusion(VP()).transition(s, t)
    x_s, x_t = normal(6, 2), normal(6, 2, seed=1)
    given, shares = [], []  # q(x_s | x_t, y), and q(y | x_t)
    for y, weight in enumerate(classes().weights):
        mean, covariance = class_moments(0.3, y)
        total = ratio**2 * covariance + variance * EYE
        gain = ratio * covariance @ torch.linalg.inv(total)
        centre = mean + (x_t - ratio * mean) @ gain.T
        given.append(gauss(x_s, centre, covariance - gain @ total @ gain.T).exp())
        shares.append(weight * gauss(x_t, ratio * mean, total).exp())
    shares = torch.stack(shares) / sum(shares)
    plain = sum(share * each for share, each in zip(shares, given, strict=True))
    for y in range(3):
        before, now = EXACT.class_posterior(x_s, s)[:, y], EXACT.class_posterior(x_t, t)[:, y]
        assert_close(given[y], claim(plain * before / now), 1e-9)


@proves("eq-cg-square")
def square() -> None:
    """In three dimensions, with any covariance: up to a constant, the logarithms of torch's Gaussians around 0 and around Sigma g."""
    factor, g = normal(3, 3), normal(3, seed=1)
    sigma = factor @ factor.T + torch.eye(3, dtype=torch.float64)
    precision, u = torch.linalg.inv(sigma), normal(5, 3, seed=2).T  # (3, 5): points are columns
    zero = torch.zeros(3, dtype=torch.float64)
    tilted = gauss(u.T, zero, sigma) + u.T @ g
    first = claim(-(u * (precision @ u)).sum(0) / 2 + g @ u)
    moved = claim(u - sigma @ g[:, None])
    second = claim(-(moved * (precision @ moved)).sum(0) / 2)
    for line in (first, second):
        assert_close(line - line[0], tilted - tilted[0], 1e-11)
    assert_close(gauss(u.T, sigma @ g, sigma) - gauss(u[:, 0], sigma @ g, sigma), tilted - tilted[0], 1e-11)


@proves("eq-cg-eps", "eq-cg-x0")
def corrected_predictions() -> None:
    """The corrected noise and picture are those of the class's own Gaussian, and what the library's guidance returns."""
    for time in TIMES:
        t = double(time)
        a, b = VP().signal(t), VP().noise(t)
        noise, picture = EXACT.eps(X, t), EXACT.denoise(X, t)
        for y in range(3):
            score, g = own_score(X, time, y), class_gradient(time, y)
            assert_close(-b * score, claim(noise - b * g, "eq-cg-eps"), 1e-9)
            corrected = claim(picture + b**2 / a * g, "eq-cg-x0")
            assert_close((X + b**2 * score) / a, corrected, 1e-9)
            guided = classifier_guided(EXACT.denoise, logits, VP(), torch.full((6,), y), 1.0)
            assert_close(guided(X, t), corrected, 1e-9)
            twice = classifier_guided(EXACT.denoise, logits, VP(), torch.full((6,), y), 2.0)
            assert_close(twice(X, t), 2 * corrected - picture, 1e-9)


@proves("eq-cg-shift")
def shift() -> None:
    """By how far the posterior's mean moves when the guess of x_0 is corrected; for neighbours nearly beta g."""
    table, g = schedules.linear(), normal(4, 2)
    process, x0, x_t = GaussianDiffusion(table), normal(4, 2, seed=1), normal(4, 2, seed=2)
    for time in (2, 301, 700, 999):
        t, s = torch.tensor(time), torch.tensor(time - 1)
        a, b, beta = table.signal(t), table.noise(t), table.beta[time]
        now, before = table.alpha_bar[time], table.alpha_bar[time - 1]
        k = before.sqrt() * beta / (1 - now)  # the weight of x_0 in eq-ddpm-posterior-moments
        moved = process.posterior(x0 + b**2 / a * g, x_t, t, s)[0] - process.posterior(x0, x_t, t, s)[0]
        assert_close(moved, claim(k * b**2 / a * g), 1e-10)
        exact, near = claim(before.sqrt() / now.sqrt() * beta * g), claim(beta * g)
        assert_close(moved / beta, exact / beta, 1e-9)
        assert float(((near - moved) / moved).abs().max()) < 0.011  # half of the largest beta, and its square


# --- scales other than 1 ------------------------------------------------------------------------------------------------


@defines("eq-cg-sharpened")
def definitions() -> None:
    """The sharpened density is a name for a product."""


@proves("eq-cg-power")
def power() -> None:
    """SymPy, for any positive function; and by automatic differentiation of the exact class posterior."""
    x, s = sp.symbols("x s", positive=True)
    q = sp.Function("q", positive=True)(x)
    slope = sp.diff(q, x) / q
    assert_zero(s * slope - claim(s * sp.diff(sp.log(q), x)))
    assert_zero(s * slope - claim(sp.diff(sp.log(q**s), x)))


@proves("eq-cg-two-models")
def two_models() -> None:
    """For every class, time and scale: the gradient by automatic differentiation on one side, the class's Gaussian on the other."""
    for time in TIMES:
        score = EXACT.score(X, double(time))
        for y in range(3):
            gradient, own = class_gradient(time, y), own_score(X, time, y)
            for s in (0.0, 0.5, 1.0, 4.0):
                assert_close(claim(score + s * gradient), claim((1 - s) * score + s * own), 1e-9)


@functools.cache
def sharpened_score(x: float, time: float, s: float) -> Tensor:
    """The score of the noised sharpened density on the line: derivative of the logarithm of an integral, by quadrature."""
    clean, x0 = ExactDiffusion(on_the_line(), VE(1e-8, 5.0)), GRID[:, None]
    log_sharp = clean.log_prob(x0, double(0.0)) + s * clean.class_posterior(x0, double(0.0))[:, 0].log()
    a, b = VP().signal(double(time)), VP().noise(double(time))
    given = (log_sharp - (x - a * GRID) ** 2 / (2 * b**2)).softmax(0)
    return (given * (a * GRID - x)).sum() / b**2  # the mean of the slopes of log q(x_t | x_0)


@proves("eq-cg-not-commute")
def not_commute() -> None:
    """On the line, both sides by independent ways: equal for s = 0 and 1, apart by a twentieth and more for other scales."""
    own = LINE.conditional(0)
    for s in (0.0, 1.0, 0.5, 2.0, 4.0):
        gaps = []
        for time in TIMES:
            for x in (-0.8, 0.2):
                at, t = double(x).reshape(1, 1), double(time)
                score, gradient = LINE.score(at, t)[0, 0], (own.score(at, t) - LINE.score(at, t))[0, 0]
                gaps.append(float((sharpened_score(x, time, s) - claim(score + s * gradient)).abs()))
        assert max(gaps) < 1e-6 if s in (0.0, 1.0) else claim(max(gaps) > 0.05)


@proves("eq-cg-tilted")
def tilted() -> None:
    """On the line: the sharpened density as masses on a grid, noised point by point; the averages over q(x_0 | x_t) by quadrature."""
    clean, x0 = ExactDiffusion(on_the_line(), VE(1e-8, 5.0)), GRID[:, None]
    prior, opinion = clean.log_prob(x0, double(0.0)).exp(), clean.class_posterior(x0, double(0.0))[:, 0]
    for s in (0.5, 1.0, 3.0):
        masses = (prior.log() + s * opinion.log()).softmax(0)
        Z = torch.trapezoid(prior * opinion**s, GRID)
        for time in TIMES:
            t = double(time)
            a, b = VP().signal(t), VP().noise(t)
            for x in (-0.8, 0.4):
                step = torch.distributions.Normal(a * GRID, b).log_prob(double(x)).exp()
                noised = (masses * step).sum()
                assert_close(noised, torch.trapezoid(claim(prior * opinion**s * step / Z), GRID), 1e-9)
                given = (prior.log() - (x - a * GRID) ** 2 / (2 * b**2)).softmax(0)  # q(x_0 | x_t)
                density = LINE.log_prob(double(x).reshape(1, 1), t)[0].exp()
                assert_close(noised, claim(density / Z * (opinion**s * given).sum()), 1e-6)


# --- the Gaussian case --------------------------------------------------------------------------------------------------

x, y, a, s_, rho_ = sp.symbols("x y a s rho", positive=True)


@proves("eq-cg-gaussian-target")
def gaussian_target() -> None:
    """SymPy: prior times likelihood^s differs from this Gaussian by nothing that contains x."""
    s, rho = s_, rho_
    product = -(x**2) / 2 - s * (y - x) ** 2 / (2 * rho**2)
    mean, variance = claim(s * y / (rho**2 + s)), claim(rho**2 / (rho**2 + s))
    assert_zero(sp.diff(product + (x - mean) ** 2 / (2 * variance), x))


@proves("eq-cg-gaussian-flow")
def gaussian_flow() -> None:
    """SymPy: dx/dt over da/dt, with the score's two parts; the gradient by differentiating the log-likelihood."""
    s, rho, beta = s_, rho_, sp.Symbol("beta", positive=True)
    likelihood = -((y - a * x) ** 2) / (2 * (1 - a**2 + rho**2))
    score = -x + s * sp.diff(likelihood, x)
    rate = -beta / 2 * (x + score) / (-beta / 2 * a)
    assert_zero(rate - claim(s * (y - a * x) / (1 + rho**2 - a**2)))


LONG = VP(0.1, 60.0)  # at its end a is 3e-7, so that the samples start from noise alone


def levels_at(time: float) -> tuple[float, float, float]:
    """beta, a and b^2 of LONG."""
    a_squared = math.exp(-0.1 * time - 59.9 * time**2 / 2)
    return 0.1 + 59.9 * time, math.sqrt(a_squared), 1 - a_squared


@functools.cache
def flow_variance(s: float, rho: float) -> float:
    """The variance after the guided probability flow, by scipy: two particles show the slope of a map that is affine here."""

    def rate(t, x):
        beta, a, noise = levels_at(t)
        score = -x + s * a * (0.5 - a * x) / (noise + rho**2)
        return -beta / 2 * x - beta / 2 * score

    ends = solve_ivp(rate, (1.0, 0.0), [-1.0, 1.0], rtol=1e-9, atol=1e-11).y[:, -1]
    return float(((ends[1] - ends[0]) / 2) ** 2)


@functools.cache
def sde_variance(s: float, rho: float) -> float:
    """The variance after the reverse SDE with the guided score: dV = (2 slope of the drift V + g^2) dt backwards, by scipy."""

    def rate(t, v):
        beta, a, noise = levels_at(t)
        slope = beta / 2 + beta * (-1 - s * a**2 / (noise + rho**2))
        return -(2 * slope * v + beta)

    return float(solve_ivp(rate, (1.0, 0.0), [1.0], rtol=1e-9, atol=1e-11).y[0, -1])


@functools.cache
def drawn_variance(flow: bool, s: float = 3.0, rho: float = 1.0, n: int = 10_000) -> float:
    """The variance of n draws from the library's solvers with the guided denoiser; its standard error is 1.4 % of it."""
    generator = torch.Generator().manual_seed(0)

    def guided(x: Tensor, t: Tensor) -> Tensor:  # the score, and then Tweedie's formula
        a, b = LONG.signal(t), LONG.noise(t)
        score = -x + s * a * (0.5 - a * x) / (b**2 + rho**2)
        return (x + b**2 * score) / a

    step = heun(velocity(guided, LONG)) if flow else euler_maruyama(guided, LONG, generator)
    x = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    for t, earlier in pairwise(torch.linspace(1, 0.03, 100, dtype=torch.float64) ** 2):
        x = step(x, t, earlier)
    return float(x.var())


@proves("eq-cg-gaussian-variance")
def gaussian_variance() -> None:
    """The flow run by scipy, draws of the library's sampler to within their error, and SymPy, by eq-cg-gaussian-flow."""
    for s, rho in ((1.0, 0.6), (3.0, 1.0)):
        assert_close(flow_variance(s, rho), claim((rho**2 / (1 + rho**2)) ** s), 1e-6)
    assert abs(drawn_variance(flow=True) / flow_variance(3.0, 1.0) - 1) < 0.06
    distance = ((1 + rho_**2 - a**2) / (1 + rho_**2)) ** (s_ / 2)  # of two particles, which is 1 at a = 0
    assert_zero(sp.diff(distance, a) / distance + s_ * a / (1 + rho_**2 - a**2))


V, beta, kappa, z, c = sp.symbols("V beta kappa z c", positive=True)


@proves("eq-cg-sde-variance")
def variance_equation() -> None:
    """One step of length h moves the variance by its square and adds noise; the slope of the score by SymPy from the likelihood."""
    h = sp.Symbol("h", positive=True)
    after = (1 + h * (beta / 2 + beta * kappa)) ** 2 * V + beta * h
    rate = claim(beta * V + 2 * beta * kappa * V + beta)
    assert_zero(sp.limit((after - V) / h, h, 0) - rate)
    likelihood = -((y - sp.sqrt(z) * x) ** 2) / (2 * (c - z))  # 1 - a^2 + rho^2 = c - z
    slope = sp.diff(-x + s_ * sp.diff(likelihood, x), x)
    clock = 2 * a * beta * a / 2  # dz/dt of z = a^2, with da/dt = beta a / 2 backwards
    assert_zero((rate / clock).subs(a, sp.sqrt(z)) - claim(((1 + 2 * kappa) * V + 1) / z))
    assert_zero((rate / clock).subs({a: sp.sqrt(z), kappa: slope}) - claim((1 - V) / z - 2 * s_ * V / (c - z)))


@proves("eq-cg-sde-factor")
def integrating_factor() -> None:
    """SymPy: the product's derivative, by eq-cg-sde-variance; the integral by quadrature, for three scales."""
    variance = sp.Function("V")(z)
    equation = (1 - variance) / z - 2 * s_ * variance / (c - z)
    left = sp.diff(claim(variance * z * (c - z) ** (-2 * s_)), z).subs(sp.diff(variance, z), equation)
    assert_zero(left / (c - z) ** (-2 * s_) - 1)
    for s, rho in ((1.0, 0.6), (2.0, 1.0), (0.8, 0.9)):
        c_ = 1 + rho**2
        area = quad(lambda z, s=s, c=c_: claim((c - z) ** (-2 * s)), 0, 1)[0]
        assert_close(sde_variance(s, rho) * rho ** (-4 * s), area, 1e-5)
        assert_close(area, claim((rho ** (2 - 4 * s) - c_ ** (1 - 2 * s)) / (2 * s - 1)), 1e-9)


@proves("eq-cg-gaussian-sde")
def gaussian_sde() -> None:
    """The variance equation run by scipy, draws of the library's sampler to within their error, and the right answer at scale 1."""
    for s, rho in ((1.0, 0.6), (2.0, 1.0), (3.0, 1.0), (0.8, 0.9)):
        page = claim(rho**2 / (2 * s - 1) * (1 - (rho**2 / (1 + rho**2)) ** (2 * s - 1)))
        assert_close(sde_variance(s, rho), page, 1e-6)
        if s == 3.0:
            assert abs(drawn_variance(flow=False) / page - 1) < 0.06  # four standard errors
    assert_close(sde_variance(1.0, 0.6), 0.36 / 1.36, 1e-5)


# --- the exercises ------------------------------------------------------------------------------------------------------


@answers("ex-cg-mean")
def mean_of_the_guided_gaussian() -> None:
    """The mean runs along the flow from a = 0; the integral by quadrature."""
    assert_printed(claim(quad(lambda a: 1 / (2 - a**2) ** 2, 0, 1)[0]), "0.406")
    closed = claim((1 + math.log(3 + 2 * math.sqrt(2)) / (2 * math.sqrt(2))) / 4)
    assert_close(closed, quad(lambda a: 1 / (2 - a**2) ** 2, 0, 1)[0], 1e-9)
    end = solve_ivp(lambda a, m: 2 * (1 - a * m) / (2 - a**2), (0, 1), [0.0], rtol=1e-10, atol=1e-12).y[0, -1]
    assert_printed(end, "0.812")
    assert_close(end, claim(2 * closed), 1e-8)


def right_class(x: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of two classes on the line: the right one's probability and the slope of its logarithm, by formulas; and the unguided picture."""
    variance = a**2 * 0.16 + 1 - a**2
    left, right = (torch.distributions.Normal(a * mean, variance.sqrt()) for mean in (-0.6, 0.6))
    densities = 0.4 * left.log_prob(x).exp(), 0.6 * right.log_prob(x).exp()
    share = densities[1] / sum(densities)
    score = -((1 - share) * (x + 0.6 * a) + share * (x - 0.6 * a)) / variance
    return share, -(x - 0.6 * a) / variance - score, (x + (1 - a**2) * score) / a  # Tweedie's formula


@functools.cache
def from_an_empty_file(s: float, steps: int = 50) -> tuple[float, float]:
    """Mean and variance of the solution's 1000 samples, by those formulas."""
    x = torch.special.ndtri((torch.arange(1000, dtype=torch.float64) + 0.5) / 1000)
    for angle, later in pairwise(torch.linspace(0.01, math.pi / 2, steps + 1, dtype=torch.float64)):
        a, b = angle.sin(), angle.cos()
        _, slope, plain = right_class(x, a)
        guided = plain + s * b**2 / a * slope
        x = later.sin() * guided + later.cos() * (x - a * guided) / b
    return float(x.mean()), float(x.var())


@answers("ex-cg-code")
def written_from_an_empty_file() -> None:
    """The numbers to compare with, by formulas in place of automatic differentiation; the sharpened density by quadrature."""
    x, a = double(0.5), double(0.8)
    share, slope, plain = (float(value) for value in right_class(x, a))
    assert_printed(share, "0.8090")
    assert_printed(float(right_class(double(0.0), double(0.3))[0]), "0.6")
    assert_printed(slope, "0.3965")
    for s, text in ((0, "0.4271"), (1, "0.6055"), (4, "1.1409")):
        assert_printed(plain + s * 0.36 / 0.8 * slope, text)
    mean, spread, b_squared, place = 0.6, 0.16, 0.36, 0.5
    assert_printed(claim(mean + 0.8 * spread / (0.8**2 * spread + b_squared) * (place - 0.8 * mean)), "0.6055")
    assert_printed(plain + 4 * 0.6 / 0.8 * slope, "1.617")
    assert_printed(plain - 4 * 0.36 / 0.8 * slope, "-0.287")
    for s, mean, variance in ((1, "0.598", "0.149"), (4, "1.048", "0.054")):
        assert_printed(from_an_empty_file(s)[0], mean)
        assert_printed(from_an_empty_file(s)[1], variance)
    assert_printed(from_an_empty_file(1, 1000)[1], "0.159")
    assert_close(0.4**2, float("0.16"))  # the class's own variance
    opinion = right_class(GRID, double(1.0))[0]
    left, right = (torch.distributions.Normal(double(mean), double(0.4)) for mean in (-0.6, 0.6))
    sharp = (0.4 * left.log_prob(GRID).exp() + 0.6 * right.log_prob(GRID).exp()) * opinion**4
    sharp = sharp / sharp.sum()
    centre = float((sharp * GRID).sum())
    assert_printed(centre, "0.698")
    assert_printed(float((sharp * (GRID - centre) ** 2).sum()), "0.113")


@functools.cache
def corrected_moments(corrections: int, size: float = 0.02, s: float = 3.0) -> tuple[float, float]:
    """Mean and variance that the solution's sampler leads to, without draws: every step is an affine map plus noise."""

    def score(x: Tensor, t: Tensor) -> Tensor:
        a, b = VP().signal(t), VP().noise(t)
        return -x + s * a * (0.5 - a * x) / (b**2 + 1)

    predict = heun(velocity(lambda x, t: (x + VP().noise(t) ** 2 * score(x, t)) / VP().signal(t), VP()))
    mean, variance = double(0.0), double(1.0)
    for t, earlier in pairwise(torch.linspace(1, 1e-4, 60, dtype=torch.float64)):
        for n in range(corrections + 1):
            pair = torch.stack([mean, mean + 1])[:, None]
            moved = langevin_step(pair, score(pair, earlier), size, 0 * pair) if n else predict(pair, t, earlier)
            mean, variance = moved[0, 0], (moved[1, 0] - moved[0, 0]) ** 2 * variance + (2 * size if n else 0)
    return float(mean), float(variance)


@answers("ex-cg-corrector")
def corrector() -> None:
    """The sampler's exact moments, against what 20,000 draws showed: within four of their standard errors."""
    shown = {0: ("0.49", "0.128"), 1: ("0.43", "0.22"), 5: ("0.38", "0.257")}
    for corrections, (mean, variance) in shown.items():
        exact = corrected_moments(corrections)
        assert abs(exact[0] - claim(float(mean))) < 0.005 + 4 * math.sqrt(exact[1] / 20_000)
        assert abs(exact[1] - claim(float(variance))) < 0.5 * 10.0 ** -len(variance[2:]) + 4 * exact[1] * 0.01
    assert_printed(claim(3 * 0.5 / (1 + 3)), "0.375")
    assert_printed(claim(0.25 / (1 - 0.02 / (2 * 0.25))), "0.260")
    assert_close(corrected_moments(40)[1], 0.260, 0.002)
