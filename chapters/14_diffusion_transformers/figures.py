"""The pictures of chapter 14: what transformers cost, how four blocks are told, what wakes first, and what was measured."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor, nn

from course_lib.data import sets
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import V
from course_lib.diffusion.schedules import cosine
from course_lib.nets.dit import CONDITIONINGS, DiT, block_flops
from course_lib.nets.embeddings import position_embedding
from course_lib.nets.transformers import TokenAttention, perceptron
from course_lib.pages.plotting import as_pictures, closed, curves, shades, show_image

# Table 4 of Peebles and Xie (2023): FID-50K after 400,000 steps, ImageNet at 256 pixels, no guidance; their "Gflops" are multiplications.
PAPER = {
    "S/8": (0.36, 153.60),
    "S/4": (1.41, 100.41),
    "S/2": (6.06, 68.40),
    "B/8": (1.42, 122.74),
    "B/4": (5.56, 68.38),
    "B/2": (23.01, 43.47),
    "L/8": (5.01, 118.87),
    "L/4": (19.70, 45.64),
    "L/2": (80.71, 23.33),
    "XL/8": (7.39, 106.41),
    "XL/4": (29.05, 43.01),
    "XL/2": (118.64, 19.47),
}
PAPER_SIZES = {"S": (12, 384), "B": (12, 768), "L": (24, 1024), "XL": (28, 1152)}  # blocks and width
PAPER_BLOCKS = {  # of XL/2: billions of multiplications, millions of weights, FID
    "in-context": (119.37, 449, 35.24),
    "cross-attention": (137.62, 598, 26.14),
    "adaln": (118.56, 600, 25.21),
    "adaln-zero": (118.64, 675, 19.47),
}
MARKS = {8: "o", 7: "o", 4: "s", 2: "^"}
COLOURS = {8: "C0", 7: "C0", 4: "C1", 2: "C2"}
KINDS = {"loss": "loss", "frechet distance": "Fréchet distance"}
GROUPS = ("last layer", "gates", "shift and scale", "attention", "perceptron", "first layer", "time and class")


def paper() -> Figure:
    """The paper's FID against its operations, one mark for each patch."""
    figure, (axis,) = curves("billions of multiplications, one image", "FID of 50,000 images", height=3.4)
    for patch in (8, 4, 2):
        names = [name for name in PAPER if name.endswith(f"/{patch}")]
        gflop, fid = zip(*(PAPER[name] for name in names), strict=True)
        axis.plot(gflop, fid, MARKS[patch] + "-", color=COLOURS[patch], label=f"patches of {patch}", linewidth=0.8)
        for name in names:
            axis.annotate(
                name, PAPER[name], textcoords="offset points", xytext=(-8, -14) if patch == 4 else (5, 5), fontsize=8
            )
    axis.set(xscale="log", ylim=(0, 170))
    axis.legend()
    return closed(figure)


def cut(picture: Tensor, patches: Sequence[int] = (7, 4, 2)) -> Figure:
    """One picture `(1, 1, H, W)` and the same with the borders of its patches, for some sizes."""
    figure, axes = plt.subplots(1, len(patches) + 1, figsize=(6.8, 2.0))
    (pixels,) = as_pictures(picture)
    side = pixels.shape[0]
    show_image(axes[0], pixels, "the picture")
    for axis, patch in zip(axes[1:], patches, strict=True):
        show_image(axis, pixels, f"P = {patch}: {(side // patch) ** 2} tokens")
        for place in range(0, side + 1, patch):
            axis.plot([place - 0.5, place - 0.5], [-0.5, side - 0.5], color="C4", linewidth=0.7)
            axis.plot([-0.5, side - 0.5], [place - 0.5, place - 0.5], color="C4", linewidth=0.7)
    return closed(figure)


def codes(side: int = 14, width: int = 96, places: Sequence[tuple[int, int]] = ((3, 4), (10, 9))) -> Figure:
    """How alike the sinusoids of some places are to those of all places of a grid."""
    code = position_embedding(torch.zeros(1, width, side, side))
    figure, axes = plt.subplots(1, len(places), figsize=(6.0, 2.7))
    for axis, (row, column) in zip(axes, places, strict=True):
        alike = torch.einsum("cij,c->ij", code, code[:, row, column]) / (width / 2)
        shown = axis.imshow(alike, cmap=shades("C0"), vmin=0.5, vmax=1)
        axis.plot(column, row, "+", color="C1", markersize=9)
        axis.set(title=f"row {row}, column {column}", xticks=[], yticks=[])
        axis.grid(visible=False)
        figure.colorbar(shown, ax=axis, shrink=0.85)
    return closed(figure)


def cost(widths: Sequence[int] = (64, 1152)) -> Figure:
    """The operations of a block's layers and of its attention against the number of tokens."""
    figure, axes = curves("tokens", "operations of one block", columns=len(widths))
    tokens = np.geomspace(8, 20_000, 100)
    for axis, width in zip(axes, widths, strict=True):
        axis.loglog(tokens, 24 * tokens * width**2, label="linear layers")
        axis.loglog(tokens, 4 * tokens**2 * width, "--", label="attention's products")
        axis.loglog(tokens, np.full_like(tokens, 12 * width**2), ":", label="condition (adaLN-Zero)")
        axis.axvline(6 * width, color="0.5", linewidth=0.8)
        axis.set(title=f"width {width}")
    axes[1].legend(fontsize=8)
    axes[1].set_ylabel("")
    return closed(figure)


def box(
    axis: Axes, x: float, y: float, text: str, color: str = "0.4", width: float = 1.5, height: float = 0.42
) -> None:
    """A box of a diagram with its text."""
    axis.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.03", facecolor="none", edgecolor=color
        )
    )
    axis.text(x, y, text, ha="center", va="center", fontsize=8)


def arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], color: str = "0.4", bend: float = 0.0
) -> None:
    """An arrow of a diagram."""
    axis.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=9, color=color, connectionstyle=f"arc3,rad={bend}", linewidth=1
        )
    )


def architecture() -> Figure:
    """From the noisy picture to the prediction, and where time and class enter."""
    figure, axis = plt.subplots(figsize=(6.8, 2.6))
    names = ("$x_t$", "patchify", "linear", "+ positions", "L blocks", "norm", "linear", "unpatchify", "$v_\\theta$")
    places = np.linspace(0, 10.4, len(names))
    for place, name in zip(places, names, strict=True):
        framed = not name.startswith("$")
        if framed:
            box(axis, place, 0, name, "C0" if "blocks" in name else "0.4", width=1.1)
        else:
            axis.text(place, 0, name, ha="center", va="center", fontsize=11)
    for left, right in pairwise(places):
        arrow(axis, (left + 0.57, 0), (right - 0.57, 0))
    box(axis, places[4], 1.3, "embed $t$ and $y$", "C1", width=1.8)
    axis.text(places[4] - 2.2, 1.3, "$t,\\ y$", ha="center", va="center", fontsize=11)
    arrow(axis, (places[4] - 1.85, 1.3), (places[4] - 0.95, 1.3), "C1")
    for place in (places[4], places[5]):
        arrow(axis, (places[4] + (0.3 if place > places[4] else 0), 1.06), (place, 0.27), "C1")
    arrow(axis, (places[0], -0.3), (places[8], -0.3), "C2", bend=0.12)
    axis.text(5.2, -1.18, "the input itself, as much as time and class say", ha="center", fontsize=8, color="C2")
    axis.set(xlim=(-0.6, 11), ylim=(-1.4, 1.7))
    axis.set_axis_off()
    return closed(figure)


def blocks() -> Figure:
    """The four blocks side by side, from the tokens below to the tokens above."""
    figure, axes = plt.subplots(1, 4, figsize=(6.8, 4.0))
    titles = ("in-context", "cross-attention", "adaLN", "adaLN-Zero")
    stacks = (
        ("norm", "attention", "+", "norm", "perceptron", "+"),
        ("norm", "attention", "+", "cross-attention", "+", "norm", "perceptron", "+"),
        ("norm, scale, shift", "attention", "+", "norm, scale, shift", "perceptron", "+"),
        ("norm, scale, shift", "attention", "gate", "+", "norm, scale, shift", "perceptron", "gate", "+"),
    )
    for axis, title, stack in zip(axes, titles, stacks, strict=True):
        heights = np.linspace(0.7, 6.6, len(stack))
        axis.text(0, -0.05, "tokens, $t$, $y$" if title == "in-context" else "tokens", ha="center", fontsize=8)
        before, last = 0.15, 0.3
        for height, name in zip(heights, stack, strict=True):
            told = name in ("cross-attention", "gate") or "scale" in name
            if name == "+":
                axis.text(0, height, "$\\oplus$", ha="center", va="center", fontsize=12)
                axis.plot([0, -1.15, -1.15], [last, last, height], color="0.6", linewidth=1)
                arrow(axis, (-1.15, height), (-0.1, height), "0.6")
                last = height + 0.3
            else:
                box(axis, 0, height, name, "C1" if told else "0.4", width=1.9)
            arrow(axis, (0, before), (0, height - 0.24))
            if told:
                arrow(axis, (1.55, height), (1.0, height), "C1")
                axis.text(1.7, height, "$c$", color="C1", ha="center", va="center", fontsize=9)
            before = height + 0.24
        arrow(axis, (0, before), (0, 7.3))
        axis.set(xlim=(-1.3, 1.85), ylim=(-0.3, 7.4), title=title)
        axis.set_axis_off()
    return closed(figure)


def group_of(name: str) -> str:
    """Which row of the picture a weight belongs to; the modulation of a block is divided later."""
    for part, group in (("blocks", ""), ("last", "last layer"), ("input_gain", "last layer"), ("first", "first layer")):
        if name.startswith(part) and group:
            return group
    if name.startswith("condition"):
        return "time and class"
    if name.startswith("modulation"):
        return "shift and scale"
    return "attention" if "attention" in name else "perceptron"


def gradient_norms(network: nn.Module, width: int) -> dict[str, float]:
    """The norm of the gradient in each group of weights; gates and shifts share a layer and are told apart here."""
    squares: dict[str, float] = dict.fromkeys(GROUPS, 0.0)
    for name, parameter in network.named_parameters():
        if parameter.grad is None:
            continue
        if name.startswith("blocks") and "modulation" in name:
            for place, rows in enumerate(parameter.grad.split(width)):
                gate = len(parameter.grad) == 6 * width and place in (2, 5)
                squares["gates" if gate else "shift and scale"] += float(rows.square().sum())
        else:
            squares[group_of(name)] += float(parameter.grad.square().sum())
    return {group: square**0.5 for group, square in squares.items()}


def waking(conditioning: str, steps: int = 6, width: int = 32) -> list[dict[str, float]]:
    """The norms of the gradients before each of a few steps of training a small transformer on the 8 x 8 digits."""
    torch.manual_seed(0)
    network = DiT(width=width, depth=4, classes=10, conditioning=conditioning)
    (images, labels), _ = sets.split_labelled_digits()
    images, process = images.float(), GaussianDiffusion(cosine())
    optimizer, draw, found = torch.optim.Adam(network.parameters(), 1e-3), torch.Generator().manual_seed(0), []
    for _ in range(steps):
        rows = torch.randint(0, len(images), (128,), generator=draw)
        t = torch.randint(1, 1001, (128,), generator=draw)
        noise = torch.randn(images[rows].shape, generator=draw)
        optimizer.zero_grad()
        denoising_loss(network, images[rows], t, noise, process, V, labels[rows]).mean().backward()
        found.append(gradient_norms(network, width))
        optimizer.step()
    return found


def wakes(found: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """For some networks: which group of weights has which gradient before which step; what is 0 is left white."""
    figure, axes = plt.subplots(1, len(found), figsize=(6.8, 3.0), sharey=True)
    for axis, (title, steps) in zip(axes, found.items(), strict=True):
        norms = np.array([[step[group] for step in steps] for group in GROUPS])
        with np.errstate(divide="ignore"):
            logs = np.where(norms > 0, np.log10(np.maximum(norms, 1e-9)), np.nan)
        axis.imshow(logs, cmap=shades("C0"), vmin=-5, vmax=0, aspect="auto")
        for (row, column), value in np.ndenumerate(norms):
            written = "0" if value == 0 else f"{value:.0e}".replace("e-0", "e-").replace("e+00", "")
            axis.text(column, row, written, ha="center", va="center", fontsize=7)
        axis.set_yticks(range(len(GROUPS)), GROUPS)
        axis.set(title=title, xlabel="steps taken", xticks=range(len(steps)))
        axis.grid(visible=False)
    return closed(figure)


NAMES = {"adaln": "adaLN", "adaln-zero": "adaLN-Zero"}  # as the paper writes them


def through_blocks(
    conditioning: str, depth: int = 28, width: int = 64, tokens: int = 49
) -> tuple[list[float], list[float]]:
    """The root mean square of the tokens after each untrained block, and of the gradient there, for one of size 1 at the end."""
    torch.manual_seed(1)
    layers = [
        CONDITIONINGS[conditioning](width, width, TokenAttention(width), perceptron(width, 4 * width))
        for _ in range(depth)
    ]
    states = [torch.randn(2, tokens, width).requires_grad_()]
    told = torch.randn(2, 2, width)
    for layer in layers:
        states.append(layer(states[-1], told))
        states[-1].retain_grad()
    gradient = torch.randn(states[-1].shape)
    states[-1].backward(gradient / gradient.square().mean().sqrt())
    size = lambda x: float(x.detach().square().mean().sqrt())  # noqa: E731
    return [size(state) for state in states], [size(state.grad) for state in states]  # type: ignore[arg-type]


def deep(found: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """How large tokens and gradients are at each depth of untrained transformers."""
    figure, axes = curves("blocks passed", "root mean square", columns=2, height=2.9)
    for number, (name, sizes) in enumerate(found.items()):
        for axis, values in zip(axes, sizes, strict=True):
            axis.plot(values, ("-", "--", "-.", ":")[number], color=f"C{number}", label=NAMES.get(name, name))
    axes[0].set_title("tokens, from the first block on")
    axes[1].set(title="gradient, from the last block back", ylabel="")
    axes[0].legend(fontsize=8)
    return closed(figure)


def ladder(metrics: Mapping[str, Mapping[str, float]], floor: Mapping[str, float]) -> Figure:
    """Loss and distance of the measured networks against their operations, at equal steps and at equal operations of training."""
    figure, axes = plt.subplots(2, 2, figsize=(6.8, 5.6), sharex=True)
    for column, (group, title) in enumerate((("steps", "equal steps"), ("operations", "equal operations of training"))):
        settings = sorted({key.rsplit(": ", 1)[0] for key in metrics if key.startswith(f"{group}, ")})
        for row, kind in enumerate(("loss", "frechet distance")):
            axis = axes[row, column]
            for setting in settings:
                name = setting.split(", ")[1]
                x, found = metrics[f"{setting}: operations"]["value"], metrics[f"{setting}: {kind}"]
                patch = int(name.split()[1].split("/")[0]) if name.startswith("DiT") else 0
                axis.errorbar(
                    x,
                    found["value"],
                    [[found["value"] - found["low"]], [found["high"] - found["value"]]],
                    fmt=MARKS.get(patch, "D"),
                    color=COLOURS.get(patch, "C3"),
                    markersize=5,
                    capsize=2,
                    linewidth=0.8,
                )
            axis.set(xscale="log", yscale="linear" if kind == "loss" else "log")
            axis.set_ylabel(KINDS[kind] if column == 0 else "")
        axes[1, column].axhspan(floor["low"], floor["high"], color="0.5", alpha=0.3)
        axes[0, column].set_title(title)
        axes[1, column].set_xlabel("operations of a forward pass")
    names = {
        **{f"DiT, patches of {patch}": (MARKS[patch], COLOURS[patch]) for patch in (7, 4, 2)},
        "U-Net": ("D", "C3"),
    }
    for label, (mark, color) in names.items():
        axes[0, 0].plot([], [], mark, color=color, label=label)
    axes[0, 0].legend(fontsize=8)
    return closed(figure)


def differences(found: Mapping[str, Mapping[str, float]], first: str) -> Figure:
    """For each name of a group: how far its loss and distance lie from those of `first`, with two standard errors over the seeds."""
    apart = [key for key in found if f" - {first}: loss" in key]
    names = [key.split(", ", 1)[1].split(" - ")[0] for key in apart]
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 0.42 * len(names) + 1.3), sharey=True)
    for axis, kind in zip(axes, ("loss", "frechet distance"), strict=True):
        rows = [found[key.replace(": loss", f": {kind}")] for key in apart]
        axis.errorbar(
            [row["value"] for row in rows],
            range(len(rows)),
            xerr=[2 * row["error"] for row in rows],
            fmt="o",
            capsize=3,
        )
        axis.axvline(0, color="0.4", linewidth=0.8)
        axis.set(xlabel=f"difference in the {KINDS[kind]}", ylim=(-0.6, len(rows) - 0.4))
        axis.locator_params(axis="x", nbins=4)  # five labels of four decimals would touch
    axes[0].set_yticks(range(len(names)), [NAMES.get(name, name) for name in names])
    return closed(figure)


def share_of_attention(tokens: int, width: int) -> float:
    """The part of a block's operations that attention's two products have."""
    return 4 * tokens**2 * width / block_flops(tokens, width, 4 * width)
