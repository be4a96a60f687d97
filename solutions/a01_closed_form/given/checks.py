"""Public checks of assignment 1: run them as often as you like. The hidden tests look deeper, with fresh numbers."""

import math

import sympy as sp
import torch

NUMBERS = {"x0": 0.8, "eps1": -0.6, "eps2": 1.1, "alpha1": 0.9, "alpha2": 0.7}


def ok(message):
    """Say that a check passed."""
    print(f"ok: {message}")


def near(got, right, message):
    """Stop with a message unless a number is right."""
    value = float(got)
    assert math.isclose(value, right, rel_tol=1e-6, abs_tol=1e-9), f"{message} (got {value:.4f})"


def lines(found, names):
    """Stop unless a function returned a dict with these lines."""
    assert isinstance(found, dict), f"return a dict with the keys {', '.join(names)}; got {type(found).__name__}"
    missing = [name for name in names if name not in found]
    assert not missing, f"the dict lacks {', '.join(missing)}"


def symbols(function, count):
    """Stop unless a function also works for symbols."""
    names = sp.symbols(f"a:{count}", positive=True)
    try:
        function(*names)
    except TypeError as error:
        raise AssertionError(
            "it should work for SymPy symbols too: use sp.sqrt, sp.exp and sp.log, not math or torch"
        ) from error


def one_step(function):
    """Task 1."""
    symbols(function, 3)
    near(function(1, 0.81, 0), 0.9, "with no noise, x_t = sqrt(alpha) x_{t-1}: for alpha = 0.81 that is 0.9")
    near(
        function(0, 0.75, 1),
        0.5,
        "the noise has VARIANCE 1 - alpha, so its factor is the square root: for alpha = 0.75 that is 0.5",
    )
    ok("one step keeps sqrt(alpha) of the image and adds noise of variance 1 - alpha")


def two_steps(function):
    """Task 2."""
    symbols(function, 5)
    found = function(*(NUMBERS[name] for name in ("x0", "alpha1", "alpha2", "eps1", "eps2")))
    lines(found, ("x2", "signal", "noise_variance", "simplified"))
    near(function(1, 0.81, 0.64, 0, 0)["signal"], 0.72, "signal: the factors sqrt(alpha1) and sqrt(alpha2) multiply")
    near(found["simplified"], float(found["noise_variance"]), "simplified should be the same number as noise_variance")
    ok("your lines agree with each other; the hidden tests see whether each is right")


def induction(function):
    """Task 3."""
    symbols(function, 2)
    found = function(0.5, 0.9)
    lines(found, ("signal", "noise_variance", "alpha_bar"))
    near(
        float(found["signal"]) ** 2 + float(found["noise_variance"]),
        1,
        "signal squared plus noise variance should be 1",
    )
    ok("signal and noise share one unit of variance")


def limit(function):
    """Task 4."""
    found = function(1.0, 0.02, 10)
    lines(found, ("mean", "variance", "limit_mean", "limit_variance"))
    near(function(1.0, 0.19, 1)["mean"], 0.9, "after one step with beta = 0.19 the mean of x_1 is 0.9 x_0")
    ok("the first step is right")


def posterior(function):
    """Task 5."""
    symbols(function, 2)
    found = function(0.9, 0.5)
    lines(found, ("precision", "variance", "mean_xt", "mean_x0"))
    near(float(found["variance"]) * float(found["precision"]), 1, "variance should be one over precision")
    ok("variance and precision agree")


def snr(ratio, logarithm, back):
    """Task 6."""
    symbols(ratio, 1)
    near(ratio(0.5), 1, "at alpha_bar = 1/2 signal and noise are equally strong")
    near(logarithm(0.5), 0, "the logarithm of 1 is 0")
    near(back(logarithm(0.3)), 0.3, "alpha_bar_of should undo log_snr")
    ok("there and back again")


def q_sample(function):
    """Task 7."""
    alpha_bar = torch.tensor([1.0, 0.81, 0.36])
    x0, noise = torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    found = function(x0, torch.tensor([0, 1, 2]), alpha_bar, noise)
    assert found.shape == x0.shape, (
        f"the result should have the shape of x0, {tuple(x0.shape)}; got {tuple(found.shape)}"
    )
    means = found.mean((1, 2, 3)).tolist()
    for got, right in zip(means, (1.0, 0.9, 0.6)):
        near(got, right, "with no noise, image i should be x0[i] times sqrt(alpha_bar[t[i]])")
    ok("each image has its own time")


def walk(function):
    """Task 8."""
    mean, variance = function(2.0, torch.full((5,), 0.1), 20_000, 0)
    assert abs(float(mean) - 2.0 * 0.9**2.5) < 0.05, (
        f"the mean after 5 steps of beta = 0.1 from 2 is about {2 * 0.9**2.5:.3f}; got {float(mean):.3f}"
    )
    assert abs(float(variance) - (1 - 0.9**5)) < 0.05, (
        f"the variance is about {1 - 0.9**5:.3f}; got {float(variance):.3f}"
    )
    ok("the dice agree with the closed form")
