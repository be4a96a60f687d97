"""Continuous schedules: signal and noise as smooth functions of a real time t (Song et al., 2021; Karras et al., 2022)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.types import Schedule


def check_time(t: Tensor | float, T: float) -> Tensor:
    """t as a float64 tensor; raises ValueError outside [0, T]."""
    t = t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)
    if not bool(((t >= 0) & (t <= T)).all()):
        raise ValueError(f"t must lie in [0, {T:g}]; got values from {float(t.min()):.6g} to {float(t.max()):.6g}")
    return t.double()


@dataclass(frozen=True)
class VP:
    """The variance-preserving SDE with beta(t) from beta_min to beta_max, t in [0, 1] (Song et al., 2021, appendix C)."""

    beta_min: float = 0.1
    beta_max: float = 20.0
    T: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise ValueError(
                f"beta_min and beta_max must satisfy 0 < beta_min <= beta_max; got {self.beta_min} and {self.beta_max}"
            )

    def integral(self, t: Tensor) -> Tensor:
        """The integral of beta from 0 to t."""
        t = check_time(t, self.T)
        return t * self.beta_min + t**2 / 2 * (self.beta_max - self.beta_min)

    def signal(self, t: Tensor) -> Tensor:
        """exp(-integral / 2)."""
        return torch.exp(-self.integral(t) / 2)

    def noise(self, t: Tensor) -> Tensor:
        """sqrt(1 - exp(-integral)), a standard deviation."""
        return torch.sqrt(-torch.expm1(-self.integral(t)))


@dataclass(frozen=True)
class SubVP(VP):
    """The sub-VP SDE: VP's signal with less noise, 1 - exp(-integral) (Song et al., 2021, appendix C)."""

    def noise(self, t: Tensor) -> Tensor:
        """1 - exp(-integral), a standard deviation."""
        return -torch.expm1(-self.integral(t))


@dataclass(frozen=True)
class VE:
    """The variance-exploding SDE: signal 1, noise sigma_min (sigma_max / sigma_min)^t, t in [0, 1] (Song et al., 2021, appendix C)."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    T: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"sigma_min and sigma_max must satisfy 0 < sigma_min < sigma_max; got {self.sigma_min} and {self.sigma_max}"
            )

    def signal(self, t: Tensor) -> Tensor:
        """1 at every t."""
        return torch.ones_like(check_time(t, self.T))

    def noise(self, t: Tensor) -> Tensor:
        """The standard deviation at t. At t = 0 it is sigma_min; the paper, which stays away from t = 0, jumps to 0 there."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** check_time(t, self.T)


@dataclass(frozen=True)
class EDM:
    """Time is the noise level itself: signal 1, noise t, t in [0, sigma_max] (Karras et al., 2022, table 1)."""

    T: float = 80.0  # sigma_max

    def __post_init__(self) -> None:
        if self.T <= 0:
            raise ValueError(f"T (sigma_max) must be above 0; got {self.T}")

    def signal(self, t: Tensor) -> Tensor:
        """1 at every t."""
        return torch.ones_like(check_time(t, self.T))

    def noise(self, t: Tensor) -> Tensor:
        """t."""
        return check_time(t, self.T)


def coefficients_and_rates(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """signal, noise and their derivatives in time at t, by forward-mode differentiation.

    Raises ValueError for a table schedule, which has no derivatives.
    """
    if hasattr(schedule, "alpha_bar"):
        raise ValueError("schedule must be continuous (VP, SubVP, VE, EDM): a table has no derivative in time")
    t = check_time(t, schedule.T)
    one = torch.ones_like(t)
    (signal, noise), (signal_rate, noise_rate) = torch.func.jvp(
        lambda t: (schedule.signal(t), schedule.noise(t)), (t,), (one,)
    )[:2]
    return signal, noise, signal_rate, noise_rate


def drift_and_diffusion(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """f(t) and g(t)^2 of the forward SDE dx = f(t) x dt + g(t) dw that has the schedule's marginals.

    f = signal' / signal and g^2 = (noise^2)' - 2 f noise^2 (Kingma et al., 2021; Karras et al., 2022, appendix B).
    """
    signal, noise, signal_rate, noise_rate = coefficients_and_rates(schedule, t)
    drift = signal_rate / signal
    return drift, 2 * noise * (noise_rate - drift * noise)
