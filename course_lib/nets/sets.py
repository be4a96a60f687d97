"""A transformer for clouds of points: they are tokens that attend to one another and have no order."""

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.nets.recorded import recorded
from course_lib.nets.sequences import FrameTransformer


class Waves(nn.Module):
    """Coordinates `(..., 3)` with sines and cosines of 1, 2 and 4 times them, `(..., 21)`.

    A small network is slow to learn where a surface is from the bare coordinates (Tancik et al., 2020).
    """

    def forward(self, x: Tensor) -> Tensor:
        """x `(..., 3)` to `(..., 21)`."""
        angles = torch.cat([x, 2 * x, 4 * x], -1)
        return torch.cat([x, angles.sin(), angles.cos()], -1)


class PointTransformer(FrameTransformer):
    """The `FrameTransformer` of points in space, `(B, points, 3)`, told one of `classes` classes.

    With `places` None the points are a set, and so is the answer; with a number of places each point is told its own, and the answer
    depends on their order. Raises ValueError where the heads do not divide the width, with places into multiples of 4.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self, classes: int, places: int | None = None, width: int = 64, depth: int = 2, heads: int = 4
    ) -> None:
        super().__init__(3, places, width, depth, heads, classes=classes)
        self.first = nn.Sequential(Waves(), nn.Linear(21, width))  # type: ignore[assignment]
