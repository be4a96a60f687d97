"""The pictures of the page on denoising diffusion GANs: exact reverse steps, chains on the 25 Gaussians, and what was measured."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.diffusion.exact import ExactDiffusion, Mixture, five_by_five
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import cosine
from course_lib.evaluation.modes import Modes, modes_of_points
from course_lib.pages.plotting import arrow, box, closed, curves
from course_lib.sampling.steps import ancestral, last, sample
from course_lib.types import Denoiser, Schedule

BUMPS = five_by_five()
SPREAD = float(BUMPS.covariances[0, 0, 0].sqrt())


def density(mixture: Mixture, x: np.ndarray) -> np.ndarray:
    """The density of a mixture on the line."""
    parts = zip(
        mixture.weights.tolist(), mixture.means[:, 0].tolist(), mixture.covariances[:, 0, 0].tolist(), strict=True
    )
    return sum(w * np.exp(-((x - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v) for w, m, v in parts)  # type: ignore[return-value]


def steps_back(exact: ExactDiffusion, t: int, earlier: Sequence[int], x_t: float) -> Figure:
    """The exact reverse step from one x_t to several earlier times, over the Gaussian of the same mean and variance."""
    figure, axes = plt.subplots(1, len(earlier), figsize=(6.8, 2.4), sharey=False)
    x = np.linspace(-2.2, 2.2, 1200)
    for axis, s in zip(axes, earlier, strict=True):
        step = exact.reverse(torch.tensor([x_t], dtype=torch.float64), torch.tensor(t), torch.tensor(s))
        mean, variance = float(step.mean()), float(step.covariance())
        axis.fill_between(x, density(step, x), alpha=0.5, color="C0", linewidth=0)
        axis.plot(x, np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance), "--", color="C1")
        axis.set(title=f"{t - s} step{'s' * (t - s > 1)} back", yticks=[], xlabel="$x_s$", ylim=(0, None))
    return closed(figure)


def chain(denoise: Denoiser, schedule: Schedule, n: int, variance=None, seed: int = 0) -> Tensor:  # type: ignore[no-untyped-def]
    """n points that a chain of all the schedule's steps draws."""
    process = GaussianDiffusion(schedule)
    x = process.prior((n, 2), torch.Generator().manual_seed(seed), dtype=torch.float64)
    step = ancestral(denoise, process, variance, generator=torch.Generator().manual_seed(seed + 1))
    return last(sample(step, x, schedule.grid()))


def ways(T: int, n: int) -> dict[str, Tensor]:
    """Points on the 25 Gaussians by chains of T exact steps: with Gaussian steps of two variances, and with x_0 drawn."""
    schedule = cosine(T)
    exact, source = ExactDiffusion(BUMPS, schedule), torch.Generator().manual_seed(5)
    best = lambda x, t: torch.diagonal(exact.covariance(x, t), dim1=-2, dim2=-1)  # noqa: E731
    return {
        "mean of $x_0$": chain(exact.denoise, schedule, n),
        "… with the best variance": chain(exact.denoise, schedule, n, best),
        "$x_0$ drawn": chain(lambda x, t: exact.draw(x, t, source), schedule, n),
    }


def chosen(T: int, n: int) -> Tensor:
    """Points by chains of T steps whose x_0 is the centre of the likeliest bump: sharp, but one x_0 for each x_t."""
    schedule = cosine(T)
    exact = ExactDiffusion(BUMPS, schedule)
    return chain(lambda x, t: BUMPS.means[exact.class_posterior(x, t).argmax(1)], schedule, n)


def shares(drawn: Mapping[str, Tensor]) -> Figure:
    """How often each of the 25 modes is met: the area of a disc, beside a ring of the size of an even share."""
    figure, axes = plt.subplots(1, len(drawn), figsize=(6.8, 6.8 / len(drawn) + 0.3), squeeze=False)
    for axis, (name, x) in zip(axes[0], drawn.items(), strict=True):
        counts = modes(x).counts / (len(x) / len(BUMPS.means))
        axis.scatter(*BUMPS.means.T, s=90 * counts, color="C0", alpha=0.7, linewidth=0)
        axis.scatter(*BUMPS.means.T, s=90, facecolor="none", edgecolor="0.5", linewidth=0.8)
        axis.set(title=name, xlim=(-2, 2), ylim=(-2, 2), aspect="equal", xticks=[], yticks=[])
    return closed(figure)


def modes(x: Tensor) -> Modes:
    """The modes of the 25 Gaussians that points lie at."""
    return modes_of_points(x.double(), BUMPS.means, SPREAD)


def points(axis: Axes, x: Tensor, title: str) -> None:
    """Points of the plane over the grid of the 25 Gaussians."""
    axis.scatter(*BUMPS.means.T, marker="+", s=22, color="0.6", linewidth=0.8, zorder=1)
    axis.scatter(*x.T, s=2.0, color="C0", alpha=0.6, linewidth=0, zorder=2)
    axis.set(title=title, xlim=(-2, 2), ylim=(-2, 2), aspect="equal", xticks=[], yticks=[])


def clouds(drawn: Mapping[str, Tensor], shown: int = 1200) -> Figure:
    """Points of several models side by side."""
    figure, axes = plt.subplots(1, len(drawn), figsize=(6.8, 6.8 / len(drawn) + 0.3), squeeze=False)
    for axis, (name, x) in zip(axes[0], drawn.items(), strict=True):
        points(axis, x[:shown], name)
    return closed(figure)


def gains(counts: Sequence[int]) -> Figure:
    """The gain of each step in signal to noise, for several numbers of steps, the last step left out."""
    figure, (axis,) = curves("the step's later time, as a share of $T$", "gain $\\Delta_{t\\to s}$", height=2.8)
    for number, T in enumerate(counts):
        share = cosine(T).alpha_bar[1:]
        ratio = share / (1 - share)
        axis.semilogy(
            torch.arange(2, T + 1) / T, ratio[:-1] - ratio[1:], "o-", markersize=3, color=f"C{number}", label=f"T = {T}"
        )
    axis.axhline(1, color="0.5", linestyle="--", linewidth=1)
    axis.legend()
    return closed(figure)


def diagram() -> Figure:
    """How a pair is made in two ways, and who judges it."""
    figure, axis = plt.subplots(figsize=(6.8, 2.7))
    for x, y, text, color in (
        (0.6, 1.6, "$x_0$", "C0"), (2.9, 1.6, "$x_s$", "C0"), (5.2, 1.6, "$x_t$", "C0"),
        (5.2, 0.2, "generator $G$", "C1"), (2.9, 0.2, "$\\hat{x}_0$", "C1"), (0.6, 0.2, "$\\hat{x}_s$", "C1"),
        (8.3, 1.6, "real pair", "C0"), (8.3, 0.2, "generated pair", "C1"), (8.3, 0.9, "discriminator $D$", "C2"),
    ):  # fmt: skip
        box(axis, x, y, text, color, 1.1 if text.startswith("$") else 1.9)
    arrow(axis, (1.15, 1.6), (2.35, 1.6), "noise")
    arrow(axis, (3.45, 1.6), (4.65, 1.6), "noise")
    arrow(axis, (5.2, 1.3), (5.2, 0.5))
    arrow(axis, (5.2, -0.75), (5.2, -0.12))
    axis.text(5.35, -0.72, "$z$", fontsize=9, color="0.45")
    arrow(axis, (4.25, 0.2), (3.45, 0.2))
    arrow(axis, (2.35, 0.2), (1.15, 0.2))
    axis.text(1.75, 0.6, "posterior", ha="center", fontsize=8, color="0.45")
    arrow(axis, (5.75, 1.6), (7.35, 1.6), "$x_s, x_t$")
    bent = {"arrowstyle": "->", "color": "0.45", "linewidth": 1.2, "connectionstyle": "arc3,rad=0.22"}
    axis.annotate("", (7.4, 0.1), (0.6, -0.1), arrowprops=bent)
    axis.text(2.2, -0.86, "$\\hat{x}_s, x_t$", ha="center", fontsize=8, color="0.45")
    axis.set(xlim=(-0.2, 9.4), ylim=(-1.2, 2.1))
    axis.set_axis_off()
    return closed(figure)
