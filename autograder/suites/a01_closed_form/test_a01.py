"""Hidden tests of a01: each line of each derivation at fresh numbers; the first wrong line is named, and what is wrong with it.

The answers to tasks 1 to 7 differ from the truth by rounding alone, so no luck is in their tests. `walk` is random: its tests say
how they may be unlucky.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from autograder.sandbox.child import StudentError
from autograder.testing.answers import Wrong, as_number, close, match, require
from autograder.testing.suite import Draw, Student, example, follows, line, points, power

CLOSE = 1e-5  # what a right answer in float32 may be off by, relative to the larger of 1 and its size

# --- what the functions should do ------------------------------------------------------------------------------------------


def one_step(x_prev: Any, alpha: Any, sigma: Any, eps: Any, xi: Any) -> Any:
    """What one_step should do; for tensors too, since a walk may be made of it."""
    return alpha**0.5 * x_prev + (1 - alpha) ** 0.5 * eps + sigma * xi


def two_steps(
    x0: float, alpha1: float, alpha2: float, sigma: float, eps1: float, xi1: float, eps2: float, xi2: float
) -> dict[str, float]:
    """What two_steps should do."""
    variance = 1 - alpha1 * alpha2 + (1 + alpha2) * sigma**2
    x2 = one_step(one_step(x0, alpha1, sigma, eps1, xi1), alpha2, sigma, eps2, xi2)
    swapped = 1 - alpha1 * alpha2 + (1 + alpha1) * sigma**2
    return {"x2": x2, "noise_variance": variance, "simplified": variance, "swapped": swapped}


def induction(alpha_bar_prev: float, extra_prev: float, alpha: float, sigma: float) -> dict[str, float]:
    """What induction should do."""
    extra = alpha * extra_prev + sigma**2
    return {"noise_variance": 1 - alpha * alpha_bar_prev + extra, "extra": extra, "total": 1 + extra}


def limit(x0: float, beta: float, sigma: float, t: int) -> dict[str, float]:
    """What limit should do, one step after the other."""
    mean, variance = x0, 0.0
    for _ in range(t):
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta + sigma**2
    return {"mean": mean, "variance": variance, "limit_mean": 0.0, "limit_variance": 1 + sigma**2 / beta}


def posterior(alpha: float, sigma: float, alpha_bar_prev: float, extra_prev: float) -> dict[str, float]:
    """What posterior should do."""
    step, before = 1 - alpha + sigma**2, 1 - alpha_bar_prev + extra_prev
    precision = alpha / step + 1 / before
    return {
        "precision": precision,
        "variance": 1 / precision,
        "mean_xt": math.sqrt(alpha) / step / precision,
        "mean_x0": math.sqrt(alpha_bar_prev) / before / precision,
    }


def snr(alpha_bar: float, extra: float) -> float:
    """What snr should do."""
    return alpha_bar / (1 - alpha_bar + extra)


def log_snr(alpha_bar: float, extra: float) -> float:
    """What log_snr should do."""
    return math.log(snr(alpha_bar, extra))


def alpha_bar_of(value: float, extra: float) -> float:
    """What alpha_bar_of should do."""
    return (1 + extra) / (1 + math.exp(-value))


def q_sample(x_s: Tensor, s: Tensor, t: Tensor, alpha_bar: Tensor, extra: Tensor, noise: Tensor) -> Tensor:
    """What q_sample should do."""
    kept, added = jump(s, t, alpha_bar, extra)
    return along(kept.sqrt()) * x_s + along(added.sqrt()) * noise


def jump(s: Tensor, t: Tensor, alpha_bar: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
    """The part of the variance that a jump keeps, and the variance that it adds, each of the shape of s."""
    kept = alpha_bar[t] / alpha_bar[s]
    return kept, 1 - alpha_bar[t] + extra[t] - kept * (1 - alpha_bar[s] + extra[s])


def along(factor: Tensor, axis: int = 0) -> Tensor:
    """One factor an image, shaped to run along an axis of (B, C, H, W)."""
    return factor.reshape([-1 if number == axis else 1 for number in range(4)])


RIGHT: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (one_step, two_steps, induction, limit, posterior, snr, log_snr, alpha_bar_of)
}
# Two questions for each function, the same for all students: for examples, and to find out what kind of mistake an answer is.
FIXED: dict[str, tuple[tuple, tuple]] = {
    "one_step": ((2.0, 0.25, 0.4, 1.0, -1.0), (1.5, 0.36, 0.7, -0.5, 0.6)),
    "two_steps": ((2.0, 0.36, 0.64, 0.5, 1.0, -1.0, 0.5, 2.0), (1.0, 0.49, 0.81, 0.6, -0.3, 0.7, -0.8, 0.4)),
    "induction": ((0.5, 0.2, 0.8, 0.3), (0.35, 0.6, 0.64, 0.5)),
    "limit": ((2.0, 0.1, 0.5, 3), (1.0, 0.19, 0.4, 5)),
    "posterior": ((0.8, 0.3, 0.5, 0.2), (0.64, 0.5, 0.35, 0.6)),
    "snr": ((0.6, 0.4), (0.25, 0.7)),
    "log_snr": ((0.6, 0.4), (0.25, 0.7)),
    "alpha_bar_of": ((0.5, 0.4), (-0.7, 0.2)),
}

# --- how an answer is judged -----------------------------------------------------------------------------------------------


ENDLESS: WeakKeyDictionary[Student, set[str]] = WeakKeyDictionary()


@contextmanager
def once_endless(student: Student, function: str) -> Iterator[None]:
    """Wait once, and not in each test, for a function that never ends."""
    if function in ENDLESS.get(student, ()):
        raise Wrong(f"{function} was stopped in another test, as it did not come to an end, and was not called again")
    try:
        yield
    except StudentError as error:
        if error.kind == "Timeout":
            ENDLESS.setdefault(student, set()).add(function)
        raise


def answer(student: Student, function: str, name: str, args: tuple) -> float:
    """What a function gives: a number, or the line `name` of its dict."""
    try:
        with once_endless(student, function):
            return line(student, function, name, *args) if name else student.number(function, *args)
    except StudentError as error:
        if error.kind != "NotFinite":
            raise
        raise Wrong(
            f"{function} gives NaN or infinity: with 0 < alpha < 1 everything here is finite; is the root of a negative number taken, "
            "or is something divided by 0?"
        ) from None


def expected(function: str, name: str, args: tuple) -> float:
    """What it should give."""
    found = RIGHT[function](*args)
    return found[name] if name else found


def judge(
    student: Student,
    function: str,
    args: tuple,
    mistakes: Mapping[str, float],
    name: str = "",
    fixed: tuple[tuple, tuple] | None = None,
    text: str = "",
) -> None:
    """Raise Wrong unless a function (of its dict the line `name`) is right at some numbers, and say what the mistake is.

    A mistake that `mistakes` does not list is looked at with `fixed` numbers, which are the same for all.
    """
    prefix = f"line {name!r}: " if name else ""
    known = {f"{prefix}{said}": wrong for said, wrong in mistakes.items()}
    right = expected(function, name, args)
    first, second = fixed or FIXED[function]
    text = text or (f"line {name!r} of {function} is the first that is wrong" if name else f"{function} is wrong")

    def otherwise() -> str:
        kind = diagnosis(student, function, name, first, second)
        shown = example(student, text, function, *first, right=expected(function, name, first), name=name)()
        return shown.replace(text, f"{text}: {kind}", 1) if kind else shown

    match(answer(student, function, name, args), right, known, otherwise, CLOSE)


def diagnosis(student: Student, function: str, name: str, first: tuple, second: tuple) -> str:
    """What kind of mistake an answer is, from how it changes with each of its arguments; empty where that does not tell."""
    names = list(inspect.signature(RIGHT[function]).parameters)
    try:
        got, other = (answer(student, function, name, args) for args in (first, second))
        right, right_other = (expected(function, name, args) for args in (first, second))
        for number, argument in enumerate(names):
            moved = (*first[:number], second[number], *first[number + 1 :])
            should = not close(expected(function, name, moved), right, CLOSE)
            does = not close(answer(student, function, name, moved), got, CLOSE)
            if should and not does:
                return f"the answer does not change with {argument}, and it should (is it missing, or is a number written in its place?)"
            if does and not should:
                return f"the answer changes with {argument}, and it should not"
    except (Wrong, StudentError):
        return ""
    if min(abs(right), abs(right_other)) < CLOSE:
        return ""
    factor = got / right
    if close(other, factor * right_other, CLOSE):
        return "the sign is wrong" if factor == -1 else f"the answer is always {factor:.4g} times what it should be"
    if close(other - right_other, got - right, CLOSE):
        return f"the answer is always off by {got - right:.4g}"
    pairs = ((got, right), (other, right_other))
    if all(close(one, two**2, CLOSE) for one, two in pairs):
        return "this is the square of what is asked"
    if all(two > 0 and close(one, math.sqrt(two), CLOSE) for one, two in pairs):
        return "this is the square root of what is asked (a standard deviation in the place of a variance?)"
    if all(close(one * two, 1, CLOSE) for one, two in pairs):
        return "this is one over what is asked"
    return ""


# --- numbers ---------------------------------------------------------------------------------------------------------------


def twice(test: Callable[..., None]) -> Callable[..., None]:
    """Ask with two sets of numbers: with one in 10,000 a wrong formula happens to be as near to the right one as rounding is."""

    @functools.wraps(test)
    def again(**fixtures: Any) -> None:
        test(**fixtures)
        test(**fixtures)

    return again


def alphas(draw: Draw) -> tuple[float, float]:
    """Two numbers inside (0, 1), far from each other, from 1/2 and from the ends, in any order."""
    low, high = draw.uniform(0.2, 0.44), draw.uniform(0.56, 0.8)
    return (low, high) if draw.integer(0, 1) else (high, low)


def sigmas(draw: Draw) -> float:
    """A standard deviation of the sensor, far from its square and its root."""
    return draw.uniform(0.3, 0.7)


# --- one step --------------------------------------------------------------------------------------------------------------


@points("one_step", 2)
@power("alpha without its root")
@twice
def test_one_step_signal(student: Student, draw: Draw) -> None:
    (a, _), s, x = alphas(draw), sigmas(draw), draw.uniform(0.5, 2)
    mistakes = {
        "x_{t-1} is multiplied by sqrt(alpha), not by alpha": a * x,
        "x_{t-1} is multiplied by sqrt(alpha), with alpha = 1 - beta; you took the square root of 1 - alpha": math.sqrt(
            1 - a
        )
        * x,
        "x_{t-1} is not kept whole: it is multiplied by sqrt(alpha)": x,
    }
    fixed = ((2.0, 0.25, 0.4, 0.0, 0.0), (1.5, 0.36, 0.7, 0.0, 0.0))
    judge(
        student, "one_step", (x, a, s, 0.0, 0.0), mistakes, fixed=fixed, text="the part of x_{t-1} in one_step is wrong"
    )


@points("one_step", 4)
@power("variance in the place of standard deviation")
@twice
def test_one_step_noise(student: Student, draw: Draw) -> None:
    (a, _), s, e = alphas(draw), sigmas(draw), draw.uniform(0.5, 2)
    mistakes = {
        "1 - alpha is the variance of the noise; its factor is the square root of that": (1 - a) * e,
        "the noise is multiplied by sqrt(1 - alpha); you took sqrt(alpha)": math.sqrt(a) * e,
        "the noise is multiplied by sqrt(1 - alpha); you added it whole": e,
        "eps is the chain's noise and xi the sensor's; you have them the other way round": s * e,
        "the chain's noise is multiplied by sqrt(1 - alpha) and not shrunk once more": math.sqrt(a * (1 - a)) * e,
    }
    fixed = ((0.0, 0.75, 0.4, 2.0, 0.0), (0.0, 0.36, 0.7, -0.5, 0.0))
    judge(
        student, "one_step", (0.0, a, s, e, 0.0), mistakes, fixed=fixed, text="the chain's noise in one_step is wrong"
    )


@points("one_step", 2)
@power("sensor by its variance")
@twice
def test_one_step_sensor(student: Student, draw: Draw) -> None:
    (a, _), s, z = alphas(draw), sigmas(draw), draw.uniform(0.5, 2)
    mistakes = {
        "the sensor's noise is missing: this is the step of chapter 1": 0.0,
        "sigma is a standard deviation: xi is multiplied by sigma, not by its square": s**2 * z,
        "sigma is a standard deviation: xi is multiplied by sigma, not by its square root": math.sqrt(s) * z,
        "the sensor reads after the step, so its noise is not shrunk by sqrt(alpha)": math.sqrt(a) * s * z,
        "the sensor's noise is multiplied by sigma; you added it whole": z,
        "nothing makes room for the sensor's noise: its factor is sigma itself": math.sqrt(1 - a) * s * z,
    }
    fixed = ((0.0, 0.25, 0.4, 0.0, 2.0), (0.0, 0.36, 0.7, 0.0, 0.6))
    judge(
        student, "one_step", (0.0, a, s, 0.0, z), mistakes, fixed=fixed, text="the sensor's noise in one_step is wrong"
    )


# --- two steps -------------------------------------------------------------------------------------------------------------


@points("two_steps", 6)
@power("sensor's first noise not scaled")
@follows(one_step=one_step)
@twice
def test_two_steps_substitution(student: Student, draw: Draw) -> None:
    (a, b), s = alphas(draw), sigmas(draw)
    x, e, z, f, y = (draw.uniform(low, low + 0.3) for low in (2, 0.5, 0.4, 1.2, 1.6))
    right = two_steps(x, a, b, s, e, z, f, y)["x2"]
    chain1, root = math.sqrt(1 - a) * e, math.sqrt(b)

    def other(*args: float) -> float:
        return two_steps(*args)["x2"]

    mistakes = {
        "the first noise passes through the second step too, where it is multiplied by sqrt(alpha2), the sensor's as well as the chain's": right
        + (1 - root) * (chain1 + s * z),
        "the sensor's first noise stands in x1, so the second step multiplies it by sqrt(alpha2)": right
        + (1 - root) * s * z,
        "the chain's first noise stands in x1, so the second step multiplies it by sqrt(alpha2)": right
        + (1 - root) * chain1,
        "the two steps are in the wrong order: alpha1 comes first": other(x, b, a, s, f, y, e, z),
        "alpha1 belongs to the first step and alpha2 to the second": other(x, b, a, s, e, z, f, y),
        "the variances 1 - alpha stand where their square roots belong": root * (math.sqrt(a) * x + (1 - a) * e + s * z)
        + (1 - b) * f
        + s * y,
        "xi is multiplied by sigma, not by its square": right + (s**2 - s) * (root * z + y),
        "eps1 belongs to the first step and eps2 to the second": other(x, a, b, s, f, z, e, y),
        "xi1 belongs to the first step and xi2 to the second": other(x, a, b, s, e, y, f, z),
        "the sensor reads after each step, the first too": right - root * s * z,
        "the sensor reads after each step, the second too": right - s * y,
        "the sensor's noise is missing: this is the line of chapter 1": right - s * (root * z + y),
        "the first step is missing": one_step(x, b, s, f, y),
        "the second step is missing": one_step(x, a, s, e, z),
        "each step has a noise of its own; you used that of the first step in both": other(x, a, b, s, e, z, e, z),
        "each step has a noise of its own; you used that of the second step in both": other(x, a, b, s, f, y, f, y),
    }
    judge(student, "two_steps", (x, a, b, s, e, z, f, y), mistakes, "x2")


@points("two_steps", 8)
@power("sensor's first variance not scaled")
@follows(one_step=one_step)
@twice
def test_two_steps_noise_variance(student: Student, draw: Draw) -> None:
    (a, b), s = alphas(draw), sigmas(draw)
    args = (1.0, a, b, s, 0.3, -0.4, 0.6, 0.2)
    right = two_steps(*args)
    value, chain = right["simplified"], 1 - a * b
    parts = [b * (1 - a), b * s**2, 1 - b, s**2]
    deviations = sum(math.sqrt(part) for part in parts)
    known = {
        "the sensor's noise is missing: this is the line of chapter 1": chain,
        "the sensor's first noise passes through the second step, which multiplies its variance by alpha2": chain
        + 2 * s**2,
        "the first noise is scaled by alpha2 in the second step, the sensor's as well as the chain's": (1 - a)
        + (1 - b)
        + 2 * s**2,
        "the chain's first noise passes through the second step, which multiplies its variance by alpha2": (1 - a)
        + (1 - b)
        + (1 + b) * s**2,
        "variances of independent terms add, standard deviations do not": deviations**2,
        "this adds the standard deviations; add the variances": deviations,
        "the variance of the sensor's noise is sigma squared": chain + (1 + b) * s,
        "the variance of the first noise is multiplied by alpha2, the square of sqrt(alpha2)": math.sqrt(b)
        * (1 - a + s**2)
        + (1 - b)
        + s**2,
        "this is the standard deviation; the line asks for the variance": math.sqrt(value),
        "the sensor reads twice; only its second noise is here": chain + s**2,
        "the sensor reads twice; only its first noise is here": chain + b * s**2,
        "what comes first is shrunk by the step that follows, and not by its own: alpha2, not alpha1": right["swapped"],
        "the sensor's noise is not shrunk by a step of its own: it reads after it": chain + (1 + b) * b * s**2,
        "this holds the chain's last noise and the sensor's, but not the chain's first": value - parts[0],
        "the noise of the second step is missing": parts[0] + parts[1],
        "the noise adds to what the chain has; it takes nothing away": chain - (1 + b) * s**2,
        "1 - alpha1 alpha2 is the chain's part; you have alpha1 alpha2": a * b + (1 + b) * s**2,
        "alpha1 and alpha2 multiply; you have their sum": 1 - (a + b) + (1 + b) * s**2,
    }
    judge(student, "two_steps", args, known, "noise_variance")
    judge(student, "two_steps", args, known, "simplified")


@points("two_steps", 4)
@power("order makes no difference")
@follows(one_step=one_step)
@twice
def test_two_steps_swapped(student: Student, draw: Draw) -> None:
    (a, b), s = alphas(draw), sigmas(draw)
    args = (1.0, a, b, s, 0.3, -0.4, 0.6, 0.2)
    known = {
        "this is the variance before the steps changed places: what the sensor adds first is now shrunk by the other alpha": 1
        - a * b
        + (1 + b) * s**2,
        "the sensor's noise is missing: this is the line of chapter 1": 1 - a * b,
        "the variance of the sensor's noise is sigma squared": 1 - a * b + (1 + a) * s,
        "this is how much the two orders differ; the line asks for the variance itself": (a - b) * s**2,
        "this is how much the two orders differ, with the other sign; the line asks for the variance itself": (b - a)
        * s**2,
        "the sensor's first noise is shrunk by the step that follows it": 1 - a * b + 2 * s**2,
        "this is the standard deviation; the line asks for the variance": math.sqrt(1 - a * b + (1 + a) * s**2),
    }
    judge(student, "two_steps", args, known, "swapped")


# --- induction -------------------------------------------------------------------------------------------------------------


def before_a_step(draw: Draw) -> tuple[float, float, float, float]:
    """alpha_bar_{t-1}, the extra variance before, alpha_t and sigma_t."""
    bar, a = alphas(draw)
    return bar, draw.uniform(0.25, 0.6), a, sigmas(draw)


@points("induction", 6)
@power("old extra not scaled")
@twice
def test_induction_noise_variance(student: Student, draw: Draw) -> None:
    bar, c, a, s = before_a_step(draw)
    old, right = 1 - bar + c, 1 - a * bar + a * c + s**2
    known = {
        "the old noise is multiplied by alpha_t in the new step": old + (1 - a) + s**2,
        "the old extra variance is part of the old noise, which is multiplied by alpha_t": right + (1 - a) * c,
        "the old extra variance is part of the old noise, and it is missing": right - a * c,
        "the new step adds the chain's variance 1 - alpha_t too": right - (1 - a),
        "the sensor's noise is missing": right - s**2,
        "with nothing of the sensor's in it, this is the line of chapter 1": 1 - a * bar,
        "the variance of the sensor's noise is sigma squared": right - s**2 + s,
        "the sensor reads after the step, so its noise is not shrunk": right - (1 - a) * s**2,
        "variances multiply by alpha_t, not by its square root": math.sqrt(a) * old + (1 - a) + s**2,
        "this is the standard deviation; the line asks for the variance": math.sqrt(right),
        "the extra variance adds to 1 - alpha_bar_{t-1}; you took it away": right - 2 * a * c,
        "the old noise is multiplied by alpha_t, not by 1 - alpha_t": (1 - a) * old + (1 - a) + s**2,
        "1 - alpha_bar_{t-1} is the chain's old variance; you took alpha_bar_{t-1}": a * (bar + c) + (1 - a) + s**2,
        "this is the extra variance alone": a * c + s**2,
        "the old noise is missing": 1 - a + s**2,
    }
    judge(student, "induction", (bar, c, a, s), known, "noise_variance")


@points("induction", 4)
@power("extra not shrunk")
@twice
def test_induction_extra(student: Student, draw: Draw) -> None:
    bar, c, a, s = before_a_step(draw)
    right = a * c + s**2
    known = {
        "the old extra variance is multiplied by alpha_t in the new step": c + s**2,
        "the old extra variance is missing: it is shrunk, and does not vanish": s**2,
        "the sensor's new noise is missing": a * c,
        "the variance of the sensor's noise is sigma squared": a * c + s,
        "variances multiply by alpha_t, not by its square root": math.sqrt(a) * c + s**2,
        "the sensor reads after the step, so its new noise is not shrunk": a * (c + s**2),
        "this is the whole variance of the noise; the extra is what is above 1 - alpha_bar_t": 1 - a * bar + right,
        "this is the noise above 1 - alpha_bar_{t-1}; the extra is what is above 1 - alpha_bar_t": bar
        - a * bar
        + right,
        "this is the standard deviation; the line asks for the variance": math.sqrt(right),
        "the old extra variance is multiplied by alpha_t alone, not by alpha_bar_t": a * bar * c + s**2,
        "the old extra variance is multiplied by alpha_t, not by 1 - alpha_t": (1 - a) * c + s**2,
    }
    judge(student, "induction", (bar, c, a, s), known, "extra")


@points("induction", 4)
@power("total without the signal")
@twice
def test_induction_total(student: Student, draw: Draw) -> None:
    bar, c, a, s = before_a_step(draw)
    noise = 1 - a * bar + a * c + s**2
    known = {
        "this is what chapter 1's chain preserves; the sensor adds to it": 1.0,
        "this is the variance of the noise alone; a random x_0 adds alpha_bar_t to it": noise,
        "this is the extra variance alone": a * c + s**2,
        "the factor of x_0 is sqrt(alpha_bar_t), and its variance has the square of that": noise + math.sqrt(a * bar),
        "x_0 is multiplied by sqrt(alpha_bar_t), so its variance 1 is not kept whole": noise + 1,
        "x_0 is multiplied by sqrt(alpha_bar_t), and not by sqrt(alpha_t) alone": noise + a,
        "x_0 is multiplied by sqrt(alpha_bar_t), with alpha_t in it": noise + bar,
        "this is the total before the step": 1 + c,
        "the old extra variance is multiplied by alpha_t in the new step": 1 + c + s**2,
        "this is the standard deviation; the line asks for the variance": math.sqrt(noise + a * bar),
    }
    judge(student, "induction", (bar, c, a, s), known, "total")


# --- limit -----------------------------------------------------------------------------------------------------------------


@points("limit", 4)
@power("last reading shrunk")
@follows(one_step=one_step, induction=induction)
@twice
def test_limit_after_t_steps(student: Student, draw: Draw) -> None:
    b, s, t, x = draw.uniform(0.1, 0.25), sigmas(draw), draw.integer(3, 6), draw.uniform(0.5, 2)
    bar = (1 - b) ** t
    mean = {
        "this is alpha_bar_t x0; the mean has its square root": bar * x,
        "there are t steps, and not t - 1": math.sqrt((1 - b) ** (t - 1)) * x,
        "there are t steps, and not t + 1": math.sqrt((1 - b) ** (t + 1)) * x,
        "alpha is 1 - beta; you used beta": math.sqrt(b**t) * x,
        "this is the mean of x_0; each step shrinks it": x,
        "each step shrinks by sqrt(1 - beta), and the steps multiply": math.sqrt(max(0.0, 1 - t * b)) * x,
        "the factor alone is here, without x0": math.sqrt(bar),
        "the mean of all noise is 0: neither the chain's nor the sensor's changes the mean": math.sqrt(bar) * x + s,
    }
    right = (1 - bar) * (1 + s**2 / b)
    variance = {
        "the sensor's noise is missing: this is the line of chapter 1": 1 - bar,
        "the sensor's noise is shrunk on the way too: t sigma^2 is more than is left of it": 1 - bar + t * s**2,
        "the sensor reads at every step; only its last noise is here": 1 - bar + s**2,
        "variances shrink on the way: t times what one step adds is not it": t * (b + s**2),
        "this is the standard deviation": math.sqrt(right),
        "the variance of the sensor's noise is sigma squared": (1 - bar) * (1 + s / b),
        "the sensor's last noise is not shrunk any more: the sum starts with alpha^0": 1
        - bar
        + (1 - b) * s**2 * (1 - bar) / b,
        "there are t steps, and not t - 1": (1 - bar / (1 - b)) * (1 + s**2 / b),
        "this is the limit; after t steps it is not reached yet": 1 + s**2 / b,
        "the variance of x_t given x_0 is that of the noise: x_0 is fixed and adds nothing, and of the chain's noise there is 1 - (1 - beta)^t": bar
        + right,
        "a sum of alpha^0 ... alpha^(t-1) is (1 - alpha^t) / (1 - alpha), and 1 - alpha is beta": (1 - bar)
        * (1 + s**2 / (1 - b)),
        "the chain's part is missing": (1 - bar) * s**2 / b,
        "each variance is multiplied by alpha at a step, and not by its square root": 1
        - bar
        + s**2 * (1 - math.sqrt(bar)) / (1 - math.sqrt(1 - b)),
    }
    judge(student, "limit", (x, b, s, t), mean, "mean")
    judge(student, "limit", (x, b, s, t), variance, "variance")


@points("limit", 4)
@power("sensor unsquared in the end")
@follows(one_step=one_step, induction=induction)
@twice
def test_limit_in_the_end(student: Student, draw: Draw) -> None:
    b, s, x = draw.uniform(0.1, 0.25), sigmas(draw), draw.uniform(0.5, 2)
    variance = {
        "this is chapter 1's limit: where the sensor reads at every step, more is left": 1.0,
        "the noise does not vanish": 0.0,
        "each reading adds sigma^2, and the next steps shrink it: it is a geometric series, of which this is the first term": 1
        + s**2,
        "the chain's own noise is missing: it has the variance 1 in the end": s**2 / b,
        "this is the standard deviation": math.sqrt(1 + s**2 / b),
        "the variance of the sensor's noise is sigma squared": 1 + s / b,
        "the series of the powers of alpha is 1 / (1 - alpha), and 1 - alpha is beta": 1 + s**2 / (1 - b),
        "this is what one step adds; in the end the steps before it have left something too": b + s**2,
        "the sensor's last noise is not shrunk any more: the series starts with alpha^0": 1 + (1 - b) * s**2 / b,
    }
    mean = {"in the end nothing is left of x0": x, "this is the limit of the variance": 1 + s**2 / b}
    judge(student, "limit", (x, b, s, 5), mean, "limit_mean")
    judge(student, "limit", (x, b, s, 5), variance, "limit_variance")


# --- posterior -------------------------------------------------------------------------------------------------------------


@points("posterior", 9)
@power("precision without the sensor in the step")
@follows(one_step=one_step, induction=induction)
@twice
def test_posterior_variance(student: Student, draw: Draw) -> None:
    bar, c, a, s = before_a_step(draw)
    step, old = 1 - a + s**2, 1 - bar + c
    new = a * old + step
    precision = a / step + 1 / old
    known = {
        "x_{t-1} stands in q(x_t | x_{t-1}) with the factor sqrt(alpha_t), so its square has the factor alpha_t": 1
        / step
        + 1 / old,
        "x_{t-1} stands in q(x_t | x_{t-1}) with the factor sqrt(alpha_t); in the square that is alpha_t": math.sqrt(a)
        / step
        + 1 / old,
        "the second factor is q(x_{t-1} | x_0), with the variance 1 - alpha_bar_{t-1} + c_{t-1}, and not that of x_t": a
        / step
        + 1 / new,
        "the second factor is q(x_{t-1} | x_0), with alpha_bar_{t-1} and not alpha_bar_t": a / step
        + 1 / (1 - a * bar + c),
        "the variance of the step is 1 - alpha_t + sigma_t^2; the sensor's noise is missing there": a / (1 - a)
        + 1 / old,
        "the variance of x_{t-1} given x_0 is 1 - alpha_bar_{t-1} + c_{t-1}; the extra variance is missing there": a
        / step
        + 1 / (1 - bar),
        "with nothing of the sensor's in it, this is the line of chapter 1": a / (1 - a) + 1 / (1 - bar),
        "the variance of the sensor's noise is sigma squared": a / (1 - a + s) + 1 / old,
        "x_{t-1} stands in q(x_{t-1} | x_0) without a factor, so its square has none": a / step + bar / old,
        "precisions divide by variances, and not by standard deviations": a / math.sqrt(step) + 1 / math.sqrt(old),
        "minus twice the exponent is asked, so no factor 1/2 is left": precision / 2,
        "this is the variance": 1 / precision,
        "the two terms of the precision add; you multiplied them": a / step / old,
        "this adds the two variances; precisions add": step / a + old,
        "only the factor q(x_t | x_{t-1}) is here": a / step,
        "only the factor q(x_{t-1} | x_0) is here": 1 / old,
    }
    variance = {
        "this is the variance of the forward step, which is larger": step,
        "this is beta_t, the variance of chapter 1's forward step": 1 - a,
        "this is the variance of x_{t-1} given x_0 alone; x_t makes it smaller": old,
        "numerator and denominator are swapped": step * new / old,
        "this is the standard deviation": math.sqrt(1 / precision),
        "this is the precision": precision,
        "with nothing of the sensor's in it, this is the line of chapter 1": (1 - a) * (1 - bar) / (1 - a * bar),
        "the sensor is missing in the denominator, which is the whole variance of x_t given x_0": step
        * old
        / (1 - a * bar),
        "the denominator is the variance of the noise in x_t, with the extra variance c_t and not c_{t-1}": step
        * old
        / (1 - a * bar + c),
        "the denominator is the variance of the noise in x_t, and not the sum of the two": step * old / (step + old),
        "the variance of the step is 1 - alpha_t + sigma_t^2; the sensor's noise is missing in the numerator": (1 - a)
        * old
        / new,
        "the extra variance of x_{t-1} is missing in the numerator": step * (1 - bar) / new,
        "the numerator has the variance of x_{t-1} given x_0, with alpha_bar_{t-1} and not alpha_bar_t": step
        * (1 - a * bar + c)
        / new,
        "the numerator is the product of the two variances, without alpha_t": a * step * old / new,
    }
    args = (a, s, bar, c)
    judge(student, "posterior", args, known, "precision")
    judge(student, "posterior", args, variance, "variance")


@points("posterior", 9)
@power("posterior mean with alpha_bar_t")
@follows(one_step=one_step, induction=induction)
@twice
def test_posterior_mean(student: Student, draw: Draw) -> None:
    bar, c, a, s = before_a_step(draw)
    step, old = 1 - a + s**2, 1 - bar + c
    new = a * old + step
    of_xt, of_x0 = math.sqrt(a) * old / new, math.sqrt(bar) * step / new
    mean_xt = {
        "the factor is sqrt(alpha_t), not alpha_t": a * old / new,
        "this is the factor of x0: the two are swapped": of_x0,
        "the factor is sqrt(alpha_t), not sqrt(alpha_bar_t)": math.sqrt(a * bar) * old / new,
        "the factor is sqrt(alpha_t), not sqrt(alpha_bar_{t-1})": math.sqrt(bar) * old / new,
        "the factor sqrt(alpha_t) is missing": old / new,
        "with nothing of the sensor's in it, this is the line of chapter 1": math.sqrt(a) * (1 - bar) / (1 - a * bar),
        "the extra variance of x_{t-1} is missing in the numerator": math.sqrt(a) * (1 - bar) / new,
        "the sensor is missing in the denominator, which is the whole variance of x_t given x_0": math.sqrt(a)
        * old
        / (1 - a * bar),
        "x_t has the weight of what is known of x_{t-1} before, with alpha_bar_{t-1} and not alpha_bar_t": math.sqrt(a)
        * (1 - a * bar + c)
        / new,
        "x_t is weighted with the variance of x_{t-1} given x_0, and not with that of the step": math.sqrt(a)
        * step
        / new,
        "the weight of x_t is not divided by the precision yet": math.sqrt(a) / step,
        "the sum in the exponent has a factor 2, which completing the square takes away": 2 * of_xt,
    }
    mean_x0 = {
        "the factor is sqrt(alpha_bar_{t-1}), not sqrt(alpha_bar_t)": math.sqrt(a * bar) * step / new,
        "the factor is sqrt(alpha_bar_{t-1}), not alpha_bar_{t-1}": bar * step / new,
        "the factor is sqrt(alpha_bar_{t-1}), not sqrt(alpha_t)": math.sqrt(a) * step / new,
        "this is the factor of x_t: the two are swapped": of_xt,
        "the factor sqrt(alpha_bar_{t-1}) is missing": step / new,
        "with nothing of the sensor's in it, this is the line of chapter 1": math.sqrt(bar) * (1 - a) / (1 - a * bar),
        "the variance of the step is 1 - alpha_t + sigma_t^2; the sensor's noise is missing in the numerator": math.sqrt(
            bar
        )
        * (1 - a)
        / new,
        "the sensor is missing in the denominator, which is the whole variance of x_t given x_0": math.sqrt(bar)
        * step
        / (1 - a * bar),
        "x_0 is weighted with the variance of the step, and not with that of x_{t-1} given x_0": math.sqrt(bar)
        * old
        / new,
        "the two weights need not add up to 1": 1 - of_xt,
        "the weight of x_0 is not divided by the precision yet": math.sqrt(bar) / old,
        "the sum in the exponent has a factor 2, which completing the square takes away": 2 * of_x0,
    }
    args = (a, s, bar, c)
    judge(student, "posterior", args, mean_xt, "mean_xt")
    judge(student, "posterior", args, mean_x0, "mean_x0")


# --- signal and noise ------------------------------------------------------------------------------------------------------


@points("snr", 2)
@power("ratio without the extra variance")
@twice
def test_snr(student: Student, draw: Draw) -> None:
    (a, _), c = alphas(draw), draw.uniform(0.25, 0.6)
    ratio = snr(a, c)
    known = {
        "the SNR compares variances, so it has no square root": math.sqrt(ratio),
        "this is noise over signal; the SNR is signal over noise": 1 / ratio,
        "this already is the logarithm": math.log(ratio),
        "the extra variance is missing: this is the line of chapter 1": a / (1 - a),
        "the extra variance is noise and belongs below the line": (a + c) / (1 - a),
        "below the line is the noise alone, and not the whole variance 1 + extra": a / (1 + c),
        "the signal is a variance too: the square of sqrt(alpha_bar)": math.sqrt(a) / (1 - a + c),
        "the ratio has the square of the factor of x_0, which is alpha_bar": a**2 / (1 - a + c),
        "extra is a variance already; you squared it": a / (1 - a + c**2),
        "the extra variance adds to 1 - alpha_bar; you took it away": a / (1 - a - c),
    }
    judge(student, "snr", (a, c), known)


@points("snr", 2)
@power("logarithm without the extra variance")
@follows(snr=snr)  # and not alpha_bar_of, which may be turned round by trying numbers
@twice
def test_log_snr(student: Student, draw: Draw) -> None:
    (a, _), c = alphas(draw), draw.uniform(0.25, 0.6)
    ratio = snr(a, c)
    known = {
        "take the natural logarithm, not that of base 10": math.log10(ratio),
        "this is in decibels; take the natural logarithm": 10 * math.log10(ratio),
        "take the natural logarithm, not that of base 2": math.log2(ratio),
        "the sign is wrong": -math.log(ratio),
        "this is the SNR itself": ratio,
        "the extra variance is missing: this is the line of chapter 1": math.log(a / (1 - a)),
        "this is half the log-SNR, the logarithm of a ratio of standard deviations": math.log(ratio) / 2,
        "the logarithm of a quotient is the difference of the logarithms": math.log(a) + math.log(1 - a + c),
        "the logarithm of a sum is not the sum of the logarithms": math.log(a) - math.log(1 - a) - math.log(c),
        "this divides the logarithms; take the logarithm of the quotient": math.log(a) / math.log(1 - a + c),
    }
    judge(student, "log_snr", (a, c), known)


@points("snr", 2)
@power("inverse without the extra variance")
@twice  # nothing is lent: whoever is lent the log-SNR may turn it round by trying numbers
def test_alpha_bar_of(student: Student, draw: Draw) -> None:
    value, c = draw.uniform(0.3, 1.2) * (2 * draw.integer(0, 1) - 1), draw.uniform(0.25, 0.6)
    half = 1 / (1 + math.exp(-value))
    right = (1 + c) * half
    known = {
        "the sign in the exponent is wrong": (1 + c) * (1 - half),
        "the extra variance is missing: this undoes the log-SNR of chapter 1": half,
        "the extra variance is missing, and the sign in the exponent is wrong": 1 - half,
        "it divides by 1 + extra, and should multiply by it": half / (1 + c),
        "this undoes the SNR, not its logarithm": (1 + c) * value / (1 + value),
        "this is the SNR; alpha_bar is asked": math.exp(value),
        "this solves r = a / (1 - a), and multiplies by the extra variance instead of 1 + extra": c * half,
        "1 + extra belongs to the whole, and not to one term: solve r (1 - a + c) = a for a": 1
        / (1 + (1 + c) * math.exp(-value)),
        "the log-SNR has the natural logarithm, so it is undone by exp": (1 + c) / (1 + 10**-value),
        "the log-SNR is the logarithm of a ratio of variances; this doubles it": (1 + c) / (1 + math.exp(-2 * value)),
        "the log-SNR is the logarithm of a ratio of variances; this halves it": (1 + c) / (1 + math.exp(-value / 2)),
        "this is the noise's variance, and alpha_bar is asked": 1 + c - right,
    }
    judge(student, "alpha_bar_of", (value, c), known)


# --- tensors ---------------------------------------------------------------------------------------------------------------

NAMES = ("x_s", "s", "t", "alpha_bar", "extra", "noise")
AXES = ("batch", "channels", "rows", "columns")


def tables(draw: Draw, T: int) -> tuple[Tensor, Tensor]:
    """Tables of alpha_bar and of the extra variance, each with T + 1 entries; the extra variance stays below 1."""
    bars, extras = [1.0], [0.0]
    for _ in range(T):
        a = draw.uniform(0.75, 0.9)
        bars.append(a * bars[-1])
        extras.append(a * extras[-1] + draw.uniform(0.08, 0.2))
    return torch.tensor(bars, dtype=torch.float64), torch.tensor(extras, dtype=torch.float64)


def wrong_jumps(x: Tensor, s: Tensor, t: Tensor, bar: Tensor, extra: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """What wrong formulas give."""
    kept, added = jump(s, t, bar, extra)

    def with_factors(signal: Tensor, deviation: Tensor) -> Tensor:
        return along(signal) * x + along(deviation) * noise

    def shifted(by: int) -> Tensor:
        return q_sample(x, (s + by).clamp(0, len(bar) - 1), (t + by).clamp(0, len(bar) - 1), bar, extra, noise)

    root = kept.sqrt()
    return {
        "the variance of the noise stands where its square root belongs": with_factors(root, added),
        "x_s is multiplied by the square root of alpha_bar[t] / alpha_bar[s], not by that ratio": with_factors(
            kept, added.sqrt()
        ),
        "what is added to alpha_bar's part is missing: this is the jump of chapter 1's chain, with the variance 1 - alpha_bar[t] / alpha_bar[s]": with_factors(
            root, (1 - kept).sqrt()
        ),
        "the extra variance at s is in x_s already: what the jump keeps of it must not be added again": with_factors(
            root, (added + kept * extra[s]).sqrt()
        ),
        "the extra variance at s is shrunk on the way to t, by alpha_bar[t] / alpha_bar[s]": with_factors(
            root, (1 - kept + extra[t] - extra[s]).clamp(min=0).sqrt()
        ),
        "x_s holds noise already: the jump adds what is missing at t, and not all of the noise in x_t": with_factors(
            root, (1 - bar[t] + extra[t]).sqrt()
        ),
        "this is the jump from time 0; x_s stands at time s, so alpha_bar[s] and extra[s] belong in it": with_factors(
            bar[t].sqrt(), (1 - bar[t] + extra[t]).sqrt()
        ),
        "this is the jump of chapter 1's chain from time 0; x_s stands at time s, and there is a sensor": with_factors(
            bar[t].sqrt(), (1 - bar[t]).sqrt()
        ),
        "x_s is multiplied by the root of alpha_bar[t] / alpha_bar[s], not of alpha_bar[t]": with_factors(
            bar[t].sqrt(), added.sqrt()
        ),
        "variances subtract, standard deviations do not": with_factors(
            root, (1 - bar[t] + extra[t]).sqrt() - root * (1 - bar[s] + extra[s]).sqrt()
        ),
        "the noise in x_s is multiplied by alpha_bar[t] / alpha_bar[s] as a variance, and not by its root": with_factors(
            root, (1 - bar[t] + extra[t] - root * (1 - bar[s] + extra[s])).clamp(min=0).sqrt()
        ),
        "the noise in x_s is shrunk on the way to t, before it is taken off": with_factors(
            root, (bar[s] - bar[t] + extra[t] - extra[s]).clamp(min=0).sqrt()
        ),
        "signal and noise are swapped": with_factors(added.sqrt(), root),
        "the tables start at t = 0, so the entry of time t is alpha_bar[t], and not alpha_bar[t - 1]": shifted(-1),
        "the tables start at t = 0, so the entry of time t is alpha_bar[t], and not alpha_bar[t + 1]": shifted(1),
        "the noise is added whole; it needs the root of the variance that is missing at t": with_factors(
            root, torch.ones_like(root)
        ),
        "the noise is missing": with_factors(root, torch.zeros_like(root)),
        "x_s is not kept whole: it is multiplied by the root of alpha_bar[t] / alpha_bar[s]": with_factors(
            torch.ones_like(root), added.sqrt()
        ),
        "nothing has changed: this is x_s": x,
    }


def jumped(student: Student, *inputs: Tensor) -> Tensor:
    """What q_sample gives, which must leave its inputs as they are."""
    try:
        with once_endless(student, "q_sample"):
            found = student.tensor("q_sample", *inputs, shape=tuple(inputs[0].shape))
    except StudentError as error:
        if error.kind != "NotFinite":
            raise
        raise Wrong(
            "q_sample gives NaN or infinity: is the root of a negative number taken? t is the later time, so alpha_bar[t] / alpha_bar[s] "
            "is below 1, and the variance of the new noise is above 0"
        ) from None
    student.unchanged("q_sample", *NAMES)
    return found


def one_pixel(student: Student) -> str:
    """One example of a jump, the same for all."""
    bar, extra = torch.tensor([1.0, 0.64, 0.16]).double(), torch.tensor([0.0, 0.2, 0.3]).double()
    s, t, pixel = torch.tensor([1]), torch.tensor([2]), torch.ones(1, 1, 1, 1).double()
    inputs = (2 * pixel, s, t, bar, extra, pixel)
    asked = "of one pixel 2, from s = 1 to t = 2, with alpha_bar = [1, 0.64, 0.16], extra = [0, 0.2, 0.3] and noise 1, q_sample"
    right = float(q_sample(*inputs))
    return example(student, "the formula of q_sample is wrong", "q_sample", *inputs, right=right, asked=asked)()


def check_formula(student: Student, draw: Draw, s: int, t: int, bar: Tensor, extra: Tensor) -> None:
    """Raise Wrong unless one image jumps rightly from s to t: alone in its batch, so that nothing can be shaped wrongly."""
    shape = (1, 2, 3, 5)
    inputs = (draw.normal(*shape), torch.tensor([s]), torch.tensor([t]), bar, extra, draw.normal(*shape))
    match(jumped(student, *inputs), q_sample(*inputs), wrong_jumps(*inputs), lambda: one_pixel(student), CLOSE)


@points("q_sample", 6)
@power("extra variance at s not shrunk")
@follows(snr=snr, induction=induction)
def test_q_sample_formula(student: Student, draw: Draw) -> None:
    bar, extra = tables(draw, 6)
    for s, t in ((2, 5), (1, 2), (0, 3), (3, 6)):
        check_formula(student, draw, s, t, bar, extra)


@points("q_sample", 4)
@power("one time for all images")
@follows(snr=snr, induction=induction)
def test_q_sample_gives_each_image_its_own_times(student: Student, draw: Draw) -> None:
    bar, extra = tables(draw, 6)
    check_formula(student, draw, 2, 5, bar, extra)  # where the formula is wrong, nothing can be said about the batch
    s, t = torch.tensor([0, 3, 1]), torch.tensor([2, 4, 6])
    x, noise = draw.normal(3, 3, 3, 3), draw.normal(3, 3, 3, 3)  # as many images as channels, rows and columns
    kept, added = jump(s, t, bar, extra)
    first, last = torch.zeros_like(s), torch.full_like(s, 2)
    mistakes = {
        "every image has times of its own; you used those of the first for all": q_sample(
            x, s[0].expand(3), t[0].expand(3), bar, extra, noise
        ),
        "every image has times of its own; you used those of the last for all": q_sample(
            x, s[last], t[last], bar, extra, noise
        ),
        "every image starts at a time of its own; you used that of the first for all": q_sample(
            x, s[first], t, bar, extra, noise
        ),
        "every image ends at a time of its own; you used that of the first for all": q_sample(
            x, s, t[first], bar, extra, noise
        ),
        "every image has noise of its own; you used that of the first for all": q_sample(
            x, s, t, bar, extra, noise[:1].expand_as(noise)
        ),
        "the images come back in another order": q_sample(x, s, t, bar, extra, noise).flip(0),
        **{
            f"the factors run along the {AXES[axis]} of the images instead of along the batch: reshape them to (B, 1, 1, 1)": along(
                kept.sqrt(), axis
            )
            * x
            + along(added.sqrt(), axis) * noise
            for axis in (1, 2, 3)
        },
    }
    inputs = (x, s, t, bar, extra, noise)
    right = q_sample(*inputs)
    got = jumped(student, *inputs)

    def otherwise() -> str:
        wrong = [str(image) for image in range(3) if not close(got[image], right[image], CLOSE)]
        return (
            "one image alone jumps rightly, but in a batch of three, from s = [0, 3, 1] to t = [2, 4, 6], "
            f"these come out wrong: {', '.join(wrong)}"
        )

    match(got, right, mistakes, otherwise, CLOSE)
    shape = (2, 1, 3, 5)
    inputs = (draw.normal(*shape), s[1:], t[1:], bar, extra, draw.normal(*shape))
    match(jumped(student, *inputs), q_sample(*inputs), {}, "q_sample is wrong for images that are not square", CLOSE)


# --- the walk --------------------------------------------------------------------------------------------------------------
#
# The walkers end at independent draws of N(m, v), whatever the order in which the noise is drawn. So the mean of N of them is a
# draw of N(m, v / N), and the sum of squares about the means of K groups, over v, one of chi-square with N - K degrees of freedom.
# tests/grader/test_a01.py computes the numbers below with SciPy, which would take half a second to import here.

WALKERS, GROUPS = 10_000, 4
MEAN_BOUND = 4.7535  # standard deviations: a right mean is further off with probability 2e-6
VARIANCE_BOUNDS = (0.9667, 1.0340)  # a right variance, over v, is outside with probability 2e-6
PAIRS = 30  # of walkers, with which `check_scatter` refuses a right walk once in 1e33 submissions
BIASED, UNBIASED = math.log(1e6), -math.log(1e4)  # where the evidence on n against n - 1 ends


def walked(student: Student, x: float, betas: Tensor, sigma: float, n: int, seed: int) -> tuple[float, float]:
    """Mean and variance as walk gives them: two numbers, in a tuple, a list, a tensor or an array."""
    with once_endless(student, "walk"):
        found = student.call("walk", x, betas, sigma, n, seed)
    student.unchanged("walk", "x0", "betas", "sigma", "n", "seed")
    if isinstance(found, Tensor | np.ndarray) and found.ndim > 0:
        found = list(found.reshape(-1)[:3])
    if type(found) is dict:
        found = list(found.values())
    require(type(found) is list and len(found) == 2, "walk should return two numbers, mean and variance")
    mean, variance = (as_number("walk", value.item() if isinstance(value, np.generic) else value) for value in found)
    return mean, variance


def check_scatter(found: list[tuple[float, float]], mean: float, variance: float) -> None:
    """Raise Wrong where the means or variances of pairs of walkers lie too near to the truth, over PAIRS or more seeds.

    One lies within a tenth of its spread with probability 0.08 (a mean) and 0.05 (a variance): all of 30 do so with 1e-33. One jump
    by the closed form scatters as a walk does, and nobody can tell them apart here.
    """
    for name, offs in (
        ("mean", [(one - mean) / math.sqrt(variance / 2) for one, _ in found]),
        ("variance", [one / variance - 1 for _, one in found]),
    ):
        require(
            any(abs(off) > 0.1 for off in offs),
            f"with every seed the {name} of two walkers is nearer to the closed form than two walkers can be: this does not come from a simulation",
        )


def steps(variance: float, betas: list[float], change: Callable[[int, float, float], float]) -> float:
    """A variance after all steps, each of which changes it."""
    for number, beta in enumerate(betas):
        variance = change(number, beta, variance)
    return variance


def wrong_walks(x: float, betas: list[float], s: float) -> dict[str, tuple[float, float]]:
    """Mean and variance that wrong walks arrive with."""
    a = [1 - beta for beta in betas]
    mean = math.sqrt(math.prod(a)) * x
    right = steps(0, betas, lambda _, b, v: (1 - b) * v + b + s**2)

    def spread(change: Callable[[int, float, float], float]) -> tuple[float, float]:
        return mean, steps(0, betas, change)

    chain, sensor = 0.0, 0.0  # the factors of one noise of each kind that all steps share
    for beta in betas:
        chain, sensor = (
            math.sqrt(1 - beta) * chain + math.sqrt(beta),
            math.sqrt(1 - beta) * sensor + s,
        )
    rest = math.sqrt(math.prod(a[1:])) * x, steps(0, betas[1:], lambda _, b, v: (1 - b) * v + b + s**2)
    most = math.sqrt(math.prod(a[:-1])) * x, steps(0, betas[:-1], lambda _, b, v: (1 - b) * v + b + s**2)
    return {
        "this is the standard deviation of the walkers; return the variance": (mean, math.sqrt(right)),
        "the chain's noise has the VARIANCE beta: multiply it by sqrt(beta), not by beta": spread(
            lambda _, b, v: (1 - b) * v + b**2 + s**2
        ),
        "the sensor's noise is missing: this is the walk of chapter 1": spread(lambda _, b, v: (1 - b) * v + b),
        "sigma is a STANDARD DEVIATION: multiply the sensor's noise by sigma, not by its square": spread(
            lambda _, b, v: (1 - b) * v + b + s**4
        ),
        "sigma is a STANDARD DEVIATION: multiply the sensor's noise by sigma, not by its square root": spread(
            lambda _, b, v: (1 - b) * v + b + s
        ),
        "the sensor reads after the step: its noise is not shrunk by the same step": spread(
            lambda _, b, v: (1 - b) * (v + s**2) + b
        ),
        "chain and sensor need noises of their own in each step; you used one for both": spread(
            lambda _, b, v: (1 - b) * v + (math.sqrt(b) + s) ** 2
        ),
        "each step needs fresh noise: yours is the same at every step, the chain's and the sensor's": (
            mean,
            chain**2 + sensor**2,
        ),
        "each step needs fresh noise: yours is the same at every step, and the same for chain and sensor": (
            mean,
            (chain + sensor) ** 2,
        ),
        "each step needs fresh noise: the chain's is the same at every step": (
            mean,
            chain**2 + steps(0, betas, lambda _, b, v: (1 - b) * v + s**2),
        ),
        "each step needs fresh noise: the sensor's is the same at every step": (
            mean,
            sensor**2 + steps(0, betas, lambda _, b, v: (1 - b) * v + b),
        ),
        "the sensor reads after every step; yours reads only at the end": spread(
            lambda k, b, v: (1 - b) * v + b + (s**2 if k == len(betas) - 1 else 0)
        ),
        "the sensor reads after every step; the first has none": spread(
            lambda k, b, v: (1 - b) * v + b + (s**2 if k else 0)
        ),
        "the sensor reads after every step; the last has none": spread(
            lambda k, b, v: (1 - b) * v + b + (s**2 if k < len(betas) - 1 else 0)
        ),
        "the steps are taken backwards: begin with betas[0]": (
            mean,
            steps(0, betas[::-1], lambda _, b, v: (1 - b) * v + b + s**2),
        ),
        "the first step is missing": rest,
        "the last step is missing": most,
        "every step multiplies by sqrt(1 - beta), not by 1 - beta": (
            math.prod(a) * x,
            steps(0, betas, lambda _, b, v: (1 - b) ** 2 * v + b + s**2),
        ),
        "every step multiplies by sqrt(1 - beta); yours keeps the walkers whole": (x, sum(betas) + len(betas) * s**2),
        "the factors are swapped: the walker is multiplied by sqrt(1 - beta), the noise by sqrt(beta)": (
            math.sqrt(math.prod(betas)) * x,
            steps(0, betas, lambda _, b, v: b * v + 1 - b + s**2),
        ),
        "the chain's noise is missing": spread(lambda _, b, v: (1 - b) * v + s**2),
        "the noise must be normal, with mean 0 and variance 1 (randn): yours looks like that of rand": (
            mean + sum((math.sqrt(b) + s) / 2 * math.sqrt(math.prod(a[k + 1 :])) for k, b in enumerate(betas)),
            right / 12,
        ),
        "this is the mean of the squares; the variance is about the mean of the walkers": (mean, right + mean**2),
        "mean and variance are the other way round": (right, mean),
    }


# Where the values are wrong, these walks are asked for too, the same for all: any two mistakes differ in one of them.
CASES = [(2.0, [0.1, 0.3, 0.5], 1.3), (-1.0, [0.5, 0.2], 0.3)]


def distance(found: list[tuple[float, float]], moments: tuple[float, float]) -> float:
    """How far the moments of some groups of WALKERS are from a mean and a variance, in six times what they scatter by at most."""
    size, n = max(abs(value) for value in moments), WALKERS * len(found)
    offs = [abs(sum(values) / len(found) - right) for values, right in zip(zip(*found), moments)]
    return max(offs) / max(math.sqrt(size / n), size * math.sqrt(2 / n)) / 6


def check_values(student: Student, x: float, betas: list[float], s: float, first: int) -> None:
    """Raise Wrong unless the means and variances of GROUPS of WALKERS agree with the closed form, and say what they agree with."""

    def groups(x: float, betas: list[float], s: float, count: int) -> list[tuple[float, float]]:
        given = torch.tensor(betas, dtype=torch.float64)
        return [walked(student, x, given, s, WALKERS, first + group) for group in range(count)]

    found = groups(x, betas, s, GROUPS)
    got = [sum(values) / len(found) for values in zip(*found)]
    mean = math.sqrt(math.prod(1 - beta for beta in betas)) * x
    variance = steps(0, betas, lambda _, b, v: (1 - b) * v + b + s**2)
    off = abs(got[0] - mean) / math.sqrt(variance / (WALKERS * GROUPS))
    if off <= MEAN_BOUND and VARIANCE_BOUNDS[0] <= got[1] / variance <= VARIANCE_BOUNDS[1]:
        return
    walks = [(found, wrong_walks(x, betas, s)), *((groups(*case, 1), wrong_walks(*case)) for case in CASES)]
    for message in walks[0][1]:
        if all(distance(arrived, wrong[message]) <= 1 for arrived, wrong in walks):
            raise Wrong(message)
    case = CASES[0]
    (arrived,), right = (
        walks[1][0],
        (2 * math.sqrt(0.9 * 0.7 * 0.5), steps(0, case[1], lambda _, b, v: (1 - b) * v + b + 1.69)),
    )
    shown = (
        f"for example walk(2, betas=[0.1, 0.3, 0.5], sigma=1.3, n={WALKERS}, seed) should give a mean of about {right[0]:.2f} and a variance "
        f"of about {right[1]:.2f}, and yours gives {arrived[0]:.2f} and {arrived[1]:.2f}"
    )
    if off > MEAN_BOUND:
        raise Wrong(
            f"the mean of the walkers is off: every step multiplies by sqrt(1 - beta), and all noise has mean 0; {shown}"
        )
    raise Wrong(
        "the variance of the walkers is off, and the mean is right: every step adds fresh noise of variance beta, and fresh noise of "
        f"variance sigma^2 after it; {shown}"
    )


@points("walk", 6)
@power("sensor silent at the first step", luck=4e-6)  # of the two bounds in check_values
@follows(one_step=one_step)
def test_walk(student: Student, draw: Draw) -> None:
    # The betas rise, so that their order counts; with such sigmas the variance is above 1.2, so that its root is another number.
    betas = [middle + draw.uniform(-0.02, 0.02) for middle in (0.12, 0.2, 0.28, 0.36)]
    # A negative mean is no variance: whoever returns the one for the other is seen.
    sigma, x, first = draw.uniform(0.5, 0.7), -draw.uniform(1, 3), draw.integer(1, 1_000_000)
    given = torch.tensor(betas, dtype=torch.float64)
    pairs = [walked(student, x, given, sigma, 2, seed) for seed in [*range(first, first + PAIRS), first]]
    again = pairs.pop()
    require(
        close(torch.tensor(again), torch.tensor(pairs[0])),
        "the same seed should give the same walkers: take all noise from one torch.Generator that starts at seed",
    )
    require(
        len({one for one, _ in pairs}) > PAIRS / 2,
        "another seed should give other walkers: this mean does not come from a simulation with that seed",
    )
    check_values(student, x, betas, sigma, first + PAIRS)
    variance = steps(0, betas, lambda _, b, v: (1 - b) * v + b + sigma**2)
    check_scatter(pairs, math.sqrt(math.prod(1 - beta for beta in betas)) * x, variance)


@points("walk", 2)
@power("biased variance", luck=1e-6)  # by Ville's inequality, see below
@follows(one_step=one_step)
def test_walk_variance_is_unbiased(student: Student, draw: Draw) -> None:
    # Of such a beta, 1 - beta is far from its root: whoever multiplies by it is refused here every time.
    beta, sigma, first = draw.uniform(0.4, 0.5), draw.uniform(0.6, 0.8), draw.integer(1, 1_000_000)
    betas, mean, right = torch.tensor([beta], dtype=torch.float64), -math.sqrt(1 - beta), beta + sigma**2
    # Where the spread of many walkers is wrong, another test says so, and here it is the measure.
    arrived, many = walked(student, -1.0, betas, sigma, WALKERS, first)
    require(many > 0, "a variance is positive")
    # Ten standard errors: numbers that come from no walk have a right variance of their own.
    require(abs(arrived - mean) < 0.1, "the mean of the walkers is off: every step multiplies by sqrt(1 - beta)")
    variance = right if abs(many / right - 1) < 0.1 else many
    # Of two walkers the unbiased variance, over the true one, is chi-square with 1 degree of freedom, and the biased one half of
    # that. The likelihood ratio of the two after each seed is a martingale with mean 1 if the variance is unbiased, so that it
    # ever reaches 10^6 has a chance of at most 10^-6; and if it is biased, that its inverse ever reaches 10^4 one of 10^-4.
    evidence, found = 0.0, []
    for seed in range(first + 1, first + 1000):
        found.append(walked(student, -1.0, betas, sigma, 2, seed))
        evidence += math.log(2) / 2 - found[-1][1] / variance / 2
        require(
            evidence < BIASED,
            "the variance is too small for few walkers: the unbiased variance divides the sum of squares by n - 1, yours by n",
        )
        if len(found) >= PAIRS and evidence <= UNBIASED:
            break
    check_scatter(found, mean, variance)
