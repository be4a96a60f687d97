"""The variational bound that the denoising loss comes from, its decoders, and divergences of Gaussians."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.types import Denoiser, per_sample

Decoder = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x0, mean, variance) -> log p(x0 | x1), (B,)


class Bound(NamedTuple):
    """The terms of the negative variational bound, each in nats for a whole sample `(B,)`; `total` is at least -log p(x_0)."""

    prior: Tensor  # L_T, (B,)
    steps: Tensor  # L_1 .. L_{T-1}, (T - 1, B); row t - 2 compares q(x_{t-1} | x_t, x_0) with the model
    reconstruction: Tensor  # L_0, (B,)

    @property
    def total(self) -> Tensor:
        """The bound on -log p(x_0), `(B,)`, in nats."""
        return self.prior + self.steps.sum(0) + self.reconstruction

    def bits_per_dimension(self, dimensions: int) -> Tensor:
        """The bound in bits for each of the data's dimensions, `(B,)`."""
        return self.total / (dimensions * math.log(2))


@torch.no_grad()
def variational_bound(
    denoise: Denoiser,
    x0: Tensor,
    process: GaussianDiffusion,
    decoder: Decoder,
    x0_variance: Callable[[Tensor, Tensor], Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> Bound:
    """One Monte-Carlo draw of all T + 1 terms of the bound (Ho et al., 2020, equation 5) for data `(B, ...)`.

    The model's reverse step has the posterior's mean at x_0-hat and the variance of `samplers.ancestral`. `decoder` scores
    x_0 under p(x_0 | x_1): `gaussian_log_prob` for real data, `discretised_log_prob` for 8-bit images.
    Raises ValueError for a continuous schedule, which has no steps to count.
    """
    if not hasattr(process.schedule, "alpha_bar"):
        raise ValueError("process must have a table schedule: the bound has one term for each of its T steps")
    schedule, T = process.schedule, int(process.schedule.T)

    def diffused(t: Tensor) -> Tensor:
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
        return process.diffuse(x0, t, noise)

    end = torch.tensor(T)
    prior = gaussian_kl(
        schedule.signal(end).to(x0) * x0,
        schedule.noise(end).to(x0) ** 2,
        torch.zeros_like(x0),
        torch.ones((), dtype=x0.dtype),
    )
    steps = []
    for t in torch.arange(2, T + 1):
        x_t = diffused(t)
        mean, variance, model_mean, model_variance = _reverse_pair(denoise, process, x0, x_t, t, x0_variance)
        steps.append(gaussian_kl(mean, variance.to(x0), model_mean, model_variance.to(x0)))
    one = torch.tensor(1)
    x_1 = diffused(one)
    x0_hat = denoise(x_1, one)
    spread = (x0_variance or _first_step_variance(process))(x_1, one)
    return Bound(prior, torch.stack(steps) if steps else x0.new_zeros(0, len(x0)), -decoder(x0, x0_hat, spread.to(x0)))


def _first_step_variance(process: GaussianDiffusion) -> Callable[[Tensor, Tensor], Tensor]:
    """beta_1 as the decoder's variance: the posterior's own, beta-tilde_1, is 0."""
    return lambda x_t, t: process.transition(t - 1, t)[1]


def _reverse_pair(
    denoise: Denoiser,
    process: GaussianDiffusion,
    x0: Tensor,
    x_t: Tensor,
    t: Tensor,
    x0_variance: Callable[[Tensor, Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and variance of the true posterior, then of the model's reverse step, from t to t - 1."""
    weight_x0, _, variance = process.posterior_weights(t, t - 1)
    mean, _ = process.posterior(x0, x_t, t, t - 1)
    model_mean, _ = process.posterior(denoise(x_t, t), x_t, t, t - 1)
    extra = 0 if x0_variance is None else weight_x0**2 * x0_variance(x_t, t)
    return mean, variance, model_mean, variance + extra


def gaussian_kl(mean_q: Tensor, variance_q: Tensor, mean_p: Tensor, variance_p: Tensor) -> Tensor:
    """KL(N(mean_q, variance_q I) || N(mean_p, variance_p I)) of each sample, summed over its dimensions, `(B,)`, in nats."""
    ratio = per_sample(variance_q / variance_p, mean_q)
    terms = ratio - 1 - ratio.log() + (mean_q - mean_p).square() / per_sample(variance_p, mean_q)
    return terms.flatten(1).sum(1) / 2


def gaussian_log_prob(x0: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log N(x_0; mean, variance I) of each sample, `(B,)`, in nats: the decoder for real-valued data."""
    variance = per_sample(variance, x0)
    terms = (x0 - mean).square() / variance + variance.log() + math.log(2 * math.pi)
    return -terms.flatten(1).sum(1) / 2


def discretised_log_prob(x0: Tensor, mean: Tensor, variance: Tensor, levels: int = 256) -> Tensor:
    """log of the Gaussian's mass in the bin of x_0, for data of `levels` values in [-1, 1] (Ho et al., 2020, equation 13).

    The outermost bins reach to minus and plus infinity, so that all bins together hold probability 1.
    """
    half, spread = 1 / (levels - 1), per_sample(variance, x0).sqrt()
    normal = torch.special.log_ndtr
    upper, lower = (x0 + half - mean) / spread, (x0 - half - mean) / spread
    # In a far tail both ends round to the same value; by symmetry the tail is taken on the side where it is small.
    flip = (upper + lower) > 0
    high, low = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    inner = normal(high) + torch.log(-torch.expm1((normal(low) - normal(high)).clamp(max=-1e-12)))
    edge_low, edge_high = normal(upper), normal(-lower)
    log_mass = torch.where(x0 < -1 + half, edge_low, torch.where(x0 > 1 - half, edge_high, inner))
    return log_mass.flatten(1).sum(1)
