"""A compact U-Net: the workhorse denoiser of small images (Ronneberger et al., 2015; Ho et al., 2020)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import ChannelNorm, Downsample, ResidualBlock, SelfAttention, Upsample, zero_initialised
from course_lib.nets.embeddings import ConditionEmbedding
from course_lib.types import Cond


class Block(nn.Module):
    """A residual block, followed by self-attention where asked."""

    def __init__(self, channels_in: int, channels: int, width: int, attention: bool) -> None:
        super().__init__()
        self.residual = ResidualBlock(channels_in, channels, width)
        self.attention = SelfAttention(channels) if attention else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x `(B, channels_in, H, W)` to `(B, channels, H, W)`."""
        return self.attention(self.residual(x, condition))


class UNet(nn.Module):
    """Residual blocks on a ladder of resolutions, with skips from the way down to the way up.

    `multipliers` gives the channels at each resolution in units of `width`; `attention` lists the resolutions (0 is the full one)
    that attend. With `patch` > 1 the full resolution is that of patch x patch squares of pixels, each one a vector of channels
    (Shi et al., 2016), which saves the costliest layers. The image's sides must be divisible by patch * 2^(resolutions - 1).
    A gain that depends on the time lets the input through to the output; it starts at 0, so an untrained U-Net predicts 0.
    """

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
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "channels": channels,
            "width": width,
            "multipliers": list(multipliers),
            "blocks": blocks,
            "attention": list(attention),
            "patch": patch,
            "classes": classes,
            "time_scale": time_scale,
        }
        sizes = [width * multiplier for multiplier in multipliers]
        lowest = len(sizes) - 1
        condition_width = 4 * width
        self.condition = ConditionEmbedding(condition_width, classes, time_scale)
        self.split, self.join = nn.PixelUnshuffle(patch), nn.PixelShuffle(patch)
        self.first = nn.Conv2d(channels * patch**2, sizes[0], 3, padding=1)

        self.down, skips = nn.ModuleList(), [sizes[0]]  # skips: the channels of every output on the way down
        for level, size in enumerate(sizes):
            for _ in range(blocks):
                self.down.append(Block(size, size, condition_width, level in attention))
                skips.append(size)
            if level < lowest:
                self.down.append(Downsample(size, sizes[level + 1]))
                skips.append(sizes[level + 1])

        self.middle = Block(sizes[lowest], sizes[lowest], condition_width, lowest in attention)

        self.up = nn.ModuleList()
        for level, size in reversed(list(enumerate(sizes))):
            for _ in range(blocks + 1):
                self.up.append(Block(size + skips.pop(), size, condition_width, level in attention))
            if level:
                self.up.append(Upsample(size, sizes[level - 1]))

        self.last_norm = ChannelNorm()
        self.last = zero_initialised(nn.Conv2d(sizes[0], channels * patch**2, 3, padding=1))
        self.input_gain = zero_initialised(nn.Linear(condition_width, 1))

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, channels, H, W)`, t `(B,)`, cond `(B,)` or None, to the shape of x."""
        self._check_sides(x)
        condition = self.condition(t, cond)
        h = self.first(self.split(x))
        skips = [h]
        for layer in self.down:
            h = layer(h, condition) if isinstance(layer, Block) else layer(h)
            skips.append(h)
        h = self.middle(h, condition)
        for layer in self.up:  # every block on the way up also sees the output of its mirror image on the way down
            h = layer(torch.cat([h, skips.pop()], dim=1), condition) if isinstance(layer, Block) else layer(h)
        out = self.join(self.last(F.silu(self.last_norm(h))))
        # The norm forgets how long the channels' vectors are; near pure noise the answer is the input, length and all.
        return out + self.input_gain(F.silu(condition))[:, :, None, None] * x

    def _check_sides(self, x: Tensor) -> None:
        factor = self.config["patch"] * 2 ** (len(self.config["multipliers"]) - 1)
        if x.ndim != 4 or x.shape[1] != self.config["channels"] or x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(
                f"x must have shape (B, {self.config['channels']}, H, W) with H and W multiples of {factor}; got {tuple(x.shape)}"
            )
