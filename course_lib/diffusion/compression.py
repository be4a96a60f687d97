"""What a Gaussian costs to store: its rate-distortion function, by reverse water-filling (Shannon, 1959; Cover and Thomas, 2006)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Compressed(NamedTuple):
    """What is spent on each independent direction, and what is lost there."""

    rate: Tensor  # (D,), nats
    distortion: Tensor  # (D,), the mean squared error


def water_filling(variances: Tensor, level: float | Tensor) -> Compressed:
    """The cheapest description of independent Gaussians with these variances `(D,)` for a level of water.

    A direction whose variance lies below the level is not described at all: its error is its variance. In each of the others the error is
    the level, at a price of half the logarithm of variance over level. No code has a smaller total error at the same total rate.
    Raises ValueError unless the level is above 0.
    """
    level = torch.as_tensor(level, dtype=variances.dtype, device=variances.device)
    if not bool((level > 0).all()):
        raise ValueError(f"level must be above 0, since a rate without loss is infinite; got {level.tolist()}")
    distortion = torch.minimum(variances, level)
    return Compressed((variances.clamp(min=level) / level).log() / 2, distortion)
