"""Diffusion of symbols against matrices, enumeration and Bayes' rule; the mask's bound, samplers and networks; text as symbols."""

import itertools
import math

import pytest
import torch

from course_lib.data import text
from course_lib.diffusion import binomial, schedules
from course_lib.diffusion.discrete import SymbolDiffusion, categorical_kl, chosen, straight, symbol_bound, uniform_noise
from course_lib.diffusion.enumerated import ExactSymbols, all_sequences, three_words
from course_lib.diffusion.masked import absorbing, any_order_bound, hidden_counts, hidden_loss, hide, restorer
from course_lib.nets.symbols import LookingBack, SymbolTransformer, next_losses
from course_lib.nets.transformers import TokenAttention
from course_lib.sampling import unmasking
from course_lib.sampling.steps import last, reverse, sample
from tests.lib.tensors import double

EXACT = {"rtol": 1e-10, "atol": 1e-12}
LANGUAGE = three_words(0.1)
SKEWED = SymbolDiffusion(straight, double([0.2, 0.5, 0.3]))
FLAT = SymbolDiffusion(straight, uniform_noise(3))
MASKED = absorbing(straight, 3)
PROCESSES = {"skewed": SKEWED, "uniform": FLAT, "masked": MASKED}
T, S = double(0.7), double(0.3)


def grid(steps):
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_two_jumps_are_one(process):
    middle = double(0.45)
    torch.testing.assert_close(process.matrix(S, middle) @ process.matrix(middle, T), process.matrix(S, T), **EXACT)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_the_posterior_is_bayes_rule(process):
    to_s, on, to_t = process.matrix(double(0.0), S), process.matrix(S, T), process.matrix(double(0.0), T)
    for v, k in itertools.product(range(3), range(process.symbols)):
        if to_t[v, k] > 0:
            found = process.posterior(torch.tensor([[v]]), torch.tensor([[k]]), T, S)[0, 0]
            torch.testing.assert_close(found, to_s[v] * on[:, k] / to_t[v, k], **EXACT)


def test_a_guess_is_averaged_over():
    guess, x_t = double([[[0.5, 0.1, 0.4]]]), torch.tensor([[1]])
    ends = [SKEWED.posterior(torch.tensor([[v]]), x_t, T, S) for v in range(3)]
    mean = sum(w * end for w, end in zip((0.5, 0.1, 0.4), ends, strict=True))
    torch.testing.assert_close(SKEWED.posterior(guess, x_t, T, S), mean, **EXACT)


def test_two_symbols_are_binomial_diffusion():
    schedule = schedules.linear(8, 0.05, 0.4)
    bits, symbols = binomial.BinomialDiffusion(schedule, 0.3), SymbolDiffusion(schedule.at, double([0.7, 0.3]))
    x0, x_t, t, s = double([[0.8, 0.1]]), double([[1.0, 0.0]]), torch.tensor(6), torch.tensor(2)
    guess = torch.stack([1 - x0, x0], -1)
    torch.testing.assert_close(
        symbols.posterior(guess, x_t.long(), t, s)[..., 1], bits.posterior(x0, x_t, t, s), **EXACT
    )
    data = double([[1.0, 1.0]])
    found = symbols.divergence(data.long(), guess, x_t.long(), t, s)
    torch.testing.assert_close(found, bits.divergence(data, x0, x_t, t, s), **EXACT)


def test_times_may_differ_by_sample():
    x, t = torch.tensor([[0, 1], [2, 2]]), double([0.4, 0.9])
    together = SKEWED.posterior(x, 2 - x, t, t / 2)
    alone = torch.cat([SKEWED.posterior(x[k : k + 1], 2 - x[k : k + 1], t[k], t[k] / 2) for k in range(2)])
    torch.testing.assert_close(together, alone, **EXACT)


def test_draws_have_the_probabilities_they_are_given():
    n, generator = 40_000, torch.Generator().manual_seed(0)
    p = double([0.5, 0.0, 0.2, 0.3])
    shares = torch.bincount(chosen(p.expand(n, -1), generator), minlength=4) / n
    assert shares[1] == 0 and (shares - p).abs().max() < 5 * 0.5 / n**0.5
    ones = torch.ones(n, 1, dtype=torch.long)
    for process in PROCESSES.values():
        x_t = process.forward(ones, T, generator)
        back = process.backward(ones, x_t, T, S, generator)
        for x, time in ((x_t, T), (back, S)):
            shares = torch.bincount(x[:, 0], minlength=process.symbols) / n
            assert (shares - process.matrix(double(0.0), time)[1]).abs().max() < 5 * 0.5 / n**0.5
        assert (
            process.prior((n, 1), generator)[:, 0].bincount(minlength=process.symbols) / n - process.noise
        ).abs().max() < 0.02


def test_rare_symbols_are_drawn_in_float64():
    """With float32 the sum of the likely one and anything below 6e-8 is the likely one."""
    p = torch.tensor([1.0, 1e-9])
    total = p.double().cumsum(-1)
    assert total[1] > total[0] and not p.cumsum(-1)[1] > p.cumsum(-1)[0]
    assert chosen(p.expand(3, -1), torch.Generator().manual_seed(0)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_many_small_steps_with_the_exact_denoiser_draw_the_data(process):
    denoise = LANGUAGE.denoiser(process)
    gaps = [LANGUAGE.divergence(LANGUAGE.drawn_by(denoise, process, grid(n))) for n in (4, 8, 64)]
    assert gaps[0] > 1.5 * gaps[1] > 6 * gaps[2] > 0 and gaps[2] < 0.05


def test_the_enumerated_sampler_is_the_sampler():
    n, times = 20_000, grid(3)
    denoise = LANGUAGE.denoiser(MASKED)
    x = last(sample(reverse(denoise, MASKED, torch.Generator().manual_seed(0)), MASKED.prior((n, 4)), times))
    exact = LANGUAGE.drawn_by(denoise, MASKED, times)
    assert exact.sum() == pytest.approx(1, abs=1e-12) and (exact[:3, :3, :3, :3].sum() == pytest.approx(1, abs=1e-12))
    seen = torch.zeros_like(exact)
    seen.index_put_(tuple(x.T), torch.ones(n, dtype=torch.float64) / n, accumulate=True)
    assert (seen - exact).abs().max() < 5 * 0.5 / n**0.5


def test_one_step_from_the_mask_is_the_product_of_the_marginals():
    joint = LANGUAGE.drawn_by(LANGUAGE.denoiser(MASKED), MASKED, grid(1))
    marginals = [LANGUAGE.joint.sum([a for a in range(4) if a != axis]) for axis in range(4)]
    expected = torch.einsum("a,b,c,d->abcd", *marginals)
    torch.testing.assert_close(joint[:3, :3, :3, :3], expected, **EXACT)


def test_the_exact_denoiser_of_the_mask_knows_no_time():
    x_t = torch.tensor([[0, 3, 3, 1], [3, 3, 2, 3]])
    found = LANGUAGE.denoiser(MASKED)(x_t, T)
    torch.testing.assert_close(LANGUAGE.denoiser(MASKED)(x_t, S), found, **EXACT)
    kept = LANGUAGE.joint[0, :, :, 1]
    torch.testing.assert_close(found[0, 1, :3], kept.sum(1) / kept.sum(), **EXACT)


@pytest.mark.parametrize("process", [FLAT, MASKED], ids=["uniform", "masked"])
def test_reverse_rates_undo_the_forward_flow(process):
    """The change of q_t by the forward rates, and by the reverse ones with the sign turned, against a finite difference."""
    t, h = double(0.5), 1e-5
    every = all_sequences(process.symbols, 4)
    here = LANGUAGE.marginal(every, t, process)
    change = (LANGUAGE.marginal(every, t + h, process) - LANGUAGE.marginal(every, t - h, process)) / (2 * h)
    reached = every[here > 0]
    rates = LANGUAGE.reverse_rates(reached, t, process, 1 / (1 - t))
    flow = torch.zeros([process.symbols] * 4, dtype=torch.float64)
    for x, weight, rate in zip(reached, here[here > 0], rates, strict=True):
        for place, symbol in itertools.product(range(4), range(process.symbols)):
            to = x.clone()
            to[place] = symbol
            flow[tuple(to)] -= weight * rate[place, symbol]
            flow[tuple(x)] += weight * rate[place, symbol]
    torch.testing.assert_close(flow.flatten(), change, rtol=1e-6, atol=1e-8)


def test_the_bound_is_above_and_exact_in_the_limit():
    n, generator = 3000, torch.Generator().manual_seed(0)
    x0, entropy = LANGUAGE.sample(n, generator), LANGUAGE.entropy()
    denoise = LANGUAGE.denoiser(MASKED)
    gaps = []
    for steps in (2, 32):
        bound = symbol_bound(denoise, x0, MASKED, grid(steps), generator)
        assert bound.steps.shape == (steps - 1, n) and float(bound.prior.abs().max()) < 1e-12
        gaps.append(float(bound.total.mean()) - entropy)
    assert gaps[0] > 0.3 > 0.15 > gaps[1]
    guess = lambda x: denoise(x, T)[..., :3].clamp(min=1e-300).log()  # noqa: E731
    assert abs(float(any_order_bound(guess, x0, 3, 4, generator).mean()) - entropy) < 0.1


def test_hidden_loss_is_the_weighted_cross_entropy_and_hides_as_many_as_asked():
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randint(0, 3, (6, 5), generator=generator)
    counts = hidden_counts(6, 5, generator)
    x_t = hide(x0, counts, 3, generator)
    assert torch.equal((x_t == 3).sum(1), counts) and torch.equal(x_t[x_t != 3], x0[x_t != 3])
    logits = torch.randn(6, 5, 3, generator=generator)
    found = hidden_loss(lambda x: logits, x0, x_t, 3)
    for row in range(6):
        hidden = [i for i in range(5) if x_t[row, i] == 3]
        expected = sum(-float(logits[row, i].log_softmax(-1)[x0[row, i]]) for i in hidden) * 5 / len(hidden)
        assert float(found[row]) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="at least one symbol"):
        hidden_loss(lambda x: logits, x0, x0, 3)


def test_counts_are_spread_evenly():
    counts = hidden_counts(12, 4, torch.Generator().manual_seed(1))
    assert torch.bincount(counts, minlength=5).tolist() == [0, 3, 3, 3, 3]


def test_every_place_is_hidden_as_often():
    x = torch.zeros(20_000, 4, dtype=torch.long)
    shares = (hide(x, torch.full((20_000,), 1), 1, torch.Generator().manual_seed(0)) == 1).double().mean(0)
    assert (shares - 0.25).abs().max() < 0.02


def test_what_is_seen_is_certain_and_the_mask_impossible():
    p = restorer(lambda x: torch.zeros(*x.shape, 3), 3)(torch.tensor([[2, 3]]), T)
    torch.testing.assert_close(p[0], double([[0, 0, 1, 0], [1 / 3, 1 / 3, 1 / 3, 0]]))


def drawn_one_by_one(order, n=20_000):
    denoise = LANGUAGE.denoiser(MASKED)
    step = unmasking.uncover(denoise, straight, 3, order, torch.Generator().manual_seed(0))
    x = last(sample(step, torch.full((n, 4), 3), grid(4)))
    assert int((x == 3).sum()) == 0
    seen = torch.zeros(3, 3, 3, 3, dtype=torch.float64)
    return seen.index_put_(tuple(x.T), torch.ones(n, dtype=torch.float64) / n, accumulate=True)


@pytest.mark.parametrize("order", [unmasking.at_random, unmasking.most_certain])
def test_an_order_that_does_not_see_the_draw_changes_nothing_one_by_one(order):
    assert (drawn_one_by_one(order) - LANGUAGE.joint).abs().max() < 5 * 0.5 / 20_000**0.5


def test_an_order_that_sees_the_draw_does():
    seen = drawn_one_by_one(unmasking.likeliest_draw)
    assert seen[0, 1, 2, 0] > LANGUAGE.joint[0, 1, 2, 0] + 0.05


def test_uncover_keeps_what_is_known_and_uncovers_as_many_as_asked():
    step = unmasking.uncover(LANGUAGE.denoiser(MASKED), straight, 3, generator=torch.Generator().manual_seed(0))
    x = step(torch.tensor([[0, 3, 3, 3]] * 50), double(0.75), double(0.5))
    assert bool((x[:, 0] == 0).all()) and torch.equal((x == 3).sum(1), torch.full((50,), 2))


def test_a_transformer_that_looks_back_sees_nothing_else():
    torch.manual_seed(0)
    network = SymbolTransformer(5, (1, 8), 16, 2, 2, backwards=True)
    x = torch.randint(0, 5, (1, 8))
    changed = x.clone()
    changed[0, 5] = (x[0, 5] + 1) % 5
    before, after = network(x), network(changed)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert bool((before[:, 5:] != after[:, 5:]).any())
    both = SymbolTransformer(5, (1, 8), 16, 2, 2)
    assert bool((both(x)[:, 0] != both(changed)[:, 0]).any())
    sizes = [sum(p.numel() for p in net.parameters()) for net in (network, both)]
    assert sizes[0] == sizes[1]


def test_attention_that_looks_back_agrees_with_attention_at_the_last_token():
    torch.manual_seed(0)
    plain, back = TokenAttention(8, 2), LookingBack(8, 2)
    back.load_state_dict(plain.state_dict())
    x = torch.randn(2, 6, 8)
    torch.testing.assert_close(plain(x)[:, -1], back(x)[:, -1])


def test_an_autoregressive_models_probabilities_sum_to_one_over_all_sequences():
    torch.manual_seed(0)
    network = SymbolTransformer(3, (1, 4), 8, 1, 2, backwards=True)
    total = (-next_losses(network, all_sequences(3, 4)).sum(1)).exp().sum()
    assert float(total.detach()) == pytest.approx(1, abs=1e-5)


def test_continuing_draws_what_the_losses_say():
    torch.manual_seed(0)
    network, n = SymbolTransformer(3, (1, 4), 8, 1, 2, backwards=True), 6000
    x = unmasking.continued(network, torch.zeros(n, 1, dtype=torch.long), 2, torch.Generator().manual_seed(0))
    pairs = torch.tensor([[0, 0], [0, 1], [0, 2]])
    expected = (-next_losses(network, pairs)[:, 1]).exp().detach()
    assert x.shape == (n, 2) and (torch.bincount(x[:, 1], minlength=3) / n - expected).abs().max() < 5 * 0.5 / n**0.5


def test_divergence_of_categories():
    q, p = double([[[0.5, 0.5, 0.0]]]), double([[[0.25, 0.5, 0.25]]])
    torch.testing.assert_close(categorical_kl(q, p), double([0.5 * math.log(2)]))


@pytest.mark.parametrize("noise", [[1.0], [0.5, 0.6], [-0.1, 1.1]])
def test_a_noise_that_is_no_distribution_is_refused(noise):
    with pytest.raises(ValueError, match="noise must be one row"):
        SymbolDiffusion(straight, double(noise))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="s must be earlier than t"):
        MASKED.posterior(torch.tensor([[0]]), torch.tensor([[3]]), S, T)
    with pytest.raises(ValueError, match="one probability|probabilities must be 4"):
        MASKED.transition(double([[[0.5, 0.5]]]), S, T)
    with pytest.raises(ValueError, match="sum to 1"):
        ExactSymbols(double([0.5, 0.6]))
    with pytest.raises(ValueError, match="multiple of 4"):
        SymbolTransformer(3, (1, 4), 6, 1, 1)


PAGE = """---
title: x
---
# A title

We add **noise** to $x_0$ in 1,000 steps, as {cite:t}`ho2020denoising` do; see `code` and [a link](there).

$$
x = y
$$ (eq-x)

```{code-cell} ipython3
print("hidden")
```

| a | table |
"""


def test_prose_is_what_one_reads_aloud():
    found = text.prose(PAGE)
    assert found == "we add noise to # in # steps, as # do; see # and a link.\n"
    assert text.decode(text.encode(found)) == found
    assert text.decode(torch.tensor([len(text.ALPHABET), 0])) == "_a"
    with pytest.raises(ValueError, match="letters of ALPHABET"):
        text.encode("X")


def test_windows_and_fingerprints():
    assert text.windows(torch.arange(7), 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert text.fingerprint(["a", "b"]) != text.fingerprint(["ab", ""]) and len(text.fingerprint(["a"])) == 16


def test_after_an_error_of_the_sampler_nothing_is_known():
    """Two letters that are always equal, drawn at once: those that differ stay as they are, and the oracle has an answer."""
    pair = ExactSymbols(torch.eye(2, dtype=torch.float64) / 2)
    process = absorbing(straight, 2)
    drawn = pair.drawn_by(pair.denoiser(process), process, grid(2))
    torch.testing.assert_close(drawn[0, 0] + drawn[1, 1], double(0.75))
    torch.testing.assert_close(pair.denoiser(process)(torch.tensor([[0, 1]]), T)[0, 0], double([0.5, 0.5, 0.0]))


def test_hidden_symbols_know_their_places_only_where_they_are_told():
    torch.manual_seed(0)
    hidden = torch.full((1, 4), 3)
    for places in (False, True):
        out = SymbolTransformer(3, (2, 2), 16, 2, 2, places=places)(hidden).detach()
        assert bool(((out - out[:, :1]).abs().max() > 1e-4) == places)
