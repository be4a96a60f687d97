"""Weights of the denoising loss, each a function of the time, written for the squared error of x_0 and turned to that of any prediction."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.diffusion.predictions import Prediction
from course_lib.types import Schedule

Weight = Callable[[Tensor], Tensor]  # t (B,) -> the factor of each sample, (B,)


def snr(schedule: Schedule, t: Tensor) -> Tensor:
    """The signal-to-noise ratio signal^2 / noise^2 at t, of the shape of t; infinite without noise."""
    return (schedule.signal(t) / schedule.noise(t)) ** 2


def for_output(weight: Weight, prediction: Prediction, schedule: Schedule) -> Weight:
    """The weight of the output's squared error that does what `weight` does to the error of x_0.

    At a given x_t, x_0 is a linear function of the output; its slope, squared, is the exchange rate.
    """

    def of_output(t: Tensor) -> Tensor:
        a, b = schedule.signal(t), schedule.noise(t)
        zero, one = torch.zeros_like(a), torch.ones_like(a)
        slope = prediction.to_x0(one, zero, a, b) - prediction.to_x0(zero, zero, a, b)
        return weight(t) * slope**2

    return of_output


def edm(sigma_data: float) -> Weight:
    """1 / c_out^2, which makes the loss of the raw network one of weight 1, where t is the noise level (Karras et al., 2022, table 1)."""
    return lambda t: (t**2 + sigma_data**2) / (t * sigma_data) ** 2


def min_snr(schedule: Schedule, limit: float = 5.0) -> Weight:
    """min(SNR, limit): the truncated weight of Hang et al. (2023), whose gamma is `limit`."""
    return lambda t: snr(schedule, t).clamp(max=limit)


def likelihood(schedule: Schedule) -> Weight:
    """-dSNR/dt / 2, the continuous-time bound's weight for a time drawn evenly (Kingma et al., 2021, equation 17).

    It is g^2 / 2 in units of the score's squared error. Raises ValueError for a table, which has no derivatives.
    """

    def weight(t: Tensor) -> Tensor:
        signal_rate, noise_rate = schedule.rates(t)
        log_rate = signal_rate / schedule.signal(t) - noise_rate / schedule.noise(t)  # of signal / noise
        return -snr(schedule, t) * log_rate

    return weight
