"""Measure a shipped or freshly trained model: samples from a seed, compared with real images, each value with its interval."""

import math
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import hardware
from course_lib.data import sets
from course_lib.data.images import to_unit
from course_lib.evaluation.classes import classifier_score, effective_classes, label_accuracy
from course_lib.evaluation.features import Features, features
from course_lib.evaluation.frechet import frechet_statistic
from course_lib.evaluation.intervals import Estimate, Measured, Statistic, cut, measured, share_interval
from course_lib.evaluation.kernel import kernel_statistic
from course_lib.evaluation.neighbours import copies, coverage_statistic, manifold, recall_statistic
from course_lib.evaluation.reconstruction import mean_interval, psnr, reconstructed
from course_lib.evaluation.reference import CLASSIFIERS, ROWS, Reference, check_classifier, load_reference
from course_lib.models import store
from course_lib.models.asking import asked
from course_lib.models.cards import CLASS, IMAGE, ModelCard
from course_lib.nets.autoencoders import Autoencoder
from course_lib.nets.classifier import Classifier, ConvClassifier, accuracy
from course_lib.sampling.generate import Denoising, draw_batches

DRAWING = {
    "n": ROWS,
    "steps": 50,
    "sampler": "ddim",
    "scale": 1.0,
    "seed": 0,
}  # how images are drawn, unless asked otherwise


def evaluate(
    model: str,
    n: int | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    scale: float | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """One entry of the ledger: what was measured, how, and for how long.

    A diffusion model draws n images (as many of each class where it takes classes, guided at `scale`), as `DRAWING` says where an
    option is None; a classifier reads the test set, and an autoencoder encodes and decodes it, which must be in the data dir. Raises
    ValueError where n is more than the reference holds, the model's data set has no classifier, or the model cannot be asked for this, as
    a classifier for a drawing.
    """
    started = time.monotonic()
    network, card = store.load(model, hardware.device())
    asked_for = {"n": n, "steps": steps, "sampler": sampler, "scale": scale, "seed": seed}
    options = {name: value for name, value in asked_for.items() if value is not None}
    if card.prediction == CLASS:
        if options:
            raise ValueError(f"{card.name} is a classifier, which draws nothing: leave out {', '.join(options)}")
        measured = on_test_set(network, card)
    elif card.prediction == IMAGE:
        if options:
            raise ValueError(f"{card.name} is an autoencoder, which draws nothing: leave out {', '.join(options)}")
        measured = on_reconstructions(network, card)
    else:
        options = DRAWING | options
        drawing = store.denoising(network, card, store.load_gamma(model, card))
        measured = on_samples(drawing, card, **options)
    return {
        "model": card.name,
        "sha256": card.sha256,
        "options": options,
        "metrics": measured,
        "device": hardware.device().type,
        "minutes": round((time.monotonic() - started) / 60, 2),
        "version": version("learning-to-denoise"),
    }


def on_test_set(network: nn.Module, card: ModelCard) -> dict[str, Any]:
    """The accuracy of a classifier on its test set, with the 95 % interval of a share."""
    images, labels = (tensor.to(hardware.device()) for tensor in sets.load(card.dataset, "test"))
    found = share_interval(accuracy(network, to_unit(images), labels), len(labels))
    return {"test accuracy": {key: round(number, 5) for key, number in found._asdict().items()}}


def on_reconstructions(network: nn.Module, card: ModelCard) -> dict[str, Any]:
    """The metrics of the first ROWS test images after encoding and decoding: what no model of these latents can be better than.

    The peak signal-to-noise ratio is in decibels, its interval that of the mean. Raises ValueError where no classifier knows the data set.
    """
    assert isinstance(network, Autoencoder)
    if card.dataset not in CLASSIFIERS:
        raise ValueError(
            f"{card.name} is of images that none of the classifiers knows ({', '.join(CLASSIFIERS.values())})"
        )
    images = sets.load(card.dataset, "test")[0][:ROWS]
    again = reconstructed(network, images)
    return {"psnr": entry(mean_interval(psnr(images, again))), **compare(card.dataset, again)}


def on_samples(
    model: Denoising, card: ModelCard, n: int, steps: int, sampler: str, scale: float, seed: int
) -> dict[str, Any]:
    """Every metric of n samples of a diffusion model.

    Raises ValueError where no classifier knows its data set, n is out of range, or the model cannot be asked for this.
    """
    if card.dataset not in CLASSIFIERS:
        raise ValueError(f"{card.name} draws what none of the classifiers knows ({', '.join(CLASSIFIERS.values())})")
    if not 100 <= n <= ROWS:
        raise ValueError(f"n must lie in [100, {ROWS}], the number of real images in the reference; got {n}")
    cond = asked(model, n, scale=scale)
    labels = cond["class"] if isinstance(cond, Mapping) else cond
    return compare(card.dataset, draw_batches(model, n, steps, sampler, seed, cond=cond, scale=scale), labels)


def compare(name: str, images: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
    """Every metric of images `(N, C, H, W)`, beside what real test images get that were drawn as these were.

    Each is {"value", "low", "high", "floor", "floor_low", "floor_high"}: the 95 % interval says what another draw of images by the
    same model would give, and the floor's what a draw of as many real images gives. With labels, the classes that were asked for,
    real images and intervals have as many of each class: the luck of class counts is none of such a model's. The share of copies
    of training images is among them where the data set is in the data dir.
    """
    reference = load_reference(name)
    network, card = store.load(CLASSIFIERS[name], hardware.device())
    check_classifier(reference, card.sha256)
    assert isinstance(network, Classifier | ConvClassifier)
    generated, n = features(network, images), len(images)
    ours, table = measure(reference, generated, labels), {}
    for key, floor in floors(reference, n, labels).items():
        table[key] = with_floor(key, ours[key], floor, n)
    if (sets.data_dir() / f"{name}.npz").exists():
        table["copies"] = entry(copied(name, images), 0.01)
    if labels is not None:
        table["accuracy"] = with_floor("accuracy", ours["accuracy"], None, n)
    return table


def with_floor(key: str, found: Measured, floor: Measured | None, n: int) -> dict[str, float]:
    """One metric of n images for the ledger, with what real images get where that is known."""
    around = () if floor is None else within_range(key, floor, n)
    return entry(within_range(key, found, n), *around)


def entry(
    found: Estimate, floor: float | None = None, low: float | None = None, high: float | None = None
) -> dict[str, float]:
    """One metric of the ledger, rounded, with as much of the floor as is known."""
    parts = {**found._asdict(), "floor": floor, "floor_low": low, "floor_high": high}
    return {part: round(value, 5) + 0.0 for part, value in parts.items() if value is not None}  # -0.0 + 0.0 is 0.0


def alike(classes: Tensor, labels: Tensor, seed: int = 0) -> Tensor:
    """Rows `(M,)` of `classes` `(N,)` at random, with as many of each class as `labels` `(M,)`; some twice where there are too few."""
    generator, rows = torch.Generator().manual_seed(seed), []
    for label, wanted in zip(*labels.unique(return_counts=True), strict=True):
        found = (classes == label).nonzero()[:, 0]
        found = found[torch.randperm(len(found), generator=generator)]
        rows.append(found[torch.arange(int(wanted)) % len(found)])
    return torch.cat(rows)


def real_draw(reference: Reference, n: int, labels: Tensor | None, seed: int) -> tuple[Features, Tensor | None]:
    """Real test images drawn as samples are: n at random, or as many of each class as `labels` `(N,)` has, with their classes `(N,)`."""
    if labels is None:
        rows = torch.randperm(len(reference.test.vectors), generator=torch.Generator().manual_seed(seed))[:n]
        return reference.test[rows], None
    classes = reference.test.log_probs.argmax(-1)
    rows = alike(classes, labels, seed)
    return reference.test[rows], classes[rows]


def floors(reference: Reference, n: int, labels: Tensor | None = None, draws: int = 10) -> dict[str, Measured]:
    """What real test images get: the mean of each metric over several draws, with the standard error of one.

    Where `labels` `(N,)` are given, each draw has as many images of each class as they have.
    """
    found = [real_draw(reference, n, labels, seed) for seed in range(draws)]
    values = [{key: value(None) for key, value in statistics(reference, each).items()} for each, _ in found]
    one = measure(reference, *found[0])
    return {key: Measured(sum(each[key] for each in values) / draws, one[key].without) for key in values[0]}


def measure(reference: Reference, found: Features, labels: Tensor | None = None, seed: int = 0) -> dict[str, Measured]:
    """The metrics of one set of features against the training set's, and without each part of the set.

    `labels` `(N,)` are the classes that were asked for, each a fixed number of times; where they are given, so is the accuracy.
    Two sets of equally many rows, with the same labels and seed, are cut alike: `Measured.minus` tells their difference.
    """
    part_of = cut(len(found.vectors), labels, seed=seed)
    return {key: measured(statistic, part_of) for key, statistic in statistics(reference, found, labels).items()}


def statistics(reference: Reference, found: Features, labels: Tensor | None = None) -> dict[str, Statistic]:
    """The metrics of one set of features against the training set's, as functions of the rows' weights `(N,)`.

    `labels` `(N,)` are the classes that were asked for; where they are given, so is the accuracy.
    """
    vectors, log_probs = found
    real = reference.train_vectors[: len(vectors)]
    near = manifold(real, vectors)

    def mean(rows: Tensor) -> Statistic:
        rows = rows.double()
        return lambda w: float(rows.mean() if w is None else w.to(rows) @ rows / w.sum())

    table: dict[str, Statistic] = {
        "frechet distance": frechet_statistic(reference.train, vectors),
        "kernel distance": kernel_statistic(real, vectors),
        "precision": mean(near.precise),
        "recall": recall_statistic(real, vectors),
        "density": mean(near.dense),
        "coverage": coverage_statistic(real, vectors),
        "classifier score": lambda w: classifier_score(log_probs, w),
        "effective classes": lambda w: effective_classes(log_probs, w),
    }
    if labels is not None:
        table["accuracy"] = lambda w: label_accuracy(log_probs, labels, w)
    return table


RANGES = {
    "frechet distance": (0.0, math.inf),
    "kernel distance": (-math.inf, math.inf),
    "density": (0.0, math.inf),
    "classifier score": (1.0, 10.0),
    "effective classes": (1.0, 10.0),
}  # the others are shares


def within_range(key: str, found: Measured, n: int) -> Estimate:
    """The interval of a metric of n images, inside of the metric's range."""
    if key == "effective classes" and found.error == 0:  # all classes alike, or one alone: leaving out cannot tell
        return unmoved(found.value, n)
    return found.interval(*RANGES[key]) if key in RANGES else found.share(n)


def unmoved(classes: float, n: int) -> Estimate:
    """An interval for so many effective classes of n images that no image contradicts: 3 images in n may be of another class.

    Where none of n shows what has the probability 3/n, that is luck of one in twenty.
    """
    shares = torch.full((max(round(classes), 2),), 1 / round(classes), dtype=torch.float64)
    shares[0] = 1 / round(classes) - 3 / n
    shares[1] = 1 / round(classes) + 3 / n if classes > 1.5 else 3 / n
    other = math.exp(-float(torch.special.xlogy(shares, shares).sum()))
    return Estimate(classes, min(classes, other), max(classes, other))


def copied(name: str, images: Tensor, rows: int = 1000) -> Estimate:
    """The share of (the first 1,000) images `(N, C, H, W)` that lie nearer to a training image than all but 1 % of new real images do."""
    train, test = (to_unit(sets.load(name, split)[0]) for split in ("train", "test"))
    images = to_unit(images[:rows]) if images.dtype == torch.uint8 else images[:rows]
    near = copies(images, test[:rows], train)
    return share_interval(near.share, len(near.generated))
