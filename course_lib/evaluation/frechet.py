"""The Fréchet distance between two sets of features.

Every metric takes optional weights `(N,)`, how often each row counts, so that `intervals.measured` can leave rows out without copies.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.evaluation.features import row_weights


class Moments(NamedTuple):
    """Mean `(d,)` and covariance `(d, d)` of a set of vectors."""

    mean: Tensor
    covariance: Tensor


def moments(vectors: Tensor, weights: Tensor | None = None) -> Moments:
    """Mean and unbiased covariance of the rows of `(N, d)`; raises ValueError where there are fewer than two."""
    if len(vectors) < 2:
        raise ValueError(f"vectors must have at least 2 rows to have a covariance; got {len(vectors)}")
    w = row_weights(vectors, weights)
    mean = w @ vectors / w.sum()
    centred = vectors - mean
    return Moments(mean, (centred * w[:, None]).T @ centred / (w.sum() - 1))


def square_root(matrix: Tensor) -> Tensor:
    """The symmetric root of a positive semidefinite matrix `(d, d)`, from its eigenvalues."""
    values, axes = torch.linalg.eigh(matrix)
    return axes * values.clamp(min=0).sqrt() @ axes.T


def gaussian_frechet_distance(a: Moments, b: Moments, root: Tensor | None = None) -> Tensor:
    """The squared Wasserstein-2 distance `()` of two Gaussians (Dowson and Landau, 1982), which Heusel et al. (2017) made into FID.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2); the roots come from symmetric eigenproblems, so that nothing
    becomes complex where a covariance is singular. `root` is C_a^1/2, where it is known already.
    """
    root = square_root(a.covariance) if root is None else root
    inner = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt()
    traces = a.covariance.trace() + b.covariance.trace()
    return ((a.mean - b.mean).square().sum() + traces - 2 * inner.sum()).clamp(min=0)


def frechet_distance(real: Tensor | Moments, generated: Tensor, weights: Tensor | None = None) -> float:
    """The Fréchet distance between Gaussians fitted to two sets of features `(N, d)`; FID only where the features are Inception-v3's.

    `weights` `(N,)` are those of the generated rows, on whose device it is computed.
    It is biased upwards by an amount that falls as 1/N (Chong and Forsyth, 2020):
    compare at equal N only.
    """
    return frechet_statistic(real, generated)(weights)


def frechet_statistic(real: Tensor | Moments, generated: Tensor) -> Callable[[Tensor | None], float]:
    """`frechet_distance` as a function of the weights `(N,)`: the root of the real covariance is taken once."""
    real = real if isinstance(real, Moments) else moments(real)
    real = Moments(real.mean.to(generated), real.covariance.to(generated))
    root = square_root(real.covariance)
    return lambda weights=None: float(gaussian_frechet_distance(real, moments(generated, weights), root))
