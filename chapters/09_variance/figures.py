"""The pictures of chapter 9: pure functions of what the page's cells computed, one question each."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from course_lib.diffusion.bound import gaussian_log_prob, variational_bound
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import TableSchedule
from course_lib.pages.plotting import as_pictures, closed, curves, show_image
from course_lib.sampling.steps import unit_variance
from course_lib.types import Variance

COUNTS = (10, 25, 50, 100, 1000)
STYLES = {
    "beta-tilde": ("C0", "o-", r"$\tilde\beta$"),
    "beta": ("C1", "s--", r"$\beta$"),
    "analytic": ("C2", "^-.", "analytic"),
    "learned": ("C3", "D:", "learned (hybrid)"),
    "vlb": ("C4", "v-", "learned (bound)"),
}


def five_bumps() -> Mixture:
    """Five small bumps on a ring in the plane."""
    angles = 2 * torch.pi * torch.arange(5, dtype=torch.float64) / 5
    means = 1.2 * torch.stack([angles.cos(), angles.sin()], 1)
    weights = torch.tensor([0.3, 0.25, 0.2, 0.15, 0.1], dtype=torch.float64)
    return Mixture(weights, means, 0.02 * torch.eye(2, dtype=torch.float64).expand(5, 2, 2))


def between(exact: ExactDiffusion, steps: int = 10, draws: int = 4000) -> Figure:
    """Where between beta-tilde and beta the best variance lies: of the mean over x_t, and of single x_t."""
    schedule, process = exact.schedule, GaussianDiffusion(exact.schedule)
    data, _ = exact.mixture.sample(draws, torch.Generator().manual_seed(0))
    times = torch.arange(20, 1000, 20)
    mean, low, high = [], [], []
    for t in times:
        spread = exact.covariance(process.forward(data, t, torch.Generator().manual_seed(1)), t)[:, 0, 0]
        share = spread / (1 - schedule.alpha_bar[t])
        mean.append(float(share.mean()))
        low.append(float(share.quantile(0.05)))
        high.append(float(share.quantile(0.95)))
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.0))
    for axis, t, name in ((left, 250, "$t = 250$"),):
        x = torch.linspace(-2.4, 2.4, 241, dtype=torch.float64)[:, None]
        t = torch.tensor(t)
        axis.plot(x, exact.covariance(x, t)[:, 0, 0], color="C2", label=r"$\mathrm{Var}[x_0 \mid x_t]$")
        axis.axhline(float(1 - schedule.alpha_bar[t]), color="C1", linestyle="--", label=r"what $\beta$ assumes")
        axis.axhline(0, color="C0", label=r"what $\tilde\beta$ assumes")
        axis.fill_between(x[:, 0], exact.log_prob(x, t).exp() * 0.3, color="0.5", alpha=0.25, linewidth=0)
        axis.set(xlabel="$x_t$", title=name)
        axis.legend(fontsize=8)
    right.fill_between(times, low, high, color="C2", alpha=0.25, linewidth=0)
    right.plot(times, mean, color="C2")
    right.axhline(1, color="C1", linestyle="--")
    right.axhline(0, color="C0")
    right.set(xlabel="$t$", ylabel=r"$\mathrm{Var}[x_0 \mid x_t]\,/\,(1-\bar\alpha_t)$", title="all $t$")
    return closed(figure)


def mean_spread(exact: ExactDiffusion, draws: int = 1000) -> Variance:
    """The mean over x_t and coordinates of Var[x_0 | x_t], for each t that is asked for, from draws."""
    process = GaussianDiffusion(exact.schedule)
    data, _ = exact.mixture.sample(draws, torch.Generator().manual_seed(7))
    kept: dict[int, Tensor] = {}

    def x0_variance(x_t: Tensor, t: Tensor) -> Tensor:
        if int(t) not in kept:
            x = process.forward(data, t, torch.Generator().manual_seed(8))
            kept[int(t)] = exact.covariance(x, t).diagonal(dim1=1, dim2=2).mean()
        return kept[int(t)]

    return x0_variance


def gaps(exact: ExactDiffusion, counts: Sequence[int], draws: int = 3000) -> dict[str, dict[int, tuple[float, float]]]:
    """How far the bound lies above -log p(x_0), in nats, and its standard error, by variance and number of steps."""
    schedule, process = exact.schedule, GaussianDiffusion(exact.schedule)
    data, _ = exact.mixture.sample(draws, torch.Generator().manual_seed(0))
    truth = exact.log_prob(data, torch.tensor(0))
    ways: dict[str, Variance | None] = {
        r"$\tilde\beta$": None,
        r"$\beta$": unit_variance(schedule),
        "best for each $t$": mean_spread(exact),
        "best for each $x_t$": lambda x, t: exact.covariance(x, t).diagonal(dim1=1, dim2=2).mean(1),
        "and each coordinate": lambda x, t: exact.covariance(x, t).diagonal(dim1=1, dim2=2),
    }
    found: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in ways}
    for count in counts:
        for name, spread in ways.items():
            bound = variational_bound(
                exact.denoise,
                data,
                process,
                gaussian_log_prob,
                spread,
                torch.Generator().manual_seed(1),
                schedule.grid(count),
            )
            excess = bound.total + truth
            found[name][count] = float(excess.mean()), float(excess.std()) / draws**0.5
    return found


def gap_curves(found: Mapping[str, Mapping[int, tuple[float, float]]]) -> Figure:
    """The gap of the bound against the number of steps."""
    figure, (axis,) = curves("steps", r"bound $-\ (-\log p(x_0))$, in nats")
    marks = ("o-", "s--", "^-.", "D:", "v-")
    for number, ((name, points), mark) in enumerate(zip(found.items(), marks, strict=True)):
        counts = list(points)
        axis.loglog(counts, [points[n][0] for n in counts], mark, markersize=4, color=f"C{number}", label=name)
    axis.set_xticks(counts, [str(n) for n in counts])
    axis.xaxis.set_minor_locator(plt.NullLocator())
    axis.legend()
    return closed(figure)


def diagram() -> Figure:
    """The network with its second output, and where the two go."""
    figure, axis = plt.subplots(figsize=(6.8, 2.5))
    boxes = {
        "x": (0.4, 1.0, "$x_t,\\ t$"),
        "net": (2.5, 1.0, "U-Net"),
        "v": (4.9, 1.7, "prediction\n($C$ channels)"),
        "share": (4.9, 0.3, "share $v$\n($C$ channels)"),
        "mean": (7.4, 1.7, r"$\hat x_0 \to \mu_\theta$"),
        "sigma": (7.4, 0.3, r"$\Sigma = \tilde\beta\,(\beta/\tilde\beta)^v$"),
        "step": (9.9, 1.0, "$x_s$"),
    }
    for x, y, text in boxes.values():
        width = 1.7 if len(text) > 11 else 1.0
        axis.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - 0.32), width, 0.64, boxstyle="round,pad=0.05", facecolor="none", edgecolor="0.4"
            )
        )
        axis.text(x, y, text, ha="center", va="center", fontsize=9)
    arrows = (
        ("x", "net"),
        ("net", "v"),
        ("net", "share"),
        ("v", "mean"),
        ("share", "sigma"),
        ("mean", "step"),
        ("sigma", "step"),
    )
    for start, end in arrows:
        (x0, y0, one), (x1, y1, two) = boxes[start], boxes[end]
        before, after = (0.95 if len(text) > 11 else 0.6 for text in (one, two))
        axis.add_patch(
            FancyArrowPatch((x0 + before, y0), (x1 - after, y1), arrowstyle="-|>", mutation_scale=10, color="0.4")
        )
    axis.text(3.45, 2.12, r"$\nabla L_{\mathrm{simple}}$", color="C0", ha="center", fontsize=9)
    axis.text(3.45, -0.12, r"$\omega\nabla L_{\mathrm{vlb}}$", color="C3", ha="center", fontsize=9)
    axis.set(xlim=(-0.3, 10.6), ylim=(-0.4, 2.4))
    axis.set_axis_off()
    return closed(figure)


def shares(noisy: Tensor, guesses: Tensor, found: Tensor, times: Sequence[int]) -> Figure:
    """For one picture at some times: the noisy one, the guess, and the share v of each pixel, each `(N, 1, H, W)`."""
    figure, axes = plt.subplots(3, len(times), figsize=(0.95 * len(times) + 1.4, 3.2))
    for column, t in enumerate(times):
        show_image(axes[0, column], as_pictures(noisy / noisy.abs().amax((1, 2, 3), keepdim=True))[column], f"t = {t}")
        show_image(axes[1, column], as_pictures(guesses)[column])
        shown = axes[2, column].imshow(found[column, 0], cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        axes[2, column].set_axis_off()
    for axis, label in zip(axes[:, 0], (r"$x_t$", r"$\hat x_0$", "share $v$"), strict=True):
        axis.text(-0.15, 0.5, label, transform=axis.transAxes, ha="right", va="center")
    figure.colorbar(shown, ax=axes[2, :], fraction=0.03, pad=0.01)
    return closed(figure)


def variances(schedule: TableSchedule, analytic: Variance, steps: int) -> Figure:
    """The variance of each step of a short chain, in units of beta-tilde; and what each step costs of the bound."""
    process, times = GaussianDiffusion(schedule), schedule.grid(steps)
    t, s = times[:-2], times[1:-1]
    weight, _, tilde = process.posterior_weights(t, s)
    best = tilde + weight**2 * analytic(t, t)
    beta = tilde + weight**2 * (1 - schedule.at(t))
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.0))
    for values, key in ((tilde, "beta-tilde"), (best, "analytic"), (beta, "beta")):
        color, mark, label = STYLES[key]
        left.semilogy(t, values / tilde, mark, color=color, markersize=3, label=label)
        rho = best / values
        excess = (rho - 1 - rho.log()) / 2 / np.log(2)
        if key != "analytic":
            right.semilogy(t, excess, mark, color=color, markersize=3, label=label)
    left.set(xlabel="$t$", ylabel=r"variance / $\tilde\beta$")
    right.set(xlabel="$t$", ylabel="bits lost a pixel and step", ylim=(1e-6, 1))
    left.legend()
    right.legend()
    return closed(figure)


def term_sizes(terms: Tensor, chances: Tensor) -> Figure:
    """The terms of the bound from t = 2 on, root mean square, and the probabilities that follow from them, both `(T + 1,)`."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.0))
    t = np.arange(2, len(terms))
    left.loglog(t, terms[2:], color="C0")
    left.set(xlabel="$t$", ylabel=r"$\sqrt{\mathrm{E}[L_t^2]}$, bits a pixel")
    right.loglog(t, chances[2:], color="C3", label="importance")
    right.axhline(1 / (len(terms) - 2), color="C0", linestyle="--", label="even")
    right.set(xlabel="$t$", ylabel="probability of $t$")
    right.legend()
    return closed(figure)


def bars(axis: Axes, counts: Sequence[int], found: Sequence[Mapping[str, float]], place: int, **style: Any) -> None:
    """A line with the interval of each value."""
    middle = np.array([one["value"] for one in found])
    spread = [
        [max(0, one["value"] - one["low"]) for one in found],
        [max(0, one["high"] - one["value"]) for one in found],
    ]
    axis.errorbar(np.array(counts) * 1.05 ** (place - 2), middle, spread, markersize=4, capsize=2, **style)


def digits_bits(metrics: Mapping[str, Any]) -> Figure:
    """Bits a dimension of test digits against steps, for two schedules."""
    figure, axes = curves("steps", "bits a pixel", 2)
    lines = (
        ("simple", "beta-tilde", "beta-tilde"),
        ("simple", "beta", "beta"),
        ("simple", "analytic", "analytic"),
        ("hybrid", "learned", "learned"),
        ("vlb", "learned", "vlb"),
    )
    for axis, schedule in zip(axes, ("linear", "cosine"), strict=True):
        for place, (objective, way, key) in enumerate(lines):
            color, mark, label = STYLES[key]
            if f"{objective}, {schedule}, {way}, {COUNTS[0]}: bits" in metrics:
                found = [metrics[f"{objective}, {schedule}, {way}, {n}: bits"] for n in COUNTS]
                bars(axis, COUNTS, found, place, fmt=mark, color=color, label=label)
        axis.set(xscale="log", title=schedule)
        axis.set_xticks(COUNTS, [str(n) for n in COUNTS])
        axis.xaxis.set_minor_locator(plt.NullLocator())
    axes[1].legend(fontsize=8)
    axes[1].set_ylabel("")
    return closed(figure)


def digits_distances(metrics: Mapping[str, Any]) -> Figure:
    """Fréchet distances of samples against steps, for two schedules, beside real digits."""
    figure, axes = curves("steps", "Fréchet distance (pixels)", 2)
    lines = (
        ("simple", "beta-tilde", "C0", "o-", r"DDPM, $\tilde\beta$"),
        ("simple", "beta", "C1", "s--", r"DDPM, $\beta$"),
        ("simple", "analytic", "C2", "^-.", "Analytic-DDPM"),
        ("hybrid", "learned", "C3", "D:", "DDPM, learned"),
        ("simple", "DDIM", "C4", "v-", "DDIM"),
        ("simple", "Analytic-DDIM", "C5", "x--", "Analytic-DDIM"),
    )
    for axis, schedule in zip(axes, ("linear", "cosine"), strict=True):
        for place, (objective, way, color, mark, label) in enumerate(lines):
            counts = [n for n in COUNTS if f"{objective}, {schedule}, {way}, {n}: distance" in metrics]
            found = [metrics[f"{objective}, {schedule}, {way}, {n}: distance"] for n in counts]
            bars(axis, counts, found, place, fmt=mark, color=color, label=label)
        axis.axhline(metrics["real test digits: distance"]["value"], color="0.4", linestyle=":", label="real digits")
        axis.set(xscale="log", yscale="log", title=schedule)
        axis.set_xticks(COUNTS, [str(n) for n in COUNTS])
        axis.xaxis.set_minor_locator(plt.NullLocator())
        axis.set_ylim(0.15, None)
    axes[0].legend(fontsize=7, loc="lower left", ncols=2)
    axes[1].set_ylabel("")
    return closed(figure)


def quality(metrics: Mapping[str, Any], counts: Sequence[int] = (10, 25, 50, 100)) -> Figure:
    """Fréchet distances of MNIST's samplers at a few numbers of steps, beside real digits."""
    figure, (axis,) = curves("steps", "Fréchet distance (own features)")
    lines = (
        ("DDPM, beta-tilde", "C0", "o-", r"DDPM, $\tilde\beta$"),
        ("DDPM, beta", "C1", "s--", r"DDPM, $\beta$"),
        ("Analytic-DDPM", "C2", "^-.", "Analytic-DDPM"),
        ("DDPM, learned", "C3", "D:", "DDPM, learned"),
        ("DDIM", "C4", "v-", "DDIM"),
        ("Analytic-DDIM", "C5", "x--", "Analytic-DDIM"),
    )
    for place, (name, color, mark, label) in enumerate(lines):
        found = [metrics[f"{name}, {n}: frechet distance"] for n in counts]
        bars(axis, counts, found, place, fmt=mark, color=color, label=label)
    axis.axhline(
        metrics[f"DDIM, {counts[0]}: frechet distance"]["floor"], color="0.4", linestyle=":", label="real images"
    )
    axis.set(xscale="log", yscale="log")
    axis.set_xticks(counts, [str(n) for n in counts])
    axis.xaxis.set_minor_locator(plt.NullLocator())
    axis.set_ylim(0.2, 20)
    axis.legend(fontsize=8, ncols=3, loc="upper center")
    return closed(figure)


def grids(schedule: TableSchedule, chosen: Mapping[str, Tensor]) -> Figure:
    """The log-SNR at which some grids of times stop."""
    figure, (axis,) = curves(r"$\log\,\mathrm{SNR}$", "", height=1.2 + 0.3 * len(chosen))
    for row, times in enumerate(chosen.values()):
        bar = schedule.at(times[:-1])
        axis.plot((bar / (1 - bar)).log(), np.full(len(bar), -row), "|", markersize=14, color=f"C{row}")
    axis.set_yticks([-row for row in range(len(chosen))], list(chosen))
    axis.set_ylim(-len(chosen) + 0.4, 0.6)
    axis.invert_xaxis()
    return closed(figure)


def symptoms(x: Tensor) -> tuple[str, str, str]:
    """The spread of the pixels, the share of grey ones, and the deviation of the pixels within the outermost two rows and columns."""
    border = torch.cat([x[:, :, :2].flatten(), x[:, :, -2:].flatten(), x[..., :2].flatten(), x[..., -2:].flatten()])
    return f"{x.std():.2f}", f"{(x.abs() < 0.8).float().mean():.1%}", f"{border.std():.3f}"
