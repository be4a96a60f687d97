"""Dead leaves: discs of all sizes that lie on one another, the simplest pictures with the edges of photographs (Lee et al., 2001)."""

import math

import numpy as np
import torch
from torch import Tensor

from course_lib.draws import normal, uniform

SENSOR = 0.05  # the standard deviation of the camera's noise, where black is -1 and white 1
BRIGHTEST = 0.8  # the greys reach from -0.8 to 0.8, so that the noise stays within black and white
CANVAS = 256  # the side of a heap in pixels
FINE = 2  # a pixel is the mean of so many times so many points
BATCH = 1000  # leaves that are drawn at once


def dead_leaves(
    n: int,
    size: int = 32,
    smallest: float = 3.0,
    largest: float = 32.0,
    sensor: float = SENSOR,
    generator: torch.Generator | None = None,
) -> Tensor:
    """n pictures `(n, 1, size, size)`: discs whose radii have a density of r^-3, each of a grey that is uniform in [-0.8, 0.8].

    The pictures are windows of large heaps, so that their statistics are the same everywhere; on every pixel comes the noise of a sensor.
    Radii are in pixels. Raises ValueError unless 0 < smallest < largest, and the size divides CANVAS.
    """
    if not 0 < smallest < largest:
        raise ValueError(f"smallest and largest must satisfy 0 < smallest < largest; got {smallest} and {largest}")
    if not 0 < size <= CANVAS or CANVAS % size:
        raise ValueError(f"size must divide {CANVAS}; got {size}")
    windows = [
        window
        for _ in range(math.ceil(n / (CANVAS // size) ** 2))
        for rows in heap(smallest, largest, generator).split(size, 0)
        for window in rows.split(size, 1)
    ]
    clean = torch.stack(windows[:n])[:, None] if n else torch.zeros(0, 1, size, size)
    return clean + sensor * normal((n, 1, size, size), generator)


def heap(smallest: float, largest: float, generator: torch.Generator | None = None) -> Tensor:
    """A heap of leaves `(CANVAS, CANVAS)` without noise, from above: each leaf is pushed under the others until no point is bare."""
    side = CANVAS * FINE
    at = (np.arange(side) + 0.5) / FINE  # where the points lie, in pixels
    grey, bare = np.zeros((side, side), np.float32), np.ones((side, side), bool)
    while bare.any():
        share = uniform((BATCH,), generator)
        radii = (
            smallest**-2 - share * (smallest**-2 - largest**-2)
        ) ** -0.5  # the inverse of the distribution function
        places = uniform((BATCH, 2), generator) * (CANVAS + 2 * largest) - largest
        shades = BRIGHTEST * (2 * uniform((BATCH,), generator) - 1)
        for radius, (row, column), shade in zip(radii.tolist(), places.tolist(), shades.tolist(), strict=True):
            rows, columns = (
                slice(max(0, int((middle - radius) * FINE)), max(0, int((middle + radius) * FINE) + 1))
                for middle in (row, column)
            )
            free = bare[rows, columns]
            covered = free & ((at[rows, None] - row) ** 2 + (at[columns] - column) ** 2 < radius**2)
            grey[rows, columns][covered] = shade
            free ^= covered  # what was bare there, and is no longer
    return torch.from_numpy(grey).reshape(CANVAS, FINE, CANVAS, FINE).mean((1, 3))
