"""The noise as a code of the image: DDIM run backwards, and ways from one code to another."""

from itertools import pairwise

import torch
from torch import Tensor

from course_lib.diffusion.gaussian import is_end
from course_lib.diffusion.predictions import to_eps
from course_lib.sampling.ode import angle, angle_velocity
from course_lib.types import Denoiser, Schedule, check_decreasing, per_sample


@torch.no_grad()
def invert(denoise: Denoiser, schedule: Schedule, x0: Tensor, times: Tensor, evaluations: int = 1) -> Tensor:
    """The x_T from which deterministic DDIM draws the images x0 `(B, ...)` on the decreasing grid `times`, which ends at 0.

    A step down is a rotation by the angle between two times, x_s = cos x_t - sin v(x_t, t). The step up solves it for x_t, which
    stands in v, too: each evaluation puts the last guess there, the first x_s itself. With one evaluation this is Euler's method, the
    inversion of Song et al. (2021, section 4.3) up to terms of second order; with more it is a fixed point, the exact inverse.
    Raises ValueError unless the schedule is variance-preserving and there is an evaluation a step.
    """
    if evaluations < 1:
        raise ValueError(f"evaluations must be at least 1 a step; got {evaluations}")
    field, x = angle_velocity(denoise, schedule), x0
    for s, t in pairwise(check_decreasing(times).cpu().flip(0)):
        turn = per_sample(angle(schedule, t) - angle(schedule, s), x)
        guess = x
        for _ in range(evaluations):
            guess = (x + turn.sin() * field(guess, t)) / turn.cos()
        x = guess
    return x


@torch.no_grad()
def invert_ddim(denoise: Denoiser, schedule: Schedule, x0: Tensor, times: Tensor) -> Tensor:
    """The usual inversion of DDIM for images x0 `(B, ...)`, of any schedule (Mokady et al., 2023, section 3).

    Each step from s up to t goes by DDIM's formula, with the x_0-hat and the noise that the model finds at s. At 0 there is no noise
    to find: the first step asks at its end t. `invert` solves for the exact inverse, and this is off by terms of first order.
    Raises ValueError unless the times are one strictly falling row.
    """
    x = x0
    for s, t in pairwise(check_decreasing(times).cpu().flip(0)):
        asked = t if is_end(s) else s
        clean = denoise(x, asked)
        eps = to_eps(clean, x, asked, schedule)
        clean = x if is_end(s) else clean
        x = per_sample(schedule.signal(t), x) * clean + per_sample(schedule.noise(t), x) * eps
    return x


def lerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """The straight way from a to b `(B, ...)`, at each share `(S,)` of it: `(S, B, ...)`. Between independent noises it loses variance."""
    share = share.reshape(-1, *[1] * a.ndim).to(a)
    return (1 - share) * a + share * b


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """The way from a to b `(B, ...)` along the great circle (Shoemake, 1985), at each share `(S,)` of the angle: `(S, B, ...)`.

    The angle is that between the two tensors of each sample as flat vectors. Raises ValueError where they are parallel.
    """
    flat_a, flat_b = a.flatten(1).double(), b.flatten(1).double()
    cosine = torch.cosine_similarity(flat_a, flat_b, dim=1)
    if bool((cosine.abs() > 1 - 1e-9).any()):
        raise ValueError("a and b must not be parallel: no single great circle joins them")
    angle = torch.arccos(cosine)  # (B,)
    turned = share.to(angle)[:, None] * angle  # (S, B)
    weight_a, weight_b = torch.sin(angle - turned) / torch.sin(angle), torch.sin(turned) / torch.sin(angle)
    shape = (len(share), len(a), *[1] * (a.ndim - 1))
    return weight_a.reshape(shape).to(a) * a + weight_b.reshape(shape).to(a) * b
