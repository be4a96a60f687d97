"""Score distillation (Poole et al., 2023): what a denoiser thinks of a picture, as a gradient for whatever made the picture."""

import torch
from torch import Tensor

from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.draws import integers, normal_like
from course_lib.types import Denoiser, check_same_shape


def distillation_loss(denoise: Denoiser, x: Tensor, t: Tensor, noise: Tensor, process: GaussianDiffusion) -> Tensor:
    """Half the squared distance `(B,)` of pictures x `(B, ...)` from what the denoiser sees in them under noise, held fixed.

    Its value means little. Its gradient in x is x - x0-hat = (b / a) (eps-hat - eps), score distillation's with the weight b / a;
    the network itself is not differentiated. Times t are `(B,)`, the noise is of the shape of x.
    Raises ValueError where the noise or the denoiser's answer has another shape.
    """
    check_same_shape(noise=noise, x=x)
    with torch.no_grad():
        seen = denoise(process.diffuse(x, t, noise), t)
    check_same_shape(seen=seen, x=x)
    return (x - seen).square().flatten(1).sum(1) / 2


def distilled(
    denoise: Denoiser,
    process: GaussianDiffusion,
    x: Tensor,
    steps: int,
    generator: torch.Generator | None = None,
    rate: float = 0.1,
    highest: float = 1.0,
) -> Tensor:
    """Where points x `(B, ...)` come to that each follow score distillation for themselves, of the shape of x.

    Whole times are drawn from 1 up to `highest` T, all alike. After half of the steps the rate falls to 0, so that the points come to
    rest. Raises ValueError unless there is a step, and rate and highest lie in (0, 1].
    """
    if steps < 1 or not 0 < rate <= 1 or not 0 < highest <= 1:
        raise ValueError(f"steps must be at least 1, and rate and highest in (0, 1]; got {steps}, {rate} and {highest}")
    last = max(1, round(highest * process.schedule.T))
    for k in range(steps):
        t = integers(1, last + 1, (len(x),), generator, x.device)
        seen = denoise(process.diffuse(x, t, normal_like(x, generator)), t)
        x = torch.lerp(x, seen, rate * min(1.0, 2 * (1 - k / steps)))
    return x
