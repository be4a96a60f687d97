"""Checks of chapter 19's equations: small languages whose every sequence, subset, order and path is gone through, in float64."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.integrate import quad

from course_lib.diffusion import schedules
from course_lib.diffusion.binomial import BinomialDiffusion
from course_lib.diffusion.discrete import SymbolDiffusion, straight, symbol_bound
from course_lib.diffusion.enumerated import ExactSymbols, all_sequences, three_words
from course_lib.diffusion.masked import absorbing, hidden_loss
from course_lib.nets.symbols import SymbolTransformer, next_losses
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, proves
from course_lib.sampling.steps import last, sample
from course_lib.sampling.unmasking import likeliest_draw, uncover

K, N = 3, 4
LANGUAGE = three_words(0.15)
MASKED = absorbing(straight, K)
Places = tuple[int, ...]


def double(value: float) -> torch.Tensor:
    """A number as the library takes it."""
    return torch.tensor(value, dtype=torch.float64)


def joint() -> np.ndarray:
    """The language's probabilities, (K,) * N."""
    return LANGUAGE.joint.numpy()


def marginal(places: Sequence[int]) -> np.ndarray:
    """The probabilities of the letters at some places, with an axis of length 1 for each other place."""
    return joint().sum(tuple(place for place in range(N) if place not in places), keepdims=True)


def entropy(places: Sequence[int]) -> float:
    """Of the letters at some places together, in nats."""
    p = marginal(places)
    return -float((p * np.log(p)).sum())


def conditional(place: int, seen: Sequence[int]) -> np.ndarray:
    """q(x^place | x^seen), an array that broadcasts over sequences."""
    return marginal((*seen, place)) / marginal(seen)


def subsets(size: int) -> list[Places]:
    """All sets of as many places."""
    return list(itertools.combinations(range(N), size))


def guesses(seed: int = 0) -> Callable[[int, Sequence[int]], np.ndarray]:
    """A model that is no distribution's: for each place and each set of seen places random probabilities given the letters there."""

    @functools.cache
    def table(place: int, seen: Places) -> np.ndarray:
        rng = np.random.default_rng([seed, place, *seen, 99])
        shape = [K if axis in seen or axis == place else 1 for axis in range(N)]
        p = rng.uniform(0.2, 1, shape)
        return p / p.sum(place, keepdims=True)

    return lambda place, seen: table(place, tuple(sorted(seen)))


def hidden_cost(model: Callable[[int, Sequence[int]], np.ndarray], hidden: Sequence[int]) -> np.ndarray:
    """The sum of -log p(x^i | x^seen) over the hidden places, for every sequence."""
    seen = [place for place in range(N) if place not in hidden]
    return sum((-np.log(model(place, seen)) for place in hidden), np.zeros([K] * N))


def expected_cost(model: Callable[[int, Sequence[int]], np.ndarray], share: float) -> np.ndarray:
    """The mean of `hidden_cost` where each place is hidden by itself with a probability, for every sequence."""
    every = [hidden for size in range(N + 1) for hidden in subsets(size)]
    weights = [share ** len(hidden) * (1 - share) ** (N - len(hidden)) for hidden in every]
    return sum(weight * hidden_cost(model, hidden) for weight, hidden in zip(weights, every, strict=True))  # type: ignore[return-value]


def orders() -> list[Places]:
    """All orders of the places."""
    return list(itertools.permutations(range(N)))


def in_order(model: Callable[[int, Sequence[int]], np.ndarray], order: Places) -> np.ndarray:
    """-log of the probability of every sequence whose letters are drawn one by one in an order."""
    return sum(-np.log(model(place, order[:k])) for k, place in enumerate(order))  # type: ignore[return-value]


# --- matrices ---------------------------------------------------------------------------------------------------------


@functools.cache
def steps_of_a_chain(symbols: int = 4, steps: int = 3) -> tuple[np.ndarray, ...]:
    """Random transition matrices, which do not commute."""
    rng = np.random.default_rng(0)
    return tuple(rng.dirichlet(np.full(symbols, 0.8), size=symbols) for _ in range(steps))


@defines("eq-disc-matrix", "eq-disc-model", "eq-disc-group", "eq-disc-bits")
def names() -> None:
    """These introduce the matrix of a step, the model's step back, drawing in groups, and the scale of bits."""


@proves("eq-disc-product", "eq-disc-posterior")
def chain() -> None:
    """The product of matrices and Bayes' rule against the probabilities of all paths of three steps."""
    first, second, third = steps_of_a_chain()
    paths = np.einsum("ia,ab,bj->iabj", first, second, third)
    assert_close(claim(first @ second @ third, "eq-disc-product"), paths.sum((1, 2)))
    start, on, all_ = first, second @ third, first @ second @ third
    for i, k, j in itertools.product(range(4), repeat=3):
        expected = paths[i, k, :, j].sum() / paths[i, :, :, j].sum()
        assert_close(claim(start[i, k] * on[k, j] / all_[i, j], "eq-disc-posterior"), expected)


@proves("eq-disc-kernel")
def kernel() -> None:
    """The jump in one formula against the product of single steps, each of which draws a symbol afresh with a probability."""
    noise, betas = np.array([0.2, 0.5, 0.3]), (0.1, 0.35, 0.2, 0.6)
    steps = [(1 - b) * np.eye(3) + b * np.tile(noise, (3, 1)) for b in betas]
    alpha = np.cumprod([1 - b for b in (0.0, *betas)])
    for s, t in ((0, 1), (0, 4), (1, 3), (2, 4)):
        product = functools.reduce(np.matmul, steps[s:t])
        kept = alpha[t] / alpha[s]
        assert_close(claim(kept * np.eye(3) + (1 - kept) * noise[None, :]), product)
        library = SymbolDiffusion(lambda k: torch.tensor(alpha)[k.long()], torch.tensor(noise))
        assert_close(library.matrix(torch.tensor(s), torch.tensor(t)), product)


@proves("eq-disc-interpolated")
def interpolated() -> None:
    """The posterior of the library's process against Bayes' rule with products of single steps."""
    noise, betas, s, t = np.array([0.2, 0.5, 0.3]), (0.1, 0.35, 0.2, 0.6), 2, 4
    steps = [(1 - b) * np.eye(3) + b * np.tile(noise, (3, 1)) for b in betas]
    alpha = np.cumprod([1 - b for b in (0.0, *betas)])
    before, after = (functools.reduce(np.matmul, part) for part in (steps[:s], steps[s:]))
    kept = alpha[t] / alpha[s]
    for v, k, j in itertools.product(range(3), repeat=3):
        by_bayes = before[v, k] * after[k, j] / (before @ after)[v, j]
        same_t, same_0, all_ = float(k == j), float(k == v), float(v == j)
        found = claim(
            (kept * same_t + (1 - kept) * noise[j])
            * (alpha[s] * same_0 + (1 - alpha[s]) * noise[k])
            / (alpha[t] * all_ + (1 - alpha[t]) * noise[j])
        )
        assert_close(found, by_bayes)


@functools.cache
def small_world() -> tuple[ExactSymbols, SymbolDiffusion, torch.Tensor, torch.Tensor]:
    """Two letters of two kinds, a process with a skewed noise that leaves something of the data at the end, times, and a wrong guess."""
    rng = torch.Generator().manual_seed(3)
    words = ExactSymbols(torch.tensor([[0.5, 0.1], [0.15, 0.25]], dtype=torch.float64))
    process = SymbolDiffusion(lambda t: 1 - 0.9 * t, torch.tensor([0.3, 0.7], dtype=torch.float64))
    guess = torch.rand(3, 4, 2, 2, generator=rng, dtype=torch.float64) + 0.2  # by time, state, place, letter
    return words, process, torch.tensor([1.0, 0.6, 0.25, 0.0], dtype=torch.float64), guess / guess.sum(-1, keepdim=True)


@proves("eq-disc-bound")
def bound() -> None:
    """Every path of a small chain: the bound is -log p(x_0) plus the divergence of the true path from the model's, given the data."""
    _, process, times, guess = small_world()
    every = all_sequences(2, 2)

    def jump(p: torch.Tensor) -> np.ndarray:
        """The probabilities (4, 4) of states from those of single letters (4, 2, 2)."""
        return torch.stack([p[:, 0, x[0]] * p[:, 1, x[1]] for x in every], 1).numpy()

    back = [jump(process.posterior(guess[k], every, times[k], times[k + 1])) for k in range(3)]
    prior = np.array([float(process.noise[x].prod()) for x in every])
    for x0 in range(4):
        data = every[x0 : x0 + 1].expand(4, 2)
        start = jump(process.transition(data, double(0.0), times[0]))[0]  # q(x_T | x_0)
        true = [jump(process.posterior(data, every, times[k], times[k + 1])) for k in range(3)]
        likelihood = float((prior @ back[0] @ back[1] @ back[2])[x0])
        path_q = start[:, None, None] * true[0][:, :, None] * true[1][None]
        path_p = prior[:, None, None] * back[0][:, :, None] * back[1][None] * back[2][:, x0]
        gap = float((path_q * np.log(path_q / (path_p / likelihood))).sum())
        at = [start, start @ true[0], start @ true[0] @ true[1]]  # q(x_t | x_0) at the three times
        first = float((start * np.log(start / prior)).sum())
        costs = [float((at[k] * (true[k] * np.log(true[k] / back[k])).sum(1)).sum()) for k in range(2)]
        last_cost = -float(at[2] @ np.log(back[2][:, x0]))
        assert_close(claim(first + costs[0] + costs[1] + last_cost), -math.log(likelihood) + gap, 1e-10)
        assert gap > 0
        draws = symbol_bound(
            lambda x, t: guess[int((times == t).nonzero())][x @ torch.tensor([2, 1])],
            every[x0 : x0 + 1].expand(4000, 2),
            process,
            times,
            torch.Generator().manual_seed(0),
        )
        assert abs(float(draws.total.mean()) + math.log(likelihood) - gap) < 0.05


# --- the mask -----------------------------------------------------------------------------------------------------------


@proves("eq-disc-mask-posterior", "eq-disc-mask-kl")
def mask() -> None:
    """The library's posterior, by Bayes' rule, for what is hidden and for what is seen, and its divergence."""
    s, t, hidden = double(0.35), double(0.8), torch.tensor([[K]])
    a_s, a_t = 0.65, 0.2
    guess = torch.tensor([[[0.2, 0.5, 0.3, 0.0]]], dtype=torch.float64)
    for v in range(K):
        found = MASKED.posterior(torch.tensor([[v]]), hidden, t, s)[0, 0].numpy()
        expected = np.zeros(K + 1)
        expected[v] = claim((a_s - a_t) / (1 - a_t), "eq-disc-mask-posterior")
        expected[K] = claim((1 - a_s) / (1 - a_t), "eq-disc-mask-posterior")
        assert_close(found, expected)
        cost = MASKED.divergence(torch.tensor([[v]]), guess, hidden, t, s)
        assert_close(cost, claim((a_s - a_t) / (1 - a_t) * -math.log(guess[0, 0, v]), "eq-disc-mask-kl"))
        seen = torch.tensor([[v]])
        assert_close(MASKED.divergence(seen, seen.new_tensor([[0, 1, 2, 3]]).eq(v)[:, None].double(), seen, t, s), 0.0)


def steps_of(count: int) -> Iterator[tuple[float, float]]:
    """alpha at the end and at the beginning of each of even steps back, of a curved keep."""
    alpha = [math.cos(math.pi / 2 * k / count) for k in range(count + 1)]  # 1 at the data, 0 at the mask
    yield from itertools.pairwise(alpha)


@proves("eq-disc-steps")
def in_steps() -> None:
    """The sum over steps against the library's bound, term by term, over all states, for a model of random guesses."""
    model, data = guesses(), (0, 2, 1, 1)
    process, total = absorbing(lambda t: torch.cos(torch.pi / 2 * t), K), 0.0
    times = torch.linspace(0, 1, 4, dtype=torch.float64)
    x0 = torch.tensor([data])
    for s, t in itertools.pairwise(times):
        for hidden in (places for size in range(N + 1) for places in subsets(size)):
            x_t = x0.clone()
            x_t[0, list(hidden)] = K
            share = 1 - math.cos(math.pi / 2 * float(t))
            weight = share ** len(hidden) * (1 - share) ** (N - len(hidden))
            guess = torch.nn.functional.one_hot(x_t, K + 1).double()
            seen = [place for place in range(N) if place not in hidden]
            for place in hidden:
                p = np.broadcast_to(model(place, seen), [K] * N)
                index = tuple(slice(None) if axis == place else data[axis] for axis in range(N))
                guess[0, place] = torch.tensor([*p[index], 0.0])
            total += weight * float(process.divergence(x0, guess, x_t, t, s))
    found = sum(
        claim((a_s - a_t) / (1 - a_t) * expected_cost(model, 1 - a_t)[data], "eq-disc-steps")
        for a_s, a_t in steps_of(3)
    )
    assert_close(found, total, 1e-10)


def integral(of: Callable[[float], float]) -> float:
    """From 0 to 1, by Gauss's rule of 24 nodes, for a smooth function."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    return sum(w / 2 * of((x + 1) / 2) for x, w in zip(nodes.tolist(), weights.tolist(), strict=True))


@functools.cache
def limit_of_steps() -> float:
    """The sum over ever more steps for one sequence, with two orders of its error taken out."""

    def summed(count: int) -> float:
        return sum(
            (a_s - a_t) / (1 - a_t) * float(expected_cost(guesses(), 1 - a_t)[0, 2, 1, 1])
            for a_s, a_t in steps_of(count)
        )

    return (8 * summed(1024) - 6 * summed(512) + summed(256)) / 3


@proves("eq-disc-continuous", "eq-disc-share")
def in_continuous_time() -> None:
    """The integral, for a curved keep and in the share that is hidden, against the limit of the sum over ever more steps."""
    model, data, limit = guesses(), (0, 2, 1, 1), limit_of_steps()

    def integrand(t: float) -> float:
        alpha, slope = math.cos(math.pi / 2 * t), -math.pi / 2 * math.sin(math.pi / 2 * t)
        return claim(-slope / (1 - alpha) * float(expected_cost(model, 1 - alpha)[data]), "eq-disc-continuous")

    assert_close(integral(integrand), limit, 1e-6)
    by_share = integral(lambda u: claim(1 / u * float(expected_cost(model, u)[data]), "eq-disc-share"))
    assert_close(by_share, limit, 1e-6)


@proves("eq-disc-beta")
def beta_integral() -> None:
    """By quadrature for several lengths and counts."""
    for length, m in ((4, 1), (4, 3), (7, 2), (7, 7)):
        value = quad(lambda u, n=length, m=m: math.comb(n, m) * u**m * (1 - u) ** (n - m) / u, 0, 1)[0]
        assert_close(value, claim(1 / m), 1e-9)


def in_the_share(model: Callable[[int, Sequence[int]], np.ndarray]) -> np.ndarray:
    """The bound of every sequence by Gauss-Legendre quadrature in the hidden share: exact, since the integrand is a polynomial."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    return sum(w / 2 * expected_cost(model, (x + 1) / 2) / ((x + 1) / 2) for x, w in zip(nodes, weights, strict=True))  # type: ignore[return-value]


@proves("eq-disc-counts", "eq-disc-orders", "eq-disc-jensen")
def counts_and_orders() -> None:
    """Means over all subsets and over all orders against the integral, for a model of random guesses; the library's loss is one term."""
    model = guesses()
    integral, total = in_the_share(model), np.zeros([K] * N)
    for m in range(1, N + 1):
        for hidden in subsets(m):
            total += claim(N / m * hidden_cost(model, hidden) / N / math.comb(N, m), "eq-disc-counts")
    assert_close(total, integral, 1e-10)
    walked = [in_order(model, order) for order in orders()]
    assert_close(sum(claim(walk / math.factorial(N), "eq-disc-orders") for walk in walked), integral, 1e-10)
    mixed = claim(-np.log(sum(np.exp(-walk) for walk in walked) / len(walked)), "eq-disc-jensen")
    one_by_one = np.zeros([K] * N)  # what random orders draw, place by place, as a sampler goes

    def draw(seen: Places, probability: np.ndarray) -> None:
        left = [place for place in range(N) if place not in seen]
        if not left:
            one_by_one[...] += probability
        for place in left:
            draw((*seen, place), probability / len(left) * model(place, seen))

    draw((), np.ones([1] * N))
    assert_close(mixed, -np.log(one_by_one), 1e-10)
    assert (integral > mixed).all() and abs(one_by_one.sum() - 1) < 1e-12
    x0, x_t = torch.tensor([[0, 2, 1, 1]]), torch.tensor([[0, K, 1, K]])
    logits = torch.zeros(1, N, K, dtype=torch.float64)
    for place in (1, 3):
        logits[0, place] = torch.tensor(
            np.log(model(place, (0, 2)))[0, :, 1, 0] if place == 1 else np.log(model(place, (0, 2)))[0, 0, 1, :]
        )
    assert_close(hidden_loss(lambda x: logits, x0, x_t, K), N / 2 * hidden_cost(model, (1, 3))[0, 2, 1, 1], 1e-6)


@proves("eq-disc-agnostic")
def without_time() -> None:
    """The exact denoiser by Bayes' rule over all sequences, at several times, against the conditional of the seen letters."""
    denoise, p = LANGUAGE.denoiser(MASKED), joint()
    x_t = torch.tensor([[2, K, 0, K]])
    for t in (0.1, 0.5, 0.9):
        found = denoise(x_t, double(t))[0, 1, :K]
        assert_close(found, claim(p[2, :, 0, :].sum(1) / p[2, :, 0, :].sum()))


@proves("eq-disc-tight")
def tight() -> None:
    """The mean bound with exact conditionals, by quadrature in the hidden share, against the entropy of the whole."""
    bound_of = in_the_share(conditional)
    p = joint()
    assert_close(float((p * bound_of).sum()), claim(-float((p * np.log(p)).sum())), 1e-10)
    assert_close(entropy(range(N)), LANGUAGE.entropy())
    assert_close(bound_of, -np.log(joint()), 1e-10)  # and for each sequence by itself


# --- many at once -----------------------------------------------------------------------------------------------------


def total_correlation(group: Sequence[int], seen: Sequence[int]) -> float:
    """How much the sum of single entropies, given what is seen, exceeds the entropy of the group."""
    given = entropy(seen) if seen else 0.0
    alone = [entropy((*seen, place)) - given for place in group]
    together = entropy((*seen, *group)) - given
    return claim(sum(alone) - together, "eq-disc-correlation")


def drawn_in_groups(groups: Sequence[Places]) -> np.ndarray:
    """The distribution of sequences whose groups are drawn one after the other, the places of each independently."""
    found, seen = np.ones([1] * N), ()
    for group in groups:
        for place in group:
            found = found * conditional(place, seen)
        seen = (*seen, *group)
    return found


def kl(p: np.ndarray, q: np.ndarray) -> float:
    """In nats."""
    return float((p * np.log(p / q)).sum())


@proves("eq-disc-correlation", "eq-disc-parallel")
def parallel() -> None:
    """For several groupings: the divergence of what is drawn, and the information that a group's places have of each other."""
    for groups in (((0, 1, 2, 3),), ((0, 2), (1, 3)), ((3,), (0, 1, 2)), ((1,), (0, 3), (2,))):
        error, seen, total = kl(joint(), drawn_in_groups(groups)), (), 0.0
        for group in groups:
            total = claim(total + total_correlation(group, seen), "eq-disc-parallel")
            seen = (*seen, *group)
        assert_close(total, error, 1e-10)
    pair = marginal((0, 1))
    information = float((pair * np.log(pair / (marginal((0,)) * marginal((1,))))).sum())
    assert_close(total_correlation((0, 1), ()), information, 1e-12)


@proves("eq-disc-gap")
def gap() -> None:
    """The bound in n steps with exact guesses, above the entropy, against the mean over all ways to fall into groups; and the sampler."""
    alpha = (1.0, 0.7, 0.3, 0.0)
    chances = [a - b for a, b in itertools.pairwise(alpha)]  # to be uncovered in the last step back, ..., in the first
    mean_error, mixed = 0.0, np.zeros([K] * N)
    for when in itertools.product(range(3), repeat=N):
        weight = math.prod(chances[step] for step in when)
        groups = [tuple(place for place in range(N) if when[place] == step) for step in (2, 1, 0)]
        seen, cost = (), 0.0
        for group in groups:
            cost += total_correlation(group, seen) if group else 0.0
            seen = (*seen, *group)
        mean_error += claim(weight * cost, "eq-disc-gap")
        mixed += weight * drawn_in_groups(groups)
    in_n = sum(
        (a - b) / (1 - b) * float((joint() * expected_cost(conditional, 1 - b)).sum())
        for a, b in itertools.pairwise(alpha)
    )
    assert_close(mean_error, in_n - entropy(range(N)), 1e-10)
    times = torch.tensor([1.0, 0.7, 0.3, 0.0], dtype=torch.float64)
    drawn = LANGUAGE.drawn_by(LANGUAGE.denoiser(MASKED), MASKED, times)
    assert_close(drawn[:K, :K, :K, :K], mixed, 1e-10)
    assert 0 < LANGUAGE.divergence(drawn) <= mean_error


@proves("eq-disc-maskgit")
def keeping_the_likeliest() -> None:
    """Two independent bits, all draws gone through; the library's sampler agrees within its noise."""
    for p in (0.6, 0.8, 0.95):
        both = 0.0
        for draw in itertools.product((0, 1), repeat=2):
            chance = math.prod(p if bit else 1 - p for bit in draw)
            kept = max(draw)  # the likeliest of the two draws: a one, where there is one
            both += chance * (p if kept == 1 else 0.0)  # and the other place is drawn again
        assert_close(both, claim(p**2 * (2 - p)))
    n, p = 20_000, 0.8

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        odds = torch.tensor([1 - p, p, 0.0], dtype=torch.float64)
        return torch.where((x == 2)[..., None], odds, torch.nn.functional.one_hot(x, 3).double())

    step = uncover(denoise, straight, 2, likeliest_draw, torch.Generator().manual_seed(0))
    x = last(sample(step, torch.full((n, 2), 2), torch.linspace(1, 0, 3, dtype=torch.float64)))
    assert abs(float((x.sum(1) == 2).double().mean()) - p**2 * (2 - p)) < 5 * 0.5 / math.sqrt(n)


# --- continuous time --------------------------------------------------------------------------------------------------


@proves("eq-disc-rates")
def forward_rates() -> None:
    """A short step of the library's matrix, for a curved keep."""
    noise, h, t = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), 1e-6, 0.4
    process = SymbolDiffusion(lambda u: torch.cos(torch.pi / 2 * u), noise)
    step = process.matrix(double(t), double(t + h)).numpy()
    alpha, slope = math.cos(math.pi / 2 * t), -math.pi / 2 * math.sin(math.pi / 2 * t)
    rate = claim(-slope / alpha * (noise.numpy()[None, :] - np.eye(3)))
    assert_close((step - np.eye(3)) / h, rate, 1e-4)


@proves("eq-disc-reverse")
def reverse_rates() -> None:
    """Bayes' rule over a short time for a chain of four states, and the library's rates for sequences."""
    rng, h = np.random.default_rng(1), 1e-7
    R = rng.uniform(0.2, 1.5, (4, 4))
    R -= np.diag(R.sum(1))
    q = rng.dirichlet(np.full(4, 2.0))
    step = np.eye(4) + h * R + h**2 / 2 * R @ R
    later = q @ step
    for x, y in itertools.permutations(range(4), 2):
        back = q[y] * step[y, x] / later[x]  # from x at t + h to y at t
        assert_close(back / h, claim(R[y, x] * q[y] / q[x]), 1e-5)


@proves("eq-disc-mask-rate")
def rates_of_the_mask() -> None:
    """The library's reverse rates, ratios of marginals over all sequences, against the denoiser's conditional."""
    p = joint()
    for t in (0.2, 0.7):
        keep = lambda u: torch.cos(torch.pi / 2 * u)  # noqa: E731
        process = absorbing(keep, K)
        alpha, slope = math.cos(math.pi / 2 * t), -math.pi / 2 * math.sin(math.pi / 2 * t)
        x_t = torch.tensor([[2, K, 0, K]])
        rates = LANGUAGE.reverse_rates(x_t, double(t), process, double(-slope / alpha))
        conditional_ = p[2, :, 0, :].sum(1) / p[2, :, 0, :].sum()
        assert_close(rates[0, 1, :K], claim(-slope / (1 - alpha) * conditional_), 1e-10)
        assert_close(rates[0, 0], 0.0)


@proves("eq-disc-score-entropy")
def score_entropy() -> None:
    """The excess over the least value is the Bregman divergence of x log x, computed by quadrature of its second derivative."""
    for s, r in ((0.4, 1.3), (2.5, 0.7), (1.1, 1.1)):
        bregman = quad(lambda u, r=r: (r - u) / u, s, r)[0]
        assert_close(claim(s - r * math.log(s) + r * (math.log(r) - 1)), bregman, 1e-9)


@proves("eq-disc-denoising")
def denoising_score_entropy() -> None:
    """Unknown ratios against those given the data, over all sequences and states, for random scores of a uniform process."""
    process = SymbolDiffusion(straight, torch.full((K,), 1 / K, dtype=torch.float64))
    t, every = double(0.6), all_sequences(K, N)
    marginal_t, given = LANGUAGE.marginal(every, t, process).numpy(), LANGUAGE.given_data(every, t, process).numpy()
    data, index = joint().flatten(), {tuple(x): n for n, x in enumerate(every.tolist())}
    logs, unknown, known = np.random.default_rng(0).normal(size=(K**N, N, K)), 0.0, 0.0
    for n, x in enumerate(every.tolist()):
        for place, symbol in itertools.product(range(N), range(K)):
            y = index[(*x[:place], symbol, *x[place + 1 :])]
            if y != n:
                unknown += marginal_t[n] * (marginal_t[y] / marginal_t[n]) * logs[n, place, symbol]
                known += float(claim((data * given[n] * (given[y] / given[n])).sum() * logs[n, place, symbol]))
    assert_close(known, unknown, 1e-10)


@proves("eq-disc-same")
def score_entropy_of_the_mask() -> None:
    """The score entropy, summed over the letters that a hidden place may become, against the weighted cross-entropy."""
    t, guess = 0.7, np.array([0.2, 0.5, 0.3])
    alpha, slope = math.cos(math.pi / 2 * t), -math.pi / 2 * math.sin(math.pi / 2 * t)
    for v in range(K):
        total = 0.0
        for symbol in range(K):
            s = alpha / (1 - alpha) * guess[symbol]
            r = alpha / (1 - alpha) * (symbol == v)
            total += -slope / alpha * (s - r * math.log(s) + (r * (math.log(r) - 1) if r else 0.0))
        assert_close(total, claim(-slope / (1 - alpha) * -math.log(guess[v])), 1e-10)


@proves("eq-disc-autoregressive")
def autoregressive() -> None:
    """The chain rule, for a network that looks back, over all sequences: its probabilities sum to 1."""
    torch.manual_seed(0)
    network = SymbolTransformer(K, (1, N), 8, 1, 2, backwards=True).double()
    every, logs = all_sequences(K, N), []
    losses = next_losses(network, every).detach().double()
    for x in every:
        total = 0.0
        for k in range(N):
            seen = torch.cat([torch.tensor([K]), x[:k]])[None]
            total = claim(total - float(network(seen)[0, k].detach().log_softmax(0)[x[k]]), "eq-disc-autoregressive")
        logs.append(total)
    assert_close(losses.sum(1), logs, 1e-6)
    assert_close(sum(math.exp(-total) for total in logs), 1.0, 1e-10)


# --- exercises --------------------------------------------------------------------------------------------------------


@answers("ex-disc-binomial")
def two_symbols() -> None:
    """The library's two processes agree."""
    schedule = schedules.linear(5, 0.1, 0.5)
    symbols, bits = (
        SymbolDiffusion(schedule.at, torch.tensor([0.7, 0.3], dtype=torch.float64)),
        BinomialDiffusion(schedule, 0.3),
    )
    one = torch.ones(1, 1, dtype=torch.float64)
    found = symbols.transition(one.long(), torch.tensor(1), torch.tensor(4))[0, 0, 1]
    assert_close(found, bits.transition(one, torch.tensor(1), torch.tensor(4)))
    alpha = schedule.alpha_bar
    assert_printed(bits.rate, "0.3")
    assert_printed(1 - bits.rate, "0.7")
    assert_close(found, claim(float(alpha[4] / alpha[1]) * 0.7 + 0.3), 1e-12)


@answers("ex-disc-pair")
def a_pair() -> None:
    """Two letters that are always equal: one step, two steps, and the bound of random steps."""
    pair = ExactSymbols(torch.eye(2, dtype=torch.float64) / 2)
    process = absorbing(straight, 2)
    one = pair.drawn_by(pair.denoiser(process), process, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert_close(pair.divergence(one), math.log(2))
    assert_printed(math.log(2), "0.693")
    for n in (2, 4):
        drawn = pair.drawn_by(pair.denoiser(process), process, torch.linspace(1, 0, n + 1, dtype=torch.float64))
        assert_close(drawn[0, 0] + drawn[1, 1], claim(1 - 1 / (2 * n)))
        assert_close(pair.divergence(drawn), -math.log(1 - 1 / (2 * n)))


@answers("ex-disc-kept")
def kept_words() -> None:
    """How often both bits are ones, right and with the likeliest draw kept, at p = 0.9."""
    p, right, kept = 0.9, 0.0, 0.0
    for first, second, again in itertools.product((0, 1), repeat=3):
        chance = math.prod(p if bit else 1 - p for bit in (first, second, again))
        right += chance * (first and again)  # the first place is kept, whatever was drawn
        kept += chance * (max(first, second) and again)
    assert_close(claim(p**2), right)
    assert_close(claim(p**2 * (2 - p)), kept)
    assert_printed(p, "0.9")
    assert_printed(right, "0.81")
    assert_printed(kept, "0.891")


@answers("ex-disc-schedule")
def schedules_of_few_steps() -> None:
    """What three schedules draw in four steps, and the share that the first step uncovers, by the library's posterior."""
    language = three_words(0.1)  # that of the page's figures
    times = torch.linspace(1, 0, 5, dtype=torch.float64)
    keeps = {
        "0.171": straight,
        "0.267": lambda t: torch.cos(torch.pi / 2 * t),
        "0.186": lambda t: 1 - torch.sin(torch.pi / 2 * t),
    }
    for printed, keep in keeps.items():
        process = absorbing(keep, K)
        assert_printed(language.divergence(language.drawn_by(language.denoiser(process), process, times)), printed)
    hidden, data = torch.tensor([[K]]), torch.tensor([[0]])
    uncovered = [
        float(absorbing(keep, K).posterior(data, hidden, times[0], times[1])[0, 0, 0]) for keep in keeps.values()
    ]
    assert_close(uncovered[1], claim(math.cos(math.pi / 2 * 0.75)), 1e-12)
    assert_close(uncovered[2], claim(1 - math.sin(math.pi / 2 * 0.75)), 1e-12)
    assert_printed(uncovered[1], "0.38")
    assert_printed(uncovered[2], "0.08")
