"""Neighbourhoods of features (precision, recall, density, coverage) and of pixels (copies of training images)."""

import math
from collections.abc import Callable
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


def recall_statistic(real: Tensor, generated: Tensor, k: int = 3) -> Callable[[Tensor | None], float]:
    """Recall of features `(N, d)` and `(M, d)` among the generated rows that count, those with a weight `(M,)` above 0 (None: all).

    Their neighbourhoods reach to the k-th nearest of the rows that count. Repetitions of a row would be its nearest neighbours, so
    weights above 1 mean no more than 1.
    """
    among, across = torch.cdist(generated, generated), torch.cdist(generated, real.to(generated))  # (M, M), (M, N)
    near = among.topk(min(len(generated), 16 * (k + 1)), largest=False)  # sorted; for most weights these are enough

    def statistic(weights: Tensor | None = None) -> float:
        counts = torch.ones(len(generated), dtype=torch.bool) if weights is None else weights.cpu() > 0
        rows = counts.nonzero()[:, 0]
        met = counts[near.indices[rows].cpu()].cumsum(1)  # how many that count are this near, a row itself among them
        if bool((met[:, -1] > k).all()):
            kth = (met > k).int().argmax(1, keepdim=True)
            radius = near.values[rows].gather(1, kth.to(generated.device))
        else:
            radius = among[rows][:, rows].kthvalue(k + 1, dim=1, keepdim=True).values
        return float((across[rows] <= radius).any(0).double().mean())

    return statistic


def coverage_statistic(real: Tensor, generated: Tensor, k: int = 3) -> Callable[[Tensor | None], float]:
    """Coverage of features `(N, d)` and `(M, d)` as a function of the weights `(M,)`: a row with the weight 0 covers nothing."""
    real = real.to(generated)
    inside = (torch.cdist(generated, real) <= radii(real, k)).to(generated)  # (M, N)

    def statistic(weights: Tensor | None = None) -> float:
        held = inside.sum(0) if weights is None else weights.to(inside) @ inside
        return float((held > 0).double().mean())

    return statistic


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
