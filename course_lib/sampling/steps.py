"""A sampler is a Step (x_t, t, s) -> x_s, and `sample` takes steps along a decreasing grid of times: DDPM's and DDIM's steps."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.sampling.times import check_decreasing
from course_lib.types import Denoiser, NoiseSource, Schedule, Step, per_sample, standard_normal


@torch.no_grad()
def sample(step: Step, x: Tensor, times: Tensor) -> Iterator[Tensor]:
    """Yield x at every time of the decreasing grid `times`, beginning with the x `(B, ...)` that is given at times[0].

    The caller decides what to do on the way: plot, save, stop early, or take only the `last`.
    """
    times = check_decreasing(times)
    yield x
    for t, s in pairwise(times):
        x = step(x, t, s)
        yield x


def last(states: Iterable[Tensor]) -> Tensor:
    """The last state that a sampler yields, keeping no other in memory."""
    return deque(states, maxlen=1).pop()


def ancestral(
    denoise: Denoiser,
    process: GaussianDiffusion,
    x0_variance: Callable[[Tensor, Tensor], Tensor] | None = None,
    generator: torch.Generator | None = None,
    noise: NoiseSource | None = None,
) -> Step:
    """Algorithm 2 of Ho et al. (2020), for any pair of times s < t.

    The reverse variance is the posterior's (beta-tilde) plus the share of x_0's own uncertainty, `x0_variance(x_t, t)`:
    0 by default; `unit_variance` gives the paper's other choice, beta_t.
    """
    noise = noise or standard_normal(generator)

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        weight_x0, weight_xt, variance = process.posterior_weights(t, s)
        mean = per_sample(weight_x0, x_t) * denoise(x_t, t) + per_sample(weight_xt, x_t) * x_t
        if x0_variance is not None:
            variance = variance + weight_x0**2 * x0_variance(x_t, t)
        return mean if is_end(s) else mean + per_sample(variance.sqrt(), x_t) * noise(x_t)

    return step


def unit_variance(schedule: Schedule) -> Callable[[Tensor, Tensor], Tensor]:
    """Var[x_0 | x_t] for data N(0, I): noise^2 / (signal^2 + noise^2). It turns the reverse variance into beta_t."""

    def x0_variance(x_t: Tensor, t: Tensor) -> Tensor:
        signal, noise = schedule.signal(t), schedule.noise(t)
        return noise**2 / (signal**2 + noise**2)

    return x0_variance


def is_end(s: Tensor) -> bool:
    """Whether s is time 0, the data: the last step adds no noise (line 3 of Algorithm 2)."""
    return bool((s == 0).all())


def ddim(
    denoise: Denoiser,
    process: GaussianDiffusion,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    noise: NoiseSource | None = None,
) -> Step:
    """Equation 12 of Song et al. (2021, DDIM): deterministic at eta = 0, DDPM's sampler at eta = 1."""
    noise = noise or standard_normal(generator)

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        mean, variance = process.bridge(denoise(x_t, t), x_t, t, s, eta)
        return mean if eta == 0 or is_end(s) else mean + per_sample(variance.sqrt(), x_t) * noise(x_t)

    return step
