"""Figures drawn with a pen by our own code, in the manner of handwritten digits: each time a little different."""

import math

import torch
from torch import Tensor

from course_lib.draws import normal, uniform
from course_lib.types import check_name

POINTS = 96  # along a curve
FINE = 4  # a pixel is the mean of so many squares in each direction


def heart(turn: Tensor) -> Tensor:
    """A heart, for turns `(n,)` in [0, 1]: points `(n, 2)` of x to the right and y down, about within [-1, 1]."""
    t = 2 * math.pi * turn
    x = 16 * t.sin() ** 3
    y = 13 * t.cos() - 5 * (2 * t).cos() - 2 * (3 * t).cos() - (4 * t).cos()
    return torch.stack([x / 16, -(y + 2.5) / 15], -1)


def star(turn: Tensor) -> Tensor:
    """A star of five points in one stroke, for turns `(n,)` in [0, 1]: points `(n, 2)`."""
    corner, part = (5 * turn).floor(), (5 * turn) % 1
    ends = [2 * math.pi * 2 / 5 * (corner + step) for step in (0, 1)]
    first, second = (torch.stack([end.sin(), -end.cos()], -1) for end in ends)
    return torch.lerp(first, second, part[:, None])


def spiral(turn: Tensor) -> Tensor:
    """A spiral of two turns from the middle, for turns `(n,)` in [0, 1]: points `(n, 2)`."""
    angle = 4 * math.pi * turn
    return turn[:, None] * torch.stack([angle.cos(), angle.sin()], -1)


FIGURES = {"heart": heart, "star": star, "spiral": spiral}


def drawn(figure: str, n: int, size: int, generator: torch.Generator) -> Tensor:
    """n pictures of one of FIGURES, uint8 `(n, 1, size, size)`, bright on black, from a pen of `generator`'s moods.

    Size, place, slant, turn, thickness and a slow wobble of the hand differ from picture to picture. A pixel is as bright as the share of
    it that the pen has covered. Raises ValueError for a figure that is not known.
    """
    check_name("figure", figure, FIGURES)
    turn = torch.linspace(0, 1, POINTS)
    points = FIGURES[figure](turn).expand(n, POINTS, 2)
    phase, strength = uniform((n, 1, 2), generator), 0.05 * normal((n, 1, 2), generator)
    points = points + strength * (2 * math.pi * (2 * turn[:, None] + phase)).sin()
    angle, slant = 0.12 * normal((n,), generator), 0.15 * normal((n,), generator)
    mix = torch.stack([angle.cos(), slant - angle.sin(), angle.sin(), angle.cos()], -1).view(n, 2, 2)
    reach = 0.33 + 0.06 * uniform((n, 1, 2), generator)  # half the figure's size, in units of the picture's
    points = 0.5 + reach * (points @ mix.mT) + 0.02 * normal((n, 1, 2), generator)
    radius = 0.045 + 0.03 * uniform((n, 1, 1), generator)  # half of the pen's thickness
    at = (torch.arange(size * FINE) + 0.5) / (size * FINE)
    squares = torch.cartesian_prod(at, at).flip(-1)  # x first, rows of equal y
    covered = torch.stack(
        [(torch.cdist(squares, curve).amin(1) < r).float() for curve, r in zip(points, radius.view(n), strict=True)]
    )
    bright = torch.nn.functional.avg_pool2d(covered.view(n, 1, size * FINE, size * FINE), FINE)
    return (255 * bright).round().to(torch.uint8)
