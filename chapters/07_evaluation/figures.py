"""The pictures of chapter 7: pure functions of what the page's cells computed, one question each."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.evaluation.classes import classifier_score, effective_classes
from course_lib.evaluation.features import Features
from course_lib.evaluation.frechet import frechet_distance
from course_lib.evaluation.intervals import Estimate
from course_lib.evaluation.kernel import kernel_distance
from course_lib.evaluation.neighbours import manifold
from course_lib.evaluation.reference import Reference
from course_lib.pages.plotting import closed, curves


def blurred(images: Tensor, width: float) -> Tensor:
    """Images convolved with a Gaussian of this standard deviation in pixels; outside is black."""
    reach = int(3 * width) + 1
    x = torch.arange(-reach, reach + 1, dtype=images.dtype)
    bell = torch.exp(-(x**2) / (2 * width**2))
    bell = bell / bell.sum()
    channels = images.shape[1]
    kernel = (bell[:, None] * bell[None]).expand(channels, 1, -1, -1)
    return F.conv2d(F.pad(images + 1, (reach,) * 4), kernel, groups=channels) - 1


def intercept(values: Mapping[int, float]) -> float:
    """The value at 1/n = 0 of the straight line through the points over 1/n."""
    inverse = np.array([1 / n for n in values])
    return float(np.polynomial.polynomial.polyfit(inverse, list(values.values()), 1)[0])


def bias(frechet: Mapping[int, Estimate], kernel: Mapping[int, Estimate], infinity: float) -> Figure:
    """The Frechet distance of real images against n, and both distances against 1/n."""
    figure, (left, right) = curves("", "Fréchet distance", columns=2)
    left.loglog(list(frechet), [e.value for e in frechet.values()], "o-", markersize=4)
    left.set_xlabel("number of real test digits")
    inverse = [1 / n for n in frechet]
    right.plot(inverse, [e.value for e in frechet.values()], "o", markersize=4, label="Fréchet")
    slope = (frechet[400].value - infinity) * 400
    right.plot([0, max(inverse)], [infinity, infinity + slope * max(inverse)], color="C0", linewidth=1)
    right.plot(
        [1 / n for n in kernel], [100 * e.value for e in kernel.values()], "s--", markersize=4, label="kernel × 100"
    )
    right.axhline(0, color="0.5", linewidth=0.8)
    right.set(xlabel="$1/n$", ylabel="distance")
    right.legend()
    return closed(figure)


METRICS = ("Fréchet", "kernel", "precision", "recall", "density", "coverage", "classifier score", "classes")


def values_of(features: Features, reference: Reference, weights: Tensor | None = None) -> list[float]:
    """The metrics of METRICS for a set of features, with rows counted `weights` times."""
    near = manifold(reference.train_vectors[:1000], features.vectors)
    w = torch.ones(len(features.vectors), dtype=torch.float64) if weights is None else weights

    def share(field):
        return float(w @ field.double() / w.sum())

    named = not bool(features.log_probs.isnan().any())  # no class probabilities, no metric of them
    return [
        frechet_distance(reference.train, features.vectors, w),
        kernel_distance(reference.train_vectors[:1000], features.vectors, w),
        share(near.precise),
        float(near.recalled.double().mean()),
        share(near.dense),
        float(near.covered.double().mean()),
        classifier_score(features.log_probs, w) if named else np.nan,
        effective_classes(features.log_probs, w) if named else np.nan,
    ]


def blindness(attacks: Mapping[str, Features], reference: Reference, repeats: int = 12) -> Figure:
    """How many standard errors each metric of each set lies from what equally many real digits get."""
    count = min(len(features.vectors) for features in attacks.values())
    generator = torch.Generator().manual_seed(0)
    real = []
    for _ in range(repeats):
        chosen = torch.randperm(len(reference.test.vectors), generator=generator)[:count]
        real.append(values_of(reference.test[chosen], reference))
    table = np.array(real)
    middle, spread = table.mean(0), table.std(0, ddof=1)
    named = {name: features for name, features in attacks.items() if name != "real test digits"}
    moved = np.array([(np.array(values_of(features, reference)) - middle) / spread for features in named.values()])
    figure, axis = plt.subplots(figsize=(6.8, 2.9))
    shown = axis.imshow(np.abs(moved).clip(1, 100), norm="log", cmap="Blues", aspect="auto")
    for row, line in enumerate(moved):
        for column, value in enumerate(line):
            number = "–" if np.isnan(value) else f"{value:+.0f}"
            color = "white" if abs(value) > 15 else "0.2"
            axis.text(column, row, number, ha="center", va="center", fontsize=8, color=color)
    axis.set_xticks(range(len(METRICS)), METRICS, rotation=30, ha="right")
    axis.set_yticks(range(len(named)), list(named))
    axis.grid(visible=False)
    figure.colorbar(shown, ax=axis, label="standard errors")
    return closed(figure)


def nearest(vectors: Tensor, train: Tensor) -> Tensor:
    """The distance of each row to the nearest training row."""
    return torch.cdist(vectors, train).min(1).values


def distances(groups: Mapping[str, Tensor]) -> Figure:
    """Histograms of distances, outlined."""
    figure, (axis,) = curves("distance to the nearest training digit, in features", "share", height=2.7)
    bins = np.linspace(0, float(max(values.max() for values in groups.values())), 40)
    for (name, values), style in zip(groups.items(), ("-", "--", ":"), strict=True):
        weights = np.full(len(values), 1 / len(values))
        axis.hist(values, bins, weights=weights, histtype="step", linestyle=style, linewidth=1.8, label=name)
    axis.legend()
    return closed(figure)
