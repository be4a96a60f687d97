"""The variational bound that the denoising loss comes from, its decoders, and divergences of Gaussians."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.diffusion.gaussian import GaussianDiffusion, widened
from course_lib.types import Denoiser, Variance, check_decreasing, per_entry

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
    x0_variance: Variance | None = None,
    generator: torch.Generator | None = None,
    times: Tensor | None = None,
) -> Bound:
    """One Monte-Carlo draw of all terms of the bound (Ho et al., 2020, equation 5) for data `(B, ...)`.

    The model steps along the falling `times`, from noise to 0: those of a table's T steps by default. Its reverse step has the
    posterior's mean at x_0-hat and the variance of `sampling.steps.ancestral`. `decoder` scores x_0 under p(x_0 | x_1), x_1 being the
    state before the last: `gaussian_log_prob` for real data, `discretised_log_prob` for 8-bit images. The prior is that of data with
    unit variance, N(0, (signal^2 + noise^2) I) at the first time. Raises ValueError for a continuous schedule without times.
    """
    schedule = process.schedule
    times = check_decreasing(schedule.grid() if times is None else times)

    def diffused(t: Tensor) -> Tensor:
        return process.forward(x0, t, generator)

    signal, noise = schedule.signal(times[0]).to(x0.dtype), schedule.noise(times[0]).to(x0.dtype)
    prior = gaussian_kl(signal * x0, noise**2, torch.zeros_like(x0), signal**2 + noise**2)
    (zero, first), *others = pairwise(times.flip(0))
    steps = []
    for s, t in others:
        x_t = diffused(t)
        steps.append(gaussian_kl(*_reverse_pair(denoise, process, x0, x_t, t, s, x0_variance)))
    x_1 = diffused(first)
    x0_hat = denoise(x_1, first)
    # Without one of its own, the last step has the chain's variance, such as beta_1: the posterior's, beta-tilde_1, is 0.
    spread = process.transition(zero, first)[1] if x0_variance is None else x0_variance(x_1, first)
    return Bound(prior, torch.stack(steps) if steps else x0.new_zeros(0, len(x0)), -decoder(x0, x0_hat, spread))


def _reverse_pair(
    denoise: Denoiser,
    process: GaussianDiffusion,
    x0: Tensor,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    x0_variance: Variance | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and variance of the true posterior, then of the model's reverse step, from t to s."""
    weight_x0, _, variance = process.posterior_weights(t, s)
    mean, _ = process.posterior(x0, x_t, t, s)
    model_mean, _ = process.posterior(denoise(x_t, t), x_t, t, s)
    own = variance if x0_variance is None else widened(variance, weight_x0, x0_variance(x_t, t), x_t)
    return mean, variance, model_mean, own


def gaussian_kl(mean_q: Tensor, variance_q: Tensor, mean_p: Tensor, variance_p: Tensor) -> Tensor:
    """KL(N(mean_q, variance_q) || N(mean_p, variance_p)) of each sample, summed over its dimensions, `(B,)`, in nats.

    The means are `(B, ...)`; a variance is one number `()`, one a sample `(B,)`, or one an entry `(B, ...)`.
    """
    variance_q, variance_p = per_entry(variance_q, mean_q), per_entry(variance_p, mean_q)
    ratio = variance_q / variance_p
    terms = ratio - 1 - ratio.log() + (mean_q - mean_p).square() / variance_p
    return terms.flatten(1).sum(1) / 2


def gaussian_log_prob(x0: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log N(x_0; mean, variance) of each sample, `(B,)`, in nats: the decoder for real-valued data.

    x_0 and the mean are `(B, ...)`, the variance `()`, `(B,)` or of their shape.
    """
    variance = per_entry(variance, x0)
    terms = (x0 - mean).square() / variance + variance.log() + math.log(2 * math.pi)
    return -terms.flatten(1).sum(1) / 2


def discretised_log_prob(x0: Tensor, mean: Tensor, variance: Tensor, levels: int = 256) -> Tensor:
    """log of the Gaussian's mass in the bin of x_0, for data of `levels` values in [-1, 1] (Ho et al., 2020, equation 13).

    x_0 and the mean are `(B, ...)`, the variance `()`, `(B,)` or of their shape; the result is `(B,)`, in nats.
    The outermost bins reach to minus and plus infinity, so that all bins together hold probability 1.
    """
    half, spread = 1 / (levels - 1), per_entry(variance, x0).sqrt()
    normal = torch.special.log_ndtr
    upper, lower = (x0 + half - mean) / spread, (x0 - half - mean) / spread
    # In a far tail both ends round to the same value; by symmetry the tail is taken on the side where it is small.
    flip = (upper + lower) > 0
    high, low = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    inner = normal(high) + torch.log(-torch.expm1((normal(low) - normal(high)).clamp(max=-1e-12)))
    edge_low, edge_high = normal(upper), normal(-lower)
    log_mass = torch.where(x0 < -1 + half, edge_low, torch.where(x0 > 1 - half, edge_high, inner))
    return log_mass.flatten(1).sum(1)
