"""Generated sets of points in the plane."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.draws import integers, normal, uniform


def moons(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Two interleaved half circles, `(n, 2)`, about within [-2, 2]."""
    angle = math.pi * uniform((n,), generator)
    upper = uniform((n,), generator) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos()) - 0.5
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin()) - 0.25
    return 1.2 * (torch.stack([x, y], 1) + 0.05 * normal((n, 2), generator))


def swiss_roll(n: int, generator: torch.Generator | None = None) -> Tensor:
    """A spiral of one and a half turns, `(n, 2)`, about within [-2, 2]."""
    angle = 1.5 * math.pi * (1 + 2 * uniform((n,), generator))
    spiral = torch.stack([angle * angle.cos(), angle * angle.sin()], 1)
    return (spiral + 0.3 * normal((n, 2), generator)) / 7


def checkerboard(n: int, generator: torch.Generator | None = None) -> Tensor:
    """The black squares of a 4 x 4 board, `(n, 2)`, within [-2, 2]."""
    x = 4 * uniform((n,), generator) - 2
    row = 2 * integers(0, 2, (n,), generator) - 2 + x.floor().remainder(2)
    return torch.stack([x, row + uniform((n,), generator)], 1)


def eight_gaussians(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Eight small Gaussians on a circle of radius 1.6, `(n, 2)`."""
    angle = math.pi / 4 * integers(0, 8, (n,), generator)
    return 1.6 * torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * normal((n, 2), generator)


def spirals(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Two arms of a spiral, `(n, 2)`, about within [-2, 2]."""
    angle = 3 * math.pi * uniform((n,), generator).sqrt()
    sign = 2.0 * integers(0, 2, (n,), generator) - 1
    arm = torch.stack([-angle.cos(), angle.sin()], 1) * (angle * sign / 5)[:, None]
    return arm + 0.05 * normal((n, 2), generator)


TOY_SETS: dict[str, Callable[..., Tensor]] = {
    f.__name__: f for f in (moons, swiss_roll, checkerboard, eight_gaussians, spirals)
}
