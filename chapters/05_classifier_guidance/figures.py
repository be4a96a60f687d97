"""The pictures of chapter 5: pure functions of what the page's cells computed, one question each."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.diffusion.continuous import VP
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.pages.plotting import closed, curves
from course_lib.sampling.guidance import classifier_guided
from course_lib.sampling.ode import heun, velocity
from course_lib.sampling.steps import last, sample


def two_classes() -> Mixture:
    """Two overlapping classes on the line."""
    return Mixture(
        torch.tensor([0.4, 0.6], dtype=torch.float64),
        torch.tensor([[-0.6], [0.6]], dtype=torch.float64),
        torch.full((2, 1, 1), 0.16, dtype=torch.float64),
    )


def posteriors(exact: ExactDiffusion, times: Sequence[float]) -> Figure:
    """The exact noisy classifier of the right-hand class, and the gradient of its logarithm, at some times."""
    x = torch.linspace(-2, 2, 400, dtype=torch.float64)[:, None]
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.0))
    for time, style in zip(times, ("-", "--", "-.", ":"), strict=True):
        t = torch.tensor(time, dtype=torch.float64)
        left.plot(x, exact.class_posterior(x, t)[:, 1], style, label=f"t = {time:g}")
        right.plot(x, exact.conditional(1).score(x, t) - exact.score(x, t), style)
    left.set(xlabel="$x_t$", ylabel="$q(y = 1 \\mid x_t)$")
    right.set(xlabel="$x_t$", ylabel="$\\nabla \\log q(y = 1 \\mid x_t)$")
    left.legend()
    return closed(figure)


def accuracies(times: Sequence[int], found: Mapping[str, Sequence[Tensor]]) -> Figure:
    """Accuracy on noisy pictures against the time."""
    figure, (axis,) = curves("$t$", "accuracy", height=2.7)
    for (name, values), style in zip(found.items(), ("o-", "s--"), strict=True):
        axis.plot(times, [float(value) for value in values], style, markersize=4, label=name)
    axis.axhline(0.1, color="0.4", linestyle=":", label="chance")
    axis.legend()
    return closed(figure)


def collapse(exact: ExactDiffusion, rho: float = 1.0) -> Figure:
    """Left the variance of guided samples in the Gaussian case, right samples of two classes beside the sharpened density."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.1))
    scales = np.linspace(0, 8, 50)
    left.semilogy(scales, (rho**2 / (1 + rho**2)) ** scales, label="guided flow")
    left.semilogy(scales, rho**2 / (rho**2 + scales), "--", label="sharpened density")
    left.semilogy(scales, variance_of_the_sde(scales, rho), ":", label="guided SDE")
    left.semilogy(range(0, 9, 2), [measured_variance(s, rho) for s in range(0, 9, 2)], "o", color="C0", markersize=4)
    left.set(xlabel="scale", ylabel="variance")
    left.legend()

    def logits(x, t):
        return exact.class_posterior(x, t).log()

    chosen, scale = torch.ones(3000, dtype=torch.long), 4.0
    guided = classifier_guided(exact.denoise, logits, exact.schedule, chosen, scale)
    times = torch.linspace(1, 1e-3, 50, dtype=torch.float64)
    start = torch.randn(3000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = last(sample(heun(velocity(guided, exact.schedule)), start, times))
    grid = torch.linspace(-1.5, 3, 500, dtype=torch.float64)[:, None]
    t = times[-1]
    sharpened = exact.log_prob(grid, t) + scale * exact.class_posterior(grid, t)[:, 1].log()
    sharpened = sharpened.exp() / torch.trapezoid(sharpened.exp(), grid[:, 0])
    right.hist(x[:, 0].numpy(), 60, (-1.5, 3), density=True, alpha=0.5, label="guided, scale 4")
    right.plot(grid, sharpened, "--", color="C1", label="sharpened density")
    right.plot(grid, exact.conditional(1).log_prob(grid, t).exp(), ":", color="0.3", label="the class")
    right.set(xlabel="$x_0$", ylabel="density", ylim=(0, 2.5))  # room for the legend
    right.legend(fontsize="small", loc="upper left")
    return closed(figure)


def variance_of_the_sde(scales: np.ndarray, rho: float) -> np.ndarray:
    """eq-cg-gaussian-sde, for scales other than one half."""
    ratio = rho**2 / (1 + rho**2)
    return rho**2 / (2 * scales - 1) * (1 - ratio ** (2 * scales - 1))


def measured_variance(scale: float, rho: float, count: int = 2000) -> float:
    """The variance of samples of N(0, 1), guided to a measurement 0.5 with error rho, by the library's own flow."""

    def guided(x_t: Tensor, t: Tensor) -> Tensor:
        a, b = VP().signal(t), VP().noise(t)
        return a * x_t + scale * b**2 * (0.5 - a * x_t) / (b**2 + rho**2)

    start = torch.randn(count, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = (start - start.mean()) / start.std()
    times = torch.linspace(1, 1e-4, 60, dtype=torch.float64)
    return float(last(sample(heun(velocity(guided, VP())), start, times)).var())


def sweep(found: Mapping[float, Mapping[str, Mapping[str, float]]]) -> Figure:
    """Accuracy, Frechet distance, precision and recall against the scale."""
    figure, axes = plt.subplots(1, 4, figsize=(7.4, 2.4))
    scales = sorted(found)
    for axis, name in zip(axes, ("accuracy", "frechet distance", "precision", "recall"), strict=True):
        middle, low, high = (np.array([found[s][name][part] for s in scales]) for part in ("value", "low", "high"))
        axis.errorbar(
            range(len(scales)), middle, [(middle - low).clip(0), (high - middle).clip(0)], fmt="o-", markersize=3
        )
        axis.set_xticks(range(len(scales)), [f"{s:g}" for s in scales], fontsize="x-small")
        axis.set(xlabel="scale", title=name.replace("frechet", "Fréchet"))
    axes[1].set_yscale("log")
    floor = found[scales[0]]["frechet distance"]
    axes[1].axhspan(floor["floor_low"], floor["floor_high"], color="0.5", alpha=0.3, linewidth=0)
    return closed(figure)
