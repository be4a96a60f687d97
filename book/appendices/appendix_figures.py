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
    axes.set_xlabel("milliseconds")
    plt.close(figure)
    return figure


def ways(metrics: Mapping[str, Any]) -> list[str]:
    """Which ways of running were measured: eager, compiled."""
    return [how for how in ("eager", "compiled") if any(f", {how}, " in key for key in metrics)]


def peers(speeds: Mapping[tuple[str, str], Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Ours beside the faster peer, by image size and processor: a point for each way of training and drawing, and its spread."""
    figure, axes = plt.subplots(figsize=(6.8, 3.4))
    names, row = [], 0
    for (shape, processor), metrics in speeds.items():
        for how in ways(metrics):
            for what, color in (("training", "C0"), ("forward", "C1")):
                found = metrics[f"{what}, {how}, ratio to the faster peer"]
                ends = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
                label = {"training": "training step", "forward": "forward pass"}[what] if row == 0 else None
                axes.errorbar(
                    found["value"],
                    row + (0.12 if what == "forward" else -0.12),
                    xerr=ends,
                    fmt="o",
                    color=color,
                    label=label,
                )
            names.append(f"{shape}, {how}, {processor}")
            row += 1
    axes.axvline(1, color="gray", linewidth=0.8)
    axes.set(
        yticks=range(row), yticklabels=names, xlim=(0, None), xlabel="times as many images a second as the faster peer"
    )
    axes.invert_yaxis()
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)  # above: the line at 1 stays free
    plt.close(figure)
    return figure
