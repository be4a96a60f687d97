"""Schedules and time grids against the papers' formulas, written out here in plain Python."""

import math
from itertools import pairwise

import pytest
import torch

from course_lib.diffusion.continuous import EDM, VE, VP, Interpolated, SubVP, drift_and_diffusion
from course_lib.diffusion.schedules import (
    TableSchedule,
    cosine,
    from_betas,
    linear,
    log_snr,
    scaled_linear,
    sigmoid,
    zero_terminal_snr,
)
from course_lib.sampling.times import karras_grid, karras_times, leading_grid, linspace_grid
from course_lib.types import check_decreasing

TABLES = [linear(1000), linear(10, 0.01, 0.5), cosine(1000), cosine(7), sigmoid(1000), sigmoid(9, -2, 4, 0.7)]
CONTINUOUS = [VP(), VP(0.5, 3.0), SubVP(), VE(), VE(0.1, 5.0), EDM(), EDM(3.0)]
EXACT = {"rtol": 1e-12, "atol": 1e-14}


def seconds(schedule, fraction):
    """The time at a fraction of the whole, as float64."""
    return torch.tensor(fraction * schedule.T, dtype=torch.float64)


@pytest.mark.parametrize("schedule", TABLES)
class TestEveryTable:
    def test_starts_without_noise(self, schedule):
        assert schedule.alpha_bar[0] == 1
        assert schedule.signal(0) == 1
        assert schedule.noise(0) == 0
        assert schedule.beta[0] == 0

    def test_has_one_entry_more_than_steps(self, schedule):
        assert schedule.alpha_bar.shape == schedule.beta.shape == schedule.alpha.shape == (schedule.T + 1,)
        assert schedule.alpha_bar.dtype == torch.float64

    def test_alpha_bar_is_the_product_of_one_minus_beta(self, schedule):
        product = 1.0
        for beta, alpha_bar in zip(schedule.beta.tolist(), schedule.alpha_bar.tolist()):
            product *= 1 - beta
            assert math.isclose(product, alpha_bar, rel_tol=1e-11)

    def test_signal_and_noise_preserve_variance(self, schedule):
        t = torch.arange(schedule.T + 1)
        torch.testing.assert_close(schedule.signal(t) ** 2, schedule.alpha_bar, **EXACT)
        torch.testing.assert_close(schedule.noise(t) ** 2, 1 - schedule.alpha_bar, **EXACT)

    def test_keeps_the_shape_of_t(self, schedule):
        t = torch.tensor([[0, 1], [2, schedule.T]])
        assert torch.equal(schedule.signal(t)[1, 1], schedule.alpha_bar[-1].sqrt())


@pytest.mark.parametrize(("T", "low", "high"), [(1000, 1e-4, 0.02), (5, 0.1, 0.3)])
def test_linear_is_ho_et_al(T, low, high):
    schedule = linear(T, low, high)
    for t in range(1, T + 1):  # section 4: beta_1 = low, beta_T = high, constants in between increase linearly
        expected = low + (high - low) * (t - 1) / (T - 1)
        assert math.isclose(schedule.beta[t], expected, rel_tol=1e-11)


def test_linear_defaults_are_the_papers():
    schedule = linear()
    assert schedule.T == 1000
    assert math.isclose(schedule.beta[1], 1e-4, rel_tol=1e-11)
    assert math.isclose(schedule.beta[1000], 0.02, rel_tol=1e-11)


@pytest.mark.parametrize("T", [10, 1000])
def test_cosine_is_the_square_of_the_cosine(T):
    def f(t):
        return math.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** 2

    alpha_bar = cosine(T).alpha_bar
    for t in range(T):  # the last entry is clipped
        assert math.isclose(alpha_bar[t], f(t) / f(0), rel_tol=1e-9)


def test_cosine_takes_another_offset():
    def f(t):
        return math.cos((t / 10 + 0.1) / 1.1 * math.pi / 2) ** 2

    assert math.isclose(cosine(10, s=0.1).alpha_bar[5], f(5) / f(0), rel_tol=1e-12)


@pytest.mark.parametrize("T", [4, 1000])
def test_cosine_clips_beta_at_0_999(T):
    beta = cosine(T).beta
    assert math.isclose(beta[-1], 0.999, rel_tol=1e-12)
    assert float(beta[:-1].max()) < 0.999


def test_cosine_takes_another_clip():
    assert math.isclose(cosine(50, beta_max=0.5).beta.max(), 0.5, rel_tol=1e-12)


@pytest.mark.parametrize(("start", "end", "tau"), [(-3, 3, 1.0), (0, 3, 0.9), (-1, 2, 0.4)])
def test_sigmoid_is_jabri_et_al(start, end, tau):
    def squash(u):
        return 1 / (1 + math.exp(-u))

    T, alpha_bar = 50, sigmoid(50, start, end, tau).alpha_bar
    v_start, v_end = squash(start / tau), squash(end / tau)
    for t in range(T):
        expected = (v_end - squash((start + (end - start) * t / T) / tau)) / (v_end - v_start)
        assert math.isclose(alpha_bar[t], expected, rel_tol=1e-10)
    assert math.isclose(1 - alpha_bar[T] / alpha_bar[T - 1], 0.999, rel_tol=1e-9)


def test_from_betas_returns_the_betas():
    beta = torch.tensor([0.1, 0.5, 0.2], dtype=torch.float64)
    schedule = from_betas(beta)
    torch.testing.assert_close(schedule.beta[1:], beta, **EXACT)
    torch.testing.assert_close(schedule.alpha_bar, torch.tensor([1, 0.9, 0.45, 0.36], dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("schedule", [*TABLES, *CONTINUOUS])
def test_log_snr_is_the_log_of_the_ratio(schedule):
    t = torch.tensor(4) if isinstance(schedule, TableSchedule) else seconds(schedule, 0.6)
    assert math.isclose(log_snr(schedule, t), math.log(schedule.signal(t) ** 2 / schedule.noise(t) ** 2), rel_tol=1e-10)


def test_log_snr_is_infinite_at_the_data():
    assert log_snr(linear(), torch.tensor(0)) == math.inf


@pytest.mark.parametrize(
    ("sigma_min", "sigma_max", "steps", "rho"), [(0.002, 80, 18, 7), (0.1, 3, 5, 3), (0.01, 50, 2, 1)]
)
def test_karras_grid_is_equation_5(sigma_min, sigma_max, steps, rho):
    grid = karras_grid(sigma_min, sigma_max, steps, rho)
    assert grid.shape == (steps + 1,)
    for i in range(steps):
        top, bottom = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
        assert math.isclose(grid[i], (top + i / (steps - 1) * (bottom - top)) ** rho, rel_tol=1e-12)
    assert grid[-1] == 0


@pytest.mark.parametrize("sigma_max", [0.7, 3.0, 14.6, 50.0, 80.0, 100.0])
@pytest.mark.parametrize("rho", [3, 7])
def test_karras_grid_starts_at_the_last_time_of_its_schedule(sigma_max, rho):
    times = karras_grid(0.002, sigma_max, 10, rho)
    assert math.isclose(times[0], sigma_max, rel_tol=1e-14)
    assert EDM(sigma_max).noise(times).shape == (11,)  # no time is outside [0, T]


def test_karras_defaults_are_the_papers():
    assert torch.equal(karras_grid(), karras_grid(0.002, 80, 18, 7))


@pytest.mark.parametrize("schedule", [*TABLES, *CONTINUOUS])
@pytest.mark.parametrize("steps", [1, 5, 7])
def test_a_schedules_grid_falls_from_T_to_0(schedule, steps):
    grid = schedule.grid(steps)
    assert grid.shape == (steps + 1,)
    assert (grid[0], grid[-1]) == (schedule.T, 0)
    assert all(t > s for t, s in pairwise(grid.tolist()))
    assert check_decreasing(grid) is grid


@pytest.mark.parametrize("steps", [1, 3, 7, 50, 999, 1000])
def test_uniform_grid_of_a_table_holds_the_nearest_whole_times(steps):
    grid = linear(1000).grid(steps)
    assert grid.dtype == torch.int64
    assert all(abs(t - 1000 * (1 - i / steps)) <= 0.5 + 1e-9 for i, t in enumerate(grid.tolist()))
    assert len(set(grid.tolist())) == steps + 1


@pytest.mark.parametrize("schedule", [schedule for schedule in CONTINUOUS if not isinstance(schedule, EDM)])
def test_uniform_grid_is_even_and_ends_where_asked(schedule):
    grid = schedule.grid(8, end=0.01)
    assert grid.dtype == torch.float64
    torch.testing.assert_close(grid.diff(), torch.full((8,), (0.01 - schedule.T) / 8, dtype=torch.float64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: from_betas(torch.tensor([0.1, 1.0])), r"beta must .* strictly between 0 and 1; got .* from 0.1 to 1"),
        (lambda: from_betas(torch.tensor([0.0, 0.1])), r"beta must .* strictly between 0 and 1; got .* from 0 to 0.1"),
        (lambda: from_betas(torch.tensor([-0.1, 0.1])), r"beta must .* from -0.1 to 0.1"),
        (lambda: from_betas(torch.tensor([math.nan])), r"beta must .* strictly between 0 and 1"),
        (lambda: from_betas(torch.tensor([])), r"beta must .* no values"),
        (lambda: from_betas(torch.full((2, 2), 0.1)), r"beta must be one row .* shape \(2, 2\)"),
        (lambda: linear(10, 0.1, 1.5), r"beta must .* strictly between 0 and 1; got .* to 1.5"),
        (lambda: linear(0), r"T must be a whole number of steps, at least 1; got 0"),
        (lambda: cosine(2.5), r"T must be a whole number of steps, at least 1; got 2.5"),
        (lambda: sigmoid(10, start=3, end=-3), r"start must be below end .* got start = 3, end = -3"),
        (lambda: sigmoid(10, tau=0), r"tau above 0; got .* tau = 0"),
        (lambda: TableSchedule(torch.tensor([0.9, 0.5])), r"alpha_bar must .* starts at 1"),
        (lambda: TableSchedule(torch.ones(1)), r"alpha_bar must .* T \+ 1 >= 2 entries .* shape \(1,\)"),
        (lambda: TableSchedule(torch.tensor([1.0, 0.5, 0.6])), r"alpha_bar must fall strictly .* rises"),
        (lambda: TableSchedule(torch.tensor([1.0, 0.5, 0.5])), r"alpha_bar must fall strictly .* repeats"),
        (lambda: TableSchedule(torch.tensor([1.0, 0.5, -0.1])), r"alpha_bar must .* at or above 0"),
        (lambda: VP(0.0, 1.0), r"0 < beta_min <= beta_max; got 0.0 and 1.0"),
        (lambda: VP(3.0, 1.0), r"0 < beta_min <= beta_max; got 3.0 and 1.0"),
        (lambda: VE(0.0, 1.0), r"0 < sigma_min < sigma_max; got 0.0 and 1.0"),
        (lambda: VE(2.0, 2.0), r"0 < sigma_min < sigma_max; got 2.0 and 2.0"),
        (lambda: EDM(0.0), r"sigma_max\) must be above 0; got 0.0"),
        (lambda: karras_grid(0.0, 1.0), r"0 < sigma_min < sigma_max, .* sigma_min = 0.0"),
        (lambda: karras_grid(2.0, 1.0), r"0 < sigma_min < sigma_max, .* sigma_max = 1.0"),
        (lambda: karras_grid(steps=1), r"steps >= 2 .* steps = 1"),
        (lambda: karras_grid(rho=0), r"rho > 0; .* rho = 0"),
        (lambda: linear(10).grid(11), r"steps must be at most 10, .* got 11"),
        (lambda: VP().grid(0), r"steps must be a whole number, at least 1; got 0"),
        (lambda: VP().grid(1.5), r"steps must be a whole number, at least 1; got 1.5"),
        (lambda: VP().grid(10, end=1.0), r"end must lie in \[0, 1\), before the last time; got 1"),
        (lambda: linear(10).grid(2, end=-1), r"end must lie in \[0, 10\), before the last time; got -1"),
        (
            lambda: check_decreasing(torch.tensor([0.0, 0.5, 1.0])),
            r"times must .* falls strictly.* got \[0.0, 0.5, 1.0\]",
        ),
        (lambda: check_decreasing(torch.tensor([3, 1, 1])), r"times must .* falls strictly.* got \[3, 1, 1\]"),
        (lambda: check_decreasing(torch.tensor([3])), r"times must be one row that falls strictly"),
        (
            lambda: drift_and_diffusion(linear(), torch.tensor(3)),
            r"schedule must be continuous \(VP, SubVP, VE, EDM, Straight",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("schedule", [linear(10), *CONTINUOUS])
@pytest.mark.parametrize("coefficient", ["signal", "noise"])
@pytest.mark.parametrize("offset", [-1, 1])
def test_a_time_outside_the_schedule_is_named(schedule, coefficient, offset):
    t = -1 if offset < 0 else int(schedule.T) + 1
    with pytest.raises(ValueError, match=rf"t must lie in \[0, {schedule.T:g}\]; got values from {t} to {t}"):
        getattr(schedule, coefficient)(torch.tensor(t))


@pytest.mark.parametrize("schedule", [VP(), VE(), EDM()])
def test_a_time_that_is_not_a_number_is_refused(schedule):
    with pytest.raises(ValueError, match="t must lie in"):
        schedule.noise(torch.tensor(math.nan))


@pytest.mark.parametrize("t", [0.5, math.nan, 3.999])
def test_a_time_between_the_steps_of_a_table_is_refused(t):
    with pytest.raises(ValueError, match=r"t must hold whole steps: .* round t, or use a continuous schedule"):
        linear(10).signal(torch.tensor(t))


def test_a_whole_time_may_be_a_float():
    assert linear(10).signal(torch.tensor(3.0)) == linear(10).signal(torch.tensor(3))


# --- what diffusers has, too ---------------------------------------------------------------------------------------------


def test_scaled_linear_is_that_of_diffusers():
    ddpm = pytest.importorskip("diffusers.schedulers.scheduling_ddpm")
    theirs = ddpm.DDPMScheduler(1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    torch.testing.assert_close(scaled_linear(1000).beta[1:].float(), theirs.betas, rtol=1e-5, atol=0)


@pytest.mark.parametrize("schedule", [linear(1000), cosine(1000), scaled_linear(50)])
def test_zero_terminal_snr_is_algorithm_1_of_lin_et_al(schedule):
    ddim = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    ours, theirs = zero_terminal_snr(schedule), ddim.rescale_zero_terminal_snr(schedule.beta[1:])
    assert ours.alpha_bar[-1] == 0
    torch.testing.assert_close(ours.beta[1:], theirs, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(ours.signal(1), schedule.signal(1))


@pytest.mark.parametrize("steps", [1, 3, 10, 50, 333, 1000])
@pytest.mark.parametrize(
    ("spacing", "make"),
    [("trailing", lambda s, n: s.grid(n)), ("leading", leading_grid), ("linspace", linspace_grid)],
)
def test_grids_are_those_of_diffusers(spacing, make, steps):
    """Its index t - 1 is our t; it rounds halves to even numbers as we do, and has no entry for the last time, 0."""
    ddim = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    scheduler = ddim.DDIMScheduler(1000, timestep_spacing=spacing, steps_offset=0)
    scheduler.set_timesteps(steps)
    ours = make(linear(1000), steps)
    assert ours[-1] == 0
    if (
        spacing == "linspace" and steps == 1
    ):  # NumPy's linspace of one point is its start, which would be no noise at all
        assert ours.tolist() == [1000, 0]
    else:
        assert (ours[:-1] - 1 - torch.as_tensor(scheduler.timesteps)).abs().max() <= (spacing == "trailing")
    assert check_decreasing(ours) is ours


def test_leading_grid_with_an_offset_is_stable_diffusions():
    ddim = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    scheduler = ddim.DDIMScheduler(1000, timestep_spacing="leading", steps_offset=1)
    scheduler.set_timesteps(50)
    assert (leading_grid(linear(1000), 50, offset=1)[:-1] - 1).tolist() == scheduler.timesteps.tolist()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs, of NumPy 2
def test_karras_levels_on_a_table_are_evenly_spaced_in_their_root():
    table = linear(1000)
    between, times = Interpolated(table), karras_times(Interpolated(table), 12)
    assert (times[0], times[-2], times[-1]) == (1000, 1, 0) and check_decreasing(times) is times
    levels = (between.noise(times[:-1]) / between.signal(times[:-1])) ** (1 / 7)
    torch.testing.assert_close(levels.diff(), levels.diff().mean().expand(11), rtol=1e-6, atol=1e-9)
    whole = torch.tensor(karras_sigmas_of_diffusers(table, 12))
    torch.testing.assert_close((levels**7).float(), whole.float(), rtol=1e-4, atol=1e-6)


def karras_sigmas_of_diffusers(table, steps):
    euler = pytest.importorskip("diffusers.schedulers.scheduling_euler_discrete")
    scheduler = euler.EulerDiscreteScheduler(table.T, trained_betas=table.beta[1:].numpy(), use_karras_sigmas=True)
    scheduler.set_timesteps(steps)
    return scheduler.sigmas[:-1].tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: leading_grid(linear(10), 11), r"within 1..10; got 11 steps and offset 0"),
        (lambda: leading_grid(linear(10), 5, offset=9), r"within 1..10; got 5 steps and offset 9"),
        (lambda: linspace_grid(linear(10), 11), r"steps must be at most 10, .* got 11"),
        (lambda: VP().grid(), "steps must be given: a continuous schedule has no steps to count"),
        (lambda: zero_terminal_snr(linear(1)), "at least 2 steps"),
        (lambda: scaled_linear(10, 0.0, 0.1), "beta must lie strictly between 0 and 1; got 0.0"),
    ],
)
def test_a_grid_that_cannot_be_made_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_table_without_a_number_of_steps_takes_them_all():
    assert linear(7).grid().tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert linear(7).grid(end=2).tolist() == [7, 6, 5, 4, 3, 2]
