"""What a network can be told besides the time: classes, text embeddings, pictures, or several of them by name.

A network says it in its attribute `takes`: None where it takes nothing, one of the descriptions below, or a mapping of names to them.
A condition of a batch has the same form: a tensor with one row a sample, or a mapping of names to such tensors. For each description there
is a null, which stands for "not given": with it, one network is both the conditional and the unconditional one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from course_lib.draws import uniform
from course_lib.types import Cond, Condition, anywhere


class Description(Protocol):
    """One kind of condition: what a row of it must be, and the row that stands for none."""

    def check(self, cond: Tensor) -> None:
        """Raise a ValueError unless cond `(B, ...)` is of this kind."""
        ...

    def null(self, n: int) -> Tensor:
        """The null condition of n samples, `(n, ...)`."""
        ...


@dataclass(frozen=True)
class Labels:
    """Classes `(B,)`, int64, in 0..classes - 1; the null token is `classes`."""

    classes: int

    def check(self, cond: Tensor) -> None:
        """Raise a ValueError unless cond is `(B,)` and holds classes, or the null token."""
        if cond.ndim != 1 or cond.is_floating_point():
            raise ValueError(
                f"classes must be whole numbers of shape (B,); got {cond.dtype} of shape {tuple(cond.shape)}"
            )
        if not bool(((cond >= 0) & (cond <= self.classes)).all()):
            found = sorted(set(cond.tolist()) - set(range(self.classes + 1)))
            raise ValueError(f"classes must lie in [0, {self.classes - 1}]; got {found}")

    def null(self, n: int) -> Tensor:
        """The null token n times, `(n,)`."""
        return torch.full((n,), self.classes)


@dataclass(frozen=True)
class Vectors:
    """Rows of numbers of a fixed shape: text embeddings `(B, tokens, width)`, pictures `(B, C, H, W)`; the null is 0 everywhere."""

    shape: tuple[int, ...]  # of one sample

    def check(self, cond: Tensor) -> None:
        """Raise a ValueError unless cond is `(B, *shape)` and of floating point."""
        if tuple(cond.shape[1:]) != self.shape or not cond.is_floating_point():
            raise ValueError(
                f"this condition must be of floating point and shape (B, {', '.join(map(str, self.shape))}); "
                f"got {cond.dtype} of shape {tuple(cond.shape)}"
            )

    def null(self, n: int) -> Tensor:
        """Zeros `(n, *shape)`."""
        return torch.zeros(n, *self.shape)


@dataclass(frozen=True)
class Until:
    """The times s `(B,)` at which leaps from time t end, floating point, 0 <= s <= t; the null, -1, stands for t itself.

    `steps` are the numbers of equal steps from noise to data that the network has learned to take; none for a consistency model, which
    has learned to leap from any time to the data, s = 0.
    """

    steps: tuple[int, ...]

    def check(self, cond: Tensor) -> None:
        """Raise a ValueError unless cond is `(B,)`, of floating point, and holds times or the null."""
        if cond.ndim != 1 or not cond.is_floating_point():
            raise ValueError(
                f"times at which leaps end must be of floating point and shape (B,); got {cond.dtype} of shape {tuple(cond.shape)}"
            )
        if anywhere((cond < 0) & (cond != -1)):
            raise ValueError(f"times at which leaps end must be at least 0, or -1 for none; got {float(cond.min()):g}")

    def null(self, n: int) -> Tensor:
        """-1 n times, `(n,)`."""
        return torch.full((n,), -1.0)


@dataclass(frozen=True)
class Wishes:
    """Numbers in [0, 1] by name, `(B, names)` in floating point, each of which may be left open: -1, of which the null is full."""

    names: tuple[str, ...]

    def check(self, cond: Tensor) -> None:
        """Raise a ValueError unless cond is `(B, names)`, of floating point, and holds numbers in [0, 1] or -1."""
        if tuple(cond.shape[1:]) != (len(self.names),) or not cond.is_floating_point():
            raise ValueError(
                f"wishes must be of floating point and shape (B, {len(self.names)}), for {', '.join(self.names)}; "
                f"got {cond.dtype} of shape {tuple(cond.shape)}"
            )
        if anywhere(~(((cond >= 0) & (cond <= 1)) | (cond == -1))):
            raise ValueError("wishes must lie in [0, 1], or be -1 for none")

    def null(self, n: int) -> Tensor:
        """-1 everywhere, `(n, names)`."""
        return torch.full((n, len(self.names)), -1.0)


@dataclass(frozen=True)
class Tokens:
    """Texts as rows of tokens `(B, length)`, int64, in 0..tokens - 1; the null is the row `empty`, that of the empty text."""

    tokens: int
    empty: tuple[int, ...]  # of that length

    def check(self, cond: Tensor) -> None:
        """Raise a ValueError unless cond is `(B, length)` and holds tokens."""
        if tuple(cond.shape[1:]) != (len(self.empty),) or cond.is_floating_point():
            raise ValueError(
                f"texts must be whole numbers of shape (B, {len(self.empty)}); got {cond.dtype} of shape {tuple(cond.shape)}"
            )
        if anywhere((cond < 0) | (cond >= self.tokens)):
            raise ValueError(
                f"tokens must lie in [0, {self.tokens - 1}]; got values from {int(cond.min())} to {int(cond.max())}"
            )

    def null(self, n: int) -> Tensor:
        """The empty text n times, `(n, length)`."""
        return torch.tensor(self.empty).repeat(n, 1)


Takes = Description | Mapping[str, Description] | None  # what a network says of itself


class ConditionedNetwork(Protocol):
    """What the library asks of a network: to answer, and to say what it can be told."""

    takes: Takes

    def __call__(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, ...)`, t `(B,)` and the condition (None: the null of each kind) to the raw output `(B, ...)`."""
        ...


def check_condition(takes: Takes, cond: Cond, n: int) -> None:
    """Raise a ValueError unless a network that takes this can be given the condition for n samples; None it can always be given."""
    if cond is None:
        return
    if takes is None:
        raise ValueError("the model was trained without conditions such as classes: it cannot be asked for one")
    if isinstance(takes, Mapping) != isinstance(cond, Mapping):
        form = f"a mapping with the names {sorted(takes)}" if isinstance(takes, Mapping) else "one tensor"
        raise ValueError(f"the model's condition must be {form}; got {type(cond).__name__}")
    kinds = takes if isinstance(takes, Mapping) else {"": takes}
    given = cond if isinstance(cond, Mapping) else {"": cond}
    if kinds.keys() != given.keys():
        raise ValueError(f"the model's conditions are {sorted(kinds)}; got {sorted(given)}")
    for name, kind in kinds.items():
        if len(given[name]) != n:
            raise ValueError(
                f"a condition must have one row a sample, {n}; got {len(given[name])} rows {name}".rstrip()
            )
        kind.check(given[name])


def null_of(takes: Takes, n: int) -> Cond:
    """The condition of n samples that stands for none: a tensor with n rows, a mapping of them, or None where nothing is taken."""
    if isinstance(takes, Mapping):
        return {name: kind.null(n) for name, kind in takes.items()}
    return None if takes is None else takes.null(n)


def each(function: Callable[..., Tensor], *conditions: Condition) -> Condition:
    """A function of one tensor of each condition, applied to them all, or to those of each name."""
    first = conditions[0]
    if isinstance(first, Tensor):
        return function(*conditions)
    return {name: function(*(one[name] for one in conditions)) for name in first}  # type: ignore[index]


def moved(cond: Cond, device: torch.device) -> Cond:
    """The condition on a device."""
    return None if cond is None else each(lambda one: one.to(device), cond)


def rows(cond: Cond, start: int, stop: int) -> Cond:
    """The rows start..stop - 1 of a condition."""
    return None if cond is None else each(lambda one: one[start:stop], cond)


def joined(first: Condition, second: Condition) -> Condition:
    """The rows of two conditions one after the other."""
    return each(lambda a, b: torch.cat([a, b.to(a)]), first, second)


def dropped(takes: Takes, cond: Condition, share: float, generator: torch.Generator) -> Condition:
    """The condition, the whole of it replaced by the null in each sample with probability `share`, independently.

    Raises ValueError where nothing is taken.
    """
    some = next(iter(cond.values())) if isinstance(cond, Mapping) else cond
    lost = uniform((len(some),), generator, device=some.device) < share  # (B,)
    nothing = null_of(takes, len(some))
    if nothing is None:
        raise ValueError("a network that takes no condition has none to drop")

    def one(kept: Tensor, null: Tensor) -> Tensor:
        return torch.where(lost.reshape(-1, *[1] * (kept.ndim - 1)), null.to(kept), kept)

    return each(one, cond, nothing)
