"""Measure a shipped or freshly trained model: samples from a seed, compared with real images, each value with its interval."""

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import hardware
from course_lib.data import sets
from course_lib.data.images import to_unit
from course_lib.evaluation.classes import classifier_score, effective_classes, label_accuracy
from course_lib.evaluation.features import Features, features
from course_lib.evaluation.frechet import frechet_distance
from course_lib.evaluation.intervals import Estimate, bootstrap, share_interval
from course_lib.evaluation.kernel import kernel_statistic
from course_lib.evaluation.neighbours import copies, manifold
from course_lib.evaluation.reference import CLASSIFIERS, ROWS, Reference, check_classifier, load_reference
from course_lib.models import store
from course_lib.models.asking import asked
from course_lib.models.cards import CLASS, ModelCard
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
    option is None; a classifier reads the test set, which must be in the data dir. Raises ValueError where n is more than the
    reference holds, the model's data set has no classifier, or the model cannot be asked for this, as a classifier for a drawing.
    """
    started = time.monotonic()
    network, card = store.load(model, hardware.device())
    asked_for = {"n": n, "steps": steps, "sampler": sampler, "scale": scale, "seed": seed}
    options = {name: value for name, value in asked_for.items() if value is not None}
    if card.prediction == CLASS:
        if options:
            raise ValueError(f"{card.name} is a classifier, which draws nothing: leave out {', '.join(options)}")
        measured = on_test_set(network, card)
    else:
        options = DRAWING | options
        measured = on_samples(store.denoising(network, card), card, **options)
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
    return compare(card.dataset, draw_batches(model, n, steps, sampler, seed, cond=cond, scale=scale), cond)


def compare(name: str, images: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
    """Every metric of images `(N, C, H, W)`, beside its floor: the same metric of as many real test images.

    Each is {"value", "low", "high", "floor"}: the ends of a 95 % bootstrap interval, and what real images get. With labels, the
    classes that were asked for, the interval resamples each class in itself, and the real images have as many of each class: the luck
    of class counts is none of such a model's. The share of copies of training images is among them where the data set is in the
    data dir.
    """
    reference = load_reference(name)
    network, card = store.load(CLASSIFIERS[name], hardware.device())
    check_classifier(reference, card.sha256)
    assert isinstance(network, Classifier | ConvClassifier)
    generated, n = features(network, images), len(images)
    real = reference.test[:n] if labels is None else reference.test[alike(reference.test.log_probs.argmax(-1), labels)]
    ours, floors = estimates(reference, generated, labels), estimates(reference, real)
    if (sets.data_dir() / f"{name}.npz").exists():
        ours["copies"], floors["copies"] = copied(name, images), Estimate(0.01, 0.01, 0.01)
    if labels is not None:
        ours["accuracy"] = bootstrap(lambda w: label_accuracy(generated.log_probs, labels, w), n, groups=labels)
    table: dict[str, Any] = {}
    for key, estimate in ours.items():
        table[key] = {part: round(value, 5) for part, value in estimate._asdict().items()}
        if key in floors:
            table[key]["floor"] = round(floors[key].value, 5)
    return table


def alike(classes: Tensor, labels: Tensor) -> Tensor:
    """Rows `(M,)` of `classes` `(N,)` with as many of each class as `labels` `(M,)`: the first, and those again where there are too few."""
    rows = []
    for label, wanted in zip(*labels.unique(return_counts=True), strict=True):
        found = (classes == label).nonzero()[:, 0]
        rows.append(found[torch.arange(int(wanted)) % len(found)])
    return torch.cat(rows)


def estimates(reference: Reference, found: Features, groups: Tensor | None = None) -> dict[str, Estimate]:
    """The metrics of one set of features against the training set's, each with its bootstrap interval.

    `groups` `(N,)` are the classes of which the number was fixed, if any. Recall and coverage are shares of real images, which had none.
    """
    vectors, log_probs = found
    n, near = len(vectors), manifold(reference.train_vectors[: len(vectors)], vectors)

    def interval(statistic: Callable[[Tensor | None], float], groups: Tensor | None = groups) -> Estimate:
        return bootstrap(statistic, n, groups=groups)

    def mean(rows: Tensor, groups: Tensor | None) -> Estimate:
        rows = rows.double()
        return interval(lambda w: float(rows.mean() if w is None else w.to(rows) @ rows / w.sum()), groups)

    return {
        "frechet distance": interval(lambda w: frechet_distance(reference.train, vectors, w)),
        "kernel distance": interval(kernel_statistic(reference.train_vectors[:n], vectors)),
        "precision": mean(near.precise, groups),
        "recall": mean(near.recalled, None),
        "density": mean(near.dense, groups),
        "coverage": mean(near.covered, None),
        "classifier score": interval(lambda w: classifier_score(log_probs, w)),
        "effective classes": interval(lambda w: effective_classes(log_probs, w)),
    }


def copied(name: str, images: Tensor, rows: int = 1000) -> Estimate:
    """The share of (the first 1,000) images `(N, C, H, W)` that lie nearer to a training image than all but 1 % of new real images do."""
    train, test = (to_unit(sets.load(name, split)[0]) for split in ("train", "test"))
    images = to_unit(images[:rows]) if images.dtype == torch.uint8 else images[:rows]
    near = copies(images, test[:rows], train).near
    return bootstrap(lambda w: float(near.mean() if w is None else w @ near / w.sum()), len(near))
