"""What a hidden test does with an answer: see that it is a number or a tensor, and say what is wrong with it."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Wrong(AssertionError):
    """An answer that is wrong; the text is what the student reads."""


def require(condition: object, message: str) -> None:
    """Raise Wrong with a message for the student unless a condition holds."""
    if not condition:
        raise Wrong(message)


def as_number(name: str, value: Any) -> float:
    """One number, from a number or a tensor or array with one element."""
    if isinstance(value, Tensor | np.ndarray) and math.prod(value.shape) == 1:
        value = value.item()
    if type(value) not in (int, float):
        raise Wrong(f"{name} should be one number; it is {describe(value)}")
    return as_float(name, value)


def as_float(name: str, value: Any) -> float:
    """A number as a float; Python's integers may be too large to be one."""
    try:
        return float(value)
    except OverflowError:
        raise Wrong(f"{name} gives a number that is far too large") from None


def as_tensor(name: str, value: Any, shape: tuple[int, ...] | None) -> Tensor:
    """A tensor or an array of numbers as float64, of the given shape."""
    value = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
    if type(value) is list and value and all(type(item) in (int, float) for item in value):
        value = torch.tensor([as_float(name, item) for item in value], dtype=torch.float64)
    if not isinstance(value, Tensor):
        raise Wrong(f"{name} should return a tensor; it returned {describe(value)}")
    if shape is not None and tuple(value.shape) != shape:
        raise Wrong(f"{name} should return shape {shape}; it returned shape {tuple(value.shape)}")
    return value.double()


def describe(value: Any) -> str:
    """What kind of value something is, without its contents."""
    if isinstance(value, Tensor | np.ndarray):
        return f"an array of shape {tuple(value.shape)}"
    return {"NoneType": "None (is a return missing?)", "str": "a text", "list": "a list", "dict": "a dict"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )


def close(got: Any, right: Any, tolerance: float = 1e-6) -> bool:
    """Whether two numbers or tensors agree, relative to the larger of 1 and the right one's size."""
    got, right = (torch.as_tensor(value, dtype=torch.float64) for value in (got, right))
    return got.shape == right.shape and bool(((got - right).abs() <= tolerance * right.abs().clamp(min=1)).all())


def shown(value: Any) -> str:
    """A value as a message shows it: numbers to four digits, of a tensor the first eight entries, of anything else what kind it is."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, Tensor | np.ndarray):
        entries = torch.as_tensor(value).double().flatten()
        dots = ", ..." if len(entries) > 8 else ""
        shape = f" of shape {tuple(value.shape)}" if value.ndim != 1 else ""
        return f"[{', '.join(f'{entry:.4g}' for entry in entries[:8].tolist())}{dots}]{shape}"
    if type(value) in (int, float):
        return f"{value:.4g}" if abs(value) < 10**300 else "a number that is far too large"
    if type(value) in (list, tuple):
        return f"[{', '.join(shown(item) for item in value[:8])}{', ...' if len(value) > 8 else ''}]"
    return describe(value)


def match(
    got: Any, right: Any, mistakes: Mapping[str, Any], otherwise: str | Callable[[], str], tolerance: float = 1e-6
) -> None:
    """Raise Wrong unless the answer is right; where it equals a known mistake's result, the text is that mistake's.

    `otherwise` is the text for any other answer, or makes it when it is needed: `suite.example` shows the student one fixed example.
    """
    if close(got, right, tolerance):
        return
    for message, wrong in mistakes.items():
        if not close(wrong, right, tolerance) and close(got, wrong, tolerance):
            raise Wrong(message)
    raise Wrong(otherwise if isinstance(otherwise, str) else otherwise())
