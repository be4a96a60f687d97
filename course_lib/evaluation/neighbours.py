"""Neighbourhoods of features (precision, recall, density, coverage) and of pixels (copies of training images)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Manifold(NamedTuple):
    """Which samples lie in the neighbourhoods of which; a neighbourhood reaches to the k-th nearest point of its own set."""

    precise: Tensor  # (M,) bool: the generated row lies in some real row's neighbourhood
    recalled: Tensor  # (N,) bool: the real row lies in some generated row's neighbourhood
    dense: Tensor  # (M,): in how many real neighbourhoods the generated row lies, divided by k
    covered: Tensor  # (N,) bool: the real row's neighbourhood holds some generated row


def manifold(real: Tensor, generated: Tensor, k: int = 3) -> Manifold:
    """Compare features `(N, d)` and `(M, d)` by neighbourhoods (Kynkäänniemi et al., 2019; Naeem et al., 2020).

    The means of the four fields are precision, recall, density and coverage; all are computed on the device of `generated`.
    Raises ValueError where a set has at most k rows, or holds numbers that are not finite.
    """
    if min(len(real), len(generated)) <= k:
        raise ValueError(f"k must be smaller than both sets; got k = {k} for {len(real)} and {len(generated)} rows")
    real = real.to(generated)
    if not (bool(real.isfinite().all()) and bool(generated.isfinite().all())):
        raise ValueError("features must be finite: some row holds NaN or infinity, which is near nothing")
    real_radius, generated_radius = radii(real, k), radii(generated, k)
    precise, dense = [], []
    recalled, covered = real.new_zeros(2, len(real), dtype=torch.bool)
    for rows, radius in zip(generated.split(1000), generated_radius.split(1000), strict=True):
        distance = torch.cdist(rows, real)  # (rows, N)
        inside = distance <= real_radius
        precise.append(inside.any(1))
        dense.append(inside.sum(1) / k)
        covered |= inside.any(0)
        recalled |= (distance <= radius[:, None]).any(0)
    return Manifold(torch.cat(precise), recalled, torch.cat(dense), covered)


def radii(vectors: Tensor, k: int) -> Tensor:
    """The distance from each row of `(N, d)` to its k-th nearest other row, `(N,)`."""
    return torch.cat([torch.cdist(rows, vectors).kthvalue(k + 1, dim=1).values for rows in vectors.split(1000)])


class Copies(NamedTuple):
    """How near samples lie to the training set, beside how near new real images lie (root mean square a pixel, in [0, 2])."""

    generated: Tensor  # (N,)
    held_out: Tensor  # (M,)

    @property
    def near(self) -> Tensor:
        """Which samples `(N,)` are nearer to the training set than all but 1 % of the held-out images (1.0, else 0.0)."""
        return (self.generated < self.held_out.quantile(0.01)).double()

    @property
    def share(self) -> float:
        """The share of such samples; about 0.01 is no copying."""
        return float(self.near.mean())


def copies(generated: Tensor, held_out: Tensor, train: Tensor) -> Copies:
    """The distance of each image to the nearest training image, pixel by pixel; all `(N, C, H, W)` in [-1, 1]."""
    flat = train.flatten(1).float()

    def nearest(images: Tensor) -> Tensor:
        rows = images.flatten(1).to(flat)
        distances = [torch.cdist(part, flat).min(1).values for part in rows.split(200)]
        return torch.cat(distances) / math.sqrt(rows.shape[1])

    return Copies(nearest(generated), nearest(held_out))
