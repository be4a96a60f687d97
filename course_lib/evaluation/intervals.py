"""Intervals: what another draw of samples would give, and what a smaller set would."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Estimate(NamedTuple):
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[[Tensor | None], float],
    rows: int,
    repeats: int = 200,
    seed: int = 0,
    groups: Tensor | None = None,
) -> Estimate:
    """The statistic of all rows, with a 95 % interval from its values on resampled rows (Efron, 1979).

    Resampling must imitate how the rows were drawn: where the number of each class was fixed, pass the classes as `groups`
    `(rows,)`, and each is resampled in itself. `statistic` gets weights `(rows,)`, how often each row was drawn, or None for all
    rows once. The ends are the 2.5 and 97.5 % points of those values, moved so that their mean is the value itself: resampling
    adds a bias of its own to a metric that is biased in the number of rows, and little to its spread.
    """
    generator = torch.Generator().manual_seed(seed)
    value = statistic(None)
    kinds = torch.zeros(rows) if groups is None else groups.cpu()
    parts = [(kinds == kind).nonzero()[:, 0] for kind in kinds.unique()]
    drawn = [
        torch.cat([part[torch.randint(0, len(part), (len(part),), generator=generator)] for part in parts])
        for _ in range(repeats)
    ]
    values = torch.tensor([statistic(torch.bincount(chosen, minlength=rows).double()) for chosen in drawn]).double()
    low, high = (values - values.mean() + value).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return Estimate(value, min(low, value), max(high, value))


def share_interval(value: float, rows: int) -> Estimate:
    """A share of `rows` independent images with its 95 % interval, the score interval of Wilson (1927).

    It holds all shares p that a test of level 5 % does not reject, (value - p)^2 <= z^2 p (1 - p) / rows. Unlike value ± z times its
    standard error, it has a width where all images are right, and covers near 95 % of the time for few rows (Brown et al., 2001).
    Raises ValueError where `value` is no share or there are no rows.
    """
    if not 0 <= value <= 1 or rows < 1:
        raise ValueError(f"value must lie in [0, 1] and rows be at least 1; got {value} and {rows}")
    z = 1.959963984540054  # the 97.5 % point of the standard normal distribution
    centre = value + z**2 / (2 * rows)
    spread = z * (value * (1 - value) / rows + z**2 / (4 * rows**2)) ** 0.5
    low, high = ((centre + side * spread) / (1 + z**2 / rows) for side in (-1, 1))
    return Estimate(value, min(max(low, 0.0), value), max(min(high, 1.0), value))  # rounding may step over an end


def by_size(
    statistic: Callable[[Tensor], float], rows: int, sizes: Sequence[int], repeats: int = 10, seed: int = 0
) -> dict[int, Estimate]:
    """What a metric says of smaller sets: for each size, its mean over random subsets, with the lowest and the highest of them.

    `statistic` gets the chosen rows' numbers `(size,)`. A metric without bias has the same mean at every size; the Fréchet distance
    falls towards its value for endless sets by about a constant divided by the size (Chong and Forsyth, 2020).
    Raises ValueError where a size is larger than `rows`.
    """
    if max(sizes) > rows:
        raise ValueError(f"sizes must not exceed {rows}, the number of rows; got {max(sizes)}")
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for size in sizes:
        values = [statistic(torch.randperm(rows, generator=generator)[:size]) for _ in range(repeats)]
        found[size] = Estimate(sum(values) / repeats, min(values), max(values))
    return found
