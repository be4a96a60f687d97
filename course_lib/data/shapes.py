"""Point clouds of three families of shapes, drawn uniformly by area or length from a seed, and how sets of clouds are compared."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.draws import integers, uniform

KINDS = ("torus", "box", "helix")
POINTS, TURNS = 64, 2  # points of a cloud, turns of a helix
SCALE = 2.8  # with it, coordinates have a variance of about 1


class Clouds(NamedTuple):
    """Points `(n, points, 3)` within [-SCALE, SCALE], the third coordinate upright, and the number `(n,)` of each cloud's kind in KINDS."""

    points: Tensor
    kinds: Tensor


def clouds(n: int, generator: torch.Generator | None = None, points: int = POINTS) -> Clouds:
    """n clouds, each kind as often: each of an object with sizes of its own, turned about the vertical by any angle."""
    kinds = integers(0, len(KINDS), (n,), generator)
    return Clouds(clouds_of(kinds, generator, points), kinds)


def clouds_of(kinds: Tensor, generator: torch.Generator | None = None, points: int = POINTS) -> Tensor:
    """A cloud `(n, points, 3)` of a new object for each of these kinds `(n,)`; given its object, its points are independent.

    Raises ValueError for a number that is no kind's.
    """
    if len(kinds) and not 0 <= int(kinds.min()) <= int(kinds.max()) < len(KINDS):
        raise ValueError(
            f"kinds must lie in [0, {len(KINDS) - 1}], the numbers of {', '.join(KINDS)}; got {kinds.tolist()}"
        )
    n = len(kinds)
    sizes, turn = uniform((n, 3), generator), 2 * math.pi * uniform((n, 1), generator)
    draws, tosses = uniform((n, points, 3), generator), uniform((n, points, 2), generator)
    made = torch.stack([torus(sizes, draws, tosses), box(sizes, draws, tosses), helix(sizes, draws)])
    x, y, z = (SCALE * made[kinds, torch.arange(n)]).unbind(-1)
    return torch.stack([x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos(), z], -1)


def scattered(kinds: Tensor, generator: torch.Generator | None = None, points: int = POINTS) -> Tensor:
    """Clouds `(n, points, 3)` of these kinds `(n,)`, each point of which comes from an object of its own.

    This is the best that a model can do whose points do not see one another: each point alone is distributed as it should be.
    """
    return clouds_of(kinds.repeat_interleave(points), generator, 1).view(len(kinds), points, 3)


def torus(sizes: Tensor, draws: Tensor, tosses: Tensor, by_area: bool = True) -> Tensor:
    """Points `(n, points, 3)` of tori that stand like wheels, for sizes `(n, 3)`, draws and tosses `(n, points, ...)`, uniform in [0, 1).

    The area element is proportional to 1 + k cos(across), with k the ratio of the radii. Of the two angles `across` and pi - across the
    one is kept with a probability that makes up for it; without `by_area` both angles are uniform, and the points crowd inside.
    """
    wide, k = 0.45 + 0.25 * sizes[:, :1], 0.25 + 0.17 * sizes[:, 1:2]
    around, across = 2 * math.pi * draws[..., 0], 2 * math.pi * draws[..., 1]
    if by_area:
        across = torch.where(tosses[..., 0] < (1 + k * across.cos()) / 2, across, math.pi - across)
    out = wide * (1 + k * across.cos())
    return torch.stack([wide * k * across.sin(), out * around.cos(), out * around.sin()], -1)


def box(sizes: Tensor, draws: Tensor, tosses: Tensor) -> Tensor:
    """Points `(n, points, 3)` of the surfaces of boxes: a pair of faces as often as its area says, one of the two, a place on it."""
    half = 0.25 + 0.45 * sizes  # (n, 3)
    area = torch.stack([half[:, 1] * half[:, 2], half[:, 0] * half[:, 2], half[:, 0] * half[:, 1]], 1)
    share = area.cumsum(1) / area.sum(1, keepdim=True)
    axis = (tosses[..., :1] >= share[:, None, :2]).sum(-1)  # (n, points)
    inside = half[:, None] * (2 * draws - 1)
    sign = torch.where(tosses[..., 1:] < 0.5, -1.0, 1.0)
    on_face = torch.arange(3) == axis[..., None]
    return torch.where(on_face, sign * half[:, None], inside)


def helix(sizes: Tensor, draws: Tensor) -> Tensor:
    """Points `(n, points, 3)` of wires that lie wound around a horizontal axis; the angle runs at constant speed, so by length."""
    radius, half = 0.25 + 0.25 * sizes[:, :1], 0.5 + 0.35 * sizes[:, 1:2]
    along = 2 * draws[..., 0] - 1
    angle = math.pi * TURNS * along
    return torch.stack([half * along, radius * angle.cos(), radius * angle.sin()], -1)


def chamfer(first: Tensor, second: Tensor) -> Tensor:
    """The Chamfer distances `(n, m)` of clouds `(n, p, 3)` to clouds `(m, r, 3)`.

    The mean squared distance from a point to the nearest of the other cloud, one way and the other, added (Fan et al., 2017).
    """
    rows = []
    for one in first:
        apart = (one[None, :, None] - second[:, None]).square().sum(-1)  # (m, p, r)
        rows.append(apart.amin(2).mean(1) + apart.amin(1).mean(1))
    return torch.stack(rows)


def told_apart(first: Tensor, second: Tensor) -> Tensor:
    """Whether each cloud's nearest other one, by `chamfer`, is of its own set, `(2M,)`: for M clouds of each of two sets `(M, p, 3)`.

    The mean is the accuracy of the nearest neighbour as a classifier (Lopez-Paz and Oquab, 2017); where nothing tells the sets apart it
    is (M - 1) / (2M - 1), just below a half. Raises ValueError for sets of different sizes, whose accuracy would mean something else.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"both sets must have as many clouds, at least 2; got {len(first)} and {len(second)}")
    both = torch.cat([first, second])
    apart = chamfer(both, both).fill_diagonal_(math.inf)
    ours = torch.arange(len(both), device=both.device) < len(first)
    return ours[apart.argmin(1)] == ours
