"""Samplers that follow the reverse-time SDE."""

import torch
from torch import Tensor

from course_lib.diffusion.continuous import drift_and_diffusion
from course_lib.diffusion.predictions import to_score
from course_lib.sampling.steps import is_end
from course_lib.types import Denoiser, NoiseSource, Schedule, Step, per_sample, standard_normal


def euler_maruyama(
    denoise: Denoiser, schedule: Schedule, generator: torch.Generator | None = None, noise: NoiseSource | None = None
) -> Step:
    """The reverse-time SDE of a continuous schedule, dx = (f x - g^2 score) dt + g dw (Song et al., 2021, equation 6)."""
    noise = noise or standard_normal(generator)

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        drift, diffusion = drift_and_diffusion(schedule, t)
        score = to_score(denoise(x_t, t), x_t, t, schedule)
        slope = per_sample(drift, x_t) * x_t - per_sample(diffusion, x_t) * score
        mean = x_t + per_sample(s - t, x_t) * slope
        return mean if is_end(s) else mean + per_sample((diffusion * (t - s)).sqrt(), x_t) * noise(x_t)

    return step
