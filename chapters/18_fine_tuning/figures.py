"""The pictures of chapter 18: corrections of Gaussians' denoisers by rank, first steps by rank and optimiser, and what the ledgers hold."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from course_lib.data.strokes import FIGURES, drawn
from course_lib.diffusion.corrections import Affine, Gaussian, adapted, best_affine, excess
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.schedules import cosine
from course_lib.nets.lora import ATTENTION, LoRA
from course_lib.pages.plotting import box, closed, show_image
from course_lib.recipes.finetuning import LAYERS

__all__ = ["ATTENTION", "LAYERS"]  # the page names them, too
D, TIME = 8, 200
A, B = 0.8, 0.6  # signal and noise
COUNTS = (1, 4, 16, 64)  # ranks
POWERS = {"SGD, alpha / r": -1.0, "SGD, alpha / sqrt r": 0.0, "Adam, alpha / r": 0.0, "Adam, alpha / sqrt r": 0.5}
STYLES = {
    "all weights": "o-",
    "rank 16": "v-",
    "rank 4": "s-",
    "rank 1": "^-",
    "word alone": "d:",
    "rank 4, attention alone": "x--",
}
COLOURS = {name: f"C{number}" for number, name in enumerate(STYLES)}


def data(k: int, seed: int = 0) -> tuple[Gaussian, Gaussian]:
    """Old Gaussian data in D dimensions, and new ones whose covariance differs in k directions, with another mean."""
    draw = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(D, D, generator=draw, dtype=torch.float64))[0]
    variances = 0.8 ** torch.arange(D, dtype=torch.float64)
    old = Gaussian(torch.zeros(D, dtype=torch.float64), axes * variances @ axes.T)
    other = torch.linalg.qr(torch.randn(D, k, generator=draw, dtype=torch.float64))[0]
    more = other * torch.linspace(2.0, 1.0, k, dtype=torch.float64) @ other.T
    return old, Gaussian(torch.full((D,), 0.5, dtype=torch.float64), old.covariance + more)


def learned(old: Gaussian, new: Gaussian, rank: int, steps: int = 400) -> Affine:
    """What gradient steps find: the library's adapter around the old denoiser's matrix, with a bias, on the exact loss."""
    torch.manual_seed(rank)
    start, best, x = best_affine(old, A, B), best_affine(new, A, B), new.noisy(A, B)
    layer = nn.Linear(D, D).double()
    layer.weight.data, layer.bias.data = start.matrix.clone(), start.offset.clone()
    adapter = LoRA(layer, rank)
    layer.bias.requires_grad_(True)
    optimiser = torch.optim.Adam([p for p in adapter.parameters() if p.requires_grad], lr=0.03)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    root = torch.linalg.cholesky(x.covariance)
    points = torch.cat(
        [x.mean + math.sqrt(D) * side * root.T for side in (1, -1)]
    )  # means of squares over them are exact
    target = points @ best.matrix.T + best.offset
    for _ in range(steps):
        optimiser.zero_grad()
        (adapter(points) - target).square().sum(1).mean().backward()
        optimiser.step()
        scheduler.step()
    matrix = (adapter.weight + adapter.update()).detach()
    return Affine(matrix, layer.bias.detach())


def by_rank() -> dict[str, Any]:
    """Excess errors on new and on old data for each rank, for changes in 1, 2 and 4 directions, and what gradient steps found."""
    found: dict[str, Any] = {}
    for k in (1, 2, 4):
        old, new = data(k)
        pairs = [adapted(old, new, A, B, rank) for rank in range(D + 1)]
        found[str(k)] = {
            "new": [float(excess(one, new, A, B)) for one in pairs],
            "old": [float(excess(one, old, A, B)) for one in pairs],
            "untouched": float(excess(best_affine(old, A, B), new, A, B)),
        }
    old, new = data(4)
    found["learned"] = [float(excess(learned(old, new, rank), new, A, B)) for rank in (1, 2, 3)]
    return found


def ranks(found: Mapping[str, Any]) -> Figure:
    """Both errors against the rank; crosses are trained adapters."""
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 2.9))
    for mark, k in zip(("o-", "s-", "^-"), ("1", "2", "4"), strict=True):
        for axis, what in zip(axes, ("new", "old"), strict=True):
            axis.plot(range(D + 1), found[k][what], mark, markersize=4, label=f"change in {k}")
    axes[0].plot((1, 2, 3), found["learned"], "x", color="0.4", markersize=8, label="trained, change in 4")
    axes[0].set(title="new data", xlabel="rank of the correction", ylabel="excess squared error")
    axes[1].set(title="old data (forgetting)", xlabel="rank of the correction")
    axes[0].legend(fontsize=7)
    return closed(figure)


def first_steps(counts: Sequence[int] = COUNTS, n: int = 64) -> dict[str, list[float]]:
    """How far the first step moves the answer to its one example, for scales and optimisers, in units in which rank 1 is near 1."""
    found: dict[str, list[float]] = {}
    for share, name in ((1.0, "alpha / r"), (0.5, "alpha / sqrt r")):
        for optimiser, rate in ((torch.optim.SGD, 1e-3), (torch.optim.Adam, 1e-3)):
            moved = []
            for rank in counts:
                total = 0.0
                for seed in range(24):
                    torch.manual_seed(seed)
                    x, g = torch.randn(n), torch.randn(n)
                    adapter = LoRA(nn.Linear(n, n, bias=False), rank, alpha=rank ** (1 - share))
                    steps = optimiser([adapter.lora_B.weight], lr=rate)
                    before = adapter(x).detach()
                    (adapter(x) @ g).backward()
                    steps.step()
                    total += float(-(adapter(x).detach() - before) @ g / g.norm())
                moved.append(total / 24)
            key = f"{optimiser.__name__}, {name}"
            derived = [count ** POWERS[key] for count in counts]
            unit = sum(value / power for value, power in zip(moved, derived, strict=True)) / len(counts)
            found[key] = [value / unit for value in moved]
    return found


def steps_by_rank(found: Mapping[str, Sequence[float]], counts: Sequence[int] = COUNTS) -> Figure:
    """The first step's length against the rank, measured and as derived."""
    figure, axis = plt.subplots(figsize=(6.8, 2.7))
    for number, (name, values) in enumerate(found.items()):
        line, aside = "--" if number == 2 else "-", 1.06 ** (number - 1.5)  # two of them lie on each other
        axis.plot(counts, [count ** POWERS[name] for count in counts], line, color=f"C{number}", linewidth=1)
        axis.plot(
            [count * aside for count in counts], values, "osD^"[number], color=f"C{number}", markersize=5, label=name
        )
    axis.set(xscale="log", yscale="log", xlabel="rank r", ylabel="first step, rank 1 = 1")
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.xaxis.set_minor_locator(plt.NullLocator())
    axis.legend(fontsize=7)
    return closed(figure)


def bumps() -> tuple[Mixture, Mixture]:
    """Old data of two bumps on the line, and new data of one."""
    one = lambda *values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    old = Mixture(one(0.5, 0.5), one(-1.0, 0.0)[:, None], one(0.02, 0.02)[:, None, None])
    return old, Mixture(one(1.0), one(1.2)[:, None], one(0.02)[:, None, None])


def mixed(share: float) -> Mixture:
    """Both together, with a share of the new."""
    old, new = bumps()
    return Mixture(
        torch.cat([(1 - share) * old.weights, share * new.weights]),
        torch.cat([old.means, new.means]),
        torch.cat([old.covariances, new.covariances]),
    )


def denoisers() -> Figure:
    """The best denoisers of old data, of new, and of both losses together, on the line at one time."""
    schedule, t = cosine(1000), torch.tensor(TIME)
    x = torch.linspace(-2, 2, 200, dtype=torch.float64)[:, None]
    figure, axis = plt.subplots(figsize=(6.8, 2.9))
    parts = {"old data": (bumps()[0], "C0--"), "new data": (bumps()[1], "C1-."), "half of each": (mixed(0.5), "C2-")}
    for name, (mixture, style) in parts.items():
        axis.plot(x[:, 0], ExactDiffusion(mixture, schedule).denoise(x, t)[:, 0], style, label=name)
    axis.set(xlabel="$x_t$", ylabel=r"best guess $\hat x_0$")
    axis.legend(fontsize=8)
    return closed(figure)


def lost(share: float, n: int = 4000) -> tuple[float, float]:
    """How much more error the denoiser of both has on old and on new data than each one's own, at one time, relative to that."""
    schedule, t = cosine(1000), torch.tensor(TIME)
    a, b, draw = float(schedule.signal(t)), float(schedule.noise(t)), torch.Generator().manual_seed(0)
    both, found = ExactDiffusion(mixed(share), schedule), []
    for mixture in bumps():
        x0, _ = mixture.sample(n, draw)
        x = a * x0 + b * torch.randn(x0.shape, generator=draw, dtype=torch.float64)
        errors = [(one.denoise(x, t) - x0).square().mean() for one in (both, ExactDiffusion(mixture, schedule))]
        found.append(float(errors[0] / errors[1] - 1))
    return found[0], found[1]


def pictures(rows: Sequence[str]) -> Tensor:
    """Pictures of 8 x 8 pixels from letters a to q, `(n, 1, 8, 8)` in [-1, 1]."""
    levels = torch.tensor([[ord(letter) - 97 for letter in row] for row in rows])
    return (levels / 8 - 1).view(-1, 1, 8, 8)


def pen(n: int = 12) -> dict[str, Tensor]:
    """Figures of the library's pen, in two sizes, `(n, 1, size, size)` in [-1, 1]."""
    found = {f"{name}, 28 pixels": drawn(name, n, 28, torch.Generator().manual_seed(0)) for name in FIGURES}
    found["heart, 8 pixels"] = drawn("heart", n, 8, torch.Generator().manual_seed(0))
    return {name: images / 127.5 - 1 for name, images in found.items()}


def curves(entry: Mapping[str, Any]) -> Figure:
    """Losses of fresh hearts and of held-out digits against steps, as means over seeds with each seed as a thin line."""
    asked, found = entry["options"]["asked"], entry["curves"]
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 3.0))
    for name, style in STYLES.items():
        for axis, what in zip(axes, ("hearts", "digits"), strict=True):
            seeds = torch.tensor(found[name][what])  # (asked, seeds)
            for seed in seeds.T:
                line = style[-1] if style[-1] in ":-" else "-"
                axis.plot(asked, seed, line, color=COLOURS[name], linewidth=0.4, alpha=0.6)
            axis.plot(asked, seeds.mean(1), style, color=COLOURS[name], markersize=4, label=name)
    axes[0].set(title="fresh hearts", xlabel="steps", ylabel="denoising loss")
    axes[1].set(title="held-out digits", xlabel="steps")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3, fontsize=7)
    return closed(figure)


def trade(entry: Mapping[str, Any]) -> Figure:
    """The path of each way while it learns, in the plane of both losses, as a mean over seeds, with intervals at its end."""
    metrics = entry["metrics"]
    figure, axis = plt.subplots(figsize=(6.8, 3.4))
    for number, name in enumerate(name for name in entry["curves"] if name != "control"):
        paths = [torch.tensor(entry["curves"][name][what]).mean(1)[1:] for what in ("hearts", "digits")]
        new, old = (metrics[f"{name}: loss of {what}"] for what in ("hearts", "digits"))
        spread = [[[one["value"] - one["low"]], [one["high"] - one["value"]]] for one in (new, old)]
        style, color = "--" if "prior" in name else "-", COLOURS[name.removesuffix(", prior")]
        axis.plot(*paths, style, color=color, marker=".", linewidth=1)
        at = new["value"], old["value"], spread[1], spread[0]
        axis.errorbar(*at, fmt="osv^dxP*"[number], color=color, capsize=2, markersize=7, zorder=3, label=name)
    axis.set(xlabel="loss of fresh hearts", ylabel="loss of held-out digits")
    axis.legend(fontsize=7)
    return closed(figure)


def drawn_rows(found: Mapping[str, Mapping[str, Any]], rows: Mapping[str, str]) -> Figure:
    """Rows of pictures that the pipeline drew, by the ledger's names, each row with a name and captions."""
    said = {setting: [fill(text, 12) for text in found[setting]["captions"]] for setting in rows}
    lines = 1 + max(text.count("\n") for texts in said.values() for text in texts)
    figure, axes = plt.subplots(len(rows), 1, figsize=(6.8, (0.9 + 0.12 * lines) * len(rows)), squeeze=False)
    for axis, (setting, name) in zip(axes[:, 0], rows.items(), strict=True):
        sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[setting]["png"]))))
        show_image(axis, sheet)
        axis.text(-0.01, 0.5, name, transform=axis.transAxes, ha="right", va="center", fontsize=7)
        for number, text in enumerate(said[setting]):
            place = (number + 0.5) / len(said[setting])
            axis.text(place, -0.04, text, transform=axis.transAxes, ha="center", va="top", fontsize=7)
    return closed(figure)


def control_curves(entry: Mapping[str, Any]) -> Figure:
    """The loss of held-out digits while the copy learns, with zeros at its exits and without."""
    found, base = entry["curves"]["control"], entry["metrics"]["sketch, base: loss"]["value"]
    figure, axis = plt.subplots(figsize=(6.8, 2.6))
    for name, style in (("ordinary", "s--"), ("zero", "o-")):
        axis.plot(entry["options"]["control asked"], found[name], style, markersize=4, label=f"{name} convolutions")
    axis.axhline(base, color="0.5", linestyle=":", label="the base, no sketch")
    axis.set(xlabel="steps", ylabel="loss of held-out digits")
    axis.legend(fontsize=8)
    return closed(figure)


def control_diagram() -> Figure:
    """The frozen U-Net, its copy, and the zero convolutions between them."""
    figure, axis = plt.subplots(figsize=(6.8, 3.0))
    axis.set(xlim=(0, 10.3), ylim=(-0.2, 4.4))
    axis.set_axis_off()
    for x, y, text, color in (
        (1.0, 3.4, "noisy picture", "0.5"),
        (1.0, 1.0, "sketch", "0.5"),
        (4.0, 3.4, "way down", "C0"),
        (6.4, 3.4, "middle", "C0"),
        (9.2, 3.4, "way up", "C0"),
        (4.0, 1.0, "copy: down", "C1"),
        (6.4, 1.0, "copy: middle", "C1"),
    ):
        box(axis, x, y, text, color, 1.9)
    arrow = {"arrowstyle": "->", "color": "0.5"}
    for (x, y), (to_x, to_y) in (
        ((1.95, 3.4), (3.05, 3.4)),
        ((4.95, 3.4), (5.45, 3.4)),
        ((7.35, 3.4), (8.25, 3.4)),
        ((1.95, 1.0), (3.05, 1.0)),
        ((4.95, 1.0), (5.45, 1.0)),
        ((1.4, 3.1), (3.4, 1.3)),
        ((4.3, 1.3), (8.5, 3.1)),
        ((6.6, 1.3), (9.2, 3.1)),
    ):
        axis.annotate("", (to_x, to_y), (x, y), arrowprops=arrow)
    for x, y in ((2.5, 1.0), (5.93, 2.0), (7.61, 2.0)):
        axis.text(
            x,
            y,
            "0",
            ha="center",
            va="center",
            fontsize=10,
            bbox={"boxstyle": "circle", "fc": "white", "ec": "C3"},
            color="black",
        )
    axis.text(5.2, 4.2, "held", ha="center", color="C0", fontsize=9)
    axis.text(4.7, 0.2, "learns, and so do the zero convolutions", ha="center", color="C1", fontsize=9)
    return closed(figure)
