"""A process need not be Gaussian: bits that flip go through the same sampler, against exact probabilities."""

import torch
from torch import Tensor

from course_lib.diffusion.binomial import BinomialDiffusion
from course_lib.diffusion.exact import ExactDiffusion
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import erasing, linear
from course_lib.sampling.steps import ancestral, last, reverse, sample
from course_lib.types import Process
from tests.lib.tensors import MIXTURE, normal

PROCESS = BinomialDiffusion(erasing(12), rate=0.3)
WORDS = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 1], [1, 1, 1, 0]]).double()
SHARES = torch.tensor([0.5, 0.3, 0.2]).double()


def exact(x_t: Tensor, t: Tensor) -> Tensor:
    """E[x_0 | x_t] for data that are the words above: their posterior, by Bayes' rule."""
    p = PROCESS.transition(WORDS, torch.tensor(0), t)  # (K, D)
    log_joint = torch.where(x_t[:, None] == 1, p, 1 - p).clamp(min=1e-300).log().sum(-1) + SHARES.log()
    return log_joint.softmax(-1) @ WORDS


def test_the_same_sampler_reverses_a_binomial_process():
    """Steps of one draw each bit by itself, so single bits are right at every length of step, whole words only in short steps."""
    generator = torch.Generator().manual_seed(0)
    step = reverse(exact, PROCESS, generator)
    x = last(sample(step, PROCESS.prior((20_000, 4), generator, torch.float64), torch.arange(12, -1, -1)))
    assert (x.mean(0) - SHARES @ WORDS).abs().max() < 5 * 0.5 / 20_000**0.5 + 0.02
    known = (x[:, None] == WORDS).all(-1).double().mean(0)  # the share of each word
    assert known.sum() > 0.85  # no word of the data is four random bits: those would be known 3 in 16 times
    assert (known / known.sum() - SHARES).abs().max() < 0.05


def test_its_posterior_is_consistent_with_its_chain():
    """Forward to s and t, then back from t to s given x_0, leaves the distribution of x_s as it was."""
    generator = torch.Generator().manual_seed(1)
    x0 = torch.ones(100_000, 1, dtype=torch.float64)
    t, s = torch.tensor(8), torch.tensor(5)
    back = PROCESS.backward(x0, PROCESS.forward(x0, t, generator), t, s, generator)
    assert abs(back.mean() - PROCESS.transition(x0[:1], torch.tensor(0), s).item()) < 5 * 0.5 / 100_000**0.5


def test_for_a_gaussian_process_it_is_ddpm():
    schedule = linear(20, 0.01, 0.4)
    process, denoise = GaussianDiffusion(schedule), ExactDiffusion(MIXTURE, schedule).denoise
    chains = [
        last(sample(make(denoise, process, generator=torch.Generator().manual_seed(3)), normal(50, 2), schedule.grid()))
        for make in (reverse, ancestral)
    ]
    torch.testing.assert_close(*chains, rtol=1e-12, atol=1e-12)


def test_both_satisfy_the_protocol():
    both: list[Process] = [PROCESS, GaussianDiffusion(linear(5))]
    for process in both:
        x = process.prior((3, 2), torch.Generator().manual_seed(0)).double()
        x_t = process.forward(x, torch.tensor(4), torch.Generator())
        assert process.backward(x, x_t, torch.tensor(4), torch.tensor(2), torch.Generator()).shape == (3, 2)
