"""Checks of chapter 8's equations: every path of small chains is enumerated, and the library's processes are compared in float64."""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np
import sympy as sp
import torch
from scipy.integrate import dblquad, quad
from torch import Tensor

from course_lib.data.bits import heartbeats
from course_lib.diffusion import schedules
from course_lib.diffusion.binomial import BinomialDiffusion, bernoulli_entropy, bernoulli_kl
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.nets.multiscale import MultiScale, MultiScaleConvolution, bump_weights
from course_lib.pages.proofs import (
    answers,
    assert_close,
    assert_printed,
    claim,
    defines,
    equivalent,
    proves,
)
from course_lib.sampling.guidance import classifier_guided
from course_lib.sampling.steps import ancestral

# --- small chains, whose every path is known ----------------------------------------------------------------------------

STATES, STEPS = 4, 3
BETAS = (0.15, 0.35, 0.6)


class Chain(NamedTuple):
    """A forward chain that keeps `equilibrium`, a model that runs back, and the joint probability of every path `(S,) * (T + 1)`."""

    data: np.ndarray  # q(x_0), (S,)
    equilibrium: np.ndarray  # pi, (S,)
    forward: list[np.ndarray]  # forward[t - 1][i, j] = q(x_t = j | x_{t-1} = i)
    backward: list[np.ndarray]  # backward[t - 1][j, i] = p(x_{t-1} = i | x_t = j)
    joint: np.ndarray  # q(x_0, ..., x_T)


def along(matrix: np.ndarray, t: int) -> np.ndarray:
    """A function of (x_{t-1}, x_t) as a function of the path."""
    return matrix.reshape([STATES if axis in (t - 1, t) else 1 for axis in range(STEPS + 1)])


def at(vector: np.ndarray, t: int) -> np.ndarray:
    """A function of x_t as a function of the path."""
    return vector.reshape([STATES if axis == t else 1 for axis in range(STEPS + 1)])


@functools.cache
def chain(fixed_end: bool = False, seed: int = 0) -> Chain:
    """Random probabilities. With `fixed_end`, the last step back is 2015's.

    The equilibrium has one value on two states and another on the others. A step mixes states of the same value, or draws afresh: it keeps
    the equilibrium, and the mean of log pi where that is the equilibrium's, as it is for the data.
    """
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.55, 0.8)  # of the first two states
    equilibrium = np.array([share, share, 1 - share, 1 - share]) / 2
    inside = rng.uniform(0.2, 0.8, 2)
    data = np.concatenate(
        [share * np.array([inside[0], 1 - inside[0]]), (1 - share) * np.array([inside[1], 1 - inside[1]])]
    )
    forward = []
    for beta in BETAS:
        mixing = np.kron(np.eye(2), np.ones((2, 2))) * rng.uniform(0.1, 0.4, 2).repeat(2)[:, None]
        mixing = mixing + np.diag(1 - mixing.sum(1))
        forward.append((1 - beta) * mixing + beta * equilibrium)
    backward = [rng.dirichlet(np.full(STATES, 2.0), size=STATES) for _ in range(STEPS)]
    if fixed_end:
        backward[0] = (forward[0] * equilibrium[:, None] / equilibrium).T
    joint = functools.reduce(
        lambda product, t: product * along(forward[t - 1], t), range(1, STEPS + 1), at(data, 0) * np.ones([STATES] * 4)
    )
    return Chain(data, equilibrium, forward, backward, joint)


def mean(of: np.ndarray, chain: Chain) -> float:
    """E_q of a function of the path."""
    return float((chain.joint * of).sum())


def marginal(chain: Chain, *times: int) -> np.ndarray:
    """The joint probability of the states at some times, in their order."""
    return chain.joint.sum(tuple(axis for axis in range(STEPS + 1) if axis not in times))


def entropy(probability: np.ndarray) -> float:
    """In nats."""
    return -float((probability * np.log(probability)).sum())


def conditional_entropy(chain: Chain, of: int, *given: int) -> float:
    """H_q(X_of | X_given)."""
    return entropy(marginal(chain, of, *given)) - entropy(marginal(chain, *given))


def log_model(chain: Chain) -> np.ndarray:
    """log p(x_{0:T}) of every path."""
    steps = [np.log(along(chain.backward[t - 1].T, t)) for t in range(1, STEPS + 1)]
    return at(np.log(chain.equilibrium), STEPS) + sum(steps)


def log_forward(chain: Chain) -> np.ndarray:
    """log q(x_{1:T} | x_0) of every path."""
    return sum(np.log(along(chain.forward[t - 1], t)) for t in range(1, STEPS + 1)) + np.zeros([STATES] * 4)


def log_likelihood(chain: Chain) -> np.ndarray:
    """log p(x_0), (S,), by walking the model's chain from the equilibrium."""
    state = chain.equilibrium
    for step in reversed(chain.backward):
        state = state @ step
    return np.log(state)


def given_data(chain: Chain) -> np.ndarray:
    """q(x_{1:T} | x_0) of every path."""
    return chain.joint / at(chain.data, 0)


def ratio(chain: Chain, t: int) -> float:
    """E_q of log p(x_{t-1} | x_t) / q(x_t | x_{t-1})."""
    return mean(along(np.log(chain.backward[t - 1].T / chain.forward[t - 1]), t), chain)


@functools.cache
def divergences(fixed_end: bool = True) -> list[float]:
    """E_q KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) for t = 2 .. T, from the joint probabilities of three states."""
    one, found = chain(fixed_end), []
    for t in range(2, STEPS + 1):
        three = marginal(one, 0, t - 1, t)  # (x_0, x_{t-1}, x_t)
        posterior = three / three.sum(1, keepdims=True)
        found.append(float((three * np.log(posterior / one.backward[t - 1].T[None])).sum()))
    return found


@defines("eq-thermo-forward", "eq-thermo-reverse", "eq-thermo-work", "eq-thermo-product", "eq-thermo-modified")
def names() -> None:
    """These introduce the two trajectories, the work, and the model that is multiplied by a function."""


@proves("eq-thermo-stationary")
def stationary() -> None:
    """By quadrature for the Gaussian kernel, by the sum over both states for the binomial one, which the library draws from."""
    beta, y = 0.3, 0.7

    def normal(x: float, mean: float, variance: float) -> float:
        return math.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)

    def kernel(to: float, start: float) -> float:
        return normal(to, math.sqrt(1 - beta) * start, beta)

    def pi(x: float) -> float:
        return normal(x, 0.0, 1.0)

    value = quad(lambda start: claim(kernel(y, start) * pi(start)), -12, 12)[0]
    assert_close(value, math.exp(-(y**2) / 2) / math.sqrt(2 * math.pi), 1e-9)
    process = BinomialDiffusion(schedules.erasing(7), 0.3)
    after = process.transition(torch.tensor([[0.0], [1.0]], dtype=torch.float64), torch.tensor(2), torch.tensor(5))
    assert_close(float(torch.tensor([0.7, 0.3], dtype=torch.float64) @ after[:, 0]), 0.3)


@defines("eq-thermo-kernels")
def kernels() -> None:
    """The library's transitions over one step: moments of the Gaussian one, the probability of a 1 of the binomial one."""
    T, rate = 9, 0.3
    schedule = schedules.linear(T, 0.05, 0.4)
    process = BinomialDiffusion(schedule, rate)
    for t in (1, 4, 9):
        beta = float(schedule.beta[t])
        factor, variance = GaussianDiffusion(schedule).transition(torch.tensor(t - 1), torch.tensor(t))
        assert_close(factor, claim(math.sqrt(1 - beta)))
        assert_close(variance, claim(beta), 1e-12)
        for bit in (0.0, 1.0):
            x = torch.tensor([[bit]], dtype=torch.float64)
            one = process.transition(x, torch.tensor(t - 1), torch.tensor(t))
            assert_close(one, claim((1 - beta) * bit + beta * rate), 1e-12)


# --- work -------------------------------------------------------------------------------------------------------------


@proves("eq-thermo-average", "eq-thermo-jarzynski", "eq-thermo-second-law")
def work() -> None:
    """For every x_0 of a random chain: the average over forward paths against walking the model's chain."""
    one = chain()
    likelihood = np.exp(log_likelihood(one))
    forward, model = np.exp(log_forward(one)), np.exp(log_model(one))
    inner = (1, 2, 3)
    average = claim((given_data(one) * (model / forward)).sum(inner), "eq-thermo-average")
    assert_close(average, likelihood, 1e-12)
    W = log_forward(one) - log_model(one)
    assert_close(claim((given_data(one) * np.exp(-W)).sum(inner), "eq-thermo-jarzynski"), likelihood, 1e-12)
    posterior = model / at(likelihood, 0)  # p(x_{1:T} | x_0)
    divergence = (given_data(one) * np.log(given_data(one) / posterior)).sum(inner)
    expected = (given_data(one) * W).sum(inner)
    dissipated = claim(expected + np.log(likelihood), "eq-thermo-second-law")
    assert_close(dissipated, divergence, 1e-12)
    assert (divergence > 0).all()


def weighed(w: float, m: float, v: float) -> float:
    """exp(-w) times the density of N(m, v) at w."""
    return math.exp(-w) * math.exp(-((w - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)


@proves("eq-thermo-normal-work")
def normal_work() -> None:
    """The average of exp(-W) by quadrature for W ~ N(m, v)."""
    for m, v in ((1.3, 0.8), (2.1, 0.3)):
        average = quad(weighed, m - 14, m + 14, args=(m, v))[0]
        assert_close(-math.log(average), claim(m - v / 2), 1e-8)


# --- the bound --------------------------------------------------------------------------------------------------------


@functools.cache
def expected_bound(fixed_end: bool) -> float:
    """E_q of the logarithm of the model's path over the forward path, path by path."""
    one = chain(fixed_end)
    return mean(log_model(one) - log_forward(one), one)


@proves("eq-thermo-bound", "eq-thermo-peeled")
def bound() -> None:
    """The mean of -W over all paths; L - K is the mean dissipated work; then the prior is taken out of the sum."""
    one = chain()
    L = float(one.data @ log_likelihood(one))
    model = np.exp(log_model(one)) / at(np.exp(log_likelihood(one)), 0)
    gap = mean(np.log(given_data(one) / model), one)
    model_path, forward_path = np.exp(log_model(one)), np.exp(log_forward(one))
    K = claim((one.joint * np.log(model_path / forward_path)).sum(), "eq-thermo-bound")
    assert_close(L - K, gap, 1e-12)
    assert L >= K
    ratios = sum(ratio(one, t) for t in range(1, STEPS + 1))
    cross = -float(marginal(one, STEPS) @ np.log(one.equilibrium))
    assert_close(expected_bound(fixed_end=False), claim(ratios - cross, "eq-thermo-peeled"), 1e-12)


@proves("eq-thermo-cross-entropy")
def cross_entropy() -> None:
    """For data with the equilibrium's second moment: mean of -log pi in three dimensions after any step, and of bits with its rate."""
    D, schedule = 3, schedules.linear(6, 0.05, 0.5)
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
    means = torch.tensor([[0.9, -0.6, 0.3], [-0.2, 0.5, 0.8]], dtype=torch.float64)
    spread = (D - float(weights @ means.square().sum(1))) / D  # so that E|x_0|^2 = D
    covariances = spread * torch.eye(D, dtype=torch.float64).repeat(2, 1, 1)
    exact = ExactDiffusion(Mixture(weights, means, covariances), schedule)
    for t in (1, 3, 6):
        signal, noise = schedule.signal(torch.tensor(t)), schedule.noise(torch.tensor(t))
        second = float(signal**2 * (exact.mixture.covariance().trace() + exact.mixture.mean().square().sum()))
        second += D * float(noise**2)
        cross = second / 2 + D / 2 * math.log(2 * math.pi)
        assert_close(cross, claim(D / 2 * math.log(2 * math.pi * math.e)), 1e-10)
    words, rate = heartbeats().double(), 0.2
    process = BinomialDiffusion(schedules.erasing(6), rate)
    for t in (1, 3, 6):
        one = process.transition(words, torch.tensor(0), torch.tensor(t)).mean(0)  # q(x_t = 1) of each place
        cross = -float((one * math.log(rate) + (1 - one) * math.log(1 - rate)).sum())
        assert_close(cross, claim(20 * (-rate * math.log(rate) - (1 - rate) * math.log(1 - rate))), 1e-10)


@proves("eq-thermo-edge")
def edge() -> None:
    """The fixed last step: probabilities that add up to 1, and a term of the bound that is the change of the mean of log pi, 0."""
    one = chain(fixed_end=True)
    forward, pi = one.forward[0], one.equilibrium
    back = claim(forward * pi[:, None] / pi)  # [x_0, x_1]
    assert_close(back.sum(0), np.ones(STATES), 1e-12)
    before, after = marginal(one, 0), marginal(one, 1)
    pair = marginal(one, 0, 1)
    term = float((pair * np.log(back / forward)).sum())
    assert_close(term, float(before @ np.log(pi) - after @ np.log(pi)), 1e-12)
    # Bayes' rule in a chain that starts in equilibrium
    joint = pi[:, None] * forward
    assert_close(back, joint / joint.sum(0), 1e-12)


@proves("eq-thermo-inner", "eq-thermo-bayes", "eq-thermo-telescope", "eq-thermo-K", "eq-thermo-same")
def decomposition() -> None:
    """Each line against the sum over all paths of a chain that ends with the fixed step."""
    one = chain(fixed_end=True)
    whole, H_pi = expected_bound(fixed_end=True), entropy(one.equilibrium)
    inner = sum(ratio(one, t) for t in range(2, STEPS + 1))
    assert_close(whole, claim(inner - H_pi, "eq-thermo-inner"), 1e-12)
    rewritten, moved = 0.0, 0.0
    for t in range(2, STEPS + 1):
        three = marginal(one, 0, t - 1, t)
        posterior = three / three.sum(1, keepdims=True)  # q(x_{t-1} | x_t, x_0)
        before = three.sum(2, keepdims=True) / at_data(one)
        after = three.sum(1, keepdims=True) / at_data(one)
        back = one.backward[t - 1].T[None]
        forward = one.forward[t - 1][None] * np.ones_like(three)
        assert_close(forward, claim(posterior * after / before, "eq-thermo-bayes"), 1e-12)
        rewritten += float((three * np.log(back / posterior * before / after)).sum())
        moved += float((three * np.log(before / after)).sum())
    assert_close(inner, rewritten, 1e-12)
    first, end = conditional_entropy(one, 1, 0), conditional_entropy(one, STEPS, 0)
    assert_close(moved, claim(end - first, "eq-thermo-telescope"), 1e-12)
    steps = sum(divergences())
    assert_close(whole, claim(-steps + end - first - H_pi, "eq-thermo-K"), 1e-12)
    prior = float(
        (marginal(one, 0, STEPS) * np.log(marginal(one, 0, STEPS) / at_data(one)[:, :, 0] / one.equilibrium)).sum()
    )
    reconstruction = -float((marginal(one, 0, 1) * np.log(one.backward[0].T)).sum())
    assert_close(-whole, claim(prior + steps + reconstruction, "eq-thermo-same"), 1e-12)
    assert_close(prior, claim(H_pi - end, "eq-thermo-same"), 1e-12)
    assert_close(reconstruction, claim(first, "eq-thermo-same"), 1e-12)


def at_data(one: Chain) -> np.ndarray:
    """q(x_0) in front of two more axes."""
    return one.data[:, None, None]


@proves("eq-thermo-entropy-bayes", "eq-thermo-entropy-upper", "eq-thermo-entropy-lower")
def entropies() -> None:
    """Entropies of a step back, from the joint probabilities of a chain that keeps its equilibrium."""
    one = chain()
    for t in (2, 3):
        back, forth = conditional_entropy(one, t - 1, t), conditional_entropy(one, t, t - 1)
        then, now = entropy(marginal(one, t - 1)), entropy(marginal(one, t))
        assert_close(back, claim(forth + then - now, "eq-thermo-entropy-bayes"), 1e-12)
        far, near = (float(marginal(one, time) @ np.log(marginal(one, time) / one.equilibrium)) for time in (t - 1, t))
        assert_close(forth - back, claim(far - near, "eq-thermo-entropy-upper"), 1e-12)
        assert far >= near
        known = conditional_entropy(one, t - 1, t, 0)
        start, end = conditional_entropy(one, t - 1, 0), conditional_entropy(one, t, 0)
        assert_close(known, claim(forth + start - end, "eq-thermo-entropy-lower"), 1e-12)
        assert known <= back


# --- the binomial chain -----------------------------------------------------------------------------------------------

RATE = 0.3
SCHEDULE = schedules.linear(8, 0.05, 0.4)
BITS = BinomialDiffusion(SCHEDULE, RATE)
PAIRS = ((1, 2), (2, 5), (4, 8), (0, 3))  # s < t


def step_matrix(beta: float) -> np.ndarray:
    """The probabilities of one step, [from, to]: keep the bit, or draw it afresh."""
    return (1 - beta) * np.eye(2) + beta * np.array([[1 - RATE, RATE]] * 2)


def over(s: int, t: int) -> np.ndarray:
    """The probabilities of the steps s + 1 .. t, [from, to]."""
    return functools.reduce(np.matmul, [step_matrix(float(SCHEDULE.beta[k])) for k in range(s + 1, t + 1)], np.eye(2))


@proves("eq-thermo-bits-marginal")
def bits_marginal() -> None:
    """The product of the steps' matrices, and the library."""
    for t in (1, 3, 8):
        kept = float(SCHEDULE.alpha_bar[t])
        for bit in (0, 1):
            page = claim(kept * bit + (1 - kept) * RATE)
            assert_close(over(0, t)[bit, 1], page, 1e-12)
            x = torch.full((1, 1), float(bit), dtype=torch.float64)
            assert_close(BITS.transition(x, torch.tensor(0), torch.tensor(t)), page, 1e-12)


@proves("eq-thermo-erasing")
def erasing() -> None:
    """The product of 1 - beta_t with exact fractions, the share that each step erases, and the library's table."""
    T = 11
    kept = sp.Integer(1)
    for t in range(1, T + 1):
        before = kept
        beta = claim(sp.Rational(1, T - t + 1))
        kept = kept * (1 - beta)
        assert kept == claim(1 - sp.Rational(t, T))
        assert before - kept == sp.Rational(1, T)
        assert_close(schedules.erasing(T).alpha_bar[t], float(kept), 1e-12)


@proves("eq-thermo-bits-posterior")
def bits_posterior() -> None:
    """Bayes' rule from the matrices, for each pair of bits and times, against the library."""
    for s, t in PAIRS[:3]:
        for x_0, x_t in itertools.product((0, 1), (0, 1)):
            before, after, whole = over(0, s)[x_0], over(s, t), over(0, t)[x_0, x_t]
            joint = np.array([before[b] * after[b, x_t] for b in (0, 1)])
            page = claim(before[1] * after[1, x_t] / whole)
            assert_close(joint[1] / joint.sum(), page, 1e-12)
            bits = [torch.full((1, 1), float(value), dtype=torch.float64) for value in (x_0, x_t)]
            assert_close(BITS.posterior(bits[0], bits[1], torch.tensor(t), torch.tensor(s)), page, 1e-12)


WORDS = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]])
SHARES = np.array([0.5, 0.2, 0.3])


@functools.cache
def word_probability(s: int, x_s: tuple[int, ...]) -> np.ndarray:
    """q(x_s | word) of each of the words, bit by bit."""
    return np.array([np.prod([over(0, s)[bit, x] for bit, x in zip(word, x_s, strict=True)]) for word in WORDS])


@proves("eq-thermo-bits-average")
def bits_average() -> None:
    """For data of three words: the exact probability of each bit of x_s given the whole x_t, by summing over all x_s."""
    for s, t in PAIRS[:3]:
        x_t = (1, 0, 0)
        weights = SHARES * word_probability(t, x_t)
        guess = weights @ WORDS / weights.sum()  # p(x_0 = 1 | x_t) of each bit
        joint = {
            x_s: float(SHARES @ word_probability(s, x_s))
            * np.prod([over(s, t)[b, x] for b, x in zip(x_s, x_t, strict=True)])
            for x_s in itertools.product((0, 1), repeat=3)
        }
        total = sum(joint.values())
        for place in range(3):
            exact = sum(p for x_s, p in joint.items() if x_s[place] == 1) / total
            one, zero = (over(0, s)[b, 1] * over(s, t)[1, x_t[place]] / over(0, t)[b, x_t[place]] for b in (1, 0))
            assert_close(exact, claim(guess[place] * one + (1 - guess[place]) * zero), 1e-12)
        library = BITS.posterior(
            torch.tensor(guess[None]), torch.tensor([x_t], dtype=torch.float64), torch.tensor(t), torch.tensor(s)
        )
        exacts = [sum(p for x_s, p in joint.items() if x_s[place] == 1) / total for place in range(3)]
        assert_close(library[0], exacts, 1e-12)


@proves("eq-thermo-bits-kl")
def bits_kl() -> None:
    """torch's divergence of Bernoulli distributions, summed over five bits, and the library's, also where q is 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    q, p = (torch.rand(3, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    torch_kl = torch.distributions.kl_divergence(
        torch.distributions.Bernoulli(q), torch.distributions.Bernoulli(p)
    ).sum(1)
    page = claim((q * torch.log(q / p) + (1 - q) * torch.log((1 - q) / (1 - p))).sum(1))
    assert_close(torch_kl, page, 1e-10)
    assert_close(bernoulli_kl(q, p), page, 1e-10)
    assert_close(bernoulli_kl(torch.ones(3, 5, dtype=torch.float64), p), -p.log().sum(1), 1e-10)


def binary_entropy(p: float) -> float:
    """In bits."""
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


@proves("eq-thermo-heartbeat", "eq-thermo-heartbeat-edge")
def heartbeat() -> None:
    """The five sequences: their entropy, that of independent bits, and that of the first step, from the library's process."""
    words, rate = heartbeats().double(), 0.2
    assert len(torch.unique(words, dim=0)) == 5
    shares = np.full(len(words), 1 / len(words))
    assert_close(shares @ np.log2(shares), claim(math.log2(1 / 5), "eq-thermo-heartbeat"))
    independent = float(bernoulli_entropy(words.mean(0)[None])) / math.log(2)
    assert_close(independent, claim(20 * binary_entropy(1 / 5), "eq-thermo-heartbeat"), 1e-10)
    for T in (50, 2000):
        process = BinomialDiffusion(schedules.erasing(T), rate)
        first = bernoulli_entropy(process.transition(words, torch.tensor(0), torch.tensor(1))) / math.log(2)
        page = claim(4 * binary_entropy(0.8 / T) + 16 * binary_entropy(0.2 / T), "eq-thermo-heartbeat-edge")
        assert_close(first, np.full(5, page), 1e-9)


# --- Gaussian steps ---------------------------------------------------------------------------------------------------

GAUSSIAN = schedules.linear(1000)
MIXTURE = Mixture(
    torch.tensor([0.4, 0.6], dtype=torch.float64),
    torch.tensor([[-0.9, 0.2, 0.4], [0.7, -0.4, 0.1]], dtype=torch.float64),
    torch.tensor(
        [
            [[0.05, 0.02, 0.0], [0.02, 0.1, 0.01], [0.0, 0.01, 0.2]],
            [[0.2, 0.0, 0.05], [0.0, 0.04, 0.0], [0.05, 0.0, 0.1]],
        ],
        dtype=torch.float64,
    ),
)
EXACT = ExactDiffusion(MIXTURE, GAUSSIAN)
PROCESS = GaussianDiffusion(GAUSSIAN)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@proves("eq-thermo-mean-score", "eq-thermo-relative-score")
def score_in_the_mean() -> None:
    """The posterior's mean at the exact E[x_0 | x_t]; and the automatic gradient of log q - log pi."""
    for t in (2, 40, 600):
        x = normal(5, 3, seed=t).requires_grad_()
        when = torch.tensor(t)
        beta = float(GAUSSIAN.beta[t])
        mean = PROCESS.posterior(EXACT.denoise(x, when), x, when, when - 1)[0].detach()
        score, point = EXACT.score(x, when).detach(), x.detach()
        page = claim(
            math.sqrt(1 - beta) * point + beta / math.sqrt(1 - beta) * (point + score),
            "eq-thermo-mean-score",
        )
        # the step is close to x, so what is compared is the difference, in units of the step
        assert_close((mean - point) / beta, (page - point) / beta, 1e-7)
        relative = EXACT.log_prob(x, when) - torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)
        (gradient,) = torch.autograd.grad(relative.sum(), x)
        assert_close(gradient, claim(point + score, "eq-thermo-relative-score"), 1e-8)


@defines("eq-thermo-frozen")
def frozen() -> None:
    """With frozen noise x_t is the library's jump, a smooth function of the schedule's table."""
    x0, eps, t = normal(4, 3), normal(4, 3, seed=1), torch.tensor(17)
    kept = math.prod(1 - float(beta) for beta in GAUSSIAN.beta[1:18])
    assert_close(PROCESS.diffuse(x0, t, eps), claim(math.sqrt(kept) * x0 + math.sqrt(1 - kept) * eps), 1e-10)


# --- multiplying by a function ----------------------------------------------------------------------------------------


def product_chain() -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Marginals p(x_t) of a random model's chain, its steps back, and a positive function of x_0."""
    one = chain()
    marginals = [one.equilibrium]
    for step in reversed(one.backward):
        marginals.append(marginals[-1] @ step)
    return marginals[::-1], one.backward, np.array([0.2, 1.0, 2.5, 0.7])


def reweighted(probability: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, float]:
    """The product, normalised, and its sum."""
    total = float(probability @ factor)
    return probability * factor / total, total


@proves("eq-thermo-perturbed", "eq-thermo-condition")
def perturbed() -> None:
    """For any functions r_t: the step carries the modified marginal at t to that at t - 1. It is a probability if r_t is the average."""
    marginals, backward, _ = product_chain()
    rng = np.random.default_rng(5)
    for t in (1, 2, 3):
        r_now, r_then = rng.uniform(0.5, 2, STATES), rng.uniform(0.5, 2, STATES)
        (now, Z_now), (then, Z_then) = reweighted(marginals[t], r_now), reweighted(marginals[t - 1], r_then)
        back = backward[t - 1]  # [x_t, x_{t-1}]
        page = claim(back * (r_then[None] / r_now[:, None]) * (Z_now / Z_then), "eq-thermo-perturbed")
        assert_close(now @ page, then, 1e-12)
        sums = page.sum(1)
        averages = back @ r_then  # E[r_{t-1}(x_{t-1}) | x_t]
        assert_close(sums, claim(averages / r_now * (Z_now / Z_then), "eq-thermo-condition"), 1e-12)


@proves("eq-thermo-future", "eq-thermo-exact-step")
def future() -> None:
    """With r_t the average of r over where the model's chain ends, steps are probabilities, and the chain ends in p r / Z."""
    marginals, backward, r = product_chain()
    averages = [r]
    for step in backward:  # E[r(x_0) | x_t] by walking back once more each time
        averages.append(step @ averages[-1])
    ends = np.eye(STATES)
    state, _ = reweighted(marginals[STEPS], averages[STEPS])
    for t in range(STEPS, 0, -1):
        walk = functools.reduce(np.matmul, reversed(backward[:t]), np.eye(STATES))  # p(x_0 | x_t)
        assert_close(averages[t], claim(walk @ r, "eq-thermo-future"), 1e-12)
        back, r_then, r_now = backward[t - 1], averages[t - 1], averages[t]
        step = claim(back * r_then[None] / r_now[:, None], "eq-thermo-exact-step")
        assert_close(step.sum(1), np.ones(STATES), 1e-12)
        state = state @ step
    assert_close(state, marginals[0] * r / (marginals[0] @ r), 1e-12)
    assert ends.shape == (STATES, STATES)


@equivalent("mean + g @ covariance", because="a covariance is symmetric")
@proves("eq-thermo-shift")
def shift() -> None:
    """The mean of a Gaussian in the plane times exp(g x), by quadrature; its covariance stays."""
    mean, g = np.array([0.3, -0.5]), np.array([0.8, -0.4])
    covariance = np.array([[0.5, 0.2], [0.2, 0.3]])
    precision = np.linalg.inv(covariance)

    def weight(y: float, x: float) -> float:
        off = np.array([x, y]) - mean
        return float(np.exp(-off @ precision @ off / 2 + g @ np.array([x, y])))

    def integral(of) -> float:
        return dblquad(lambda y, x: weight(y, x) * of(x, y), -6, 7, -6, 6, epsabs=1e-9, epsrel=1e-9)[0]

    total = integral(lambda x, y: 1.0)
    found = np.array([integral(lambda x, y: x), integral(lambda x, y: y)]) / total
    assert_close(found, claim(mean + covariance @ g), 1e-6)
    second = integral(lambda x, y: (x - found[0]) * (y - found[1])) / total
    assert_close(second, covariance[0, 1], 1e-6)


@proves("eq-thermo-guidance")
def guidance() -> None:
    """The library's classifier guidance moves DDPM's mean by this much."""
    weight = normal(3, 2, seed=9)

    def logits(x: Tensor, t: Tensor) -> Tensor:
        return torch.sin(x) @ weight

    cond = torch.zeros(5, dtype=torch.long)
    guided = classifier_guided(EXACT.denoise, logits, GAUSSIAN, cond, 1.0)
    for t in (2, 40, 600):
        x, when = normal(5, 3, seed=t), torch.tensor(t)
        beta = float(GAUSSIAN.beta[t])
        moved = [
            ancestral(denoise, PROCESS, noise=torch.zeros_like)(x, when, when - 1)
            for denoise in (EXACT.denoise, guided)
        ]
        free = x.clone().requires_grad_()
        log_r = logits(free, when).log_softmax(-1)[:, 0]
        (gradient,) = torch.autograd.grad(log_r.sum(), free)
        assert_close((moved[1] - moved[0]) / beta, claim(beta / math.sqrt(1 - beta) * gradient) / beta, 1e-8)


@proves("eq-thermo-measured-step")
def measured_step() -> None:
    """Mean and variance of a Gaussian times a Gaussian measurement, by quadrature."""
    mean, variance, y, spread = 0.3, 0.2, 1.1, 0.5  # spread is the measurement's variance

    def weight(x: float) -> float:
        return math.exp(-((x - mean) ** 2) / (2 * variance) - (y - x) ** 2 / (2 * spread))

    total = quad(weight, -9, 9)[0]
    found = quad(lambda x: x * weight(x), -9, 9)[0] / total
    precision = claim(1 / variance + 1 / spread)
    assert_close(found, claim((mean / variance + y / spread) / (1 / variance + 1 / spread)), 1e-8)
    assert_close(total and quad(lambda x: (x - found) ** 2 * weight(x), -9, 9)[0] / total, 1 / precision, 1e-8)


@proves("eq-thermo-bits-product")
def bits_product() -> None:
    """A bit's probability times a function of it, by Bayes' rule; a delta function fixes the bit."""
    for p, r_0, r_1 in ((0.3, 0.5, 2.0), (0.8, 1.5, 0.25)):
        joint = np.array([(1 - p) * r_0, p * r_1])
        assert_close((joint / joint.sum())[1], claim(p * r_1 / (p * r_1 + (1 - p) * r_0)), 1e-12)


# --- the network, and the floor -------------------------------------------------------------------------------------------


@defines("eq-thermo-bumps", "eq-thermo-readout", "eq-thermo-multiscale")
def network() -> None:
    """The library's weights, its readout, and its layer, written out for random numbers."""
    J, centres = 5, torch.linspace(0, 1, 5)
    t = torch.tensor([0.1, 0.62])
    width = 1 / (2 * (J - 1))
    for row, time in enumerate(t.tolist()):
        heights = np.array([math.exp(-((time - j / (J - 1)) ** 2) / (2 * width**2)) for j in range(J)])
        assert_close(bump_weights(t, centres)[row], claim(heights / heights.sum(), "eq-thermo-bumps"), 1e-5)
    torch.manual_seed(0)
    net = MultiScale(channels=2, width=4, depth=1, scales=2, hidden=4, bumps=J, T=1.0)
    x = torch.randn(2, 2, 8, 8)
    h = torch.nn.functional.silu(net.layers[0](x))
    images = net.readout(h).unflatten(1, (2, J))
    weights = bump_weights(t, centres)
    for row in range(2):
        total = sum(claim(weights[row, j] * images[row, :, j], "eq-thermo-readout") for j in range(J))
        assert_close(net(x, t)[row].detach(), total.detach(), 1e-5)
    layer = MultiScaleConvolution(2, 3, 2)
    full, half = layer.scales[0](x), layer.scales[1](torch.nn.functional.avg_pool2d(x, 2))
    enlarged = half.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert_close(layer(x).detach(), claim(full + enlarged, "eq-thermo-multiscale").detach(), 1e-5)


@proves("eq-thermo-floor")
def floor() -> None:
    """A pixel with the sensor's noise: differential entropy by quadrature of -p log2 p, on the scale of 256 levels."""
    sigma = 0.05 * 127.5

    def density(x: float) -> float:
        return math.exp(-(x**2) / (2 * sigma**2)) / math.sqrt(2 * math.pi * sigma**2)

    value = quad(lambda x: -density(x) * math.log2(density(x)), -12 * sigma, 12 * sigma)[0]
    assert_close(value, claim(math.log2(2 * math.pi * math.e * sigma**2) / 2), 1e-7)


@proves("eq-thermo-null")
def null() -> None:
    """The mean log-density of a standard normal under itself, by quadrature."""

    def density(x: float) -> float:
        return math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)

    value = quad(lambda x: density(x) * math.log2(density(x)), -12, 12)[0]
    assert_close(value, claim(-math.log2(2 * math.pi * math.e) / 2), 1e-9)


def first_step(T: int, rate: float) -> float:
    """The entropy of the heartbeat's first step, in bits, from the library's process."""
    process = BinomialDiffusion(schedules.erasing(T), rate)
    changed = process.transition(heartbeats().double()[:1], torch.tensor(0), torch.tensor(1))
    return float(bernoulli_entropy(changed)) / math.log(2)


@answers("ex-thermo-edge")
def edge_of_the_heartbeat() -> None:
    """Both parts and their sum against the library's process, for both lengths of the chain."""
    assert_printed(0.8 / 2000, "0.0004")
    assert_printed(0.2 / 2000, "0.0001")
    assert_printed(0.8 / 100, "0.008")
    assert_printed(0.2 / 100, "0.002")
    assert_printed(math.log2(1 / 5) + 2.414, "0.092")
    ones, zeros = claim(4 * binary_entropy(0.0004)), claim(16 * binary_entropy(0.0001))
    assert_printed(ones, "0.020")
    assert_printed(zeros, "0.024")
    assert_close(first_step(2000, 0.2), ones + zeros, 1e-9)
    assert_printed(first_step(2000, 0.2), "0.044")
    assert_printed(100 * first_step(2000, 0.2) / (math.log2(1 / 5) + 2.414), "48")
    assert_close(first_step(100, 0.2), claim(4 * binary_entropy(0.008) + 16 * binary_entropy(0.002)), 1e-9)
    assert_printed(first_step(100, 0.2), "0.602")


@answers("ex-thermo-half")
def other_equilibrium() -> None:
    """The null model's entropy and that of the first step, against the library's process."""
    rate = BinomialDiffusion(schedules.erasing(2000)).rate
    assert_printed(rate, "0.5")
    assert_printed(rate / 2000, "0.00025")
    assert_close(20 * binary_entropy(rate), 20)
    assert_close(first_step(2000, rate), claim(20 * binary_entropy(0.00025)), 1e-9)
    assert_printed(first_step(2000, rate), "0.067")
    assert_printed(first_step(2000, 0.2), "0.044")
