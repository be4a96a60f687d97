"""Continuous schedules: signal and noise as smooth functions of a real time t (Song et al., 2021; Karras et al., 2022)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from course_lib.diffusion.schedules import TableSchedule, check_grid
from course_lib.draws import normal, uniform
from course_lib.types import Schedule, anywhere


def check_time(t: Tensor | float, T: float) -> Tensor:
    """t, of any shape, as a float64 tensor; raises ValueError outside [0, T], where t lies on the CPU."""
    t = t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)
    if anywhere(~((t >= 0) & (t <= T))):
        raise ValueError(f"t must lie in [0, {T:g}]; got values from {float(t.min()):.6g} to {float(t.max()):.6g}")
    return t.double()


class Continuous(ABC):
    """What the continuous schedules share: derivatives by forward-mode differentiation, and uniform times."""

    T: float

    @abstractmethod
    def signal(self, t: Tensor) -> Tensor:
        """The coefficient of x_0 at time t, of the shape of t."""

    @abstractmethod
    def noise(self, t: Tensor) -> Tensor:
        """The coefficient of eps (a standard deviation) at time t, of the shape of t."""

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives of signal and noise in time at t, each of the shape of t."""
        t = check_time(t, self.T)
        return torch.func.jvp(lambda t: (self.signal(t), self.noise(t)), (t,), (torch.ones_like(t),))[1]

    def times(self, n: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu") -> Tensor:
        """n times `(n,)` to train at, uniform in (0, T], float32."""
        return self.T * (1 - uniform((n,), generator, device=device))

    def grid(self, steps: int | None = None, end: float = 0.0) -> Tensor:
        """`(steps + 1,)` evenly spaced times that fall from T to `end`, float64.

        Raises ValueError where `end` is not in [0, T), or `steps` is missing: there are no steps to count.
        """
        if steps is None:
            raise ValueError("steps must be given: a continuous schedule has no steps to count")
        return torch.linspace(self.T, end, check_grid(self, steps, end) + 1, dtype=torch.float64)


@dataclass(frozen=True)
class VP(Continuous):
    """The variance-preserving SDE with beta(t) from beta_min to beta_max, t in [0, 1] (Song et al., 2021, appendix C).

    Raises ValueError unless 0 < beta_min <= beta_max.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    T: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise ValueError(
                f"beta_min and beta_max must satisfy 0 < beta_min <= beta_max; got {self.beta_min} and {self.beta_max}"
            )

    def integral(self, t: Tensor) -> Tensor:
        """The integral of beta from 0 to t, of the shape of t."""
        t = check_time(t, self.T)
        return t * self.beta_min + t**2 / 2 * (self.beta_max - self.beta_min)

    def signal(self, t: Tensor) -> Tensor:
        """exp(-integral / 2), of the shape of t."""
        return torch.exp(-self.integral(t) / 2)

    def noise(self, t: Tensor) -> Tensor:
        """sqrt(1 - exp(-integral)), a standard deviation, of the shape of t."""
        return torch.sqrt(-torch.expm1(-self.integral(t)))


@dataclass(frozen=True)
class SubVP(VP):
    """The sub-VP SDE: VP's signal with less noise, 1 - exp(-integral) (Song et al., 2021, appendix C)."""

    def noise(self, t: Tensor) -> Tensor:
        """1 - exp(-integral), a standard deviation, of the shape of t."""
        return -torch.expm1(-self.integral(t))


@dataclass(frozen=True)
class VE(Continuous):
    """The variance-exploding SDE: signal 1, noise sigma_min (sigma_max / sigma_min)^t, t in [0, 1] (Song et al., 2021, appendix C).

    Raises ValueError unless 0 < sigma_min < sigma_max.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    T: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"sigma_min and sigma_max must satisfy 0 < sigma_min < sigma_max; got {self.sigma_min} and {self.sigma_max}"
            )

    def signal(self, t: Tensor) -> Tensor:
        """1 at every t, of the shape of t."""
        return torch.ones_like(check_time(t, self.T))

    def noise(self, t: Tensor) -> Tensor:
        """The standard deviation at t, of the shape of t. At t = 0 it is sigma_min; the paper, which stays away from t = 0, jumps to 0."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** check_time(t, self.T)


@dataclass(frozen=True)
class EDM(Continuous):
    """Time is the noise level itself: signal 1, noise t, t in [0, sigma_max] (Karras et al., 2022, table 1).

    Training times are log-normal, ln t ~ N(log_mean, log_std^2), clipped at T; the defaults are the paper's for small images.
    Raises ValueError where T, log_std, sigma_min or rho is not above 0.
    """

    T: float = 80.0  # sigma_max
    log_mean: float = -1.2
    log_std: float = 1.2
    sigma_min: float = 0.002  # the last level above 0 of a grid
    rho: float = 7.0  # how closely a grid's levels crowd at the data

    def __post_init__(self) -> None:
        if self.T <= 0 or self.log_std <= 0:
            raise ValueError(f"T (sigma_max) must be above 0; got {self.T}; and log_std, too; got {self.log_std}")
        if self.sigma_min <= 0 or self.rho <= 0:
            raise ValueError(f"sigma_min and rho must be above 0; got {self.sigma_min} and {self.rho}")

    def signal(self, t: Tensor) -> Tensor:
        """1 at every t, of the shape of t."""
        return torch.ones_like(check_time(t, self.T))

    def noise(self, t: Tensor) -> Tensor:
        """t itself, of the shape of t."""
        return check_time(t, self.T)

    def times(self, n: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu") -> Tensor:
        """n noise levels `(n,)` to train at, log-normal, float32."""
        return (self.log_mean + self.log_std * normal((n,), generator, device=device)).exp().clamp(max=self.T)

    def grid(self, steps: int | None = None, end: float = 0.0) -> Tensor:
        """`(steps + 1,)` levels that fall from T to `end`, evenly spaced in level^(1/rho), float64 (Karras et al., 2022, equation 5).

        Where they end at 0 the last but one is sigma_min, or with a single step T. Raises ValueError as any schedule's grid does.
        """
        even = super().grid(steps, end)
        if end == 0:
            low = min(self.sigma_min, self.T)
            return torch.cat([self._spaced(len(even) - 1, low), even[-1:]])
        return self._spaced(len(even), end)

    def _spaced(self, count: int, low: float) -> Tensor:
        """So many levels from T to `low`, `(count,)`."""
        ramp = torch.linspace(0, 1, count, dtype=torch.float64)
        top, bottom = self.T ** (1 / self.rho), low ** (1 / self.rho)
        levels = (top + ramp * (bottom - top)) ** self.rho
        # A root and a power do not undo each other to the last bit, and no time may lie above the schedule's last.
        return levels.clamp(max=self.T)


@dataclass(frozen=True)
class Straight(Continuous):
    """The straight line from data to noise: signal 1 - t, noise t, t in [0, 1] (Lipman et al., 2023; Liu et al., 2023)."""

    @property
    def T(self) -> float:
        """The last time, 1."""
        return 1.0

    def signal(self, t: Tensor) -> Tensor:
        """1 - t, of the shape of t."""
        return 1 - check_time(t, self.T)

    def noise(self, t: Tensor) -> Tensor:
        """t itself, of the shape of t."""
        return check_time(t, self.T)


@dataclass(frozen=True)
class Interpolated(Continuous):
    """A table at real times: the log of noise / signal is linear between the entries 1..T, and before 1 noise^2 is linear in t.

    With it solvers may stop between the steps of a network that was trained on a table, such as at Karras' noise levels.
    Raises ValueError where no signal is left at T, whose noise / signal is infinite.
    """

    table: TableSchedule
    levels: Tensor = field(init=False, repr=False, compare=False)  # log(noise / signal) at 1..T, (T,)

    def __post_init__(self) -> None:
        if self.table.alpha_bar[-1] == 0:
            raise ValueError("table must have signal left at T: no line leads to an infinite noise / signal")
        steps = torch.arange(1, self.table.T + 1)
        object.__setattr__(self, "levels", (self.table.noise(steps) / self.table.signal(steps)).log())

    @property
    def T(self) -> float:  # type: ignore[override]
        """The table's last step."""
        return float(self.table.T)

    def signal(self, t: Tensor) -> Tensor:
        """sqrt(1 - noise^2), of the shape of t."""
        return (1 - self.noise(t) ** 2).sqrt()

    def noise(self, t: Tensor) -> Tensor:
        """The standard deviation at t, of the shape of t; at whole times that of the table."""
        t, levels = check_time(t, self.T), self.levels.to(t.device)
        below = t.detach().floor().long().clamp(1, max(1, self.table.T - 1))
        above = (below + 1).clamp(max=self.table.T)
        level = torch.lerp(levels[below - 1], levels[above - 1], t - below)
        first = torch.sigmoid(2 * levels[0])  # noise^2 at t = 1
        return torch.where(t >= 1, torch.sigmoid(2 * level), first * t).clamp(min=0).sqrt()

    def time_at(self, ratio: Tensor) -> Tensor:
        """The times at which noise / signal has these values, of their shape: the inverse of noise(t) / signal(t).

        Raises ValueError for a ratio that is negative, or above that of T.
        """
        ratio, levels = ratio.double(), self.levels.to(ratio.device)
        if anywhere((ratio < 0) | (ratio > self.levels[-1].exp() * (1 + 1e-9))):
            raise ValueError(
                f"ratio must lie in [0, {float(self.levels[-1].exp()):.6g}], noise / signal at T; got values from "
                f"{float(ratio.min()):.6g} to {float(ratio.max()):.6g}"
            )
        level = ratio.log().clamp(max=float(self.levels[-1]))
        above = torch.searchsorted(levels, level).clamp(1, max(1, self.table.T - 1))
        share = (level - levels[above - 1]) / (levels[above.clamp(max=self.table.T - 1)] - levels[above - 1])
        early = ratio**2 / (1 + ratio**2) / torch.sigmoid(2 * levels[0])
        return torch.where(level >= levels[0], above + share, early)


def drift_and_diffusion(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """f(t) and g(t)^2, each of the shape of t, of the forward SDE dx = f(t) x dt + g(t) dw that has the schedule's marginals.

    `f = signal' / signal` and `g^2 = (noise^2)' - 2 f noise^2` (Kingma et al., 2021; Karras et al., 2022, appendix B).
    Raises ValueError for a table schedule, which has no derivatives.
    """
    signal_rate, noise_rate = schedule.rates(t)
    noise, drift = schedule.noise(t), signal_rate / schedule.signal(t)
    return drift, 2 * noise * (noise_rate - drift * noise)
