"""Hidden tests of a04: noise and score, line by line, then on mixtures and data sets whose scores are known exactly.

Luck is 0 throughout: each test compares with what is right for the very numbers that it drew. Tolerances leave room for single
precision (the largest error of an answer in float32 was a fiftieth of them in 400 draws), and no mistake comes near them: numbers
are drawn where mistakes differ from the truth, with weights and variances far from one another.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from autograder.sandbox.child import StudentError
from autograder.testing.answers import Wrong, close, match, require
from autograder.testing.suite import Draw, Student, example, first_wrong_line, follows, points, power
from course_lib.diffusion.exact import ExactDiffusion, IdealDenoiser, Mixture
from course_lib.diffusion.predictions import to_score
from course_lib.diffusion.schedules import TableSchedule

EXACT, NEAR = 1e-5, 3e-4  # tolerances: of one formula, and of sums of exponentials

# --- helpers ---------------------------------------------------------------------------------------------------------------


def one_step(alpha_bar: float) -> TableSchedule:
    """A schedule whose time 1 has the given alpha_bar."""
    return TableSchedule(torch.tensor([1.0, alpha_bar], dtype=torch.float64))


def numbers(*values: Any) -> Tensor:
    """A tensor of these numbers, or rows of numbers, in float64."""
    return torch.tensor(values, dtype=torch.float64)


def mixture(draw: Draw, K: int, D: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K,), means (K, D) and variances (K,), with no two weights and no two variances alike."""
    weights = numbers(*[(k + 1) * draw.uniform(0.9, 1.1) for k in range(K)])
    variances = torch.linspace(0.25, 0.85, K, dtype=torch.float64) * numbers(
        *[draw.uniform(0.9, 1.1) for _ in range(K)]
    )
    order = torch.randperm(K, generator=draw.torch)
    return weights / weights.sum(), 1.2 * draw.normal(K, D), variances[order]


def between(draw: Draw, means: Tensor) -> Tensor:
    """Points near the middle of each pair of means, twice: more than one component has a say there."""
    pairs = torch.combinations(torch.arange(len(means)))
    middle = means[pairs].mean(1).repeat(2, 1)
    return middle + 0.3 * draw.normal(*middle.shape)


def truth(weights: Tensor, means: Tensor, variances: Tensor) -> ExactDiffusion:
    """The mixture as the course's oracle knows it; without noise at time 0."""
    covariances = variances[:, None, None] * torch.eye(means.shape[1], dtype=torch.float64)
    return ExactDiffusion(Mixture(weights, means, covariances), one_step(0.5))


def column(values: Tensor, like: Tensor) -> Tensor:
    """`(B,)` as `(B, 1, ...)`, with as many axes as another tensor."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def finite(otherwise: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a call gives. Raises Wrong with a message where it gives NaN or infinity."""
    try:
        return call(*args, **kwargs)
    except StudentError as error:
        if error.kind != "NotFinite":
            raise
        raise Wrong(otherwise) from None


# --- what each function should do ------------------------------------------------------------------------------------------------


def eps_to_score(eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """What eps_to_score should do."""
    return -eps / column((1 - alpha_bar).sqrt(), eps)


def score_to_eps(score: Tensor, alpha_bar: Tensor) -> Tensor:
    """What score_to_eps should do."""
    return -column((1 - alpha_bar).sqrt(), score) * score


def noisy(means: Tensor, variances: Tensor, alpha_bar: float) -> tuple[Tensor, Tensor]:
    """What noisy should do."""
    return math.sqrt(alpha_bar) * means, alpha_bar * variances + (1 - alpha_bar)


def log_joint(x: Tensor, weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """What log_joint should do."""
    distance = (x[:, None] - means).square().sum(-1)
    return weights.log() - distance / (2 * variances) - means.shape[1] / 2 * (2 * math.pi * variances).log()


def log_density(x: Tensor, weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """What log_density should do."""
    return log_joint(x, weights, means, variances).logsumexp(-1)


def mixture_score(x: Tensor, weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """What mixture_score should do."""
    pull = (means - x[:, None]) / variances[:, None]
    return (log_joint(x, weights, means, variances).softmax(-1)[..., None] * pull).sum(1)


def posterior(x: Tensor, data: Tensor, alpha_bar: float) -> Tensor:
    """What posterior should do."""
    return IdealDenoiser(data.double(), one_step(alpha_bar)).weights(x.double(), torch.tensor(1))


CONVERSIONS = {"eps_to_score": eps_to_score, "score_to_eps": score_to_eps}
MIXTURE = {"log_joint": log_joint, "log_density": log_density}

# --- the derivation ----------------------------------------------------------------------------------------------------------

FIXED = (1.0, 0.0, 0.75)  # x, x0, alpha_bar: the variance is 1/4, its root 1/2
LINES = {"log_q": -2 - math.log(math.pi / 2) / 2, "score": -4.0, "eps": 2.0, "ratio": -0.5}


@points("derivation", 7)
@power(smallest="constant without the variance")
def test_derivation_of_the_score(student: Student, draw: Draw) -> None:
    x, x0, a = draw.uniform(0.5, 2), draw.uniform(-2, -0.5), draw.uniform(0.2, 0.8)
    b2, r = 1 - a, x - math.sqrt(a) * x0

    def log_normal(distance: float, variance: float) -> float:
        return -(distance**2) / (2 * variance) - math.log(2 * math.pi * variance) / 2

    log_q, constant = log_normal(r, b2), math.log(2 * math.pi * b2) / 2
    mistakes = {
        "log_q": {
            "the constant -log(2 pi variance) / 2 is missing": log_q + constant,
            "the constant -log(2 pi variance) / 2 is subtracted; you added it": log_q + 2 * constant,
            "the constant is -log(2 pi variance) / 2; you forgot to halve it": log_q - constant,
            "the constant -log(2 pi variance) / 2 holds the variance too; you took -log(2 pi) / 2": log_q
            + math.log(b2) / 2,
            "the constant -log(2 pi variance) / 2 holds 2 pi too; you took the variance alone": log_q
            + math.log(2 * math.pi) / 2,
            "in the constant, log(variance) / 2 is the logarithm of the standard deviation: do not halve it again, nor forget to": log_q
            - math.log(b2) / 2,
            "the density's variance is 1 - alpha_bar; you took its square root": log_normal(r, math.sqrt(b2)),
            "the density's variance is 1 - alpha_bar; you squared it": log_normal(r, b2**2),
            "the density's variance is 1 - alpha_bar; you took alpha_bar": log_normal(r, a),
            "the mean is sqrt(alpha_bar) x0, not alpha_bar x0": log_normal(x - a * x0, b2),
            "the mean is sqrt(alpha_bar) x0, not x0": log_normal(x - x0, b2),
            "the mean is sqrt(alpha_bar) x0, not sqrt(1 - alpha_bar) x0": log_normal(x - math.sqrt(b2) * x0, b2),
            "this is the density itself; take its logarithm": math.exp(log_q),
            "the square stands over twice the variance": -(r**2) / b2 - constant,
            "the square stands over twice the variance, and twice stands below the line": -(r**2) / 2 * b2 - constant,
            "the distance from the mean is squared": -r / (2 * b2) - constant,
            "the exponent has a minus: far from the mean the density is small": r**2 / (2 * b2) - constant,
            "take the natural logarithm, not the one with base 10": -(r**2) / (2 * b2) - constant / math.log(10),
        },
        "score": {
            "the sign is wrong: the score points from x back to the mean": r / b2,
            "divide by the variance 1 - alpha_bar, not by its root": -r / math.sqrt(b2),
            "divide by the variance 1 - alpha_bar": -r,
            "the derivative of a square brings a 2 down, which cancels the other": -r / (2 * b2),
            "the two factors of 2 cancel": -2 * r / b2,
            "this is the derivative by x0; take it by x": math.sqrt(a) * r / b2,
            "this is the derivative of the density; take that of its logarithm": -r / b2 * math.exp(log_q),
            "x0 comes with the factor sqrt(alpha_bar)": -(x - x0) / b2,
        },
    }
    first_wrong_line(student, "derivation", (x, x0, a), {"log_q": log_q, "score": -r / b2}, mistakes, (FIXED, LINES))


@points("derivation", 7)
@power(smallest="ratio without its sign")
def test_derivation_of_the_noise(student: Student, draw: Draw) -> None:
    x, x0, a = draw.uniform(0.5, 2), draw.uniform(-2, -0.5), draw.uniform(0.2, 0.8)
    b2, r = 1 - a, x - math.sqrt(a) * x0
    b = math.sqrt(b2)
    mistakes = {
        "eps": {
            "x0 comes with the factor sqrt(alpha_bar)": (x - x0) / b,
            "x0 comes with the factor sqrt(alpha_bar), not alpha_bar": (x - a * x0) / b,
            "divide by sqrt(1 - alpha_bar), the factor of the noise": r / b2,
            "the noise still has its factor sqrt(1 - alpha_bar): divide by it": r,
            "divide by sqrt(1 - alpha_bar); you multiplied": r * b,
            "divide by sqrt(1 - alpha_bar), not by sqrt(alpha_bar)": r / math.sqrt(a),
            "the sign is wrong: the noise points from the mean to x": -r / b,
            "this is the score; eps is the noise that was added": -r / b2,
        },
        "ratio": {
            "the sign is missing: noise points away from the image, the score back to it": b,
            "this is score over eps; the line asks for eps over score": -1 / b,
            "this is score over eps, and without its sign; the line asks for eps over score": 1 / b,
            "this is the variance; the ratio is its root": -b2,
            "this is the variance, and without its sign; the ratio is minus its root": b2,
            "the ratio is -sqrt(1 - alpha_bar), not -sqrt(alpha_bar)": -math.sqrt(a),
        },
    }
    right = {"eps": r / b, "ratio": -b}
    first_wrong_line(student, "derivation", (x, x0, a), right, mistakes, (FIXED, LINES))


# --- conversions -------------------------------------------------------------------------------------------------------------


def converted(student: Student, draw: Draw, function: str, right: str) -> None:
    """One of the two conversions, on rows of points and on images with times of their own."""
    multiplies = right == "multiply"
    for shape in ((4, 4), (3, 2, 3, 4)):  # as many columns as rows: broadcasting must not mix them up
        given = draw.normal(*shape)
        a = numbers(*[draw.uniform(0.1, 0.9) for _ in range(shape[0])])
        b = column((1 - a).sqrt(), given)

        def way(factor: Tensor, given: Tensor = given) -> Tensor:
            return -factor * given if multiplies else -given / factor

        mistakes = {
            "the sign is wrong: eps and score point in opposite directions": -way(b),
            f"this is the other direction: {right} by sqrt(1 - alpha_bar)": way(1 / b),
            f"this is the other direction, and without its sign: {right} by -sqrt(1 - alpha_bar)": -way(1 / b),
            "the factor is the standard deviation sqrt(1 - alpha_bar), not the variance": way(b**2),
            "the factor is sqrt(1 - alpha_bar), not sqrt(alpha_bar)": way(column(a.sqrt(), given)),
            "the factor is sqrt(1 - alpha_bar), not alpha_bar": way(column(a, given)),
            f"eps and score differ by a factor, too: {right} by sqrt(1 - alpha_bar)": -given,
            "nothing happens to what is given": given,
            "each row has a factor of its own; you took the first row's for all": way(b[:1]),
            "each row has a factor of its own; you took the mean for all": way(
                (1 - a).mean().sqrt() * torch.ones_like(b)
            ),
        }
        if len(shape) == 2:
            mistakes["alpha_bar belongs to the rows: reshape it to (B, 1)"] = way(b.T)
        expected = -1.0 if multiplies else -4.0
        fixed = example(
            student, f"{function} is wrong", function, numbers([2.0]), numbers(0.75), right=numbers([expected])
        )
        match(student.tensor(function, given, a, shape=shape), way(b), mistakes, fixed, EXACT)
        student.unchanged(function, "eps" if right == "divide" else "score", "alpha_bar")


@points("convert", 5)
@power(smallest="eps_to_score with the first row's factor")
def test_eps_to_score(student: Student, draw: Draw) -> None:
    converted(student, draw, "eps_to_score", "divide")


@points("convert", 5)
@power(smallest="one factor for each column")
def test_score_to_eps(student: Student, draw: Draw) -> None:
    converted(student, draw, "score_to_eps", "multiply")


@points("tweedie", 10)
@power(smallest="Tweedie with the standard deviation")
@follows(**CONVERSIONS)
def test_tweedie(student: Student, draw: Draw) -> None:
    for shape in ((3, 3), (3, 1, 2, 4)):
        x, score = draw.normal(*shape), draw.normal(*shape)
        a = numbers(*[draw.uniform(0.2, 0.45) if draw.integer(0, 1) else draw.uniform(0.55, 0.8) for _ in range(3)])
        c = column(a, x)
        right = (x + (1 - c) * score) / c.sqrt()
        mistakes = {
            "the score comes with the variance 1 - alpha_bar, not with its root": (x + (1 - c).sqrt() * score)
            / c.sqrt(),
            "the score comes with the variance 1 - alpha_bar; you added it whole": (x + score) / c.sqrt(),
            "the score comes with 1 - alpha_bar, not with alpha_bar": (x + c * score) / c.sqrt(),
            "divide by sqrt(alpha_bar) in the end: x_t holds sqrt(alpha_bar) x_0": x + (1 - c) * score,
            "divide by sqrt(alpha_bar), not by alpha_bar": (x + (1 - c) * score) / c,
            "divide by sqrt(alpha_bar), not by sqrt(1 - alpha_bar)": (x + (1 - c) * score) / (1 - c).sqrt(),
            "divide by sqrt(alpha_bar); you multiplied": (x + (1 - c) * score) * c.sqrt(),
            "the sign is wrong: the score points towards the image, so add it": (x - (1 - c) * score) / c.sqrt(),
            "the whole sum is divided by sqrt(alpha_bar), not x_t alone": x / c.sqrt() + (1 - c) * score,
            "the whole sum is divided by sqrt(alpha_bar), not the score alone": x + (1 - c) * score / c.sqrt(),
            "you treat the score as if it were the noise: they differ by -sqrt(1 - alpha_bar)": (
                x - (1 - c).sqrt() * score
            )
            / c.sqrt(),
        }
        if len(shape) == 2:
            mistakes["alpha_bar belongs to the rows: reshape it to (B, 1)"] = (x + (1 - a) * score) / a.sqrt()
        fixed = example(
            student, "tweedie is wrong", "tweedie", numbers([1.0]), numbers([2.0]), numbers(0.25), right=numbers([5.0])
        )
        match(student.tensor("tweedie", x, score, a, shape=shape), right, mistakes, fixed, EXACT)
        student.unchanged("tweedie", "x_t", "score", "alpha_bar")


# --- mixtures ----------------------------------------------------------------------------------------------------------------


@points("noisy", 8)
@power(smallest="noise of variance 1 added")
def test_noisy(student: Student, draw: Draw) -> None:
    _, means, variances = mixture(draw, 3, 2)
    a = draw.uniform(0.2, 0.45) if draw.integer(0, 1) else draw.uniform(0.55, 0.8)
    b2 = 1 - a
    right = noisy(means, variances, a)
    shifted, widened = student.tensors("noisy", means, variances, a, shapes=[(3, 2), (3,)])
    fixed = {
        "asked": "noisy with the means [[2, 0]], the variances [8] and alpha_bar 0.25",
        "right": [numbers([1.0, 0.0]), numbers(2.75)],
    }
    question = ("noisy", numbers([2.0, 0.0]), numbers(8.0), 0.25)
    shrunk = {
        "the means shrink by sqrt(alpha_bar), not by alpha_bar": a * means,
        "the means shrink by sqrt(alpha_bar), like every signal": means,
        "the means shrink by sqrt(alpha_bar), not by sqrt(1 - alpha_bar)": math.sqrt(b2) * means,
        "the means shrink by sqrt(alpha_bar); you divided": means / math.sqrt(a),
        "the noise has mean 0 and moves no mean": math.sqrt(a) * means + math.sqrt(b2),
    }
    match(shifted, right[0], shrunk, example(student, "the means of noisy are wrong", *question, **fixed), EXACT)
    spread = {
        "a variance scales with the square of the factor: alpha_bar v, not sqrt(alpha_bar) v": math.sqrt(a) * variances
        + b2,
        "a variance scales with the square of the factor: alpha_bar v, not alpha_bar^2 v": a**2 * variances + b2,
        "the noise adds its variance 1 - alpha_bar": a * variances,
        "the noise adds its variance 1 - alpha_bar, not its standard deviation": a * variances + math.sqrt(b2),
        "the noise adds its variance 1 - alpha_bar, not 1": a * variances + 1,
        "the noise adds its variance 1 - alpha_bar, not its square": a * variances + b2**2,
        "the components' own variances shrink too, by alpha_bar": variances + b2,
        "variances add, standard deviations do not": (math.sqrt(a) * variances.sqrt() + math.sqrt(b2)) ** 2,
        "these are standard deviations; return the variances": right[1].sqrt(),
        "signal and noise are swapped: the variances shrink by alpha_bar": b2 * variances + a,
    }
    match(widened, right[1], spread, example(student, "the variances of noisy are wrong", *question, **fixed), EXACT)
    student.unchanged("noisy", "means", "variances")


ONE = (numbers([1.0, 1.0]), numbers(1.0), numbers([0.0, 0.0]), numbers(2.0))  # x, weights, means, variances
ASKED = "{}(x=[[1, 1]], weights=[1], means=[[0, 0]], variances=[2])"


@points("mixture", 4)
@power(smallest="constant of two dimensions")
def test_log_joint(student: Student, draw: Draw) -> None:
    weights, means, variances = mixture(draw, 3, 4)
    x = 1.5 * draw.normal(5, 4)
    right = log_joint(x, weights, means, variances)
    distance = (x[:, None] - means).square().sum(-1)
    kernel, constant = -distance / (2 * variances), -2 * (2 * math.pi * variances).log()
    mistakes = {
        "log_joint lacks the logarithm of the weights": kernel + constant,
        "log_joint adds the weights; add their logarithm": weights + kernel + constant,
        "log_joint lacks the constant of each Gaussian, -D/2 log(2 pi v): it depends on the component": weights.log()
        + kernel,
        "in D dimensions the constant is -D/2 log(2 pi v); yours is that of one dimension": right - 0.75 * constant,
        "in D dimensions the constant is -D/2 log(2 pi v); yours is that of two dimensions": right - constant / 2,
        "the constant is -D/2 log(2 pi v); you forgot the 1/2": right + constant,
        "the constant is -D/2 log(2 pi v): subtract it": right - 2 * constant,
        "the constant is -D/2 log(2 pi v), with the variance in it": weights.log() + kernel - 2 * math.log(2 * math.pi),
        "variances holds variances: do not square them": weights.log()
        - distance / (2 * variances**2)
        - 2 * (2 * math.pi * variances**2).log(),
        "variances holds variances: take no root": weights.log()
        - distance / (2 * variances.sqrt())
        - 2 * (2 * math.pi * variances.sqrt()).log(),
        "the squared distance stands over twice the variance": right + kernel,
        "the distance is squared": weights.log() - distance.sqrt() / (2 * variances) + constant,
        "the squared distance has a minus: far from the mean the density is small": right - 2 * kernel,
        "sum the squares over the D coordinates; you took their mean": right - 0.75 * kernel,
        "this is w_k p_k(x); take its logarithm": right.exp(),
        "the scores of the components are normalised already; log_joint asks for log(w_k p_k(x)) itself": right.log_softmax(
            -1
        ),
    }
    value = -0.5 - math.log(4 * math.pi)
    fixed = example(
        student, "log_joint is wrong", "log_joint", *ONE, asked=ASKED.format("log_joint"), right=numbers([value])
    )
    match(student.tensor("log_joint", x, weights, means, variances, shape=(5, 3)), right, mistakes, fixed, NEAR)
    student.unchanged("log_joint", "x", "weights", "means", "variances")


@points("mixture", 2)
@power(smallest="mean of the components in the place of their sum")
def test_log_density(student: Student, draw: Draw) -> None:
    weights, means, variances = mixture(draw, 3, 2)
    x = between(draw, means)
    right = truth(weights, means, variances).log_prob(x, torch.tensor(0))
    joint = log_joint(x, weights, means, variances)
    wrong = {
        "log_density sums logarithms; sum the densities and then take the logarithm (torch.logsumexp)": joint.sum(-1),
        "log_density takes the largest component only; the density is a sum over all": joint.max(-1).values,
        "log_density takes the mean over the components; w_k p_k(x) holds the weights already, so sum": right
        - math.log(3),
        "log_density counts the weights twice: log_joint holds them already": (joint + weights.log()).logsumexp(-1),
        "this is the density; take its logarithm": right.exp(),
        "log_density averages the logarithms; sum the densities and then take the logarithm": joint.mean(-1),
        "log_density has the wrong sign": -right,
    }
    value = -0.5 - math.log(4 * math.pi)
    fixed = example(
        student, "log_density is wrong", "log_density", *ONE, asked=ASKED.format("log_density"), right=numbers(value)
    )
    match(student.tensor("log_density", x, weights, means, variances, shape=(6,)), right, wrong, fixed, NEAR)
    student.unchanged("log_density", "x", "weights", "means", "variances")


@points("mixture", 7)
@power(smallest="responsibilities without the weights")
@follows(**MIXTURE)
def test_mixture_score(student: Student, draw: Draw) -> None:
    weights, means, variances = mixture(draw, 3, 2)
    x = between(draw, means)
    right = truth(weights, means, variances).score(x, torch.tensor(0))
    joint = log_joint(x, weights, means, variances)
    towards = means - x[:, None]
    pull, share = towards / variances[:, None], joint.softmax(-1)[..., None]
    mistakes = {
        "the sign is wrong: the score points towards the means": -right,
        "average with the responsibilities of this point, not with the mixture's weights": (
            weights[:, None] * pull
        ).sum(1),
        "the responsibilities hold the weights: they are the softmax of log_joint, not of log p_k": (
            (joint - weights.log()).softmax(-1)[..., None] * pull
        ).sum(1),
        "the score is a soft average over all components, not that of the nearest": pull[
            torch.arange(len(x)), joint.argmax(-1)
        ],
        "each component's score is divided by its variance": (share * towards).sum(1),
        "each component's score is divided by its variance, not by its root": (
            share * towards / variances.sqrt()[:, None]
        ).sum(1),
        "the average is over components that made this point, and its weights sum to 1": pull.sum(1),
        "average the components' scores with their responsibilities; you took the plain mean": pull.mean(1),
        "the weights w_k p_k(x) have to be divided by their sum: take the softmax": (joint.exp()[..., None] * pull).sum(
            1
        ),
        "the softmax is over the components, not over the points": (joint.softmax(0)[..., None] * pull).sum(1),
        "take the softmax of log_joint as it is; you took the logarithms as weights": (joint[..., None] * pull).sum(1),
    }
    fixed = example(
        student,
        "mixture_score is wrong",
        "mixture_score",
        *ONE,
        asked=ASKED.format("mixture_score"),
        right=numbers([-0.5, -0.5]),
    )
    match(student.tensor("mixture_score", x, weights, means, variances, shape=(6, 2)), right, mistakes, fixed, NEAR)
    student.unchanged("mixture_score", "x", "weights", "means", "variances")


@points("mixture", 3)
@power(smallest="densities underflow far away")
@follows(log_joint=log_joint)  # and not log_density, which is judged here too
def test_mixture_far_from_all_means(student: Student, draw: Draw) -> None:
    weights, means, variances = mixture(draw, 3, 2)
    x = draw.uniform(150, 200) * numbers([1.0, 0.3], [-0.2, 1.0])
    exact, here = truth(weights, means, variances), torch.tensor(0)
    for name, truly in (("log_density", exact.log_prob), ("mixture_score", exact.score)):

        def right_at(points: Tensor, name: str = name, truly: Callable = truly) -> bool:
            right = truly(points, here)
            try:
                got = student.tensor(name, points, weights, means, variances, shape=tuple(right.shape))
            except StudentError as error:
                if error.kind != "NotFinite":
                    raise
                return False
            return close(got, right, NEAR)

        if not right_at(x):
            raise Wrong(
                f"{name} is wrong far from all means, where each density is 0 in the computer: stay in logarithms there"
                if right_at(x / 100)
                else f"{name} is wrong, near the means as well as far from them"
            )


# --- the score as an average ---------------------------------------------------------------------------------------------------

TWO = (
    numbers([0.5, 0.0]),
    numbers([1.0, 0.0], [-1.0, 0.0]),
    0.25,
)  # x, data, alpha_bar: at the first point's noisy mean
FIRST = 1 / (1 + math.exp(-2 / 3))  # its probability: the squared distances are 0 and 1, over 2 (1 - alpha_bar) = 1.5


@points("average", 7)
@power(smallest="exponent with the root of the variance")
@follows(**MIXTURE)
def test_posterior(student: Student, draw: Draw) -> None:
    x, data, a = draw.normal(4, 3), draw.normal(6, 3), draw.uniform(0.3, 0.7)
    right = posterior(x, data, a)

    def distance(factor: float) -> Tensor:
        return (x[:, None] - factor * data).square().sum(-1)

    exponent = -distance(math.sqrt(a)) / (2 * (1 - a))
    mistakes = {
        "the noisy x lies around sqrt(alpha_bar) times a data point": (-distance(1) / (2 * (1 - a))).softmax(-1),
        "the noisy x lies around sqrt(alpha_bar) times a data point, not alpha_bar times": (
            -distance(a) / (2 * (1 - a))
        ).softmax(-1),
        "these are densities: divide by their sum, so that each row sums to 1": exponent.exp(),
        "these are normal densities: divide by their sum, so that each row sums to 1": exponent.exp()
        / (2 * math.pi * (1 - a)) ** 1.5,
        "each row, not each column, sums to 1": exponent.softmax(0),
        "the exponent has twice the variance, 2 (1 - alpha_bar), in its denominator": (2 * exponent).softmax(-1),
        "the exponent has the variance 1 - alpha_bar, not its root": (math.sqrt(1 - a) * exponent).softmax(-1),
        "the exponent has the variance 1 - alpha_bar in its denominator": ((1 - a) * exponent).softmax(-1),
        "the exponent has the variance 1 - alpha_bar, not alpha_bar": (exponent * (1 - a) / a).softmax(-1),
        "the distance is squared": (-distance(math.sqrt(a)).sqrt() / (2 * (1 - a))).softmax(-1),
        "the exponent has a minus: a near data point is the likely one": (-exponent).softmax(-1),
        "sum the squares over the coordinates; you took their mean": (exponent / 3).softmax(-1),
        "these are logarithms of the probabilities; take the softmax": exponent.log_softmax(-1),
        "every data point is as likely as its distance says, not all alike": torch.full_like(right, 1 / 6),
        "several data points may have led here, each with its probability; you took the nearest alone": torch.eye(
            6, dtype=torch.float64
        )[exponent.argmax(-1)],
    }
    fixed = example(
        student,
        "posterior is wrong",
        "posterior",
        *TWO,
        asked="posterior(x=[[0.5, 0]], data=[[1, 0], [-1, 0]], alpha_bar=0.25)",
        right=numbers([FIRST, 1 - FIRST]),
    )
    match(student.tensor("posterior", x, data, a, shape=(4, 6)), right, mistakes, fixed, NEAR)
    student.unchanged("posterior", "x", "data")
    message = "far from the data the rows of posterior no longer sum to 1: take a softmax of the logarithms"
    far = finite(message, student.tensor, "posterior", 200 + x, data, a, shape=(4, 6))
    require(close(far.sum(-1), torch.ones(4), NEAR), message)


@points("average", 7)
@power(smallest="scores over the deviation")
@follows(posterior=posterior, mixture_score=mixture_score, noisy=noisy, **MIXTURE, **CONVERSIONS)
def test_expected_score(student: Student, draw: Draw) -> None:
    x, data, a = draw.normal(4, 3), draw.normal(6, 3), draw.uniform(0.3, 0.7)
    schedule, now = one_step(a), torch.tensor(1)
    ideal = IdealDenoiser(data, schedule)
    mean = ideal(x, now)
    right = to_score(mean, x, now, schedule)
    share = ideal.weights(x, now)
    scores = (math.sqrt(a) * data - x[:, None]) / (1 - a)
    mistakes = {
        "the sign is wrong: the score points towards the data": -right,
        "average with the posterior; this gives every data point the same weight": scores.mean(1),
        "average with the posterior, whose rows sum to 1; this adds the scores up": scores.sum(1),
        "take the average that the posterior gives, without another division by N": right / 6,
        "several data points may have led here; you took the most likely alone": scores[
            torch.arange(4), share.argmax(-1)
        ],
        "the score of q(x_t | x_0) pulls towards sqrt(alpha_bar) x_0, not towards x_0": (mean - x) / (1 - a),
        "the score of q(x_t | x_0) pulls towards sqrt(alpha_bar) x_0, not alpha_bar x_0": (a * mean - x) / (1 - a),
        "divide by the variance 1 - alpha_bar": right * (1 - a),
        "divide by the variance 1 - alpha_bar, not by its root": right * math.sqrt(1 - a),
        "divide by the variance 1 - alpha_bar, not by its square": right / (1 - a),
        "this is the expected noise; the score is -eps / sqrt(1 - alpha_bar)": -right * math.sqrt(1 - a),
        "this is the expected x_0; average the scores of q(x_t | x_0)": mean,
        "this is the score of the noise alone, -x / (1 - alpha_bar): the data are missing": -x / (1 - a),
    }
    fixed = example(
        student,
        "expected_score is wrong",
        "expected_score",
        *TWO,
        asked="expected_score(x=[[0.5, 0]], data=[[1, 0], [-1, 0]], alpha_bar=0.25)",
        right=numbers([-(1 - FIRST) / 0.75, 0.0]),
    )
    match(student.tensor("expected_score", x, data, a, shape=(4, 3)), right, mistakes, fixed, NEAR)
    student.unchanged("expected_score", "x", "data")


# --- denoising score matching ----------------------------------------------------------------------------------------------------


@points("matching", 8)
@power(smallest="target divided by the variance")
@follows(**CONVERSIONS)
def test_matching_loss(student: Student, draw: Draw) -> None:
    x0, noise = draw.normal(6, 3), draw.normal(6, 3)
    a = draw.uniform(0.3, 0.45) if draw.integer(0, 1) else draw.uniform(0.55, 0.8)
    b, pull = math.sqrt(1 - a), draw.normal(3, 3)
    x_t = math.sqrt(a) * x0 + b * noise
    asked: list[Tensor] = []

    def score(x: Tensor) -> Tensor:
        require(
            isinstance(x, Tensor) and x.ndim == 2 and x.shape[1] == 3 and len(x) <= 6,
            "matching_loss should call score with x_t, (B, D)",
        )
        asked.append(x.double())
        return (x.double() @ pull).to(x.dtype)

    def answer() -> tuple[float, Tensor]:
        asked.clear()
        value = student.number("matching_loss", score, x0, noise, a)
        student.unchanged("matching_loss", "score", "x0", "noise")
        require(asked, "matching_loss never calls the score that it is given")
        return value, torch.cat(asked)[-6:]  # a score may be asked row by row, too

    value, where = answer()
    points_asked = {
        "score is asked at x0; ask it at the noisy x_t": x0,
        "score is asked at the noise; ask it at the noisy x_t": noise,
        "x_t mixes x0 with sqrt(alpha_bar) and noise with sqrt(1 - alpha_bar), not with alpha_bar and 1 - alpha_bar": a
        * x0
        + (1 - a) * noise,
        "in x_t the noise is multiplied by sqrt(1 - alpha_bar), not by 1 - alpha_bar": math.sqrt(a) * x0
        + (1 - a) * noise,
        "in x_t the signal is multiplied by sqrt(alpha_bar), not by alpha_bar": a * x0 + b * noise,
        "in x_t the signal is multiplied by sqrt(alpha_bar); you took x0 whole": x0 + b * noise,
        "in x_t the noise is multiplied by sqrt(1 - alpha_bar); you added it whole": math.sqrt(a) * x0 + noise,
        "signal and noise are swapped in x_t": b * x0 + math.sqrt(a) * noise,
        "in x_t the noise is added, not subtracted": math.sqrt(a) * x0 - b * noise,
    }
    out = x_t @ pull
    squares = (out + noise / b).square()

    def loss(target: Tensor) -> Tensor:
        return (out - target).square().sum(-1).mean()

    mistakes = {
        "the target is -noise / sqrt(1 - alpha_bar): its sign is wrong": loss(noise / b),
        "the target is the score, -noise / sqrt(1 - alpha_bar), not the noise": loss(noise),
        "the target is the score, so divide the noise by sqrt(1 - alpha_bar)": loss(-noise),
        "divide the noise by sqrt(1 - alpha_bar), not by the variance": loss(-noise / b**2),
        "divide the noise by sqrt(1 - alpha_bar); you multiplied": loss(-noise * b),
        "divide the noise by sqrt(1 - alpha_bar), not by sqrt(alpha_bar)": loss(-noise / math.sqrt(a)),
        "the target is the score of q(x_t | x_0), not x0": loss(x0),
        "the target is the score of q(x_t | x_0), not x_t": loss(x_t),
        "the target is -(x_t - sqrt(alpha_bar) x0) / (1 - alpha_bar), with the factor of x0": loss(-(x_t - x0) / b**2),
        "sum over the coordinates and take the mean over the batch; you took the mean over both": squares.mean(),
        "take the mean over the batch, not the sum": squares.sum(),
        "sum over the coordinates and take the mean over the batch; you did it the other way round": squares.sum(
            0
        ).mean(),
        "this loss has no factor 1/2": squares.sum(-1).mean() / 2,
        "the distance is squared": squares.sum(-1).sqrt().mean(),
        "square the distance; you took absolute values": (out + noise / b).abs().sum(-1).mean(),
        "the root of the mean is not asked for: the loss is the mean of squares": squares.sum(-1).mean().sqrt(),
        "the loss has no weight: this one is multiplied by 1 - alpha_bar, the loss of a noise prediction": squares.sum(
            -1
        ).mean()
        * b**2,
        "the loss has the wrong sign: a squared distance is positive": -squares.sum(-1).mean(),
    }
    right = squares.sum(-1).mean().item()
    if close(where, x_t, NEAR) and close(value, right, NEAR):
        return
    again = answer()
    require(
        close(again[1], where, NEAR) and close(again[0], value, NEAR),
        "matching_loss draws noise of its own: two calls with the same arguments differ; take the noise that it is given, in x_t and in the target",
    )
    fixed = example(
        student,
        "matching_loss is wrong",
        "matching_loss",
        lambda x: 0 * x,
        numbers([0.0, 0.0], [0.0, 0.0]),
        numbers([1.0, 0.0], [0.0, 2.0]),
        0.75,
        asked="matching_loss(lambda x: 0 * x, x0=[[0, 0], [0, 0]], noise=[[1, 0], [0, 2]], alpha_bar=0.75)",
        right=10.0,
    )
    match(where, x_t, points_asked, lambda: f"matching_loss asks the score at wrong points: {fixed()}", NEAR)
    match(value, right, mistakes, fixed, NEAR)


MOST = 1e-4  # of the best fit's mean square, by which another fit may miss it: the normal equations in float32 missed it by 1e-6 at most


def missed(phi: Tensor, found: Tensor, best: Tensor) -> float:
    """How far from the best fit another is, in the mean square over the samples, as a share of the best fit's."""
    return float((phi @ (found - best)).square().mean() / (phi @ best).square().mean())


def judge_fit(student: Student, features: Callable, x0: Tensor, noise: Tensor, a: float, truly: Tensor | None) -> None:
    """Raise Wrong unless a fit is as good as the best one to the same samples, whose true scores may be known."""
    b, D = math.sqrt(1 - a), x0.shape[1]
    x_t = math.sqrt(a) * x0 + b * noise
    phi, target = features(x_t), -noise / b

    def solved(phi: Tensor, target: Tensor) -> Tensor:
        return torch.linalg.lstsq(phi, target).solution

    best, found = solved(phi, target), student.call("fit_score", features, x0, noise, a)
    student.unchanged("fit_score", "features", "x0", "noise")
    found = shaped(found, (phi.shape[1], D))
    # Asked in this direction, because huge numbers can make the share NaN, which is neither above nor below anything.
    share = missed(phi, found, best)
    if share <= MOST:
        return
    mistakes: Mapping[str, Callable[[], Tensor]] = {
        "the target is -noise / sqrt(1 - alpha_bar): its sign is wrong": lambda: -best,
        "the target is the score -noise / sqrt(1 - alpha_bar), not the noise": lambda: solved(phi, noise),
        "the noise is not yet a score: divide it by sqrt(1 - alpha_bar)": lambda: b * best,
        "divide the noise by sqrt(1 - alpha_bar), not by 1 - alpha_bar": lambda: best / b,
        "divide the noise by sqrt(1 - alpha_bar); you multiplied": lambda: b * b * best,
        "divide the noise by sqrt(1 - alpha_bar), not by sqrt(alpha_bar)": lambda: b / math.sqrt(a) * best,
        "the features are those of the noisy x_t, not of x0": lambda: solved(features(x0), target),
        "the features are those of the noisy x_t, not of the noise": lambda: solved(features(noise), target),
        "x_t mixes x0 with sqrt(alpha_bar) and noise with sqrt(1 - alpha_bar), not with alpha_bar and 1 - alpha_bar": lambda: (
            solved(features(a * x0 + (1 - a) * noise), target)
        ),
        "in x_t the noise is multiplied by sqrt(1 - alpha_bar); you added it whole": lambda: solved(
            features(math.sqrt(a) * x0 + noise), target
        ),
        "in x_t the signal is multiplied by sqrt(alpha_bar); you took x0 whole": lambda: solved(
            features(x0 + b * noise), target
        ),
        "this regresses on x0; the target is the score of q(x_t | x_0)": lambda: solved(phi, x0),
        "this regresses on x_t; the target is the score of q(x_t | x_0)": lambda: solved(phi, x_t),
        "the target is -(x_t - sqrt(alpha_bar) x0) / (1 - alpha_bar), with the factor of x0": lambda: solved(
            phi, -(x_t - x0) / b**2
        ),
        "the two sides of the normal equations do not belong together: W solves (phi^T phi) W = phi^T target": lambda: (
            phi.T @ target
        ),
    }
    for message, wrong in mistakes.items():
        if missed(phi, found, wrong()) <= MOST:
            raise Wrong(message)
    known = ""
    if truly is not None:
        error, least = (float((phi @ w - truly).square().mean() / truly.square().mean()) for w in (found, best))
        known = f" (the true score is known here: yours misses it by {error:.0%} in the mean square, and the best by {least:.1%})"
    raise Wrong(
        example(
            student,
            f"fit_score does not minimise the loss{known}: is it fitted to all samples, until nothing improves, with no penalty on W?",
            "fit_score",
            lambda x: x,
            numbers([0.0], [0.0]),
            numbers([1.0], [-1.0]),
            0.75,
            asked="fit_score(lambda x: x, x0=[[0], [0]], noise=[[1], [-1]], alpha_bar=0.75)",
            right=numbers([-4.0]),
        )()
    )


def shaped(found: Any, shape: tuple[int, int]) -> Tensor:
    """Weights as a tensor of a shape, in which an axis of one column may be missing. Raises Wrong where they are none."""
    require(found is not None, "fit_score should return a tensor; it returned None (is a return missing?)")
    require(hasattr(found, "shape"), "fit_score should return the weights W, a tensor")
    if shape[1] == 1 and tuple(found.shape) == shape[:1]:
        found = found.reshape(shape)
    require(
        tuple(found.shape) == shape,
        f"fit_score should return W, one row a feature and one column a coordinate: shape {shape} here; it returned shape {tuple(found.shape)}",
    )
    return torch.as_tensor(found).double()


@points("fit", 6)
@power(smallest="fit on half of the samples")
@follows(**CONVERSIONS)
def test_fit_score(student: Student, draw: Draw) -> None:
    x0, noise = draw.normal(80, 2), draw.normal(80, 2)
    a = draw.uniform(0.3, 0.45) if draw.integer(0, 1) else draw.uniform(0.55, 0.8)
    inner, phase = draw.normal(2, 5), draw.normal(5)

    def features(x: Tensor) -> Tensor:
        require(isinstance(x, Tensor) and x.ndim == 2 and x.shape[1] == 2, "features should be asked at x_t, (B, D)")
        return torch.cat([x.double(), (x.double() @ inner + phase).sin()], 1).to(x.dtype)

    judge_fit(student, features, x0, noise, a, None)


@points("fit", 4)
@power(smallest="fit on the first thousand samples")
@follows(**CONVERSIONS)
def test_fit_recovers_the_score_of_a_mixture(student: Student, draw: Draw) -> None:
    """The best fit itself misses the score by chance, in some draws by more than 1 %: so each fit is held against the best of its draw."""
    weights, means, variances = mixture(draw, 2, 1)
    a, n = draw.uniform(0.3, 0.45), 4000
    exact = ExactDiffusion(Mixture(weights, means, variances[:, None, None]), one_step(a))
    component = (torch.rand(n, generator=draw.torch) < weights[1]).long()
    x0 = means[component] + variances[component, None].sqrt() * draw.normal(n, 1)
    noise = draw.normal(n, 1)
    x_t = math.sqrt(a) * x0 + math.sqrt(1 - a) * noise
    centres = torch.linspace(float(x_t.min()), float(x_t.max()), 10, dtype=torch.float64)

    def features(x: Tensor) -> Tensor:
        bumps = (-((x.double() - centres) ** 2) / (2 * (centres[1] - centres[0]) ** 2)).exp()
        return torch.cat([bumps, x.double(), torch.ones(len(x), 1, dtype=torch.float64)], 1).to(x.dtype)

    judge_fit(student, features, x0, noise, a, exact.score(x_t, torch.tensor(1)))
