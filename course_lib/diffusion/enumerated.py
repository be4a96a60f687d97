"""The oracle for symbols: a joint distribution so small that every state is listed, and with it every posterior and every sampler."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.diffusion.discrete import SymbolDiffusion, chosen
from course_lib.types import Denoiser, check_decreasing


@dataclass(frozen=True)
class ExactSymbols:
    """Sequences of N symbols whose distribution is given outright: `joint` `(K,) * N`, float64.

    Everything that a process does to them is computed by going through all K^N sequences, so keep K^N below some ten thousand.
    Raises ValueError unless the joint probabilities are none negative and sum to 1.
    """

    joint: Tensor  # (K,) * N

    def __post_init__(self) -> None:
        joint = torch.as_tensor(self.joint, dtype=torch.float64, device="cpu")
        if (
            joint.ndim < 1
            or len(set(joint.shape)) != 1
            or bool((joint < 0).any())
            or abs(float(joint.sum()) - 1) > 1e-9
        ):
            raise ValueError(f"joint must hold probabilities (K, ..., K) that sum to 1; got shape {tuple(joint.shape)}")
        object.__setattr__(self, "joint", joint)

    @property
    def length(self) -> int:
        """N, how many symbols a sequence has."""
        return self.joint.ndim

    @cached_property
    def sequences(self) -> Tensor:
        """All sequences `(K^N, N)`, in the order of `joint.flatten()`."""
        return all_sequences(self.joint.shape[0], self.length)

    def entropy(self) -> float:
        """In nats."""
        return float(torch.special.entr(self.joint).sum())

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw sequences `(n, N)`."""
        return self.sequences[chosen(self.joint.flatten().expand(n, -1), generator)]

    def given_data(self, x_t: Tensor, t: Tensor, process: SymbolDiffusion) -> Tensor:
        """q(x_t | x_0) for every sequence x_0, `(B, K^N)`, at one time `()`, for symbols x_t `(B, N)` of the process."""
        start = torch.zeros_like(torch.as_tensor(t))
        jump = process.transition(self.sequences, start, t) if t > 0 else process.probabilities(self.sequences)
        each = jump.permute(1, 2, 0)  # (N, symbols, K^N)
        return torch.stack([each[place, x_t[:, place]] for place in range(self.length)]).prod(0)

    def marginal(self, x_t: Tensor, t: Tensor, process: SymbolDiffusion) -> Tensor:
        """q_t(x_t) `(B,)` for symbols x_t `(B, N)` of the process, at one time `()`."""
        return self.given_data(x_t, t, process) @ self.joint.flatten()

    def denoiser(self, process: SymbolDiffusion) -> Denoiser:
        """The exact p(x_0 = v | x_t) of each symbol, `(B, N, symbols)`, by Bayes' rule over all sequences.

        Where q_t(x_t) is 0, as after an error of a parallel sampler, nothing is right, and it is taken as if nothing were known.
        """

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            prior = self.joint.flatten()
            weight = self.given_data(x_t, t, process) * prior
            weight = torch.where(weight.sum(1, keepdim=True) > 0, weight, prior)
            data = process.probabilities(self.sequences)  # (K^N, N, symbols)
            return torch.einsum("bs,snk->bnk", weight / weight.sum(1, keepdim=True), data)

        return denoise

    def drawn_by(self, denoise: Denoiser, process: SymbolDiffusion, times: Tensor) -> Tensor:
        """The distribution `(symbols,) * N` of what the sampler `reverse(denoise, process)` has drawn at the end of falling `times` `(n,)`.

        No sampling: the probability of every state is carried from each time to the next. At each the symbols are drawn independently.
        """
        every = all_sequences(process.symbols, self.length)
        state = process.noise[every].prod(1)
        for t, s in pairwise(check_decreasing(times)):
            reached = state > 0
            now = every[reached]
            step = process.posterior(denoise(now, t), now, t, s)  # (reached, N, symbols)
            moved = state[reached].view(-1, *[1] * self.length)
            for place in range(self.length):
                shape = [len(now)] + [-1 if axis == place else 1 for axis in range(self.length)]
                moved = moved * step[:, place].reshape(shape)
            state = moved.sum(0).flatten()
        return state.reshape([process.symbols] * self.length)

    def divergence(self, other: Tensor) -> float:
        """KL(joint || other), in nats, for other probabilities of the sequences, `(K, ..., K)`, or with a mask."""
        p, q = self.joint, other[tuple(slice(k) for k in self.joint.shape)]
        return float((torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum())

    def reverse_rates(self, x_t: Tensor, t: Tensor, process: SymbolDiffusion, falling: Tensor) -> Tensor:
        """How often, a unit of time, each symbol of x_t `(B, N)` turns into each other on the way back, `(B, N, symbols)`, exactly.

        `falling` `()` is minus the derivative of log keep at t: how often a symbol is drawn afresh on the way there. The rate is that of
        the opposite change there, times the ratio of the probabilities of both states. It is 0 from a symbol to itself.
        """
        here = self.marginal(x_t, t, process)
        rates = torch.zeros(*x_t.shape, process.symbols, dtype=torch.float64)
        for place in range(self.length):
            for symbol in range(process.symbols):
                there = x_t.clone()
                there[:, place] = symbol
                back = falling * process.noise[x_t[:, place]]  # from the symbol to the one that is there
                change = back * self.marginal(there, t, process) / here
                rates[:, place, symbol] = torch.where(x_t[:, place] == symbol, 0.0, change)
        return rates


def all_sequences(symbols: int, length: int) -> Tensor:
    """All sequences `(symbols^length, length)`, the last place counting fastest."""
    return torch.cartesian_prod(*[torch.arange(symbols)] * length).reshape(-1, length)


def three_words(noise: float = 0.0) -> ExactSymbols:
    """A small language of four letters a word: abca, bbcc and caab with shares 0.5, 0.3 and 0.2, mixed with random a, b and c.

    `noise` is the share of words whose letters are drawn independently and evenly.
    """
    joint = torch.full((3,) * 4, noise / 81, dtype=torch.float64)
    for word, share in (((0, 1, 2, 0), 0.5), ((1, 1, 2, 2), 0.3), ((2, 0, 0, 1), 0.2)):
        joint[word] += (1 - noise) * share
    return ExactSymbols(joint)
