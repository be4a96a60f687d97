"""The pictures of chapter 4: pure functions of what the page's cells computed, one question each."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from course_lib.diffusion.continuous import VP, drift_and_diffusion
from course_lib.diffusion.exact import ExactDiffusion, Mixture, two_bumps
from course_lib.pages.plotting import closed, curves, shades, show_rows
from course_lib.sampling.ode import heun, velocity
from course_lib.sampling.sde import euler_maruyama
from course_lib.sampling.steps import sample
from course_lib.types import Schedule

FLOW_TIMES = [float(t) for t in torch.linspace(1, 0.02, 30)]


def double(values: Sequence[float] | float) -> Tensor:
    """The values in float64."""
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal noise in float64 from a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def three_blobs() -> Mixture:
    """Three round bumps of unequal weight in the plane."""
    means = double([[-1.0, -0.5], [1.0, -0.5], [0.0, 1.0]])
    return Mixture(double([0.5, 0.3, 0.2]), means, 0.06 * torch.eye(2, dtype=torch.float64).expand(3, 2, 2))


def far_bumps() -> Mixture:
    """Two narrow bumps on the line, far apart, with weights 0.2 and 0.8."""
    return Mixture(double([0.2, 0.8]), double([[-4.0], [4.0]]), double([[[0.25]], [[0.25]]]))


@dataclass(frozen=True)
class OneLevel:
    """A schedule with one level: signal 1 and the noise `sigma` at every t."""

    sigma: float
    T: float = 1.0

    def signal(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t, dtype=torch.float64)

    def noise(self, t: Tensor) -> Tensor:
        """sigma."""
        return torch.full_like(t, self.sigma, dtype=torch.float64)


def plane(count: int, reach: float = 2.0) -> Tensor:
    """A square grid of points `(count^2, 2)` over [-reach, reach]^2."""
    side = torch.linspace(-reach, reach, count, dtype=torch.float64)
    return torch.cartesian_prod(side, side)


def shade(axis: Axes, exact: ExactDiffusion, t: Tensor, reach: float = 2.0) -> None:
    """The density at time t as grey."""
    density = exact.log_prob(plane(100, reach), t).exp().reshape(100, 100).T
    axis.imshow(
        density,
        origin="lower",
        extent=(-reach, reach, -reach, reach),
        cmap=shades(),
        vmin=0,
        vmax=1.3 * density.max(),
    )
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    axis.grid(visible=False)


def arrows(axis: Axes, points: Tensor, slopes: Tensor) -> None:
    """Arrows at points `(N, 2)`, their lengths compressed so that the far ones do not hide the others."""
    length = slopes.norm(dim=1, keepdim=True)
    axis.quiver(*points.T, *(slopes / length * torch.tanh(length / 6)).T, color="C0", scale=22, width=0.004)


def field(mixture: Mixture) -> Figure:
    """The score of a mixture, blurred a little, over its density."""
    exact, t = ExactDiffusion(mixture, OneLevel(0.15)), double(1.0)
    figure, axis = plt.subplots(figsize=(4.2, 4.2))
    shade(axis, exact, t)
    points = plane(19)
    arrows(axis, points, exact.score(points, t))
    return closed(figure)


def flow_frames(mixture: Mixture, count: int = 200) -> Iterator[Figure]:
    """At each of FLOW_TIMES the score, and points that follow the probability flow from noise."""
    exact = ExactDiffusion(mixture, VP())
    points = plane(15, 2.4)
    for t, x in zip(
        FLOW_TIMES,
        sample(heun(velocity(exact.denoise, VP())), normal(count, 2), double(FLOW_TIMES)),
        strict=True,
    ):
        figure, axis = plt.subplots(figsize=(4.0, 4.0))
        shade(axis, exact, double(t), 2.5)
        arrows(axis, points, exact.score(points, double(t)))
        axis.scatter(*x.T, s=5, color="C1", zorder=3)
        yield figure


def compared_fields(mixture: Mixture, truth: ExactDiffusion, fields: Mapping[str, nn.Module]) -> Figure:
    """The true score beside learned ones, over the density that they were trained on."""
    points, t = plane(13, 2.4), double(1.0)
    figure, axes = plt.subplots(1, 1 + len(fields), figsize=(6.8, 2.5))
    with torch.no_grad():
        learned = {name: net(points.float(), torch.ones(len(points))).double() for name, net in fields.items()}
    for axis, (name, slopes) in zip(axes, {"true": truth.score(points, t), **learned}.items(), strict=True):
        shade(axis, truth, t, 2.5)
        arrows(axis, points, slopes)
        axis.set_title(name)
    return closed(figure)


def density_line(axis: Axes, mixture: Mixture, reach: float) -> None:
    """The density of a mixture on the line."""
    x = torch.linspace(-reach, reach, 400, dtype=torch.float64)
    bumps = [
        w * torch.exp(-((x - m) ** 2) / (2 * c)) / (2 * torch.pi * c) ** 0.5
        for w, m, c in zip(mixture.weights, mixture.means[:, 0], mixture.covariances[:, 0, 0], strict=True)
    ]
    axis.plot(x, sum(bumps), color="0.2", linewidth=1.2, label="true density")


def shares(mixture: Mixture, samples: Mapping[str, Tensor]) -> Figure:
    """Histograms of samples over the true density, side by side."""
    figure, axes = curves("$x$", "density", columns=len(samples), height=2.6)
    for axis, (name, x) in zip(axes, samples.items(), strict=True):
        axis.hist(
            x[:, 0].numpy(), 80, (-7, 7), density=True, histtype="stepfilled", color="C0", alpha=0.5, label="samples"
        )
        density_line(axis, mixture, 7)
        axis.set_title(name)
    axes[0].legend()
    return closed(figure)


def forward_paths(schedules: Mapping[str, Schedule], count: int = 40, steps: int = 200) -> Figure:
    """Paths of the forward SDEs by Euler-Maruyama, from two bumps."""
    figure, axes = plt.subplots(1, len(schedules), figsize=(6.8, 2.6))
    start, _ = two_bumps().sample(count, torch.Generator().manual_seed(0))
    times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    for axis, (name, schedule) in zip(axes, schedules.items(), strict=True):
        x, path = start, [start]
        generator = torch.Generator().manual_seed(1)
        for t, u in itertools.pairwise(times):
            drift, diffusion = drift_and_diffusion(schedule, t.clamp(min=1e-6))
            z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = x + drift * x * (u - t) + (diffusion * (u - t)).sqrt() * z
            path.append(x)
        axis.plot(times, torch.stack(path)[..., 0], linewidth=0.5, color="C0", alpha=0.6, rasterized=True)
        axis.set(title=name, xlabel="$t$")
    return closed(figure)


def reverse_paths(mixture: Mixture, schedule: VP, count: int = 12) -> Figure:
    """Paths of the reverse SDE and of the flow over the density, and where both end."""
    exact = ExactDiffusion(mixture, schedule)
    times = torch.linspace(1, 0.005, 160, dtype=torch.float64)
    x = torch.linspace(-2.5, 2.5, 160, dtype=torch.float64)[:, None]
    shown = torch.linspace(0.02, 1, 160, dtype=torch.float64)
    density = torch.stack([exact.log_prob(x, t).exp() for t in shown], 1)
    density = density / density.max(0).values
    crowd = normal(3000, 1)
    crowd[:count, 0] = torch.linspace(-1.8, 1.8, count)
    steps = {
        "reverse SDE": euler_maruyama(exact.denoise, schedule, torch.Generator().manual_seed(0)),
        "probability flow": heun(velocity(exact.denoise, schedule)),
    }
    figure, axes = plt.subplots(1, 3, figsize=(6.8, 2.8), sharey=True)
    for axis, (name, step) in zip(axes, steps.items(), strict=False):
        drawn = torch.stack(list(sample(step, crowd, times)))[..., 0]
        axis.imshow(
            density, aspect="auto", cmap=shades(), extent=(0.02, 1, -2.5, 2.5), origin="lower", vmin=0, vmax=1.6
        )
        axis.plot(times, drawn[:, :count], linewidth=0.8)
        ticks = (0, 0.25, 0.5, 0.75)  # without 1, which would touch the 0 of the panel before it
        axis.set(title=name, xlabel="$t$", xlim=(1, 0), xticks=ticks, ylim=(-2.5, 2.5))
        axis.grid(visible=False)
        axes[2].hist(drawn[-1], 60, (-2.5, 2.5), density=True, orientation="horizontal", histtype="step", label=name)
    axes[2].plot(exact.log_prob(x, times[-1]).exp(), x, color="0.2", linewidth=1)
    axes[2].set(title="the crowds", xlabel="density")
    axes[0].set_ylabel("$x$")
    return closed(figure)


def misfit(samples: Tensor, exact: ExactDiffusion, t: float, bins: int = 60, reach: float = 3.0) -> float:
    """The probability that the samples' histogram has in the wrong bins: half the sum of absolute differences."""
    edges = torch.linspace(-reach, reach, bins + 1, dtype=torch.float64)
    found = torch.histogram(samples[:, 0].clamp(-reach, reach), edges).hist / len(samples)
    inner = torch.linspace(-reach, reach, 20 * bins + 1, dtype=torch.float64)
    density = exact.log_prob(inner[:, None], double(t)).exp()
    cells = torch.cumulative_trapezoid(density, inner)
    marks = torch.cat([torch.zeros(1, dtype=torch.float64), cells])[::20]
    return float((found - marks.diff()).abs().sum() / 2)


def against_evaluations(points: Mapping[str, Sequence[tuple[int, float]]], floor: float) -> Figure:
    """Misplaced probability against the number of evaluations, with that of exact samples."""
    figure, (axis,) = curves("evaluations of the score", "misplaced probability", height=2.9)
    for (name, values), style in zip(points.items(), ("o-", "^-.", "s--"), strict=True):
        axis.loglog(*zip(*values, strict=True), style, markersize=4, label=name)
    axis.axhline(floor, color="0.4", linestyle=":", label="exact samples")
    name_counts(axis, [count for count, _ in next(iter(points.values()))])
    axis.legend()
    return closed(figure)


def name_counts(axis: Axes, counts: Sequence[int]) -> None:
    """Ticks of a logarithmic axis at the counts that were measured, and nowhere else."""
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.xaxis.set_minor_locator(plt.NullLocator())


def likelihoods(true: Tensor, found: Mapping[int, Tensor]) -> Figure:
    """Computed against true log-likelihood, and the largest error against the number of steps."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.0))
    most = max(found)
    left.plot([true.min(), true.max()], [true.min(), true.max()], color="0.6", linewidth=1)
    left.scatter(true, found[most], s=6, color="C0")
    left.set(xlabel="true $\\log q$", ylabel=f"along the flow, {most} steps")
    errors = [float((value - true).abs().max()) for value in found.values()]
    right.loglog(list(found), errors, "o-", markersize=4)
    right.set(xlabel="steps", ylabel="largest error in nats")
    name_counts(right, list(found))
    return closed(figure)


def ranked(images: Tensor, bits: Tensor, count: int = 10) -> Figure:
    """The images of fewest and of most bits per dimension."""
    order = bits.argsort()
    picked = [order[:count], order[-count:].flip(0)]
    figure = show_rows([images[index] for index in picked], ["fewest bits", "most bits"], size=0.55)
    for line, index in zip(np.array(figure.axes).reshape(2, count), picked, strict=True):
        for axis, value in zip(line, bits[index], strict=True):
            axis.set_title(f"{value:.2f}", fontsize="x-small")
    return closed(figure)


def gallery(samples: Mapping[str, Tensor], exact: ExactDiffusion, t: float) -> Figure:
    """Histograms over the true density at time t, two rows of three."""
    figure, axes = plt.subplots(2, 3, figsize=(6.8, 3.8), sharex=True)
    x = torch.linspace(-3, 3, 300, dtype=torch.float64)
    density = exact.log_prob(x[:, None], double(t)).exp()
    for axis, (name, values) in zip(axes.flat, samples.items(), strict=True):
        axis.hist(
            values[:, 0].clamp(-3, 3).numpy(), 80, (-3, 3), density=True, histtype="stepfilled", color="C0", alpha=0.5
        )
        axis.plot(x, density, color="0.2", linewidth=1)
        axis.set_title(name, fontsize="small")
    return closed(figure)
