"""The pictures of chapter 15's page on restoring: pure functions, one question each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.measurements import along, leaning_bumps, posterior
from course_lib.diffusion.schedules import cosine
from course_lib.draws import standard_normal
from course_lib.pages.plotting import closed, curves, shades
from course_lib.sampling.restoring import descended, repeated, replacing, steered
from course_lib.sampling.steps import ancestral, last, sample, unit_variance
from course_lib.types import Denoiser, Step

DOUBLE = torch.float64
SCHEDULE = cosine(1000)
PROCESS = GaussianDiffusion(SCHEDULE)
FIRST = torch.tensor([1.0, 0.0], dtype=DOUBLE)
SEEN, DEVIATION = 0.1, 0.1  # y and sigma of the page's example
SIDES = (-2.2, 2.2)


PRIOR = ExactDiffusion(leaning_bumps(), SCHEDULE)
TRUTH = ExactDiffusion(posterior(leaning_bumps(), FIRST[None], torch.tensor([SEEN], dtype=DOUBLE), DEVIATION), SCHEDULE)


def density(exact: ExactDiffusion, n: int = 160) -> Tensor:
    """The density of the data on a grid over the square, `(n, n)`, rows upwards."""
    axis = torch.linspace(*SIDES, n, dtype=DOUBLE)
    points = torch.cartesian_prod(axis, axis)
    return exact.log_prob(points, torch.tensor(0)).exp().reshape(n, n).T


def along_the_unknown(mixture: Mixture, x: Tensor) -> Tensor:
    """The density of the second coordinate at x `(n,)`."""
    spread = mixture.covariances[:, 1, 1]
    bells = (-((x[:, None] - mixture.means[:, 1]) ** 2) / (2 * spread)).exp() / (2 * torch.pi * spread).sqrt()
    return bells @ mixture.weights


def example() -> Figure:
    """The prior, what was measured, and the posterior; and both along the coordinate that was not measured."""
    figure, axes = plt.subplots(1, 3, figsize=(6.8, 2.5))
    for axis, exact, color, title in zip(axes, (PRIOR, TRUTH), ("C0", "C1"), ("before", "after"), strict=False):
        shown = density(exact)
        axis.imshow(shown, origin="lower", extent=(*SIDES, *SIDES), cmap=shades(color), vmax=0.5 * float(shown.max()))
        axis.axvspan(SEEN - 2 * DEVIATION, SEEN + 2 * DEVIATION, color="0.5", alpha=0.25, linewidth=0)
        axis.set(xlabel="first coordinate", title=title, xlim=SIDES, ylim=SIDES, aspect="equal")
    axes[0].set_ylabel("second coordinate")
    x = torch.linspace(*SIDES, 300, dtype=DOUBLE)
    for exact, color, title in ((PRIOR, "C0", "before"), (TRUTH, "C1", "after")):
        axes[2].plot(x, along_the_unknown(exact.mixture, x), color=color, label=title)
    axes[2].set(xlabel="second coordinate", yticks=[])
    axes[2].legend()
    return closed(figure)


def own_spread(x: Tensor, t: Tensor) -> Tensor:
    """The variance of the measured coordinate, given x_t."""
    return PRIOR.covariance(x, t)[:, 0, 0]


def ways(rate: float = 0.1, repeats: int = 5) -> dict[str, Callable[[Tensor, Callable[[Tensor], Tensor]], Step]]:
    """Steps that keep to the measurement, each from y and a source of noise."""
    measured = along(FIRST, DEVIATION)

    def plain(denoise: Denoiser, noise: Any) -> Step:
        return ancestral(denoise, PROCESS, noise=noise)

    def guided(spread: Any) -> Callable[[Tensor, Any], Step]:
        return lambda y, noise: plain(steered(PRIOR.denoise, SCHEDULE, measured, y, spread), noise)

    def put_in(y: Tensor, noise: Any) -> Step:
        return replacing(plain(PRIOR.denoise, noise), PROCESS, measured, y, noise)

    return {
        "true likelihood": lambda y, noise: plain(TRUTH.denoise, noise),
        "true covariance": guided(own_spread),
        "ΠGDM": guided(unit_variance(SCHEDULE)),
        "DPS": lambda y, noise: descended(lambda d: plain(d, noise), PRIOR.denoise, measured, y, rate),
        "replacement": put_in,
        "RePaint": lambda y, noise: repeated(put_in(y, noise), PROCESS, repeats, noise),
    }


def drawn(n: int = 1000, steps: int = 100) -> dict[str, Tensor]:
    """What each way draws, `(n, 2)`, from the same noise at first."""
    found, y = {}, torch.full((n, 1), SEEN, dtype=DOUBLE)
    for name, way in ways().items():
        generator = torch.Generator().manual_seed(0)
        x, noise = PROCESS.prior((n, 2), generator, dtype=DOUBLE), standard_normal(generator)
        found[name] = last(sample(way(y, noise), x, SCHEDULE.grid(steps)))
    return found


def judged(x: Tensor) -> dict[str, float]:
    """The share of points `(n, 2)` in the lower bump, by the posterior's own rule, and the deviation of the measured coordinate."""
    share = float((x[:, 1] < 0).double().mean())
    return {"share": share, "mean": float(x[:, 0].mean()), "deviation": float(x[:, 0].std())}


def histograms(found: Mapping[str, Tensor]) -> Figure:
    """The unknown coordinate of what each way draws, over its exact density."""
    figure, axes = plt.subplots(2, 3, figsize=(6.8, 3.6), sharex=True, sharey=True)
    x = torch.linspace(*SIDES, 300, dtype=DOUBLE)
    for axis, (name, points) in zip(axes.flat, found.items(), strict=True):
        axis.hist(points[:, 1].numpy(), bins=44, range=SIDES, density=True, color="C0", alpha=0.6)
        axis.plot(x, along_the_unknown(TRUTH.mixture, x), color="C1")
        axis.set(title=name, yticks=[])
    for axis in axes[1]:
        axis.set_xlabel("second coordinate")
    return closed(figure)


def pair(rho: float) -> ExactDiffusion:
    """Two numbers of mean 0 and variance 1 with a correlation."""
    covariance = torch.tensor([[[1.0, rho], [rho, 1.0]]], dtype=DOUBLE)
    return ExactDiffusion(Mixture(torch.ones(1, dtype=DOUBLE), torch.zeros(1, 2, dtype=DOUBLE), covariance), SCHEDULE)


def share_found(rho: float, repeats: int, n: int = 4000, steps: int = 200) -> float:
    """The unknown number's mean, in units of the true one, where the known one was put in."""
    generator = torch.Generator().manual_seed(1)
    noise, y = standard_normal(generator), torch.full((n, 1), 3.0, dtype=DOUBLE)
    put_in = replacing(ancestral(pair(rho).denoise, PROCESS, noise=noise), PROCESS, along(FIRST), y, noise)
    x = PROCESS.prior((n, 2), generator, dtype=DOUBLE)
    x = last(sample(repeated(put_in, PROCESS, repeats, noise), x, SCHEDULE.grid(steps)))
    return float(x[:, 1].mean()) / (3 * rho)


def half_found() -> Figure:
    """How much of a dependence replacement finds, derived and measured, and RePaint with 5 repeats."""
    figure, (axis,) = curves(r"correlation $\rho$", "share of the true mean", height=3.0)
    rho = torch.linspace(0.01, 0.999, 200)
    axis.plot(rho, (1 - (1 - rho**2).sqrt()) / rho**2, color="C0", label="replacement, derived")
    at = (0.2, 0.4, 0.6, 0.8, 0.95)
    axis.plot(at, [share_found(each, 1) for each in at], "o", color="C0", label="replacement, 200 steps")
    axis.plot(at, [share_found(each, 5, steps=100) for each in at], "s--", color="C1", label="RePaint, 100 steps of 5")
    axis.axhline(1, color="0.5", linewidth=1)
    axis.set(ylim=(0.4, 1.1))
    axis.legend(loc="upper left", bbox_to_anchor=(0, 0.57))  # between the two curves
    return closed(figure)


GUIDE = torch.tensor([0.9, -0.2], dtype=DOUBLE)


def edited_points(start: float, n: int, seed: int = 0) -> Tensor:
    """What SDEdit makes of the guide from t_0 = start T, `(n, 2)`, with an exact way back."""
    generator, t = torch.Generator().manual_seed(seed), torch.tensor(int(start * SCHEDULE.T))
    return PRIOR.draw(PROCESS.forward(GUIDE.expand(n, 2), t, generator), t, generator)


def edits(starts: Sequence[float] = (0.1, 0.3, 0.5, 0.8)) -> Figure:
    """Clouds of edits of one guide that lies between the bumps."""
    figure, axes = plt.subplots(1, len(starts), figsize=(6.8, 2.1), sharex=True, sharey=True)
    shown = density(PRIOR)
    for axis, start in zip(axes, starts, strict=True):
        axis.imshow(shown, origin="lower", extent=(*SIDES, *SIDES), cmap=shades("0.5"), vmax=float(shown.max()))
        points = edited_points(start, 300)
        axis.scatter(points[:, 0], points[:, 1], s=3, color="C0", alpha=0.6, linewidths=0)
        axis.plot(*GUIDE.tolist(), "X", color="C1", markersize=8)
        axis.set(title=f"$t_0 = {start:g}\\,T$", xlim=SIDES, ylim=SIDES, aspect="equal", xticks=[], yticks=[])
    return closed(figure)


def excess(start: float, n: int = 4000) -> float:
    """The divergence of the diffused guide from the diffused data at t_0, in nats: a bound on that of the edits from the data."""
    t = torch.tensor(int(start * SCHEDULE.T))
    x = PROCESS.forward(GUIDE.expand(n, 2), t, torch.Generator().manual_seed(0))
    a, b = SCHEDULE.signal(t), SCHEDULE.noise(t)
    own = -((x - a * GUIDE) ** 2).sum(1) / (2 * b**2) - torch.log(2 * torch.pi * b**2)
    return float((own - PRIOR.log_prob(x, t)).mean())


def trade() -> Figure:
    """Distance from the guide, and the bound on the divergence from the data, against t_0."""
    figure, (left, right) = curves("$t_0\\,/\\,T$", "", columns=2, height=2.8)
    starts = torch.linspace(0.04, 0.98, 25).tolist()
    left.plot(starts, [float((edited_points(s, 2000) - GUIDE).square().sum(1).mean().sqrt()) for s in starts])
    left.set_ylabel("distance from the guide")
    right.plot(starts, [excess(s) for s in starts], color="C1")
    right.set(ylabel="bound on the divergence (nats)", yscale="log")
    return closed(figure)


def measured_edits(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """What was measured of SDEdit on mosaics, for each set: residual, accuracy and kernel distance against t_0."""
    kinds = ("residual", "accuracy", "kernel distance")
    figure, axes = plt.subplots(1, 3, figsize=(6.8, 2.6))
    for number, (data, by_start) in enumerate(found.items()):
        starts = sorted(by_start, key=float)
        for axis, kind in zip(axes, kinds, strict=True):
            values = [by_start[start][kind] for start in starts]
            middle = [value["value"] for value in values]
            below = [value["value"] - value["low"] for value in values]
            above = [value["high"] - value["value"] for value in values]
            at = [float(start) + 0.01 * number for start in starts]
            axis.errorbar(
                at,
                middle,
                (below, above),
                fmt="os"[number] + "-",
                color=f"C{number}",
                markersize=4,
                capsize=2,
                label=data,
            )
            axis.set(xlabel="$t_0\\,/\\,T$", title=kind)
            if "floor_low" in values[0]:
                axis.axhspan(values[0]["floor_low"], values[0]["floor_high"], color=f"C{number}", alpha=0.12)
    axes[0].legend(fontsize=8)
    return closed(figure)


def half_hidden(size: int) -> Tensor:
    """A mask `(1, 1, size, size)` of the upper half."""
    return (torch.arange(size) < size // 2).float()[None, None, :, None].expand(1, 1, size, size)
