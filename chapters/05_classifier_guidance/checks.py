"""Checks of chapter 5's equations: exact mixtures and SymPy; the Gaussian case also by running the flow."""

import sympy as sp
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from course_lib.diffusion import schedules
from course_lib.diffusion.continuous import VE, VP
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.pages.proofs import assert_close, assert_zero, defines, proves
from course_lib.sampling.guidance import class_score, classifier_guided

TIMES = (0.1, 0.4, 0.8)


def double(value: float) -> Tensor:
    """A number in float64."""
    return torch.tensor(value, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classes() -> Mixture:
    """Three classes, one Gaussian each, in the plane."""
    means = torch.tensor([[-1.0, 0.0], [0.9, 0.4], [0.0, -1.1]], dtype=torch.float64)
    covariances = torch.tensor(
        [[[0.2, 0.05], [0.05, 0.1]], [[0.1, 0.0], [0.0, 0.3]], [[0.15, -0.06], [-0.06, 0.2]]], dtype=torch.float64
    )
    return Mixture(torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64), means, covariances)


EXACT = ExactDiffusion(classes(), VP())


def logits(x: Tensor, t: Tensor) -> Tensor:
    """The exact noisy classifier's logits, for class_score."""
    return EXACT.class_posterior(x, t).log()


def class_gradient(x: Tensor, t: Tensor, y: int) -> Tensor:
    """The gradient of log q(y | x_t), by automatic differentiation."""
    return class_score(logits, x, t.expand(len(x)), torch.full((len(x),), y))


@defines("eq-cg-sharpened")
def definitions() -> None:
    """The sharpened density is a name for a product."""


@proves("eq-cg-bayes")
def bayes() -> None:
    """The class's own score is the sum, for every class and time."""
    x = normal(6, 2)
    for time in TIMES:
        t = double(time)
        for y in range(3):
            assert_close(EXACT.conditional(y).score(x, t), EXACT.score(x, t) + class_gradient(x, t, y), 1e-9)


@proves("eq-cg-noisy-classifier")
def noisy_classifier() -> None:
    """On the line: the average of the clean posterior over q(x_0 | x_t), by quadrature."""
    mixture = Mixture(
        torch.tensor([0.3, 0.7], dtype=torch.float64),
        torch.tensor([[-0.6], [0.7]], dtype=torch.float64),
        torch.tensor([[[0.2]], [[0.3]]], dtype=torch.float64),
    )
    exact, clean = ExactDiffusion(mixture, VP()), ExactDiffusion(mixture, VE(1e-8, 5.0))
    x0 = torch.linspace(-8, 8, 8001, dtype=torch.float64)[:, None]
    opinion, prior = clean.class_posterior(x0, double(0.0)), clean.log_prob(x0, double(0.0))
    for time in TIMES:
        t = double(time)
        a, b = VP().signal(t), VP().noise(t)
        for x in (-1.0, 0.2, 1.1):
            weights = (prior - (x - a * x0[:, 0]) ** 2 / (2 * b**2)).softmax(0)
            assert_close(weights @ opinion, exact.class_posterior(double(x).reshape(1, 1), t)[0], 1e-6)


@proves("eq-cg-cross-entropy")
def cross_entropy() -> None:
    """For a fixed x_t and any guess: expected cross-entropy is entropy plus divergence; equal to the entropy for the truth."""
    truth = EXACT.class_posterior(normal(8, 2), double(0.3))
    guess = normal(8, 3, seed=1).softmax(1)
    loss = -(truth * guess.log()).sum(1)
    entropy = torch.distributions.Categorical(truth).entropy()
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Categorical(truth), torch.distributions.Categorical(guess)
    )
    assert_close(loss, entropy + divergence)
    assert (divergence > 0).all()


@proves("eq-cg-step")
def step() -> None:
    """With the exact densities of a mixture and one transition: q(x_s | x_t, y) from the class's own diffusion."""
    s, t = double(0.3), double(0.5)
    ratio, variance = GaussianDiffusion(VP()).transition(s, t)
    x_s, x_t = normal(6, 2), normal(6, 2, seed=1)
    forward = torch.distributions.Normal(ratio * x_s, variance.sqrt()).log_prob(x_t).sum(1)
    for y in range(3):
        own = EXACT.conditional(y)
        left = forward + own.log_prob(x_s, s) - own.log_prob(x_t, t)
        plain = forward + EXACT.log_prob(x_s, s) - EXACT.log_prob(x_t, t)
        right = plain + EXACT.class_posterior(x_s, s)[:, y].log() - EXACT.class_posterior(x_t, t)[:, y].log()
        assert_close(left, right, 1e-9)


@proves("eq-cg-square")
def square() -> None:
    """In three dimensions with any covariance: the two lines differ by a number that does not depend on u."""
    factor, g = normal(3, 3), normal(3, seed=1)
    covariance = factor @ factor.T + torch.eye(3, dtype=torch.float64)
    precision = torch.linalg.inv(covariance)
    u = normal(5, 3, seed=2)
    first = -torch.einsum("ni,ij,nj->n", u, precision, u) / 2 + u @ g
    moved = u - covariance @ g
    second = -torch.einsum("ni,ij,nj->n", moved, precision, moved) / 2
    assert_close(first - second, (first - second)[0].expand(5), 1e-11)


@proves("eq-cg-eps", "eq-cg-x0")
def corrected_predictions() -> None:
    """The corrected noise and picture are those of the class's own diffusion, and what the library's guidance returns."""
    x = normal(6, 2)
    for time in TIMES:
        t = double(time)
        a, b = VP().signal(t), VP().noise(t)
        for y in range(3):
            own, g = EXACT.conditional(y), class_gradient(x, t, y)
            assert_close(own.eps(x, t), EXACT.eps(x, t) - b * g, 1e-9)
            assert_close(own.denoise(x, t), EXACT.denoise(x, t) + b**2 / a * g, 1e-9)
            guided = classifier_guided(EXACT.denoise, logits, VP(), torch.full((6,), y), 1.0)
            assert_close(guided(x, t), own.denoise(x, t), 1e-9)
            twice = classifier_guided(EXACT.denoise, logits, VP(), torch.full((6,), y), 2.0)
            assert_close(twice(x, t), EXACT.denoise(x, t) + 2 * b**2 / a * g, 1e-9)


@proves("eq-cg-shift")
def shift() -> None:
    """The weight of x_0 in the library's posterior, times b^2/a, is the ratio of the signals times beta; near beta."""
    table = schedules.linear()
    process = GaussianDiffusion(table)
    for s, t in ((1, 2), (300, 301), (300, 400), (998, 999)):
        s, t = torch.tensor(s), torch.tensor(t)
        weight = process.posterior_weights(t, s)[0]
        beta = 1 - table.alpha_bar[t] / table.alpha_bar[s]
        ratio = (table.alpha_bar[s] / table.alpha_bar[t]).sqrt()
        assert_close(weight * table.noise(t) ** 2 / table.signal(t), ratio * beta, 1e-10)
        if int(t - s) == 1:
            assert abs(float(ratio) - 1) < 0.02


@proves("eq-cg-power")
def power() -> None:
    """SymPy, for any positive function."""
    x, s = sp.symbols("x s", positive=True)
    q = sp.Function("q", positive=True)(x)
    assert_zero(s * sp.diff(sp.log(q), x) - sp.diff(sp.log(q**s), x))


@proves("eq-cg-two-models")
def two_models() -> None:
    """For every class, time and scale."""
    x = normal(6, 2)
    for time in TIMES:
        t = double(time)
        for y in range(3):
            for scale in (0.0, 0.5, 1.0, 4.0):
                left = EXACT.score(x, t) + scale * class_gradient(x, t, y)
                right = (1 - scale) * EXACT.score(x, t) + scale * EXACT.conditional(y).score(x, t)
                assert_close(left, right, 1e-9)


# --- the Gaussian case --------------------------------------------------------------------------------------------------

X, Y, A, S, TAU = sp.symbols("x y a s tau", positive=True)


def guided_score(x: float, y: float, a: float, s: float, tau: float) -> float:
    """The exact guided score: -x, and s times the gradient of log N(y; a x, 1 - a^2 + tau^2)."""
    return -x + s * a * (y - a * x) / (1 - a**2 + tau**2)


@proves("eq-cg-not-commute")
def not_commute() -> None:
    """In the Gaussian case both sides are known: they agree for s = 0 and 1, and differ by a tenth and more otherwise."""
    y, tau, x = 0.7, 0.8, 0.3
    for s in (0.0, 1.0, 2.0, 4.0, 0.5):
        variance, centre = tau**2 / (tau**2 + s), s * y / (tau**2 + s)
        gaps = []
        for a in (0.2, 0.5, 0.8):
            noised = -(x - a * centre) / (a**2 * variance + 1 - a**2)
            gaps.append(abs(noised - guided_score(x, y, a, s, tau)))
        assert max(gaps) < 1e-12 if s in (0.0, 1.0) else max(gaps) > 0.02


@proves("eq-cg-gaussian-target")
def gaussian_target() -> None:
    """SymPy: prior times likelihood^s over this Gaussian does not depend on x."""
    product = -(X**2) / 2 - S * (Y - X) ** 2 / (2 * TAU**2)
    target = -((X - S * Y / (TAU**2 + S)) ** 2) * (TAU**2 + S) / (2 * TAU**2)
    assert_zero(sp.diff(product - target, X))


@proves("eq-cg-gaussian-flow")
def gaussian_flow() -> None:
    """SymPy: dx/dt over da/dt, with the score's two parts; the gradient by differentiating the log-likelihood."""
    beta = sp.Symbol("beta", positive=True)
    likelihood = -((Y - A * X) ** 2) / (2 * (1 - A**2 + TAU**2))
    score = -X + S * sp.diff(likelihood, X)
    rate = -beta / 2 * (X + score) / (-beta / 2 * A)
    assert_zero(rate - S * (Y - A * X) / (1 + TAU**2 - A**2))


@proves("eq-cg-gaussian-variance")
def gaussian_variance() -> None:
    """SymPy: the difference of two particles; and the flow itself, run by scipy from two starting points."""
    distance = (1 + TAU**2 - A**2) ** (S / 2)
    assert_zero(sp.diff(distance, A) / distance + S * A / (1 + TAU**2 - A**2))
    for s in (1.0, 3.0):
        for tau in (0.6, 1.0):

            def field(a, x, s=s, tau=tau):
                return s * (0.4 - a * x) / (1 + tau**2 - a**2)

            ends = solve_ivp(field, (0, 1), [-1.0, 1.0], rtol=1e-10, atol=1e-12).y[:, -1]
            assert_close(((ends[1] - ends[0]) / 2) ** 2, (tau**2 / (1 + tau**2)) ** s, 1e-7)


@proves("eq-cg-gaussian-sde")
def gaussian_sde() -> None:
    """SymPy: the reverse SDE's variance equation in z = a^2, and its solution; the end, and scale 1."""
    z = sp.Symbol("z", positive=True)
    score_slope = -1 - S * z / (1 - z + TAU**2)  # of the guided score, in x
    beta, variance = sp.symbols("beta V", positive=True)
    # backwards in time: dV/d(-t) = beta V + 2 beta score_slope V + beta, and dz/d(-t) = beta z
    rate = (beta * variance + 2 * beta * score_slope * variance + beta) / (beta * z)
    assert_zero(rate - ((1 - variance) / z - 2 * S * variance / (1 + TAU**2 - z)))
    c = 1 + TAU**2
    solution = (c - z) / ((2 * S - 1) * z) * (1 - ((c - z) / c) ** (2 * S - 1))
    assert_zero(sp.diff(solution, z) - rate.subs(variance, solution))
    assert_zero(solution.subs(z, 1) - TAU**2 / (2 * S - 1) * (1 - (TAU**2 / c) ** (2 * S - 1)))
    assert_zero(solution.subs({z: 1, S: 1}) - TAU**2 / (1 + TAU**2))
    assert_zero(sp.limit(solution.subs({S: 2, TAU: 1}), z, 0) - 1)
