"""The pictures of chapter 3: pure functions of what the page's cells computed, one question each."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.diffusion.exact import ExactDiffusion
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.evaluation.ledger import by_setting
from course_lib.pages.plotting import closed, curves, shades
from course_lib.sampling.ode import angle_heun, dpm_solver
from course_lib.sampling.steps import ancestral, ddim, last, sample

SAMPLERS = {"ddpm": "DDPM", "ddim": "DDIM", "heun": "Heun", "dpm-solver": "DPM-Solver++"}
LINES = {"DDPM": "o-", "DDIM": "s--", "Heun": "^-.", "DPM-Solver++": "D:"}


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal noise in float64 from a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def paths(exact: ExactDiffusion, count: int = 10, steps: int = 200) -> Figure:
    """The ways of a few points from noise to data, by DDPM and by DDIM, over the density of x_t."""
    schedule = exact.schedule
    process, times = GaussianDiffusion(schedule), schedule.grid(steps)
    start = torch.linspace(-1.8, 1.8, count, dtype=torch.float64)[:, None]
    ways = {
        "DDPM": ancestral(exact.denoise, process, generator=torch.Generator().manual_seed(1)),
        "DDIM": ddim(exact.denoise, process),
    }
    x = torch.linspace(-2.6, 2.6, 200, dtype=torch.float64)[:, None]
    shown = torch.arange(4, schedule.T + 1, 4)
    density = torch.stack([exact.log_prob(x, t).exp() for t in shown], 1)
    density = density / density.max(0).values
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 3.0), sharey=True)
    for axis, (name, step) in zip(axes, ways.items(), strict=True):
        axis.imshow(
            density, aspect="auto", cmap=shades(), extent=(4, schedule.T, -2.6, 2.6), origin="lower", vmin=0, vmax=1.6
        )
        drawn = torch.stack(list(sample(step, start, times)))[..., 0]
        axis.plot(times, drawn, linewidth=1.0)
        ticks = range(0, 1000, 200)  # without 1000, which would touch the 0 of the panel before it
        axis.set(title=name, xlabel="$t$", xlim=(schedule.T, 0), xticks=ticks, ylim=(-2.6, 2.6))
        axis.grid(visible=False)
    axes[0].set_ylabel("$x_t$")
    return closed(figure)


def bends(exact: ExactDiffusion, count: int = 14) -> Figure:
    """The paths over the noise level, and how fast the predicted noise changes along them."""
    schedule = exact.schedule
    start = int((schedule.noise(torch.arange(1, 1000)) / schedule.signal(torch.arange(1, 1000)) < 20).sum())
    times = torch.arange(start, 0, -1)
    level = (schedule.noise(times) / schedule.signal(times)).numpy()
    states = torch.linspace(-1.9, 1.9, count, dtype=torch.float64)[:, None]
    drawn, noises = [], []
    for x, t in zip(sample(ddim(exact.denoise, GaussianDiffusion(schedule)), states, times), times, strict=True):
        drawn.append(x[:, 0] / schedule.signal(t))
        noises.append(exact.eps(x, t)[:, 0])
    paths, noise = torch.stack(drawn).numpy(), torch.stack(noises).numpy()
    change = np.abs(np.diff(noise, axis=0)).mean(1) / -np.diff(np.log(level))
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.0))
    left.plot(level, paths, linewidth=1.0)
    left.set(xlabel=r"$\bar\sigma$", ylabel=r"$\bar x$", xlim=(4, 0), ylim=(-5, 5))
    right.semilogx((level[1:] * level[:-1]) ** 0.5, change, color="C1")
    right.set(
        xlabel=r"$\bar\sigma$", ylabel=r"mean $|d\hat\epsilon / d\log\bar\sigma|$", xlim=(20, 0.01), ylim=(0, None)
    )
    return closed(figure)


def angle() -> Figure:
    """DDIM's step as a rotation in the plane of the predicted picture and the predicted noise."""
    figure, axis = plt.subplots(figsize=(3.6, 3.4))
    turn = np.linspace(0, np.pi / 2, 100)
    axis.plot(np.cos(turn), np.sin(turn), color="0.6")
    for phi, name, color in ((1.15, "$x_t$", "C1"), (0.55, "$x_s$", "C0")):
        x, y = np.cos(phi), np.sin(phi)
        axis.plot([0, x], [0, y], color=color, linewidth=1)
        axis.plot(x, y, "o", color=color)
        axis.annotate(name, (x, y), (x + 0.05, y + 0.03))
    x, y = np.cos(1.15), np.sin(1.15)
    arrow = {"arrowstyle": "-|>", "color": "C1"}
    axis.annotate("", (x - 0.45 * y, y + 0.45 * x), (x, y), arrowprops=arrow)
    axis.text(x - 0.5 * y, y + 0.5 * x + 0.03, "$v_t$")
    for radius, phi, middle, name in ((0.22, 1.15, 0.85, r"$\phi_t$"), (0.42, 0.55, 0.28, r"$\phi_s$")):
        arc = np.linspace(0, phi, 50)
        axis.plot(radius * np.cos(arc), radius * np.sin(arc), color="0.4", linewidth=0.8)
        axis.text((radius + 0.03) * np.cos(middle), (radius + 0.03) * np.sin(middle), name, fontsize=9)
    axis.set(xlabel=r"share of $\hat x_0$", ylabel=r"share of $\hat\epsilon$", xlim=(-0.12, 1.2), ylim=(0, 1.2))
    axis.set_aspect("equal")
    return closed(figure)


def solver_errors(exact: ExactDiffusion, count: int = 400) -> dict[str, list[tuple[int, float]]]:
    """(evaluations, mean distance to the end of the true path) of three solvers, from t = 900 to 50 of 1000."""
    process, x = GaussianDiffusion(exact.schedule), normal(count, 1)
    makers = {
        "DDIM": lambda: ddim(exact.denoise, process),
        "Heun": lambda: angle_heun(exact.denoise, exact.schedule),
        "DPM-Solver++": lambda: dpm_solver(exact.denoise, exact.schedule),
    }

    def end(make: Any, steps: int) -> Tensor:
        return last(sample(make(), x, torch.linspace(900, 50, steps + 1).round().long()))

    truth = end(makers["Heun"], 850)
    found: dict[str, list[tuple[int, float]]] = {}
    for name, make in makers.items():
        cost = 2 if name == "Heun" else 1
        counts = [n // cost for n in (4, 6, 10, 16, 26, 42, 70, 106, 170)]
        found[name] = [(cost * n, float((end(make, n) - truth).abs().mean())) for n in counts]
    return found


def orders(errors: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Error against evaluations, with the slopes of orders 1 and 2."""
    figure, (axis,) = curves("evaluations of the denoiser", "mean distance to the true end")
    for name, points in errors.items():
        counts, values = zip(*points, strict=True)
        axis.loglog(counts, values, LINES[name], markersize=4, label=name, color=f"C{list(LINES).index(name)}")
    counts = np.array([16.0, 160.0])
    for order in (1, 2):
        axis.loglog(counts, 0.5 * (counts / 16.0) ** -order, color="0.6", linewidth=1)
        axis.text(170, 0.5 * 10.0**-order, f"slope $-{order}$", color="0.4", fontsize=9, va="center")
    axis.set_xlim(3, 400)
    axis.legend(loc="lower left")
    return closed(figure)


def sweep(metrics: Mapping[str, Any]) -> dict[str, dict[int, Mapping[str, float]]]:
    """The ledger's Frechet distances by sampler and number of evaluations."""
    found: dict[str, dict[int, Mapping[str, float]]] = {name: {} for name in SAMPLERS.values()}
    for setting, measured in by_setting(metrics).items():
        sampler, evaluations = setting.removesuffix(" evaluations").split(", ")
        if sampler in SAMPLERS:
            found[SAMPLERS[sampler]][int(evaluations)] = measured["frechet distance"]
    return found


def quality(points: Mapping[str, Mapping[int, Mapping[str, float]]]) -> Figure:
    """Frechet distance against evaluations, with intervals, and that of real images."""
    figure, (axis,) = curves("evaluations of the network per picture", "Fréchet distance (own features)")
    for number, (name, values) in enumerate(points.items()):
        counts = sorted(values)
        middle = np.array([values[n]["value"] for n in counts])
        low, high = (np.array([values[n][end] for n in counts]) for end in ("low", "high"))
        spread = [(middle - low).clip(0), (high - middle).clip(0)]
        shifted = np.array(counts) * 1.06 ** (number - 1.5)  # side by side, so that no bar hides another
        axis.errorbar(shifted, middle, spread, fmt=LINES[name], markersize=4, capsize=2, label=name, color=f"C{number}")
    real = next(iter(next(iter(points.values())).values()))
    if "floor_low" in real:
        axis.axhspan(real["floor_low"], real["floor_high"], color="0.5", alpha=0.15, linewidth=0)
    axis.axhline(real["floor"], color="0.4", linestyle=":", label="real images")
    axis.set(xscale="log", yscale="log")
    name_counts(axis, sorted({count for values in points.values() for count in values}))
    axis.set_yticks((0.2, 0.5, 1, 2, 5), ("0.2", "0.5", "1", "2", "5"))
    axis.yaxis.set_minor_locator(plt.NullLocator())
    axis.legend()
    return closed(figure)


def name_counts(axis: Axes, counts: Sequence[int]) -> None:
    """Ticks of a logarithmic axis at the counts that were measured, and nowhere else."""
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.xaxis.set_minor_locator(plt.NullLocator())


def symptoms(x: Tensor, correct: Tensor) -> tuple[str, str, str]:
    """The spread of the pixels, the share of grey ones, and the root mean square distance to the correct pictures."""
    grey = (x.abs() < 0.8).float().mean()
    return f"{x.std():.2f}", f"{grey:.1%}", f"{(x - correct).square().mean().sqrt():.2f}"
