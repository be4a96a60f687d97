"""What a network may predict, and how each prediction gives x_0: EPS, X0, V, SCORE, FLOW.

Everything follows from x_t = a x_0 + b eps, with a = signal(t) and b = noise(t): two unknowns, one equation, so any one
more linear combination of x_0 and eps determines both.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.types import Cond, Denoiser, Network, Schedule, anywhere, check_same_shape, on_device, per_sample


class Prediction(NamedTuple):
    """A parameterisation: the target to regress on, and the way from the network's output back to x_0."""

    name: str
    target: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # (x0, eps, a, b) -> target
    to_x0: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # (output, x_t, a, b) -> x0
    divides: bool = False  # whether to_x0 divides by a, so that nothing is to be learned of x_0 where no signal is left
    endless: bool = False  # whether the target is infinite where there is no noise


def conditional_score(x0: Tensor, eps: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The score of q(x_t | x_0) at x_t = a x_0 + b eps, of the shape of eps `(B, ...)`."""
    return -eps / b


def tweedie(score: Tensor, x_t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """E[x_0 | x_t] `(B, ...)` from the score of q_t at x_t: Tweedie's formula (Efron, 2011)."""
    return (x_t + b**2 * score) / a


EPS = Prediction(
    "eps",
    target=lambda x0, eps, a, b: eps,
    to_x0=lambda output, x_t, a, b: (x_t - b * output) / a,
    divides=True,
)
X0 = Prediction(
    "x0",
    target=lambda x0, eps, a, b: x0,
    to_x0=lambda output, x_t, a, b: output,
)
V = Prediction(  # Salimans and Ho (2022), appendix D; the division is by 1 for a variance-preserving schedule
    "v",
    target=lambda x0, eps, a, b: a * eps - b * x0,
    to_x0=lambda output, x_t, a, b: (a * x_t - b * output) / (a**2 + b**2),
)
# its regression is denoising score matching (Vincent, 2011)
SCORE = Prediction("score", target=conditional_score, to_x0=tweedie, divides=True, endless=True)
FLOW = Prediction(  # the straight line's velocity (Lipman et al., 2023; Liu et al., 2023)
    "flow",
    target=lambda x0, eps, a, b: eps - x0,
    to_x0=lambda output, x_t, a, b: (x_t - b * output) / (a + b),
)
PREDICTIONS = {prediction.name: prediction for prediction in (EPS, X0, V, SCORE, FLOW)}


def denoiser(
    network: Network, prediction: Prediction, schedule: Schedule, cond: Cond = None, clip: float | None = None
) -> Denoiser:
    """The function (x_t, t) -> x_0-hat of a trained network, for x_t `(B, ...)` and t `()` or `(B,)`.

    `clip` bounds x_0-hat to [-clip, clip], as samplers of images in [-1, 1] do.
    Raises ValueError where signal(t) = 0 and the prediction has to be divided by it: pure noise says nothing of x_0; and where the
    network's output has another shape than x_t (one that learns its variance, too, goes through `sampling.variance`).
    """

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        t = torch.as_tensor(t)
        signal, noise = schedule.signal(t), schedule.noise(t)
        if prediction.divides and anywhere(signal == 0):
            raise ValueError(
                f"t must have signal(t) > 0 for a network that predicts {prediction.name}: at signal 0, x_t is pure noise and "
                "x_0 cannot be solved for; predict x0 or v there, or start the grid at an earlier t"
            )
        output = network(x_t, on_device(t, x_t), cond)
        check_same_shape(output=output, x_t=x_t)
        return prediction.to_x0(output, x_t, per_sample(signal, x_t), per_sample(noise, x_t))

    return clipped(denoise, clip)


def clipped(denoise: Denoiser, clip: float | None) -> Denoiser:
    """The denoiser with its x_0-hat bounded to [-clip, clip], as samplers of images in [-1, 1] do; itself where clip is None."""
    return denoise if clip is None else lambda x_t, t: denoise(x_t, t).clamp(-clip, clip)


def to_eps(x0: Tensor, x_t: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """The noise that x_t `(B, ...)` contains if its clean image is x_0, of the same shape; raises ValueError where noise(t) = 0."""
    noise = schedule.noise(torch.as_tensor(t))
    if anywhere(noise == 0):
        raise ValueError("t must have noise(t) > 0: at t = 0 there is no noise to solve for")
    return (x_t - per_sample(schedule.signal(torch.as_tensor(t)), x_t) * x0) / per_sample(noise, x_t)


def to_score(x0: Tensor, x_t: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """The score `(B, ...)` that belongs to the denoiser's answer x_0: -eps / noise(t) (Tweedie's formula, rearranged).

    Raises ValueError where noise(t) = 0.
    """
    return -to_eps(x0, x_t, t, schedule) / per_sample(schedule.noise(torch.as_tensor(t)), x_t)
