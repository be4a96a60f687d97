"""The kernel distance between two sets of features."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.evaluation.features import row_weights


def kernel_distance(real: Tensor, generated: Tensor, weights: Tensor | None = None) -> float:
    """The unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 (KID; Binkowski et al., 2018).

    Features are `(N, d)` and `(M, d)`; `weights` `(M,)` are those of the generated rows, on whose device it is computed.
    It may be negative: its expectation, and not its value, is 0 for equal
    distributions. Memory grows as the square of the number of generated rows (200 MB for 5,000).
    """
    return kernel_statistic(real, generated)(weights)


def kernel_statistic(real: Tensor, generated: Tensor) -> Callable[[Tensor | None], float]:
    """`kernel_distance` of features `(N, d)` and `(M, d)` as a function of the weights `(M,)`: the kernels are computed once."""
    real = real.to(generated)
    d, n = real.shape[1], len(real)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / d + 1) ** 3

    def diagonal(x: Tensor) -> Tensor:  # k(x, x), which the unbiased estimate leaves out
        return (x.square().sum(1) / d + 1) ** 3

    blocks = real.split(1000)
    among_real = (sum(kernel(rows, real).sum() for rows in blocks) - diagonal(real).sum()) / (n * (n - 1))
    across = torch.stack([kernel(rows, generated).sum(0) for rows in blocks]).sum(0) / n  # (M,)
    among_generated, itself = kernel(generated, generated), diagonal(generated)

    def statistic(weights: Tensor | None = None) -> float:
        w = row_weights(generated, weights)
        pairs = w @ among_generated @ w - w.square() @ itself
        return float(among_real + pairs / (w.sum() ** 2 - w.square().sum()) - 2 * (w @ across) / w.sum())

    return statistic
