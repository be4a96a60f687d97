"""Hidden tests of a01: each line of each derivation at fresh numbers; the first wrong line is named."""

import math

import torch

from autograder.testing.answers import Wrong, as_number, match, require
from autograder.testing.suite import Draw, Student, first_wrong_line, follows, line, points

# --- helpers ---------------------------------------------------------------------------------------------------------------


def alphas(draw: Draw, count: int) -> list[float]:
    """Numbers well inside (0, 1)."""
    return [draw.uniform(0.15, 0.85) for _ in range(count)]


# --- one step --------------------------------------------------------------------------------------------------------------


@points("one_step", 4)
def test_one_step_signal(student: Student, draw: Draw) -> None:
    (a,), x = alphas(draw, 1), draw.uniform(0.5, 2)
    mistakes = {
        "x_{t-1} is multiplied by sqrt(alpha), not by alpha": a * x,
        "x_{t-1} is multiplied by sqrt(alpha), with alpha = 1 - beta; you took the square root of 1 - alpha": math.sqrt(
            1 - a
        )
        * x,
        "x_{t-1} is not kept whole: it is multiplied by sqrt(alpha)": x,
    }
    match(student.number("one_step", x, a, 0.0), math.sqrt(a) * x, mistakes, "the part of x_{t-1} in one_step is wrong")


@points("one_step", 4)
def test_one_step_noise(student: Student, draw: Draw) -> None:
    (a,), e = alphas(draw, 1), draw.uniform(0.5, 2)
    mistakes = {
        "1 - alpha is the variance of the noise; its factor is the square root of that": (1 - a) * e,
        "the noise is multiplied by sqrt(1 - alpha); you took sqrt(alpha)": math.sqrt(a) * e,
        "the noise is multiplied by sqrt(1 - alpha); you added it whole": e,
    }
    match(student.number("one_step", 0.0, a, e), math.sqrt(1 - a) * e, mistakes, "the noise in one_step is wrong")


# --- two steps -------------------------------------------------------------------------------------------------------------


def one_step(x_prev: float, alpha: float, eps: float) -> float:
    """What one_step should do."""
    return math.sqrt(alpha) * x_prev + math.sqrt(1 - alpha) * eps


@points("two_steps", 6)
@follows(one_step=one_step)
def test_two_steps_substitution(student: Student, draw: Draw) -> None:
    (a, b), (x, e, f) = alphas(draw, 2), (draw.uniform(0.5, 2) for _ in range(3))
    x1 = math.sqrt(a) * x + math.sqrt(1 - a) * e
    mistakes = {
        "the first noise passes through the second step too, where it is multiplied by sqrt(alpha2)": math.sqrt(a * b)
        * x
        + math.sqrt(1 - a) * e
        + math.sqrt(1 - b) * f,
        "the two steps are in the wrong order: alpha1 comes first": math.sqrt(a)
        * (math.sqrt(b) * x + math.sqrt(1 - b) * f)
        + math.sqrt(1 - a) * e,
        "the variances 1 - alpha stand where their square roots belong": math.sqrt(b) * (math.sqrt(a) * x + (1 - a) * e)
        + (1 - b) * f,
        "eps1 belongs to the first step and eps2 to the second": math.sqrt(b)
        * (math.sqrt(a) * x + math.sqrt(1 - a) * f)
        + math.sqrt(1 - b) * e,
    }
    right = math.sqrt(b) * x1 + math.sqrt(1 - b) * f
    known = {f"line 'x2': {text}": wrong for text, wrong in mistakes.items()}
    match(
        line(student, "two_steps", "x2", x, a, b, e, f),
        right,
        known,
        "line 'x2' of two_steps is the first that is wrong",
    )


@points("two_steps", 12)
def test_two_steps_lines(student: Student, draw: Draw) -> None:
    a, b = alphas(draw, 2)
    right = {"signal": math.sqrt(a * b), "noise_variance": 1 - a * b, "simplified": 1 - a * b}
    deviations = math.sqrt(b * (1 - a)) + math.sqrt(1 - b)
    mistakes = {
        "signal": {"this is the square; take its root": a * b, "only one of the two factors is there": math.sqrt(a)},
        "noise_variance": {
            "variances of independent terms add, standard deviations do not": deviations**2,
            "this adds the standard deviations; add the variances": deviations,
            "the first noise is scaled by alpha2 in the second step": (1 - a) + (1 - b),
            "the variance of the first noise is multiplied by alpha2, the square of sqrt(alpha2)": math.sqrt(b)
            * (1 - a)
            + (1 - b),
            "this is the standard deviation; the line asks for the variance": math.sqrt(1 - a * b),
        },
    }
    first_wrong_line(student, "two_steps", (1.0, a, b, 0.3, -0.4), right, mistakes)


# --- induction -------------------------------------------------------------------------------------------------------------


@points("induction", 9)
def test_induction_signal_and_noise(student: Student, draw: Draw) -> None:
    before, a = alphas(draw, 2)
    right = {"signal": math.sqrt(a * before), "noise_variance": 1 - a * before}
    mistakes = {
        "signal": {
            "this is alpha_bar_t; the signal is its square root": a * before,
            "the factor sqrt(alpha_t) of the new step is missing": math.sqrt(before),
        },
        "noise_variance": {
            "the old noise is multiplied by alpha_t in the new step": (1 - before) + (1 - a),
            "the new step adds its own variance 1 - alpha_t": a * (1 - before),
            "this is the standard deviation; the line asks for the variance": math.sqrt(1 - a * before),
            "variances multiply by alpha_t, not by its square root": math.sqrt(a) * (1 - before) + (1 - a),
        },
    }
    first_wrong_line(student, "induction", (before, a), right, mistakes)


@points("induction", 5)
def test_induction_alpha_bar(student: Student, draw: Draw) -> None:
    before, a = alphas(draw, 2)
    mistakes = {
        "alpha_bar is a product, not a sum": a + before,
        "this is the signal; alpha_bar is its square": math.sqrt(a * before),
    }
    first_wrong_line(student, "induction", (before, a), {"alpha_bar": a * before}, {"alpha_bar": mistakes})


# --- limit -----------------------------------------------------------------------------------------------------------------


@points("limit", 4)
def test_limit_after_t_steps(student: Student, draw: Draw) -> None:
    b, t, x = draw.uniform(0.01, 0.1), draw.integer(3, 20), draw.uniform(0.5, 2)
    bar = (1 - b) ** t
    mistakes = {
        "mean": {
            "this is alpha_bar_t x0; the mean has its square root": bar * x,
            "there are t steps, and not t - 1": math.sqrt((1 - b) ** (t - 1)) * x,
            "alpha is 1 - beta; you used beta": math.sqrt(b**t) * x,
        },
        "variance": {
            "variances shrink on the way: t times beta is not it": t * b,
            "this is the standard deviation": math.sqrt(1 - bar),
        },
    }
    first_wrong_line(student, "limit", (x, b, t), {"mean": math.sqrt(bar) * x, "variance": 1 - bar}, mistakes)


@points("limit", 4)
def test_limit_in_the_end(student: Student, draw: Draw) -> None:
    x, b = draw.uniform(0.5, 2), draw.uniform(0.01, 0.1)
    mistakes = {
        "limit_mean": {"in the end nothing is left of x0": x},
        "limit_variance": {"the noise does not vanish: it fills the whole variance": 0.0},
    }
    first_wrong_line(student, "limit", (x, b, 5), {"limit_mean": 0.0, "limit_variance": 1.0}, mistakes)


# --- posterior -------------------------------------------------------------------------------------------------------------


@points("posterior", 9)
def test_posterior_variance(student: Student, draw: Draw) -> None:
    a, before = alphas(draw, 2)
    bar = a * before
    precision = a / (1 - a) + 1 / (1 - before)
    mistakes = {
        "precision": {
            "x_{t-1} stands in q(x_t | x_{t-1}) with the factor sqrt(alpha_t), so its square has the factor alpha_t": 1
            / (1 - a)
            + 1 / (1 - before),
            "the second factor is q(x_{t-1} | x_0), with variance 1 - alpha_bar_{t-1}, and not 1 - alpha_bar_t": a
            / (1 - a)
            + 1 / (1 - bar),
        },
        "variance": {
            "this is beta_t, the variance of the forward step, which is larger": 1 - a,
            "numerator and denominator are swapped": (1 - a) * (1 - bar) / (1 - before),
            "this is the standard deviation": math.sqrt(1 / precision),
        },
    }
    first_wrong_line(student, "posterior", (a, before), {"precision": precision, "variance": 1 / precision}, mistakes)


@points("posterior", 9)
def test_posterior_mean(student: Student, draw: Draw) -> None:
    a, before = alphas(draw, 2)
    bar = a * before
    right = {"mean_xt": math.sqrt(a) * (1 - before) / (1 - bar), "mean_x0": math.sqrt(before) * (1 - a) / (1 - bar)}
    mistakes = {
        "mean_xt": {
            "the factor is sqrt(alpha_t), not alpha_t": a * (1 - before) / (1 - bar),
            "this is the factor of x0: the two are swapped": right["mean_x0"],
            "the factor is sqrt(alpha_t), not sqrt(alpha_bar_t)": math.sqrt(bar) * (1 - before) / (1 - bar),
        },
        "mean_x0": {
            "the factor is sqrt(alpha_bar_{t-1}), not sqrt(alpha_bar_t)": math.sqrt(bar) * (1 - a) / (1 - bar),
            "the factor is sqrt(alpha_bar_{t-1}), not alpha_bar_{t-1}": before * (1 - a) / (1 - bar),
        },
    }
    first_wrong_line(student, "posterior", (a, before), right, mistakes)


# --- signal and noise --------------------------------------------------------------------------------------------------------


def snr(alpha_bar: float) -> float:
    """What snr should do."""
    return alpha_bar / (1 - alpha_bar)


@points("snr", 2)
def test_snr(student: Student, draw: Draw) -> None:
    (a,) = alphas(draw, 1)
    ratio = a / (1 - a)
    match(
        student.number("snr", a),
        ratio,
        {
            "the SNR compares variances, so it has no square root": math.sqrt(ratio),
            "this is noise over signal; the SNR is signal over noise": 1 / ratio,
            "this already is the logarithm": math.log(ratio),
        },
        "snr is wrong",
    )


@points("snr", 2)
@follows(snr=snr)
def test_log_snr(student: Student, draw: Draw) -> None:
    (a,) = alphas(draw, 1)
    ratio = a / (1 - a)
    mistakes = {
        "take the natural logarithm, not that of base 10": math.log10(ratio),
        "take the natural logarithm, not that of base 2": math.log2(ratio),
        "the sign is wrong": -math.log(ratio),
    }
    match(student.number("log_snr", a), math.log(ratio), mistakes, "log_snr is wrong")


@points("snr", 2)
def test_alpha_bar_of(student: Student, draw: Draw) -> None:
    (a,) = alphas(draw, 1)
    ratio = a / (1 - a)
    mistakes = {
        "the sign in the exponent is wrong": 1 - a,
        "this undoes the SNR, not its logarithm": math.log(ratio) / (1 + math.log(ratio)),
    }
    match(student.number("alpha_bar_of", math.log(ratio)), a, mistakes, "alpha_bar_of does not undo log_snr")


# --- tensors ---------------------------------------------------------------------------------------------------------------


def table(draw: Draw, T: int) -> torch.Tensor:
    """A table of alpha_bar with T + 1 entries."""
    alpha = torch.tensor([1.0, *(draw.uniform(0.7, 0.99) for _ in range(T))], dtype=torch.float64)
    return alpha.cumprod(0)


@points("q_sample", 6)
def test_q_sample_values(student: Student, draw: Draw) -> None:
    bar, t = table(draw, 9), torch.tensor([1, 9, 4, 6])
    x0, noise = draw.normal(4, 2, 3, 3), draw.normal(4, 2, 3, 3)
    a = bar[t].view(-1, 1, 1, 1)
    mistakes = {
        "1 - alpha_bar is the variance; the noise is multiplied by its square root": a.sqrt() * x0 + (1 - a) * noise,
        "x0 is multiplied by sqrt(alpha_bar), not by alpha_bar": a * x0 + (1 - a).sqrt() * noise,
        "signal and noise are swapped": (1 - a).sqrt() * x0 + a.sqrt() * noise,
        "the table starts at t = 0, so the entry of time t is alpha_bar[t], and not alpha_bar[t - 1]": bar[t - 1]
        .view(-1, 1, 1, 1)
        .sqrt()
        * x0
        + (1 - bar[t - 1].view(-1, 1, 1, 1)).sqrt() * noise,
        "every image has a time of its own; you used one for all": bar[1].sqrt() * x0 + (1 - bar[1]).sqrt() * noise,
    }
    got = student.tensor("q_sample", x0, t, bar, noise, shape=(4, 2, 3, 3))
    match(got, a.sqrt() * x0 + (1 - a).sqrt() * noise, mistakes, "q_sample is wrong", tolerance=1e-5)


@points("q_sample", 4)
def test_q_sample_at_time_zero_and_for_other_shapes(student: Student, draw: Draw) -> None:
    bar = table(draw, 5)
    x0, noise = (
        draw.normal(3, 1, 3, 4),
        draw.normal(3, 1, 3, 4),
    )  # as many images as rows: broadcasting must not mix them up
    got = student.tensor("q_sample", x0, torch.zeros(3, dtype=torch.long), bar, noise, shape=(3, 1, 3, 4))
    match(
        got,
        x0,
        {"at t = 0 there is no noise yet, and you added it": x0 + noise},
        "at t = 0 the image should come back as it is",
        1e-6,
    )
    t = torch.tensor([5, 1, 3])
    a = bar[t]
    wrong = a.view(1, 1, 3, 1).sqrt() * x0 + (1 - a).view(1, 1, 3, 1).sqrt() * noise
    right = a.view(3, 1, 1, 1).sqrt() * x0 + (1 - a).view(3, 1, 1, 1).sqrt() * noise
    mixed = {
        "the factors run along the rows of the images instead of along the batch: reshape them to (B, 1, 1, 1)": wrong
    }
    match(
        student.tensor("q_sample", x0, t, bar, noise, shape=(3, 1, 3, 4)),
        right,
        mixed,
        "q_sample is wrong for images that are not square",
        1e-5,
    )


@points("walk", 8)
def test_walk(student: Student, draw: Draw) -> None:
    steps, n, x = draw.integer(4, 8), 20_000, draw.uniform(1, 3)
    # So small that the variance stays below 0.65: where it is near 1, its root is as near.
    betas = torch.tensor([draw.uniform(0.04, 0.12) for _ in range(steps)], dtype=torch.float64)
    bar = float((1 - betas).prod())
    mean, variance = math.sqrt(bar) * x, 1 - bar
    first = draw.integer(1, 1_000_000)
    seeds = [first + k for k in range(4)]
    found = [student.call("walk", x, betas, n, seed) for seed in [*seeds, seeds[0]]]
    require(
        all(type(each) is list and len(each) == 2 for each in found),
        "walk should return two numbers, mean and variance",
    )
    numbers = torch.tensor([[as_number("walk", value) for value in each] for each in found], dtype=torch.float64)
    require(
        bool((numbers[0] == numbers[-1]).all()),
        "the same seed should give the same walkers: take all noise from one torch.Generator that starts at seed",
    )
    numbers = numbers[:-1]
    require(
        len(numbers[:, 0].unique()) == len(seeds),
        "another seed should give other walkers: this mean does not come from a simulation with that seed",
    )
    require(
        bool(((numbers[:, 0] - mean).abs() < 5 * math.sqrt(variance / n)).all()),
        "the mean of the walkers is off: does every step multiply by sqrt(1 - beta)?",
    )
    spread = 5 * variance * math.sqrt(2 / n)
    if (
        bool(((numbers[:, 1] - math.sqrt(variance)).abs() < spread).all())
        and abs(variance - math.sqrt(variance)) > 2 * spread
    ):
        raise Wrong("this is the standard deviation of the walkers; return the variance")
    require(
        bool(((numbers[:, 1] - variance).abs() < spread).all()),
        "the variance of the walkers is off: does every step add fresh noise of variance beta?",
    )
    # A simulation's numbers scatter: for one of four seeds in a row to lie this near is likely, for all four it has a chance of
    # 4e-5 each for mean and variance. One jump by the closed form scatters as a walk does, and nobody can tell them apart here.
    for name, off, deviation in (
        ("mean", numbers[:, 0] - mean, math.sqrt(variance / n)),
        ("variance", numbers[:, 1] - variance, variance * math.sqrt(2 / n)),
    ):
        require(
            bool((off.abs() > 0.1 * deviation).any()),
            f"with every seed the {name} is nearer to the closed form than {n} walkers can be: this does not come from a simulation",
        )
