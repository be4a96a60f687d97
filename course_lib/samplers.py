"""Samplers: each is a Step (x_t, t, s) -> x_s, and `sample` takes steps along a decreasing grid of times."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.continuous import coefficients_and_rates, drift_and_diffusion
from course_lib.gaussian import GaussianProcess
from course_lib.grids import check_decreasing
from course_lib.predictions import V, to_eps, to_score
from course_lib.types import Denoiser, NoiseSource, Schedule, Step, Velocity, per_sample, standard_normal


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
    process: GaussianProcess,
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
    process: GaussianProcess,
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
