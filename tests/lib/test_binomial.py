"""Binomial diffusion: its steps against matrices and enumeration, its bound against exact likelihoods, its sampler against exact words."""

import itertools
import math

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from course_lib.data.bits import heartbeat, heartbeats, phases
from course_lib.diffusion.binomial import (
    BinomialDiffusion,
    bernoulli_entropy,
    bernoulli_kl,
    binomial_bound,
    bit_denoiser,
    drawn,
)
from course_lib.diffusion.schedules import TableSchedule, erasing, linear
from course_lib.sampling.steps import last, reverse, sample
from tests.lib.tensors import double

EXACT = {"rtol": 1e-11, "atol": 1e-12}
RATE = 0.3
PROCESS = BinomialDiffusion(linear(8, 0.05, 0.4), RATE)
PAIRS = [(0, 1), (1, 2), (2, 6), (5, 8)]  # s < t


def steps_between(s: int, t: int, rate: float = RATE, schedule: TableSchedule = PROCESS.schedule) -> torch.Tensor:
    """The probabilities [from, to] of the steps s + 1 .. t, one matrix after the other."""
    product = torch.eye(2, dtype=torch.float64)
    for k in range(s + 1, t + 1):
        beta = schedule.beta[k]
        product = product @ ((1 - beta) * torch.eye(2, dtype=torch.float64) + beta * double([[1 - rate, rate]] * 2))
    return product


def bit(value: float) -> torch.Tensor:
    return double([[value]])


@pytest.mark.parametrize(("s", "t"), PAIRS)
@pytest.mark.parametrize("x", [0, 1])
def test_a_jump_is_the_product_of_its_steps(s, t, x):
    jump = PROCESS.transition(bit(x), torch.tensor(s), torch.tensor(t))
    torch.testing.assert_close(jump[0, 0], steps_between(s, t)[x, 1], **EXACT)


@pytest.mark.parametrize(("s", "t"), PAIRS)
@pytest.mark.parametrize(("x_0", "x_t"), list(itertools.product((0, 1), (0, 1))))
def test_the_posterior_is_bayes_rule(s, t, x_0, x_t):
    joint = torch.stack([steps_between(0, s)[x_0, b] * steps_between(s, t)[b, x_t] for b in (0, 1)])
    found = PROCESS.posterior(bit(x_0), bit(x_t), torch.tensor(t), torch.tensor(s))
    torch.testing.assert_close(found[0, 0], joint[1] / joint.sum(), **EXACT)


def test_a_guess_of_the_data_is_averaged_over():
    x_t, t, s = double([[1.0, 0.0]]), torch.tensor(6), torch.tensor(2)
    ends = [PROCESS.posterior(torch.full_like(x_t, x), x_t, t, s) for x in (0.0, 1.0)]
    found = PROCESS.posterior(torch.full_like(x_t, 0.25), x_t, t, s)
    torch.testing.assert_close(found, 0.75 * ends[0] + 0.25 * ends[1], **EXACT)


def test_times_may_differ_by_sample():
    x, times = double([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([2, 5, 8])
    together = PROCESS.posterior(x, 1 - x, times, times - 1)
    alone = torch.cat([PROCESS.posterior(x[k : k + 1], 1 - x[k : k + 1], times[k], times[k] - 1) for k in range(3)])
    torch.testing.assert_close(together, alone, **EXACT)


def test_erasing_takes_the_same_share_of_the_data_at_each_step():
    schedule = erasing(7)
    torch.testing.assert_close(schedule.alpha_bar.diff(), torch.full((7,), -1 / 7, dtype=torch.float64), **EXACT)
    for t in range(1, 8):
        torch.testing.assert_close(schedule.beta[t], double(1 / (7 - t + 1)), **EXACT)


def test_draws_have_the_probabilities_they_are_given():
    generator, n = torch.Generator().manual_seed(0), 50_000
    ones = torch.ones(n, 1)
    error = 5 * 0.5 / n**0.5
    t, s = torch.tensor(6), torch.tensor(2)
    assert abs(PROCESS.prior((n, 1), generator).mean() - RATE) < error
    assert abs(PROCESS.forward(ones, t, generator).mean() - steps_between(0, 6)[1, 1]) < error
    back = PROCESS.backward(ones, PROCESS.forward(ones, t, generator), t, s, generator)
    assert set(back.unique().tolist()) == {0.0, 1.0}
    assert abs(back.mean() - steps_between(0, 2)[1, 1]) < error


def test_divergence_is_torchs_and_sums_over_the_bits():
    q, p = double([[0.2, 0.7, 0.5]]), double([[0.4, 0.9, 0.5]])
    torch.testing.assert_close(bernoulli_kl(q, p), kl_divergence(Bernoulli(q), Bernoulli(p)).sum(1), **EXACT)
    torch.testing.assert_close(bernoulli_entropy(p), Bernoulli(p).entropy().sum(1), **EXACT)


def test_divergence_has_finite_gradients_where_the_data_are_certain():
    """xlogy(q, q / p) does not: 0 times infinity at q = 0."""
    q = double([[0.0, 1.0, 0.0, 1.0]])
    p = double([[0.3, 0.6, 0.0, 1.0]]).requires_grad_()
    bernoulli_kl(q, p).sum().backward()
    assert p.grad is not None and bool(p.grad.isfinite().all())
    torch.testing.assert_close(p.grad[0, :2], double([1 / 0.7, -1 / 0.6]), **EXACT)
    naive = double([[0.3]]).requires_grad_()
    torch.special.xlogy(double([[0.0]]), double([[0.0]]) / naive).sum().backward()
    assert naive.grad is not None and bool(naive.grad.isnan().all())


def test_the_last_step_back_costs_the_datas_negative_log_probability():
    x0, guess, x_1 = double([[1.0, 0.0]]), double([[0.8, 0.3]]), double([[0.0, 0.0]])
    cost = PROCESS.divergence(x0, guess, x_1, torch.tensor(1), torch.tensor(0))
    torch.testing.assert_close(cost, double([-math.log(0.8) - math.log(0.7)]), **EXACT)


WORDS = double([[1, 0, 0, 1], [0, 1, 0, 1], [1, 1, 1, 0]])
SHARES = double([0.5, 0.3, 0.2])


def exact_denoiser(process):
    """p(x_0 = 1 | x_t) of each bit, for data that are the words above, by Bayes' rule."""

    def denoise(x_t, t):
        p = process.transition(WORDS.to(x_t), torch.tensor(0), torch.as_tensor(t))
        log_joint = torch.where(x_t[:, None] == 1, p, 1 - p).clamp(min=1e-300).log().sum(-1) + SHARES.log().to(x_t)
        return log_joint.softmax(-1) @ WORDS.to(x_t)

    return denoise


def test_the_bound_is_that_of_the_chain_of_all_words():
    """Four steps on four bits: the bound's mean against every word at every time, and log p(x_0) below it."""
    process = BinomialDiffusion(erasing(4), RATE)
    denoise, generator, n = exact_denoiser(process), torch.Generator().manual_seed(0), 40_000
    every = double(list(itertools.product((0.0, 1.0), repeat=4)))  # (16, 4)
    x0 = WORDS[:1]
    written = torch.zeros((), dtype=torch.float64)
    state = torch.where(every == 1, RATE, 1 - RATE).double().prod(1)  # p(x_4)
    for t in (4, 3, 2, 1):
        jump = process.transition(x0, torch.tensor(0), torch.tensor(t))
        weight = torch.where(every == 1, jump, 1 - jump).prod(1)  # q(x_t | x_0)
        guess = denoise(every, torch.tensor(t))
        cost = process.divergence(x0.expand(16, 4), guess, every, torch.tensor(t), torch.tensor(t - 1))
        written = written + weight @ cost
        back = process.posterior(guess, every, torch.tensor(t), torch.tensor(t - 1))
        step = torch.where(every[None] == 1, back[:, None], 1 - back[:, None]).prod(-1)  # [x_t, x_{t-1}]
        state = state @ step
    bound = binomial_bound(denoise, x0.expand(n, 4), process, generator)
    assert bound.steps.shape == (3, n)
    assert abs(bound.total.mean() - written) < 5 * bound.total.std() / n**0.5
    likelihood = state[(every == x0).all(1)].log()
    assert written > -likelihood[0] and written < -likelihood[0] + 0.5
    torch.testing.assert_close(bound.prior, torch.zeros(n, dtype=torch.float64), **EXACT)  # nothing is left at T


def test_more_steps_make_the_bound_tighter_down_to_the_entropy():
    generator, n = torch.Generator().manual_seed(0), 4000
    x0 = WORDS[torch.multinomial(SHARES, n, replacement=True, generator=generator)]
    entropy = -(SHARES @ SHARES.log())
    gaps = []
    for T in (10, 40, 160):
        process = BinomialDiffusion(erasing(T), RATE)
        total = binomial_bound(exact_denoiser(process), x0, process, generator).total
        gaps.append(float(total.mean() - entropy))
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0 and gaps[2] < 0.05


def test_what_is_left_at_the_last_time_is_the_priors_cost():
    process = BinomialDiffusion(TableSchedule(double([1.0, 0.6, 0.25])), 0.5)
    bound = binomial_bound(lambda x, t: torch.full_like(x, 0.5), double([[1.0, 0.0]]), process)
    q = 0.25 + 0.75 * 0.5
    torch.testing.assert_close(bound.prior, double([2 * (q * math.log(q / 0.5) + (1 - q) * math.log((1 - q) / 0.5))]))


def test_the_sampler_of_every_process_draws_the_words():
    process = BinomialDiffusion(erasing(200), RATE)
    generator, n = torch.Generator().manual_seed(0), 4000
    step = reverse(exact_denoiser(process), process, generator)
    x = last(sample(step, process.prior((n, 4), generator).double(), process.schedule.grid()))
    known = (x[:, None] == WORDS).all(-1).double().mean(0)
    assert known.sum() > 0.97
    assert ((known - SHARES).abs() < 5 * (SHARES * (1 - SHARES) / n).sqrt() + 0.02).all()


def test_a_networks_answer_is_the_log_odds():
    network = lambda x, t, cond: 2.0 * x + t[:, None]  # noqa: E731
    found = bit_denoiser(network)(double([[1.0, 0.0]]), double(3.0))
    torch.testing.assert_close(found, 1 / (1 + (-double([[5.0, 3.0]])).exp()), **EXACT)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.2])
def test_a_rate_that_is_no_chance_is_refused(rate):
    with pytest.raises(ValueError, match="rate must lie strictly between 0 and 1"):
        BinomialDiffusion(erasing(3), rate)


def test_steps_in_the_wrong_direction_are_refused():
    with pytest.raises(ValueError, match="s must be earlier than t"):
        PROCESS.posterior(bit(1), bit(1), torch.tensor(2), torch.tensor(5))


def test_draws_follow_each_entry():
    p = double([[0.0, 1.0, 0.5]]).expand(20_000, 3)
    means = drawn(p, torch.Generator().manual_seed(0)).mean(0)
    assert means[0] == 0 and means[1] == 1 and abs(means[2] - 0.5) < 0.02


def test_heartbeats_beat_once_a_period_wherever_they_start():
    five = heartbeats()
    assert five.shape == (5, 20) and torch.equal(five.sum(1), torch.full((5,), 4.0))
    assert torch.equal(five.sum(0), torch.ones(20))
    assert [int(row.argmax()) for row in five] == [0, 1, 2, 3, 4]
    assert all(torch.equal(row[:-5], row[5:]) for row in five)
    drawn_ones = heartbeat(5000, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(phases(drawn_ones), minlength=5) / 5000
    assert ((shares - 0.2).abs() < 5 * (0.16 / 5000) ** 0.5).all()


def test_a_sequence_with_one_wrong_bit_has_no_phase():
    five = heartbeats()
    broken = five.clone()
    broken[2, 7] = 1 - broken[2, 7]
    assert phases(torch.cat([five, broken])).tolist() == [0, 1, 2, 3, 4, 0, 1, -1, 3, 4]


@pytest.mark.parametrize(("length", "period"), [(20, 6), (4, 5), (10, 0)])
def test_lengths_that_hold_no_whole_periods_are_refused(length, period):
    with pytest.raises(ValueError, match="length must be a multiple of period"):
        heartbeats(length, period)
