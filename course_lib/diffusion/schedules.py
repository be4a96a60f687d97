"""Noise schedules with T steps: tables of alpha-bar with T + 1 entries, alpha_bar[0] == 1, in float64.

The continuous schedules (VP, sub-VP, VE, EDM, the straight line) live in `diffusion.continuous`, other time grids in `sampling.times`.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from course_lib.draws import integers
from course_lib.types import Schedule, anywhere


@dataclass(frozen=True)
class TableSchedule:
    """A variance-preserving schedule of T steps, given by alpha_bar `(T + 1,)` that falls from exactly 1.

    Raises ValueError where alpha_bar does not start at 1 or does not fall strictly towards (not below) 0.
    """

    alpha_bar: Tensor  # (T + 1,), float64, on the CPU

    def __post_init__(self) -> None:
        alpha_bar = torch.as_tensor(self.alpha_bar, dtype=torch.float64, device="cpu")
        if alpha_bar.ndim != 1 or len(alpha_bar) < 2 or alpha_bar[0] != 1:
            raise ValueError(
                f"alpha_bar must be one row of T + 1 >= 2 entries that starts at 1; got shape {tuple(alpha_bar.shape)}"
            )
        if not bool((alpha_bar.diff() < 0).all()) or alpha_bar[-1] < 0:
            raise ValueError(
                "alpha_bar must fall strictly from 1 and stay at or above 0; some entry rises, repeats or is negative"
            )
        object.__setattr__(self, "alpha_bar", alpha_bar)

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.alpha_bar) - 1

    @property
    def alpha(self) -> Tensor:
        """alpha_t = alpha_bar_t / alpha_bar_{t-1}, `(T + 1,)`; alpha_0 = 1."""
        return torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bar[1:] / self.alpha_bar[:-1]])

    @property
    def beta(self) -> Tensor:
        """beta_t = 1 - alpha_t, the variance of the noise that step t adds, `(T + 1,)`; beta_0 = 0."""
        return 1 - self.alpha

    @cached_property
    def _tables(self) -> dict[torch.device, Tensor]:
        """The table on each device that has asked for it, so that it is copied there once."""
        return {self.alpha_bar.device: self.alpha_bar}

    def at(self, t: Tensor | int) -> Tensor:
        """alpha_bar at the integer times t, of any shape, on t's device.

        Raises ValueError outside [0, T] or between the steps, where t lies on the CPU; another device would have to be waited for.
        """
        t = torch.as_tensor(t)
        steps = t.long()
        if t.is_floating_point() and anywhere(steps.to(t.dtype) != t):
            raise ValueError(
                "t must hold whole steps: a table schedule has no entries between them; round t, or use a continuous schedule"
            )
        if anywhere((steps < 0) | (steps > self.T)):
            raise ValueError(f"t must lie in [0, {self.T}]; got values from {int(steps.min())} to {int(steps.max())}")
        if steps.device not in self._tables:
            self._tables[steps.device] = self.alpha_bar.to(steps.device)
        return self._tables[steps.device][steps]

    def signal(self, t: Tensor | int) -> Tensor:
        """sqrt(alpha_bar_t), of the shape of t."""
        return self.at(t).sqrt()

    def noise(self, t: Tensor | int) -> Tensor:
        """sqrt(1 - alpha_bar_t), a standard deviation, of the shape of t."""
        return (1 - self.at(t)).sqrt()

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Raises ValueError for t of any shape: a table has no derivative in time."""
        raise ValueError(
            "schedule must be continuous (VP, SubVP, VE, EDM, Straight, Interpolated): a table has no derivative in time"
        )

    def times(self, n: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu") -> Tensor:
        """n times `(n,)` to train at, each of 1..T equally likely (Algorithm 1 of Ho et al., 2020)."""
        return integers(1, self.T + 1, (n,), generator, device)

    def grid(self, steps: int | None = None, end: float = 0.0) -> Tensor:
        """Whole times `(steps + 1,)`, evenly spaced up to rounding, that fall from T to `end`; None asks for all T steps.

        Raises ValueError where `end` is not in [0, T), or the table has fewer steps than asked for.
        """
        steps = check_grid(self, int(self.T - end) if steps is None else steps, end)
        if steps > self.T - end:
            raise ValueError(
                f"steps must be at most {int(self.T - end)}, the number of steps in the table; got {steps}"
            )
        return torch.linspace(self.T, end, steps + 1, dtype=torch.float64).round().long()


def check_grid(schedule: Schedule, steps: int, end: float) -> int:
    """The number of steps; raises ValueError unless it is a whole number of at least 1, and `end` lies in [0, T)."""
    if int(steps) != steps or steps < 1:
        raise ValueError(f"steps must be a whole number, at least 1; got {steps}")
    if not 0 <= end < schedule.T:
        raise ValueError(f"end must lie in [0, {schedule.T:g}), before the last time; got {end}")
    return int(steps)


def from_betas(beta: Tensor) -> TableSchedule:
    """The schedule whose steps 1..T add noise of variance beta `(T,)`; raises ValueError unless each lies strictly between 0 and 1."""
    beta = torch.as_tensor(beta, dtype=torch.float64, device="cpu")
    if beta.ndim != 1 or not beta.numel() or not bool(((beta > 0) & (beta < 1)).all()):
        raise ValueError(
            f"beta must be one row of values strictly between 0 and 1; got shape {tuple(beta.shape)}, {span(beta)}"
        )
    return TableSchedule(torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)]))


def linear(T: int = 1000, beta_min: float = 1e-4, beta_max: float = 0.02) -> TableSchedule:
    """beta_t rises linearly from beta_min at t = 1 to beta_max at t = T (Ho et al., 2020, section 4)."""
    return from_betas(torch.linspace(beta_min, beta_max, check_steps(T), dtype=torch.float64))


def scaled_linear(T: int = 1000, beta_min: float = 0.00085, beta_max: float = 0.012) -> TableSchedule:
    """sqrt(beta_t) rises linearly: the schedule of latent diffusion (Rombach et al., 2022), which diffusers calls scaled_linear."""
    low, high = check_beta(beta_min) ** 0.5, check_beta(beta_max) ** 0.5
    return from_betas(torch.linspace(low, high, check_steps(T), dtype=torch.float64) ** 2)


def erasing(T: int = 1000) -> TableSchedule:
    """beta_t = 1 / (T - t + 1): each step erases the same share 1 / T of what the data began with (Sohl-Dickstein et al., 2015, 2.4.1).

    alpha_bar falls on a straight line from 1 to 0, so nothing of the data is left at T.
    """
    return TableSchedule(torch.linspace(1, 0, check_steps(T) + 1, dtype=torch.float64))


def zero_terminal_snr(schedule: TableSchedule) -> TableSchedule:
    """The schedule, shifted and stretched so that no signal is left at T (Lin et al., 2024, algorithm 1).

    sqrt(alpha_bar) goes through its old value at t = 1 and through 0 at T. A network that predicts eps or the score is of no use
    at T then, since x_T says nothing of x_0. Raises ValueError where the schedule has a single step.
    """
    if schedule.T < 2:
        raise ValueError(f"schedule must have at least 2 steps, the first of which keeps its signal; got {schedule.T}")
    signal = schedule.alpha_bar[1:].sqrt()
    stretched = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    return TableSchedule(torch.cat([torch.ones(1, dtype=torch.float64), stretched**2]))


def cosine(T: int = 1000, s: float = 0.008, beta_max: float = 0.999) -> TableSchedule:
    """alpha_bar_t = f(t) / f(0) with f(t) = cos^2((t/T + s) / (1 + s) pi/2), beta clipped at beta_max.

    Equation 17 of Nichol and Dhariwal (2021). The square is part of the formula; the clip keeps the last step from dividing by 0.
    """
    u = torch.arange(check_steps(T) + 1, dtype=torch.float64) / T
    return from_clipped(torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2, beta_max)


def sigmoid(
    T: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0, beta_max: float = 0.999
) -> TableSchedule:
    """alpha_bar_t = (sigmoid(end/tau) - sigmoid(u/tau)) / (sigmoid(end/tau) - sigmoid(start/tau)), u from start to end.

    Jabri et al. (2023); Chen (2023), "On the importance of noise scheduling". Clipped at beta_max as the cosine schedule is.
    Raises ValueError unless start < end and tau > 0.
    """
    if not start < end or tau <= 0:
        raise ValueError(f"start must be below end and tau above 0; got start = {start}, end = {end}, tau = {tau}")
    u = torch.linspace(start, end, check_steps(T) + 1, dtype=torch.float64) / tau
    return from_clipped(torch.sigmoid(u[-1]) - torch.sigmoid(u), beta_max)


def from_clipped(unnormalised: Tensor, beta_max: float) -> TableSchedule:
    """The schedule with alpha_bar proportional to a falling curve `(T + 1,)`, each beta at most beta_max."""
    return from_betas((1 - unnormalised[1:] / unnormalised[:-1]).clamp(max=beta_max))


def check_beta(beta: float) -> float:
    """beta itself; raises ValueError unless it lies strictly between 0 and 1."""
    if not 0 < beta < 1:
        raise ValueError(f"beta must lie strictly between 0 and 1; got {beta}")
    return beta


def check_steps(T: int) -> int:
    """T itself; raises ValueError unless it is a whole number of at least 1."""
    if int(T) != T or T < 1:
        raise ValueError(f"T must be a whole number of steps, at least 1; got {T}")
    return int(T)


def span(values: Tensor) -> str:
    """The range of some values, of any shape, in words, for an error message."""
    return f"values from {float(values.min()):.6g} to {float(values.max()):.6g}" if values.numel() else "no values"


def log_snr(schedule: Schedule, t: Tensor) -> Tensor:
    """The log of the signal-to-noise ratio signal^2 / noise^2 at t, of the shape of t (Kingma et al., 2021), +inf without noise."""
    return 2 * (schedule.signal(t).log() - schedule.noise(t).log())
