"""Time grids: the decreasing times at which a sampler stops."""

import torch
from torch import Tensor

from course_lib.types import Schedule


def uniform_grid(schedule: Schedule, steps: int, end: float = 0.0) -> Tensor:
    """`steps + 1` evenly spaced times from T down to `end`: whole ones for a table, float64 for a continuous schedule.

    Raises ValueError where `end` is not in [0, T), or a table has fewer steps than asked for.
    """
    if int(steps) != steps or steps < 1:
        raise ValueError(f"steps must be a whole number, at least 1; got {steps}")
    if not 0 <= end < schedule.T:
        raise ValueError(f"end must lie in [0, {schedule.T:g}), before the last time; got {end}")
    times = torch.linspace(float(schedule.T), end, int(steps) + 1, dtype=torch.float64)
    if not hasattr(schedule, "alpha_bar"):
        return times
    if steps > schedule.T - end:
        raise ValueError(
            f"steps must be at most {int(schedule.T - end)}, the number of steps in the table; got {steps}"
        )
    return times.round().long()


def karras_grid(sigma_min: float = 0.002, sigma_max: float = 80.0, steps: int = 18, rho: float = 7.0) -> Tensor:
    """`steps` noise levels from sigma_max to sigma_min, evenly spaced in sigma^(1/rho), and a last 0 (Karras et al., 2022, equation 5)."""
    if not 0 < sigma_min < sigma_max or steps < 2 or rho <= 0:
        raise ValueError(
            "karras_grid needs 0 < sigma_min < sigma_max, steps >= 2 and rho > 0; "
            f"got sigma_min = {sigma_min}, sigma_max = {sigma_max}, steps = {steps}, rho = {rho}"
        )
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    levels = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    # A root and a power do not undo each other to the last bit, and no time may lie above the schedule's last.
    return torch.cat([levels.clamp(max=sigma_max), torch.zeros(1, dtype=torch.float64)])


def check_decreasing(times: Tensor) -> Tensor:
    """The times themselves; raises ValueError unless they are one strictly decreasing row of at least two."""
    times = torch.as_tensor(times)
    if times.ndim != 1 or len(times) < 2 or not bool((times.diff() < 0).all()):
        raise ValueError(
            f"times must be one row that falls strictly, from noise (T) to data (0); got {times.tolist()[:8]}"
        )
    return times
