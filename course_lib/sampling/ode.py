"""Samplers that follow the probability flow: its velocity, and the solvers of Euler, Heun and DPM-Solver++."""

from collections.abc import MutableMapping
from typing import cast

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from course_lib.diffusion.gaussian import is_end
from course_lib.diffusion.predictions import V, to_eps
from course_lib.types import Denoiser, Schedule, Step, Velocity, anywhere, per_sample


def velocity(denoise: Denoiser, schedule: Schedule) -> Velocity:
    """The probability-flow ODE dx/dt = signal' x_0-hat + noise' eps-hat of a continuous schedule (Song et al., 2021, section 4.3).

    States are `(B, ...)`. Raises ValueError where it is asked at t = 0, or of a table, which has no derivatives.
    """

    def field(x_t: Tensor, t: Tensor) -> Tensor:
        signal_rate, noise_rate = schedule.rates(t)
        x0 = denoise(x_t, t)
        return per_sample(signal_rate, x_t) * x0 + per_sample(noise_rate, x_t) * to_eps(x0, x_t, t, schedule)

    return field


def euler(field: Velocity) -> Step:
    """Euler's method, order 1: one evaluation a step."""

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return x_t + per_sample(s - t, x_t) * field(x_t, t)

    return step


def heun(field: Velocity, end: float = 0.0) -> Step:
    """Heun's method, order 2: two evaluations a step (Karras et al., 2022, algorithm 1).

    The step to `end` is Euler's, since the field is not defined where the noise is gone.
    """

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        slope = field(x_t, t)
        guess = x_t + per_sample(s - t, x_t) * slope
        if bool((s <= end).all()):
            return guess
        return x_t + per_sample(s - t, x_t) * (slope + field(guess, s)) / 2

    return step


def angle(schedule: Schedule, t: Tensor) -> Tensor:
    """phi, of the shape of t, with signal = cos phi and noise = sin phi (Salimans and Ho, 2022, appendix D).

    It grows from 0 at the data to pi / 2 at pure noise. Raises ValueError unless the schedule is variance-preserving.
    """
    signal, noise = schedule.signal(t), schedule.noise(t)
    if anywhere((signal**2 + noise**2 - 1).abs() > 1e-6):
        raise ValueError("schedule must be variance-preserving: signal^2 + noise^2 = 1 at every time")
    return torch.atan2(noise, signal)


def angle_velocity(denoise: Denoiser, schedule: Schedule) -> Velocity:
    """The probability flow on the clock of the angle, dx/dphi = v: bounded, and without a derivative of the schedule."""

    def field(x_t: Tensor, t: Tensor) -> Tensor:
        x0 = denoise(x_t, t)
        signal, noise = (per_sample(level(t), x_t) for level in (schedule.signal, schedule.noise))
        return V.target(x0, to_eps(x0, x_t, t, schedule), signal, noise)

    return field


def angle_heun(denoise: Denoiser, schedule: Schedule) -> Step:
    """Heun's method, order 2, for dx/dphi = v: two evaluations a step, and DDIM's step, with one, to time 0.

    It works with a table of noise levels, too; the schedule must be variance-preserving.
    """
    field = angle_velocity(denoise, schedule)

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        turn = per_sample(angle(schedule, s) - angle(schedule, t), x_t)
        slope = field(x_t, t)
        guess = turn.cos() * x_t + turn.sin() * slope  # DDIM's step, a rotation
        return guess if is_end(s) else x_t + turn * (slope + field(guess, s)) / 2

    return step


def dpm_solver(denoise: Denoiser, schedule: Schedule) -> Step:
    """DPM-Solver++(2M), order 2 in log(signal / noise): one evaluation a step (Lu et al., 2025, algorithm 2).

    The answers at this time and at the last one give a line through x_0-hat. The step remembers each state that it returned, with the
    answer that led there, so that several chains may share it; a state that it does not know begins anew. The first step and the step to
    time 0 are DDIM's.
    """
    # a state -> where the step to it began, and its x_0-hat; forgotten with the state
    memory = cast(MutableMapping[Tensor, tuple[Tensor, Tensor]], WeakTensorKeyDictionary())

    def half_log_snr(t: Tensor) -> Tensor:
        return (schedule.signal(t) / schedule.noise(t)).log()

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        x0 = denoise(x_t, t)
        line = x0
        if x_t in memory and not is_end(s):
            before, x0_before = memory[x_t]
            ratio = (half_log_snr(s) - half_log_snr(t)) / (half_log_snr(t) - half_log_snr(before))
            line = x0 + per_sample(ratio / 2, x_t) * (x0 - x0_before)
        kept = schedule.noise(s) / schedule.noise(t)
        gained = schedule.signal(s) - kept * schedule.signal(t)
        x_s = per_sample(kept, x_t) * x_t + per_sample(gained, x_t) * line
        memory[x_s] = t, x0
        return x_s

    return step
