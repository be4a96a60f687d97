"""The pictures of chapter 8: pure functions of what the page's cells computed, one question each."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import Tensor

from course_lib.diffusion.exact import Mixture
from course_lib.pages.plotting import closed, curves


def two_bumps() -> Mixture:
    """A mixture on the line with mean 0 and variance 1: a narrow bump and a wider, heavier one."""
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
    means = torch.tensor([[-1.05], [0.7]], dtype=torch.float64)
    covariances = torch.tensor([[[0.05]], [[0.408333333333333333]]], dtype=torch.float64)
    return Mixture(weights, means, covariances)


def plane(axis: Axes, points: Tensor, color: str = "C0") -> None:
    """Points of the plane as small dots in a square without ticks."""
    axis.scatter(points[:, 0], points[:, 1], s=1.2, color=color, linewidths=0)
    axis.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), xticks=[], yticks=[], aspect="equal")
    axis.grid(visible=False)


def trajectories(
    forward: Sequence[Tensor], backward: Sequence[Tensor], drift: Sequence[tuple[Tensor, Tensor]], titles: Sequence[str]
) -> Figure:
    """Three rows: the data on its way to noise, noise on its way to data, and where the learned step pulls each place of the plane."""
    figure, axes = plt.subplots(3, len(titles), figsize=(6.2, 6.2))
    for column, title in enumerate(titles):
        plane(axes[0, column], forward[column])
        axes[0, column].set_title(title)
        plane(axes[1, column], backward[column], "C1")
        places, pull = drift[column]
        plane(axes[2, column], forward[column], "0.75")
        axes[2, column].quiver(
            *places.T.numpy(), *pull.T.numpy(), color="C2", angles="xy", scale_units="xy", scale=1, width=0.006
        )
    for row, label in enumerate(("forward", "learned, back", "pull of a step")):
        axes[row, 0].set_ylabel(label)
    return closed(figure)


def work(works: Mapping[int, Tensor], truth: float) -> Figure:
    """Histograms of the work at several numbers of steps, and the free energy, -log p(x_0)."""
    figure, (axis,) = curves("work $W$ (nats)", "frequency, as a share of the highest")
    edges = np.linspace(-0.3, 2.3, 131)
    for number, (steps, values) in enumerate(works.items()):
        counts, _ = np.histogram(values, edges)
        axis.stairs(counts / counts.max(), edges, linewidth=1.4, label=f"$T = {steps}$", color=f"C{number}")
    axis.axvline(truth, color="0.3", linestyle=":", label=r"$-\log q(x_0)$")
    axis.set_xlim(edges[0], edges[-1])
    axis.legend()
    return closed(figure)


def bits(rows: Mapping[str, Sequence[Tensor]], titles: Sequence[str]) -> Figure:
    """Sequences of bits `(n, length)` as black and white pictures, a row of them for each name."""
    figure, axes = plt.subplots(len(rows), len(titles), figsize=(6.8, 1.9 * len(rows)), squeeze=False)
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(1 - picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
        line[0].set_ylabel(name)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    return closed(figure)


def bound_by_steps(metrics: Mapping[str, Mapping[str, Any]], truth: float, theirs: float) -> Figure:
    """K of the exact heartbeat against the number of steps, with both kinds of last step; the network's, and the paper's."""
    figure, (axis,) = curves("steps $T$", "$K$ (bits a sequence)")
    counts = sorted(int(name.split()[1]) for name in metrics if name.startswith("exact"))
    for key, label, style in (
        ("K", "exact, last step learned", "o-"),
        ("K of 2015", "exact, last step fixed (2015)", "s--"),
    ):
        values = [metrics[f"exact, {n} steps"][key]["value"] for n in counts]
        axis.plot(counts, values, style, markersize=4, label=label)
    seeds = [found["K"]["value"] for name, found in metrics.items() if name.startswith("seed")]
    axis.plot([500] * len(seeds), seeds, "x", color="C2", label="our network, three seeds")
    axis.plot([2000], [theirs], "*", color="C3", markersize=9, label="the paper's network")
    axis.axhline(truth, color="0.3", linestyle=":", label=r"$\log_2\frac{1}{5}$, the truth")
    axis.set(xscale="log", ylim=(-3.6, -2.2))
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.xaxis.set_minor_locator(plt.NullLocator())
    axis.legend(loc="lower right")
    return closed(figure)


def schedules_compared(curves_of: Mapping[str, Tensor]) -> Figure:
    """How much of the signal's variance is left after each of a few steps, for schedules that were chosen and one that was learned."""
    figure, (axis,) = curves("step $t$", r"$\log\mathrm{SNR}(t)$")
    for number, (name, alpha_bar) in enumerate(curves_of.items()):
        kept = alpha_bar[1:].numpy()
        ratio = np.log(kept / (1 - kept).clip(1e-12), where=kept > 0, out=np.full_like(kept, np.nan))
        axis.plot(np.arange(1, len(kept) + 1), ratio, ("o-", "s--", "^-.", "D:")[number % 4], markersize=4, label=name)
    axis.legend()
    return closed(figure)


def products(x: Tensor, prior: Tensor, exact: Tensor, drawn: Mapping[str, Tensor]) -> Figure:
    """The prior, what the product with a measurement is, and what samplers with three choices of r_t draw."""
    figure, axes = plt.subplots(1, len(drawn), figsize=(6.8, 2.6), sharey=True)
    edges = np.linspace(float(x[0]), float(x[-1]), 90)
    for number, (axis, (name, samples)) in enumerate(zip(axes, drawn.items(), strict=True)):
        axis.hist(samples.flatten(), edges, density=True, color=f"C{number}", alpha=0.45)
        axis.plot(x, exact, color="0.1", label="the product")
        axis.plot(x, prior, color="0.5", linestyle=":", label="without $r$")
        axis.set(title=name, xlabel="$x_0$", xlim=(-2.5, 2.5), yticks=[])
    axes[0].set_ylim(top=1.2 * axes[0].get_ylim()[1])  # room for the legend above the histogram
    axes[0].legend(fontsize=7.5, loc="upper left")
    return closed(figure)


def architecture() -> Figure:
    """The network of 2015: layers at three scales that see the picture alone, a readout of each pixel, and bumps in time at the end."""
    figure, axis = plt.subplots(figsize=(6.8, 2.9))
    axis.set(xlim=(0, 10), ylim=(0, 4.2))
    axis.set_axis_off()

    def box(x: float, y: float, width: float, height: float, text: str, color: str) -> None:
        axis.add_patch(Rectangle((x, y), width, height, facecolor=color, alpha=0.25, edgecolor=color, linewidth=1.2))
        axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=8.5)

    def arrow(start: tuple[float, float], end: tuple[float, float]) -> None:
        axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color="0.35", linewidth=1))

    axis.text(0.35, 2.1, "$x_t$", ha="center", va="center")
    for layer in range(2):
        left = 1.0 + 2.5 * layer
        for row, name in enumerate(("1/4", "1/2", "1/1")):
            box(left, 0.75 + 1.0 * row, 1.2, 0.7, f"conv {name}", "C0")
            arrow((left - 0.45, 2.1), (left, 1.1 + 1.0 * row))
            arrow((left + 1.2, 1.1 + 1.0 * row), (left + 1.62, 2.1))
        axis.text(left + 1.78, 2.1, "+", ha="center", va="center", fontsize=13)
        if layer == 0:
            arrow((left + 1.92, 2.1), (left + 2.1, 2.1))
    axis.text(3.3, 3.95, "four such layers", ha="center", va="center", fontsize=8.5)
    axis.text(5.65, 2.1, "…", ha="center", va="center", fontsize=13)
    arrow((5.8, 2.1), (6.1, 2.1))
    box(6.1, 1.6, 1.2, 1.0, "MLP at\neach pixel", "C2")
    arrow((7.3, 2.1), (7.6, 2.1))
    box(7.6, 1.6, 1.0, 1.0, "$J$ images", "C1")
    arrow((8.6, 2.1), (9.1, 2.1))
    box(9.1, 1.6, 0.8, 1.0, "$\\sum_j g_j$", "C3")
    axis.text(9.5, 0.45, "$t$", ha="center", va="center")
    arrow((9.5, 0.65), (9.5, 1.6))
    return closed(figure)
