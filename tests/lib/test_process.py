"""A process need not be Gaussian: bits that flip go through the same sampler, against exact probabilities."""

import torch
from torch import Tensor

from course_lib.diffusion.exact import ExactDiffusion
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import linear
from course_lib.draws import uniform
from course_lib.sampling.steps import ancestral, last, reverse, sample
from course_lib.types import Process
from tests.lib.tensors import MIXTURE, normal


class Bits:
    """Each bit is drawn afresh, 1 with probability `rate`, with probability beta at each of T steps (Sohl-Dickstein et al., 2015)."""

    def __init__(self, T: int, rate: float) -> None:
        self.T, self.rate = T, rate
        self.kept = torch.linspace(1, 0, T + 1, dtype=torch.float64)  # the probability that a bit is still the data's

    def mean(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """p(x_t = 1 | x_s) for s < t."""
        kept = self.kept[t] / self.kept[s]
        return kept * x + (1 - kept) * self.rate

    def prior(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        return (uniform(shape, generator, torch.float64) < self.rate).double()

    def forward(self, x0: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return (uniform(tuple(x0.shape), generator, torch.float64) < self.mean(x0, t, torch.tensor(0))).double()

    def posterior(self, x0: Tensor, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """p(x_s = 1 | x_t, x_0) by Bayes' rule, averaged over x_0, which is 1 with the probability x0."""

        def given(bit: float) -> Tensor:
            one = self.mean(torch.full_like(x_t, bit), s, torch.tensor(0))  # p(x_s = 1 | x_0)
            likelihood = [
                torch.where(x_t == 1, p, 1 - p) for p in (self.mean(torch.full_like(x_t, b), t, s) for b in (0.0, 1.0))
            ]
            return one * likelihood[1] / (one * likelihood[1] + (1 - one) * likelihood[0])

        return x0 * given(1.0) + (1 - x0) * given(0.0)

    def backward(
        self, x0: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        return (uniform(tuple(x_t.shape), generator, torch.float64) < self.posterior(x0, x_t, t, s)).double()


PROCESS = Bits(T=12, rate=0.3)
WORDS = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 1], [1, 1, 1, 0]]).double()
SHARES = torch.tensor([0.5, 0.3, 0.2]).double()


def exact(x_t: Tensor, t: Tensor) -> Tensor:
    """E[x_0 | x_t] for data that are the words above: their posterior, by Bayes' rule."""
    p = PROCESS.mean(WORDS, t, torch.tensor(0))  # (K, D)
    log_joint = torch.where(x_t[:, None] == 1, p, 1 - p).clamp(min=1e-300).log().sum(-1) + SHARES.log()
    return log_joint.softmax(-1) @ WORDS


def test_the_same_sampler_reverses_a_binomial_process():
    """Steps of one draw each bit by itself, so single bits are right at every length of step, whole words only in short steps."""
    generator = torch.Generator().manual_seed(0)
    step = reverse(exact, PROCESS, generator)
    x = last(sample(step, PROCESS.prior((20_000, 4), generator), torch.arange(12, -1, -1)))
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
    assert abs(back.mean() - PROCESS.mean(x0[:1], s, torch.tensor(0)).item()) < 5 * 0.5 / 100_000**0.5


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
