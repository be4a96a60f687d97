"""The pictures of chapter 15's page on Palette: pure functions, one question each."""

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from course_lib.data.degradations import DEGRADATIONS
from course_lib.data.sets import photographs
from course_lib.diffusion.measurements import leaning_bumps, posterior
from course_lib.pages.plotting import closed, rows

DOUBLE = torch.float64
SIDES = (-2.2, 2.2)


def answers(n: int = 600, noise: float = 0.02) -> Figure:
    """Data; for each first coordinate the mean of the second; and a draw of the second."""
    mixture, generator = leaning_bumps(), torch.Generator().manual_seed(0)
    data, _ = mixture.sample(n, generator)
    first = torch.tensor([[1.0, 0.0]], dtype=DOUBLE)
    after = [posterior(mixture, first, point[:1], noise) for point in data]
    means = torch.stack([one.mean() for one in after])
    draws = torch.cat([one.sample(1, generator)[0] for one in after])
    figure, axes = plt.subplots(1, 3, figsize=(6.8, 2.5), sharex=True, sharey=True)
    for axis, points, title in zip(axes, (data, means, draws), ("data", "mean", "draw"), strict=True):
        axis.scatter(points[:, 0], points[:, 1], s=3, linewidths=0)
        axis.set(title=title, xlabel="first coordinate", xlim=SIDES, ylim=SIDES, aspect="equal")
    axes[0].set_ylabel("second coordinate")
    return closed(figure)


def tasks(size: int = 32) -> Figure:
    """Two photographs, and what each of the four losses of information leaves of them."""
    whole = photographs(size)
    shown = {"as it is": whole} | {
        name: degrade(whole, torch.Generator().manual_seed(1)).shown for name, degrade in DEGRADATIONS.items()
    }
    return rows(shown, size=1.0)
