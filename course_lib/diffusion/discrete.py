"""Diffusion of symbols: each is, with a probability that falls in time, still the data's, and otherwise drawn from a fixed noise.

The noise may be uniform (multinomial diffusion, Hoogeboom et al., 2021) or one symbol that stands for "nothing known", the mask
(absorbing diffusion, Austin et al., 2021). What is special about the mask lives in `diffusion.masked`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.diffusion.bound import Bound
from course_lib.diffusion.gaussian import check_order
from course_lib.draws import uniform
from course_lib.types import Denoiser, check_decreasing

Keep = Callable[[Tensor], Tensor]  # t -> the probability that a symbol is still the data's: 1 at t = 0, then falling


def straight(t: Tensor) -> Tensor:
    """1 - t, of the shape of t, for times from 0 to 1."""
    return 1 - t


@dataclass(frozen=True)
class SymbolDiffusion:
    """Symbols 0..K - 1, each of which is at time t the data's with probability keep(t), and otherwise drawn from `noise` `(K,)`.

    `keep` is a function of times, such as `straight` or the method `at` of a schedule's table. Symbols are int64 `(B, N)`; what is known
    of them is a probability for each, `(B, N, K)`. Times are `()` or `(B,)`. Raises ValueError unless the noise is a row of at least
    two probabilities that sum to 1.
    """

    keep: Keep
    noise: Tensor  # (K,), float64, on the CPU

    def __post_init__(self) -> None:
        noise = torch.as_tensor(self.noise, dtype=torch.float64, device="cpu")
        if noise.ndim != 1 or len(noise) < 2 or bool((noise < 0).any()) or abs(float(noise.sum()) - 1) > 1e-9:
            raise ValueError(f"noise must be one row of at least 2 probabilities that sum to 1; got {noise.tolist()}")
        object.__setattr__(self, "noise", noise)

    @property
    def symbols(self) -> int:
        """K, how many symbols there are."""
        return len(self.noise)

    def matrix(self, s: Tensor, t: Tensor) -> Tensor:
        """The probabilities `(K, K)` of x_t (column) for each x_s (row), s < t, for one time `()` each."""
        every = torch.arange(self.symbols)[:, None]  # K sequences of one symbol
        return self.transition(every, s, t)[:, 0]

    def prior(
        self, shape: tuple[int, ...], generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Draw symbols x_T of a shape `(B, N)` from the noise."""
        return chosen(self.noise.to(device).expand(*shape, -1), generator)

    def forward(self, x0: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw symbols x_t from q(x_t | x_0) for symbols `(B, N)`."""
        return chosen(self.transition(x0, torch.zeros_like(torch.as_tensor(t)), t), generator)

    def backward(
        self, x0: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw x_s `(B, N)`, s < t, each symbol by itself, from the `posterior` at x_0: symbols `(B, N)` or probabilities `(B, N, K)`."""
        return chosen(self.posterior(x0, x_t, t, s), generator)

    def transition(self, x_s: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """q(x_t | x_s) `(B, N, K)`, s < t, for symbols x_s `(B, N)`, or averaged over probabilities `(B, N, K)` of them.

        Raises ValueError where s is not earlier than t, as do all that use it.
        """
        s, t = torch.as_tensor(s), torch.as_tensor(t)
        check_order(s, t)
        known = self.probabilities(x_s)
        kept = beside(self.keep(t) / self.keep(s), known)
        return kept * known + (1 - kept) * self.noise.to(known)

    def posterior(self, x0: Tensor, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """q(x_s | x_t, x_0) `(B, N, K)`, s < t, by Bayes' rule, averaged over x_0: symbols `(B, N)` or their probabilities `(B, N, K)`.

        With x_0's probabilities given all of x_t, this is the exact p(x_s | x_t) of each symbol by itself. Where no x_0 that is thought
        possible can have led to x_t, the answer is no number.
        """
        s, t = torch.as_tensor(s), torch.as_tensor(t)
        check_order(s, t)
        known, now = self.probabilities(x0), self.probabilities(x_t)
        now, noise = now.to(known), self.noise.to(known)
        kept, kept_s, kept_t = (beside(k, known) for k in (self.keep(t) / self.keep(s), self.keep(s), self.keep(t)))
        drawn = (now * noise).sum(-1, keepdim=True)  # the noise's probability of x_t
        evidence = kept_t * now + (1 - kept_t) * drawn  # q(x_t | x_0 = v) for each v
        weight = torch.where(evidence > 0, known / evidence, 0.0)
        # q(x_t | x_s) times the sum over v of weight_v q(x_s | v)
        joint = (kept * now + (1 - kept) * drawn) * (
            kept_s * weight + (1 - kept_s) * noise * weight.sum(-1, keepdim=True)
        )
        return joint / joint.sum(-1, keepdim=True)

    def divergence(self, x0: Tensor, x0_hat: Tensor, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """KL(q(x_s | x_t, x_0) || p(x_s | x_t)) of each sample `(B,)`, in nats, for data `(B, N)` and a guess of them `(B, N, K)`.

        At s = 0 it is -log p(x_0 | x_t).
        """
        guess = self.posterior(x0_hat, x_t, t, s)
        return categorical_kl(self.posterior(x0, x_t, t, s).to(guess), guess)

    def probabilities(self, x: Tensor) -> Tensor:
        """Symbols `(B, N)` as probabilities `(B, N, K)` that are 0 or 1, in float64; what are probabilities already, as they are.

        Raises ValueError where there is not one probability for each symbol.
        """
        if not x.is_floating_point():
            return F.one_hot(x, self.symbols).double()
        if x.shape[-1] != self.symbols:
            raise ValueError(f"probabilities must be {self.symbols} for each symbol; got shape {tuple(x.shape)}")
        return x


def uniform_noise(symbols: int) -> Tensor:
    """The noise `(symbols,)` of multinomial diffusion: every symbol is equally likely."""
    return torch.full((symbols,), 1 / symbols, dtype=torch.float64)


def beside(coefficient: Tensor, known: Tensor) -> Tensor:
    """A coefficient `()` or `(B,)` beside probabilities `(B, N, K)`, in their dtype."""
    coefficient = torch.as_tensor(coefficient).to(known.dtype)
    return coefficient if coefficient.ndim == 0 else coefficient.to(known.device)[:, None, None]


def chosen(probabilities: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw one symbol from each row of probabilities `(..., K)`, which need not sum to 1: int64 `(...)`.

    In float64: in float32 the least likely symbols would be drawn too rarely or not at all (Zheng et al., 2025).
    """
    total = probabilities.double().cumsum(-1)
    numbers = uniform(tuple(total.shape[:-1]), generator, torch.float64, total.device)[..., None]
    return (total <= numbers * total[..., -1:]).sum(-1)


def categorical_kl(q: Tensor, p: Tensor) -> Tensor:
    """KL(q || p) of each sample, summed over its symbols, `(B,)`, in nats, for probabilities `(B, N, K)`.

    It is infinite where q holds possible what p does not.
    """
    return (torch.special.xlogy(q, q) - torch.special.xlogy(q, p)).flatten(1).sum(1)


@torch.no_grad()
def symbol_bound(
    denoise: Denoiser, x0: Tensor, process: SymbolDiffusion, times: Tensor, generator: torch.Generator | None = None
) -> Bound:
    """One Monte-Carlo draw of all terms of the bound on -log p(x_0), in nats, for symbols x_0 `(B, N)`.

    The denoiser answers with the probabilities `(B, N, K)` of each symbol of x_0. The model steps along the falling `times`, from noise to
    0 (Austin et al., 2021, equation 1). The reconstruction is -log p(x_0 | x_1), the prior's term KL(q(x_T | x_0) || noise).
    """
    times = check_decreasing(times)
    end = process.transition(x0, torch.zeros_like(times[0]), times[0])
    prior = categorical_kl(end, process.noise.to(end).expand_as(end))
    terms = []
    for s, t in pairwise(times.flip(0)):
        x_t = process.forward(x0, t, generator)
        terms.append(process.divergence(x0, denoise(x_t, t), x_t, t, s))
    reconstruction, *steps = terms
    return Bound(prior, torch.stack(steps) if steps else prior.new_zeros(0, len(x0)), reconstruction)
