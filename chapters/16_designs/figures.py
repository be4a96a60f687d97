"""The pictures of chapter 16: pure functions, one question each."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import cosine
from course_lib.draws import standard_normal
from course_lib.pages.plotting import closed
from course_lib.sampling.guidance import composed
from course_lib.sampling.steps import ancestral, last, sample
from course_lib.types import Denoiser

DOUBLE = torch.float64
SCHEDULE = cosine(1000)
PROCESS = GaussianDiffusion(SCHEDULE)
# Four bumps: short or long, dark or bright. What is long is nearly always bright.
PLACES = torch.tensor([[-0.7, -0.7], [-0.7, 0.7], [0.7, -0.7], [0.7, 0.7]], dtype=DOUBLE)  # (length, brightness)
SHARES = torch.tensor([0.49, 0.01, 0.01, 0.49], dtype=DOUBLE)
SPREAD = 0.2
LONG, BRIGHT = torch.tensor([False, False, True, True]), torch.tensor([False, True, False, True])


def part(of: Tensor) -> ExactDiffusion:
    """The diffusion of the bumps `(4,)` bool that a wish leaves possible."""
    shares = SHARES[of] / SHARES[of].sum()
    spread = (SPREAD**2 * torch.eye(2, dtype=DOUBLE)).expand(len(shares), 2, 2)
    return ExactDiffusion(Mixture(shares, PLACES[of], spread), SCHEDULE)


def drawn_by(denoise: Denoiser, n: int = 4000, steps: int = 200) -> Tensor:
    """n points `(n, 2)` of DDPM's chain with a denoiser."""
    generator = torch.Generator().manual_seed(0)
    x = PROCESS.prior((n, 2), generator).double()
    step = ancestral(denoise, PROCESS, noise=standard_normal(generator))
    return last(sample(step, x, SCHEDULE.grid(steps)))


def ways_to_ask() -> dict[str, Denoiser]:
    """Denoisers for long and dark: told both, and composed of what is told each, at two scales."""
    everything = torch.ones(4, dtype=torch.bool)
    base, long, dark = (part(of).denoise for of in (everything, LONG, ~BRIGHT))
    return {
        "told together": part(LONG & ~BRIGHT).denoise,
        "composed, scale 1": composed(base, [long, dark], 1.0),
        "composed, scale 3": composed(base, [long, dark], 3.0),
    }


def landed(points: Tensor) -> tuple[float, float]:
    """The shares of points `(n, 2)` within three spreads of the bump that is long and dark, and of those that are in no bump."""
    inside = torch.cdist(points, PLACES) < 3 * SPREAD
    return float(inside[:, 2].double().mean()), float((~inside.any(1)).double().mean())


def asking(found: Mapping[str, Tensor]) -> Figure:
    """What each way to ask draws, over the data."""
    figure, axes = plt.subplots(1, len(found), figsize=(6.8, 2.6), sharex=True, sharey=True)
    data = part(torch.ones(4, dtype=torch.bool)).mixture.sample(1500, torch.Generator().manual_seed(1))[0]
    for axis, (name, points) in zip(axes, found.items(), strict=True):
        axis.scatter(*data.T, s=2, color="0.6", alpha=0.4, linewidths=0)
        axis.scatter(*points[:800].T, s=2, color="C0", linewidths=0)
        axis.set(title=name, xlabel="length", xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
    axes[0].set_ylabel("brightness")
    return closed(figure)


def decided() -> Figure:
    """How much of the first wish is left when wishes are exchanged at each time, for strong and weak directions."""
    times = torch.linspace(0, 1000, 201)
    a2, b2 = SCHEDULE.signal(times.round()) ** 2, SCHEDULE.noise(times.round()) ** 2
    figure, axis = plt.subplots(figsize=(4.6, 2.7))
    for spread in (2.0, 0.5, 0.1, 0.02):
        axis.plot(times / 1000, a2 * spread**2 / (a2 * spread**2 + b2), label=f"s = {spread:g}")
    axis.set(xlabel="exchange at $\\tau\\,/\\,T$", ylabel="left of the first wish")
    axis.legend(title="spread of the data", fontsize=8)
    return closed(figure)


def interval(found: Mapping[str, float]) -> tuple[float, float]:
    """How far the ends of an interval lie below and above its value."""
    return found["value"] - found["low"], found["high"] - found["value"]


def drawn_with_bars(
    axis: Any, at: Sequence[float], values: Sequence[Mapping[str, float]], style: str, **how: Any
) -> None:
    """Values with their intervals at the places `at`."""
    below, above = zip(*(interval(value) for value in values), strict=True)
    axis.errorbar(at, [value["value"] for value in values], (below, above), fmt=style, markersize=4, capsize=2, **how)


def met(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """The share of designs that are as asked in both measures, against the scale, for each way to ask."""
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 2.7), sharey=True)
    for axis, group in zip(axes, ("seen", "held out"), strict=True):
        for number, way in enumerate(("together", "composed")):
            scales = [float(name.rsplit(" ", 1)[1]) for name in found if name.startswith(f"{group}, {way} ")]
            values = [found[f"{group}, {way} {scale:g}"]["both"] for scale in scales]
            drawn_with_bars(axis, [scale + 0.04 * number for scale in scales], values, "os"[number] + "-", label=way)
        chance = found[f"{group}, class alone 1"]["both"]
        axis.axhspan(chance["low"], chance["high"], color="0.5", alpha=0.25, linewidth=0)
        axis.set(title=group, xlabel="guidance scale", ylim=(0, 1))
    axes[0].set_ylabel("both as asked")
    axes[0].legend()
    return closed(figure)


def dial(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """How far variations lie from their picture, and how far the denoiser's error says that they should."""
    figure, axis = plt.subplots(figsize=(4.6, 2.7))
    changes = [float(name.rsplit(" ", 1)[1]) for name in found if name.startswith("vary")]
    for number, (kind, label) in enumerate((("moved", "measured"), ("expected", "twice the denoiser's error"))):
        values = [found[f"vary, from {change:g}"][kind] for change in changes]
        drawn_with_bars(axis, [c + 0.008 * number for c in changes], values, "os"[number] + "-", label=label)
    axis.set(xlabel="change, $t_0\\,/\\,T$", ylabel="squared distance, a pixel", ylim=(0, None))
    axis.legend()
    return closed(figure)


def exchanges(found: Mapping[str, Mapping[str, Mapping[str, float]]], ends: tuple[float, float]) -> Figure:
    """The ranks of designs whose wishes are exchanged at a time."""
    figure, axis = plt.subplots(figsize=(4.6, 2.7))
    times = [float(name.rsplit(" ", 1)[1]) for name in found if name.startswith("exchange")]
    for number, kind in enumerate(("length", "brightness")):
        values = [found[f"exchange, at {time:g}"][kind] for time in times]
        drawn_with_bars(axis, [t + 0.008 * number for t in times], values, "os"[number] + "-", label=kind)
    for end in ends:
        axis.axhline(end, color="0.5", linewidth=0.8, linestyle=":")
    axis.set(xlabel="exchange at $\\tau\\,/\\,T$", ylabel="mean rank", ylim=(0, 1))
    axis.legend()
    return closed(figure)
