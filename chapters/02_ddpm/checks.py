"""Checks of the equations on chapter 2's first page.

The variational bound is an identity of any two Markov chains, so it is checked on random chains with few states, where every
expectation is a finite sum. Algebra is left to SymPy. What concerns the library is compared with it in float64.
"""

import itertools
import math

import numpy as np
import sympy as sp
import torch
from torch import Tensor

from course_lib.diffusion import schedules
from course_lib.diffusion.bound import gaussian_kl, gaussian_log_prob, variational_bound
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import EPS, denoiser
from course_lib.pages.proofs import assert_close, assert_zero, defines, proves
from course_lib.sampling.steps import ancestral, unit_variance

SCHEDULE = schedules.linear(T=1000)
PROCESS = GaussianDiffusion(SCHEDULE)
TIMES = (2, 3, 50, 400, 1000)


def tables(t: int) -> tuple[float, float, float, float, float]:
    """Return beta_t, alpha_t, alpha-bar_t, alpha-bar_{t-1} and beta-tilde_t of the paper's schedule."""
    beta, alpha = float(SCHEDULE.beta[t]), float(SCHEDULE.alpha[t])
    now, before = float(SCHEDULE.alpha_bar[t]), float(SCHEDULE.alpha_bar[t - 1])
    return beta, alpha, now, before, (1 - before) / (1 - now) * beta


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_normal(x: Tensor, mean: Tensor, variance: float) -> Tensor:
    """Return log N(x; mean, variance I) of each row, from torch's own Gaussian."""
    return torch.distributions.Normal(mean, math.sqrt(variance)).log_prob(x).sum(-1)


# --- the forward process, recalled --------------------------------------------------------------------------------------


@proves("eq-ddpm-closed-form")
def closed_form() -> None:
    """Compose the single steps: their means multiply and their variances add up to the jump's."""
    signal, variance = 1.0, 0.0
    for t in range(1, SCHEDULE.T + 1):
        beta = float(SCHEDULE.beta[t])
        signal, variance = math.sqrt(1 - beta) * signal, (1 - beta) * variance + beta
        assert_close(signal, math.sqrt(float(SCHEDULE.alpha_bar[t])))
        assert_close(variance, 1 - float(SCHEDULE.alpha_bar[t]))
    x0, eps, t = draw(4, 3), draw(4, 3, seed=1), torch.tensor([1, 10, 500, 1000])
    alpha_bar = SCHEDULE.alpha_bar[t][:, None]
    assert_close(PROCESS.diffuse(x0, t, eps), alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps)


@proves("eq-ddpm-posterior", "eq-ddpm-posterior-moments", "eq-ddpm-bayes-step")
def posterior() -> None:
    """Bayes' rule with all four densities, at random points; and the library's mean and variance."""
    for t in TIMES:
        beta, alpha, now, before, variance = tables(t)
        x0 = draw(5, 3, seed=t)
        x_s = math.sqrt(before) * x0 + math.sqrt(1 - before) * draw(5, 3, seed=t + 1)
        x_t = math.sqrt(1 - beta) * x_s + math.sqrt(beta) * draw(5, 3, seed=t + 2)
        mean = math.sqrt(before) * beta / (1 - now) * x0 + math.sqrt(alpha) * (1 - before) / (1 - now) * x_t
        left = log_normal(x_t, math.sqrt(1 - beta) * x_s, beta)
        right = (
            log_normal(x_s, mean, variance)
            + log_normal(x_t, math.sqrt(now) * x0, 1 - now)
            - log_normal(x_s, math.sqrt(before) * x0, 1 - before)
        )
        assert_close(left, right, 1e-11)  # 1 - alpha_bar loses digits at small t
        library_mean, library_variance = PROCESS.posterior(x0, x_t, torch.tensor(t), torch.tensor(t - 1))
        assert_close(library_mean, mean)
        assert_close(library_variance, variance)


@defines(
    "eq-ddpm-forward",
    "eq-ddpm-joint",
    "eq-ddpm-reverse-model",
    "eq-ddpm-marginal",
    "eq-ddpm-model-mean-x0",
    "eq-ddpm-simple",
)
def definitions() -> None:
    """These introduce the model, its parameterisations and its losses."""


# --- the variational bound, on random Markov chains of few states -------------------------------------------------------


class Chains:
    """Two random Markov chains x_0 .. x_T on K states: q runs forward from x_0, p backward from x_T."""

    def __init__(self, seed: int, states: int = 3, T: int = 3) -> None:
        rng = np.random.default_rng(seed)

        def stochastic(*shape: int) -> np.ndarray:
            table = rng.uniform(0.1, 1.0, shape)
            return table / table.sum(-1, keepdims=True)

        self.T, self.x0 = T, int(rng.integers(states))
        self.forward = [None] + [stochastic(states, states) for _ in range(T)]  # forward[t][x_{t-1}, x_t]
        self.backward = [None] + [stochastic(states, states) for _ in range(T)]  # backward[t][x_t, x_{t-1}]
        self.prior = stochastic(states)
        self.marginal = [np.eye(states)[self.x0]]  # marginal[t][x_t] = q(x_t | x_0)
        for t in range(1, T + 1):
            self.marginal.append(self.marginal[-1] @ self.forward[t])
        self.paths = [(self.x0, *rest) for rest in itertools.product(range(states), repeat=T)]

    def q(self, path: tuple[int, ...]) -> float:
        """q(x_1, ..., x_T | x_0)."""
        return math.prod(self.forward[t][path[t - 1], path[t]] for t in range(1, self.T + 1))

    def p(self, path: tuple[int, ...]) -> float:
        """p(x_0, ..., x_T)."""
        return self.prior[path[-1]] * math.prod(self.backward[t][path[t], path[t - 1]] for t in range(1, self.T + 1))

    def posterior(self, t: int, x_t: int, x_s: int) -> float:
        """q(x_{t-1} = x_s | x_t, x_0), from the joint probability of both (summed over nothing else: the chain is Markov)."""
        joint = self.marginal[t - 1] * self.forward[t][:, x_t]
        return joint[x_s] / joint.sum()

    def average(self, function) -> float:  # type: ignore[no-untyped-def]
        """The expectation of function(path) under q(x_1, ..., x_T | x_0)."""
        return sum(self.q(path) * function(path) for path in self.paths)

    def evidence(self) -> float:
        """log p(x_0), by summing over all paths."""
        return math.log(sum(self.p(path) for path in self.paths))

    def bound(self) -> float:
        """L = -E_q[log p(x_0..x_T) / q(x_1..x_T | x_0)], as eq-ddpm-bound has it."""
        return -self.average(lambda path: math.log(self.p(path) / self.q(path)))

    def log_step(self, path: tuple[int, ...], t: int) -> float:
        """log p(x_{t-1} | x_t) / q(x_t | x_{t-1})."""
        return math.log(self.backward[t][path[t], path[t - 1]] / self.forward[t][path[t - 1], path[t]])


RANDOM_CHAINS = [Chains(seed) for seed in range(10)]


@proves("eq-ddpm-importance")
def importance() -> None:
    """Multiplying and dividing by q leaves the evidence as it is."""
    for chains in RANDOM_CHAINS:
        assert_close(math.log(chains.average(lambda path, c=chains: c.p(path) / c.q(path))), chains.evidence())


@proves("eq-ddpm-jensen", "eq-ddpm-bound")
def jensen() -> None:
    """The logarithm's mean lies below the mean's logarithm, so L is above -log p; equality where p's posterior is q."""
    for chains in RANDOM_CHAINS:
        assert chains.evidence() > -chains.bound()
    chains = RANDOM_CHAINS[0]
    joint = {path: chains.q(path) * 0.3 for path in chains.paths}  # a model with p(path | x_0) = q and p(x_0) = 0.3
    assert_close(-sum(chains.q(path) * math.log(joint[path] / chains.q(path)) for path in joint), -math.log(0.3))


@proves("eq-ddpm-gap")
def gap() -> None:
    """The bound misses the evidence by the KL divergence between the two conditional chains."""
    for chains in RANDOM_CHAINS:
        total = math.exp(chains.evidence())
        divergence = chains.average(lambda path, c=chains, z=total: math.log(c.q(path) / (c.p(path) / z)))
        assert_close(chains.bound(), -chains.evidence() + divergence)


@proves("eq-ddpm-bound-expanded")
def bound_expanded() -> None:
    """Both chains are products of steps."""
    for c in RANDOM_CHAINS:
        right = c.average(
            lambda path, c=c: -math.log(c.prior[path[-1]]) - sum(c.log_step(path, t) for t in range(1, c.T + 1))
        )
        assert_close(c.bound(), right)


@proves("eq-ddpm-bound-split")
def bound_split() -> None:
    """The step t = 1 stands apart."""
    for c in RANDOM_CHAINS:
        right = c.average(
            lambda path, c=c: (
                -math.log(c.prior[path[-1]])
                - sum(c.log_step(path, t) for t in range(2, c.T + 1))
                - math.log(c.backward[1][path[1], path[0]] / c.forward[1][path[0], path[1]])
            )
        )
        assert_close(c.bound(), right)


def log_reverse_ratio(c: Chains, path: tuple[int, ...], t: int) -> float:
    """log p(x_{t-1} | x_t) / q(x_{t-1} | x_t, x_0)."""
    return math.log(c.backward[t][path[t], path[t - 1]] / c.posterior(t, path[t], path[t - 1]))


@proves("eq-ddpm-bound-bayes")
def bound_bayes() -> None:
    """Bayes' rule turns each forward step round."""
    for c in RANDOM_CHAINS:
        right = c.average(
            lambda path, c=c: (
                -math.log(c.prior[path[-1]])
                - sum(
                    log_reverse_ratio(c, path, t) + math.log(c.marginal[t - 1][path[t - 1]] / c.marginal[t][path[t]])
                    for t in range(2, c.T + 1)
                )
                - math.log(c.backward[1][path[1], path[0]] / c.forward[1][path[0], path[1]])
            )
        )
        assert_close(c.bound(), right)


@proves("eq-ddpm-telescope")
def telescope() -> None:
    """Only the two ends of the sum are left, on every path."""
    for c in RANDOM_CHAINS:
        for path in c.paths:
            left = sum(math.log(c.marginal[t - 1][path[t - 1]] / c.marginal[t][path[t]]) for t in range(2, c.T + 1))
            assert_close(left, math.log(c.marginal[1][path[1]] / c.marginal[c.T][path[c.T]]))


@proves("eq-ddpm-bound-collected")
def bound_collected() -> None:
    """After the cancellation."""
    for c in RANDOM_CHAINS:
        right = c.average(
            lambda path, c=c: (
                -math.log(c.prior[path[-1]] / c.marginal[c.T][path[-1]])
                - sum(log_reverse_ratio(c, path, t) for t in range(2, c.T + 1))
                - math.log(c.backward[1][path[1], path[0]])
            )
        )
        assert_close(c.bound(), right)


@proves("eq-ddpm-bound-terms", "eq-ddpm-bound-sum")
def bound_terms() -> None:
    """L_T, the L_{t-1} and L_0, each computed as the divergence or expectation that it is, add up to L."""
    for c in RANDOM_CHAINS:
        states = range(len(c.prior))
        total = sum(c.marginal[c.T][i] * math.log(c.marginal[c.T][i] / c.prior[i]) for i in states)
        for t in range(2, c.T + 1):
            for x_t in states:
                divergence = sum(
                    c.posterior(t, x_t, i) * math.log(c.posterior(t, x_t, i) / c.backward[t][x_t, i]) for i in states
                )
                total += c.marginal[t][x_t] * divergence
        total -= sum(c.marginal[1][i] * math.log(c.backward[1][i, c.x0]) for i in states)
        assert_close(c.bound(), total)


# --- KL between Gaussians, and the three parameterisations --------------------------------------------------------------


@proves("eq-ddpm-log-normal")
def log_density() -> None:
    """Against torch's Gaussian, and the library's function."""
    x, mean = draw(5, 3), draw(5, 3, seed=1)
    right = -((x - mean) ** 2).sum(-1) / (2 * 0.7) - 3 / 2 * math.log(2 * math.pi * 0.7)
    assert_close(log_normal(x, mean, 0.7), right)
    assert_close(gaussian_log_prob(x, mean, torch.tensor(0.7, dtype=torch.float64)), right)


def gaussian_average(function, mean: np.ndarray, variance: float) -> float:  # type: ignore[no-untyped-def]
    """The expectation of function (N, 2) -> (N,) under N(mean, variance I), exact for polynomials."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    points = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
    return float(np.outer(weights, weights).ravel() @ function(mean + math.sqrt(variance) * points) / (2 * math.pi))


MEAN_Q, MEAN_P, VARIANCE_Q, VARIANCE_P = np.array([0.3, -1.1]), np.array([0.9, 0.4]), 0.6, 1.7


@proves("eq-ddpm-second-moment")
def second_moment() -> None:
    """Average the squared distance by quadrature."""
    left = gaussian_average(lambda x: ((x - MEAN_P) ** 2).sum(-1), MEAN_Q, VARIANCE_Q)
    assert_close(left, 2 * VARIANCE_Q + ((MEAN_Q - MEAN_P) ** 2).sum())


@proves("eq-ddpm-kl-expand", "eq-ddpm-kl-gaussians")
def kl_gaussians() -> None:
    """Average the difference of the log densities by quadrature."""

    def log_ratio(x: np.ndarray) -> np.ndarray:
        points = torch.from_numpy(x)
        log_q = log_normal(points, torch.from_numpy(MEAN_Q), VARIANCE_Q)
        return (log_q - log_normal(points, torch.from_numpy(MEAN_P), VARIANCE_P)).numpy()

    truth = gaussian_average(log_ratio, MEAN_Q, VARIANCE_Q)
    to_q = gaussian_average(lambda x: ((x - MEAN_Q) ** 2).sum(-1), MEAN_Q, VARIANCE_Q)
    to_p = gaussian_average(lambda x: ((x - MEAN_P) ** 2).sum(-1), MEAN_Q, VARIANCE_Q)
    assert_close(truth, math.log(VARIANCE_P / VARIANCE_Q) - to_q / (2 * VARIANCE_Q) + to_p / (2 * VARIANCE_P))
    ratio = VARIANCE_Q / VARIANCE_P
    distance = ((MEAN_Q - MEAN_P) ** 2).sum()
    assert_close(truth, (2 * (ratio - 1 - math.log(ratio)) + distance / VARIANCE_P) / 2)
    q, p = torch.from_numpy(MEAN_Q)[None], torch.from_numpy(MEAN_P)[None]
    variances = (torch.tensor(v, dtype=torch.float64) for v in (VARIANCE_Q, VARIANCE_P))
    assert_close(gaussian_kl(q, next(variances), p, next(variances)), truth)


def random_step(t: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return x_0, eps, the x_t that they make, a wrong guess of eps and the wrong guess of x_0 that belongs to it, each (6, 4)."""
    x0, eps = draw(6, 4, seed=t), draw(6, 4, seed=t + 1)
    x_t = PROCESS.diffuse(x0, torch.tensor(t), eps)
    guess = eps + 0.3 * draw(6, 4, seed=t + 2)
    now = float(SCHEDULE.alpha_bar[t])
    return x0, eps, x_t, guess, (x_t - math.sqrt(1 - now) * guess) / math.sqrt(now)


def exact_divergence(t: int, variance: float) -> Tensor:
    """The KL term of step t for the wrong guess, from the two Gaussians themselves, (6,)."""
    x0, _, x_t, _, x0_hat = random_step(t)
    now, before = torch.tensor(t), torch.tensor(t - 1)
    mean, posterior_variance = PROCESS.posterior(x0, x_t, now, before)
    model_mean, _ = PROCESS.posterior(x0_hat, x_t, now, before)
    return gaussian_kl(mean, posterior_variance, model_mean, torch.tensor(variance, dtype=torch.float64))


def constant(t: int, variance: float, dimensions: int = 4) -> float:
    """C_t of eq-ddpm-step-constant."""
    ratio = tables(t)[4] / variance
    return dimensions / 2 * (ratio - 1 - math.log(ratio))


@proves("eq-ddpm-step-loss", "eq-ddpm-step-constant", "eq-ddpm-loss-x0", "eq-ddpm-loss-eps")
def step_losses() -> None:
    """The same KL divergence, from means, from x_0 and from eps, for both reverse variances."""
    for t in TIMES:
        beta, alpha, now, before, posterior_variance = tables(t)
        x0, eps, x_t, guess, x0_hat = random_step(t)
        mean, _ = PROCESS.posterior(x0, x_t, torch.tensor(t), torch.tensor(t - 1))
        model_mean, _ = PROCESS.posterior(x0_hat, x_t, torch.tensor(t), torch.tensor(t - 1))
        for variance in (beta, posterior_variance):
            truth = exact_divergence(t, variance) - constant(t, variance)
            assert_close((mean - model_mean).square().sum(1) / (2 * variance), truth, 1e-10)
            weight_x0 = before * beta**2 / (2 * variance * (1 - now) ** 2)
            assert_close(weight_x0 * (x0 - x0_hat).square().sum(1), truth, 1e-10)
            weight_eps = beta**2 / (2 * variance * alpha * (1 - now))
            assert_close(weight_eps * (eps - guess).square().sum(1), truth, 1e-10)


@proves("eq-ddpm-x0-from-eps")
def x0_from_eps() -> None:
    """Solving the closed form for x_0 gives back the x_0 that was put in."""
    for t in TIMES:
        x0, eps, x_t, *_ = random_step(t)
        now = tables(t)[2]
        assert_close((x_t - math.sqrt(1 - now) * eps) / math.sqrt(now), x0, 1e-11)


b, before = sp.symbols(
    "beta abar_before", positive=True
)  # abar_before is alpha-bar_{t-1}; alpha-bar_t is (1 - beta) times it
one_minus_b, now = 1 - b, (1 - b) * before
X_T, EPSILON = sp.symbols("x_t epsilon", real=True)


@proves("eq-ddpm-coefficient-xt")
def coefficient_xt() -> None:
    """With alpha-bar_t = alpha_t alpha-bar_{t-1}."""
    left = sp.sqrt(before) * b / ((1 - now) * sp.sqrt(now)) + sp.sqrt(one_minus_b) * (1 - before) / (1 - now)
    middle = (b + one_minus_b * (1 - before)) / (sp.sqrt(one_minus_b) * (1 - now))
    points = [{b: sp.Rational(1, 7), before: sp.Rational(2, 5)}, {b: sp.Rational(1, 50), before: sp.Rational(9, 10)}]
    for point in points:
        assert sp.simplify((left - 1 / sp.sqrt(one_minus_b)).subs(point)) == 0
        assert sp.simplify((middle - 1 / sp.sqrt(one_minus_b)).subs(point)) == 0
    assert_zero(sp.expand(b + one_minus_b * (1 - before) - (1 - now)))


@proves("eq-ddpm-coefficient-eps")
def coefficient_eps() -> None:
    """The signs and roots, squared away: both sides are negative."""
    left = sp.sqrt(before) * b / (1 - now) * sp.sqrt(1 - now) / sp.sqrt(now)
    right = b / (sp.sqrt(one_minus_b) * sp.sqrt(1 - now))
    assert_zero(sp.simplify(left**2 - right**2))


@proves("eq-ddpm-mean-substituted", "eq-ddpm-mean-eps", "eq-ddpm-model-mean-eps", "eq-ddpm-sampling-step")
def mean_eps() -> None:
    """The posterior's mean, substituted and simplified, against the library; and one step of its sampler."""
    for t in TIMES:
        beta, alpha, now_t, before_t, variance = tables(t)
        x0, eps, x_t, guess, _ = random_step(t)
        mean, _ = PROCESS.posterior(x0, x_t, torch.tensor(t), torch.tensor(t - 1))
        weight = math.sqrt(before_t) * beta / ((1 - now_t) * math.sqrt(now_t))
        rest = math.sqrt(alpha) * (1 - before_t) / (1 - now_t)
        assert_close(weight * (x_t - math.sqrt(1 - now_t) * eps) + rest * x_t, mean, 1e-10)
        assert_close((x_t - beta / math.sqrt(1 - now_t) * eps) / math.sqrt(alpha), mean, 1e-10)
        z = draw(6, 4, seed=9)
        denoise = denoiser(lambda x, t, cond, g=guess: g, EPS, SCHEDULE)
        model_mean = (x_t - beta / math.sqrt(1 - now_t) * guess) / math.sqrt(alpha)
        for step_variance, x0_variance in ((variance, None), (beta, unit_variance(SCHEDULE))):
            step = ancestral(denoise, PROCESS, x0_variance, noise=lambda x, z=z: z)
            result = step(x_t, torch.tensor(t), torch.tensor(t - 1))
            assert_close(result, model_mean + math.sqrt(step_variance) * z, 1e-10)


@proves("eq-ddpm-weight", "eq-ddpm-weight-beta", "eq-ddpm-weight-tilde", "eq-ddpm-weight-x0")
def weights() -> None:
    """Each weight from beta and alpha-bar, and as the page writes it."""
    tilde = (1 - before) / (1 - now) * b
    weight = b**2 / (2 * tilde * one_minus_b * (1 - now))
    ratio = (before / (1 - before)) / (now / (1 - now))  # SNR(t-1) / SNR(t)
    assert_zero(sp.simplify((b**2 / (2 * b * one_minus_b * (1 - now))) - b / (2 * one_minus_b * (1 - now))))
    assert_zero(sp.simplify(weight - (ratio - 1) / 2))
    on_x0 = before * b**2 / (2 * tilde * (1 - now) ** 2)
    assert_zero(sp.simplify(on_x0 - (before / (1 - before) - now / (1 - now)) / 2))
    assert_zero(sp.simplify(on_x0 - weight * now / (1 - now)))


@proves("eq-ddpm-weighted-losses")
def weighted_losses() -> None:
    """The library's bound is the weighted sum of its simple losses, step by step, on the same draws."""
    schedule = schedules.linear(T=12, beta_min=0.01, beta_max=0.3)
    process, x0 = GaussianDiffusion(schedule), draw(3, 5)

    def network(x: Tensor, t: Tensor, cond: object) -> Tensor:
        return 0.4 * x + 0.01 * t.to(x)[:, None]

    bound = variational_bound(
        denoiser(network, EPS, schedule), x0, process, gaussian_log_prob, generator=torch.Generator().manual_seed(3)
    )
    generator = torch.Generator().manual_seed(3)
    for t in range(2, 13):
        noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        simple = denoising_loss(network, x0, torch.full((3,), t), noise, process)
        ratio = (schedule.alpha_bar / (1 - schedule.alpha_bar))[t - 1] / (
            schedule.alpha_bar / (1 - schedule.alpha_bar)
        )[t]
        assert_close(bound.steps[t - 2], (ratio - 1) / 2 * 5 * simple, 1e-11)


# --- what the network learns --------------------------------------------------------------------------------------------

TWO_POINTS = Mixture(
    torch.tensor([0.3, 0.7], dtype=torch.float64),
    torch.tensor([[-1.0], [0.8]], dtype=torch.float64),
    torch.tensor([[[0.04]], [[0.1]]], dtype=torch.float64),
)


@proves("eq-ddpm-best-eps")
def best_eps() -> None:
    """Integrate both sides on a fine grid of (x_0, eps) for a mixture, with an arbitrary f; trapezoids converge fast here."""
    exact, t = ExactDiffusion(TWO_POINTS, SCHEDULE), torch.tensor(250)
    signal, noise = float(SCHEDULE.signal(t)), float(SCHEDULE.noise(t))
    axis = torch.linspace(-9, 9, 721, dtype=torch.float64)
    z, eps = (grid.reshape(-1) for grid in torch.meshgrid(axis, axis, indexing="ij"))
    weight = torch.exp(-(z**2 + eps**2) / 2) / (2 * math.pi) * float(axis[1] - axis[0]) ** 2
    left = right = 0.0
    for k in range(2):
        x0 = TWO_POINTS.means[k] + TWO_POINTS.covariances[k, 0].sqrt() * z
        x_t = (signal * x0 + noise * eps)[:, None]
        guess, best = 0.3 * x_t[:, 0].sin(), exact.eps(x_t, t)[:, 0]
        left += float(TWO_POINTS.weights[k] * (weight * (eps - guess) ** 2).sum())
        right += float(TWO_POINTS.weights[k] * (weight * ((eps - best) ** 2 + (best - guess) ** 2)).sum())
    assert_close(left, right, 1e-11)


@proves("eq-ddpm-score")
def score() -> None:
    """Differentiate the exact log density by automatic differentiation; the noise prediction comes from E[x_0 | x_t]."""
    exact, t = ExactDiffusion(TWO_POINTS, SCHEDULE), torch.tensor(250)
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None].requires_grad_()
    (gradient,) = torch.autograd.grad(exact.log_prob(x, t).sum(), x)
    signal, noise = SCHEDULE.signal(t), SCHEDULE.noise(t)
    expected_eps = (x - signal * exact.denoise(x, t)) / noise
    assert_close(expected_eps.detach(), -noise * gradient)


# --- the reverse variance -----------------------------------------------------------------------------------------------


@proves("eq-ddpm-variance-loss", "eq-ddpm-variance-optimal")
def optimal_variance() -> None:
    """The derivative in the variance vanishes there and changes sign there; the loss is the library's KL term."""
    D, tilde, k, error, v = sp.symbols("D tilde k error v", positive=True)
    loss = D / 2 * (tilde / v - 1 - sp.log(tilde / v)) + k**2 * error / (2 * v)
    best = tilde + k**2 * error / D
    slope = sp.simplify(sp.diff(loss, v))
    assert sp.simplify(slope.subs(v, best)) == 0
    assert sp.simplify(slope - D * (v - best) / (2 * v**2)) == 0  # negative below the best value, positive above
    for t in TIMES:
        beta, _, now_t, before_t, variance = tables(t)
        x0, _, _, _, x0_hat = random_step(t)
        weight = math.sqrt(before_t) * beta / (1 - now_t)
        for v_t in (beta, variance, 1.3 * beta):
            formula = constant(t, v_t) + weight**2 * (x0 - x0_hat).square().sum(1) / (2 * v_t)
            assert_close(formula, exact_divergence(t, v_t), 1e-10)


@proves("eq-ddpm-variance-point")
def point_mass_variance() -> None:
    """One point of data: the exact covariance of x_0 is 0, and the reverse chain is the posterior."""
    point = Mixture(
        torch.ones(1, dtype=torch.float64),
        torch.tensor([[0.4]], dtype=torch.float64),
        torch.zeros(1, 1, 1, dtype=torch.float64),
    )
    exact = ExactDiffusion(point, SCHEDULE)
    for t in TIMES:
        assert_close(exact.covariance(draw(4, 1), torch.tensor(t)), 0.0)
        assert_close(exact.denoise(draw(4, 1), torch.tensor(t)), 0.4)


@proves("eq-ddpm-normal-posterior", "eq-ddpm-variance-normal")
def standard_normal_variance() -> None:
    """For data N(0, I): the exact moments of x_0, the algebra line by line, and Bayes' rule for q(x_{t-1} | x_t) itself."""
    normal = Mixture(
        torch.ones(1, dtype=torch.float64),
        torch.zeros(1, 2, dtype=torch.float64),
        torch.eye(2, dtype=torch.float64)[None],
    )
    exact = ExactDiffusion(normal, SCHEDULE)
    for t in TIMES:
        beta, alpha, now_t, _, _ = tables(t)
        x = draw(4, 2)
        assert_close(exact.denoise(x, torch.tensor(t)), math.sqrt(now_t) * x)
        assert_close(
            exact.covariance(x, torch.tensor(t)), (1 - now_t) * torch.eye(2, dtype=torch.float64).expand(4, 2, 2)
        )
        x_s = draw(
            4, 2, seed=5
        )  # all marginals are N(0, I), so Bayes' rule reads forward step = reverse step with x swapped
        reverse = log_normal(x_s, math.sqrt(alpha) * x, beta) + log_normal(x, torch.zeros(()), 1.0)
        assert_close(log_normal(x, math.sqrt(alpha) * x_s, beta) + log_normal(x_s, torch.zeros(()), 1.0), reverse, 1e-9)
    tilde = (1 - before) / (1 - now) * b
    first = tilde + (sp.sqrt(before) * b / (1 - now)) ** 2 * (1 - now)
    second = b * ((1 - before) + before * b) / (1 - now)
    third = b * (1 - before * one_minus_b) / (1 - now)
    for line in (first, second, third):
        assert_zero(sp.simplify(line - b))


@proves("eq-ddpm-variance-ratio")
def variance_ratio() -> None:
    """The ratio of the two choices, from the tables."""
    for t in TIMES:
        beta, _, now_t, before_t, variance = tables(t)
        assert_close(variance / beta, (1 - before_t) / (1 - now_t))
        assert variance < beta
