"""Mark the functions that check the book's equations: a proof asserts an identity, a definition needs none.

A chapter keeps them in its checks.py; `tools/equations.py` collects them, runs every proof and reports what is unchecked.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import sympy

Check = TypeVar("Check", bound=Callable[[], None])


def proves(*labels: str) -> Callable[[Check], Check]:
    """Say that the decorated function, called without arguments, raises AssertionError if one of these equations is false."""
    return _mark("proves", labels)


def defines(*labels: str) -> Callable[[Check], Check]:
    """Say that these equations introduce a symbol or a name, so that there is nothing to prove."""
    return _mark("defines", labels)


def _mark(kind: str, labels: tuple[str, ...]) -> Callable[[Check], Check]:
    """A decorator that adds labels to a check; raises ValueError for what is no label of an equation."""
    wrong = [label for label in labels if not label.startswith("eq-")]
    if wrong or not labels:
        raise ValueError(f"labels must be one or more equation labels that start with 'eq-'; got {labels}")

    def mark(check: Check) -> Check:
        setattr(check, kind, (*getattr(check, kind, ()), *labels))
        return check

    return mark


def assert_close(left: object, right: object, tolerance: float = 1e-12) -> None:
    """Fail where numbers, arrays or tensors differ by more than the tolerance, relative to their size where that is above 1."""
    left, right = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    error = float(np.max(np.abs(left - right) / np.maximum(1.0, np.abs(right))))
    assert error < tolerance, f"error {error:.1e} is above {tolerance:.0e}"


def assert_zero(expression: "sympy.Expr") -> None:
    """Fail unless the expression is identically zero."""
    import sympy

    residual = sympy.simplify(sympy.expand_log(expression, force=True))
    assert residual == 0, f"residual is {residual}"
