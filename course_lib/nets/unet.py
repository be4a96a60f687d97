"""U-Nets (Ronneberger et al., 2015), the workhorse denoisers of small images: the plainest one, and that of the recipes."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import (
    Downsample,
    ResidualBlock,
    SelfAttention,
    Upsample,
    check_image,
    let_through,
    zero_initialised,
)
from course_lib.nets.conditions import Labels, Until
from course_lib.nets.embeddings import ConditionEmbedding
from course_lib.nets.norms import ChannelNorm, build_norm
from course_lib.nets.recorded import recorded
from course_lib.nets.transformers import TransformerBlock
from course_lib.types import Cond


class Block(nn.Module):
    """A residual block, followed by self-attention or by a transformer block where asked; `asking`, where set, then asks other tokens."""

    level: int  # the resolution at which it works

    def __init__(
        self, channels_in: int, channels: int, width: int, attention: bool, transformer: bool, norm: str
    ) -> None:
        super().__init__()
        self.residual = ResidualBlock(channels_in, channels, width, norm)
        self.attention = SelfAttention(channels) if attention else nn.Identity()
        self.transformer = TransformerBlock(channels, width) if transformer else None
        self.asking: nn.Module | None = None

    def forward(self, x: Tensor, condition: Tensor, tokens: Tensor | None = None) -> Tensor:
        """x `(B, channels_in, H, W)` to `(B, channels, H, W)`; the condition is `(B, width)`, the tokens `(B, n, their width)`."""
        h = self.attention(self.residual(x, condition))
        h = h if self.transformer is None else self.transformer(h, condition)
        return h if self.asking is None else self.asking(h, tokens)


class UNet(nn.Module):
    """Residual blocks on a ladder of resolutions, with skips from the way down to the way up.

    `multipliers` gives the channels at each resolution in units of `width`; `attention` lists the resolutions (0 is the full one)
    that attend, and `transformer` those with a whole transformer block. With `patch` > 1 the full resolution is that of patch x patch
    squares of pixels, each one a vector of channels (Shi et al., 2016), which saves the costliest layers. The image's sides must
    be divisible by patch * 2^(resolutions - 1). `condition_width` is that of the vector for time and class (None: 4 * width).
    A gain that depends on the time lets the input through to the output; it starts at 0, so an untrained U-Net predicts 0.
    `outputs` (None: `channels`) are the channels of the output; twice as many as the input's say the variance of each pixel, too.
    With `leaps`, the numbers of steps that it learns to take (`()` for a consistency model), it is told as its condition at which time a
    leap ends (`conditions.Until`).
    Raises ValueError where `attention` or `transformer` lists a resolution that is not there, and for both classes and leaps.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 2),
        blocks: int = 1,
        attention: tuple[int, ...] = (2,),
        patch: int = 1,
        classes: int | None = None,
        time_scale: float = 1.0,
        transformer: tuple[int, ...] = (),
        norm: str = "channel",
        condition_width: int | None = None,
        outputs: int | None = None,
        leaps: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        condition_width = 4 * width if condition_width is None else condition_width
        self.channels, self.factor = channels, patch * 2 ** (len(multipliers) - 1)
        self.takes = Until(tuple(leaps)) if leaps is not None else None if classes is None else Labels(classes)
        sizes = [width * multiplier for multiplier in multipliers]
        lowest = len(sizes) - 1
        if not {*attention, *transformer} <= {*range(len(sizes))}:
            raise ValueError(
                f"attention and transformer must list resolutions from 0 to {lowest}; got {attention} and {transformer}"
            )

        def block(channels_in: int, level: int) -> Block:
            found = Block(channels_in, sizes[level], condition_width, level in attention, level in transformer, norm)
            found.level = level
            return found

        self.condition = ConditionEmbedding(condition_width, classes, time_scale, leaps=leaps)
        self.split, self.join = nn.PixelUnshuffle(patch), nn.PixelShuffle(patch)
        self.first = nn.Conv2d(channels * patch**2, sizes[0], 3, padding=1)

        self.down, skips = nn.ModuleList(), [sizes[0]]  # skips: the channels of every output on the way down
        for level, size in enumerate(sizes):
            for _ in range(blocks):
                self.down.append(block(size, level))
                skips.append(size)
            if level < lowest:
                self.down.append(Downsample(size, sizes[level + 1]))
                skips.append(sizes[level + 1])

        self.middle = block(sizes[lowest], lowest)

        self.up = nn.ModuleList()
        for level, size in reversed(list(enumerate(sizes))):
            for _ in range(blocks + 1):
                self.up.append(block(size + skips.pop(), level))
            if level:
                self.up.append(Upsample(size, sizes[level - 1]))

        self.last_norm = build_norm(norm, sizes[0])
        self.outputs = channels if outputs is None else outputs
        self.last = zero_initialised(nn.Conv2d(sizes[0], self.outputs * patch**2, 3, padding=1))
        self.input_gain = zero_initialised(nn.Linear(condition_width, 1))

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, channels, H, W)`, t `(B,)`, cond `(B,)` or None, to `(B, outputs, H, W)`."""
        check_image(x, self.channels, self.factor)
        condition, tokens = self.told(t, cond)
        h = self.first(self.split(x))
        skips = [h]
        for layer in self.down:
            h = layer(h, condition, tokens) if isinstance(layer, Block) else layer(h)
            skips.append(h)
        h = self.middle(h, condition, tokens)
        for layer in self.up:  # every block on the way up also sees the output of its mirror image on the way down
            h = layer(torch.cat([h, skips.pop()], dim=1), condition, tokens) if isinstance(layer, Block) else layer(h)
        out = self.join(self.last(F.silu(self.last_norm(h))))
        return let_through(out, self.input_gain, condition, x)

    def told(self, t: Tensor, cond: Cond) -> tuple[Tensor, Tensor | None]:
        """What all blocks are told: the vector for time and class `(B, condition_width)`, and tokens to ask, of which there are none."""
        return self.condition(t, cond), None


class BasicUNet(nn.Module):
    """The plainest U-Net that is told the time: pairs of convolutions, maxima down, copies up, and the skips; nothing else.

    The time's vector is added to the channels between two convolutions. What `UNet` adds to it, one thing each, is the residual
    connection, the scale, attention, patches and the input's gain.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 2),
        classes: int | None = None,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.factor = channels, 2 ** (len(multipliers) - 1)
        self.takes = None if classes is None else Labels(classes)
        sizes = [width * multiplier for multiplier in multipliers]
        self.condition = ConditionEmbedding(4 * width, classes, time_scale)
        self.down = nn.ModuleList(
            ConvolutionPair(before, size, 4 * width) for before, size in pairwise([channels, *sizes])
        )
        self.up = nn.ModuleList(
            ConvolutionPair(below + size, size, 4 * width) for size, below in reversed(list(pairwise(sizes)))
        )
        self.last = nn.Conv2d(sizes[0], channels, 1)

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, channels, H, W)`, t `(B,)`, cond `(B,)` or None, to the shape of x."""
        check_image(x, self.channels, self.factor)
        condition = self.condition(t, cond)
        *levels, lowest = self.down
        skips = []
        for pair in levels:
            skips.append(pair(x, condition))
            x = F.max_pool2d(skips[-1], 2)
        x = lowest(x, condition)
        for pair in self.up:
            x = pair(torch.cat([F.interpolate(x, scale_factor=2), skips.pop()], dim=1), condition)
        return self.last(x)


class ConvolutionPair(nn.Module):
    """Two convolutions, each followed by norm and activation; the condition is added between them."""

    def __init__(self, channels_in: int, channels: int, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm()
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        self.bias = nn.Linear(width, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x `(B, channels_in, H, W)` to `(B, channels, H, W)`."""
        h = F.silu(self.norm(self.conv_in(x))) + self.bias(condition)[:, :, None, None]
        return F.silu(self.norm(self.conv_out(h)))
