"""The figures of chapter 1: pure functions, seeded, one question each."""

import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.data import sets
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import cosine, from_betas, linear, log_snr, sigmoid
from course_lib.pages import plotting
from course_lib.sampling.steps import ancestral, last, sample

SCHEDULES = {"linear": linear(), "cosine": cosine(), "sigmoid": sigmoid()}
LINES = {"linear": "-", "cosine": "--", "sigmoid": ":"}


def noise_like(x: Tensor, seed: int = 0) -> Tensor:
    """Standard normal noise of x's shape and dtype."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)


def three_bumps() -> Mixture:
    """The mixture that the chapter samples from: three elongated Gaussians in the plane, with weights 0.5, 0.3, 0.2."""
    angles = torch.tensor([0.3, 1.4, 2.4], dtype=torch.float64)
    turn = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], 1).reshape(3, 2, 2)
    spread = torch.diag_embed(torch.tensor([[0.12, 0.01], [0.05, 0.02], [0.08, 0.01]], dtype=torch.float64))
    means = torch.tensor([[-1.0, -0.6], [1.1, -0.4], [0.1, 1.1]], dtype=torch.float64)
    return Mixture(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), means, turn @ spread @ turn.transpose(-1, -2))


def two_bumps() -> Mixture:
    """A mixture on the line."""
    return Mixture(
        torch.tensor([0.35, 0.65], dtype=torch.float64),
        torch.tensor([[-1.1], [0.9]], dtype=torch.float64),
        torch.tensor([[[0.02]], [[0.06]]], dtype=torch.float64),
    )


def photograph_strips() -> Figure:
    """One photograph under three schedules, at six times."""
    plotting.use_style()
    photo = sets.photographs(96)[:1]
    return strips(photo, [0, 200, 400, 600, 800, 1000], size=1.05)


def digit_strips() -> Figure:
    """One digit under three schedules, at eleven times."""
    plotting.use_style()
    return strips(sets.digits()[0][30:31], list(range(0, 1001, 100)), size=0.62)


def strips(image: Tensor, times: list[int], size: float) -> Figure:
    """A row for each schedule, a column for each time, the same noise everywhere."""
    t = torch.tensor(times)
    x0 = image.expand(len(times), -1, -1, -1)
    noise = noise_like(image).expand_as(x0)
    rows = [GaussianDiffusion(schedule).diffuse(x0, t, noise) for schedule in SCHEDULES.values()]
    figure = plotting.show_rows(
        rows,
        labels=list(SCHEDULES),
        titles=[f"t = {time}" if i == 0 else f"{time}" for i, time in enumerate(times)],
        size=size,
    )
    plt.close(figure)
    return figure


def schedules() -> Figure:
    """Alpha-bar and the log-SNR of the three schedules."""
    plotting.use_style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.1))
    for name, schedule in SCHEDULES.items():
        t = torch.arange(1, schedule.T + 1)
        left.plot(t, schedule.at(t), LINES[name], label=name)
        right.plot(t, log_snr(schedule, t), LINES[name], label=name)
    left.set(xlabel="t", ylabel=r"$\bar\alpha_t$")
    right.set(xlabel="t", ylabel="log SNR(t)")
    right.axhline(0, color="0.5", linewidth=0.8)
    left.legend()
    plt.close(figure)
    return figure


def marginals() -> Figure:
    """Densities of x_t for a mixture on the line, from data to noise."""
    plotting.use_style()
    exact = ExactDiffusion(two_bumps(), SCHEDULES["cosine"])
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    x = torch.linspace(-3, 3, 600, dtype=torch.float64)
    times = [0, 150, 350, 550, 750, 1000]
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(times)))
    for height, (time, color) in enumerate(zip(times, colors, strict=True)):
        density = exact.log_prob(x[:, None], torch.tensor(time)).exp().numpy()
        axes.fill_between(x, -height, density / density.max() * 0.85 - height, color=color, alpha=0.8, linewidth=0)
        axes.text(-3.1, -height + 0.15, f"t = {time}", ha="right", fontsize=9)
    axes.set(xlabel=r"$x_t$", yticks=[])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    plt.close(figure)
    return figure


def jump_against_chain() -> Figure:
    """Histograms after 50, 200 and 500 single steps against the closed form."""
    plotting.use_style()
    schedule = SCHEDULES["linear"]
    process, generator = GaussianDiffusion(schedule), torch.Generator().manual_seed(1)
    x = torch.full((20_000,), 1.5, dtype=torch.float64)
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    grid = torch.linspace(-4, 4, 500, dtype=torch.float64)
    for t in range(1, 501):
        x = process.advance(
            x, torch.tensor(t - 1), torch.tensor(t), torch.randn(len(x), generator=generator, dtype=torch.float64)
        )
        if t in (50, 200, 500):
            density = torch.distributions.Normal(1.5 * schedule.signal(t), schedule.noise(t)).log_prob(grid).exp()
            color = f"C{(50, 200, 500).index(t)}"
            axes.hist(x.numpy(), bins=80, density=True, histtype="stepfilled", alpha=0.4, color=color)
            axes.plot(grid, density, color=color, label=f"t = {t}")
    axes.set(xlabel=r"$x_t$", ylabel="density")
    axes.legend(title=r"$x_0 = 1.5$; line: closed form")
    plt.close(figure)
    return figure


def what_is_left() -> Figure:
    """KL divergence from the standard normal against t, for one digit."""
    plotting.use_style()
    x0 = sets.digits()[0][30].double().flatten()
    figure, axes = plt.subplots(figsize=(6.4, 3.1))
    for name, schedule in SCHEDULES.items():
        bar = schedule.alpha_bar[1:]
        kl = (bar * x0.square().sum() - len(x0) * (bar + torch.log1p(-bar))) / 2
        axes.semilogy(torch.arange(1, schedule.T + 1), kl, LINES[name], label=name)
    axes.set(xlabel="t", ylabel="KL to N(0, I), in nats", ylim=(1e-5, 1e3))
    axes.legend()
    plt.close(figure)
    return figure


def reverse_density(beta: float, x_t: float, points: int = 4001) -> tuple[Tensor, Tensor, Tensor]:
    """A grid, the exact density of x_{t-1} given x_t for one step of size beta on the line, and the Gaussian with its moments."""
    exact = ExactDiffusion(two_bumps(), from_betas(torch.tensor([0.02, beta])))
    x = torch.linspace(-3.5, 3.5, points, dtype=torch.float64)
    step = torch.distributions.Normal(math.sqrt(1 - beta) * x, math.sqrt(beta)).log_prob(
        torch.tensor(x_t, dtype=torch.float64)
    )
    density = (step + exact.log_prob(x[:, None], torch.tensor(1))).exp()
    density = density / torch.trapezoid(density, x)
    mean = torch.trapezoid(x * density, x)
    spread = torch.trapezoid((x - mean) ** 2 * density, x).sqrt()
    return x, density, torch.distributions.Normal(mean, spread).log_prob(x).exp()


def distance_to_gaussian(beta: float, x_t: float, moments: str = "exact") -> float:
    """KL divergence of the exact reverse step from a Gaussian, in nats: with its own moments, or with those of a "small step"."""
    x, density, gaussian = reverse_density(beta, x_t)
    if moments == "small step":
        before = ExactDiffusion(two_bumps(), from_betas(torch.tensor([0.02, beta])))
        score = float(before.score(torch.tensor([[x_t]], dtype=torch.float64), torch.tensor(1)))
        mean = x_t + beta * (x_t / 2 + score)
        gaussian = torch.distributions.Normal(mean, math.sqrt(beta)).log_prob(x).exp()
    inside = density > 1e-300
    integrand = torch.where(inside, density * (density.clamp(min=1e-300).log() - gaussian.clamp(min=1e-300).log()), 0.0)
    return float(torch.trapezoid(integrand, x))


def reverse_shapes() -> Figure:
    """The exact reverse step for four step sizes, with the Gaussian of the same moments."""
    plotting.use_style()
    figure, axes = plt.subplots(1, 4, figsize=(8.6, 2.5), sharex=True)
    for axis, beta in zip(axes, (0.02, 0.2, 0.5, 0.9), strict=True):
        x, density, gaussian = (values[::10] for values in reverse_density(beta, 0.1))
        axis.fill_between(x, 0, density, alpha=0.45, linewidth=0, label="exact")
        axis.plot(x, gaussian, color="C1", linestyle="--", label="Gaussian")
        axis.set(title=rf"$\beta = {beta}$", yticks=[], xlim=(-2.5, 2.5), xlabel=r"$x_{t-1}$")
    axes[0].legend(fontsize=8, loc="upper left")
    plt.close(figure)
    return figure


def posterior_weights() -> Figure:
    """Weights of x_0 and x_t in the posterior mean, and both variances, for the linear schedule."""
    plotting.use_style()
    schedule = SCHEDULES["linear"]
    t = torch.arange(1, schedule.T + 1)
    weight_x0, weight_xt, variance = GaussianDiffusion(schedule).posterior_weights(t, t - 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    left.loglog(t, weight_x0, label=r"of $x_0$")
    left.loglog(t, weight_xt.clamp(min=1e-6), "--", label=r"of $x_t$")
    left.set(xlabel="t", ylabel="weight in the mean", ylim=(1e-4, 3))
    left.legend()
    right.semilogx(t, variance / schedule.beta[1:])
    right.set(xlabel="t", ylabel=r"$\tilde\beta_t\,/\,\beta_t$")
    plt.close(figure)
    return figure


def denoiser_fields() -> Figure:
    """Arrows from x_t to E[x_0 | x_t] at three times."""
    plotting.use_style()
    schedule = SCHEDULES["cosine"]
    exact = ExactDiffusion(three_bumps(), schedule)
    points, _ = three_bumps().sample(1500, torch.Generator().manual_seed(0))
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.9), sharex=True, sharey=True)
    line = torch.linspace(-2.2, 2.2, 12, dtype=torch.float64)
    x = torch.cartesian_prod(line, line)
    for axis, time in zip(axes, (150, 450, 800), strict=True):
        t = torch.tensor(time)
        noisy = GaussianDiffusion(schedule).diffuse(points, t, noise_like(points))
        best = exact.denoise(x, t)
        axis.scatter(*noisy.T, s=2, color="0.7", linewidth=0, rasterized=True)
        axis.scatter(*points.T, s=2, color="C2", alpha=0.4, linewidth=0, rasterized=True)
        axis.quiver(*x.T, *(best - x).T, angles="xy", scale_units="xy", scale=1, width=0.004, color="C0")
        axis.set(title=f"t = {time}", aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
    plt.close(figure)
    return figure


def reverse_run(steps: int, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Times and states `(steps + 1, n, 2)` of the exact reverse process on the three bumps."""
    schedule = SCHEDULES["cosine"]
    process, generator = GaussianDiffusion(schedule), torch.Generator().manual_seed(seed)
    denoise = ExactDiffusion(three_bumps(), schedule).denoise
    times = schedule.grid(steps)
    start = process.prior((n, 2), generator, torch.float64)
    return times, torch.stack(list(sample(ancestral(denoise, process, generator=generator), start, times)))


def reverse_paths() -> Figure:
    """Some paths of the exact reverse process, and when each one's cluster and its place there are decided."""
    plotting.use_style()
    times, states = reverse_run(120, 15)
    exact = ExactDiffusion(three_bumps(), SCHEDULES["cosine"])
    chances = torch.stack([exact.class_posterior(x, t) for x, t in zip(states[:-1], times[:-1], strict=True)])
    cluster = chances[-1].argmax(1)
    figure, (plane, decided, left) = plt.subplots(1, 3, figsize=(8.6, 3.0), width_ratios=(1.1, 1, 1))
    density(plane, color="0.6")
    for k in range(3):
        color, mine = f"C{k}", (cluster == k).nonzero()[:, 0]
        shown = states[:, mine[:1]]
        plotting.trajectories(plane, shown, color=color, width=0.9)
        plane.scatter(*shown[0].T, s=14, facecolors="none", edgecolors=color, linewidth=0.9, zorder=3)
        decided.plot(times[:-1], chances[:, mine, k], color=color, linewidth=0.9)
        left.plot(times, (states[:, mine] - states[-1, mine]).norm(dim=-1), color=color, linewidth=0.9)
    plane.set(aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
    ticks = range(0, 1000, 200)  # without 1000, which would touch the 0 of the panel before it
    decided.set(xlabel="t", xlim=(1000, 0), xticks=ticks, title="chance of its cluster")
    left.set(xlabel="t", xlim=(1000, 0), xticks=ticks, ylim=(0, None), title="way left to go")
    plt.close(figure)
    return figure


def density(axes: Axes, color: str = "C2") -> None:
    """Contours of the three bumps."""
    line = torch.linspace(-3, 3, 160, dtype=torch.float64)
    x, y = torch.meshgrid(line, line, indexing="xy")
    values = ExactDiffusion(three_bumps(), SCHEDULES["cosine"]).log_prob(
        torch.stack([x, y], -1).reshape(-1, 2), torch.tensor(0)
    )
    axes.contour(x, y, values.exp().reshape(x.shape), levels=6, colors=color, linewidths=0.8)


def reverse_animation() -> plotting.Animation:
    """A cloud of points that runs the exact reverse process."""
    plotting.use_style()
    times, states = reverse_run(200, 1200, seed=3)
    chosen = list(range(0, 201, 8))

    def cloud(points: Tensor) -> Figure:
        figure, axes = plt.subplots(figsize=(3.6, 3.6))
        axes.scatter(*points.T, s=4, color="C0", linewidth=0, alpha=0.6)
        axes.set(aspect="equal", xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[])
        return figure

    captions = [f"t = {int(times[i])}" for i in chosen]
    words = "A cloud of points that begins as one round blob of noise at t = 1000 and ends as three narrow, tilted clusters at t = 0."
    return plotting.Animation((cloud(states[i]) for i in chosen), alt=words, captions=captions, width=360)


def steps_needed() -> Figure:
    """Samples of the exact reverse process with few and with many steps, beside true samples."""
    plotting.use_style()
    truth, _ = three_bumps().sample(1500, torch.Generator().manual_seed(9))
    figure, axes = plt.subplots(1, 4, figsize=(8.6, 2.4), sharex=True, sharey=True)
    for axis, steps in zip(axes, (3, 10, 100), strict=False):
        _, states = reverse_run(steps, 1500, seed=5)
        axis.scatter(*states[-1].T, s=2, linewidth=0, rasterized=True)
        axis.set(title=f"{steps} steps")
    axes[3].scatter(*truth.T, s=2, color="C2", linewidth=0, rasterized=True)
    axes[3].set(title="the data")
    for axis in axes:
        axis.set(aspect="equal", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), xticks=[], yticks=[])
    plt.close(figure)
    return figure


def buggy_samples() -> dict[str, Tensor]:
    """Samples of the exact reverse process, right and with three classic mistakes in one line."""
    schedule = SCHEDULES["linear"]
    process, exact = GaussianDiffusion(schedule), ExactDiffusion(three_bumps(), schedule)
    times = schedule.grid(1000)

    def run(step: Callable[[Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]], Tensor]) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        start = process.prior((800, 2), generator, torch.float64)
        draw = lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)  # noqa: E731 (a NoiseSource)
        return last(sample(lambda x, t, s: step(x, t, s, draw), start, times))

    def right(x: Tensor, t: Tensor, s: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        mean, variance = process.posterior(exact.denoise(x, t), x, t, s)
        return mean + variance.sqrt() * draw(x)

    def variance_for_std(x: Tensor, t: Tensor, s: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        mean, variance = process.posterior(exact.denoise(x, t), x, t, s)
        return mean + variance * draw(x)

    def late_index(x: Tensor, t: Tensor, s: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        shifted = (t - 100).clamp(min=1)
        mean, variance = process.posterior(exact.denoise(x, shifted), x, t, s)
        return mean + variance.sqrt() * draw(x)

    def noise_twice(x: Tensor, t: Tensor, s: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        mean, variance = process.posterior(exact.denoise(x, t), x, t, s)
        return mean + variance.sqrt() * draw(x) + variance.sqrt() * draw(x)

    names = {
        "correct": right,
        "variance for std": variance_for_std,
        "network told t − 100": late_index,
        "noise added twice": noise_twice,
    }
    return {name: run(step) for name, step in names.items()}


def breakages() -> Figure:
    """What three one-line mistakes do to the samples."""
    plotting.use_style()
    figure, axes = plt.subplots(1, 4, figsize=(8.6, 2.5), sharex=True, sharey=True)
    for axis, (name, points) in zip(axes, buggy_samples().items(), strict=True):
        axis.scatter(*points.T, s=2, linewidth=0, color="C2" if name == "correct" else "C1", rasterized=True)
        axis.set(aspect="equal", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), xticks=[], yticks=[])
        axis.set_title(name, fontsize=9)
    plt.close(figure)
    return figure


def schedule_mistakes() -> Figure:
    """Alpha-bar with the two classic mistakes in the schedule, and what they leave of a digit at t = 500."""
    plotting.use_style()
    good, u = SCHEDULES["cosine"], torch.arange(1001, dtype=torch.float64) / 1000
    no_square = torch.cos((u + 0.008) / 1.008 * math.pi / 2).clamp(min=1e-5)
    curves = {
        "cosine": good.alpha_bar,
        "cosine without its square": no_square / no_square[0],
        r"$\alpha_t$ used for $\bar\alpha_t$": good.alpha,
    }
    figure, axes = plt.subplots(1, 4, figsize=(8.6, 2.5), width_ratios=[2.1, 1, 1, 1])
    x0 = sets.digits()[0][30:31]
    for number, (name, bar) in enumerate(curves.items()):
        axes[0].plot(bar, ["-", "--", ":"][number], label=name.removeprefix("cosine "))
        noisy = bar[500].sqrt() * x0 + (1 - bar[500]).sqrt() * noise_like(x0)
        plotting.show_image(axes[number + 1], plotting.as_pictures(noisy.float())[0])
        axes[number + 1].set_title(name.replace(" without", "\nwithout").replace(" used", "\nused"), fontsize=8)
    axes[0].set(xlabel="t", ylabel=r"what is used as $\bar\alpha_t$")
    axes[0].legend(fontsize=8, loc="lower left")
    plt.close(figure)
    return figure


def last_beta(T: int) -> tuple[float, float]:
    """The cosine schedule's last beta without and with the clip."""
    u = torch.arange(T + 1, dtype=torch.float64) / T
    bar = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    return float(1 - bar[-1] / bar[-2]), float(cosine(T).beta[-1])
