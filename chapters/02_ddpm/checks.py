"""Checks of the equations on chapter 2's first page.

The variational bound is an identity of any two Markov chains, so it is checked on random chains with few states, where every
expectation is a finite sum. Algebra is left to SymPy. What concerns the library is compared with it in float64.
"""

import functools
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
from course_lib.pages.proofs import assert_close, assert_zero, claim, defines, proves, pushed
from course_lib.sampling.steps import ancestral, unit_variance

SCHEDULE = schedules.linear(T=1000)
PUSHED = pushed(SCHEDULE.beta[1:].tolist())
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
    """Compose the single steps: their means multiply and their variances add up to the jump's; and the library's jump."""
    for t in TIMES:
        alpha_bar = SCHEDULE.alpha_bar[t]

        def jump(x0, eps, alpha_bar=alpha_bar):
            return claim(alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps)

        signal, variance = PUSHED[t]
        assert_close(jump(1.0, 0.0), signal)
        assert_close(jump(0.0, 1.0), math.sqrt(variance))
        x0, eps = draw(4, 3), draw(4, 3, seed=1)
        assert_close(PROCESS.diffuse(x0, torch.tensor(t), eps), jump(x0, eps))


def conditioned(t: int, x0: Tensor, x_t: Tensor) -> tuple[Tensor, float]:
    """Mean and variance of x_{t-1} given x_t and x_0: the joint Gaussian of x_{t-1} and x_t given x_0, conditioned."""
    beta, alpha, _, before, _ = tables(t)
    spread = 1 - before  # of x_{t-1}; its covariance with x_t is sqrt(alpha) times as large
    gain = math.sqrt(alpha) * spread / (alpha * spread + beta)
    mean = math.sqrt(before) * x0 + gain * (x_t - math.sqrt(alpha) * math.sqrt(before) * x0)
    return mean, spread - gain * math.sqrt(alpha) * spread


@proves("eq-ddpm-posterior", "eq-ddpm-posterior-moments", "eq-ddpm-bayes-step")
def posterior() -> None:
    """The joint Gaussian of two neighbours, conditioned; Bayes' rule with all four densities, at random points; the library's posterior."""
    for t in TIMES:
        beta, alpha, now, before, _ = tables(t)
        x0 = draw(5, 3, seed=t)
        x_s = math.sqrt(before) * x0 + math.sqrt(1 - before) * draw(5, 3, seed=t + 1)
        x_t = math.sqrt(1 - beta) * x_s + math.sqrt(beta) * draw(5, 3, seed=t + 2)
        mean, variance = conditioned(t, x0, x_t)
        page = claim(
            math.sqrt(before) * beta / (1 - now) * x0 + math.sqrt(alpha) * (1 - before) / (1 - now) * x_t,
            "eq-ddpm-posterior-moments",
        )
        assert_close(mean, page, 1e-10)
        assert_close(variance / beta, claim((1 - before) / (1 - now) * beta, "eq-ddpm-posterior-moments") / beta, 1e-9)
        forward = log_normal(x_t, math.sqrt(1 - beta) * x_s, beta)
        start, end = log_normal(x_s, math.sqrt(before) * x0, 1 - before), log_normal(x_t, math.sqrt(now) * x0, 1 - now)
        centre, spread = PROCESS.posterior(x0, x_t, torch.tensor(t), torch.tensor(t - 1))
        reverse = log_normal(x_s, claim(centre, "eq-ddpm-posterior"), float(claim(spread, "eq-ddpm-posterior")))
        assert_close(forward + start - end, reverse, 1e-8)
        exact = log_normal(x_s, mean, variance)
        assert_close(
            forward, claim(exact + end - start, "eq-ddpm-bayes-step"), 1e-9
        )  # 1 - alpha_bar loses digits at small t
        assert_close(centre, mean, 1e-10)
        assert_close(spread, variance, 1e-10)


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
    for c in RANDOM_CHAINS:
        ratio = c.average(lambda path, c=c: claim(c.p(path) / c.q(path)))
        assert_close(c.evidence(), claim(math.log(ratio)))


@proves("eq-ddpm-jensen", "eq-ddpm-bound")
def jensen() -> None:
    """The logarithm's mean lies below the mean's logarithm; they are equal where the model's own posterior is q."""

    def bound(c, p):
        return c.average(lambda path: claim(math.log(p(path) / c.q(path)), "eq-ddpm-jensen"))

    def loss(c, p):
        return -c.average(lambda path: claim(math.log(p(path) / c.q(path)), "eq-ddpm-bound"))

    for c in RANDOM_CHAINS:
        assert c.evidence() > bound(c, c.p)
        assert loss(c, c.p) > -c.evidence()
        own = lambda path, c=c: c.q(path) * 0.3  # noqa: E731  # a model with p(path | x_0) = q and p(x_0) = 0.3
        assert_close(bound(c, own), math.log(0.3))
        assert_close(loss(c, own), -math.log(0.3))


@proves("eq-ddpm-gap")
def gap() -> None:
    """The bound misses the evidence by the KL divergence between the two conditional chains."""
    for c in RANDOM_CHAINS:
        evidence, total = c.evidence(), sum(c.p(path) for path in c.paths)
        divergence = c.average(lambda path, c=c, z=total: math.log(c.q(path) / (c.p(path) / z)))
        assert_close(c.bound(), claim(-evidence + divergence))


@proves("eq-ddpm-bound-expanded")
def bound_expanded() -> None:
    """Both chains are products of steps."""
    for c in RANDOM_CHAINS:

        def term(x, c=c, T=c.T):
            prior, steps = math.log(c.prior[x[T]]), [None, *(c.log_step(x, t) for t in range(1, T + 1))]
            return claim(-prior - sum(steps[t] for t in range(1, T + 1)))

        assert_close(c.bound(), c.average(term))


@proves("eq-ddpm-bound-split")
def bound_split() -> None:
    """The step t = 1 stands apart."""
    for c in RANDOM_CHAINS:

        def term(x, c=c, T=c.T):
            prior, steps = math.log(c.prior[x[T]]), [None, *(c.log_step(x, t) for t in range(1, T + 1))]
            model, chain = c.backward[1][x[1], x[0]], c.forward[1][x[0], x[1]]
            return claim(-prior - sum(steps[t] for t in range(2, T + 1)) - math.log(model / chain))

        assert_close(c.bound(), c.average(term))


def log_reverse_ratio(c: Chains, path: tuple[int, ...], t: int) -> float:
    """log p(x_{t-1} | x_t) / q(x_{t-1} | x_t, x_0)."""
    return math.log(c.backward[t][path[t], path[t - 1]] / c.posterior(t, path[t], path[t - 1]))


@proves("eq-ddpm-bound-bayes")
def bound_bayes() -> None:
    """Bayes' rule reverses each forward step."""
    for c in RANDOM_CHAINS:

        def term(x, c=c, T=c.T):
            prior, q = math.log(c.prior[x[T]]), [c.marginal[t][x[t]] for t in range(T + 1)]
            reverse = [None, None, *(log_reverse_ratio(c, x, t) for t in range(2, T + 1))]
            model, chain = c.backward[1][x[1], x[0]], c.forward[1][x[0], x[1]]
            return claim(
                -prior - sum(reverse[t] + math.log(q[t - 1] / q[t]) for t in range(2, T + 1)) - math.log(model / chain)
            )

        assert_close(c.bound(), c.average(term))


@proves("eq-ddpm-telescope")
def telescope() -> None:
    """Only the two ends of the sum are left, on every path."""
    for c in RANDOM_CHAINS:
        for x in c.paths:
            q, T = [c.marginal[t][x[t]] for t in range(c.T + 1)], c.T
            left = claim(sum(math.log(q[t - 1] / q[t]) for t in range(2, T + 1)))
            assert_close(left, claim(math.log(q[1]) - math.log(q[T])))


@proves("eq-ddpm-bound-collected")
def bound_collected() -> None:
    """After the cancellation."""
    for c in RANDOM_CHAINS:

        def term(x, c=c, T=c.T):
            prior, end, model = c.prior[x[T]], c.marginal[T][x[T]], c.backward[1][x[1], x[0]]
            reverse = [None, None, *(log_reverse_ratio(c, x, t) for t in range(2, T + 1))]
            return claim(-math.log(prior / end) - sum(reverse[t] for t in range(2, T + 1)) - math.log(model))

        assert_close(c.bound(), c.average(term))


@proves("eq-ddpm-bound-terms", "eq-ddpm-bound-sum")
def bound_terms() -> None:
    """L_T, the L_{t-1} and L_0, each computed as the divergence or expectation that it is, add up to L."""
    for c in RANDOM_CHAINS:
        states, T, L = range(len(c.prior)), c.T, {}
        end, prior = c.marginal[T], c.prior
        L[T] = sum(claim(end[i] * math.log(end[i] / prior[i]), "eq-ddpm-bound-terms") for i in states)
        for t in range(2, T + 1):
            L[t - 1] = 0.0
            for x_t, i in itertools.product(states, repeat=2):
                chance, q, p = c.marginal[t][x_t], c.posterior(t, x_t, i), c.backward[t][x_t, i]
                L[t - 1] += claim(chance * (q * math.log(q / p)), "eq-ddpm-bound-terms")
        first, model = c.marginal[1], c.backward[1][:, c.x0]
        L[0] = -sum(claim(first[i] * math.log(model[i]), "eq-ddpm-bound-terms") for i in states)
        assert_close(c.bound(), claim(L[T] + sum(L[t - 1] for t in range(2, T + 1)) + L[0], "eq-ddpm-bound-sum"))


# --- KL between Gaussians, and the three parameterisations --------------------------------------------------------------


@proves("eq-ddpm-log-normal")
def log_density() -> None:
    """Against torch's Gaussian, and the library's function."""
    for D in (1, 3):
        x, mean, variance = draw(5, D), draw(5, D, seed=1), 0.7
        square = ((x - mean) ** 2).sum(-1)
        page = claim(-square / (2 * variance) - D / 2 * math.log(2 * math.pi * variance))
        assert_close(log_normal(x, mean, variance), page)
        assert_close(gaussian_log_prob(x, mean, torch.tensor(variance, dtype=torch.float64)), page)


def gaussian_average(function, mean: np.ndarray, variance: float) -> float:  # type: ignore[no-untyped-def]
    """The expectation of function (N, D) -> (N,) under N(mean, variance I), exact for polynomials."""
    D = len(mean)
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    points = np.stack(np.meshgrid(*[nodes] * D, indexing="ij"), -1).reshape(-1, D)
    products = np.prod(np.stack(np.meshgrid(*[weights] * D, indexing="ij"), -1).reshape(-1, D), -1)
    return float(products @ function(mean + math.sqrt(variance) * points) / (2 * math.pi) ** (D / 2))


MEAN_Q, MEAN_P, VARIANCE_Q, VARIANCE_P = np.array([0.3, -1.1, 0.6]), np.array([0.9, 0.4, -0.2]), 0.6, 1.7
DIMENSIONS = (1, 3)  # two of them, so that D / 2 is not mistaken for a number


@proves("eq-ddpm-second-moment")
def second_moment() -> None:
    """Average the squared distance by quadrature."""
    for D in DIMENSIONS:
        q, p, variance = MEAN_Q[:D], MEAN_P[:D], VARIANCE_Q
        left = gaussian_average(lambda x, p=p: ((x - p) ** 2).sum(-1), q, variance)
        assert_close(left, claim(D * variance + ((q - p) ** 2).sum()))


@functools.cache
def average_log_ratio(D: int) -> float:
    """The divergence of the two Gaussians in D dimensions: torch's log densities, averaged by quadrature."""

    def log_ratio(x: np.ndarray) -> np.ndarray:
        points = torch.from_numpy(x)
        log_q = log_normal(points, torch.from_numpy(MEAN_Q[:D]), VARIANCE_Q)
        return (log_q - log_normal(points, torch.from_numpy(MEAN_P[:D]), VARIANCE_P)).numpy()

    return gaussian_average(log_ratio, MEAN_Q[:D], VARIANCE_Q)


@proves("eq-ddpm-kl-expand", "eq-ddpm-kl-gaussians")
def kl_gaussians() -> None:
    """Average the difference of the log densities by quadrature; and the library's divergence."""
    for D in DIMENSIONS:
        truth, v_q, v_p = average_log_ratio(D), VARIANCE_Q, VARIANCE_P
        to_q = gaussian_average(lambda x, D=D: ((x - MEAN_Q[:D]) ** 2).sum(-1), MEAN_Q[:D], VARIANCE_Q)
        to_p = gaussian_average(lambda x, D=D: ((x - MEAN_P[:D]) ** 2).sum(-1), MEAN_Q[:D], VARIANCE_Q)
        expanded = claim(D / 2 * math.log(v_p / v_q) - to_q / (2 * v_q) + to_p / (2 * v_p), "eq-ddpm-kl-expand")
        assert_close(truth, expanded)
        distance = ((MEAN_Q[:D] - MEAN_P[:D]) ** 2).sum()
        page = claim((D * (v_q / v_p - 1 - math.log(v_q / v_p)) + distance / v_p) / 2, "eq-ddpm-kl-gaussians")
        assert_close(truth, page)
        q, p = torch.from_numpy(MEAN_Q[:D])[None], torch.from_numpy(MEAN_P[:D])[None]
        of_q, of_p = (torch.tensor(v, dtype=torch.float64) for v in (v_q, v_p))
        assert_close(gaussian_kl(q, of_q, p, of_p), truth)


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


@functools.cache
def drawn_constant(t: int, variance: float, dimensions: int = 4) -> float:
    """The divergence of two Gaussians with one mean and the variances beta-tilde and `variance`, from torch."""
    spreads = (torch.tensor(v, dtype=torch.float64).sqrt() for v in (tables(t)[4], variance))
    pair = [torch.distributions.Normal(torch.zeros(dimensions, dtype=torch.float64), spread) for spread in spreads]
    return float(torch.distributions.kl_divergence(*pair).sum())


@functools.cache
def step_case(t: int) -> tuple[Tensor, ...]:
    """random_step, and the library's means for the true and for the guessed picture."""
    x0, eps, x_t, guess, x0_hat = random_step(t)
    mean, _ = PROCESS.posterior(x0, x_t, torch.tensor(t), torch.tensor(t - 1))
    model_mean, _ = PROCESS.posterior(x0_hat, x_t, torch.tensor(t), torch.tensor(t - 1))
    return x0, eps, x_t, guess, x0_hat, mean, model_mean


@proves("eq-ddpm-step-loss", "eq-ddpm-step-constant", "eq-ddpm-loss-x0", "eq-ddpm-loss-eps")
def step_losses() -> None:
    """The KL divergence of the two Gaussians, from torch, against that from means, from x_0 and from eps, for both reverse variances."""
    for t in TIMES:
        beta, alpha, now, before, tilde = tables(t)
        x0, eps, _, guess, x0_hat, mean, model_mean = step_case(t)
        of_mean, of_x0 = (mean - model_mean).square().sum(1), (x0 - x0_hat).square().sum(1)
        of_eps, D = (eps - guess).square().sum(1), 4
        for variance in (beta, tilde, 1.3 * beta):
            whole = torch_divergence(t, variance)
            constant = claim(D / 2 * (tilde / variance - 1 - math.log(tilde / variance)), "eq-ddpm-step-constant")
            assert_close(drawn_constant(t, variance), constant, 1e-9)
            rest = whole - drawn_constant(t, variance)
            scale = rest.max()  # the loss of the last steps is small, and must be right all the same
            assert_close(rest / scale, claim(of_mean / (2 * variance), "eq-ddpm-step-loss") / scale, 1e-8)
            page = claim(before * beta**2 / (2 * variance * (1 - now) ** 2) * of_x0, "eq-ddpm-loss-x0")
            assert_close(rest / scale, page / scale, 1e-8)
            page = claim(beta**2 / (2 * variance * alpha * (1 - now)) * of_eps, "eq-ddpm-loss-eps")
            assert_close(rest / scale, page / scale, 1e-8)


@functools.cache
def torch_divergence(t: int, variance: float) -> Tensor:
    """The KL term of step t for the wrong guess, from the two Gaussians by torch, (6,); the library agrees."""
    *_, mean, model_mean = step_case(t)
    spread, model_spread = (torch.tensor(v, dtype=torch.float64).sqrt() for v in (tables(t)[4], variance))
    pair = [torch.distributions.Normal(mean, spread), torch.distributions.Normal(model_mean, model_spread)]
    found = torch.distributions.kl_divergence(*pair).sum(1)
    assert_close(exact_divergence(t, variance), found, 1e-6)
    return found


@proves("eq-ddpm-x0-from-eps")
def x0_from_eps() -> None:
    """Solving the closed form for x_0 gives back the x_0 that was put in."""
    for t in TIMES:
        x0, eps, x_t, *_ = random_step(t)
        now = tables(t)[2]
        assert_close(x0, claim((x_t - math.sqrt(1 - now) * eps) / math.sqrt(now)), 1e-11)


b, before = sp.symbols(
    "beta abar_before", positive=True
)  # abar_before is alpha-bar_{t-1}; alpha-bar_t is (1 - beta) times it
one_minus_b, now = 1 - b, (1 - b) * before
X_T, EPSILON = sp.symbols("x_t epsilon", real=True)


@proves("eq-ddpm-coefficient-xt")
def coefficient_xt() -> None:
    """SymPy, at exact points, with alpha-bar_t = alpha_t alpha-bar_{t-1}."""
    for b_, before_ in ((sp.Rational(1, 7), sp.Rational(2, 5)), (sp.Rational(1, 50), sp.Rational(9, 10))):
        beta, alpha, before = b_, 1 - b_, before_
        now = alpha * before
        lines = (
            claim(sp.sqrt(before) * beta / ((1 - now) * sp.sqrt(now)) + sp.sqrt(alpha) * (1 - before) / (1 - now)),
            claim((beta + alpha * (1 - before)) / (sp.sqrt(alpha) * (1 - now))),
            claim((1 - alpha + alpha - now) / (sp.sqrt(alpha) * (1 - now))),
            claim(1 / sp.sqrt(alpha)),
        )
        t_, m_ = sp.symbols("x_t x_0")
        gain = sp.sqrt(alpha) * (1 - before) / (alpha * (1 - before) + beta)  # the joint Gaussian, conditioned
        mean = sp.sqrt(before) * m_ + gain * (t_ - sp.sqrt(alpha * before) * m_)
        coefficient = sp.diff(mean.subs(m_, t_ / sp.sqrt(now)), t_)  # x_0 without the part of eps
        for line in lines:
            assert_zero(coefficient - line)


@proves("eq-ddpm-coefficient-eps")
def coefficient_eps() -> None:
    """In float64, with the signs: the coefficient of -eps in the conditioned Gaussian's mean."""
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for t in TIMES:
        beta, alpha, now, before, _ = tables(t)
        coefficient = float(
            -conditioned(t, -math.sqrt(1 - now) / math.sqrt(now) * one, zero)[0]
        )  # x_0 where x_t = 0, eps = 1
        left = claim(-(math.sqrt(before) * beta / (1 - now)) * (math.sqrt(1 - now) / math.sqrt(now)))
        assert_close(-coefficient / beta, left / beta, 1e-8)
        assert_close(coefficient / beta, claim(beta / (math.sqrt(alpha) * math.sqrt(1 - now))) / beta, 1e-8)


@proves("eq-ddpm-mean-substituted", "eq-ddpm-mean-eps", "eq-ddpm-model-mean-eps", "eq-ddpm-sampling-step")
def mean_eps() -> None:
    """The conditioned Gaussian's mean, substituted and simplified; the library's posterior and one step of its sampler for the model."""
    z = draw(6, 4, seed=9)
    for t in TIMES:
        beta, alpha, now, before, tilde = tables(t)
        x0, eps, x_t, guess, _, _, model_mean = step_case(t)
        mean, _ = conditioned(t, x0, x_t)
        weight = math.sqrt(before) * beta / ((1 - now) * math.sqrt(now))
        rest = math.sqrt(alpha) * (1 - before) / (1 - now)
        page = claim(weight * (x_t - math.sqrt(1 - now) * eps) + rest * x_t, "eq-ddpm-mean-substituted")
        assert_close(mean, page, 1e-10)
        assert_close(
            weight / beta,
            claim(math.sqrt(before) * beta / ((1 - now) * math.sqrt(now)), "eq-ddpm-mean-substituted") / beta,
        )
        page = claim(1 / math.sqrt(alpha) * (x_t - beta / math.sqrt(1 - now) * eps), "eq-ddpm-mean-eps")
        assert_close((mean - x_t) / beta, (page - x_t) / beta, 1e-7)
        page = claim(1 / math.sqrt(alpha) * (x_t - beta / math.sqrt(1 - now) * guess), "eq-ddpm-model-mean-eps")
        assert_close((model_mean - x_t) / beta, (page - x_t) / beta, 1e-7)
        denoise = denoiser(lambda x, t, cond, g=guess: g, EPS, SCHEDULE)
        for variance, x0_variance in ((tilde, None), (beta, unit_variance(SCHEDULE))):
            step = ancestral(denoise, PROCESS, x0_variance, noise=lambda x: z)
            result, sigma = step(x_t, torch.tensor(t), torch.tensor(t - 1)), math.sqrt(variance)
            page = claim(
                1 / math.sqrt(alpha) * (x_t - beta / math.sqrt(1 - now) * guess) + sigma * z, "eq-ddpm-sampling-step"
            )
            assert_close((result - x_t) / beta, (page - x_t) / beta, 1e-7)


@proves("eq-ddpm-weight", "eq-ddpm-weight-beta", "eq-ddpm-weight-tilde", "eq-ddpm-weight-x0")
def weights() -> None:
    """What the library's divergence grows by with each unit of squared error of eps, or of x_0, for both reverse variances."""
    for t in TIMES:
        beta, alpha, now, before, tilde = tables(t)
        x0, eps, _, guess, x0_hat, *_ = step_case(t)
        of_x0, of_eps = (x0 - x0_hat).square().sum(1), (eps - guess).square().sum(1)
        snr = {t: now / (1 - now), t - 1: before / (1 - before)}
        for variance in (beta, tilde):
            grown = torch_divergence(t, variance) - drawn_constant(t, variance)
            measured, per_x0 = float((grown / of_eps).mean()), float((grown / of_x0).mean())
            pages = [claim(beta**2 / (2 * variance * alpha * (1 - now)), "eq-ddpm-weight")]
            if variance == beta:
                pages += [claim(beta / (2 * alpha * (1 - now)), "eq-ddpm-weight-beta")]
            else:
                pages += [
                    claim(beta / (2 * alpha * (1 - before)), "eq-ddpm-weight-tilde"),
                    claim(((1 - now) / (alpha * (1 - before)) - 1) / 2, "eq-ddpm-weight-tilde"),
                    claim((snr[t - 1] / snr[t] - 1) / 2, "eq-ddpm-weight-tilde"),
                ]
                for page in (
                    claim(before * beta**2 / (2 * tilde * (1 - now) ** 2), "eq-ddpm-weight-x0"),
                    claim(snr[t] * pages[0], "eq-ddpm-weight-x0"),
                    claim((snr[t - 1] - snr[t]) / 2, "eq-ddpm-weight-x0"),
                ):
                    assert_close(page / per_x0, 1.0, 1e-7)
            for page in pages:
                assert_close(page / measured, 1.0, 1e-7)


@functools.cache
def losses_and_bounds() -> tuple[Tensor, Tensor, Tensor]:
    """For 12 steps and the same draws: the library's simple loss of each step, summed over the dimensions; its bound's terms; the SNR."""
    schedule = schedules.linear(T=12, beta_min=0.01, beta_max=0.3)
    process, x0 = GaussianDiffusion(schedule), draw(3, 5)

    def network(x: Tensor, t: Tensor, cond: object) -> Tensor:
        return 0.4 * x + 0.01 * t.to(x)[:, None]

    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    denoise = denoiser(network, EPS, schedule)
    bound = variational_bound(denoise, x0, process, gaussian_log_prob, generator=generators[0])
    simple = []
    for t in range(2, 13):
        noise = torch.randn(x0.shape, generator=generators[1], dtype=torch.float64)
        simple.append(5 * float(denoising_loss(network, x0, torch.full((3,), t), noise, process).mean()))
    steps = torch.stack([term.mean() for term in bound.steps])
    return torch.tensor([0.0, 0.0, *simple], dtype=torch.float64), steps, schedule.alpha_bar / (1 - schedule.alpha_bar)


@proves("eq-ddpm-weighted-losses")
def weighted_losses() -> None:
    """The library's bound is the weighted sum of its simple losses, on the same draws, averaged over three pictures."""
    loss, terms, snr = losses_and_bounds()
    T = 12
    assert_close(terms.sum(), claim(sum((snr[t - 1] / snr[t] - 1) / 2 * loss[t] for t in range(2, T + 1))), 1e-11)


# --- what the network learns --------------------------------------------------------------------------------------------

TWO_POINTS = Mixture(
    torch.tensor([0.3, 0.7], dtype=torch.float64),
    torch.tensor([[-1.0], [0.8]], dtype=torch.float64),
    torch.tensor([[[0.04]], [[0.1]]], dtype=torch.float64),
)


@functools.cache
def eps_grid() -> tuple[Tensor, ...]:
    """On a fine grid of (z, eps), for each of the two bumps: weights that add up to 1, eps, x_t and E[eps | x_t]."""
    exact, t = ExactDiffusion(TWO_POINTS, SCHEDULE), torch.tensor(250)
    signal, noise = float(SCHEDULE.signal(t)), float(SCHEDULE.noise(t))
    axis = torch.linspace(-9, 9, 361, dtype=torch.float64)
    z, eps = (grid.reshape(-1) for grid in torch.meshgrid(axis, axis, indexing="ij"))
    weight = torch.exp(-(z**2 + eps**2) / 2) / (2 * math.pi) * float(axis[1] - axis[0]) ** 2
    x_t = torch.cat(
        [signal * (TWO_POINTS.means[k] + TWO_POINTS.covariances[k, 0].sqrt() * z) + noise * eps for k in (0, 1)]
    )
    weights = torch.cat([TWO_POINTS.weights[k] * weight for k in (0, 1)])
    return weights, eps.repeat(2), x_t, exact.eps(x_t[:, None], t)[:, 0]


@proves("eq-ddpm-best-eps")
def best_eps() -> None:
    """Integrate both sides on a fine grid of (x_0, eps) for a mixture, with an arbitrary f; trapezoids converge fast here."""
    weight, eps, x_t, best = eps_grid()
    guess = 0.3 * x_t.sin()
    left = float((weight * (eps - guess).square()).sum())
    assert_close(left, claim((weight * (eps - best) ** 2).sum() + (weight * (best - guess) ** 2).sum()), 1e-10)


@proves("eq-ddpm-score")
def score() -> None:
    """Differentiate the exact log density by automatic differentiation; both means over q(x_0 | x_t) on a fine grid of x_0."""
    exact, t = ExactDiffusion(TWO_POINTS, SCHEDULE), torch.tensor(250)
    x = torch.linspace(-2, 2, 21, dtype=torch.float64)[:, None].requires_grad_()
    (gradient,) = torch.autograd.grad(exact.log_prob(x, t).sum(), x)
    signal, noise, x = SCHEDULE.signal(t), SCHEDULE.noise(t), x.detach()
    x0 = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    bumps = torch.distributions.Normal(TWO_POINTS.means[:, 0], TWO_POINTS.covariances[:, 0, 0].sqrt())
    log_data = (TWO_POINTS.weights.log() + bumps.log_prob(x0[:, None])).logsumexp(1)
    given = (log_data - (x - signal * x0) ** 2 / (2 * noise**2)).softmax(1)  # (21, grid)
    slopes, eps = -(x - signal * x0) / noise**2, (x - signal * x0) / noise
    assert_close(gradient[:, 0], claim((given * slopes).sum(1)), 1e-9)
    expected, alpha_bar = (given * eps).sum(1), SCHEDULE.alpha_bar[250]
    assert_close(gradient[:, 0], claim(-expected / (1 - alpha_bar).sqrt()), 1e-9)
    assert_close(exact.eps(x, t)[:, 0], expected, 1e-9)


# --- the reverse variance -----------------------------------------------------------------------------------------------


@proves("eq-ddpm-variance-loss", "eq-ddpm-variance-optimal")
def optimal_variance() -> None:
    """The loss is torch's divergence; among many variances the page's has the least, and SymPy finds it as the only stationary one."""
    for t in TIMES:
        beta, _, now, before, tilde = tables(t)
        x0, _, _, _, x0_hat, *_ = step_case(t)
        k, D, error = math.sqrt(before) * beta / (1 - now), 4, (x0 - x0_hat).square().sum(1)
        for v in (beta, tilde, 1.3 * beta):
            page = claim(
                D / 2 * (tilde / v - 1 - math.log(tilde / v)) + k**2 / (2 * v) * error, "eq-ddpm-variance-loss"
            )
            truth = torch_divergence(t, v)
            assert_close(page / truth, torch.ones(6), 1e-6)
        mean = float(error.mean())
        best = claim(tilde + k**2 * (1 / D * mean), "eq-ddpm-variance-optimal")
        around = [float(torch_divergence(t, best * factor).mean()) for factor in (0.99, 1.0, 1.01)]
        assert around[1] < min(around[0], around[2])
    D, tilde, k, error, v = sp.symbols("D tilde k error v", positive=True)
    loss = D / 2 * (tilde / v - 1 - sp.log(tilde / v)) + k**2 * error / (2 * v)
    best = claim(tilde + k**2 * (1 / D * error), "eq-ddpm-variance-optimal")
    assert_zero(sp.diff(loss, v) - D * (v - best) / (2 * v**2))  # negative below the best value, positive above


@proves("eq-ddpm-variance-point")
def point_mass_variance() -> None:
    """One point of data: the exact covariance of x_0 is 0, and the exact reverse variance, by two neighbours, is beta-tilde."""
    c = 0.4
    point = Mixture(
        torch.ones(1, dtype=torch.float64),
        torch.tensor([[c]], dtype=torch.float64),
        torch.zeros(1, 1, 1, dtype=torch.float64),
    )
    exact = ExactDiffusion(point, SCHEDULE)
    for t in TIMES:
        beta, alpha, now, before, _ = tables(t)
        assert_close(exact.denoise(draw(4, 1), torch.tensor(t)), claim(c))
        error = exact.covariance(draw(4, 1), torch.tensor(t))
        assert_close(error, 0.0)
        spread = 1 - before  # of x_{t-1}, which with x_t is jointly Gaussian, as x_0 is known
        best = spread - alpha * spread**2 / (alpha * spread + beta)
        assert_close(best / beta, claim((1 - before) / (1 - now) * beta) / beta, 1e-9)


@proves("eq-ddpm-normal-posterior", "eq-ddpm-variance-normal")
def standard_normal_variance() -> None:
    """For data N(0, I): x_0 and x_t are jointly Gaussian, and so are x_{t-1} and x_t; each is conditioned on x_t."""
    normal = Mixture(
        torch.ones(1, dtype=torch.float64),
        torch.zeros(1, 2, dtype=torch.float64),
        torch.eye(2, dtype=torch.float64)[None],
    )
    exact = ExactDiffusion(normal, SCHEDULE)
    for t in TIMES:
        beta, _, now, before, tilde = tables(t)
        x = draw(4, 2)
        covariance = math.sqrt(now)  # of x_0 and x_t, which both have variance 1
        mean, variance = (
            claim(math.sqrt(now) * x, "eq-ddpm-normal-posterior"),
            claim(1 - now, "eq-ddpm-normal-posterior"),
        )
        assert_close(exact.denoise(x, torch.tensor(t)), mean)
        assert_close(exact.covariance(x, torch.tensor(t))[:, 0, 0], variance)
        assert_close(1 - covariance**2, variance)
        reverse = (
            1 - math.sqrt(1 - beta) ** 2
        )  # of x_{t-1} given x_t: both have variance 1, and covariance sqrt(1 - beta)
        for page in (
            claim(tilde + before * beta**2 / (1 - now), "eq-ddpm-variance-normal"),
            claim(beta * ((1 - before) + before * beta) / (1 - now), "eq-ddpm-variance-normal"),
            claim(beta * (1 - before * (1 - beta)) / (1 - now), "eq-ddpm-variance-normal"),
            claim(beta, "eq-ddpm-variance-normal"),
        ):
            assert_close(page / reverse, 1.0, 1e-8)


@proves("eq-ddpm-variance-ratio")
def variance_ratio() -> None:
    """The reverse variances for one point of data and for N(0, 1), each by conditioning two neighbours, and their ratio."""
    for t in TIMES:
        beta, alpha, now, before, _ = tables(t)
        spread = 1 - before
        of_point = spread - alpha * spread**2 / (alpha * spread + beta)
        of_normal = 1 - alpha
        assert_close(of_point / of_normal, claim((1 - before) / (1 - now)), 1e-8)
        assert of_point < of_normal
