"""Time grids beside a schedule's own `grid`: the decreasing times at which a sampler stops.

A table's own grid is the spacing that diffusers calls "trailing": evenly spaced from T down to 0.
"""

import torch
from torch import Tensor

from course_lib.diffusion.continuous import EDM, Interpolated
from course_lib.diffusion.schedules import TableSchedule, check_grid


def leading_grid(schedule: TableSchedule, steps: int, offset: int = 0) -> Tensor:
    """Whole times `(steps + 1,)` that rise from 1 + offset in strides of floor(T / steps), seen from above, then 0.

    The spacing of DDIM's authors, which diffusers calls "leading". It leaves out the noisiest times: the first is below T, but x is
    drawn as if it were T (Lin et al., 2024). Raises ValueError where the table has too few steps.
    """
    steps = check_grid(schedule, steps, 0)
    stride = schedule.T // steps
    times = torch.arange(steps) * stride + 1 + offset
    if stride < 1 or offset < 0 or int(times[-1]) > schedule.T:
        raise ValueError(
            f"steps and offset must leave the times within 1..{schedule.T}; got {steps} steps and offset {offset}"
        )
    return torch.cat([times.flip(0), torch.zeros(1, dtype=torch.int64)])


def linspace_grid(schedule: TableSchedule, steps: int) -> Tensor:
    """`(steps + 1,)` whole times, evenly spaced from T to 1 up to rounding, then 0: the spacing that diffusers calls "linspace".

    Raises ValueError where the table has fewer steps.
    """
    steps = check_grid(schedule, steps, 0)
    if steps > schedule.T:
        raise ValueError(f"steps must be at most {schedule.T}, the number of steps in the table; got {steps}")
    times = torch.linspace(0, schedule.T - 1, steps, dtype=torch.float64).round().long() + 1
    return torch.cat([times.flip(0) if steps > 1 else torch.tensor([schedule.T]), torch.zeros(1, dtype=torch.int64)])


def karras_grid(sigma_min: float = 0.002, sigma_max: float = 80.0, steps: int = 18, rho: float = 7.0) -> Tensor:
    """`steps` noise levels from sigma_max to sigma_min, evenly spaced in sigma^(1/rho), and a last 0 (Karras et al., 2022, equation 5).

    The times of `EDM`, `(steps + 1,)`, float64. Raises ValueError where the levels are not positive and rising, or steps below 2.
    """
    if not 0 < sigma_min < sigma_max or steps < 2 or rho <= 0:
        raise ValueError(
            "karras_grid needs 0 < sigma_min < sigma_max, steps >= 2 and rho > 0; "
            f"got sigma_min = {sigma_min}, sigma_max = {sigma_max}, steps = {steps}, rho = {rho}"
        )
    return EDM(sigma_max, sigma_min=sigma_min, rho=rho).grid(steps)


def karras_times(schedule: Interpolated, steps: int, rho: float = 7.0) -> Tensor:
    """The real times `(steps + 1,)` at which a table's noise / signal takes Karras' levels between its entries at 1 and T, then 0.

    For a network that was trained on the table: `karras_times(Interpolated(table), steps)`. Raises ValueError as `karras_grid` does.
    """
    ends = schedule.levels[[0, -1]].exp()
    levels = karras_grid(float(ends[0]), float(ends[1]), steps, rho)
    times = schedule.time_at(levels)
    times[0], times[-2] = schedule.T, 1.0  # exactly
    return times


def cheapest_grid(costs: Tensor, steps: int) -> Tensor:
    """The times `(steps + 1,)` from T to 1 and then 0 whose steps cost least together, by dynamic programming (Watson et al., 2021).

    Row s, column t of `costs` `(T + 1, T + 1)` is what the step from t to s costs, infinite where there is none; the last step, from 1
    to 0, is in every such grid and its cost is left out. Raises ValueError where the table has fewer steps, or steps below 2.
    """
    T = len(costs) - 1
    if not 2 <= steps <= T:
        raise ValueError(f"steps must lie in [2, {T}], the number of steps in the table; got {steps}")
    least = torch.full((T + 1,), torch.inf, dtype=costs.dtype)
    least[1] = 0
    befores: list[Tensor] = []
    for _ in range(steps - 1):
        least, before = (least[:, None] + costs).min(0)  # at each t, over the s before it
        befores.append(before)
    times = [T]
    for before in reversed(befores):
        times.append(int(before[times[-1]]))
    return torch.tensor([*times, 0])
