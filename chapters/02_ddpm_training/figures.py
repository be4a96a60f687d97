"""The pictures of chapter 2's second page: pure functions of what the page's cells computed, one question each."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.diffusion.bound import Bound
from course_lib.diffusion.schedules import TableSchedule
from course_lib.nets.embeddings import sinusoidal_embedding
from course_lib.pages.plotting import as_pictures, closed, curves, grid, show_image, show_rows


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal noise from a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def decoder(mean: float = 0.31, spread: float = 0.09, levels: int = 17) -> Figure:
    """A Gaussian cut into the bins of a picture with few grey levels."""
    x = np.linspace(-0.15, 1.25, 600)
    density = np.exp(-0.5 * ((x - mean) / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
    half, centres = 1 / (levels - 1), np.linspace(-1, 1, levels)
    figure, (axis,) = curves("pixel value", "density")
    axis.plot(x, density, color="C0")
    for centre in centres[centres > -0.1]:
        inside = (x >= centre - half) & (x < (centre + half if centre < 1 else np.inf))
        chosen = abs(centre - 0.25) < 1e-9
        axis.fill_between(x[inside], density[inside], color="C1" if chosen else "C0", alpha=0.75 if chosen else 0.12)
        axis.axvline(centre - half, color="0.6", linewidth=0.6)
        axis.plot(centre, 0, "o", color="0.2", markersize=3, clip_on=False)
    axis.set_xlim(-0.15, 1.25)
    axis.annotate("$p_\\theta$(pixel = 0.25)", (0.27, 2.2), (-0.1, 3.6), arrowprops={"arrowstyle": "-", "color": "0.4"})
    axis.annotate("last bin: up to $\\infty$", (1.08, 0.15), (0.8, 2.0), arrowprops={"arrowstyle": "-", "color": "0.4"})
    return closed(figure)


def embedding(dim: int = 64, T: int = 1000) -> Figure:
    """The sinusoids of all times as a picture, and how alike the codes of two times are."""
    codes = sinusoidal_embedding(torch.arange(T + 1), dim)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.0), width_ratios=(1.2, 1))
    shown = left.imshow(codes.T, aspect="auto", cmap="cividis", interpolation="nearest", extent=(0, T, dim, 0))
    left.set(xlabel="$t$", ylabel="entry (cosines, then sines)")
    left.grid(False)
    figure.colorbar(shown, ax=left)
    for t, style in ((100, "-"), (500, "--"), (900, ":")):
        right.plot(codes @ codes[t] / (dim / 2), style, label=f"with $t = {t}$")
    right.set(xlabel="$s$", ylabel="likeness of the codes")
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize="small")
    return closed(figure)


def training_curves(losses: Sequence[float], checks: Mapping[int, tuple[float, float]]) -> Figure:
    """The loss of each batch, and the loss on fixed held-out noise for the network and for its average."""
    figure, (left, right) = curves("step", "loss", columns=2)
    left.semilogy(range(1, len(losses) + 1), losses, color="0.6", linewidth=0.7, label="batch")
    window = 20
    smooth = np.convolve(losses, np.ones(window) / window, "valid")
    left.semilogy(range(window, len(losses) + 1), smooth, color="C0", label=f"mean of {window}")
    steps = sorted(checks)
    right.semilogy(steps, [checks[n][0] for n in steps], "o-", markersize=3, color="C1", label="last weights")
    right.semilogy(steps, [checks[n][1] for n in steps], "s-", markersize=3, color="C0", label="averaged weights")
    right.set_ylabel("held-out loss")
    left.legend()
    right.legend()
    return closed(figure)


def loss_by_time(times: Sequence[int], network: Tensor, memory: Tensor) -> Figure:
    """The held-out loss at each time: the network, an answer of 0, and a perfect memory of the training set."""
    figure, (axis,) = curves("$t$", "mean squared error of $\\epsilon$")
    axis.semilogy(times, memory, "--", color="C1", label="the training set by heart")
    axis.semilogy(times, network, "o-", markersize=3, color="C0", label="network")
    axis.axhline(1, color="C2", linestyle=":", label="always answer 0")
    axis.legend()
    return closed(figure)


def bound_terms(bound: Bound, dimensions: int, schedule: TableSchedule) -> Figure:
    """The terms of the bound in bits per dimension at each time, and their running sum from the data upwards."""
    bits = dimensions * math.log(2)
    steps = bound.steps.mean(1).numpy() / bits
    terms = np.concatenate([[float(bound.reconstruction.mean()) / bits], steps])
    times = np.arange(1, schedule.T + 1)
    figure, (left, right) = curves("$t$", "bits per dimension", columns=2)
    left.loglog(times, terms, ".", markersize=3)
    left.annotate("$L_0$", (1, terms[0]), (1.5, terms[0]), va="center")
    right.semilogx(times, terms.cumsum(), color="C0")
    right.set(ylabel="sum from $L_0$ up to $t$", ylim=(0, None))
    return closed(figure)


def rate_and_distortion(bound: Bound, dimensions: int, schedule: TableSchedule) -> tuple[Tensor, Tensor]:
    """The bits per dimension received when x_t has arrived, and the root mean square error of the guess at t; index t, from 0.

    There is no guess at t = 0, and that at t = 1 is scored by the decoder; the bound is that of the posterior's variance.
    """
    steps, unknown = bound.steps.mean(1), bound.steps.new_full((2,), math.nan)
    later = torch.cat([unknown[:1], steps.flip(0).cumsum(0).flip(0), steps.new_zeros(1)])
    snr = (schedule.alpha_bar / (1 - schedule.alpha_bar)).to(steps)
    error = (2 / dimensions * steps / (snr[1:-1] - snr[2:])).sqrt()
    return (bound.prior.mean() + later) / (dimensions * math.log(2)), torch.cat([unknown, error])


def progressive(rate: Tensor, error: Tensor, received: Tensor, truth: Tensor, times: Sequence[int]) -> Figure:
    """Error against rate, and the guesses `(rows, times, C, H, W)` of some pictures as they come in, beside the pictures."""
    columns = range(len(times) + 1)
    figure, axes = plt.subplot_mosaic(
        [["curve", *(f"{row} {n}" for n in columns)] for row in range(len(received))],
        figsize=(6.8, 2.5),
        width_ratios=[3.2, *[0.75] * len(columns)],
    )
    axes["curve"].plot(rate[2:], error[2:], color="C0")
    axes["curve"].plot(rate[list(times)], error[list(times)], "o", color="C1", markersize=4)
    axes["curve"].set(xlabel="bits a pixel received", ylabel="error of a pixel", ylim=(0, None))
    for row, pictures in enumerate(received):
        for n, picture in zip(columns, as_pictures(torch.cat([pictures, truth[row : row + 1]])), strict=True):
            show_image(axes[f"{row} {n}"], picture)
    for n, title in zip(columns, [*(f"$t={t}$\n{rate[t]:.2f}" for t in times), "$x_0$\n"], strict=True):
        axes[f"0 {n}"].set_title(title, fontsize="x-small")
    return closed(figure)


def neighbours(samples: Tensor, nearest: Tensor) -> Figure:
    """Samples above the training images that are nearest to them."""
    return closed(show_rows([samples, nearest], ["sample", "nearest"], size=0.55))


def distances(samples: Tensor, held_out: Tensor) -> Figure:
    """Histograms of the distance to the nearest training image, for samples and for real images that were held out."""
    figure, (axis,) = curves("distance to the nearest training image", "share")
    bins = np.linspace(0, float(torch.cat([samples, held_out]).max()), 26)
    for values, color, style, name in ((held_out, "C1", "--", "held-out digits"), (samples, "C0", "-", "samples")):
        weights_ = np.full(len(values), 1 / len(values))
        axis.hist(
            values, bins, weights=weights_, histtype="step", color=color, linestyle=style, linewidth=1.8, label=name
        )
    axis.legend(loc="upper right")
    return closed(figure)


def sheet(images: Tensor, columns: int, width: float = 5.5) -> Figure:
    """One picture of many images."""
    picture = grid(images, columns)
    figure, axis = plt.subplots(figsize=(width, width * picture.shape[0] / picture.shape[1]))
    show_image(axis, picture)
    return closed(figure)


def clouds(groups: Mapping[str, Tensor]) -> Figure:
    """Sets of points in the plane side by side, on the same axes."""
    figure, axes = plt.subplots(1, len(groups), figsize=(6.8, 2.3), sharex=True, sharey=True)
    for axis, (name, points) in zip(axes, groups.items(), strict=True):
        color = "0.5" if name.startswith("data") else "C0"
        axis.scatter(*points.T, s=2, color=color, alpha=0.5, linewidths=0, rasterized=True)
        axis.set(aspect="equal", xlim=(-2, 2), ylim=(-1.5, 1.5))
        axis.set_title(name, fontsize="small")
    return closed(figure)


def averaging(losses: Mapping[int, tuple[float, float]]) -> Figure:
    """The loss of the last weights and of their average at the same steps."""
    figure, (axis,) = curves("step", "loss on fixed noise", height=2.8)
    axis.plot(list(losses), [pair[0] for pair in losses.values()], color="C1", label="last weights")
    axis.plot(list(losses), [pair[1] for pair in losses.values()], "--", color="C0", label="averaged weights")
    figure.legend(loc="outside upper right", ncols=2)
    return closed(figure)
