"""Mark the functions that check the book's equations, and in them the expressions that stand on the page.

A chapter keeps them in its checks.py. `tools/equations.py` collects them, runs them, and perturbs what they claim: a check must
fail when a factor, a sign or a square of the claim is lost. A claim is therefore compared with something reached on another way:
a derivation step by step, a derivative taken by a program, a sum over all cases, a quadrature, a simulation.
"""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import sympy

Check = TypeVar("Check", bound=Callable[[], None])
Value = TypeVar("Value")


def proves(*labels: str) -> Callable[[Check], Check]:
    """Say that the decorated function, called without arguments, raises AssertionError if one of these equations is false."""
    return _mark("proves", labels, "eq-")


def defines(*labels: str) -> Callable[[Check], Check]:
    """Say that these equations introduce a symbol, a name or a method, so that there is nothing to prove.

    Where the library computes what they define, the function compares the two.
    """
    return _mark("defines", labels, "eq-")


def answers(*labels: str) -> Callable[[Check], Check]:
    """Say that the decorated function computes the numbers that the solutions of these exercises give."""
    return _mark("answers", labels, "ex-")


def claim(value: Value, *labels: str) -> Value:
    """Return the value, and mark the expression it comes from as what the page says.

    A check of several equations names the one (or more) that the expression belongs to.
    """
    return value


def pushed(betas: Iterable[float]) -> list[tuple[float, float]]:
    """The coefficient of x_0 and the variance of x_t for t = 0, 1, ..., pushed through all single steps of the chain."""
    found = [(1.0, 0.0)]
    for beta in betas:
        signal, variance = found[-1]
        found.append((math.sqrt(1 - beta) * signal, (1 - beta) * variance + beta))
    return found


def equivalent(changed: str, because: str) -> Callable[[Check], Check]:
    """Say that a claim that reads `changed` is the same claim, so that no check can tell them apart.

    Raises ValueError unless it is told why.
    """
    if not because:
        raise ValueError("say why the two claims are the same")

    def mark(check: Check) -> Check:
        check.spares = {**getattr(check, "spares", {}), changed: because}  # type: ignore[attr-defined]
        return check

    return mark


def _mark(kind: str, labels: tuple[str, ...], start: str) -> Callable[[Check], Check]:
    """A decorator that adds labels to a check; raises ValueError for what is no label of that kind."""
    wrong = [label for label in labels if not label.startswith(start)]
    if wrong or not labels:
        raise ValueError(f"labels must be one or more labels that start with '{start}'; got {labels}")

    def mark(check: Check) -> Check:
        setattr(check, kind, (*getattr(check, kind, ()), *labels))
        return check

    return mark


def assert_close(left: object, right: object, tolerance: float = 1e-12) -> None:
    """Fail where numbers, arrays or tensors differ by more than the tolerance, relative to their size where that is above 1."""
    left, right = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    error = float(np.max(np.abs(left - right) / np.maximum(1.0, np.abs(right))))
    assert error < tolerance, f"error {error:.1e} is above {tolerance:.0e}"


def assert_printed(value: float, text: str) -> None:
    """Fail unless the value, rounded to the decimals of the text, is what the text says."""
    decimals = len(text.partition(".")[2])
    assert f"{value:.{decimals}f}" == text, f"the page says {text}, and it is {value:.{decimals + 3}f}"


def assert_zero(expression: "sympy.Expr") -> None:
    """Fail unless the expression is identically zero: first at a point, which is quick to refute, then by algebra."""
    import sympy

    expression = sympy.sympify(expression)
    if not expression.atoms(sympy.core.function.AppliedUndef, sympy.Integral):
        names = sorted(expression.free_symbols, key=str)
        point: dict[Any, Any] = {name: sympy.Rational(2 * n + 3, 5 * n + 17) for n, name in enumerate(names)}
        value = expression.subs(point).evalf(30)
        assert not value.is_finite or abs(value) < 1e-20, f"residual is {value} at {point}"
    residual = sympy.simplify(sympy.expand_log(sympy.expand(expression), force=True))
    assert residual == 0, f"residual is {residual}"
