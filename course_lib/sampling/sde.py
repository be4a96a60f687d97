"""Samplers that add noise on the way: the reverse-time SDE, and EDM's churn around any other step."""

import math

import torch
from torch import Tensor

from course_lib.diffusion.continuous import drift_and_diffusion
from course_lib.diffusion.gaussian import GaussianDiffusion, is_end
from course_lib.diffusion.predictions import to_score
from course_lib.draws import NoiseSource, standard_normal
from course_lib.types import Denoiser, Schedule, Step, per_sample


def euler_maruyama(
    denoise: Denoiser, schedule: Schedule, generator: torch.Generator | None = None, noise: NoiseSource | None = None
) -> Step:
    """The reverse-time SDE of a continuous schedule, dx = (f x - g^2 score) dt + g dw (Song et al., 2021, equation 6).

    States are `(B, ...)`; the last step, to time 0, adds no noise. Raises ValueError for a table, which has no derivatives.
    """
    noise = noise or standard_normal(generator)

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        drift, diffusion = drift_and_diffusion(schedule, t)
        score = to_score(denoise(x_t, t), x_t, t, schedule)
        slope = per_sample(drift, x_t) * x_t - per_sample(diffusion, x_t) * score
        mean = x_t + per_sample(s - t, x_t) * slope
        return mean if is_end(s) else mean + per_sample((diffusion * (t - s)).sqrt(), x_t) * noise(x_t)

    return step


def churned(
    step: Step,
    schedule: Schedule,
    churn: float,
    steps: int,
    low: float = 0.0,
    high: float = float("inf"),
    inflation: float = 1.0,
    generator: torch.Generator | None = None,
    noise: NoiseSource | None = None,
) -> Step:
    """Before each step at a time low <= t <= high, go back to more noise: lines 4 to 6 of algorithm 2 of Karras et al. (2022).

    The time grows by the factor 1 + min(churn / steps, sqrt(2) - 1), at most to the schedule's last, and fresh noise, `inflation` times
    as strong as it should be, fills the gap; states are `(B, ...)`. The paper's names are S_churn, S_min, S_max and S_noise. With
    `heun(velocity(denoise, EDM()))` as the step it is the paper's sampler, and with churn = 0 the step itself.
    Raises ValueError where churn is negative, inflation not positive, or steps below 1.
    """
    if churn < 0 or inflation <= 0 or steps < 1:
        raise ValueError(
            f"churn must be at least 0, inflation above 0 and steps at least 1; got {churn}, {inflation} and {steps}"
        )
    process, noise = GaussianDiffusion(schedule), noise or standard_normal(generator)
    growth = 1 + min(churn / steps, math.sqrt(2) - 1)

    def raised(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        later = (t * growth).clamp(max=schedule.T)
        if churn == 0 or not low <= float(t) <= high or not bool(later > t):
            return step(x_t, t, s)
        return step(process.advance(x_t, t, later, inflation * noise(x_t)), later, s)

    return raised
