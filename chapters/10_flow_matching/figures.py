"""The pictures of chapter 10's page on flows: pure functions of exact mixtures, one question each."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.diffusion.continuous import EDM, VP, Straight
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.pages.plotting import closed, curves, trajectories
from course_lib.sampling.ode import heun, velocity
from course_lib.sampling.steps import ddim, last, sample
from course_lib.training.coupling import matched
from course_lib.types import Denoiser, Velocity

PATHS = {"straight": Straight(), "VP": VP(), "EDM": EDM(30.0, sigma_min=0.03)}
LINES = {"straight": "o-", "VP": "s--", "EDM": "^-."}


def ring(count: int = 6, radius: float = 1.0, width: float = 0.12, turn: float = 0.0) -> Mixture:
    """Round bumps of equal weight on a circle in the plane."""
    angles = turn + 2 * torch.pi * torch.arange(count, dtype=torch.float64) / count
    return Mixture(
        torch.full((count,), 1 / count, dtype=torch.float64),
        radius * torch.stack([angles.cos(), angles.sin()], 1),
        width**2 * torch.eye(2, dtype=torch.float64).expand(count, 2, 2),
    )


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal noise in float64 from a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flow(mixture: Mixture) -> Velocity:
    """The exact velocity of the straight path from a mixture to noise."""
    return velocity(ExactDiffusion(mixture, Straight()).denoise, Straight())


def carried(mixture: Mixture, noise: Tensor, steps: int = 100) -> Tensor:
    """All states `(steps + 1, B, D)` of the exact flow from noise to data."""
    return torch.stack(list(sample(heun(flow(mixture)), noise, Straight().grid(steps))))


def crossing(mixture: Mixture, count: int = 14) -> Figure:
    """Random straight lines from data to noise, and the flow from the same noises."""
    noise = torch.linspace(-1.9, 1.9, count, dtype=torch.float64)[:, None]
    data = mixture.sample(count, torch.Generator().manual_seed(3))[0]
    times = Straight().grid(100)
    lines = torch.stack([(1 - t) * data + t * noise for t in times])
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 3.0), sharey=True)
    for axis, states, title in zip(
        axes, (lines, carried(mixture, noise)), ("what training draws", "what sampling follows"), strict=True
    ):
        axis.plot(times, states[..., 0], linewidth=1.0)
        axis.set(title=title, xlabel="$t$", xlim=(1, 0), xticks=(1, 0.5, 0))
    axes[0].set_ylabel("$x_t$")
    return closed(figure)


def same_ends(mixture: Mixture, count: int = 12) -> tuple[Figure, float]:
    """The flows of two paths from the same noise, each state divided by sqrt(a^2 + b^2), and how far apart they end."""
    noise, found = normal(count, 2, seed=2), {}
    for name in ("straight", "EDM"):
        schedule = PATHS[name]
        exact, x = ExactDiffusion(mixture, schedule), noise * float(schedule.noise(torch.tensor(schedule.T)))
        times = schedule.grid(120)
        lengths = (schedule.signal(times) ** 2 + schedule.noise(times) ** 2).sqrt()
        states = sample(heun(velocity(exact.denoise, schedule)), x, times)
        found[name] = torch.stack([state / length for state, length in zip(states, lengths, strict=True)])
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 3.3), sharex=True, sharey=True)
    for number, (axis, (name, states)) in enumerate(zip(axes, found.items(), strict=True)):
        trajectories(axis, states, color=f"C{number}", width=0.9)
        axis.scatter(*mixture.means.T, marker="+", color="0.4", s=40)
        axis.set(title=name, aspect="equal")
    return closed(figure), float((found["straight"][-1] - found["EDM"][-1]).norm(dim=1).max())


def solver_errors(
    mixture: Mixture, counts: Sequence[int] = (2, 4, 6, 8, 12, 16, 24, 36), n: int = 100
) -> dict[str, dict[str, list[float]]]:
    """By solver and path: the mean distance to the true end for each number of evaluations."""
    noise, found = normal(n, 2, seed=4), {"Euler": {}, "Heun": {}}
    for name, schedule in PATHS.items():
        exact, x = ExactDiffusion(mixture, schedule), noise * float(schedule.noise(torch.tensor(schedule.T)))
        second = heun(velocity(exact.denoise, schedule))
        truth = last(sample(second, x, schedule.grid(150)))
        first = ddim(exact.denoise, GaussianDiffusion(schedule))
        far = lambda step, steps, x=x, truth=truth, schedule=schedule: float(  # noqa: E731
            (last(sample(step, x, schedule.grid(steps))) - truth).norm(dim=1).mean()
        )
        found["Euler"][name] = [far(first, count) for count in counts]
        found["Heun"][name] = [far(second, count // 2) for count in counts]
    return found


def error_curves(errors: Mapping[str, Mapping[str, Sequence[float]]], counts: Sequence[int]) -> Figure:
    """Error against evaluations, a panel for each solver."""
    figure, axes = curves("evaluations", "mean distance to the true end", columns=2)
    for axis, (solver, paths) in zip(axes, errors.items(), strict=True):
        for number, (name, values) in enumerate(paths.items()):
            axis.loglog(counts, values, LINES[name], markersize=4, label=name, color=f"C{number}")
        axis.set(title=solver, ylim=(5e-3, 8))
        axis.set_xticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
        axis.xaxis.set_minor_locator(plt.NullLocator())
    axes[1].set_ylabel("")
    axes[0].legend()
    return closed(figure)


class Between:
    """The interpolant x = (1 - t) x_0 + t x_1 + gamma z between two mixtures of independent draws, in closed form.

    Each pair of components is jointly Gaussian with x, so that the mean of dx/dt given x is a regression within it.
    """

    def __init__(self, first: Mixture, second: Mixture, gamma: float) -> None:
        self.pairs = [(i, j) for i in range(len(first.weights)) for j in range(len(second.weights))]
        self.first, self.second, self.gamma = first, second, gamma

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """E[dx/dt | x] at x `(B, D)` and one time t in (0, 1), with gamma(t) = gamma sqrt(t (1 - t))."""
        logs, fields = [], []
        own = self.gamma**2 * t * (1 - t) * torch.eye(x.shape[1], dtype=x.dtype)
        own_rate = self.gamma**2 * (1 - 2 * t) / 2 * torch.eye(x.shape[1], dtype=x.dtype)
        for i, j in self.pairs:
            a, b = self.first.covariances[i], self.second.covariances[j]
            covariance = (1 - t) ** 2 * a + t**2 * b + own
            chord = self.second.means[j] - self.first.means[i]
            off = x - (1 - t) * self.first.means[i] - t * self.second.means[j]
            solved = torch.linalg.solve(covariance, off.T).T
            fields.append(chord + solved @ (t * b - (1 - t) * a + own_rate).T)
            weight = self.first.weights[i].log() + self.second.weights[j].log()
            logs.append(weight - (off * solved).sum(1) / 2 - torch.logdet(covariance) / 2)
        return torch.einsum("pb,pbd->bd", torch.stack(logs).softmax(0), torch.stack(fields))


def between(first: Mixture, second: Mixture, n: int = 150) -> tuple[Figure, dict[str, Tensor]]:
    """The flow from one mixture to another without latent noise and with it, and where it arrives (t runs from 1 to 0)."""
    start, found = second.sample(n, torch.Generator().manual_seed(5))[0], {}
    # gamma changes like a root at both ends: even steps of the angle resolve it
    times = torch.linspace(math.pi / 2 - 0.02, 0.02, 81, dtype=torch.float64).sin() ** 2
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 3.3), sharex=True, sharey=True)
    for axis, gamma in zip(axes, (0.0, 1.0), strict=True):
        states = torch.stack(list(sample(heun(Between(first, second, gamma).velocity), start, times)))
        trajectories(axis, states, color="C0", width=0.4)
        axis.scatter(*start.T, s=4, color="C1", zorder=3)
        axis.set(title=rf"$\gamma = {gamma:g}\,\sqrt{{t(1-t)}}$", aspect="equal")
        found[f"{gamma:g}"] = states[-1]
    return closed(figure), found


def reflowed(mixture: Mixture, count: int = 14) -> Figure:
    """The flow, and the straight lines between its ends, on the line."""
    noise = torch.linspace(-1.9, 1.9, count, dtype=torch.float64)[:, None]
    states, times = carried(mixture, noise), Straight().grid(100)
    lines = torch.stack([(1 - t) * states[-1] + t * noise for t in times])
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 3.0), sharey=True)
    for axis, drawn, title in zip(axes, (states, lines), ("flow", "after one reflow"), strict=True):
        axis.plot(times, drawn[..., 0], linewidth=1.0)
        axis.set(title=title, xlabel="$t$", xlim=(1, 0), xticks=(1, 0.5, 0))
    axes[0].set_ylabel("$x_t$")
    return closed(figure)


def batch_costs(
    mixture: Mixture, sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256), n: int = 1024
) -> list[tuple[float, float]]:
    """The mean squared distance of matched pairs for each size of batch, with its standard error over batches' means."""
    data = mixture.sample(n, torch.Generator().manual_seed(6))[0]
    noise, found = normal(n, data.shape[1], seed=7), []
    for size in sizes:
        pairs = zip(data.split(size), noise.split(size), strict=True)
        costs = torch.stack([(x0 - matched(x0, eps)).square().sum(1).mean() for x0, eps in pairs])
        found.append((float(costs.mean()), float(costs.std() / len(costs) ** 0.5)))
    return found


def cost_curve(sizes: Sequence[int], costs: Sequence[tuple[float, float]], flows: float) -> Figure:
    """The cost of a pair against the size of the batch, beside that of the flow's own pairs."""
    figure, (axis,) = curves("samples in a batch", "mean squared distance of a pair", height=2.8)
    middle, errors = zip(*costs, strict=True)
    axis.errorbar(
        sizes, middle, [2 * error for error in errors], fmt="o-", markersize=4, capsize=2, label="cheapest matching"
    )
    axis.axhline(flows, color="C1", linestyle="--", label="pairs of the exact flow")
    axis.set(xscale="log", ylim=(0, None))
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.xaxis.set_minor_locator(plt.NullLocator())
    axis.legend()
    return closed(figure)


def misplaced(x: Tensor, mixture: Mixture, bins: int = 40) -> float:
    """The probability that a histogram of points on the line has in the wrong bins."""
    edges = torch.linspace(-2.5, 2.5, bins + 1, dtype=torch.float64)
    spreads = mixture.covariances[:, 0, 0].sqrt()
    share = (mixture.weights * torch.special.ndtr((edges[:, None] - mixture.means[:, 0]) / spreads)).sum(1)
    counts = torch.histogram(x[:, 0].clamp(-2.5, 2.5), edges).hist / len(x)
    return float((counts - share.diff()).abs().sum() / 2)


def gallery(tried: Mapping[str, Tensor], mixture: Mixture) -> Figure:
    """Histograms of points on the line over the true density."""
    figure, axes = plt.subplots(1, len(tried), figsize=(6.8, 2.2), sharex=True, sharey=True)
    x = np.linspace(-2.5, 2.5, 300)
    spreads = mixture.covariances[:, 0, 0].sqrt().numpy()
    density = sum(
        float(w) * np.exp(-(((x - float(m)) / s) ** 2) / 2) / (s * np.sqrt(2 * np.pi))
        for w, m, s in zip(mixture.weights, mixture.means[:, 0], spreads, strict=True)
    )
    for axis, (name, points) in zip(axes, tried.items(), strict=True):
        axis.hist(points[:, 0].clamp(-2.5, 2.5), bins=40, range=(-2.5, 2.5), density=True, color="C0", alpha=0.6)
        axis.plot(x, density, color="0.3", linewidth=1)
        axis.set_title(name, fontsize=9)
        axis.set(xticks=(-2, 0, 2), yticks=[], ylim=(0, 2.0))
    return closed(figure)


def euler_forwards(field: Callable[[Tensor, Tensor], Tensor], noise: Tensor, times: Tensor) -> Tensor:
    """Euler's method with the sign of the time's step forgotten."""
    x = noise
    for t, s in pairwise(times):
        x = x + (t - s) * field(x, t)
    return x


def collapsed(denoise: Denoiser, noise: Tensor) -> Tensor:
    """One step of the flow, from pure noise to the data."""
    return last(sample(ddim(denoise, GaussianDiffusion(Straight())), noise, Straight().grid(1)))
