"""Transformers for images: every position of `(B, C, H, W)` is a token of C numbers."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import check_image, let_through, multi_head, zero_initialised
from course_lib.nets.conditions import Labels
from course_lib.nets.embeddings import ConditionEmbedding, position_embedding
from course_lib.nets.norms import ChannelNorm
from course_lib.nets.recorded import recorded
from course_lib.types import Cond


def to_windows(x: Tensor, window: int) -> Tensor:
    """Cut `(B, H, W, C)` into squares of window x window tokens, `(B, H/window, W/window, window^2, C)`."""
    return x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3).flatten(3, 4)


def from_windows(x: Tensor, window: int) -> Tensor:
    """Put squares of tokens back together, to `(B, H, W, C)`: the inverse of `to_windows`."""
    return x.unflatten(3, (window, window)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


class TokenAttention(nn.Module):
    """Multi-head self-attention of `(B, H, W, C)`: among all tokens, or only among those of one square of window x window.

    Windows cost in proportion to the number of tokens, and not to its square (Liu et al., 2021). `shift` moves the squares, so that
    what two layers cannot see together, the next two can; the image wraps around, so that all squares are whole.
    Raises ValueError unless the heads divide the channels.
    """

    def __init__(self, channels: int, heads: int = 4, window: int | None = None, shift: int = 0) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels must be a multiple of heads; got {channels} and {heads}")
        self.heads, self.window, self.shift = heads, window, shift
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, H, W, C)` to the same shape; H and W must be multiples of the window."""
        qkv = self.to_qkv(x)
        if self.window is None:
            return self.out(multi_head(qkv.flatten(1, 2), self.heads).view_as(x))
        moved = qkv.roll((-self.shift, -self.shift), (1, 2)) if self.shift else qkv
        mixed = from_windows(multi_head(to_windows(moved, self.window), self.heads), self.window)
        return self.out(mixed.roll((self.shift, self.shift), (1, 2)) if self.shift else mixed)


class TransformerBlock(nn.Module):
    """Attention, then an MLP for each token, both around a skip; the condition shifts, scales and gates each (Peebles and Xie, 2023).

    The layer that reads the condition starts at 0, and with it the gates: an untrained block is the identity (adaLN-zero).
    """

    def __init__(
        self, channels: int, width: int, heads: int = 4, window: int | None = None, shift: int = 0, ratio: int = 4
    ) -> None:
        super().__init__()
        self.modulation = zero_initialised(nn.Linear(width, 6 * channels))
        self.attention = TokenAttention(channels, heads, window, shift)
        self.mlp = nn.Sequential(
            nn.Linear(channels, ratio * channels), nn.GELU("tanh"), nn.Linear(ratio * channels, channels)
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x `(B, C, H, W)`, condition `(B, width)`, to the shape of x."""
        h = x.movedim(1, -1)  # (B, H, W, C)
        terms = self.modulation(F.silu(condition))[:, None, None].chunk(6, dim=-1)
        shift, scale, gate = terms[:3]
        h = torch.addcmul(h, gate, self.attention(modulated(h, shift, scale)))
        shift, scale, gate = terms[3:]
        return torch.addcmul(h, gate, self.mlp(modulated(h, shift, scale))).movedim(-1, 1)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm over the last axis of `(B, H, W, C)`, then the condition's scale (0 means 1) and shift."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)


class DiT(nn.Module):
    """The diffusion transformer (Peebles and Xie, 2023): patches become tokens, transformer blocks mix them, tokens become patches.

    With `window`, each block attends within squares of window x window tokens, and every other block's squares are moved by half
    a window. Positions are told by fixed sinusoids, so any image is welcome whose sides are multiples of patch (times window).
    As in `UNet`, a gain that depends on the time lets the input through; an untrained transformer predicts 0.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        channels: int = 1,
        patch: int = 2,
        width: int = 192,
        depth: int = 6,
        heads: int = 4,
        window: int | None = None,
        classes: int | None = None,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.factor = channels, patch * (window or 1)
        self.takes = None if classes is None else Labels(classes)
        self.condition = ConditionEmbedding(width, classes, time_scale)
        self.first = nn.Conv2d(channels, width, patch, stride=patch)
        shifts = [0 if window is None else (i % 2) * (window // 2) for i in range(depth)]
        self.blocks = nn.ModuleList(TransformerBlock(width, width, heads, window, shift) for shift in shifts)
        self.modulation = zero_initialised(nn.Linear(width, 2 * width))
        self.norm = ChannelNorm()
        self.last = zero_initialised(nn.Conv2d(width, channels * patch**2, 1))
        self.join = nn.PixelShuffle(patch)
        self.input_gain = zero_initialised(nn.Linear(width, 1))

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, channels, H, W)`, t `(B,)`, cond `(B,)` or None, to the shape of x."""
        check_image(x, self.channels, self.factor)
        condition = self.condition(t, cond)
        h = self.first(x)
        h = h + position_embedding(h)
        for block in self.blocks:
            h = block(h, condition)
        shift, scale = self.modulation(F.silu(condition))[:, :, None, None].chunk(2, dim=1)
        out = self.join(self.last(torch.addcmul(shift, self.norm(h), 1 + scale)))
        return let_through(out, self.input_gain, condition, x)
