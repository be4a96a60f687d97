"""Samplers of hidden symbols: so many a step, in an order of one's choice (Chang et al., 2022, MaskGIT), or one by one from the left."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.diffusion.discrete import Keep, chosen
from course_lib.draws import uniform
from course_lib.nets.symbols import SymbolTransformer
from course_lib.types import Denoiser, Step

Order = Callable[[Tensor, Tensor, torch.Generator | None], Tensor]
# (probabilities (B, N, K), drawn symbols (B, N), generator) -> (B, N): of the hidden places, the highest are uncovered first


def at_random(probabilities: Tensor, drawn: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Any order, for probabilities `(B, N, K)` and drawn symbols `(B, N)`: that of the process itself, `(B, N)`."""
    return uniform(tuple(drawn.shape), generator, torch.float64, drawn.device)


def most_certain(probabilities: Tensor, drawn: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The places `(B, N)` with the least entropy of `probabilities` `(B, N, K)` first, whatever symbols `(B, N)` were drawn there.

    The order knows nothing of the draw, so that one symbol at a time it changes no distribution.
    """
    logs = probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
    return (probabilities * logs).sum(-1)


def likeliest_draw(probabilities: Tensor, drawn: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The places `(B, N)` whose drawn symbols `(B, N)` had the highest of `probabilities` `(B, N, K)` first (Chang et al., 2022).

    The order looks at the draw: likely symbols are kept, unlikely ones thrown back, also one symbol at a time.
    """
    return probabilities.gather(-1, drawn[..., None])[..., 0]


def uncover(
    denoise: Denoiser, keep: Keep, mask: int, order: Order = at_random, generator: torch.Generator | None = None
) -> Step:
    """A step that draws all hidden symbols and uncovers as many as `keep(s)` asks for, those that `order` names.

    Of the N symbols, round(N (1 - keep(s))) stay hidden; what is uncovered already is never changed, so that known symbols may stand in
    the first x_t.
    """

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        probabilities, hidden = denoise(x_t, t), x_t == mask
        drawn = chosen(probabilities, generator)
        rank = torch.where(hidden, order(probabilities, drawn, generator), float("inf"))
        place = rank.argsort(dim=1, descending=True, stable=True).argsort(1)  # 0 for what is uncovered first
        seen = x_t.shape[1] - round(x_t.shape[1] * (1 - float(keep(torch.as_tensor(s)))))
        return torch.where(hidden & (place >= seen), mask, torch.where(hidden, drawn, x_t))

    return step


@torch.no_grad()
def continued(
    network: SymbolTransformer, shown: Tensor, length: int, generator: torch.Generator | None = None
) -> Tensor:
    """Go on from the symbols that are shown, `(B, n)` with n from 0, one at a time, to `(B, length)`."""
    x = shown
    for _ in range(length - shown.shape[1]):
        logits = network(F.pad(x, (1, 0), value=network.symbols))[:, -1]
        x = torch.cat([x, chosen(logits.double().softmax(-1), generator)[:, None]], 1)
    return x
