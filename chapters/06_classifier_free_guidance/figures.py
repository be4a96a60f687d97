"""The pictures of chapter 6: pure functions of what the page's cells computed, one question each."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.pages.plotting import as_pictures, closed, shades, show_image
from course_lib.sampling.ode import heun, velocity
from course_lib.sampling.steps import last, sample

Measured = Mapping[str, Mapping[str, float]]


# --- two classes in the plane, each a stem that parts into two branches -----------------------------------------------------

JOINTS = ((0.1, 0.15), (0.25, 0.4), (0.4, 0.65), (0.6, 0.85), (0.85, 0.95), (0.45, 0.95), (0.4, 1.25), (0.45, 1.55))
UPPER = len(JOINTS)  # the components of the upper class come first


def arm(sign: float) -> tuple[Tensor, Tensor]:
    """Means and covariances of a class's components; the lower class is the upper one, turned by half a turn."""
    means = sign * torch.tensor(JOINTS, dtype=torch.float64)
    widths = torch.linspace(0.012, 0.004, len(JOINTS), dtype=torch.float64)
    return means, widths[:, None, None] * torch.eye(2, dtype=torch.float64)


def arms() -> Mixture:
    """Both classes, equally likely."""
    (up, up_spread), (down, down_spread) = arm(1.0), arm(-1.0)
    count = 2 * len(JOINTS)
    weights = torch.full((count,), 1 / count, dtype=torch.float64)
    return Mixture(weights, torch.cat([up, down]), torch.cat([up_spread, down_spread]))


def upper_arm() -> Mixture:
    """The upper class alone."""
    means, spread = arm(1.0)
    return Mixture(torch.full((UPPER,), 1 / UPPER, dtype=torch.float64), means, spread)


def guided_clouds(exact: ExactDiffusion, scales: Sequence[float], count: int = 600) -> Figure:
    """Samples of the upper class by exact guidance at several scales, over the density of the data."""
    own = ExactDiffusion(upper_arm(), exact.schedule)
    start = torch.randn(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = torch.linspace(1, 2e-3, 60, dtype=torch.float64)
    figure, axes = plt.subplots(1, len(scales), figsize=(7.2, 2.2), sharex=True, sharey=True)
    side = torch.linspace(-2.2, 2.2, 110, dtype=torch.float64)
    density = exact.log_prob(torch.cartesian_prod(side, side), torch.tensor(0.02)).exp().reshape(110, 110).T
    for axis, scale in zip(axes, scales, strict=True):

        def guided(x: Tensor, t: Tensor, scale: float = scale) -> Tensor:
            return torch.lerp(exact.denoise(x, t), own.denoise(x, t), float(scale))

        x = last(sample(heun(velocity(guided, exact.schedule)), start, times))
        axis.imshow(density.sqrt(), origin="lower", extent=(-2.2, 2.2, -2.2, 2.2), cmap=shades())
        axis.scatter(*x.T, s=2, color="C1", linewidths=0)
        axis.set(title=f"scale {scale}", xlim=(-1.8, 2.2), ylim=(-1.8, 2.2), aspect="equal", xticks=[], yticks=[])
        axis.grid(visible=False)
    return closed(figure)


def point_clouds(groups: Mapping[str, Tensor]) -> Figure:
    """Sets of points in the plane side by side, on the same axes."""
    figure, axes = plt.subplots(1, len(groups), figsize=(7.2, 2.3), sharex=True, sharey=True)
    for axis, (name, points) in zip(axes, groups.items(), strict=True):
        axis.scatter(*points.T, s=2, color="C0", alpha=0.5, linewidths=0)
        axis.set(xlim=(-0.6, 1.6), ylim=(-0.4, 2.1), aspect="equal", xticks=[], yticks=[])
        axis.set_title(name, fontsize="small")
    return closed(figure)


# --- the guidance vector ---------------------------------------------------------------------------------------------------


def vectors(noisy: Tensor, answers: Mapping[str, Tensor], times: Sequence[int]) -> Figure:
    """Rows of grey pictures `(N, 1, H, W)`, a column a time: x_t, the three answers, and the second minus the first in red and blue."""
    nothing, one, guided = answers
    rows = {"$x_t$": noisy, nothing: answers[nothing], one: answers[one], "difference": None, guided: answers[guided]}
    figure, axes = plt.subplots(len(rows), len(times), figsize=(6.2, 4.6))
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for n, axis in enumerate(line):
            if images is None:
                change = (answers[one] - answers[nothing])[n, 0]
                axis.imshow(change.numpy(), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
                axis.set_axis_off()
            else:
                show_image(axis, as_pictures(images[n : n + 1])[0])
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center")
    for axis, t in zip(axes[0], times, strict=True):
        axis.set_title(f"t = {t}")
    return closed(figure)


# --- what the ledger holds -------------------------------------------------------------------------------------------------


def beside(axis: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write the names of the points of a path beside it, on the outer side of its bends; but those of 1.1 and 1.3, too near to the next."""
    path = np.array(list(points.values()))
    path = (path - path.min(0)) / np.ptp(path, 0)
    before, after = np.vstack([path[:1], path[:-1]]), np.vstack([path[1:], path[-1:]])
    for (name, point), here, one, other in zip(points.items(), path, before, after, strict=True):
        across = np.array([one[1] - other[1], other[0] - one[0]])
        across *= np.copysign(8 / np.linalg.norm(across), across @ (2 * here - one - other))
        if name not in ("1.1", "1.3"):
            axis.annotate(name, point, across, textcoords="offset points", fontsize="x-small", ha="center", va="center")


def sweeps(models: Mapping[str, Mapping[float, Measured]]) -> Figure:
    """For each model: accuracy and Frechet distance against the scale, and precision against recall."""
    figure, axes = plt.subplots(len(models), 3, figsize=(7.2, 2.5 * len(models)), squeeze=False)
    for line, (model, found) in zip(axes, models.items(), strict=True):
        scales = sorted(found)
        for axis, name in zip(line, ("accuracy", "frechet distance"), strict=False):
            middle, low, high = (np.array([found[s][name][part] for s in scales]) for part in ("value", "low", "high"))
            spread = [(middle - low).clip(0), (high - middle).clip(0)]
            places = range(len(scales))  # side by side, since half of the scales lie between 1 and 2
            axis.errorbar(places, middle, spread, fmt="o-", markersize=3, capsize=2)
            axis.set_xticks(places, [f"{s:g}" for s in scales], fontsize="x-small", rotation=60)
            axis.set(xlabel="scale", title=f"{model}: {name.replace('frechet', 'Fréchet')}")
        floor = found[scales[0]]["frechet distance"]
        band = (floor["floor_low"], floor["floor_high"])
        line[1].axhspan(*band, color="0.5", alpha=0.3, linewidth=0, label="real images")
        line[1].set_yscale("log")
        line[1].legend(fontsize="small")
        recall, precision = ([found[s][name]["value"] for s in scales] for name in ("recall", "precision"))
        line[2].plot(recall, precision, "o-", markersize=3)
        beside(
            line[2],
            {f"{scale:g}": point for scale, point in zip(scales, zip(recall, precision, strict=True), strict=True)},
        )
        line[2].set(xlabel="recall", ylabel="precision", title="trade-off")
    return closed(figure)
