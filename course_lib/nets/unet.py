"""A compact U-Net: the workhorse denoiser of small images (Ronneberger et al., 2015; Ho et al., 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import Downsample, PixelNorm, ResidualBlock, SelfAttention, Upsample, zero_initialised
from course_lib.nets.embeddings import ConditionEmbedding
from course_lib.types import Cond


class Stage(nn.Module):
    """Some residual blocks at one resolution, each followed by attention where asked."""

    def __init__(self, channels_in: list[int], channels: int, width: int, attention: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(c, channels, width) for c in channels_in)
        self.attention = nn.ModuleList(SelfAttention(channels) if attention else nn.Identity() for _ in channels_in)


class UNet(nn.Module):
    """Residual blocks on a ladder of resolutions, with skips from the way down to the way up.

    `multipliers` gives the channels at each resolution in units of `width`; `attention` lists the resolutions (0 is the full one)
    that attend; the image's sides must be divisible by 2^(resolutions - 1). An untrained U-Net predicts 0.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 2),
        blocks: int = 1,
        attention: tuple[int, ...] = (2,),
        classes: int | None = None,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.config = {
            "channels": channels,
            "width": width,
            "multipliers": list(multipliers),
            "blocks": blocks,
            "attention": list(attention),
            "classes": classes,
            "time_scale": time_scale,
        }
        sizes = [width * m for m in multipliers]
        condition_width = 4 * width
        self.condition = ConditionEmbedding(condition_width, classes, time_scale)
        self.first = nn.Conv2d(channels, sizes[0], 3, padding=1)

        self.down, self.downsamples, skips = nn.ModuleList(), nn.ModuleList(), [sizes[0]]
        for level, size in enumerate(sizes):
            self.down.append(Stage([size] * blocks, size, condition_width, level in attention))
            skips += [size] * blocks
            if level + 1 < len(sizes):
                self.downsamples.append(Downsample(size, sizes[level + 1]))
                skips.append(sizes[level + 1])

        self.middle = Stage([sizes[-1]], sizes[-1], condition_width, attention=len(sizes) - 1 in attention)

        self.up, self.upsamples = nn.ModuleList(), nn.ModuleList()
        for level, size in reversed(list(enumerate(sizes))):
            self.up.append(Stage([size + skips.pop() for _ in range(blocks + 1)], size, condition_width, level in attention))
            if level:
                self.upsamples.append(Upsample(size, sizes[level - 1]))

        self.last_norm = PixelNorm(sizes[0])
        self.last = zero_initialised(nn.Conv2d(sizes[0], channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, channels, H, W)`, t `(B,)`, cond `(B,)` or None, to the shape of x."""
        self._check_sides(x)
        condition = self.condition(t, cond)
        h = self.first(x)
        skips = [h]
        for level, stage in enumerate(self.down):
            for block, attend in zip(stage.blocks, stage.attention, strict=True):
                h = attend(block(h, condition))
                skips.append(h)
            if level < len(self.downsamples):
                h = self.downsamples[level](h)
                skips.append(h)
        for block, attend in zip(self.middle.blocks, self.middle.attention, strict=True):
            h = attend(block(h, condition))
        for level, stage in enumerate(self.up):
            for block, attend in zip(stage.blocks, stage.attention, strict=True):
                h = attend(block(torch.cat([h, skips.pop()], dim=1), condition))
            if level < len(self.upsamples):
                h = self.upsamples[level](h)
        return self.last(F.silu(self.last_norm(h)))

    def _check_sides(self, x: Tensor) -> None:
        factor = 2 ** len(self.downsamples)
        if x.ndim != 4 or x.shape[1] != self.config["channels"] or x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(
                f"x must have shape (B, {self.config['channels']}, H, W) with H and W multiples of {factor}; got {tuple(x.shape)}"
            )
