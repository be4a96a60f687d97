"""Public checks of assignment 1: run them as often as you like. The hidden tests look deeper, with fresh numbers."""

import math

import sympy as sp
import torch

from course_lib.pages.checking import check


def ok(message):
    """Say that a check passed."""
    print(f"ok: {message}")


def near(got, right, message):
    """Stop with a message unless a number is right."""
    value = float(got)
    assert math.isclose(value, right, rel_tol=1e-5, abs_tol=1e-6), f"{message} (got {value:.4f})"


def lines(found, names):
    """The lines of a dict, by their names without capitals. Stop unless a function returned all of these."""
    assert isinstance(found, dict), f"return a dict with the keys {', '.join(names)}; got {type(found).__name__}"
    found = {str(name).strip().lower(): value for name, value in found.items()}
    missing = [name for name in names if name not in found]
    assert not missing, f"the dict lacks {', '.join(missing)}"
    return found


def symbols(function, count):
    """Say if a function does not take symbols, which is no mistake; but then you cannot look at its formula."""
    try:
        function(*sp.symbols(f"a:{count}", positive=True))
    except Exception:
        print(
            "note: this takes no SymPy symbols; with sp.sqrt, sp.exp and sp.log it would, and you could look at its formula"
        )


@check
def one_step(function):
    """Task 1."""
    near(
        function(1.0, 0.81, 0.5, 0.0, 0.0),
        0.9,
        "with no noise, x_t = sqrt(alpha) x_{t-1}: for alpha = 0.81 that is 0.9",
    )
    near(
        function(0.0, 0.75, 0.5, 1.0, 0.0),
        0.5,
        "the noise has VARIANCE 1 - alpha, so its factor is the square root: for alpha = 0.75 that is 0.5",
    )
    near(
        function(0.0, 0.75, 0.3, 0.0, 1.0),
        0.3,
        "sigma is a STANDARD DEVIATION: the sensor's noise xi is multiplied by it",
    )
    symbols(function, 5)
    ok("one step keeps sqrt(alpha) of the image and adds noise of variance 1 - alpha + sigma^2")


@check
def two_steps(function):
    """Task 2."""
    names = ("x2", "noise_variance", "simplified", "swapped")
    found = lines(function(0.8, 0.9, 0.7, 0.5, -0.6, 0.4, 1.1, -0.2), names)
    near(found["simplified"], float(found["noise_variance"]), "simplified should be the same number as noise_variance")
    quiet = lines(function(1.0, 0.81, 0.64, 0.5, 0.0, 0.0, 0.0, 0.0), names)
    near(quiet["x2"], 0.72, "x2: with no noise the factors sqrt(alpha1) and sqrt(alpha2) multiply")
    silent = lines(function(1.0, 0.9, 0.7, 0.0, 0.0, 0.0, 0.0, 0.0), names)
    for name, message in (
        ("simplified", "with a silent sensor (sigma = 0) chapter 1 says 1 - alpha1 alpha2"),
        ("swapped", "with a silent sensor (sigma = 0) the order makes no difference"),
    ):
        near(silent[name], 1 - 0.9 * 0.7, f"{name}: {message}")
    symbols(function, 8)
    ok("your lines agree with each other and with chapter 1; the hidden tests see whether each is right")


@check
def induction(function):
    """Task 3."""
    names = ("noise_variance", "extra", "total")
    found = lines(function(0.5, 0.2, 0.9, 0.3), names)
    right = 1 - 0.9 * 0.5 + float(found["extra"])
    near(found["noise_variance"], right, "noise_variance should be 1 - alpha_bar_t + extra")
    silent = lines(function(0.5, 0.0, 0.9, 0.0), names)
    near(
        silent["total"],
        1,
        "total: with a silent sensor (sigma = 0, nothing extra before) the variance of x_t stays 1",
    )
    symbols(function, 4)
    ok("your lines agree with each other and with chapter 1")


@check
def limit(function):
    """Task 4."""
    first = lines(function(1.0, 0.19, 0.5, 1), ("mean", "variance", "limit_mean", "limit_variance"))
    near(first["mean"], 0.9, "after one step with beta = 0.19 the mean of x_1 is 0.9 x_0")
    near(first["variance"], 0.44, "after one step with beta = 0.19 and sigma = 0.5 the variance is beta + sigma^2")
    ok("the first step is right")


@check
def posterior(function):
    """Task 5."""
    found = lines(function(0.9, 0.3, 0.5, 0.2), ("precision", "variance", "mean_xt", "mean_x0"))
    near(float(found["variance"]) * float(found["precision"]), 1, "variance should be one over precision")
    near(
        float(found["mean_xt"]) * math.sqrt(0.9 * 0.5) + float(found["mean_x0"]),
        math.sqrt(0.5),
        "put x_t = sqrt(alpha_bar_t) x_0 into the mean: it should be sqrt(alpha_bar_{t-1}) x_0",
    )
    symbols(function, 4)
    ok("variance and precision agree, and so do the two factors of the mean")


@check
def snr(ratio, logarithm, back):
    """Task 6."""
    near(ratio(0.5, 0.0), 1, "at alpha_bar = 1/2 with nothing extra, signal and noise are equally strong")
    near(
        logarithm(0.75, 0.5),
        0,
        "at alpha_bar = 0.75 with an extra variance of 0.5 they are equally strong, too, and the logarithm of 1 is 0",
    )
    near(back(logarithm(0.3, 0.2), 0.2), 0.3, "alpha_bar_of should undo log_snr")
    symbols(ratio, 2)
    ok("there and back again")


@check
def q_sample(function):
    """Task 7."""
    alpha_bar, extra = torch.tensor([1.0, 0.81, 0.36, 0.09]), torch.tensor([0.0, 0.1, 0.2, 0.3])
    names = ("x_s", "s", "t", "alpha_bar", "extra", "noise")
    inputs = (
        torch.ones(3, 1, 2, 2),
        torch.tensor([0, 0, 2]),
        torch.tensor([1, 2, 3]),
        alpha_bar,
        extra,
        torch.zeros(3, 1, 2, 2),
    )
    before = [value.clone() for value in inputs]
    found = torch.as_tensor(function(*inputs))
    for name, old, new in zip(names, before, inputs):
        assert torch.equal(old, new), (
            f"your function changes the {name} that it is given: make new tensors, do not change it in place"
        )
    assert found.shape == inputs[0].shape, (
        f"the result should have the shape of x_s, {tuple(before[0].shape)}; got {tuple(found.shape)}"
    )
    for got, right in zip(found.mean((1, 2, 3)).tolist(), (0.9, 0.6, 0.5)):
        near(got, right, "with no noise, image i should be x_s[i] times sqrt(alpha_bar[t[i]] / alpha_bar[s[i]])")
    noisy = function(
        torch.zeros(1, 1, 2, 2), torch.tensor([0]), torch.tensor([2]), alpha_bar, extra, torch.ones(1, 1, 2, 2)
    )
    near(
        torch.as_tensor(noisy).mean(),
        math.sqrt(0.84),
        "from s = 0 the noise has the variance 1 - alpha_bar[t] + extra[t], here 0.84",
    )
    ok(
        "each image has its own start and its own end; the hidden tests see whether the noise is right from a later start"
    )


@check
def walk(function):
    """Task 8."""
    mean, variance = function(2.0, torch.full((5,), 0.1), 0.3, 10_000, 0)
    right = (1 - 0.9**5) * (1 + 0.3**2 / 0.1)
    assert abs(float(mean) - 2.0 * 0.9**2.5) < 0.06, (
        f"the mean after 5 steps of beta = 0.1 from 2 is about {2 * 0.9**2.5:.3f}; got {float(mean):.3f}"
    )
    assert abs(float(variance) - right) < 0.06, f"the variance is about {right:.3f}; got {float(variance):.3f}"
    ok("the dice agree with the closed form")
