"""The pictures of chapter 7: pure functions of what the page's cells computed, one question each."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.evaluation.evaluate import measure, real_draw, statistics
from course_lib.evaluation.features import Features
from course_lib.evaluation.intervals import Estimate
from course_lib.evaluation.reference import Reference
from course_lib.pages.plotting import closed, curves, shades


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


METRICS = {
    "frechet distance": "Fréchet",
    "kernel distance": "kernel",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "classifier score": "classifier score",
    "effective classes": "classes",
}
BALANCED = (
    "our model (s = 2)",
    "one picture a class",
)  # drawn with as many of each class; the other rows came as they came
BEFORE = {
    "our model, blurred": "our model (s = 2)",
    "our model, grainy": "our model (s = 2)",
}  # the same pictures, untouched


def moves(attacks: Mapping[str, Features], reference: Reference, draws: int = 20) -> dict[str, np.ndarray]:
    """How many standard errors each metric of METRICS lies from its yardstick, for each set of 400 features.

    Pictures that were spoilt are compared with the same pictures as they were, by the jackknife of the difference; any other set with
    real digits that were drawn as it was, by the spread over several such draws.
    """
    count = min(len(features.vectors) for features in attacks.values())
    labels = torch.arange(10).repeat(count // 10)

    def yardstick(asked: Tensor | None) -> np.ndarray:
        drawn = [statistics(reference, real_draw(reference, count, asked, seed)[0]) for seed in range(draws)]
        return np.array([[found[key](None) for key in METRICS] for found in drawn])

    real, real_balanced = yardstick(None), yardstick(labels)
    table = {}
    for name, features in attacks.items():
        if name in BEFORE:
            pair = [measure(reference, attacks[each], labels) for each in (name, BEFORE[name])]
            change = [pair[0][key].minus(pair[1][key]) for key in METRICS]
            table[name] = np.array([each.value / each.error if each.value else 0 for each in change])
        elif not name.startswith("real"):
            drawn = real_balanced if name in BALANCED else real
            values = np.array([value(None) for value in statistics(reference, features).values()])
            if features.log_probs.isnan().any():
                values[-2:] = np.nan  # no class probabilities, no metric of them
            away = values - drawn.mean(0)
            table[name] = np.where(np.abs(away) < 1e-9, 0, away / np.maximum(drawn.std(0, ddof=1), 1e-12))
    return table


def blindness(attacks: Mapping[str, Features], reference: Reference) -> Figure:
    """The table of `moves` as a picture: dark cells see the fault, pale ones are blind to it."""
    moved = moves(attacks, reference)
    figure, axis = plt.subplots(figsize=(6.8, 2.9))
    shown = axis.imshow(np.abs([*moved.values()]).clip(1, 100), norm="log", cmap=shades("C0", 0.7), aspect="auto")
    for row, line in enumerate(moved.values()):
        for column, value in enumerate(line):
            number = "–" if np.isnan(value) else f"{value:+.0f}" if abs(value) >= 0.5 else "0"
            axis.text(column, row, number, ha="center", va="center", fontsize=8, color="0.1")
    spoilt = len(moved) - sum(name in BEFORE for name in moved)
    axis.axhline(spoilt - 0.5, color="0.2", linewidth=1)  # below: compared with the same pictures as they were
    axis.set_xticks(range(len(METRICS)), [*METRICS.values()], rotation=30, ha="right")
    axis.set_yticks(range(len(moved)), list(moved))
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
