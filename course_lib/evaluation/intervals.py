"""Intervals: what another draw of samples would give, and what a smaller set would."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Statistic = Callable[
    [Tensor | None], float
]  # weights (rows,), how often each row counts, or None for all rows once -> value
PARTS = 50


class Estimate(NamedTuple):
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Measured(NamedTuple):
    """A statistic of a set of samples, and of the set with each of its parts left out."""

    value: float
    without: Tensor  # (parts,)

    @property
    def error(self) -> float:
        """The standard error of the value, how much it would vary over draws of as many samples: the jackknife's (Tukey, 1958).

        For a mean it is right in the mean. It is too large rather than too small (Efron and Stein, 1981): for a distance that is all
        sampling error, by a factor near sqrt 2.
        """
        parts = len(self.without)
        return float((self.without - self.without.mean()).square().sum().mul((parts - 1) / parts).sqrt())

    @property
    def reach(self) -> float:
        """How far the 95 % interval reaches to each side: Student's quantile, two for 50 parts, times the standard error."""
        freedom = len(self.without) - 1
        return (
            1.96 + 2.37 / freedom + 2.83 / freedom**2
        ) * self.error  # the quantile's expansion in 1 / freedom (Fisher, 1926)

    def minus(self, other: "Measured") -> "Measured":
        """The difference to the same statistic of another set whose rows share noise or data with this one's, row by row.

        Both must have been cut into the same parts. What the rows share cancels.
        """
        return Measured(self.value - other.value, self.without - other.without)

    def interval(self, low: float = -math.inf, high: float = math.inf) -> Estimate:
        """The value with its 95 % interval, for a statistic that lies between `low` and `high`.

        Where there is one bound, the steps are taken on the logarithm of the distance from it, and where there are two, on the
        logarithm of the ratio of both distances, so that no end leaves the range.
        """
        value, reach = self.value, self.reach
        if math.isinf(high):
            above = value - low
            if math.isinf(low) or above <= 0:
                return Estimate(value, max(low, value - reach), value + reach)
            factor = math.exp(reach / above)
            return Estimate(value, low + above / factor, low + above * factor)
        part = (value - low) / (high - low)
        if not 0 < part < 1:
            return Estimate(value, max(low, value - reach), min(high, value + reach))
        odds, factor = part / (1 - part), math.exp(min(reach / ((high - low) * part * (1 - part)), 700))
        ends = (low + (high - low) * (1 - 1 / (1 + x)) for x in (odds / factor, odds * factor))
        return Estimate(value, *ends)

    def share(self, rows: int) -> Estimate:
        """The value, a share, with its interval: Wilson's for as many independent rows as would have this standard error.

        Where all or none count, leaving out cannot tell, and the rows are taken as `rows` independent ones.
        """
        spread = self.value * (1 - self.value)
        return share_interval(self.value, max(spread * (1.96 / self.reach) ** 2, 1) if self.error and spread else rows)


def cut(rows: int, groups: Tensor | None = None, parts: int = PARTS, seed: int = 0) -> Tensor:
    """The rows cut into parts at random: for each row the number of its part, `(rows,)`.

    A part must be drawn as the whole was: where the number of each class was fixed, pass the classes as `groups` `(rows,)`; each is cut in
    itself, and there are no more parts than the rarest class has rows.
    """
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.zeros(rows) if groups is None else groups.cpu()
    members = [(kinds == kind).nonzero()[:, 0] for kind in kinds.unique()]
    parts = min(parts, *map(len, members)) if len(members) > 1 else min(parts, rows)
    part_of = torch.empty(rows, dtype=torch.long)
    start = 0
    for member in members:
        part_of[member[torch.randperm(len(member), generator=generator)]] = (torch.arange(len(member)) + start) % parts
        start += len(member)
    return part_of


def measured(statistic: Statistic, part_of: Tensor) -> Measured:
    """A statistic of all rows, and with each part of the `cut` left out: `part_of` `(N,)` says to which part a row belongs."""
    without = [statistic((part_of != part).double()) for part in part_of.unique()]
    return Measured(statistic(None), torch.tensor(without, dtype=torch.float64))


def mean_of(values: Tensor, part_of: Tensor | None = None) -> Measured:
    """The mean of values `(N,)`, one a row, and with each part left out: those of a `cut`, or those that `part_of` `(N,)` says."""
    rows = values.double()

    def mean(weights: Tensor | None) -> float:
        return float(rows.mean() if weights is None else weights.to(rows) @ rows / weights.sum())

    return measured(mean, cut(len(rows)) if part_of is None else part_of)


def share_interval(value: float, rows: float) -> Estimate:
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


def correlation(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Pearson's correlation of two rows of as many numbers, with its 95 % interval by Fisher's transformation (1915).

    The inverse hyperbolic tangent of the correlation is nearly normal, with the standard error 1 / sqrt(n - 3).
    Raises ValueError for rows of different lengths, fewer than four numbers, and a row of equal ones.
    """
    if len(x) != len(y) or len(x) < 4:
        raise ValueError(f"x and y must have the same length, at least 4; got {len(x)} and {len(y)}")
    rows = torch.tensor([list(x), list(y)], dtype=torch.float64)
    if bool((rows.std(1) == 0).any()):
        raise ValueError("x and y must each hold different numbers: where all are equal there is no correlation")
    value = float(torch.corrcoef(rows)[0, 1].clamp(-1, 1))
    if abs(value) == 1:
        return Estimate(value, value, value)
    reach = 1.959963984540054 / math.sqrt(len(x) - 3)
    return Estimate(value, math.tanh(math.atanh(value) - reach), math.tanh(math.atanh(value) + reach))
