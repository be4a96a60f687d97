"""The few types that every other module composes."""

import difflib
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

Cond = Tensor | None
Network = Callable[[Tensor, Tensor, Cond], Tensor]  # (x_t, t, cond) -> raw output
Denoiser = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> prediction of x_0
Velocity = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> dx/dt
Step = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_t, t, s) -> x_s with s < t
NoiseSource = Callable[[Tensor], Tensor]  # x -> standard normal noise like x


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


class Process(Protocol):
    """A way to destroy data that has a known reversal given the data."""

    def prior(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """Draw x_T."""
        ...

    def diffuse(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Jump from x_0 to x_t."""
        ...

    def bridge(self, x0: Tensor, x_t: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of q(x_s | x_t, x_0)."""
        ...


def per_sample(coefficient: Tensor, x: Tensor) -> Tensor:
    """Reshape a coefficient `()` or `(B,)` so that it multiplies each sample of x `(B, ...)`, in x's dtype and device.

    Raises ValueError where the coefficient has neither one entry nor one for each sample.
    """
    coefficient = coefficient.to(device=x.device, dtype=x.dtype)
    if coefficient.ndim == 0:
        return coefficient
    if coefficient.ndim == 1 and x.ndim >= 1 and coefficient.shape[0] in (1, x.shape[0]):
        return coefficient.reshape(-1, *[1] * (x.ndim - 1))
    raise ValueError(
        f"t must have shape () or (B,) with B = {x.shape[0] if x.ndim else 1}, the batch size of x {tuple(x.shape)}; "
        f"got shape {tuple(coefficient.shape)}"
    )


def check_same_shape(**tensors: Tensor) -> None:
    """Raise a ValueError that names the arguments unless all of them have the same shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        listing = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{' and '.join(shapes)} must have the same shape; got {listing}")


def standard_normal(generator: torch.Generator | None = None) -> NoiseSource:
    """A source of standard normal noise that draws from `generator`, in the shape, dtype and device of its argument."""

    def draw(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)

    return draw


def check_name(argument: str, name: str, known: Iterable[str]) -> None:
    """Raise a ValueError that lists the known names and the nearest match unless `name` is one of them."""
    names = sorted(known)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, names))}; got {name!r}{hint}")
