"""Generated sequences of bits."""

import torch
from torch import Tensor

from course_lib.draws import integers


def heartbeats(length: int = 20, period: int = 5) -> Tensor:
    """The sequences `(period, length)` of 0. and 1. that beat once a period; row k beats first at place k (Sohl-Dickstein et al., 2015).

    Raises ValueError unless the length is a multiple of the period, so that each sequence has as many beats.
    """
    if period < 1 or length < period or length % period:
        raise ValueError(f"length must be a multiple of period; got length = {length} and period = {period}")
    return ((torch.arange(length) - torch.arange(period)[:, None]) % period == 0).float()


def heartbeat(n: int, length: int = 20, period: int = 5, generator: torch.Generator | None = None) -> Tensor:
    """n heartbeats `(n, length)`, each of the sequences equally likely."""
    return heartbeats(length, period)[integers(0, period, (n,), generator)]


def phases(bits: Tensor, period: int = 5) -> Tensor:
    """The place of the first beat of each sequence `(n, length)`, `(n,)`; -1 for one that is no heartbeat."""
    known = heartbeats(bits.shape[1], period).to(bits)
    same = (bits[:, None] == known).all(-1)  # (n, period)
    return torch.where(same.any(1), same.int().argmax(1), -1)
