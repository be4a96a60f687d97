"""The pictures of chapter 10's page on the design space: pure functions of exact worlds, one question each."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.diffusion import weights
from course_lib.diffusion.continuous import EDM, VP, Continuous, Straight
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.predictions import EPS, FLOW, Prediction, V
from course_lib.nets.preconditioned import coefficients
from course_lib.pages.plotting import closed, curves
from course_lib.sampling.ode import heun, velocity
from course_lib.sampling.sde import churned
from course_lib.sampling.steps import last, sample
from course_lib.types import Denoiser, Schedule


def ring(count: int = 6, radius: float = 1.0, width: float = 0.12) -> Mixture:
    """Round bumps of equal weight on a circle in the plane, around the origin."""
    angles = 2 * torch.pi * torch.arange(count, dtype=torch.float64) / count
    return Mixture(
        torch.full((count,), 1 / count, dtype=torch.float64),
        radius * torch.stack([angles.cos(), angles.sin()], 1),
        width**2 * torch.eye(2, dtype=torch.float64).expand(count, 2, 2),
    )


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal noise in float64 from a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigma_data(mixture: Mixture) -> float:
    """The root of the mean variance of the coordinates."""
    return float((mixture.covariance().trace() / mixture.means.shape[1]).sqrt())


def preconditioning(data: float = 0.5) -> Figure:
    """The three factors against the noise level."""
    sigma = torch.logspace(-2.5, 2, 200, dtype=torch.float64)
    c = coefficients(sigma, data)
    figure, (axis,) = curves(r"noise level $\sigma$", "", height=2.9)
    styles = (
        (c.skip, r"$c_{\mathrm{skip}}$", "-"),
        (c.out, r"$c_{\mathrm{out}}$", "--"),
        (c.into, r"$c_{\mathrm{in}}$", "-."),
    )
    for values, name, style in styles:
        axis.semilogx(sigma, values, style, label=name)
    axis.axvline(data, color="0.6", linewidth=1, linestyle=":")
    axis.text(data * 1.08, 1.8, r"$\sigma = \sigma_{\mathrm{data}}$", color="0.4", fontsize=9)
    axis.legend(loc="center right")
    return closed(figure)


def left_over(mixture: Mixture, levels: Tensor, n: int = 1500) -> Tensor:
    """For each level, the loss that a perfect network leaves, in units of the untrained one's, `(L,)`."""
    exact, data = ExactDiffusion(mixture, EDM()), sigma_data(mixture)
    x0, eps = mixture.sample(n, torch.Generator().manual_seed(0))[0], normal(n, mixture.means.shape[1], seed=1)
    least = [exact.covariance(x0 + s * eps, s).diagonal(dim1=1, dim2=2).mean() for s in levels]
    return torch.stack(least) * weights.edm(data)(levels)


def what_is_learned(levels: Tensor, left: Tensor, log_mean: float = -1.2, log_std: float = 1.2) -> Figure:
    """The loss that is left for a perfect network, and the density of the training levels."""
    figure, (axis,) = curves(r"noise level $\sigma$", "loss, untrained = 1", height=3.0)
    axis.semilogx(levels, left, color="C0", label="perfect network")
    axis.axhline(1, color="0.6", linewidth=1)
    axis.fill_between(levels, left, torch.ones_like(left), color="C0", alpha=0.15, linewidth=0)
    axis.set(ylim=(0, 1.1))
    other = axis.twinx()
    other.semilogx(
        levels, torch.exp(-(((levels.log() - log_mean) / log_std) ** 2) / 2), "C1--", label="density of training levels"
    )
    other.set(yticks=[], ylim=(0, 1.1))
    handles = axis.get_legend_handles_labels(), other.get_legend_handles_labels()
    axis.legend(
        [*handles[0][0], *handles[1][0]], [*handles[0][1], *handles[1][1]], loc="center right", bbox_to_anchor=(1, 0.72)
    )
    return closed(figure)


def grid_errors(mixture: Mixture, rhos: Sequence[float], counts: Sequence[int], n: int = 100) -> dict[int, list[float]]:
    """By number of steps: the mean distance to the true end of Heun's method on the grid of each rho."""
    exact, top, low = ExactDiffusion(mixture, EDM()), 30.0, 0.02
    x = top * normal(n, 2, seed=4)
    step = heun(velocity(exact.denoise, EDM()))
    truth = last(sample(step, x, EDM(top, sigma_min=low).grid(150)))
    grids = {(count, rho): EDM(top, sigma_min=low, rho=rho).grid(count) for count in counts for rho in rhos}
    far = {key: float((last(sample(step, x, times)) - truth).norm(dim=1).mean()) for key, times in grids.items()}
    return {count: [far[count, rho] for rho in rhos] for count in counts}


def grid_curves(rhos: Sequence[float], errors: Mapping[int, Sequence[float]]) -> Figure:
    """Error against rho, a line for each number of steps."""
    figure, (axis,) = curves(r"$\rho$", "mean distance to the true end", height=3.0)
    for (count, values), style in zip(errors.items(), ("o-", "s--", "^-."), strict=False):
        axis.loglog(rhos, values, style, markersize=4, label=f"{count} steps")
    axis.set_xticks(rhos, [f"{rho:g}" for rho in rhos])
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


def timid(denoise: Denoiser, share: float) -> Denoiser:
    """A denoiser that leaves a share of the noise in: it answers with a blend of the truth and its input."""
    return lambda x, t: torch.lerp(denoise(x, t), x, share)


def churn_errors(
    mixture: Mixture, denoisers: Mapping[str, Denoiser], churns: Sequence[float], steps: int = 24, n: int = 4000
) -> dict[str, list[float]]:
    """By denoiser: the misplaced probability of Heun's method for each amount of churn."""
    schedule = EDM(20.0, sigma_min=0.02)
    x, found = 20.0 * normal(n, 1, seed=5), {}
    for name, denoise in denoisers.items():
        step, found[name] = heun(velocity(denoise, schedule)), []
        for churn in churns:
            stirred = churned(step, schedule, churn, steps, generator=torch.Generator().manual_seed(6))
            found[name].append(misplaced(last(sample(stirred, x, schedule.grid(steps))), mixture))
    return found


def churn_curves(churns: Sequence[float], errors: Mapping[str, Sequence[float]], floor: float) -> Figure:
    """Misplaced probability against churn."""
    figure, (axis,) = curves(r"churn $S_{\mathrm{churn}}$", "misplaced probability", height=3.0)
    for (name, values), style in zip(errors.items(), ("o-", "s--"), strict=True):
        axis.plot(churns, values, style, markersize=4, label=name)
    axis.axhline(floor, color="0.4", linestyle=":", label="exact samples")
    axis.set(ylim=(0, None))
    axis.legend()
    return closed(figure)


def time_at(schedule: Schedule, levels: Tensor) -> Tensor:
    """The times of a continuous schedule with these log-SNR, of their shape, by bisection."""
    low, high = torch.full_like(levels, 1e-7), torch.full_like(levels, schedule.T * (1 - 1e-9))
    for _ in range(60):
        middle = (low + high) / 2
        above = weights.snr(schedule, middle).log() > levels
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return low


def error_weights(levels: Tensor) -> dict[str, Tensor]:
    """By recipe: how much an error of v counts at each log-SNR, times how often it is drawn; each with maximum 1."""

    def of(schedule: Continuous, prediction: Prediction, weight: weights.Weight | None = None) -> Tensor:
        t = time_at(schedule, levels)
        density = weights.snr(schedule, t) / (2 * weights.likelihood(schedule)(t))  # of log-SNR: -dt / dlog SNR
        one = weights.for_output(
            torch.ones_like, prediction, schedule
        )  # output's weight that gives x_0's error the weight 1
        on_x0 = (torch.ones_like(t) if weight is None else weight(t)) / one(t)
        return density * on_x0 / (weights.snr(schedule, t) + 1)

    sigma = torch.exp(-levels / 2)
    data = 0.5
    normal_density = torch.exp(-(((sigma.log() + 1.2) / 1.2) ** 2) / 2)
    truncated = weights.for_output(weights.min_snr(VP()), EPS, VP())
    found = {
        r"$L_{\mathrm{simple}}$, VP": of(VP(), EPS),
        "$v$, VP": of(VP(), V),
        "flow, straight": of(Straight(), FLOW),
        "min-SNR, VP": of(VP(), EPS, truncated),
        "EDM": normal_density * weights.edm(data)(sigma) / (1 / sigma**2 + 1),
    }
    return {name: values / values.max() for name, values in found.items()}


def weight_curves(levels: Tensor, found: Mapping[str, Tensor]) -> Figure:
    """The weights against the log-SNR."""
    figure, (axis,) = curves("log SNR (noise at the left, data at the right)", "weight of an error of $v$", height=3.2)
    for (name, values), style in zip(found.items(), ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))), strict=True):
        axis.plot(levels, values, linestyle=style, label=name)
    axis.legend(fontsize=9)
    return closed(figure)


def stretched(stretch: float, variance: float = 0.25, steps: int = 2000) -> dict[str, float]:
    """For data N(0, variance) under VP and a score that is too long by the factor 1 + stretch: divergences of the samples, and the bound.

    The variances of the reverse SDE and of the flow follow linear equations, which are solved exactly on each short step.
    """
    schedule, size = VP(), 1 / steps
    sde = flow = 1.0
    bound = 0.5 * (v_end := variance_at(schedule, variance, 1.0)) - 0.5 - 0.5 * math.log(v_end)  # of the two ends at T
    for k in range(steps):
        t = 1 - (k + 0.5) * size
        beta = schedule.beta_min + t * (schedule.beta_max - schedule.beta_min)
        v = variance_at(schedule, variance, t)
        bound += 0.5 * stretch**2 * beta / v * size
        rate = beta - 2 * beta * (1 + stretch) / v
        sde = sde * math.exp(rate * size) + beta * math.expm1(rate * size) / rate
        flow = flow * math.exp((beta - beta * (1 + stretch) / v) * size)
    diverge = lambda w: 0.5 * (variance / w - 1 - math.log(variance / w))  # noqa: E731
    return {"reverse SDE": diverge(sde), "flow": diverge(flow), "bound": bound}


def variance_at(schedule: VP, variance: float, t: float) -> float:
    """The variance of x_t for data of that variance."""
    time = torch.tensor(t, dtype=torch.float64)
    return float(schedule.signal(time) ** 2 * variance + schedule.noise(time) ** 2)


def divergence_curves(stretches: Sequence[float], found: Sequence[Mapping[str, float]]) -> Figure:
    """Divergence of the samples against the error of the score, for the SDE and the flow, and the bound."""
    figure, (axis,) = curves("error of the score, relative", "nats", height=3.2)
    for name, style in (("flow", "s--"), ("bound", "k:"), ("reverse SDE", "o-")):
        values = np.array([each[name] for each in found])
        axis.semilogy(stretches, np.where(values > 1e-6, values, np.nan), style, markersize=4, label=name)
    axis.legend()
    return closed(figure)
