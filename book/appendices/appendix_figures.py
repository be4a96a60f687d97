"""The pictures of the appendices: pure functions of entries of the ledger."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

LIBRARIES = ("course_lib", "diffusers", "denoising-diffusion-pytorch")


def operators(metrics: Mapping[str, Mapping[str, float]]) -> Figure:
    """Horizontal bars of milliseconds, the longest at the top, each with its spread."""
    names = sorted(metrics, key=lambda name: metrics[name]["value"])
    values = np.array([metrics[name]["value"] for name in names])
    ends = np.array([[metrics[name][end] for name in names] for end in ("low", "high")])
    figure, axes = plt.subplots(figsize=(6.8, 4.2))
    colors = ["C1" if name.startswith("convolution") else "C0" for name in names]
    axes.barh([name.removesuffix(", ms") for name in names], values, xerr=np.abs(ends - values), color=colors)
    axes.set_xlabel("milliseconds, forward and backward")
    plt.close(figure)
    return figure


def ways(metrics: Mapping[str, Any]) -> list[str]:
    """Which ways of running were measured: eager, compiled."""
    return [how for how in ("eager", "compiled") if any(f", {how}, " in key for key in metrics)]


def peers(shapes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Images a second of each library: one panel for training and one for forward passes, one group of bars a size and a way to run."""
    figure, panels = plt.subplots(2, 1, figsize=(6.8, 6.0), sharex=False)
    groups = [(shape, how) for shape, metrics in shapes.items() for how in ways(metrics)]
    for axes, what in zip(panels, ("training", "forward"), strict=True):
        for i, name in enumerate(LIBRARIES):
            found = [shapes[shape][f"{what}, {how}, {name}, images/s"] for shape, how in groups]
            values = np.array([each["value"] for each in found])
            ends = np.array([[each[end] for each in found] for end in ("low", "high")])
            axes.bar(np.arange(len(groups)) + 0.27 * (i - 1), values, 0.25, yerr=np.abs(ends - values), label=name)
        axes.set(xticks=range(len(groups)), xticklabels=[f"{shape}\n{how}" for shape, how in groups])
        axes.set(ylabel="images/s", title={"training": "Training", "forward": "Forward passes"}[what])
    panels[0].legend()
    figure.tight_layout()
    plt.close(figure)
    return figure
