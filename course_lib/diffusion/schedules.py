"""Noise schedules with T steps: tables of alpha-bar with T + 1 entries, alpha_bar[0] == 1, in float64.

The continuous schedules (VP, sub-VP, VE, EDM) live in `course_lib.diffusion.continuous`, the time grids in `course_lib.sampling.times`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.types import Schedule


@dataclass(frozen=True)
class TableSchedule:
    """A variance-preserving schedule of T steps, given by alpha_bar `(T + 1,)` that falls from exactly 1.

    Raises ValueError where alpha_bar does not start at 1 or does not fall strictly towards (not below) 0.
    """

    alpha_bar: Tensor  # (T + 1,), float64

    def __post_init__(self) -> None:
        alpha_bar = torch.as_tensor(self.alpha_bar, dtype=torch.float64)
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

    def at(self, t: Tensor | int) -> Tensor:
        """alpha_bar at the integer times t, of any shape; raises ValueError outside [0, T] or between the steps."""
        t = torch.as_tensor(t)
        steps = t.long()
        if t.is_floating_point() and not torch.equal(steps.to(t.dtype), t):
            raise ValueError(
                "t must hold whole steps: a table schedule has no entries between them; round t, or use a continuous schedule"
            )
        if steps.numel() and (int(steps.min()) < 0 or int(steps.max()) > self.T):
            raise ValueError(f"t must lie in [0, {self.T}]; got values from {int(steps.min())} to {int(steps.max())}")
        return self.alpha_bar.to(steps.device)[steps]

    def signal(self, t: Tensor | int) -> Tensor:
        """sqrt(alpha_bar_t), of the shape of t."""
        return self.at(t).sqrt()

    def noise(self, t: Tensor | int) -> Tensor:
        """sqrt(1 - alpha_bar_t), a standard deviation, of the shape of t."""
        return (1 - self.at(t)).sqrt()


def from_betas(beta: Tensor) -> TableSchedule:
    """The schedule whose steps 1..T add noise of variance beta `(T,)`, each strictly between 0 and 1."""
    beta = torch.as_tensor(beta, dtype=torch.float64)
    if beta.ndim != 1 or not beta.numel() or not bool(((beta > 0) & (beta < 1)).all()):
        raise ValueError(
            f"beta must be one row of values strictly between 0 and 1; got shape {tuple(beta.shape)}, {span(beta)}"
        )
    return TableSchedule(torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)]))


def linear(T: int = 1000, beta_min: float = 1e-4, beta_max: float = 0.02) -> TableSchedule:
    """beta_t rises linearly from beta_min at t = 1 to beta_max at t = T (Ho et al., 2020, section 4)."""
    return from_betas(torch.linspace(beta_min, beta_max, check_steps(T), dtype=torch.float64))


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
    """
    if not start < end or tau <= 0:
        raise ValueError(f"start must be below end and tau above 0; got start = {start}, end = {end}, tau = {tau}")
    u = torch.linspace(start, end, check_steps(T) + 1, dtype=torch.float64) / tau
    return from_clipped(torch.sigmoid(u[-1]) - torch.sigmoid(u), beta_max)


def from_clipped(unnormalised: Tensor, beta_max: float) -> TableSchedule:
    """The schedule with alpha_bar proportional to a falling curve `(T + 1,)`, each beta at most beta_max."""
    return from_betas((1 - unnormalised[1:] / unnormalised[:-1]).clamp(max=beta_max))


def check_steps(T: int) -> int:
    """T itself; raises ValueError unless it is a whole number of at least 1."""
    if int(T) != T or T < 1:
        raise ValueError(f"T must be a whole number of steps, at least 1; got {T}")
    return int(T)


def span(values: Tensor) -> str:
    """The range of some values in words, for an error message."""
    return f"values from {float(values.min()):.6g} to {float(values.max()):.6g}" if values.numel() else "no values"


def log_snr(schedule: Schedule, t: Tensor) -> Tensor:
    """The logarithm of the signal-to-noise ratio signal^2 / noise^2 at t (Kingma et al., 2021); +inf where there is no noise."""
    return 2 * (schedule.signal(t).log() - schedule.noise(t).log())
