"""Random numbers from one generator, on whatever device it and the data lie.

torch refuses a generator of another device than the tensor that is drawn. Here the numbers are drawn where the generator lies and
moved to where they are wanted, so that one generator serves a whole run; a CPU's draws the same numbers for every device.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Device = torch.device | str
NoiseSource = Callable[[Tensor], Tensor]  # x -> standard normal noise like x


def place(generator: torch.Generator | None, device: Device) -> Device:
    """Where to draw what is wanted on a device: where the generator lies, or without one right there."""
    return device if generator is None else generator.device


def normal(
    shape: tuple[int, ...],
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: Device = "cpu",
) -> Tensor:
    """Standard normal numbers of a shape such as `(B, C, H, W)`."""
    return torch.randn(shape, generator=generator, dtype=dtype, device=place(generator, device)).to(device)


def normal_like(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers of the shape of x `(B, ...)`, in its dtype and on its device."""
    return normal(tuple(x.shape), generator, x.dtype, x.device)


def uniform(
    shape: tuple[int, ...],
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: Device = "cpu",
) -> Tensor:
    """Numbers of a shape such as `(B,)`, uniform in [0, 1)."""
    return torch.rand(shape, generator=generator, dtype=dtype, device=place(generator, device)).to(device)


def integers(
    low: int, high: int, shape: tuple[int, ...], generator: torch.Generator | None = None, device: Device = "cpu"
) -> Tensor:
    """Whole numbers of a shape such as `(B,)`, uniform in low..high - 1, int64."""
    return torch.randint(low, high, shape, generator=generator, device=place(generator, device)).to(device)


def categories(weights: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """n row numbers `(n,)` of weights `(K,)`, each drawn with its weight, on the weights' device."""
    drawn = torch.multinomial(weights.to(place(generator, weights.device)), n, replacement=True, generator=generator)
    return drawn.to(weights.device)


def standard_normal(generator: torch.Generator | None = None) -> NoiseSource:
    """A source of standard normal noise that draws from `generator`, in the shape, dtype and device of its argument."""
    return lambda x: normal_like(x, generator)
