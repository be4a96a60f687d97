"""The few types that every other module composes, and checks of arguments."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

Condition = Tensor | Mapping[str, Tensor]  # one condition, or several by name; each has one row a sample
Cond = Condition | None
Network = Callable[[Tensor, Tensor, Cond], Tensor]  # (x_t, t, cond) -> raw output
Denoiser = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> prediction of x_0
Velocity = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> dx/dt
Step = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_t, t, s) -> x_s with s < t
Variance = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> Var[x_0 | x_t], () or (B,) or of the shape of x_t


@runtime_checkable
class Schedule(Protocol):
    """How much signal and noise there is at time t: x_t = signal(t) x_0 + noise(t) eps."""

    @property
    def T(self) -> float:
        """The last time, at which (almost) nothing but noise is left."""
        ...

    def signal(self, t: Tensor) -> Tensor:
        """The coefficient of x_0 at time t, of the shape of t."""
        ...

    def noise(self, t: Tensor) -> Tensor:
        """The coefficient of eps (a standard deviation) at time t, of the shape of t."""
        ...

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives of signal and noise in time at t, each of the shape of t. Raises ValueError where there are none."""
        ...

    def times(self, n: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu") -> Tensor:
        """n times `(n,)` to train at, drawn as the schedule's authors draw them."""
        ...

    def grid(self, steps: int | None = None, end: float = 0.0) -> Tensor:
        """Times `(steps + 1,)` that fall from T to `end`, on the CPU; None asks for all the steps that the schedule has."""
        ...


class Process(Protocol):
    """A way to destroy data that has a known reversal given the data: Gaussian noise, flipped bits, erased symbols."""

    def prior(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """Draw x_T of a shape `(B, ...)`."""
        ...

    def forward(self, x0: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw from q(x_t | x_0) for data `(B, ...)` at times t `()` or `(B,)`."""
        ...

    def backward(
        self, x0: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw from q(x_s | x_t, x_0) for states `(B, ...)`, s < t, where x_0 may be a model's expectation of it."""
        ...


def per_sample(coefficient: Tensor, x: Tensor) -> Tensor:
    """Reshape a coefficient `()` or `(B,)` so that it multiplies each sample of x `(B, ...)`, in x's dtype.

    One number stays on the CPU, where every device takes it from without a copy; others go to x's device.
    Raises ValueError where the coefficient has neither one entry nor one for each sample.
    """
    coefficient = coefficient.to(x.dtype)
    if coefficient.ndim == 0:
        return coefficient
    if coefficient.ndim == 1 and x.ndim >= 1 and coefficient.shape[0] in (1, x.shape[0]):
        return coefficient.to(x.device).reshape(-1, *[1] * (x.ndim - 1))
    raise ValueError(
        f"t must have shape () or (B,) with B = {x.shape[0] if x.ndim else 1}, the batch size of x {tuple(x.shape)}; "
        f"got shape {tuple(coefficient.shape)}"
    )


def per_entry(coefficient: Tensor, x: Tensor) -> Tensor:
    """A coefficient of the shape of x `(B, ...)`, one for each entry, in x's dtype; any other is taken as by `per_sample`."""
    return coefficient.to(x) if coefficient.shape == x.shape else per_sample(coefficient, x)


def on_device(t: Tensor | float, x: Tensor) -> Tensor:
    """Times t `()` or `(B,)` as `(B,)` beside x `(B, ...)`: one number from the CPU is written there without a copy."""
    t = torch.as_tensor(t)
    if t.ndim == 0 and t.device.type == "cpu":
        return torch.full((len(x),), t.item(), dtype=t.dtype, device=x.device)
    return t.to(x.device).expand(len(x))


def anywhere(condition: Tensor) -> bool:
    """Whether a condition of any shape holds somewhere, as far as the CPU knows.

    To ask another device would be to wait for it, so there it is False.
    """
    return condition.device.type == "cpu" and bool(condition.any())


def check_same_shape(**tensors: Tensor) -> None:
    """Raise a ValueError that names the arguments unless all of them, of any shape, agree in it."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        listing = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{' and '.join(shapes)} must have the same shape; got {listing}")


def check_decreasing(times: Tensor) -> Tensor:
    """The times `(n,)` themselves; raises ValueError unless they are one strictly decreasing row of at least two."""
    times = torch.as_tensor(times)
    if times.ndim != 1 or len(times) < 2 or not bool((times.diff() < 0).all()):
        raise ValueError(
            f"times must be one row that falls strictly, from noise (T) to data (0); got {times.tolist()[:8]}"
        )
    return times


def check_name(argument: str, name: str, known: Iterable[str]) -> None:
    """Raise a ValueError that lists the known names and the nearest match unless `name` is one of them."""
    names = sorted(known)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, names))}; got {name!r}{hint}")
