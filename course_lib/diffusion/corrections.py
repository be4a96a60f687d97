"""What a correction of low rank can do to the best denoiser of Gaussian data, exactly."""

from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """Gaussian data: mean `(D,)`, covariance `(D, D)`."""

    mean: Tensor
    covariance: Tensor

    def noisy(self, a: float, b: float) -> "Gaussian":
        """x_t = a x_0 + b eps of these data, with mean `(D,)` and covariance `(D, D)`."""
        return Gaussian(a * self.mean, a**2 * self.covariance + b**2 * torch.eye(len(self.mean)).to(self.mean))


class Affine(NamedTuple):
    """The denoiser x -> matrix x + offset, of `(D, D)` and `(D,)`."""

    matrix: Tensor
    offset: Tensor


def best_affine(data: Gaussian, a: float, b: float) -> Affine:
    """The best denoiser of Gaussian data at signal a and noise b: `(D, D)` and `(D,)` of its matrix and offset."""
    gain = a * torch.linalg.solve(data.noisy(a, b).covariance, data.covariance).mT  # both are symmetric
    return Affine(gain, data.mean - a * gain @ data.mean)


def excess(denoiser: Affine, data: Gaussian, a: float, b: float) -> Tensor:
    """How much larger a denoiser's mean squared error is than the best one's for these data, `()`: the sum over coordinates."""
    best, x = best_affine(data, a, b), data.noisy(a, b)
    matrix = denoiser.matrix - best.matrix
    shift = matrix @ x.mean + denoiser.offset - best.offset
    return torch.einsum("ij,jk,ik->", matrix, x.covariance, matrix) + shift @ shift


def best_correction(wanted: Tensor, covariance: Tensor, rank: int) -> Tensor:
    """The matrix M `(D, D)` of at most a rank for which E |(wanted - M) x|^2 is least, for x of mean 0 and this covariance `(D, D)`.

    The best approximation of wanted C^1/2 in the sense of Eckart and Young (1936), times C^-1/2. Raises ValueError for a negative rank.
    """
    if rank < 0:
        raise ValueError(f"rank must be at least 0; got {rank}")
    values, axes = torch.linalg.eigh(covariance)
    root, inverse = (axes * values**power @ axes.mT for power in (0.5, -0.5))
    u, s, v = torch.linalg.svd(wanted @ root)
    return (u[:, :rank] * s[:rank]) @ v[:rank] @ inverse


def adapted(old: Gaussian, new: Gaussian, a: float, b: float, rank: int, bias: bool = True) -> Affine:
    """The best denoiser of new data `(D,)` among those that differ from the old data's best one by a matrix of a rank, and by a bias.

    Without a `bias` the offset stays the old one, and the matrix has to do what it can: then its input counts with its mean. Raises
    ValueError for a negative rank.
    """
    before, wanted, x = best_affine(old, a, b), best_affine(new, a, b), new.noisy(a, b)
    if bias:
        matrix = before.matrix + best_correction(wanted.matrix - before.matrix, x.covariance, rank)
        return Affine(matrix, new.mean - matrix @ x.mean)  # the mean of the answers is then right
    second = x.covariance + torch.outer(x.mean, x.mean)
    off = wanted.matrix - before.matrix + torch.outer(wanted.offset - before.offset, torch.linalg.solve(second, x.mean))
    return Affine(before.matrix + best_correction(off, second, rank), before.offset)
