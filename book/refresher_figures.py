"""The pictures of the refresher page: pure functions, seeded, one question each."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.pages.plotting import use_style

SEED = 0


def density(x: np.ndarray, mean: float = 0.0, sigma: float = 1.0) -> np.ndarray:
    """Return the density of N(mean, sigma^2) at x (eq-ref-gauss-density)."""
    return np.exp(-0.5 * ((x - mean) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))


def _axes(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    use_style()
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def _finish(figure: Figure, axes: Axes) -> Figure:
    axes.legend()
    plt.close(figure)  # the cell shows the figure that it returns, once
    return figure


def sum_of_gaussians(n: int = 20_000) -> Figure:
    """Show that variances add and standard deviations do not (eq-ref-sum)."""
    rng = np.random.default_rng(SEED)
    sigmas = np.array([1.0, 2.0])
    draws = rng.normal(0.0, sigmas[0], n) + rng.normal(0.0, sigmas[1], n)
    x = np.linspace(-10, 10, 400)
    figure, axes = _axes("value of the sum", "density")
    axes.hist(draws, bins=80, range=(-10, 10), density=True, alpha=0.35, color="C0", label="sums of two draws")
    axes.plot(x, density(x, sigma=np.sqrt((sigmas**2).sum())), color="C0", label="variances added")
    axes.plot(x, density(x, sigma=sigmas.sum()), "--", color="C1", label="standard deviations added")
    axes.set_xlim(-15, 10)  # room for the legend
    return _finish(figure, axes)


def product_of_gaussians() -> Figure:
    """Show two densities and their normalised product (eq-ref-product)."""
    (mean_1, var_1), (mean_2, var_2) = (-1.5, 1.6**2), (1.0, 0.9**2)
    variance = 1 / (1 / var_1 + 1 / var_2)
    mean = variance * (mean_1 / var_1 + mean_2 / var_2)
    x = np.linspace(-6, 4, 400)
    figure, axes = _axes("x", "density")
    axes.plot(x, density(x, mean_1, np.sqrt(var_1)), "--", color="C0", label="first factor")
    axes.plot(x, density(x, mean_2, np.sqrt(var_2)), ":", color="C1", label="second factor")
    axes.plot(x, density(x, mean, np.sqrt(variance)), color="C2", label="product, normalised")
    return _finish(figure, axes)


def _fit_model_to_humps(x: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Return the mean and sigma that minimise KL(model || target), by search on a grid."""
    step = x[1] - x[0]
    best = (np.inf, 0.0, 1.0)
    for mean in np.linspace(-4, 4, 81):
        for sigma in np.linspace(0.3, 3.0, 55):
            model = density(x, mean, sigma) + 1e-300
            divergence = float((model * np.log(model / target)).sum() * step)
            best = min(best, (divergence, mean, sigma))
    return best[1], best[2]


def kl_directions() -> Figure:
    """Fit one Gaussian to two humps by each direction of the KL divergence (eq-ref-kl)."""
    x = np.linspace(-8, 8, 801)
    target = 0.6 * density(x, -2.0, 0.7) + 0.4 * density(x, 2.2, 0.7)
    step = x[1] - x[0]
    cover_mean = (x * target).sum() * step  # KL(target || model) is least where the moments match
    cover_sigma = np.sqrt((((x - cover_mean) ** 2) * target).sum() * step)
    seek_mean, seek_sigma = _fit_model_to_humps(x, target)
    figure, axes = _axes("x", "density")
    axes.fill_between(x, target, alpha=0.3, color="C0", label="data")
    axes.plot(x, density(x, cover_mean, cover_sigma), "--", color="C1", label="minimises KL(data ‖ model)")
    axes.plot(x, density(x, seek_mean, seek_sigma), color="C2", label="minimises KL(model ‖ data)")
    axes.set_xlim(-6, 6)
    return _finish(figure, axes)


def elbo_gap(x: float = 1.5, noise_variance: float = 0.5) -> Figure:
    """Slide the mean of q and compare the ELBO with log p(x) (eq-ref-elbo-gap)."""
    evidence = float(np.log(density(np.array(x), 0.0, np.sqrt(1 + noise_variance))))
    posterior_variance = 1 / (1 + 1 / noise_variance)
    means = np.linspace(-0.5, 2.5, 300)

    def elbo(variance: float) -> np.ndarray:
        prior = -0.5 * np.log(2 * np.pi) - 0.5 * (means**2 + variance)
        squares = (x - means) ** 2 + variance
        likelihood = -0.5 * np.log(2 * np.pi * noise_variance) - 0.5 * squares / noise_variance
        return prior + likelihood + 0.5 * np.log(2 * np.pi * np.e * variance)

    figure, axes = _axes("mean of q", "nats")
    axes.axhline(evidence, color="C0", label="log p(x)")
    axes.plot(means, elbo(posterior_variance), color="C1", label="ELBO, variance of the posterior")
    axes.plot(means, elbo(3 * posterior_variance), "--", color="C2", label="ELBO, three times that variance")
    axes.axvline(
        posterior_variance * x / noise_variance, ymin=0.5, color="0.35", lw=1.2, ls=":", label="posterior mean"
    )
    return _finish(figure, axes)


def coin_denoiser() -> Figure:
    """Plot E[x | y] for a coin x = +-1 seen through noise (eq-ref-coin)."""
    y = np.linspace(-3, 3, 400)
    figure, axes = _axes("noisy observation y", "best guess of x")
    for sigma, style in zip((0.3, 0.8, 1.6), ("-", "--", ":"), strict=True):
        axes.plot(y, np.tanh(y / sigma**2), style, label=f"σ = {sigma}")
    axes.set_yticks([-1, 0, 1])
    return _finish(figure, axes)


def change_of_variables(n: int = 20_000) -> Figure:
    """Push a standard Gaussian through sinh, with and without the derivative (eq-ref-change)."""
    rng = np.random.default_rng(SEED)
    draws = np.sinh(rng.normal(size=n))
    y = np.linspace(-6, 6, 600)
    figure, axes = _axes("y = sinh(x)", "density")
    axes.hist(
        draws,
        bins=90,
        range=(-6, 6),
        density=False,
        weights=np.full(n, 90 / (12 * n)),
        alpha=0.35,
        color="C0",
        label="draws",
    )
    axes.plot(y, density(np.arcsinh(y)) / np.sqrt(1 + y**2), color="C0", label="with the derivative")
    axes.plot(y, density(np.arcsinh(y)), "--", color="C1", label="without it")
    return _finish(figure, axes)


def brownian_motion(paths: int = 6, n: int = 2000) -> Figure:
    """Show some paths on [0, 1], and the running sum of squared increments of one of them in coarse and fine pieces."""
    use_style()
    rng = np.random.default_rng(SEED)
    t = np.linspace(0, 1, n + 1)
    w = np.concatenate([np.zeros((paths, 1)), rng.normal(0.0, np.sqrt(1 / n), (paths, n)).cumsum(1)], 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.0))
    left.plot(t[::4], w[:, ::4].T, linewidth=0.7)
    for sign in (-2, 2):
        left.plot(t, sign * np.sqrt(t), ":", color="0.45")
    left.set(xlabel="t", ylabel="w(t)")
    for pieces, style in ((10, "-."), (100, "--"), (n, "-")):
        ends = np.linspace(0, n, pieces + 1).astype(int)
        squares = np.diff(w[0, ends]) ** 2
        right.plot(t[ends], np.append(0, squares.cumsum()), style, label=f"{pieces} pieces")
    right.axline((0, 0), slope=1, color="0.45", linestyle=":")
    right.set(xlabel="t", ylabel="sum of squared increments")
    right.legend()
    plt.close(figure)
    return figure
