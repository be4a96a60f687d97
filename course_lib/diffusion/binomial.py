"""Binomial diffusion: bits, each drawn afresh with a small probability at every step, until none of them is the data's."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.diffusion.bound import Bound
from course_lib.diffusion.gaussian import check_order
from course_lib.diffusion.schedules import TableSchedule
from course_lib.draws import uniform
from course_lib.types import Cond, Denoiser, Network, check_decreasing, check_same_shape, on_device, per_sample


@dataclass(frozen=True)
class BinomialDiffusion:
    """Bits x in {0, 1} that step t draws afresh with probability beta_t, as 1 with probability `rate` (Sohl-Dickstein et al., 2015).

    The schedule's alpha_bar_t is the probability that a bit is still the data's. Times t are `()` or `(B,)`, bits `(B, ...)` of floating
    point. Raises ValueError unless the rate lies strictly between 0 and 1.
    """

    schedule: TableSchedule
    rate: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ValueError(f"rate must lie strictly between 0 and 1; got {self.rate}")

    def prior(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw bits x_T of a shape `(B, ...)`, each 1 with probability `rate`."""
        return (uniform(shape, generator, dtype, device) < self.rate).to(dtype)

    def forward(self, x0: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw bits x_t from q(x_t | x_0) for bits `(B, ...)`."""
        return drawn(self.transition(x0, torch.tensor(0), t), generator)

    def backward(
        self, x0: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw bits x_s from the model's step back, s < t: `posterior` at x_0 `(B, ...)`, a bit or the probability that it is 1."""
        return drawn(self.posterior(x0, x_t, t, s), generator)

    def transition(self, x_s: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """q(x_t = 1 | x_s) `(B, ...)`, s < t; for x_s that is a probability of 1, the average over it.

        Raises ValueError where s is not earlier than t, as do all that use it.
        """
        s, t = torch.as_tensor(s), torch.as_tensor(t)
        check_order(s, t)
        kept = per_sample(self.schedule.at(t) / self.schedule.at(s), x_s)
        return kept * x_s + (1 - kept) * self.rate

    def posterior(self, x0: Tensor, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """q(x_s = 1 | x_t, x_0) `(B, ...)`, s < t, by Bayes' rule, averaged over x_0, which is 1 with the probability x0.

        With x0 = p(x_0 = 1 | x_t) this is the exact p(x_s = 1 | x_t) of each bit by itself.
        """
        check_same_shape(x0=x0, x_t=x_t)

        def given(bit: float) -> Tensor:
            data = torch.full_like(x_t, bit)
            one = self._marginal(data, s)  # q(x_s = 1 | x_0)
            joint_1, joint_0 = (
                weight * likelihood(x_t, self.transition(torch.full_like(x_t, value), s, t))
                for value, weight in ((1.0, one), (0.0, 1 - one))
            )
            return joint_1 / (joint_1 + joint_0)

        return x0 * given(1.0) + (1 - x0) * given(0.0)

    def divergence(self, x0: Tensor, x0_hat: Tensor, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """KL(q(x_s | x_t, x_0) || p(x_s | x_t)) of each sample `(B,)`, in nats, for data and a guess of them `(B, ...)`.

        At s = 0 nothing of x_s is left to chance, and it is -log p(x_0 | x_t).
        """
        return bernoulli_kl(self.posterior(x0, x_t, t, s), self.posterior(x0_hat, x_t, t, s))

    def _marginal(self, x0: Tensor, s: Tensor) -> Tensor:
        """q(x_s = 1 | x_0), the data itself at s = 0."""
        kept = per_sample(self.schedule.at(s), x0)
        return kept * x0 + (1 - kept) * self.rate


def bit_denoiser(network: Network, cond: Cond = None) -> Denoiser:
    """The function (x_t, t) -> the probability that each bit of x_0 is 1, for bits x_t `(B, ...)`, of a network that gives its log-odds."""
    return lambda x_t, t: network(x_t, on_device(t, x_t), cond).sigmoid()


def drawn(probability: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Bits of the shape and dtype of the probability `(B, ...)`, each 1 with its own."""
    numbers = uniform(tuple(probability.shape), generator, probability.dtype, probability.device)
    return (numbers < probability).to(probability.dtype)


def likelihood(bits: Tensor, probability: Tensor) -> Tensor:
    """The probability of each bit `(B, ...)`, which is 1 with this probability, of the same shape."""
    return torch.where(bits == 1, probability, 1 - probability)


def bernoulli_kl(q: Tensor, p: Tensor) -> Tensor:
    """KL(Bernoulli(q) || Bernoulli(p)) of each sample, summed over its bits, `(B,)`, in nats; q and p are `(B, ...)`.

    A p that has been rounded to 0 or 1 is taken as the nearest number inside, so that value and gradient stay finite.
    """
    check_same_shape(q=q, p=p)
    p = p.clamp(torch.finfo(p.dtype).eps, 1 - torch.finfo(p.dtype).eps)
    # Each logarithm by itself: xlogy(q, q / p) has no gradient at q = 0.
    terms = [torch.special.xlogy(a, a) - torch.special.xlogy(a, b) for a, b in ((q, p), (1 - q, 1 - p))]
    return (terms[0] + terms[1]).flatten(1).sum(1)


def bernoulli_entropy(p: Tensor) -> Tensor:
    """The entropy of independent bits of each sample, `(B,)`, in nats, for their probabilities of 1 `(B, ...)`."""
    return torch.special.entr(torch.stack([p, 1 - p], 1)).flatten(1).sum(1)


@torch.no_grad()
def binomial_bound(
    denoise: Denoiser,
    x0: Tensor,
    process: BinomialDiffusion,
    generator: torch.Generator | None = None,
    times: Tensor | None = None,
) -> Bound:
    """One Monte-Carlo draw of all terms of the bound on -log p(x_0), in nats, for bits x_0 `(B, ...)`.

    The denoiser answers with the probability that each bit of x_0 is 1. The model steps along the falling `times`, from noise to 0: the
    table's T steps by default. The reconstruction is -log p(x_0 | x_1), the prior's term KL(q(x_T | x_0) || Bernoulli(rate)).
    """
    times = check_decreasing(process.schedule.grid() if times is None else times)
    end = process.transition(x0, torch.tensor(0), times[0])
    prior = bernoulli_kl(end, torch.full_like(end, process.rate))
    terms = []
    for s, t in pairwise(times.flip(0)):
        x_t = process.forward(x0, t, generator)
        terms.append(process.divergence(x0, denoise(x_t, t), x_t, t, s))
    reconstruction, *steps = terms
    return Bound(prior, torch.stack(steps) if steps else x0.new_zeros(0, len(x0)), reconstruction)
