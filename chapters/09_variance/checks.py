"""Checks of chapter 9's equations: algebra by SymPy, and mixtures in three dimensions, their reverse step by Gaussian conditioning."""

import functools
import itertools
import math

import numpy as np
import sympy as sp
import torch
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from course_lib.diffusion import schedules
from course_lib.diffusion.bound import discretised_log_prob
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import EPS
from course_lib.pages.proofs import answers, assert_close, assert_printed, assert_zero, claim, defines, proves, pushed
from course_lib.recipes.variance import hybrid_loss
from course_lib.sampling.steps import ddim
from course_lib.sampling.times import cheapest_grid
from course_lib.sampling.variance import (
    analytic_variance,
    interpolated_variance,
    learned_variance,
    score_norms,
    step_costs,
)

SCHEDULE = schedules.linear(T=1000)
PROCESS = GaussianDiffusion(SCHEDULE)
PUSHED = pushed(SCHEDULE.beta[1:].tolist())  # without alpha-bar
PAIRS = ((1, 2), (10, 40), (200, 201), (300, 700), (900, 1000))  # s < t
D = 3


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture(scale: float = 1.0) -> Mixture:
    """Three unequal, tilted bumps in three dimensions."""
    factors = scale * 0.35 * normal(3, D, D, seed=1)
    means = scale * torch.tensor([[0.8, -0.3, 0.5], [-0.7, 0.4, 0.2], [0.1, 0.6, -0.9]], dtype=torch.float64)
    eye = 0.02 * torch.eye(D, dtype=torch.float64)
    return Mixture(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), means, factors @ factors.mT + eye)


EXACT = ExactDiffusion(mixture(), SCHEDULE)


def bars(s: int, t: int) -> tuple[float, float]:
    """alpha-bar at s and at t."""
    return float(SCHEDULE.alpha_bar[s]), float(SCHEDULE.alpha_bar[t])


def ends(s: int, t: int) -> tuple[float, float, float]:
    """beta and beta-tilde of the step from t to s, and the weight of x_0, as the page names them."""
    then, now = bars(s, t)
    beta = 1 - now / then
    return beta, (1 - then) / (1 - now) * beta, math.sqrt(then) * beta / (1 - now)


def reverse_kernel(s: int, t: int, x_t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of q(x_s | x_t), for one x_t `(D,)`: each bump's by conditioning a Gaussian, and then of the whole mixture."""
    (a_s, v_s), (a_t, v_t) = PUSHED[s], PUSHED[t]
    eye, mean_of, r = torch.eye(D, dtype=torch.float64), EXACT.mixture.means, a_t / a_s
    then = a_s**2 * EXACT.mixture.covariances + v_s * eye  # (K, D, D), of x_s in each bump
    now = a_t**2 * EXACT.mixture.covariances + v_t * eye
    gain = r * then @ torch.linalg.inv(now)
    means = a_s * mean_of + torch.einsum("kij,kj->ki", gain, x_t - a_t * mean_of)
    covariances = then - gain @ (r * then)
    logs = EXACT.mixture.weights.log() + MultivariateNormal(a_t * mean_of, now).log_prob(x_t)
    shares = logs.softmax(0)
    mean = shares @ means
    apart = means - mean
    return mean, torch.einsum("k,kij->ij", shares, covariances + apart[:, :, None] * apart[:, None])


def points(t: int, count: int = 3) -> Tensor:
    """A few states at t `(count, D)`."""
    x0, _ = EXACT.mixture.sample(count, torch.Generator().manual_seed(3))
    return PROCESS.forward(x0, torch.tensor(t), torch.Generator().manual_seed(4))


@functools.cache
def nodes(t: int, count: int = 18) -> tuple[Tensor, Tensor]:
    """States `(N, D)` and weights `(N,)` that average over q(x_t) exactly for polynomials: Gauss-Hermite's in every bump."""
    roots, weights = np.polynomial.hermite_e.hermegauss(count)
    grid = torch.tensor(np.array(list(itertools.product(roots, repeat=D))))
    weight = torch.tensor(np.prod(list(itertools.product(weights / weights.sum(), repeat=D)), axis=1))
    a, v = PUSHED[t]
    roots_of = torch.linalg.cholesky(a**2 * EXACT.mixture.covariances + v * torch.eye(D, dtype=torch.float64))
    states = a * EXACT.mixture.means[:, None] + torch.einsum("kij,nj->kni", roots_of, grid)
    return states.reshape(-1, D), (EXACT.mixture.weights[:, None] * weight).reshape(-1)


@functools.cache
def averages(t: int) -> tuple[float, float]:
    """The mean over q(x_t) of the trace of Cov[x_0 | x_t], and of the squared score, both by quadrature."""
    states, weights = nodes(t)
    spread = EXACT.covariance(states, torch.tensor(t)).diagonal(dim1=1, dim2=2).sum(1)
    score = EXACT.score(states, torch.tensor(t)).square().sum(1)
    return float(weights @ spread), float(weights @ score)


# --- what the variance must be ------------------------------------------------------------------------------------------


@defines("eq-var-model", "eq-var-likelihood")
def stated() -> None:
    """The model's step, and what is to be minimised."""


@defines("eq-var-names")
def names() -> None:
    """The library's names of the same three numbers; and one step after another gives them, too."""
    for s, t in PAIRS:
        then, now = bars(s, t)
        beta = claim(1 - now / then)
        tilde = claim((1 - then) / (1 - now) * beta)
        weight = claim(math.sqrt(then) * beta / (1 - now))
        kept = math.prod(float(1 - SCHEDULE.beta[n]) for n in range(s + 1, t + 1))
        assert_close(beta, 1 - kept, 1e-10)
        moved, _, spread = PROCESS.posterior_weights(torch.tensor(t), torch.tensor(s))
        assert_close(tilde, spread, 1e-10)
        assert_close(weight, moved, 1e-10)


@proves("eq-var-total")
def total() -> None:
    """The covariance of the reverse step by Gaussian conditioning, bump by bump, against that of x_0."""
    for s, t in PAIRS:
        _, tilde, weight = ends(s, t)
        for x_t in points(t):
            spread = EXACT.covariance(x_t[None], torch.tensor(t))[0]
            _, covariance = reverse_kernel(s, t, x_t)
            page = claim(tilde * torch.eye(D, dtype=torch.float64) + weight**2 * spread)
            assert_close(page / tilde, covariance / tilde, 1e-6)


A_S, A_T = sp.symbols("alpha_s alpha_t", positive=True)  # alpha-bar


@proves("eq-var-extremes")
def extremes() -> None:
    """SymPy for the two ends; and for one point and standard normal data the spread of x_0 is what it is said to be."""
    beta = (A_S - A_T) / A_S
    tilde, weight = (1 - A_S) / (1 - A_T) * beta, sp.sqrt(A_S) * beta / (1 - A_T)
    spread = claim(1 - A_T)
    assert_zero(sp.simplify(tilde + weight**2 * spread - claim(1 - A_T / A_S)))
    one = torch.ones(1, dtype=torch.float64)
    standard = Mixture(one, torch.zeros(1, D, dtype=torch.float64), torch.eye(D, dtype=torch.float64)[None])
    for s, t in PAIRS:
        found = ExactDiffusion(standard, SCHEDULE).covariance(points(t), torch.tensor(t))
        now = bars(s, t)[1]
        assert_close(found[0], claim(1 - now) * torch.eye(D), 1e-8)
        point = ExactDiffusion(Mixture(one, normal(1, D), torch.zeros(1, D, D, dtype=torch.float64)), SCHEDULE)
        assert_close(point.covariance(points(t), torch.tensor(t)), torch.zeros(3, D, D), 1e-8)


@proves("eq-var-ratio")
def ratio() -> None:
    """The table's two variances; and SymPy's limit of small steps of equal size."""
    for t in (2, 3, 10, 100, 900):
        before, now = bars(t - 1, t)
        beta = float(SCHEDULE.beta[t])
        tilde = float(PROCESS.posterior_weights(torch.tensor(t), torch.tensor(t - 1))[2])
        assert_close(tilde / beta, claim((1 - before) / (1 - now)), 1e-9)
        assert_close(tilde / beta, claim(1 - before * beta / (1 - now)), 1e-9)
    small = sp.Symbol("beta", positive=True)
    for t in (1, 2, 7):
        exact = (1 - (1 - small) ** (t - 1)) / (1 - (1 - small) ** t)
        assert sp.limit(exact, small, 0) == claim(1 - sp.Rational(1, t))


@functools.cache
def scattered() -> tuple[Tensor, Tensor, Tensor]:
    """Points `(7, D)` with weights, and some mean: a distribution that is no Gaussian."""
    return normal(7, D, seed=5), normal(7, seed=6).softmax(0), normal(D, seed=7)


@proves("eq-var-cross")
def cross_entropy() -> None:
    """A finite distribution: its cross-entropy with a Gaussian, term by term."""
    x, chances, mean = scattered()
    for variance in (0.3, 1.0, 2.5):
        wide = MultivariateNormal(mean, variance * torch.eye(D, dtype=torch.float64))
        apart = float(chances @ (x - mean).square().sum(1))
        page = claim(D / 2 * math.log(2 * math.pi * variance) + apart / (2 * variance))
        assert_close(-(chances @ wide.log_prob(x)), page)


@proves("eq-var-mse")
def squared_error() -> None:
    """For some x_t and any guess of x_0: the mean and covariance of the reverse step by conditioning, against those of x_0."""
    for s, t in PAIRS:
        _, tilde, weight = ends(s, t)
        for x_t, guess in zip(points(t), normal(3, D, seed=8), strict=True):
            model, _ = PROCESS.posterior(guess[None], x_t[None], torch.tensor(t), torch.tensor(s))
            mean, covariance = reverse_kernel(s, t, x_t)
            whole = covariance.trace() + (mean - model[0]).square().sum()
            best, spread = EXACT.denoise(x_t[None], torch.tensor(t))[0], EXACT.covariance(x_t[None], torch.tensor(t))[0]
            error = spread.trace() + (best - guess).square().sum()  # E |x_0 - guess|^2
            assert_close(whole / tilde, claim(D * tilde + weight**2 * error) / tilde, 1e-6)


@proves("eq-var-optimal")
def optimal() -> None:
    """The cross-entropy of eq-var-cross, minimised by scipy with the error of eq-var-mse."""
    for s, t in PAIRS:
        _, tilde, weight = ends(s, t)
        error = 0.4 * D
        whole = D * tilde + weight**2 * error
        found = minimize_scalar(
            lambda log, whole=whole: D / 2 * log + whole / (2 * math.exp(log)),
            bracket=(math.log(tilde) - 2, math.log(tilde) + 2),
            tol=1e-12,
        )
        assert_close(math.exp(found.x) / tilde, claim(tilde + weight**2 * error / D) / tilde, 1e-5)


@functools.cache
def step_cost(variance: float, tilde: float, distance: float) -> float:
    """KL(N(0, tilde I) || N(mu, variance I)) in D dimensions with |mu|^2 = distance, by torch."""
    mean = torch.full((D,), math.sqrt(distance / D), dtype=torch.float64)
    one, other = Normal(torch.zeros(D).double(), math.sqrt(tilde)), Normal(mean, math.sqrt(variance))
    return float(kl_divergence(one, other).sum())


@proves("eq-var-cost", "eq-var-excess")
def costs() -> None:
    """The divergence of two Gaussians by torch, at the best variance and at others."""
    for s, t in PAIRS:
        _, tilde, weight = ends(s, t)
        distance = weight**2 * 0.4 * D
        best = tilde + distance / D
        least = step_cost(best, tilde, distance)
        assert_close(least, claim(D / 2 * math.log(best / tilde), "eq-var-cost"), 1e-9)
        for variance in (0.5 * best, 1.7 * best, tilde):
            rho = best / variance
            excess = claim(D / 2 * (rho - 1 - math.log(rho)), "eq-var-excess")
            assert_close(step_cost(variance, tilde, distance) - least, excess, 1e-9)


@proves("eq-var-tanh")
def two_points() -> None:
    """The library's covariance for data of two points."""
    half = torch.full((2,), 0.5, dtype=torch.float64)
    means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    exact = ExactDiffusion(Mixture(half, means, torch.zeros(2, 1, 1, dtype=torch.float64)), SCHEDULE)
    for t in (100, 400, 800):
        a, v = PUSHED[t]
        for x in (-0.7, 0.0, 0.2, 1.5):
            found = float(exact.covariance(torch.tensor([[x]], dtype=torch.float64), torch.tensor(t)))
            assert_close(found, claim(1 - math.tanh(a * x / v) ** 2), 1e-9)


@proves("eq-var-inside")
def inside() -> None:
    """A mixture's spread by quadrature lies below the line's error; a Gaussian reaches it; with unit variance it is 1 - alpha-bar."""
    for t in (100, 400, 800):
        a, b = math.sqrt(PUSHED[t][0] ** 2), math.sqrt(PUSHED[t][1])
        spread, _ = averages(t)
        power = float(mixture().covariance().trace()) / D
        line = claim(power * b**2 / (a**2 * power + b**2))
        assert spread / D < line
        eye = torch.eye(D, dtype=torch.float64)[None]
        gaussian = ExactDiffusion(Mixture(torch.ones(1).double(), normal(1, D), power * eye), SCHEDULE)
        assert_close(gaussian.covariance(points(t), torch.tensor(t))[0].trace() / D, line, 1e-9)
        one = ExactDiffusion(Mixture(torch.ones(1).double(), normal(1, D), eye), SCHEDULE)
        assert_close(one.covariance(points(t), torch.tensor(t))[0].trace() / D, claim(b**2), 1e-9)
        assert line < b**2 or power > 1


# --- Improved DDPM ------------------------------------------------------------------------------------------------------


@proves("eq-var-interpolated")
def interpolated() -> None:
    """The straight line between the logarithms, a point at a time; and the library's."""
    shares = torch.linspace(0, 1, 5, dtype=torch.float64)
    for s, t in PAIRS[1:]:
        beta, tilde, _ = ends(s, t)
        ours = interpolated_variance(torch.tensor(tilde), torch.tensor(beta), shares)
        for v, found in zip(shares.tolist(), ours, strict=True):
            between = np.interp(v, [0, 1], [math.log(tilde), math.log(beta)])
            assert_close(math.log(found), between, 1e-6)
            assert_close(between, math.log(claim(math.exp(v * math.log(beta) + (1 - v) * math.log(tilde)))), 1e-9)
            assert_close(between, math.log(claim(tilde * (beta / tilde) ** v)), 1e-9)


def two_headed() -> tuple[torch.nn.Module, list[Tensor], list[Tensor]]:
    """A small network in float64 whose prediction and logits have parameters of their own."""
    torch.manual_seed(0)

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.spread = torch.nn.Linear(D + 1, D), torch.nn.Linear(D + 1, D)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            told = torch.cat([x.float(), t.float()[:, None] / 1000], 1)
            return torch.cat([self.mean(told), self.spread(told)], 1)

    network = Two()
    return network, list(network.mean.parameters()), list(network.spread.parameters())


def batch() -> tuple[Tensor]:
    """Values in 0..255."""
    return ((normal(40, D, seed=9).tanh().float() + 1) * 127.5,)


@functools.cache
def losses() -> tuple[float, float, float]:
    """The library's hybrid loss at two weights, and the simple loss from the same times and noise."""
    network, *_ = two_headed()
    found = [
        float(hybrid_loss(PROCESS, EPS, weight)(network, batch(), torch.Generator().manual_seed(2)).detach())
        for weight in (0.0, 0.001, 0.02)
    ]
    return found[0], found[1], found[2]


@functools.cache
def mean_bound() -> float:
    """L_vlb in bits a dimension for the same times and noise, by torch's divergences, sample by sample."""
    network, *_ = two_headed()
    generator = torch.Generator().manual_seed(2)
    x0 = batch()[0] / 127.5 - 1
    times = SCHEDULE.times(len(x0), generator)
    noise = torch.randn(x0.shape, generator=generator)
    whole = 0.0
    for row, t in enumerate(times.tolist()):
        x_t = PROCESS.diffuse(x0[row : row + 1], torch.tensor(t), noise[row : row + 1])
        output = network(x_t, torch.tensor([t]))[0].detach().double()
        tilde = ends(max(t, 2) - 1, max(t, 2))[1]
        share = (output[D:] + 1) / 2
        variance = (tilde ** (1 - share)) * float(SCHEDULE.beta[t]) ** share
        a, b = float(SCHEDULE.signal(t)), float(SCHEDULE.noise(t))
        guess = (x_t[0].double() - b * output[:D]) / a
        assert t > 1  # this draw holds none
        model, spread = PROCESS.posterior(guess[None], x_t.double(), torch.tensor(t), torch.tensor(t - 1))
        truth, _ = PROCESS.posterior(x0[row : row + 1].double(), x_t.double(), torch.tensor(t), torch.tensor(t - 1))
        whole += float(kl_divergence(Normal(truth[0], spread.sqrt()), Normal(model[0], variance.sqrt())).sum())
    return SCHEDULE.T * whole / len(times) / D / math.log(2)


@defines("eq-var-hybrid")
def hybrid() -> None:
    """The library's loss, from the simple one and a bound that torch computes, for two weights."""
    simple, light, heavy = losses()
    bound = mean_bound()
    for lam, found in ((0.001, light), (0.02, heavy)):
        assert_close(found, claim(simple + lam * bound), 2e-4)


@proves("eq-var-stopped")
def stopped() -> None:
    """Automatic derivatives: the mean's are those of the simple loss alone, the variance's those of the bound alone."""
    network, mean, spread = two_headed()

    def gradient(weight: float, parameters: list[Tensor]) -> Tensor:
        loss = hybrid_loss(PROCESS, EPS, weight)(network, batch(), torch.Generator().manual_seed(2))
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    lam = 0.02
    simple, one = gradient(0.0, mean), gradient(1.0, spread)
    assert float(simple.norm()) > 0.01 and float(one.norm()) > 0.01
    assert_close(gradient(lam, mean), claim(simple), 1e-6)
    assert_close(gradient(lam, spread) / lam, claim(lam * one) / lam, 1e-5)


@functools.cache
def noisy_terms() -> tuple[np.ndarray, np.ndarray]:
    """For six times, three equally likely values of the term each, of very different size; and some probabilities of the times."""
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, size=(6, 3)) * np.logspace(0, -4, 6)[:, None]
    return values, rng.dirichlet(np.ones(6))


@proves("eq-var-unbiased", "eq-var-least")
def importance() -> None:
    """Every outcome of a draw with its probability: mean and second moment; and no other probabilities have a smaller one."""
    values, p = noisy_terms()
    whole = values.mean(1).sum()
    chance = p[:, None] / values.shape[1]  # of a time and a value
    assert_close(claim((chance * (values / p[:, None])).sum(), "eq-var-unbiased"), whole)
    second = (values**2).mean(1)  # E[L_t^2]
    assert_close((chance * (values / p[:, None]) ** 2).sum(), claim((second / p).sum(), "eq-var-least"))
    best = claim(np.sqrt(second) / np.sqrt(second).sum(), "eq-var-least")
    least = claim(np.sqrt(second).sum() ** 2, "eq-var-least")
    assert_close((second / best).sum(), least)
    assert_close(best.sum(), 1.0)
    for seed in range(200):
        other = best * np.exp(0.1 * np.random.default_rng(seed).normal(size=6))
        other /= other.sum()
        assert (second / other).sum() > least


@proves("eq-var-respaced")
def respaced() -> None:
    """The chain of the long steps, pushed through step by step, has the marginals of the table; and its posterior is the library's."""
    kept = [0, 7, 60, 300, 301, 1000]
    betas = []
    for then, now in itertools.pairwise(SCHEDULE.alpha_bar[kept].tolist()):
        betas.append(claim(1 - now / then))
    for index, (signal, variance) in enumerate(pushed(betas)):
        assert_close(signal, PUSHED[kept[index]][0], 1e-10)
        assert_close(variance, PUSHED[kept[index]][1], 1e-10)
    for s, t, beta in zip(kept[1:], kept[2:], betas[1:], strict=False):
        then, now = bars(s, t)
        found = PROCESS.posterior_weights(torch.tensor(t), torch.tensor(s))[2]
        assert_close(found / beta, claim((1 - then) / (1 - now) * beta) / beta, 1e-9)


@proves("eq-var-said")
def said() -> None:
    """The step's variance, put together again by the law of total variance; and the library's, from a network that says v everywhere."""
    for v in (0.2, 0.6, 1.0):
        network = lambda x, t, cond, v=v: torch.cat([x, torch.full_like(x, 2 * v - 1)], 1)  # noqa: E731
        _, spread = learned_variance(network, EPS, PROCESS)
        for t in (2, 5, 50, 600):
            beta, tilde, weight = ends(t - 1, t)
            page = claim(tilde / weight**2 * ((beta / tilde) ** v - 1))
            variance = math.exp(v * math.log(beta) + (1 - v) * math.log(tilde))
            assert_close((tilde + weight**2 * page) / tilde, variance / tilde, 1e-9)
            found = spread(torch.zeros(1, D, dtype=torch.float64), torch.tensor(t))
            assert_close(
                found[0] / float(1 - SCHEDULE.alpha_bar[t]),
                page / float(1 - SCHEDULE.alpha_bar[t]) * torch.ones(D),
                2e-3,
            )
    beta, tilde, weight = ends(599, 600)
    nearly = claim(0.6 * (1 - bars(599, 600)[1]))
    assert abs(tilde / weight**2 * ((beta / tilde) ** 0.6 - 1) / nearly - 1) < 0.01


U, C, STEPS = sp.symbols("u c T", positive=True)


@proves("eq-var-slope")
def slope() -> None:
    """SymPy's derivative of the squared cosine; it is steepest in the middle."""
    found = sp.diff(sp.cos(sp.pi * U / 2) ** 2, U)
    assert_zero(sp.expand_trig(sp.simplify(found - claim(-sp.pi / 2 * sp.sin(sp.pi * U)))))
    assert sp.solve(sp.diff(found, U), U)[0] == sp.Rational(1, 2)


@proves("eq-var-first")
def first_noise() -> None:
    """The table's first beta for several lengths, to the accuracy of the expansion."""
    for T, c in ((1000, 0.008), (4000, 0.008), (1000, 0.02)):
        page = claim((math.pi / 2 / (1 + c)) ** 2 * (2 * c / T + 1 / T**2))
        found = float(schedules.cosine(T, c).beta[1])
        assert abs(found / page - 1) < 0.01, (found, page)


@proves("eq-var-bins")
def bins() -> None:
    """The masses of seventeen bins by quadrature; they add up to one, and are the library's."""
    levels, mean, variance = 17, 0.3, 0.04
    found = []
    for k in range(levels):
        x, h = claim(-1 + 2 * k / (levels - 1)), claim(1 / (levels - 1))
        low, high = (-math.inf if k == 0 else x - h), (math.inf if k == levels - 1 else x + h)
        density = lambda u: math.exp(-((u - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)  # noqa: E731
        found.append(quad(density, max(low, -3), min(high, 3), epsabs=1e-12)[0])
        at = torch.tensor([[x]], dtype=torch.float64)
        mass = discretised_log_prob(at, torch.full_like(at, mean), torch.tensor(variance).double(), levels).exp()
        assert_close(mass[0], found[-1], 1e-8)
    assert_close(sum(found), 1.0, 1e-8)


# --- Analytic-DPM -------------------------------------------------------------------------------------------------------


@proves("eq-var-orthogonal")
def orthogonal() -> None:
    """By quadrature in three dimensions: the spread of the noise given x_t, from that of x_0; and the squared score."""
    for t in (400, 600, 800):
        a, b = PUSHED[t][0], math.sqrt(PUSHED[t][1])
        spread, score = averages(t)
        left = (a / b) ** 2 * spread  # E |eps - eps*|^2
        assert_close(left, claim(D - b**2 * score), 1e-5)
        states, weights = nodes(t)
        best = EXACT.eps(states, torch.tensor(t)).square().sum(1)
        assert_close(left, claim(D - float((weights * best).sum())), 1e-5)


@proves("eq-var-gamma-exact")
def mean_spread() -> None:
    """By quadrature in three dimensions: the trace of Cov[x_0 | x_t] by total variance, and the squared score."""
    for t in (400, 600, 800):
        a, b = PUSHED[t][0], math.sqrt(PUSHED[t][1])
        spread, score = averages(t)
        gamma = score / D
        assert_close(spread / D, claim(b**2 / a**2 * (1 - b**2 * gamma)), 1e-5)


@defines("eq-var-gamma")
def estimated() -> None:
    """The library's estimate from draws of the mixture, within five per cent."""
    schedule = schedules.linear(3, 0.2, 0.5)
    exact, process = ExactDiffusion(mixture(), schedule), GaussianDiffusion(schedule)
    data, _ = mixture().sample(4000, torch.Generator().manual_seed(0))
    gamma = score_norms(exact.denoise, data, process, 4000, torch.Generator().manual_seed(1))
    for t in (1, 2, 3):
        x = process.forward(data, torch.tensor(t), torch.Generator().manual_seed(2))
        score = exact.score(x, torch.tensor(t))
        m = len(x)
        assert abs(float(gamma[t]) / claim(float(score.square().sum()) / (m * D)) - 1) < 0.05


@functools.cache
def analytic_parts(s: int, t: int, share: float) -> tuple[float, float, float, float]:
    """lambda^2, Gamma and the noise levels; `share` says how much of beta-tilde lambda^2 is."""
    _, score = averages(t)
    return share * ends(s, t)[1], score / D, PUSHED[s][1], PUSHED[t][1]


@proves("eq-var-analytic")
def analytic() -> None:
    """The family's mean moved by a step in x_0, and the spread of x_0 by quadrature: their total variance; the library draws with it."""
    for (s, t), share in itertools.product(((100, 200), (300, 500), (799, 800)), (0.0, 0.5, 1.0)):
        lam2, gamma, noise_s, noise_t = analytic_parts(s, t, share)
        alpha = bars(s, t)[1] / bars(s, t)[0]
        page = claim(lam2 + (math.sqrt(noise_t / alpha) - math.sqrt(noise_s - lam2)) ** 2 * (1 - noise_t * gamma))
        one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
        here = (torch.tensor(t), torch.tensor(s), math.sqrt(share))
        moved = float(PROCESS.bridge(one, zero, *here)[0] - PROCESS.bridge(zero, zero, *here)[0])
        spread, _ = averages(t)
        assert_close((lam2 + moved**2 * spread / D) / page, 1.0, 1e-4)
        norms = torch.zeros(1001, dtype=torch.float64)
        norms[t] = gamma
        kept = analytic_variance(norms, SCHEDULE)
        step = ddim(lambda x, t: 0 * x, PROCESS, math.sqrt(share), noise=torch.ones_like, x0_variance=kept)
        still = ddim(lambda x, t: 0 * x, PROCESS, math.sqrt(share), noise=torch.zeros_like, x0_variance=kept)
        drawn = float(step(zero, torch.tensor(t), torch.tensor(s)) - still(zero, torch.tensor(t), torch.tensor(s)))
        assert_close(drawn**2 / page, 1.0, 1e-5)


@proves("eq-var-analytic-ddpm")
def analytic_ddpm() -> None:
    """The general formula with lambda^2 = beta-tilde, by numbers; and by the reverse kernel's own trace, averaged by quadrature."""
    for s, t in ((100, 200), (300, 500), (799, 800)):
        _, gamma, _, _ = analytic_parts(s, t, 1.0)
        beta, tilde, weight = ends(s, t)
        alpha = 1 - beta
        spread, _ = averages(t)
        assert_close((tilde + weight**2 * spread / D) / claim(beta / alpha * (1 - beta * gamma)), 1.0, 1e-4)


@proves("eq-var-bounds")
def bounds() -> None:
    """Between the bounds for the mixture; wide data reach one of the two above, and two far points the other, in all noise."""
    one = torch.ones(1, dtype=torch.float64)
    for t in (200, 500, 800):
        a, b = PUSHED[t][0], math.sqrt(PUSHED[t][1])
        spread, _ = averages(t)
        assert 0 <= spread / D <= b**2 / a**2
        eye = torch.eye(D, dtype=torch.float64)[None]
        wide = ExactDiffusion(Mixture(one, torch.zeros(1, D).double(), 1e6 * eye), SCHEDULE)
        found = wide.covariance(points(t), torch.tensor(t))[0].trace() / D
        assert_close(found, claim(b**2 / a**2), 1e-2 if t > 500 else 1e-3)
    low, high = -0.4, 1.2
    means = torch.tensor([[low], [high]], dtype=torch.float64)
    pair = ExactDiffusion(Mixture(one.expand(2) / 2, means, torch.zeros(2, 1, 1).double()), SCHEDULE)
    most = float(pair.covariance(torch.zeros(1, 1).double() + 0.005, torch.tensor(1000)))
    assert_close(most, claim(((high - low) / 2) ** 2), 1e-3)
    assert most <= ((high - low) / 2) ** 2 + 1e-12


@proves("eq-var-ddim-variance")
def ddim_variance() -> None:
    """DDIM's step moves with x_0 as a finite difference of the library's says."""
    for s, t in PAIRS:
        a_s, b_s, a_t, b_t = PUSHED[s][0], math.sqrt(PUSHED[s][1]), PUSHED[t][0], math.sqrt(PUSHED[t][1])
        one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
        here = (torch.tensor(t), torch.tensor(s), 0.0)
        moved = float(PROCESS.bridge(one, zero, *here)[0] - PROCESS.bridge(zero, zero, *here)[0])
        spread = 0.3
        assert_close(moved**2 * spread, claim((a_s - b_s * a_t / b_t) ** 2 * spread), 1e-9)


# --- the trajectory -----------------------------------------------------------------------------------------------------


@functools.cache
def small_costs() -> tuple[np.ndarray, Tensor]:
    """Costs of all steps of a table of eight, from a variance of x_0 that changes with t."""
    process = GaussianDiffusion(schedules.linear(8, 0.05, 0.4))
    found = step_costs(lambda x, t: torch.tensor(0.3).double() / (1 + 0.2 * t), process)
    return found.numpy(), found


@proves("eq-var-path", "eq-var-recursion")
def trajectory() -> None:
    """All paths of a table of eight steps, one by one; the recursion finds the cheapest, and so does the library."""
    table, tensor = small_costs()
    process = GaussianDiffusion(schedules.linear(8, 0.05, 0.4))
    for s, t in ((1, 2), (2, 7), (5, 8)):
        beta = float(1 - process.schedule.alpha_bar[t] / process.schedule.alpha_bar[s])
        tilde = float((1 - process.schedule.alpha_bar[s]) / (1 - process.schedule.alpha_bar[t])) * beta
        weight = float(process.schedule.alpha_bar[s].sqrt()) * beta / float(1 - process.schedule.alpha_bar[t])
        best = tilde + weight**2 * 0.3 / (1 + 0.2 * t)
        assert_close(table[s, t], claim(math.log(best / tilde) / 2, "eq-var-path"), 1e-7)
    cheapest = {(1, 1): 0.0}  # (nodes, last) -> cost
    for k in range(2, 7):
        for t in range(k, 9):
            cheapest[k, t] = claim(
                min(cheapest[k - 1, s] + table[s, t] for s in range(1, t) if (k - 1, s) in cheapest), "eq-var-recursion"
            )
        paths = [(1, *middle, 8) for middle in itertools.combinations(range(2, 8), k - 2)]
        best = min(paths, key=lambda path: sum(table[s, t] for s, t in itertools.pairwise(path)))
        assert_close(cheapest[k, 8], sum(table[s, t] for s, t in itertools.pairwise(best)))
        assert cheapest_grid(tensor, k).tolist() == [*reversed(best), 0]


@proves("eq-var-telescope")
def telescope() -> None:
    """What the two forms of the cost differ by adds up to the same for every path between the same ends."""
    wanted = None
    for path in ((1, 1000), (1, 30, 1000), (1, 2, 500, 990, 1000)):
        rest = 0.0
        for s, t in itertools.pairwise(path):
            beta, tilde, weight = ends(s, t)
            alpha, gamma = 1 - beta, 0.6
            spread = (1 - bars(s, t)[1]) / bars(s, t)[1] * (1 - (1 - bars(s, t)[1]) * gamma)
            best = tilde + weight**2 * spread
            then, now = bars(s, t)
            shift = claim(math.log(then / (1 - then)) - math.log(now / (1 - now)))
            assert_close(math.log(best / tilde), claim(math.log(1 - beta * gamma) + shift), 1e-8)
            rest += shift
            assert alpha < 1
        wanted = rest if wanted is None else wanted
        assert_close(rest, wanted)


@proves("eq-var-clip")
def clip() -> None:
    """The mean size of a noise by quadrature, at the largest allowed deviation."""
    for y in (1, 2):
        sigma = claim(2 * y / 255 * math.sqrt(math.pi / 2))
        found, _ = quad(
            lambda e, sigma=sigma: abs(sigma * e) * math.exp(-(e**2) / 2) / math.sqrt(2 * math.pi), -10, 10, points=[0]
        )
        assert_close(found, y * (1 - -1) / 255, 1e-8)
        assert_close(found, claim(sigma * math.sqrt(2 / math.pi)), 1e-8)


# --- exercises ----------------------------------------------------------------------------------------------------------


@answers("ex-var-gaussian")
def gaussian_share() -> None:
    """The library's covariance of such a Gaussian, at a time where alpha-bar is one half."""
    schedule = schedules.TableSchedule(torch.tensor([1.0, 0.5], dtype=torch.float64))
    eye = torch.eye(D, dtype=torch.float64)[None]
    power = 1 - 0.75
    assert_printed(power, "0.25")
    exact = ExactDiffusion(Mixture(torch.ones(1).double(), torch.zeros(1, D).double(), power * eye), schedule)
    found = float(exact.covariance(normal(1, D), torch.tensor(1))[0, 0, 0]) / 0.5
    assert_printed(0.5 * power + 0.5, "0.625")
    assert_printed(found, "0.4")
    assert_close(found, claim(0.25 / (0.5 * 0.25 + 0.5)), 1e-9)


@answers("ex-var-price")
def price() -> None:
    """The divergences of the Gaussians themselves, by torch."""
    one, two = Normal(0.0, 1.0), Normal(0.0, math.sqrt(2))
    sure, unsure = float(kl_divergence(two, one)), float(kl_divergence(one, two))
    assert_printed(sure, "0.153")
    assert_printed(unsure, "0.097")
    assert_close(sure, claim((2 - 1 - math.log(2)) / 2), 1e-6)
    assert_close(unsure, claim((1 / 2 - 1 + math.log(2)) / 2), 1e-6)


@answers("ex-var-soft")
def soft() -> None:
    """Noise of which a share g is known, simulated: eps = eps* + the rest."""
    g, c = 0.9, 0.95
    known, rest = normal(400_000, seed=11) * math.sqrt(g), normal(400_000, seed=12) * math.sqrt(1 - g)
    loud, error = 1 - (c * known).square().mean(), (known + rest - c * known).square().mean()
    assert abs(float(loud) - claim(1 - c**2 * g)) < 0.01
    assert abs(float(error) - claim(1 - 2 * c * g + c**2 * g)) < 0.003
    assert_printed(1 - g, "0.1")
    assert_printed(1 - c**2 * g, "0.188")
    assert_printed(1 - 2 * c * g + c**2 * g, "0.102")
