"""A transformer for symbols in a row or a grid: the same network guesses what is hidden, or, looking back only, what comes next."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.dit import InContext, check_sizes
from course_lib.nets.recorded import recorded
from course_lib.nets.transformers import TokenAttention, perceptron, rotary_angles


class LookingBack(TokenAttention):
    """Self-attention of tokens in a row, each among itself and those before it."""

    def forward(self, x: Tensor, angles: Tensor | None = None) -> Tensor:
        """Tokens `(B, N, C)` to the same shape; queries and keys are turned by the angles `(N, C / heads / 2)`, where given."""
        qkv = self.prepared(self.to_qkv(x), angles).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.movedim(-3, 0).transpose(-3, -2)  # each (B, heads, N, d)
        seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        scores = (query / query.shape[-1] ** 0.5) @ key.mT
        mixed = torch.where(seen, scores, float("-inf")).softmax(-1) @ value
        return self.out(mixed.transpose(-3, -2).flatten(-2))


class SymbolTransformer(nn.Module):
    """Symbols in a grid of rows x columns, one token each, to logits of the K symbols that are no mask.

    It reads K + 1 symbols, of which the last is the mask, and is not told the time. With `backwards` a token sees only itself and
    those before it, and answers for the one after it: an autoregressive model with the same weights in number and size, to which the
    mask means that a sequence begins. Queries and keys are turned, so that a token knows how far others are; `places` adds a learned
    vector for each place, without which hidden symbols cannot know where they stand when nothing is seen.
    Raises ValueError for sizes below 1 and where the heads do not divide the width into multiples of 4.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        symbols: int,
        grid: tuple[int, int],
        width: int = 96,
        depth: int = 3,
        heads: int = 4,
        backwards: bool = False,
        places: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(symbols=symbols, width=width, depth=depth, heads=heads)
        self.symbols, self.backwards = symbols, backwards
        self.first = nn.Embedding(symbols + 1, width)
        nn.init.normal_(self.first.weight, std=0.5)
        self.places = nn.Parameter(0.02 * torch.randn(grid[0] * grid[1], width)) if places else None
        attention = LookingBack if backwards else TokenAttention
        self.blocks = nn.ModuleList(
            InContext(width, width, attention(width, heads), perceptron(width, 4 * width)) for _ in range(depth)
        )
        self.norm, self.last = nn.LayerNorm(width), nn.Linear(width, symbols)
        self.register_buffer("angles", rotary_angles(*grid, width // heads), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Symbols `(B, N)`, N at most rows x columns, to logits `(B, N, K)`: of what is hidden there, or of what comes next."""
        angles = self.angles[: x.shape[1]]  # type: ignore[index]
        h = self.first(x) if self.places is None else self.first(x) + self.places[: x.shape[1]]
        for block in self.blocks:
            h = block(h, h[:, :0], angles)
        return self.last(self.norm(h))


def next_losses(network: SymbolTransformer, x0: Tensor) -> Tensor:
    """-log p of each symbol given those before it, `(B, N)`, in nats, of an autoregressive model, for symbols `(B, N)`."""
    begun = F.pad(x0[:, :-1], (1, 0), value=network.symbols)  # the mask, then all but the last
    logits = network(begun).float()
    return F.cross_entropy(logits.flatten(0, 1), x0.flatten(), reduction="none").view(x0.shape)
