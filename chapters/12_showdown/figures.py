"""The pictures of chapter 12's first page: the game of a GAN, what the divergences ask for, and what the five models drew."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import minimize
from torch import Tensor

from course_lib.diffusion.exact import Mixture, five_by_five
from course_lib.pages.plotting import as_pictures, closed, curves

BUMPS = five_by_five()
LEVELS = 17


def density(mixture: Mixture, x: np.ndarray) -> np.ndarray:
    """The density of a mixture on the line."""
    parts = zip(
        mixture.weights.tolist(), mixture.means[:, 0].tolist(), mixture.covariances[:, 0, 0].tolist(), strict=True
    )
    return sum(w * normal(x, m, v) for w, m, v in parts)  # type: ignore[return-value]


def normal(x: np.ndarray, mean: float, variance: float) -> np.ndarray:
    """A Gaussian density on the line."""
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def cloud(axis: Axes, points: Tensor, title: str) -> None:
    """Points of the plane over the centres of the 25 Gaussians."""
    axis.scatter(*BUMPS.means.T, marker="+", s=18, color="0.6", linewidth=0.8, zorder=1)
    axis.scatter(*points.T, s=2.5, color="C0", alpha=0.7, linewidth=0, zorder=2)
    axis.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal", xticks=[], yticks=[])
    axis.set_title(title, fontsize=10)


def clouds(drawn: Mapping[str, Tensor], columns: int = 3) -> Figure:
    """Points of several models, one panel each."""
    rows = -(-len(drawn) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6.8, 2.35 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, points) in zip(axes.flat, drawn.items(), strict=False):
        axis.set_axis_on()
        cloud(axis, points, name)
    return closed(figure)


def judged(real: Mixture, fake: Mixture) -> Figure:
    """Two densities and the best discriminator's answer between them."""
    x = np.linspace(-2.5, 2.5, 500)
    p, q = density(real, x), density(fake, x)
    figure, (axis,) = curves("$x$", "density", height=2.8)
    axis.plot(x, p, color="C0", label="data $p$")
    axis.plot(x, q, color="C1", linestyle="--", label="generator $q$")
    axis.set_ylim(0, None)
    other = axis.twinx()
    other.plot(x, p / (p + q), color="C2", linewidth=1.5, label="$D^{*}$")
    other.set(ylim=(0, 1.05), ylabel="$D^{*}$")
    other.spines["right"].set_visible(True)
    handles = [*axis.get_lines(), *other.get_lines()]
    axis.legend(
        handles, [str(line.get_label()) for line in handles], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=3
    )
    return closed(figure)


def path(gamma: float, steps: int = 1500, rate: float = 0.05) -> np.ndarray:
    """The way of (theta, psi) in the game of one point, by simultaneous gradient steps with the penalty gamma."""
    theta, psi, found = 1.0, 0.4, []
    for _ in range(steps):
        found.append((theta, psi))
        D = 1 / (1 + np.exp(-psi * theta))
        theta, psi = theta + rate * (1 - D) * psi, psi + rate * (-D * theta - gamma * psi)
    return np.array(found)


def circles(gammas: Sequence[float] = (0.0, 0.3, 2.0)) -> Figure:
    """The ways of the game for several penalties."""
    figure, axes = plt.subplots(1, len(gammas), figsize=(6.8, 2.5), sharex=True, sharey=True)
    for axis, gamma in zip(axes, gammas, strict=True):
        way = path(gamma)
        axis.plot(*way.T, linewidth=0.9, color="C0")
        axis.plot(*way[0], "o", markersize=4, color="C1")
        axis.plot(0, 0, "+", color="0.3")
        axis.set(title=rf"$\gamma = {gamma:g}$", xlabel=r"generator $\theta$", aspect="equal")
    axes[0].set_ylabel(r"discriminator $\psi$")
    return closed(figure)


def fits(mixture: Mixture) -> tuple[float, float, float, float]:
    """Mean and deviation of the Gaussian with the smallest KL(p, q), and of the one with the smallest KL(q, p), near the heavier bump."""
    x = np.linspace(-6, 6, 6001)
    p = density(mixture, x)

    def backward(at: np.ndarray) -> float:
        q = normal(x, at[0], np.exp(2 * at[1])) + 1e-300
        return float(np.trapezoid(q * (np.log(q) - np.log(p + 1e-300)), x))

    heavy = int(mixture.weights.argmax())
    start = [float(mixture.means[heavy, 0]), 0.5 * np.log(float(mixture.covariances[heavy, 0, 0]))]
    seeking = minimize(backward, start, method="Nelder-Mead").x
    return float(mixture.mean()), float(mixture.covariance().sqrt()), float(seeking[0]), float(np.exp(seeking[1]))


def directions(mixture: Mixture) -> Figure:
    """A mixture, and the best Gaussian in each direction of the divergence."""
    x = np.linspace(-3, 3, 600)
    m, s, seeking_m, seeking_s = fits(mixture)
    figure, (axis,) = curves("$x$", "density", height=2.6)
    axis.fill_between(x, density(mixture, x), color="0.8", label="data $p$")
    axis.plot(x, normal(x, m, s**2), color="C0", label=r"smallest KL($p\,\Vert\,q$)")
    axis.plot(x, normal(x, seeking_m, seeking_s**2), "--", color="C1", label=r"smallest KL($q\,\Vert\,p$)")
    axis.legend()
    return closed(figure)


def digits(shown: Mapping[str, Tensor]) -> Figure:
    """Rows of stacked digits in colour, one row for each model."""
    figure, axes = plt.subplots(len(shown), 1, figsize=(6.8, 0.62 * len(shown) + 0.2), squeeze=False)
    for axis, (name, rows) in zip(axes[:, 0], shown.items(), strict=True):
        levels = ((rows + 1) * LEVELS / 2).floor().clamp(0, LEVELS - 1) / (LEVELS - 1)
        pictures = as_pictures(levels.reshape(-1, 3, 8, 8) * 2 - 1)
        opaque = np.full((*pictures.shape[:3], 1), 255, np.uint8)
        parts = np.concatenate([pictures, opaque], 3)
        gapped = np.pad(parts, ((0, 0), (0, 0), (0, 1), (0, 0)))  # a gap that shows the page, light or dark
        axis.imshow(np.concatenate(list(gapped), 1), interpolation="nearest")
        axis.text(-1.5, 3.5, name, ha="right", va="center", fontsize=9)
        axis.set_axis_off()
    return closed(figure)
