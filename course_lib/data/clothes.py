"""Clothes of Fashion-MNIST (Xiao et al., 2017) as a designer asks for them: measures of a picture, and where it stands among its kind.

A measure, such as the mean brightness of what is no background, means something else for each kind of clothes. So one asks for a *rank*:
0.8 in length is longer than 80 % of its kind.
"""

from typing import NamedTuple

import torch
from torch import Tensor

KINDS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
MEASURES = ("length", "sleeves", "brightness", "symmetry")
SLEEVED = ("t-shirt", "pullover", "dress", "coat", "shirt")
SIZE = 28
INK = -0.8  # what is brighter, in [-1, 1], is clothes and no background
KNOTS = 129  # of the table of each measure's distribution
NOT_ASKED = -1.0  # in the place of a rank
CELL = 1 / 3  # the side of the corner of ranks that each kind is not shown of


def measures(images: Tensor) -> Tensor:
    """The MEASURES of pictures `(N, 1, 28, 28)` in [-1, 1], `(N, 4)`, float32.

    The background is what is no brighter than INK. Length is the logarithm of the ratio of the standard deviations of the rows and of
    the columns that are no background, each at least half a pixel; sleeves, how much reaches beyond the middle twelve columns in the rows
    from 8 to 21, each pixel weighed with its distance from them; brightness, the mean of what is no background, in [0, 1]; symmetry, 1
    minus the share of the shape that its mirror image does not cover. A picture of background alone has length, sleeves and brightness 0
    and symmetry 1. Raises ValueError for another shape.
    """
    if images.ndim != 4 or images.shape[1:] != (1, SIZE, SIZE):
        raise ValueError(f"images must have shape (N, 1, {SIZE}, {SIZE}); got {tuple(images.shape)}")
    x = images[:, 0].float()
    shape = (x > INK).float()
    area = shape.sum((1, 2)).clamp(min=1)
    across = torch.arange(SIZE, device=x.device) - (SIZE - 1) / 2
    tall, wide = (deviation(shape.sum(axis), across).clamp(min=0.5) for axis in (2, 1))
    beyond = (across.abs() - 5.5).clamp(min=0)
    return torch.stack(
        [
            (tall / wide).log(),
            (shape[:, 8:22] * beyond).sum((1, 2)) / 14,
            ((x + 1) / 2 * shape).sum((1, 2)) / area,
            1 - (shape - shape.flip(2)).abs().sum((1, 2)) / (2 * area),
        ],
        1,
    )


def deviation(counts: Tensor, at: Tensor) -> Tensor:
    """The standard deviation `(N,)` of positions `at` `(D,)` that occur as often as counts `(N, D)` say; 0 where there are none."""
    total = counts.sum(1).clamp(min=1)
    mean = (counts * at).sum(1) / total
    return ((counts * (at - mean[:, None]) ** 2).sum(1) / total).sqrt()


def distributions(values: Tensor, labels: Tensor) -> Tensor:
    """KNOTS quantiles of each measure of each kind, `(10, 4, KNOTS)`, from values `(N, 4)` and labels `(N,)`.

    Raises ValueError where a kind has no pictures.
    """
    if missing := [kind for label, kind in enumerate(KINDS) if not bool((labels == label).any())]:
        raise ValueError(f"values must be there of every kind; there is no {' and no '.join(missing)}")
    shares = torch.linspace(0, 1, KNOTS, device=values.device)
    return torch.stack([values[labels == label].quantile(shares, dim=0).T for label in range(len(KINDS))])


def ranks(values: Tensor, labels: Tensor, table: Tensor) -> Tensor:
    """Where values `(N, 4)` stand among their kind, labels `(N,)`: ranks `(N, 4)` in [0, 1], by the `distributions` in the table.

    A value that is as frequent as a share of the kind has the middle of the ranks that belong to it. Kinds without sleeves have no
    rank in them: NOT_ASKED.
    """
    low, high = rank_bounds(values, labels, table)
    found = (low + high) / 2
    found[:, MEASURES.index("sleeves")] = torch.where(
        sleeved(labels), found[:, MEASURES.index("sleeves")], torch.full_like(found[:, 0], NOT_ASKED)
    )
    return found


def rank_bounds(values: Tensor, labels: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """The shares of its kind that lie below each value, and that do not lie above it, both `(N, 4)`: see `ranks`."""
    knots = table.to(values)[labels]  # (N, 4, KNOTS)
    sought = values.unsqueeze(-1).contiguous()
    bounds = []
    for right in (False, True):
        at = torch.searchsorted(
            knots.contiguous(), sought, right=right
        )  # knots[at - 1] and knots[at] enclose the value
        below, above = (knots.gather(-1, (at + off).clamp(0, KNOTS - 1)) for off in (-1, 0))
        part = ((sought - below) / (above - below).clamp(min=1e-12)).clamp(0, 1)
        inside = (at > 0) & (at < KNOTS)
        share = torch.where(inside, (at - 1 + part) / (KNOTS - 1), (at >= KNOTS).to(values))
        bounds.append(share.squeeze(-1))
    return bounds[0], bounds[1]


def sleeved(labels: Tensor) -> Tensor:
    """Which kinds `(N,)` have sleeves, bool."""
    return torch.tensor([kind in SLEEVED for kind in KINDS], device=labels.device)[labels]


def as_asked(values: Tensor, labels: Tensor, wishes: Tensor, table: Tensor, tolerance: float = 1 / 6) -> Tensor:
    """Whether each wish is met, `(N, 4)` bool: the rank differs by at most the tolerance. What was NOT_ASKED is met by anything.

    A value that many of its kind have stands for all of their ranks.
    """
    low, high = rank_bounds(values, labels, table)
    return ((wishes >= low - tolerance) & (wishes <= high + tolerance)) | (wishes == NOT_ASKED)


class Corner(NamedTuple):
    """A combination of two measures, each among the CELL lowest or highest of its kind."""

    measures: tuple[int, int]
    high: tuple[bool, bool]

    def holds(self, ranks: Tensor) -> Tensor:
        """Which ranks `(N, 4)` lie in the corner, `(N,)` bool."""
        inside = [
            ranks[:, measure] > 1 - CELL if high else ranks[:, measure] < CELL
            for measure, high in zip(self.measures, self.high, strict=True)
        ]
        return inside[0] & inside[1]


def corner_of(label: int) -> Corner:
    """The combination of length and brightness that no model of designs is shown of a kind; other kinds show it."""
    return Corner((MEASURES.index("length"), MEASURES.index("brightness")), (label % 4 in (0, 1), label % 4 in (0, 2)))


def held_out(ranks: Tensor, labels: Tensor) -> Tensor:
    """Which pictures, with ranks `(N, 4)` and labels `(N,)`, lie in the corner of their kind that is not shown: `(N,)` bool."""
    out = torch.zeros_like(labels, dtype=torch.bool)
    for label in range(len(KINDS)):
        out |= (labels == label) & corner_of(label).holds(ranks)
    return out
