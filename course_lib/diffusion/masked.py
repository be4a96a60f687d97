"""Diffusion into a mask: a symbol is the data's or hidden, so all that is left to learn is to guess what is hidden."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.diffusion.discrete import Keep, SymbolDiffusion
from course_lib.draws import integers, uniform
from course_lib.types import Denoiser

Guess = Callable[[Tensor], Tensor]  # symbols (B, N), some of them the mask -> logits (B, N, K) of what is hidden


def absorbing(keep: Keep, symbols: int) -> SymbolDiffusion:
    """The process that hides symbols 0..symbols - 1 behind a mask, which is the symbol with the number `symbols`."""
    return SymbolDiffusion(keep, F.one_hot(torch.tensor(symbols), symbols + 1).double())


def restorer(guess: Guess, symbols: int) -> Denoiser:
    """The denoiser (x_t, t) -> probabilities `(B, N, symbols + 1)` of a network that guesses what is hidden and is not told the time.

    The mask itself has no probability, and what is not hidden is the data's for certain (Sahoo et al., 2024, section 3.2.3).
    """

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        guessed = F.pad(guess(x_t).double().softmax(-1), (0, 1))
        seen = F.one_hot(x_t, symbols + 1).to(guessed)
        return torch.where((x_t == symbols)[..., None], guessed, seen)

    return denoise


def hide(x0: Tensor, counts: Tensor, mask: int, generator: torch.Generator | None = None) -> Tensor:
    """Symbols `(B, N)` of which `counts` `(B,)` in each row, chosen at random, are the mask.

    Given how many are hidden, this is q(x_t | x_0) at any time: all subsets of that size are equally likely.
    """
    order = uniform(tuple(x0.shape), generator, torch.float64, x0.device).argsort(1).argsort(1)  # each place's rank
    return torch.where(order < counts.to(x0.device)[:, None], mask, x0)


def hidden_counts(n: int, length: int, generator: torch.Generator | None = None, device: str = "cpu") -> Tensor:
    """How many of `length` symbols to hide in each of n rows, `(n,)`: 1..length equally often, and spread over the rows evenly."""
    first = integers(0, length, (1,), generator, device)
    return (first + torch.arange(n, device=device) * length // n) % length + 1


def hidden_loss(guess: Guess, x0: Tensor, x_t: Tensor, mask: int) -> Tensor:
    """The weighted cross-entropy of each row `(B,)`, in nats: `N / m` times the sum of `-log p(x_0)` over the `m` hidden of `(B, N)`.

    With m drawn evenly from 1..N, its mean is the bound on -log p(x_0) in continuous time, for every `keep` (Hoogeboom et al., 2022,
    ARDM; Ou et al., 2025). Raises ValueError where nothing is hidden in a row, as far as the CPU knows.
    """
    hidden = x_t == mask
    m = hidden.sum(1)
    if m.device.type == "cpu" and bool((m == 0).any()):
        raise ValueError("each row of x_t must hide at least one symbol: there is nothing to guess")
    logits = guess(x_t)
    losses = F.cross_entropy(logits.flatten(0, 1).float(), x0.flatten(), reduction="none").view(x0.shape)
    return x0.shape[1] * (losses * hidden).sum(1) / m


@torch.no_grad()
def any_order_bound(
    guess: Guess, x0: Tensor, mask: int, draws: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    """The bound on -log p(x_0) of each row of symbols `(B, N)`, in nats: the mean `(B,)` of `draws` of `hidden_loss`.

    The numbers of hidden symbols are spread over rows and draws evenly, so that rows together see all of them.
    """
    total = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
    for _ in range(draws):
        counts = hidden_counts(len(x0), x0.shape[1], generator, str(x0.device))
        shuffled = counts[uniform((len(x0),), generator, device=x0.device).argsort()]
        total += hidden_loss(guess, x0, hide(x0, shuffled, mask, generator), mask).double()
    return total / draws
