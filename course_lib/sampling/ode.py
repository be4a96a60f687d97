"""Samplers that follow the probability flow: its velocity, and the solvers of Euler, Heun and DPM-Solver++."""

import torch
from torch import Tensor

from course_lib.diffusion.continuous import coefficients_and_rates
from course_lib.diffusion.predictions import V, to_eps
from course_lib.sampling.steps import is_end
from course_lib.types import Denoiser, Schedule, Step, Velocity, per_sample


def velocity(denoise: Denoiser, schedule: Schedule) -> Velocity:
    """The probability-flow ODE dx/dt = signal' x_0-hat + noise' eps-hat of a continuous schedule (Song et al., 2021, section 4.3)."""

    def field(x_t: Tensor, t: Tensor) -> Tensor:
        _, _, signal_rate, noise_rate = coefficients_and_rates(schedule, t)
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
    """phi with signal = cos phi and noise = sin phi, from 0 at the data to pi / 2 at pure noise (Salimans and Ho, 2022, appendix D).

    Raises ValueError unless the schedule is variance-preserving.
    """
    signal, noise = schedule.signal(t), schedule.noise(t)
    if bool(((signal**2 + noise**2 - 1).abs() > 1e-6).any()):
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

    The answers at this time and at the last one give a line through x_0-hat. The step remembers the last answer, and uses it only where
    this step begins at the time at which the last one ended. The first step and the step to time 0 are DDIM's.
    """
    memory: tuple[Tensor, Tensor, Tensor] | None = None  # where the last step began, where it ended, and its x_0-hat

    def half_log_snr(t: Tensor) -> Tensor:
        return (schedule.signal(t) / schedule.noise(t)).log()

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        nonlocal memory
        x0 = denoise(x_t, t)
        line = x0
        if memory is not None and torch.equal(memory[1], t) and not is_end(s):
            ratio = (half_log_snr(s) - half_log_snr(t)) / (half_log_snr(t) - half_log_snr(memory[0]))
            line = x0 + per_sample(ratio / 2, x_t) * (x0 - memory[2])
        memory = t, s, x0
        kept = schedule.noise(s) / schedule.noise(t)
        gained = schedule.signal(s) - kept * schedule.signal(t)
        return per_sample(kept, x_t) * x_t + per_sample(gained, x_t) * line

    return step
