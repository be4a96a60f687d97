"""The pictures of chapter 2's first page: pure functions of what the page's cells computed, one question each."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.diffusion.exact import ExactDiffusion, IdealDenoiser, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import to_eps
from course_lib.diffusion.schedules import TableSchedule, log_snr
from course_lib.pages.plotting import as_pictures, closed, curves, show_image, show_rows


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal noise from a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def chain(process: GaussianDiffusion, image: Tensor, times: Sequence[int]) -> Figure:
    """One image `(1, 1, H, W)` at some times of the forward chain, with both directions named."""
    figure, axes = plt.subplots(1, len(times), figsize=(6.8, 2.3))
    x, before = image, 0
    for axis, t in zip(axes, times, strict=True):
        if t > before:
            x = process.advance(x, torch.tensor(before), torch.tensor(t), normal(*image.shape, seed=t))
        before = t
        show_image(axis, as_pictures(x)[0])
        axis.text(0.5, -0.08, f"$x_{{{t}}}$", transform=axis.transAxes, ha="center", va="top")
    figure.get_layout_engine().set(rect=(0, 0.2, 1, 0.64))
    arrow = {"arrowstyle": "-|>", "linewidth": 1.6, "mutation_scale": 14}
    for (start, end), height, color in (((0.03, 0.97), 0.87, "C0"), ((0.97, 0.03), 0.14, "C1")):
        figure.add_artist(
            plt.annotate("", (end, height), (start, height), "figure fraction", arrowprops={**arrow, "color": color})
        )
    figure.text(0.5, 0.93, "$q(x_t \\mid x_{t-1})$: add a little noise (fixed)", ha="center", color="C0")
    figure.text(0.5, 0.0, "$p_\\theta(x_{t-1} \\mid x_t)$: take a little away (learned)", ha="center", color="C1")
    return closed(figure)


def one_step(ideal: IdealDenoiser, process: GaussianDiffusion, image: Tensor, times: Sequence[int]) -> Figure:
    """What a perfect network would answer about one noisy image, at several times; one row each."""
    count = len(times)
    t, x0 = torch.tensor(times), image.expand(count, -1, -1, -1)
    noise = normal(*image.shape, seed=4).expand(count, -1, -1, -1)
    x_t = process.diffuse(x0, t, noise)
    x0_hat = ideal(x_t, t)
    columns = [x0, noise / 2, x_t, to_eps(x0_hat, x_t, t, process.schedule) / 2, x0_hat]
    rows = [torch.stack([column[n] for column in columns]) for n in range(count)]
    titles = ["data\n$x_0$", "noise\n$\\epsilon$", "input\n$x_t$", "best guess\nof $\\epsilon$", "best guess\nof $x_0$"]
    return closed(show_rows(rows, [f"$t = {n}$" for n in times], titles, size=0.95))


def weights(schedule: TableSchedule) -> Figure:
    """The bound's weight on the squared error of eps, against t and against log-SNR, for both reverse variances."""
    t = torch.arange(2, schedule.T + 1)
    beta, alpha, alpha_bar = schedule.beta[t], schedule.alpha[t], schedule.alpha_bar[t]
    tilde = (1 - schedule.alpha_bar[t - 1]) / (1 - alpha_bar) * beta
    figure, axes = curves("", "weight of $\\|\\epsilon-\\epsilon_\\theta\\|^2$", columns=2)
    for axis, x, label in zip(axes, (t, log_snr(schedule, t)), ("$t$", "log SNR (noise on the left)"), strict=True):
        for variance, style, name in (
            (tilde, "-", "$\\sigma_t^2=\\tilde\\beta_t$"),
            (beta, "--", "$\\sigma_t^2=\\beta_t$"),
        ):
            axis.semilogy(x, beta**2 / (2 * variance * alpha * (1 - alpha_bar)), style, label=f"bound, {name}")
        axis.axhline(1, color="C2", linestyle=":", label="$L_{simple}$")
        axis.set_xlabel(label)
    axes[1].set_ylabel("")
    axes[0].legend()
    return closed(figure)


def variances(schedule: TableSchedule, samples: int = 2000) -> Figure:
    """The two fixed reverse variances and the best one for a mixture, as fractions of beta_t."""
    mixture = Mixture(
        torch.tensor([0.5, 0.5], dtype=torch.float64),
        torch.tensor([[-0.8, 0.0], [0.8, 0.0]], dtype=torch.float64),
        0.03**2 * torch.eye(2, dtype=torch.float64).expand(2, 2, 2),
    )
    exact, process = ExactDiffusion(mixture, schedule), GaussianDiffusion(schedule)
    x0, _ = mixture.sample(samples, torch.Generator().manual_seed(0))
    best, times = [], np.unique(np.geomspace(2, schedule.T, 40).astype(int))
    for t in map(torch.tensor, times):
        x_t = process.diffuse(x0, t, normal(*x0.shape, seed=int(t)).double())
        error = exact.covariance(x_t, t).diagonal(dim1=1, dim2=2).mean()
        weight, _, tilde = process.posterior_weights(t, t - 1)
        best.append(float((tilde + weight**2 * error) / schedule.beta[t]))
    t = torch.arange(2, schedule.T + 1)
    ratio = (1 - schedule.alpha_bar[t - 1]) / (1 - schedule.alpha_bar[t])
    figure, (axis,) = curves("$t$", "variance divided by $\\beta_t$")
    axis.axhline(1, color="C1", linestyle="--", label="$\\beta_t$: best for data $\\mathcal{N}(0, I)$")
    axis.semilogx(times, best, "o-", color="C2", markersize=3, label="best for two blobs (exact)")
    axis.semilogx(t, ratio, color="C0", label="$\\tilde\\beta_t$: best for a single point")
    axis.legend()
    return closed(figure)
