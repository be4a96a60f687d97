"""A U-Net that is told a class and a few numbers, each of which may be left open: a designer's wishes."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.nets.blocks import zero_initialised
from course_lib.nets.conditions import Labels, Wishes
from course_lib.nets.embeddings import ConditionEmbedding
from course_lib.nets.recorded import recorded
from course_lib.nets.unet import UNet
from course_lib.types import Cond

HARMONICS = 3  # of each wish


def wish_features(wishes: Tensor) -> Tensor:
    """Wishes `(B, K)` in [0, 1], or -1 for none, as rows for a linear layer, `(B, K (2 + HARMONICS))`.

    For each wish: whether it is there, its distance from 1/2 and the cosines of pi, 2 pi, ... times it. All are 0 where it is not there.
    """
    there = (wishes >= 0).to(wishes)
    turns = torch.arange(1, HARMONICS + 1, device=wishes.device, dtype=wishes.dtype) * math.pi
    each = torch.cat(
        [torch.ones_like(wishes)[..., None], wishes[..., None] - 0.5, (wishes[..., None] * turns).cos()], -1
    )
    return (each * there[..., None]).flatten(1)


class WishEmbedding(ConditionEmbedding):
    """A `ConditionEmbedding` of time and class, and what wishes add to it: nothing at first.

    The condition is a mapping of "class" `(B,)` and "wishes" `(B, K)`.
    """

    nothing: Tensor

    def __init__(self, width: int, classes: int, wishes: int, time_scale: float = 1.0) -> None:
        super().__init__(width, classes, time_scale)
        self.wishes = nn.Sequential(
            nn.Linear(wishes * (2 + HARMONICS), width), nn.SiLU(), zero_initialised(nn.Linear(width, width))
        )
        self.register_buffer("nothing", torch.full((1, wishes), -1.0), persistent=False)

    def parts(self, t: Tensor, cond: Cond = None) -> list[Tensor]:
        """The embeddings of the time, the class and the wishes, each `(B, width)`; the null of each where cond is None."""
        label, wishes = (
            (cond["class"], cond["wishes"]) if isinstance(cond, Mapping) else (None, self.nothing.expand(len(t), -1))
        )
        features = wish_features(wishes).to(next(self.wishes.parameters()).dtype)
        return [*super().parts(t, label), self.wishes(features)]

    def forward(self, t: Tensor, cond: Cond = None) -> Tensor:
        """Embed times t `(B,)` and the condition, or None, as `(B, width)`."""
        return torch.stack(self.parts(t, cond)).sum(0)


class DesignUNet(nn.Module):
    """A U-Net of pictures with `classes` kinds, whose condition names a kind, "class", and numbers in [0, 1], "wishes".

    `wishes` are the names of the numbers; each may be left open, -1. `knots` is the length of a table that the weights bring along,
    (classes, wishes, knots): what the numbers mean, such as the quantiles of a measure. The other arguments are those of `UNet`; an
    untrained one is a `UNet` with classes that does not hear the wishes.
    """

    config: dict[str, Any]
    table: Tensor

    @recorded
    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 2),
        blocks: int = 1,
        attention: tuple[int, ...] = (2,),
        patch: int = 1,
        classes: int = 10,
        wishes: tuple[str, ...] = (),
        knots: int = 129,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.takes = {"class": Labels(classes), "wishes": Wishes(tuple(wishes))}
        self.body = UNet(channels, width, multipliers, blocks, attention, patch, classes, time_scale)
        self.body.condition = WishEmbedding(4 * width, classes, len(wishes), time_scale)
        self.register_buffer("table", torch.zeros(classes, len(wishes), knots))

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, channels, H, W)`, t `(B,)` and the condition, or None, to the shape of x."""
        return self.body(x, t, cond)
