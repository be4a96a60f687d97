"""Which modes of a distribution samples reach, and how evenly."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

COVERED = 0.25  # the share of its fair part that a mode must get to count as covered


class Modes(NamedTuple):
    """How n samples spread over K modes that are equally likely."""

    counts: Tensor  # (K,): the samples at each mode
    n: int  # all samples, with those at no mode

    @property
    def covered(self) -> int:
        """How many modes get at least a quarter of what is theirs, n / K."""
        return int((self.counts >= COVERED * self.n / len(self.counts)).sum())

    @property
    def hits(self) -> float:
        """The share of the samples that lie at some mode."""
        return float(self.counts.sum()) / self.n

    @property
    def divergence(self) -> float:
        """KL of the modes' shares from equal ones, in nats, in [0, log K]; log K where no sample lies at a mode."""
        if not bool(self.counts.any()):
            return math.log(len(self.counts))
        shares = self.counts.double() / self.counts.sum()
        return float(torch.special.xlogy(shares, shares * len(shares)).sum())


def modes_of_points(x: Tensor, centres: Tensor, spread: float, reach: float = 3.0) -> Modes:
    """The modes that points x `(n, D)` lie at: the nearest of the centres `(K, D)`, if it is at most `reach` spreads away."""
    distance, nearest = torch.cdist(x.to(centres), centres).min(1)
    return Modes(torch.bincount(nearest[distance <= reach * spread], minlength=len(centres)), len(x))


def modes_of_classes(classes: Tensor, K: int) -> Modes:
    """The modes that samples of classes `(n,)` in 0..K - 1 lie at: each its class."""
    return Modes(torch.bincount(classes, minlength=K), len(classes))
