"""Samplers of few steps: a network that is told where a step ends takes it in one leap, however long."""

from itertools import pairwise

import torch
from torch import Tensor

from course_lib.diffusion.gaussian import GaussianDiffusion, is_end
from course_lib.diffusion.predictions import Prediction, denoiser
from course_lib.draws import NoiseSource
from course_lib.types import Network, Step, on_device


def leap(network: Network, prediction: Prediction, process: GaussianDiffusion) -> Step:
    """DDIM's step from t to s with a network that is told s, as its condition (`nets.conditions.Until`); the states are `(B, ...)`.

    x_s is a linear function of the network's answer, so there is an answer for every x_s: the step can be exact, however far it goes.
    The times t and s are `()` or `(B,)`. Raises ValueError as `GaussianDiffusion.bridge` does.
    """

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        until = on_device(s, x_t).to(x_t.dtype)
        x0 = denoiser(network, prediction, process.schedule, until)(x_t, t)
        return process.bridge(x0, x_t, t, s, eta=0.0)[0]

    return step


def renoised(step: Step, process: GaussianDiffusion, noise: NoiseSource) -> Step:
    """Leap to the data, then add fresh noise to come to s: multistep consistency sampling (Song et al., 2023).

    The states are `(B, ...)`, and the step one that can go to time 0 from any other.
    """

    def again(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        x0 = step(x_t, t, torch.zeros_like(s))
        return x0 if is_end(s) else process.diffuse(x0, s, noise(x_t))

    return again


def subdivided(step: Step, parts: int) -> Step:
    """A step from t to s `()` or `(B,)` that is taken in so many equal parts; whole times stay whole. The states are `(B, ...)`."""

    def steps(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        whole, x = not t.is_floating_point(), x_t
        cuts = [t + (s - t) * k // parts if whole else t + (s - t) * k / parts for k in range(parts)]
        for start, end in pairwise([*cuts, s]):
            x = step(x, start, end)
        return x

    return steps


def needed_x0(x_s: Tensor, x_t: Tensor, t: Tensor, s: Tensor, process: GaussianDiffusion) -> Tensor:
    """The x_0 from which DDIM's step leads from x_t at time t to x_s at s < t, all `(B, ...)` (Salimans and Ho, 2022).

    The times are `()` or `(B,)`. Raises ValueError where s is not earlier than t.
    """
    gain, _ = process.bridge(torch.ones_like(x_t), torch.zeros_like(x_t), t, s, eta=0.0)
    rest, _ = process.bridge(torch.zeros_like(x_t), x_t, t, s, eta=0.0)
    return (x_s - rest) / gain
