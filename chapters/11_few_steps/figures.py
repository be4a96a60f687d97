"""The pictures of chapter 11: the exact flow map on the line, what networks learned of it, and digits in few steps."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.diffusion.continuous import Straight
from course_lib.diffusion.exact import ExactDiffusion, two_bumps
from course_lib.diffusion.flow_map import ExactFlowMap
from course_lib.pages.plotting import closed, curves
from course_lib.sampling.ode import velocity

LINE = Straight()
TRUE = ExactFlowMap(two_bumps(), LINE)
EXACT = ExactDiffusion(two_bumps(), LINE)
STYLES = ("-", "--", "-.", ":")
MARKS = ("o-", "s--", "^-.", "d:", "v--")


def at(time: float) -> Tensor:
    """A time in float64."""
    return torch.tensor(time, dtype=torch.float64)


def places(reach: float = 3.0, count: int = 241) -> Tensor:
    """Evenly spaced places on the line, `(count, 1)`."""
    return torch.linspace(-reach, reach, count, dtype=torch.float64)[:, None]


def truth() -> Figure:
    """The generator beside one step of DDIM; the consistency function at four times; and mean velocities from pure noise."""
    x = places()
    figure, axes = plt.subplots(1, 3, figsize=(6.8, 2.9))
    axes[0].plot(x, TRUE(x, at(1.0), at(0.0)), label="exact generator")
    axes[0].plot(x, EXACT.denoise(x, at(1.0)), "--", label="one step of DDIM")
    axes[0].set(title="one step", xlabel="noise", ylabel="data")
    axes[0].legend(fontsize=7)
    for style, time in zip(STYLES, (1.0, 0.7, 0.4, 0.1), strict=True):
        axes[1].plot(x, TRUE(x, at(time), at(0.0)), style, label=f"$t = {time:g}$")
    axes[1].set(title="consistency function", xlabel="$x$", ylim=(-2.2, 2.2))
    axes[1].legend(fontsize=7)
    for style, time in zip(STYLES, (0.0, 0.4, 0.8), strict=False):
        axes[2].plot(x, TRUE.mean_velocity(x, at(1.0), at(time)), style, label=f"$s = {time:g}$")
    axes[2].plot(x, velocity(EXACT.denoise, LINE)(x, at(1.0)), STYLES[3], color="0.4", label="$s = t$")
    axes[2].set(title="mean velocity, $t = 1$", xlabel="$x$")
    axes[2].legend(fontsize=7)
    return closed(figure)


def steepest() -> tuple[float, float]:
    """The largest slope of the generator, and the noise where it is."""
    x = places(count=4001)
    log_slope = EXACT.log_prob(x, at(1.0)) - EXACT.log_prob(TRUE(x, at(1.0), at(0.0)), at(0.0))
    best = int(log_slope.argmax())
    return float(log_slope[best].exp()), float(x[best])


def faces() -> Figure:
    """One path of the flow three times: two halves and the whole; two leaps to one end; and a leap whose start slides."""
    figure, axes = plt.subplots(1, 3, figsize=(6.8, 2.3), sharey=True)
    times = torch.linspace(0.001, 1, 120, dtype=torch.float64)
    start = torch.tensor([[0.55]], dtype=torch.float64)
    height = lambda time: float(TRUE(start, at(1.0), at(max(time, 0.0))))  # noqa: E731
    line = [height(float(time)) for time in times]
    leaps = {
        "two halves make a whole": ((0.9, 0.55, "C1"), (0.55, 0.2, "C1"), (0.9, 0.2, "C0")),
        "neighbours share an end": ((0.9, 0.0, "C0"), (0.72, 0.0, "C1")),
        "sliding changes nothing": ((0.86, 0.2, "C0"), (0.9, 0.2, "C0"), (0.94, 0.2, "C0")),
    }
    for axis, (title, arrows) in zip(axes, leaps.items(), strict=True):
        axis.plot(times, line, color="0.6", linewidth=1)
        for t, s, color in arrows:
            arrow = {"arrowstyle": "->", "color": color, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", (s, height(s)), (t, height(t)), arrowprops=arrow)
            axis.plot(t, height(t), "o", color=color, markersize=4)
        axis.set_title(title, fontsize=9)
        axis.set(xlim=(1, -0.03), xlabel="$t$")
    axes[0].set_ylabel("$x_t$")
    return closed(figure)


def residuals() -> dict[str, float]:
    """How far the exact mean velocity, from t = 0.8 to s = 0.2, is from obeying the identity, right and with parts left out."""
    x, t, s, h = places(2.0, 41), 0.8, 0.2, 1e-4
    u = velocity(EXACT.denoise, LINE)(x, at(t))
    mean = TRUE.mean_velocity(x, at(t), at(s))
    in_time = (TRUE.mean_velocity(x, at(t + h), at(s)) - TRUE.mean_velocity(x, at(t - h), at(s))) / (2 * h)
    in_place = (TRUE.mean_velocity(x + h, at(t), at(s)) - TRUE.mean_velocity(x - h, at(t), at(s))) / (2 * h)
    size = lambda off: float(off.square().mean().sqrt())  # noqa: E731
    return {
        "u - (t - s)(time part + u place part)": size(mean - (u - (t - s) * (in_time + u * in_place))),
        "without the place part": size(mean - (u - (t - s) * in_time)),
        "with the sign turned": size(mean - (u + (t - s) * (in_time + u * in_place))),
        "without the factor t - s": size(mean - (u - (in_time + u * in_place))),
        "u alone (one step of DDIM)": size(mean - u),
    }


def learned(found: Mapping[str, Sequence[float]]) -> Figure:
    """What the networks make of evenly spaced noises in one evaluation, each over the truth."""
    names = [name for name in found if name not in ("noise", "truth")]
    figure, axes = plt.subplots(1, len(names), figsize=(6.8, 2.4), sharex=True, sharey=True)
    for number, (axis, name) in enumerate(zip(axes, names, strict=True)):
        axis.plot(found["noise"], found["truth"], color="0.5", linewidth=2.5, alpha=0.6)
        axis.plot(found["noise"], found[name], color=f"C{number}", linewidth=1.2)
        axis.set_title("\n".join(textwrap.wrap(name, 13)), fontsize=9)
        axis.set(xlabel="noise", xticks=(-2, 0, 2))
    axes[0].set_ylabel("data")
    return closed(figure)


def against_evaluations(
    groups: Mapping[str, Mapping[int, Mapping[str, Any]]], floor: Mapping[str, float], aims: Mapping[str, float]
) -> Figure:
    """Frechet distance with its interval against evaluations, for each sampler, with the goals as short lines."""
    figure, (axis,) = curves("evaluations", "Fréchet distance", height=3.2)
    for number, (name, points) in enumerate(groups.items()):
        counts = sorted(points)
        middle = [points[k]["value"] for k in counts]
        below = [points[k]["value"] - points[k]["low"] for k in counts]
        above = [points[k]["high"] - points[k]["value"] for k in counts]
        shifted = [k * 1.03 ** (number - 1) for k in counts]
        axis.errorbar(
            shifted, middle, (below, above), fmt=MARKS[number], color=f"C{number}", markersize=4, capsize=2, label=name
        )
    for name, aim in aims.items():
        axis.plot([int(name) / 1.2, int(name) * 1.2], [aim, aim], color="0.3", linewidth=2)
    axis.axhspan(floor["floor_low"], floor["floor_high"], color="0.5", alpha=0.2)
    axis.set(xscale="log", yscale="log")
    axis.set_xticks([1, 2, 4, 8, 50], ["1", "2", "4", "8", "50"])
    axis.xaxis.set_minor_locator(plt.NullLocator())
    axis.legend(fontsize=8)
    return closed(figure)
