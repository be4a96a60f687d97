"""Hidden tests of a02: each function by its properties, then digits that the submitted weights draw from the grader's seeds."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from autograder.sandbox.child import StudentError
from autograder.testing.answers import Wrong, close, match, require
from autograder.testing.suite import Draw, Files, Student, follows, points
from course_lib.data import sets
from course_lib.data.images import to_unit
from course_lib.diffusion import schedules
from course_lib.evaluation.classes import effective_classes
from course_lib.evaluation.features import Features, features
from course_lib.evaluation.frechet import frechet_distance
from course_lib.evaluation.reference import load_reference
from course_lib.models import store

T, FILE, DRAWN, COMPARED = 250, "weights.safetensors", 100, 4
Predict = Callable[[Tensor, Tensor], Tensor]  # from x_t and t to the noise

# --- helpers ---------------------------------------------------------------------------------------------------------------


def chain(beta: Tensor) -> Tensor:
    """alpha_bar from beta."""
    return torch.cat([torch.ones(1, dtype=beta.dtype), (1 - beta).cumprod(0)])


def pixels(values: Tensor) -> Tensor:
    """`(B,)` as `(B, 1, 1, 1)`."""
    return values.reshape(-1, 1, 1, 1)


# --- schedule and forward process --------------------------------------------------------------------------------------------


@points("schedule", 6)
def test_schedule(student: Student, draw: Draw) -> None:
    steps, low, high = draw.integer(60, 300), draw.uniform(0.0005, 0.002), draw.uniform(0.02, 0.05)
    beta = torch.linspace(low, high, steps, dtype=torch.float64)
    ends = torch.linspace(low, high, steps + 1, dtype=torch.float64)
    mistakes = {
        "alpha_bar is the product of the alphas, and not each alpha": torch.cat([torch.ones(1).double(), 1 - beta]),
        "multiply 1 - beta, not beta": torch.cat([torch.ones(1).double(), beta.cumprod(0)]),
        "this is sqrt(alpha_bar), the signal": chain(beta).sqrt(),
        "the T betas go from beta_min at t = 1 to beta_max at t = T; yours take one step more or less": chain(ends[1:]),
        "beta rises from beta_min to beta_max, and yours falls": chain(beta.flip(0)),
    }
    got = student.tensor("linear_schedule", steps, low, high, shape=(steps + 1,))
    match(got, schedules.linear(steps, low, high).alpha_bar, mistakes, "linear_schedule is wrong", 1e-5)
    require(
        close(student.tensor("linear_schedule", T, shape=(T + 1,)), schedules.linear(T, 4e-4, 0.08).alpha_bar, 1e-5),
        "linear_schedule(250) should take beta_min = 0.0004 and beta_max = 0.08 by itself",
    )


def q_sample(x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """What q_sample should do."""
    a = pixels(alpha_bar[t])
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


@points("q_sample", 8)
def test_q_sample(student: Student, draw: Draw) -> None:
    bar = chain(torch.tensor([draw.uniform(0.02, 0.3) for _ in range(9)], dtype=torch.float64))
    t, x0, noise = torch.tensor([1, 9, 4, 6]), draw.normal(4, 1, 4, 3), draw.normal(4, 1, 4, 3)
    a = pixels(bar[t])
    mistakes = {
        "1 - alpha_bar is the variance; the noise is multiplied by its square root": a.sqrt() * x0 + (1 - a) * noise,
        "x0 is multiplied by sqrt(alpha_bar), not by alpha_bar": a * x0 + (1 - a).sqrt() * noise,
        "take the roots: sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise": a * x0 + (1 - a) * noise,
        "signal and noise are swapped": (1 - a).sqrt() * x0 + a.sqrt() * noise,
        "the entry of time t is alpha_bar[t], and not alpha_bar[t - 1]": pixels(bar[t - 1]).sqrt() * x0
        + (1 - pixels(bar[t - 1])).sqrt() * noise,
        "every image has a time of its own; you used one for all": bar[1].sqrt() * x0 + (1 - bar[1]).sqrt() * noise,
        "the factors run along the rows of the images instead of along the batch": a.view(1, 1, 4, 1).sqrt() * x0
        + (1 - a.view(1, 1, 4, 1)).sqrt() * noise,
    }
    got = student.tensor("q_sample", x0, t, noise, bar, shape=(4, 1, 4, 3))
    match(got, q_sample(x0, t, noise, bar), mistakes, "q_sample is wrong", 1e-5)


# --- the loss ----------------------------------------------------------------------------------------------------------------


class Network:
    """A network in the grader that notes what it is asked, and answers by a function of x_t (n, 1, 28, 28) and t (n,)."""

    def __init__(self, answer=lambda x, t: 0.3 * x) -> None:
        self.answer, self.asked = answer, []

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        require(
            isinstance(x_t, Tensor) and x_t.ndim == 4 and tuple(x_t.shape[1:]) == (1, 28, 28),
            "the network should be asked about images (B, 1, 28, 28)",
        )
        require(
            isinstance(t, Tensor) and tuple(t.shape) == (len(x_t),),
            "the network should be told a time for each image, a tensor (B,)",
        )
        self.asked.append((x_t.double(), t.long()))
        return self.answer(x_t.double(), t.long()).to(x_t.dtype)


def asked_by_loss(student: Student, x0: Tensor, bar: Tensor, seed: int) -> tuple[float, Tensor, Tensor]:
    """The loss of a batch, and what the network was asked: x_t and t."""
    network = Network()
    value = student.number("loss", network, x0.float(), bar.float(), torch.Generator().manual_seed(seed))
    require(len(network.asked) == 1, "loss should ask the network once, about the whole batch")
    return value, *network.asked[0]


@points("loss", 8)
@follows(q_sample=q_sample)
def test_loss_asks_about_random_times_and_noise(student: Student, draw: Draw) -> None:
    bar = chain(torch.linspace(0.02, 0.3, 20, dtype=torch.float64))
    x0 = torch.linspace(-1, 1, 256, dtype=torch.float64).reshape(256, 1, 1, 1).expand(256, 1, 28, 28)
    seed = draw.integer(1, 10**6)
    _, x_t, t = asked_by_loss(student, x0, bar, seed)
    require(int(t.max()) <= 20, "t is drawn beyond T: the table has entries 0 to T, and t goes from 1 to T")
    require(int(t.min()) >= 1, "t = 0 is drawn, where there is no noise to predict: t goes from 1 to T")
    require(len(t.unique()) > 1, "all images have the same time: each draws its own")
    require(int(t.max()) == 20, "t = T is never drawn: t goes from 1 to T, both included")
    require(int(t.min()) == 1, "t = 1 is never drawn: t goes from 1 to T, both included")
    counts = torch.bincount(t, minlength=21)[1:]
    require(bool((counts < 35).all()), "the times are not drawn uniformly")
    a = pixels(bar[t])
    noise, unrooted = (x_t - a.sqrt() * x0) / (1 - a).sqrt(), (x_t - a * x0) / (1 - a)
    if all(abs(float(unrooted[half].var()) - 1) < 0.03 for half in (t <= 10, t > 10)):
        raise Wrong("x_t takes the roots: sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise")
    require(float((noise[0] - noise[1]).abs().max()) > 1e-3, "all images get the same noise: each draws its own")
    require(
        abs(float(noise.mean())) < 0.02 and abs(float(noise.var()) - 1) < 0.02,
        "the noise in x_t is not standard normal: is x_t made by q_sample, and the noise by randn?",
    )
    require(abs(float(noise.pow(4).mean()) - 3) < 0.2, "the noise in x_t is not Gaussian")
    require(float(noise[0].var()) > 0.5, "all pixels of an image get the same noise")
    again, other = asked_by_loss(student, x0, bar, seed)[1], asked_by_loss(student, x0, bar, seed + 1)[1]
    require(close(again, x_t, 1e-5), "the same generator should give the same loss: take all randomness from it")
    require(not close(other, x_t, 1e-5), "another generator gives the same noise: take the randomness from it")


@points("loss", 6)
@follows(q_sample=q_sample)
def test_loss_value(student: Student, draw: Draw) -> None:
    bar, x0 = chain(torch.linspace(0.02, 0.3, 20, dtype=torch.float64)), draw.normal(8, 1, 28, 28).clamp(-1, 1)
    value, x_t, t = asked_by_loss(student, x0, bar, draw.integer(1, 10**6))
    a = pixels(bar[t])
    noise, out = (x_t - a.sqrt() * x0) / (1 - a).sqrt(), 0.3 * x_t
    errors = (out - noise).square()
    mistakes = {
        "the target is the noise, not x0": (out - x0).square().mean(),
        "the target is the noise, not x_t": (out - x_t).square().mean(),
        "take the mean, not the sum": errors.sum(),
        "take the mean over all pixels; you summed over each image": errors.sum((1, 2, 3)).mean(),
        "the error is squared, and has no root": errors.mean().sqrt(),
        "this is the mean absolute error; square it": (out - noise).abs().mean(),
        "the sign of the noise is wrong": (out + noise).square().mean(),
    }
    match(value, errors.mean(), {k: float(v) for k, v in mistakes.items()}, "loss is wrong", 1e-4)


# --- the sampler ---------------------------------------------------------------------------------------------------------------

STEPS = 60
SPREAD = 0.1  # the standard deviation of the pixels in the data of the tests below


def short_schedule() -> Tensor:
    """alpha_bar of 60 steps, which ends in pure noise."""
    return chain(torch.linspace(0.002, 0.3, STEPS, dtype=torch.float64))


def exact(mean: Tensor, bar: Tensor) -> Network:
    """The ideal noise prediction where every pixel is Gaussian around `mean` with the deviation SPREAD."""

    def answer(x: Tensor, t: Tensor) -> Tensor:
        a = pixels(bar[t])
        return (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * SPREAD**2 + 1 - a)

    return Network(answer)


def outcome(bar: Tensor, deviation, factor=None, scale=None) -> tuple[float, float]:
    """What a sampler of the form x <- scale (x - factor eps) + deviation z makes of such data: how much of the mean, and what deviation.

    Each of deviation, factor and scale is a function of (alpha_bar_t, alpha_bar_{t-1}, beta_t, t).
    """
    kept, variance = 0.0, 1.0
    for t in range(STEPS, 0, -1):
        a, before = float(bar[t]), float(bar[t - 1])
        beta = 1 - a / before
        slope = math.sqrt(1 - a) / (a * SPREAD**2 + 1 - a)  # of eps on x - sqrt(a) mean
        f = beta / math.sqrt(1 - a) if factor is None else factor(a, before, beta, t)
        s = 1 / math.sqrt(1 - beta) if scale is None else scale(a, before, beta, t)
        kept = s * (kept * (1 - f * slope) + f * slope * math.sqrt(a))
        variance = (s * (1 - f * slope)) ** 2 * variance + deviation(a, before, beta, t) ** 2
    return kept, math.sqrt(variance)


def large(a: float, before: float, beta: float, t: int) -> float:
    """sigma_t^2 = beta_t, and no noise in the last step."""
    return math.sqrt(beta) if t > 1 else 0.0


def small(a: float, before: float, beta: float, t: int) -> float:
    """sigma_t^2 is the variance of q(x_{t-1} | x_t, x_0)."""
    return math.sqrt((1 - before) / (1 - a) * beta)


MISTAKES = {
    "no step adds noise: all but the last do": {"deviation": lambda a, b, beta, t: 0.0},
    "no step adds noise: this is the deterministic step of DDIM, and Algorithm 2 of Ho et al. draws noise in all but the last": {
        "deviation": lambda a, b, beta, t: 0.0,
        "factor": lambda a, b, beta, t: math.sqrt(1 - a) - math.sqrt((1 - b) * (1 - beta)),
    },
    "each step makes x_{t-1} from the guess of x_0 and fresh noise alone; what x_t holds has to stay in the mean": {
        "deviation": lambda a, b, beta, t: math.sqrt(1 - b),
        "factor": lambda a, b, beta, t: math.sqrt(1 - a),
    },
    "the last step adds noise: the digit itself should have none": {"deviation": lambda a, b, beta, t: math.sqrt(beta)},
    "beta is the variance of a step's noise; multiply the noise by its square root": {
        "deviation": lambda a, b, beta, t: beta if t > 1 else 0.0
    },
    "the noise prediction is multiplied by beta / sqrt(1 - alpha_bar); you divided by 1 - alpha_bar": {
        "deviation": large,
        "factor": lambda a, b, beta, t: beta / (1 - a),
    },
    "the noise prediction is multiplied by beta / sqrt(1 - alpha_bar); you took beta": {
        "deviation": large,
        "factor": lambda a, b, beta, t: beta,
    },
    "the whole noise is subtracted at once: a step takes out only its own share, beta / sqrt(1 - alpha_bar)": {
        "deviation": large,
        "factor": lambda a, b, beta, t: math.sqrt(1 - a),
    },
    "the mean is divided by sqrt(alpha_t)": {"deviation": large, "scale": lambda a, b, beta, t: 1.0},
    "divide by sqrt(alpha_t), not by sqrt(alpha_bar_t)": {
        "deviation": large,
        "scale": lambda a, b, beta, t: 1 / math.sqrt(a),
    },
}


def drawn_by(student: Student, network: Network, n: int, bar: Tensor, seed: int) -> Tensor:
    """What the sampler draws with a network of the grader's."""
    generator = torch.Generator().manual_seed(seed)
    return student.tensor("sample", network, n, bar.float(), generator, shape=(n, 1, 28, 28))


def statistics(images: Tensor, mean: Tensor) -> tuple[float, float]:
    """How much of the mean's pattern images hold, and the deviation of their pixels around it."""
    direction = mean - mean.mean()
    kept = float((images.mean(0)[0] * direction).sum() / direction.square().sum())
    return kept, float((images - kept * mean).std())


@points("sample", 4)
def test_sample_visits_every_time(student: Student, draw: Draw) -> None:
    bar = short_schedule()
    network = exact(torch.zeros(28, 28, dtype=torch.float64), bar)
    drawn_by(student, network, 3, bar, draw.integer(1, 10**6))
    times = [t.tolist() for _, t in network.asked]
    require(all(len(set(each)) == 1 for each in times), "all images are at the same time in each step")
    order = [each[0] for each in times]
    if order == list(range(STEPS - 1, -1, -1)):
        raise Wrong("the times go from T down to 1; yours go from T - 1 down to 0")
    if order == list(range(1, STEPS + 1)):
        raise Wrong("the times fall from T to 1; yours rise")
    require(order == list(range(STEPS, 0, -1)), "the network should be asked once at each time, from T down to 1")
    first = network.asked[0][0]
    require(
        abs(float(first.var()) - 1) < 0.1 and abs(float(first.mean())) < 0.1,
        "the first image should be pure noise of variance 1",
    )


@points("sample", 12)
def test_sample_draws_the_right_distribution(student: Student, draw: Draw) -> None:
    bar, n = short_schedule(), 48
    mean = 0.25 * draw.normal(28, 28).clamp(-1.5, 1.5)
    images = drawn_by(student, exact(mean, bar), n, bar, draw.integer(1, 10**6))
    found_kept, found_spread = statistics(images, mean)

    def like(expected: tuple[float, float]) -> bool:
        simulated = expected[0] * mean + expected[1] * draw.normal(400, 1, 28, 28)
        kept, spread = statistics(simulated.clamp(-1, 1), mean)
        return abs(found_kept - kept) < 0.003 + 0.08 * spread and abs(found_spread - spread) < 0.02 * spread + 0.001

    if like(outcome(bar, large)) or like(outcome(bar, small)):
        return
    for message, variant in MISTAKES.items():
        if like(outcome(bar, **variant)):
            raise Wrong(message)
    if found_spread > 0.5 or not 0.5 < found_kept < 1.5:
        raise Wrong("where the data are known, the sampler does not draw them at all: check the mean of each step")
    raise Wrong(
        "where the data are known, the sampler draws "
        + (
            "too much spread: is the noise of each step multiplied by sigma_t, and the last step without?"
            if found_spread > SPREAD
            else "too little spread: does every step but the last add noise of variance sigma_t^2?"
        )
    )


@points("sample", 4)
def test_sample_is_random_and_within_bounds(student: Student, draw: Draw) -> None:
    bar, seed = short_schedule(), draw.integer(1, 10**6)
    bright = torch.full((28, 28), 0.95, dtype=torch.float64)
    images = drawn_by(student, exact(bright, bar), 4, bar, seed)
    require(float(images.abs().max()) <= 1 + 1e-5, "pixels lie outside of [-1, 1]: clip them in the end")
    require(
        close(drawn_by(student, exact(bright, bar), 4, bar, seed), images, 1e-4),
        "the same generator should draw the same images",
    )
    other = drawn_by(student, exact(bright, bar), 4, bar, seed + 1)
    require(
        float((other - images).abs().mean()) > 1e-3, "another generator draws the same images: take the noise from it"
    )


# --- the trained model -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def weights(files: Files) -> dict[str, Tensor]:
    """The weights that were handed in. Raises Wrong where they are those of a model that comes with the course."""
    tensors = files.tensors(FILE)
    for name in store.shipped_models():
        shipped = store.load(name)[0].state_dict().values()
        require(
            not any(alike(ours, theirs) for ours in tensors.values() for theirs in shipped),
            f"these are weights of {name}, which comes with the course: train a network of your own",
        )
    return tensors


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of many numbers are the same up to a factor, an offset and a little noise."""
    if one.numel() != other.numel() or one.numel() < 1000 or not one.is_floating_point():
        return False
    return correlation(one, other) > 0.98  # NaN where a tensor is constant, which proves nothing


@pytest.fixture(scope="session")
def predictions(student: Student, weights: dict[str, Tensor], shared_draw: Draw) -> Predict:
    """The submitted network. Raises Wrong unless it removes noise from digits that it has not seen.

    No points for digits without it: stored images can be drawn without any model, but new ones cannot be denoised by them.
    200 steps of training reach half of these errors or little more, the best linear filter misses 0.18 and 0.078 at t = 25 and 60,
    and the mean over 24,000 stored digits that are near misses 0.98 and 0.14.
    """

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        return student.tensor("predict", weights, x_t, t, shape=tuple(x_t.shape)).float()

    digits, bar = to_unit(sets.load("mnist", "test")[0]), alpha_bar()
    rows = torch.randperm(len(digits), generator=shared_draw.torch)[:200]
    likeness = {name: [] for name in OURS}
    for t, most in ((25, 0.16), (60, 0.06), (120, 0.03)):
        noise, times = shared_draw.normal(200, 1, 28, 28, dtype=torch.float32), torch.full((200,), t)
        x_t = bar[t].sqrt() * digits[rows] + (1 - bar[t]).sqrt() * noise
        missed = predict(x_t, times) - noise
        error = float(missed.square().mean())
        require(
            error <= most,
            f"at t = {t} your network misses the noise in new digits by {error:.3f} in the mean square, and {most} should be within reach",
        )
        for name in OURS:
            likeness[name].append(correlation(missed, shipped_noise(name, x_t, float(bar[t])) - noise))
    for name, found in likeness.items():
        require(
            min(found[:2]) <= LIKE,
            f"your network errs where {name} errs, which comes with the course, and as much: train a network of your own",
        )
    return predict


OURS = ("mnist-ddpm", "mnist-cfg")
# How far the errors of two networks may agree at t = 25 and 60. Two that were trained apart have 0.94 to 0.97, a perfect one and
# ours would have about 0.98; ours with other names, another order of channels or another scale 1, with 5 % of noise 0.991.
LIKE = 0.99


@torch.no_grad()
def shipped_noise(name: str, x_t: Tensor, a: float) -> Tensor:
    """The noise that a model which comes with the course sees in x_t, where alpha_bar is a. (They predict v.)"""
    network, card = store.load(name)
    t = int((card.build_schedule().alpha_bar - a).abs().argmin())
    labels = (torch.full((len(x_t),), card.config["classes"]),) if card.config["classes"] else ()
    v = network(x_t, torch.full((len(x_t),), t), *labels)
    return (1 - a) ** 0.5 * x_t + a**0.5 * v


def correlation(one: Tensor, other: Tensor) -> float:
    """How far two tensors agree: 1 where they are the same up to scale and offset."""
    return float(torch.corrcoef(torch.stack([one.double().flatten(), other.double().flatten()]))[0, 1])


def alpha_bar() -> Tensor:
    """The schedule that the network was trained with."""
    return schedules.linear(T, 4e-4, 0.08).alpha_bar.float()


@pytest.fixture(scope="session")
def images(student: Student, weights: dict[str, Tensor], predictions: Predict, shared_draw: Draw) -> Tensor:
    """Digits of the submitted sampler and weights, from two seeds of the grader's, within [-1, 1]."""
    half = DRAWN // 2
    seeds = [shared_draw.integer(1, 10**9) for _ in range(2)]
    drawn = [student.tensor("generate", weights, half, seed, shape=(half, 1, 28, 28)) for seed in seeds]
    rows = torch.randperm(half, generator=shared_draw.torch)[:COMPARED]
    again, silent = drawn_without_weights(student, predictions, half, seeds[0], rows)
    require(
        float((again - drawn[0])[rows].abs().mean()) <= 0.05,  # the reference and the accepted answers: below 0.0001
        "generate has to draw with sample and the network, as the cell that was given does, and all noise has to come from the "
        "generator: with your sample and your network the same seed draws other digits",
    )
    require(
        float((silent - drawn[0]).abs().mean((1, 2, 3)).min()) > 0.1,
        "sample draws the same digits whatever the network says",
    )
    return torch.cat(drawn).clamp(-1, 1).float()


def drawn_without_weights(student: Student, predict: Predict, n: int, seed: int, rows: Tensor) -> list[Tensor]:
    """What generate should draw, right in some rows, and what sample draws where the network sees nothing but noise.

    Both come from a process that never sees the weights, so images that are stored in them cannot be drawn there.
    """
    stranger = Student(student.sandbox, student.cells, student.limits)

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        require(isinstance(x_t, Tensor) and isinstance(t, Tensor), "sample should ask the network with two tensors")
        if len(x_t) != n or len(t) != n:  # a sampler that draws a few images at a time: who they are is not known here
            return predict(x_t, t).to(x_t.dtype)
        eps = x_t.clone()
        eps[rows] = predict(x_t[rows], t[rows]).to(x_t.dtype)
        return eps

    try:
        table = student.call("linear_schedule", T)
        generators = (torch.Generator().manual_seed(seed) for _ in range(2))
        return [
            stranger.tensor("sample", each, n, table, generator, shape=(n, 1, 28, 28))
            for each, generator in zip((network, lambda x_t, t: x_t), generators, strict=True)
        ]
    finally:
        stranger.close()


@pytest.fixture(scope="session")
def seen(images: Tensor) -> Features:
    """What the course's classifier sees in them."""
    return look(images)


@pytest.fixture(scope="session")
def redrawn(predictions: Predict, shared_draw: Draw) -> Features:
    """What the classifier sees in digits that the grader draws with the submitted network, by DDIM's step in 25 steps."""
    bar, times = alpha_bar(), torch.linspace(T, 0, 26).round().long().tolist()
    x = shared_draw.normal(DRAWN, 1, 28, 28, dtype=torch.float32)
    for t, earlier in pairwise(times):
        a, before = bar[t], bar[earlier]
        eps = predictions(x, torch.full((DRAWN,), t))
        x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        x = before.sqrt() * x0 + (1 - before).sqrt() * (x - a.sqrt() * x0) / (1 - a).sqrt()
    return look(x)


ELSEWHERE = "your digits are far better than those that the grader draws with your network, so they do not come from it"


def look(images: Tensor) -> Features:
    """What the course's classifier sees in images."""
    classifier, _ = store.load("mnist-classifier")
    return features(classifier, images.clamp(-1, 1))  # type: ignore[arg-type]


def distance(found: Features) -> float:
    """The Fréchet distance to MNIST."""
    return frechet_distance(load_reference("mnist").train, found.vectors)


@points("network", 4)
def test_network_sees_image_and_time(student: Student, weights: dict[str, Tensor], draw: Draw) -> None:
    x, t = draw.normal(6, 1, 28, 28, dtype=torch.float32), torch.tensor([1, 50, 100, 150, 200, 250])
    base = student.tensor("predict", weights, x, t, shape=(6, 1, 28, 28))
    later = student.tensor("predict", weights, x, t.flip(0), shape=(6, 1, 28, 28))
    require(float((base - later).abs().mean()) > 1e-3, "the network does not look at t")
    other = student.tensor("predict", weights, x.flip(0), t, shape=(6, 1, 28, 28))
    require(float((base - other).abs().mean()) > 1e-2, "the network does not look at x_t")


def sure(seen: Features, redrawn: Features, least: float) -> None:
    """Raise Wrong unless the classifier is sure of a share of the digits, and of nearly as many of the grader's."""
    share, again = (float((f.log_probs.max(1).values.exp() > 0.9).double().mean()) for f in (seen, redrawn))
    require(share >= least, f"the classifier is sure of {share:.0%} of your digits, and {least:.0%} give these points")
    require(again >= least - 0.25, ELSEWHERE)


@points("digits", 3)
def test_some_digits_are_recognised(seen: Features, redrawn: Features) -> None:
    sure(seen, redrawn, 0.45)


@points("digits", 4)
def test_most_digits_are_recognised(seen: Features, redrawn: Features) -> None:
    sure(seen, redrawn, 0.65)


@points("digits", 5)
def test_all_ten_digits_occur(seen: Features, redrawn: Features) -> None:
    counts = torch.bincount(seen.log_probs.argmax(1), minlength=10)
    effective, again = effective_classes(seen.log_probs), effective_classes(redrawn.log_probs)
    rare = ", ".join(str(digit) for digit in range(10) if counts[digit] < 2)
    require(effective >= 7.5, f"of {DRAWN} digits hardly any is one of these: {rare}; a good model draws all ten")
    require(again >= 5, ELSEWHERE)


def near(seen: Features, redrawn: Features, most: float) -> None:
    """Raise Wrong unless the Fréchet distance is small, and that of the grader's digits at most twice as large."""
    found = distance(seen)
    require(found <= most, f"the Fréchet distance of your digits is {found:.1f}, and {most:g} gives these points")
    require(distance(redrawn) <= 2 * most, ELSEWHERE)


@points("digits", 4)
def test_distance_is_moderate(seen: Features, redrawn: Features) -> None:
    near(seen, redrawn, 10)


@points("digits", 4)
def test_distance_is_small(seen: Features, redrawn: Features) -> None:
    near(seen, redrawn, 6)


@points("digits", 4)
def test_distance_is_very_small(seen: Features, redrawn: Features) -> None:
    near(seen, redrawn, 4)


@points("genuine", 4)
def test_digits_differ_from_each_other(images: Tensor) -> None:
    flat = images.flatten(1)
    gaps = torch.cdist(flat, flat) + 1e9 * torch.eye(len(flat))
    require(float(gaps.min()) > 1, "some digits are the same: another seed should give other digits")


TURNS, SHIFTS = (-10, -7.5, -5, 0, 5, 7.5, 10), (-1, 1)  # degrees and pixels


def moved(images: Tensor) -> list[Tensor]:
    """Images `(n, 1, 28, 28)` turned by each angle, and shifted by a pixel along each axis."""
    turned = []
    for degrees in TURNS:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        affine = torch.tensor([[c, -s, 0.0], [s, c, 0.0]]).expand(len(images), 2, 3)
        grid = torch.nn.functional.affine_grid(affine, list(images.shape), align_corners=False)
        turned.append(torch.nn.functional.grid_sample(images + 1, grid, align_corners=False) - 1)
    return turned + [images.roll(shift, axis) for axis in (2, 3) for shift in SHIFTS]


def copies(images: Tensor, real: Tensor) -> float:
    """The share of images that, turned or shifted a little, lie very near a real one.

    A tenth to a third of unseen real digits do, and nine tenths of copies that were turned by 6 to 10 degrees.
    """
    real = real.flatten(1)
    nearest = torch.stack([torch.cdist(each.flatten(1), real).min(1).values for each in moved(images)])
    return float((nearest.min(0).values / 28 < 0.15).double().mean())


@points("genuine", 3)
def test_digits_are_not_copied(images: Tensor) -> None:
    for split in ("train", "test"):
        share = copies(images, to_unit(sets.load("mnist", split)[0]))
        require(share <= 0.5, f"{share:.0%} of your digits are copies of images of MNIST")


@points("genuine", 3)
def test_digits_come_from_the_weights(student: Student, weights: dict[str, Tensor], images: Tensor, draw: Draw) -> None:
    zero = {name: torch.zeros_like(value) for name, value in weights.items()}
    try:
        found = student.tensor("generate", zero, 50, draw.integer(1, 10**9), shape=(50, 1, 28, 28)).float()
    except StudentError as error:
        if error.kind == "NotFinite":
            return  # these are no digits
        raise
    before, after = distance(look(images[:50])), distance(look(found))
    require(
        after > 3 * before and after > 10,
        "with all weights set to 0 your model still draws digits, so they do not come from the weights",
    )


@points("genuine", 4)
def test_network_denoises_digits_that_it_has_not_seen(predictions: Predict) -> None:
    require(predictions, "there is no network")
