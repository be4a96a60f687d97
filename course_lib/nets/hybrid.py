"""A network of both kinds: convolutions where there are many pixels, a transformer where there are few."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import Downsample, ResidualBlock, Upsample, check_image, let_through, zero_initialised
from course_lib.nets.conditions import Labels
from course_lib.nets.embeddings import ConditionEmbedding, position_embedding
from course_lib.nets.norms import ChannelNorm
from course_lib.nets.recorded import recorded
from course_lib.nets.transformers import TransformerBlock
from course_lib.types import Cond


class Hybrid(nn.Module):
    """Residual blocks and halvings down to the lowest resolution, `depth` transformer blocks there, and the same way up again.

    The U-ViT of simple diffusion (Hoogeboom et al., 2023). `multipliers` gives the channels at each resolution in units of `width`,
    the last those of the tokens. Sides must be multiples of patch * 2^(resolutions - 1). As in `UNet`, a gain lets the input through.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 4),
        depth: int = 4,
        heads: int = 4,
        patch: int = 1,
        classes: int | None = None,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.factor = channels, patch * 2 ** (len(multipliers) - 1)
        self.takes = None if classes is None else Labels(classes)
        sizes, condition_width = [width * multiplier for multiplier in multipliers], 4 * width
        self.condition = ConditionEmbedding(condition_width, classes, time_scale)
        self.split, self.join = nn.PixelUnshuffle(patch), nn.PixelShuffle(patch)
        self.first = nn.Conv2d(channels * patch**2, sizes[0], 3, padding=1)
        self.down = nn.ModuleList(ResidualBlock(size, size, condition_width) for size in sizes[:-1])
        self.shrink = nn.ModuleList(Downsample(size, below) for size, below in pairwise(sizes))
        self.trunk = nn.ModuleList(TransformerBlock(sizes[-1], condition_width, heads) for _ in range(depth))
        self.grow = nn.ModuleList(Upsample(below, size) for size, below in reversed(list(pairwise(sizes))))
        self.up = nn.ModuleList(ResidualBlock(2 * size, size, condition_width) for size in reversed(sizes[:-1]))
        self.norm = ChannelNorm()
        self.last = zero_initialised(nn.Conv2d(sizes[0], channels * patch**2, 3, padding=1))
        self.input_gain = zero_initialised(nn.Linear(condition_width, 1))

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, channels, H, W)`, t `(B,)`, cond `(B,)` or None, to the shape of x."""
        check_image(x, self.channels, self.factor)
        condition = self.condition(t, cond)
        h, skips = self.first(self.split(x)), []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            h = block(h, condition)
            skips.append(h)
            h = shrink(h)
        h = h + position_embedding(h)
        for block in self.trunk:
            h = block(h, condition)
        for grow, block in zip(self.grow, self.up, strict=True):
            h = block(torch.cat([grow(h), skips.pop()], dim=1), condition)
        out = self.join(self.last(F.silu(self.norm(h))))
        return let_through(out, self.input_gain, condition, x)
