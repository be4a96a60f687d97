"""Attention and blocks of transformers for images: the tokens are the positions of a grid, or stand in a row."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import multi_head, zero_initialised


def to_windows(x: Tensor, window: int) -> Tensor:
    """Cut `(B, H, W, C)` into squares of window x window tokens, `(B, H/window, W/window, window^2, C)`."""
    return x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3).flatten(3, 4)


def from_windows(x: Tensor, window: int) -> Tensor:
    """Put squares of tokens back together, to `(B, H, W, C)`: the inverse of `to_windows`."""
    return x.unflatten(3, (window, window)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


def rotary_angles(
    height: int, width: int, channels: int, period: float = 100.0, device: torch.device | str = "cpu"
) -> Tensor:
    """By how much each pair of channels is turned at each place of a grid, `(height * width, channels / 2)` (Su et al., 2024).

    The first half of the pairs turns with the row, the second with the column, at frequencies from 1 down towards 1 / period.
    Raises ValueError unless the channels are a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"channels of a head must be a multiple of 4, for pairs along two axes; got {channels}")
    frequencies = torch.exp(-math.log(period) * torch.arange(channels // 4, device=device) / (channels // 4))
    rows, columns = (
        torch.arange(n, device=device)[:, None] * frequencies for n in (height, width)
    )  # (n, channels / 4)
    both = torch.cat([rows[:, None].expand(-1, width, -1), columns.expand(height, -1, -1)], -1)
    return both.flatten(0, 1)


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Tokens x `(..., d)` with the pair of channels (i, i + d/2) turned by the angle `(..., d/2)`, in the dtype of x."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


class TokenAttention(nn.Module):
    """Multi-head self-attention of tokens in a row or a grid: among all of them, or only among those of one square of window x window.

    Windows cost in proportion to the number of tokens, and not to its square (Liu et al., 2021). `shift` moves the squares, so that
    what two layers cannot see together, the next two can; the image wraps around, so that all squares are whole.
    `qk_norm` divides queries and keys by their root mean square and scales them anew, which bounds what the softmax sees (Henry et
    al., 2020). Raises ValueError unless the heads divide the channels.
    """

    def __init__(
        self, channels: int, heads: int = 4, window: int | None = None, shift: int = 0, qk_norm: bool = False
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels must be a multiple of heads; got {channels} and {heads}")
        self.heads, self.window, self.shift = heads, window, shift
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.norms = nn.ModuleList(nn.RMSNorm(channels // heads) for _ in range(2 if qk_norm else 0))
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, angles: Tensor | None = None) -> Tensor:
        """Tokens `(B, N, C)`, or `(B, H, W, C)` with H and W multiples of the window, to the same shape.

        Where `angles`, N or H W rows of C / heads / 2 each, are given, queries and keys are turned by them.
        """
        qkv = self.prepared(self.to_qkv(x), angles)
        if self.window is None:
            return self.out(multi_head(qkv.flatten(1, -2), self.heads).view_as(x))
        moved = qkv.roll((-self.shift, -self.shift), (1, 2)) if self.shift else qkv
        mixed = from_windows(multi_head(to_windows(moved, self.window), self.heads), self.window)
        return self.out(mixed.roll((self.shift, self.shift), (1, 2)) if self.shift else mixed)

    def prepared(self, qkv: Tensor, angles: Tensor | None) -> Tensor:
        """Queries, keys and values side by side, `(..., 3C)`, the first two normalised and turned where asked."""
        if not self.norms and angles is None:
            return qkv
        query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).unbind(-3)  # each (..., heads, d)
        if self.norms:
            wide = self.to_qkv.weight.dtype  # that of the weights, in which autocast does not keep queries and keys
            query, key = (norm(part.to(wide)).to(part) for norm, part in zip(self.norms, (query, key), strict=True))
        if angles is not None:
            turns = angles.reshape(*qkv.shape[1:-1], 1, -1)
            query, key = rotated(query, turns), rotated(key, turns)
        return torch.stack([query, key, value], -3).flatten(-3)


def perceptron(channels: int, hidden: int) -> nn.Sequential:
    """The two layers that every token goes through alone."""
    return nn.Sequential(nn.Linear(channels, hidden), nn.GELU("tanh"), nn.Linear(hidden, channels))


class AdaLNZero(nn.Module):
    """Attention, then a perceptron, both around a skip; the condition shifts, scales and gates each (Peebles and Xie, 2023).

    The layer that reads the condition starts at 0, and with it the gates: an untrained block is the identity.
    """

    def __init__(self, channels: int, width: int, attention: TokenAttention, mlp: nn.Module) -> None:
        super().__init__()
        self.modulation = zero_initialised(nn.Linear(width, 6 * channels))
        self.attention, self.mlp = attention, mlp

    def forward(self, x: Tensor, told: Tensor, angles: Tensor | None = None) -> Tensor:
        """Tokens x `(B, ..., C)` and what they are told `(B, n, width)`, of which the sum is taken, to the shape of x."""
        terms = spread(self.modulation(F.silu(told.sum(1))), x).chunk(6, dim=-1)
        shift, scale, gate = terms[:3]
        x = torch.addcmul(x, gate, self.attention(modulated(x, shift, scale), angles))
        shift, scale, gate = terms[3:]
        return torch.addcmul(x, gate, self.mlp(modulated(x, shift, scale)))


class TransformerBlock(AdaLNZero):
    """The block `AdaLNZero` for images, whose pixels are the tokens; for the inside of a U-Net."""

    def __init__(
        self, channels: int, width: int, heads: int = 4, window: int | None = None, shift: int = 0, ratio: int = 4
    ) -> None:
        attention = TokenAttention(channels, heads, window, shift)
        super().__init__(channels, width, attention, perceptron(channels, ratio * channels))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:  # type: ignore[override]
        """x `(B, C, H, W)`, condition `(B, width)`, to the shape of x."""
        return super().forward(x.movedim(1, -1), condition[:, None]).movedim(-1, 1)


def spread(terms: Tensor, x: Tensor) -> Tensor:
    """One row for each sample, `(B, C')`, beside tokens x `(B, ..., C)`: the same for all of them."""
    return terms.reshape(len(terms), *[1] * (x.ndim - 2), -1)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm over the last axis of x `(B, ..., C)`, then the condition's scale (0 means 1) and shift."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)
