"""The pictures of the page on shapes in space."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.data.shadows import SIDES
from course_lib.data.shapes import KINDS, SCALE
from course_lib.diffusion.distillation import distilled
from course_lib.diffusion.exact import ExactDiffusion, three_bumps
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import cosine
from course_lib.pages.plotting import closed, shades
from course_lib.sampling.guidance import extrapolated
from course_lib.training.coupling import matched

PROCESS = GaussianDiffusion(cosine(1000))


def from_text(texts: Sequence[str]) -> Tensor:
    """Clouds `(n, points, 3)` as the ledger keeps them."""
    return torch.tensor([[float(x) for x in one.split()] for one in texts]).unflatten(1, (-1, 3))


def from_hex(texts: Sequence[str]) -> Tensor:
    """Pictures `(n, 28, 28)` in [0, 1] as the ledger keeps them."""
    return torch.tensor([[int(v, 16) / 15 for v in one] for one in texts]).unflatten(1, (28, 28))


def seen_from(points: Tensor, turn: float, lift: float) -> np.ndarray:
    """Points `(n, 3)`, the third coordinate upright, from afar: across, up and depth (small is near), `(n, 3)`."""
    turned, lifted = np.radians(turn), np.radians(lift)
    x, y, z = points.numpy().T
    across, away = x * np.cos(turned) - y * np.sin(turned), x * np.sin(turned) + y * np.cos(turned)
    return np.stack([across, z * np.cos(lifted) + away * np.sin(lifted), away * np.cos(lifted) - z * np.sin(lifted)], 1)


def dots(axis: Axes, points: Tensor, size: float, turn: float, lift: float) -> None:
    """Points `(n, 3)` as dots, those near us dark and drawn last."""
    seen = seen_from(points, turn, lift)
    seen = seen[np.argsort(-seen[:, 2])]
    axis.scatter(seen[:, 0], seen[:, 1], s=size, c=seen[:, 2], cmap="viridis", linewidths=0)
    axis.set_aspect("equal")
    axis.set_axis_off()


def broadside(points: Tensor) -> float:
    """The angle in degrees by which to turn points `(n, 3)` about the vertical so that their broadest side faces us."""
    flat = points[:, :2] - points[:, :2].mean(0)
    axis = torch.linalg.eigh(flat.T @ flat)[1][:, -1]
    return float(torch.rad2deg(torch.atan2(-axis[1], axis[0])))


def show_clouds(groups: Mapping[str, Tensor], each: int = 2) -> Figure:
    """Clouds by name, in columns: of each kind the first few, for clouds `(kinds * m, points, 3)` in the order of their kinds."""
    figure, axes = plt.subplots(len(KINDS) * each, len(groups), figsize=(6.8, 1.15 * len(KINDS) * each), layout="none")
    for column, (name, points) in enumerate(groups.items()):
        for kind, rows in enumerate(points.chunk(len(KINDS))):
            for k in range(each):
                axis = axes[kind * each + k, column]
                dots(axis, rows[k], 7, broadside(rows[k]), 15)
                axis.set(xlim=(-SCALE, SCALE), ylim=(-0.85 * SCALE, 0.85 * SCALE))
        axes[0, column].set_title(name, fontsize=9)
    figure.subplots_adjust(0, 0, 1, 0.95, 0, 0)
    return closed(figure)


def moved_points(first: Tensor, second: Tensor) -> float:
    """The mean squared way of the cheapest matching of two clouds' points `(n, 3)`, each used once: the earth mover's distance."""
    return float((first - matched(first, second)).square().sum(1).mean())


def particles(n: int = 100, steps: int = 150) -> dict[str, Tensor]:
    """Samples of three bumps, and where points `(n, 2)` come to by score distillation: at all times, at early ones, guided."""
    exact, generator = ExactDiffusion(three_bumps(), PROCESS.schedule), torch.Generator().manual_seed(0)
    start = 1.5 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    found = {
        "samples": three_bumps().sample(n, generator)[0],
        "all times": distilled(exact.denoise, PROCESS, start, steps, generator),
        "early times": distilled(exact.denoise, PROCESS, start, steps, generator, highest=0.25),
    }
    one = exact.conditional(1)
    for scale in (1.0, 3.0, 8.0):
        denoise = extrapolated(one.denoise, exact.denoise, scale)
        found[f"scale {scale:g}"] = distilled(denoise, PROCESS, start[:40], steps, generator)
    return found


def spread_of(points: Tensor) -> float:
    """The standard deviation of points `(n, 2)` around the mean of those that share their nearest bump, in the mean over the bumps."""
    nearest = torch.cdist(points, three_bumps().means).argmin(1)
    return float(torch.stack([points[nearest == k].std(0).mean() for k in range(3)]).mean())


def show_particles(found: Mapping[str, Tensor]) -> Figure:
    """Four panels: samples, distilled points at all and at early times, and points guided to one bump at three scales."""
    names = ("samples", "all times", "early times", "guided")
    figure, axes = plt.subplots(1, 4, figsize=(6.8, 2.0), sharex=True, sharey=True)
    ticks = torch.linspace(-4, 4, 81, dtype=torch.float64)
    logs = ExactDiffusion(three_bumps(), PROCESS.schedule).log_prob(torch.cartesian_prod(ticks, ticks), torch.tensor(0))
    for axis, name in zip(axes, names, strict=True):
        axis.contourf(ticks, ticks, logs.exp().view(81, 81).T, levels=8, cmap=shades("0.5", 0.6))
        axis.set(title=name, xlim=(-2.0, 4.6), ylim=(-3.6, 2.1), aspect="equal")
        axis.title.set_fontsize(9)
        axis.grid(False)
        if name in found:
            axis.scatter(*found[name].T, s=5 if name == "samples" else 14, color="C0", alpha=0.5, linewidths=0)
    for scale, mark, color in ((1, "o", "C0"), (3, "s", "C1"), (8, "^", "C2")):
        axes[3].scatter(
            *found[f"scale {scale}"].T, s=14, marker=mark, color=color, linewidths=0, label=f"scale {scale}"
        )
    axes[3].legend(fontsize=7, loc="lower left")
    return closed(figure)


def show_shadows(rows: Mapping[str, Tensor], titles: Sequence[str] = (), gap: int = 3) -> Figure:
    """Rows of pictures `(n, 28, 28)` in [0, 1] by name, white on black; after every third a gap."""
    count = len(next(iter(rows.values())))
    ratios = [1.25 if k % gap == gap - 1 and k < count - 1 else 1.0 for k in range(count)]
    size = min(1.0, 5.7 / sum(ratios))  # inches of a picture
    figure, axes = plt.subplots(
        len(rows),
        count,
        figsize=(1.1 + size * sum(ratios), size * len(rows) + 0.25),
        layout="none",
        squeeze=False,
        width_ratios=ratios,
    )
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
            axis.set_axis_off()
            axis.set_anchor("W")
        line[0].text(-0.1, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=8)
    figure.subplots_adjust(1.1 / (1.1 + size * sum(ratios)), 0.01, 1, 0.92, 0.04, 0.06)
    return closed(figure)


def show_block(density: Tensor, turns: Sequence[float] = (0, 25, 50, 75, 90), least: float = 0.15) -> Figure:
    """The voxels `(28, 28, 28)`, (y down, x, z), that are denser than `least`, from angles between front and side, and from above."""
    y, x, z = (density > least).nonzero().T.float()
    points = torch.stack([x - 13.5, z - 13.5, 13.5 - y], 1)
    figure, axes = plt.subplots(1, len(turns) + 1, figsize=(6.8, 1.5), layout="none")
    views = [(turn, 0.0 if turn in (0, 90) else 12.0) for turn in turns]
    names = ["front" if turn == 0 else "side" if turn == 90 else f"{turn:g} degrees" for turn in turns]
    for axis, (turn, lift), name in zip(axes, [*views, (0.0, -90.0)], [*names, "top"], strict=True):
        dots(axis, points, 5, -turn, lift)
        axis.set(xlim=(-20, 20), ylim=(-20, 20), title=name)
        axis.title.set_fontsize(8)
    figure.subplots_adjust(0, 0, 1, 0.88, 0, 0)
    return closed(figure)


def control(eps: Tensor, noise: Tensor) -> dict[str, float]:
    """Guesses at noise, and the noise, `(draws, n, ...)`: the variance a pixel over draws, alone, less it, and less its best part."""

    def spread(values: Tensor) -> float:
        return float(values.var(0).mean())

    share = float(((eps - eps.mean(0)) * (noise - noise.mean(0))).sum() / (noise - noise.mean(0)).square().sum())
    return {"alone": spread(eps), "less": spread(eps - noise), "best": spread(eps - share * noise), "share": share}


def asked_for(digits: Sequence[Sequence[int]]) -> list[str]:
    """Titles over the shadows of blocks."""
    return [f"{side} {digit}" for block in digits for side, digit in zip(SIDES, block, strict=True)]
