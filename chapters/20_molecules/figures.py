"""The pictures of the page on molecules."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import i0e, i1e

from course_lib.data.molecules import RADII, SYMBOLS, Molecules, orders, valid
from course_lib.pages.plotting import closed

COLOURS = {"H": "0.85", "C": "0.35", "N": "C0", "O": "C1"}  # each atom bears its letter, too
NAMES = {
    "OO": "hydrogen peroxide",
    "NO": "hydroxylamine",
    "NN": "hydrazine",
    "CO": "methanol",
    "CN": "methylamine",
    "OCO": "methanediol",
    "COO": "methyl hydroperoxide",
}
CONTESTANTS = ("Gaussian of each formula", "plain", "plain, turned", "equivariant")
FLAT = np.array([-1.3 - 0.5j, -0.2 + 0.35j, 1.1 - 0.25j, 0.4 + 0.4j]) * 0.9
FLAT = FLAT - FLAT.mean()  # a flat molecule of four atoms, as complex numbers


def read(texts: Sequence[str]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Molecules `(N, 3)` and `(N,)` from the ledger's texts."""
    found = []
    for text in texts:
        words = text.split()
        atoms = torch.tensor([SYMBOLS.index(word) for word in words[::4]])
        places = torch.tensor([[float(x) for x in words[k + 1 : k + 4]] for k in range(0, len(words), 4)])
        found.append((places, atoms))
    return found


def ball_and_stick(axis: Axes, places: torch.Tensor, atoms: torch.Tensor, title: str = "", share: float = 1.0) -> None:
    """One molecule `(N, 3)`, `(N,)`, seen from where it is broadest: atoms as balls with their letters, bonds as sticks.

    `share` says how large balls and letters are.
    """
    points = places - places.mean(0)
    seen = (points @ torch.linalg.svd(points)[2].T).numpy()  # the third axis is the depth
    bonded = orders(places[None], atoms[None])[0].clamp(max=3)
    for i, j in (bonded.triu() > 0).nonzero().tolist():
        axis.plot(
            *seen[[i, j], :2].T,
            color="0.6",
            linewidth=2.5 * share * int(bonded[i, j]),
            zorder=1,
            solid_capstyle="round",
        )
    for rank, k in enumerate(seen[:, 2].argsort()):
        letter = SYMBOLS[int(atoms[k])]
        size = share * (60 + 300 * float(RADII[atoms[k]]))
        axis.scatter(
            *seen[k, :2], s=size, color=COLOURS[letter], edgecolor="0.2", linewidth=0.6, zorder=2 + rank, clip_on=False
        )
        axis.text(
            seen[k, 0],
            seen[k, 1],
            letter,
            ha="center",
            va="center",
            fontsize=max(6.5, 7 * share**0.5),
            color="white" if letter == "C" else "black",
            zorder=2 + rank,
        )
    axis.set(aspect="equal", xlim=(-2.6, 2.6), ylim=(-1.7, 1.7))
    axis.set_title(title, fontsize=7.5)
    axis.set_axis_off()


def show_world(made: Molecules, words: Sequence[str]) -> Figure:
    """One molecule of each word."""
    figure, axes = plt.subplots(2, 4, figsize=(6.8, 2.6))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (word, name) in zip(axes.flat, NAMES.items(), strict=False):
        k = words.index(word)
        there = made.atoms[k] > 0
        ball_and_stick(axis, made.places[k][there], made.atoms[k][there], name)
    return closed(figure)


def show_drawn(examples: Mapping[str, Sequence[str]], names: Sequence[str], n: int = 6) -> Figure:
    """n molecules of each network, a row each, all of the same formulas; those against the rules are marked."""
    figure, axes = plt.subplots(len(names), n, figsize=(6.8, 1.1 * len(names)))
    for row, name in zip(axes, names, strict=True):
        for axis, (places, atoms) in zip(row, read(examples[name][:n]), strict=True):
            right = bool(valid(places[None], atoms[None])[0])
            ball_and_stick(axis, places, atoms, "" if right else "×", 0.55)
        row[0].text(
            -0.15, 0.5, name.replace(", ", ",\n"), transform=row[0].transAxes, ha="right", va="center", fontsize=8
        )
    return closed(figure)


def aligned(x: Any, y: Any, a: float, b: float) -> Any:
    """The best denoiser of one flat molecule y in an unknown pose: y turned as the noisy x says, and shrunk."""
    z = (y.conj() * x).sum()
    k = a * abs(z) / b**2
    return i1e(k) / i0e(k) * z / abs(z) * y


def show_planar(seed: int = 4) -> Figure:
    """How much is left of the answer against the noise, and noisy molecules with their answers at three noises."""
    figure, axes = plt.subplots(1, 4, figsize=(6.8, 2.0), width_ratios=(1.5, 1, 1, 1))
    b = np.linspace(0.05, 0.999, 200)
    a = np.sqrt(1 - b**2)
    for size, style in ((1.0, "-."), (4.0, "--"), (16.0, "-")):
        k = a**2 * size / b**2  # of a noisy molecule that is where its mean is
        axes[0].plot(b, i1e(k) / i0e(k), style, label=f"{size:g}")
    axes[0].set(xlabel="noise b", ylabel="length of the answer", ylim=(0, 1.05))
    axes[0].legend(title="squared size", fontsize=7, title_fontsize=7)
    rng = np.random.default_rng(seed)
    noise, turn = rng.normal(size=(4, 2)) @ np.array([1, 1j]), np.exp(2j)
    noise = noise - noise.mean()
    for axis, level in zip(axes[1:], (0.97, 0.8, 0.3), strict=True):
        x = (1 - level**2) ** 0.5 * turn * FLAT + level * noise
        answer = aligned(x, FLAT, (1 - level**2) ** 0.5, level)
        axis.plot(x.real, x.imag, "o", color="C1", markersize=4, markerfacecolor="none", label="noisy")
        axis.plot(answer.real, answer.imag, "o-", color="C0", markersize=4, label="answer")
        axis.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), aspect="equal", xticks=(), yticks=())
        axis.set_title(f"b = {level:g}", fontsize=8)
    axes[1].legend(fontsize=7, loc="lower left")
    return closed(figure)


def show_valid(settings: Mapping[str, Mapping[str, Mapping[str, float]]], floor: float) -> Figure:
    """Shares of valid molecules with intervals, and the lowest and highest training as thin lines; what real ones reach is dashed."""
    figure, axis = plt.subplots(figsize=(6.8, 1.9))
    for row, name in enumerate(CONTESTANTS):
        found, seeds = settings[name]["valid"], settings[name]["valid over seeds"]
        error = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
        axis.plot([seeds["low"], seeds["high"]], [row, row], color="0.6", linewidth=6, alpha=0.5, solid_capstyle="butt")
        axis.errorbar(found["value"], row, xerr=error, fmt="o", color="C0", capsize=3)
    axis.axvline(floor, color="C2", linestyle="--", label="new molecules of the world")
    axis.set_yticks(range(len(CONTESTANTS)), CONTESTANTS)
    axis.set(xlabel="share of drawings that are molecules", xlim=(-0.02, 1.04), ylim=(-0.6, len(CONTESTANTS) - 0.4))
    axis.legend(fontsize=8, loc="lower right", bbox_to_anchor=(0.95, 0))
    return closed(figure)
