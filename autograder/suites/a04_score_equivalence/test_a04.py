"""Hidden tests of a04: noise and score, line by line, then on mixtures and data sets whose scores are known exactly."""

import math

import torch
from torch import Tensor

from autograder.testing.answers import Wrong, close, match, require
from autograder.testing.suite import Draw, Student, first_wrong_line, follows, points
from course_lib.diffusion.exact import ExactDiffusion, IdealDenoiser, Mixture
from course_lib.diffusion.predictions import to_score
from course_lib.diffusion.schedules import TableSchedule

# --- helpers ---------------------------------------------------------------------------------------------------------------


def one_step(alpha_bar: float) -> TableSchedule:
    """A schedule whose time 1 has the given alpha_bar."""
    return TableSchedule(torch.tensor([1.0, alpha_bar], dtype=torch.float64))


def mixture(draw: Draw, K: int, D: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K,), means (K, D) and variances (K,), no two alike."""
    weights = torch.tensor([draw.uniform(0.5, 2) for _ in range(K)], dtype=torch.float64)
    variances = torch.tensor([draw.uniform(0.2, 0.9) for _ in range(K)], dtype=torch.float64)
    return weights / weights.sum(), 1.5 * draw.normal(K, D), variances


def truth(weights: Tensor, means: Tensor, variances: Tensor) -> ExactDiffusion:
    """The mixture as the course's oracle knows it; without noise at time 0."""
    covariances = variances[:, None, None] * torch.eye(means.shape[1], dtype=torch.float64)
    return ExactDiffusion(Mixture(weights, means, covariances), one_step(0.5))


def column(values: Tensor, like: Tensor) -> Tensor:
    """`(B,)` as `(B, 1, ...)`, with as many axes as another tensor."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


# --- the derivation ----------------------------------------------------------------------------------------------------------


@points("derivation", 7)
def test_derivation_of_the_score(student: Student, draw: Draw) -> None:
    x, x0, a = draw.uniform(0.5, 2), draw.uniform(-2, -0.5), draw.uniform(0.2, 0.8)
    b2, r = 1 - a, x - math.sqrt(a) * x0
    log_q = -(r**2) / (2 * b2) - math.log(2 * math.pi * b2) / 2
    mistakes = {
        "log_q": {
            "the constant -log(2 pi variance) / 2 is missing": -(r**2) / (2 * b2),
            "the density's variance is 1 - alpha_bar; you took its square root": -(r**2) / (2 * math.sqrt(b2))
            - math.log(2 * math.pi * math.sqrt(b2)) / 2,
            "the mean is sqrt(alpha_bar) x0, not alpha_bar x0": -((x - a * x0) ** 2) / (2 * b2)
            - math.log(2 * math.pi * b2) / 2,
            "this is the density itself; take its logarithm": math.exp(log_q),
            "the square stands over twice the variance": -(r**2) / b2 - math.log(2 * math.pi * b2) / 2,
        },
        "score": {
            "the sign is wrong: the score points from x back to the mean": r / b2,
            "divide by the variance 1 - alpha_bar, not by its root": -r / math.sqrt(b2),
            "this is the derivative by x0; take it by x": math.sqrt(a) * r / b2,
        },
    }
    first_wrong_line(student, "derivation", (x, x0, a), {"log_q": log_q, "score": -r / b2}, mistakes)


@points("derivation", 7)
def test_derivation_of_the_noise(student: Student, draw: Draw) -> None:
    x, x0, a = draw.uniform(0.5, 2), draw.uniform(-2, -0.5), draw.uniform(0.2, 0.8)
    b2, r = 1 - a, x - math.sqrt(a) * x0
    mistakes = {
        "eps": {
            "x0 comes with the factor sqrt(alpha_bar)": (x - x0) / math.sqrt(b2),
            "divide by sqrt(1 - alpha_bar), the factor of the noise": r / b2,
            "the noise still has its factor sqrt(1 - alpha_bar): divide by it": r,
        },
        "ratio": {
            "the sign is missing: noise points away from the image, the score back to it": math.sqrt(b2),
            "this is score over eps; the line asks for eps over score": -1 / math.sqrt(b2),
            "this is the variance; the ratio is its root": -b2,
        },
    }
    right = {"eps": r / math.sqrt(b2), "ratio": -math.sqrt(b2)}
    first_wrong_line(student, "derivation", (x, x0, a), right, mistakes)


# --- conversions -------------------------------------------------------------------------------------------------------------


def converted(student: Student, draw: Draw, function: str, right: str) -> None:
    """One of the two conversions, on images with times of their own and on rows of points."""
    for shape in ((3, 2, 3, 4), (4, 4)):  # as many columns as rows: broadcasting must not mix them up
        given = draw.normal(*shape)
        a = torch.tensor([draw.uniform(0.1, 0.9) for _ in range(shape[0])], dtype=torch.float64)
        b = column((1 - a).sqrt(), given)
        ways = {
            "divide": -given / b,
            "multiply": -b * given,
            "divide by variance": -given / b**2,
            "multiply by variance": -(b**2) * given,
        }
        mistakes = {
            "the sign is wrong: eps and score point in opposite directions": -ways[right],
            f"this is the other direction: {right} by sqrt(1 - alpha_bar)": ways[
                "multiply" if right == "divide" else "divide"
            ],
            "the factor is the standard deviation sqrt(1 - alpha_bar), not the variance": ways[f"{right} by variance"],
            "the factor is sqrt(1 - alpha_bar), not sqrt(alpha_bar)": -given / column(a.sqrt(), given)
            if right == "divide"
            else -column(a.sqrt(), given) * given,
        }
        if len(shape) == 2:
            mistakes["alpha_bar belongs to the rows: reshape it to (B, 1)"] = (
                -given / b.T if right == "divide" else -b.T * given
            )
        match(student.tensor(function, given, a, shape=shape), ways[right], mistakes, f"{function} is wrong", 1e-5)


@points("convert", 5)
def test_eps_to_score(student: Student, draw: Draw) -> None:
    converted(student, draw, "eps_to_score", "divide")


@points("convert", 5)
def test_score_to_eps(student: Student, draw: Draw) -> None:
    converted(student, draw, "score_to_eps", "multiply")


def eps_to_score(eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """What eps_to_score should do."""
    return -eps / column((1 - alpha_bar).sqrt(), eps)


def score_to_eps(score: Tensor, alpha_bar: Tensor) -> Tensor:
    """What score_to_eps should do."""
    return -column((1 - alpha_bar).sqrt(), score) * score


@points("tweedie", 10)
@follows(eps_to_score=eps_to_score, score_to_eps=score_to_eps)
def test_tweedie(student: Student, draw: Draw) -> None:
    for shape in ((3, 1, 2, 4), (3, 3)):
        x, score = draw.normal(*shape), draw.normal(*shape)
        a = torch.tensor([draw.uniform(0.2, 0.8) for _ in range(3)], dtype=torch.float64)
        c = column(a, x)
        right = (x + (1 - c) * score) / c.sqrt()
        mistakes = {
            "the score comes with the variance 1 - alpha_bar, not with its root": (x + (1 - c).sqrt() * score)
            / c.sqrt(),
            "divide by sqrt(alpha_bar) in the end: x_t holds sqrt(alpha_bar) x_0": x + (1 - c) * score,
            "divide by sqrt(alpha_bar), not by alpha_bar": (x + (1 - c) * score) / c,
            "the sign is wrong: the score points towards the image, so add it": (x - (1 - c) * score) / c.sqrt(),
            "the whole sum is divided by sqrt(alpha_bar), not x_t alone": x / c.sqrt() + (1 - c) * score,
        }
        match(student.tensor("tweedie", x, score, a, shape=shape), right, mistakes, "tweedie is wrong", 1e-5)


# --- mixtures ----------------------------------------------------------------------------------------------------------------


@points("noisy", 8)
def test_noisy(student: Student, draw: Draw) -> None:
    _, means, variances = mixture(draw, 3, 2)
    a = draw.uniform(0.2, 0.8)
    shifted, widened = student.tensors("noisy", means, variances, a, shapes=[(3, 2), (3,)])
    shrunk = {
        "the means shrink by sqrt(alpha_bar), not by alpha_bar": a * means,
        "the means shrink by sqrt(alpha_bar), like every signal": means,
    }
    match(shifted, math.sqrt(a) * means, shrunk, "the means of noisy are wrong", 1e-5)
    spread = {
        "a variance scales with the square of the factor: alpha_bar v, not sqrt(alpha_bar) v": math.sqrt(a) * variances
        + (1 - a),
        "the noise adds its variance 1 - alpha_bar": a * variances,
        "the components' own variances shrink too, by alpha_bar": variances + (1 - a),
        "variances add, standard deviations do not": (math.sqrt(a) * variances.sqrt() + math.sqrt(1 - a)) ** 2,
    }
    match(widened, a * variances + (1 - a), spread, "the variances of noisy are wrong", 1e-5)


def log_joint(x: Tensor, weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """What log_joint should do, in any number of dimensions."""
    distance = (x[:, None] - means).square().sum(-1)
    constant = means.shape[1] / 2 * (2 * math.pi * variances).log()
    return weights.log() - distance / (2 * variances) - constant


@points("mixture", 6)
def test_log_density(student: Student, draw: Draw) -> None:
    weights, means, variances = mixture(draw, 3, 2)
    x = 2 * draw.normal(5, 2)
    exact = truth(weights, means, variances)
    distance = (x[:, None] - means).square().sum(-1)
    kernel = -distance / (2 * variances)
    constant = -(2 * math.pi * variances).log()
    joint = weights.log() + kernel + constant
    got = student.tensor("log_joint", x, weights, means, variances, shape=(5, 3))
    mistakes = {
        "log_joint lacks the logarithm of the weights": kernel + constant,
        "log_joint lacks the constant of each Gaussian, -D/2 log(2 pi v): it depends on the component": weights.log()
        + kernel,
        "in D dimensions the constant is -D/2 log(2 pi v); yours is that of one dimension": weights.log()
        + kernel
        + constant / 2,
        "variances holds variances: do not square them": weights.log()
        - distance / (2 * variances**2)
        - (2 * math.pi * variances**2).log(),
        "this is w_k p_k(x); take its logarithm": joint.exp(),
    }
    match(got, joint, mistakes, "log_joint is wrong", 1e-5)
    got = student.tensor("log_density", x, weights, means, variances, shape=(5,))
    wrong = {
        "log_density sums logarithms; sum the densities and then take the logarithm (torch.logsumexp)": joint.sum(-1),
        "log_density takes the largest component only; the density is a sum over all": joint.max(-1).values,
    }
    match(got, exact.log_prob(x, torch.tensor(0)), wrong, "log_density is wrong", 1e-5)


@points("mixture", 7)
@follows(log_joint=log_joint)
def test_mixture_score(student: Student, draw: Draw) -> None:
    weights, means, variances = mixture(draw, 3, 2)
    x = 1.5 * draw.normal(6, 2)
    right = truth(weights, means, variances).score(x, torch.tensor(0))
    joint = log_joint(x, weights, means, variances)
    pull = (means - x[:, None]) / variances[:, None]
    nearest = joint.argmax(-1)
    mistakes = {
        "the sign is wrong: the score points towards the means": -right,
        "average with the responsibilities of this point, not with the mixture's weights": (
            weights[:, None] * pull
        ).sum(1),
        "the score is a soft average over all components, not that of the nearest": pull[torch.arange(6), nearest],
        "each component's score is divided by its variance": (joint.softmax(-1)[..., None] * (means - x[:, None])).sum(
            1
        ),
        "the average is over components that made this point, and its weights sum to 1": pull.sum(1),
    }
    got = student.tensor("mixture_score", x, weights, means, variances, shape=(6, 2))
    match(got, right, mistakes, "mixture_score is wrong", 1e-5)


@points("mixture", 3)
@follows(log_joint=log_joint)
def test_mixture_far_from_all_means(student: Student, draw: Draw) -> None:
    weights, means, variances = mixture(draw, 3, 2)
    x = draw.uniform(150, 200) * torch.tensor([[1.0, 0.3], [-0.2, 1.0]], dtype=torch.float64)
    exact, here = truth(weights, means, variances), torch.tensor(0)
    for name, truly in (("log_density", exact.log_prob), ("mixture_score", exact.score)):

        def right_at(points: Tensor, name=name, truly=truly) -> bool:
            right = truly(points, here)
            return close(student.tensor(name, points, weights, means, variances, shape=tuple(right.shape)), right, 1e-5)

        if not right_at(x):
            raise Wrong(
                f"{name} is wrong far from all means: stay in logarithms there"
                if right_at(x / 100)
                else f"{name} is wrong, near the means as well as far from them"
            )


# --- the score as an average ---------------------------------------------------------------------------------------------------


@points("average", 7)
def test_posterior(student: Student, draw: Draw) -> None:
    x, data, a = draw.normal(4, 3), draw.normal(6, 3), draw.uniform(0.3, 0.8)
    right = IdealDenoiser(data, one_step(a)).weights(x, torch.tensor(1))
    plain = -(x[:, None] - data).square().sum(-1) / (2 * (1 - a))
    distance = (x[:, None] - math.sqrt(a) * data).square().sum(-1)
    mistakes = {
        "the noisy x lies around sqrt(alpha_bar) times a data point": plain.softmax(-1),
        "these are densities: divide by their sum, so that each row sums to 1": (-distance / (2 * (1 - a))).exp(),
        "each row, not each column, sums to 1": (-distance / (2 * (1 - a))).softmax(0),
        "the exponent has twice the variance, 2 (1 - alpha_bar), in its denominator": (-distance / (1 - a)).softmax(-1),
        "the exponent has the variance 1 - alpha_bar, not its root": (-distance / (2 * math.sqrt(1 - a))).softmax(-1),
    }
    match(student.tensor("posterior", x, data, a, shape=(4, 6)), right, mistakes, "posterior is wrong", 1e-5)
    far = student.tensor("posterior", 200 + x, data, a, shape=(4, 6))
    require(
        close(far.sum(-1), torch.ones(4), 1e-5),
        "far from the data the rows of posterior no longer sum to 1: take a softmax of the logarithms",
    )


def posterior(x: Tensor, data: Tensor, alpha_bar: float) -> Tensor:
    """What posterior should do."""
    return IdealDenoiser(data.double(), one_step(alpha_bar)).weights(x.double(), torch.tensor(1))


@points("average", 7)
@follows(posterior=posterior)
def test_expected_score(student: Student, draw: Draw) -> None:
    x, data, a = draw.normal(4, 3), draw.normal(6, 3), draw.uniform(0.3, 0.8)
    schedule, now = one_step(a), torch.tensor(1)
    ideal = IdealDenoiser(data, schedule)
    right = to_score(ideal(x, now), x, now, schedule)
    scores = (math.sqrt(a) * data - x[:, None]) / (1 - a)
    mistakes = {
        "the sign is wrong: the score points towards the data": -right,
        "average with the posterior; this gives every data point the same weight": scores.mean(1),
        "the score of q(x_t | x_0) pulls towards sqrt(alpha_bar) x_0, not towards x_0": (ideal(x, now) - x) / (1 - a),
        "divide by the variance 1 - alpha_bar": right * (1 - a),
        "divide by the variance 1 - alpha_bar, not by its root": right * math.sqrt(1 - a),
    }
    got = student.tensor("expected_score", x, data, a, shape=(4, 3))
    match(got, right, mistakes, "expected_score is wrong", 1e-5)


# --- denoising score matching ----------------------------------------------------------------------------------------------------


@points("matching", 8)
def test_matching_loss(student: Student, draw: Draw) -> None:
    x0, noise, a = draw.normal(6, 3), draw.normal(6, 3), draw.uniform(0.3, 0.8)
    b, pull = math.sqrt(1 - a), draw.normal(3, 3)
    x_t = math.sqrt(a) * x0 + b * noise
    asked: list[Tensor] = []

    def score(x: Tensor) -> Tensor:
        require(isinstance(x, Tensor) and x.shape == x_t.shape, "matching_loss should call score with x_t, (B, D)")
        asked.append(x.double())
        return (x.double() @ pull).to(x.dtype)

    value = student.number("matching_loss", score, x0, noise, a)
    require(asked, "matching_loss never calls the score that it is given")
    points_asked = {
        "score is asked at x0; ask it at the noisy x_t": x0,
        "x_t mixes x0 with sqrt(alpha_bar) and noise with sqrt(1 - alpha_bar), not with alpha_bar and 1 - alpha_bar": a
        * x0
        + (1 - a) * noise,
        "signal and noise are swapped in x_t": b * x0 + math.sqrt(a) * noise,
    }
    match(asked[-1], x_t, points_asked, "matching_loss asks the score at wrong points", 1e-5)
    out = x_t @ pull
    squares = (out + noise / b).square()
    mistakes = {
        "the target is -noise / sqrt(1 - alpha_bar): its sign is wrong": (out - noise / b).square().sum(-1).mean(),
        "the target is the score, -noise / sqrt(1 - alpha_bar), not the noise": (out - noise).square().sum(-1).mean(),
        "the target is the score, so divide the noise by sqrt(1 - alpha_bar)": (out + noise).square().sum(-1).mean(),
        "divide the noise by sqrt(1 - alpha_bar), not by the variance": (out + noise / b**2).square().sum(-1).mean(),
        "sum over the coordinates and take the mean over the batch; you took the mean over both": squares.mean(),
        "take the mean over the batch, not the sum": squares.sum(),
        "the distance is squared": squares.sum(-1).sqrt().mean(),
    }
    match(value, squares.sum(-1).mean().item(), mistakes, "matching_loss is wrong", 1e-5)


@points("fit", 6)
def test_fit_score(student: Student, draw: Draw) -> None:
    x0, noise, a = draw.normal(80, 2), draw.normal(80, 2), draw.uniform(0.3, 0.8)
    b, inner, phase = math.sqrt(1 - a), draw.normal(2, 5), draw.normal(5)

    def features(x: Tensor) -> Tensor:
        require(isinstance(x, Tensor) and x.ndim == 2 and x.shape[1] == 2, "features should be asked at x_t, (B, D)")
        return torch.cat([x.double(), (x.double() @ inner + phase).sin()], 1).to(x.dtype)

    def solved(x: Tensor, target: Tensor) -> Tensor:
        return torch.linalg.lstsq(features(x), target).solution

    x_t = math.sqrt(a) * x0 + b * noise
    mistakes = {
        "the target is -noise / sqrt(1 - alpha_bar): its sign is wrong": solved(x_t, noise / b),
        "the target is the score -noise / sqrt(1 - alpha_bar), not the noise": solved(x_t, noise),
        "the noise is not yet a score: divide it by sqrt(1 - alpha_bar)": solved(x_t, -noise),
        "the features are those of the noisy x_t, not of x0": solved(x0, -noise / b),
        "this regresses on x0; the target is the score of q(x_t | x_0)": solved(x_t, x0),
    }
    got = student.tensor("fit_score", features, x0, noise, a, shape=(7, 2))
    match(got, solved(x_t, -noise / b), mistakes, "fit_score does not minimise the loss", 1e-3)


@points("fit", 4)
def test_fit_recovers_the_score_of_a_mixture(student: Student, draw: Draw) -> None:
    weights, means, variances = mixture(draw, 2, 1)
    a, n = draw.uniform(0.3, 0.6), 20_000
    exact = ExactDiffusion(Mixture(weights, means, variances[:, None, None]), one_step(a))
    component = (torch.rand(n, generator=draw.torch) < weights[1]).long()
    x0 = means[component] + variances[component, None].sqrt() * draw.normal(n, 1)
    noise = draw.normal(n, 1)
    x_t = math.sqrt(a) * x0 + math.sqrt(1 - a) * noise
    centres = torch.linspace(float(x_t.min()), float(x_t.max()), 12, dtype=torch.float64)

    def features(x: Tensor) -> Tensor:
        bumps = (-((x.double() - centres) ** 2) / (2 * (centres[1] - centres[0]) ** 2)).exp()
        return torch.cat([bumps, x.double(), torch.ones(len(x), 1, dtype=torch.float64)], 1).to(x.dtype)

    found = student.tensor("fit_score", features, x0, noise, a, shape=(14, 1))
    right = exact.score(x_t, torch.tensor(1))
    error = (features(x_t) @ found - right).square().mean() / right.square().mean()
    # Asked in this direction, because huge numbers can make the error NaN, which is neither above nor below anything.
    require(
        float(error) <= 0.01,
        "on a mixture whose score is known, your fit does not find it: the mean squared error is more than 1 % of the score's",
    )
