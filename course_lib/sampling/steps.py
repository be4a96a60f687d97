"""A sampler is a Step (x_t, t, s) -> x_s, and `sample` takes steps along a decreasing grid of times: DDPM's and DDIM's steps."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.diffusion.gaussian import GaussianDiffusion, is_end, widened
from course_lib.draws import NoiseSource, standard_normal
from course_lib.types import Denoiser, Process, Schedule, Step, Variance, check_decreasing, per_entry, per_sample


@torch.no_grad()
def sample(step: Step, x: Tensor, times: Tensor) -> Iterator[Tensor]:
    """Yield x at every time of the decreasing grid `times`, beginning with the x `(B, ...)` that is given at times[0].

    The caller decides what to do on the way: plot, save, stop early, or take only the `last`. The times stay on the CPU, so that no step
    waits for another device. Raises ValueError unless the times are one strictly falling row.
    """
    times = check_decreasing(times).cpu()
    yield x
    for t, s in pairwise(times):
        x = step(x, t, s)
        yield x


def last(states: Iterable[Tensor]) -> Tensor:
    """The last state `(B, ...)` that a sampler yields, keeping no other in memory."""
    return deque(states, maxlen=1).pop()


def reverse(denoise: Denoiser, process: Process, generator: torch.Generator | None = None) -> Step:
    """Draw x_s from q(x_s | x_t, x_0) at the model's x_0-hat, for any process: Gaussian, binomial, absorbing (Austin et al., 2021).

    For a Gaussian process it is `ancestral`. Where x_0 is 0 or 1, or one of several symbols, x_0-hat is its probability.
    """

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return process.backward(denoise(x_t, t), x_t, t, s, generator)

    return step


def ancestral(
    denoise: Denoiser,
    process: GaussianDiffusion,
    x0_variance: Variance | None = None,
    generator: torch.Generator | None = None,
    noise: NoiseSource | None = None,
) -> Step:
    """Algorithm 2 of Ho et al. (2020), for any pair of times s < t.

    The reverse variance is the posterior's (beta-tilde) plus the share of x_0's own uncertainty, `x0_variance(x_t, t)`, `()`, `(B,)` or
    of the shape of x_t `(B, ...)`: 0 by default; `unit_variance` gives the paper's other choice, beta_t, and
    `sampling.variance.learned_variance` what a network has learned.
    """
    noise = noise or standard_normal(generator)

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        weight_x0, weight_xt, variance = process.posterior_weights(t, s)
        mean = per_sample(weight_x0, x_t) * denoise(x_t, t) + per_sample(weight_xt, x_t) * x_t
        if x0_variance is not None:
            variance = widened(variance, weight_x0, x0_variance(x_t, t), x_t)
        return mean if is_end(s) else mean + per_entry(variance.sqrt(), x_t) * noise(x_t)

    return step


def unit_variance(schedule: Schedule) -> Variance:
    """Var[x_0 | x_t] for data N(0, I), of the shape of t: noise^2 / (signal^2 + noise^2). It turns the reverse variance into beta_t."""

    def x0_variance(x_t: Tensor, t: Tensor) -> Tensor:
        signal, noise = schedule.signal(t), schedule.noise(t)
        return noise**2 / (signal**2 + noise**2)

    return x0_variance


def ddim(
    denoise: Denoiser,
    process: GaussianDiffusion,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    noise: NoiseSource | None = None,
    x0_variance: Variance | None = None,
) -> Step:
    """Equation 12 of Song et al. (2021, DDIM): deterministic at eta = 0, DDPM's sampler at eta = 1.

    `x0_variance` adds the share of x_0's own uncertainty, as in `ancestral`: Analytic-DDIM of Bao et al. (2022), where it is theirs.
    """
    noise = noise or standard_normal(generator)

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        mean, variance = process.bridge(denoise(x_t, t), x_t, t, s, eta)
        if x0_variance is not None:
            variance = widened(variance, process.bridge_weight(t, s, eta), x0_variance(x_t, t), x_t)
        elif eta == 0:
            return mean
        return mean if is_end(s) else mean + per_entry(variance.sqrt(), x_t) * noise(x_t)

    return step
