"""Continuous schedules and their SDEs against the closed forms of Song et al. (2021) and Karras et al. (2022)."""

import math

import pytest
import torch
from scipy.integrate import quad

from course_lib.diffusion.continuous import EDM, VE, VP, Interpolated, Straight, SubVP, drift_and_diffusion
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import FLOW
from course_lib.diffusion.schedules import cosine, linear, log_snr, scaled_linear, zero_terminal_snr
from course_lib.sampling.ode import velocity
from tests.lib.tensors import normal

CONTINUOUS = [VP(), VP(0.5, 3.0), SubVP(), VE(), VE(0.1, 5.0), EDM(), EDM(3.0)]  # with the papers' coefficients
FRACTIONS = [0.001, 0.1, 0.37, 0.5, 0.93, 1.0]
EXACT = {"rtol": 1e-12, "atol": 1e-14}


def seconds(schedule, fraction):
    """The time at a fraction of the whole, as float64."""
    return torch.tensor(fraction * schedule.T, dtype=torch.float64)


@pytest.mark.parametrize("schedule", [VP(), VP(0.5, 3.0), SubVP()])
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_vp_kernels_are_song_et_al(schedule, fraction):
    t = fraction
    low, high = schedule.beta_min, schedule.beta_max
    exponent = -0.25 * t**2 * (high - low) - 0.5 * t * low  # appendix C: the log of the mean's coefficient
    spread = 1 - math.exp(2 * exponent)
    time = seconds(schedule, t)
    assert math.isclose(schedule.signal(time), math.exp(exponent), rel_tol=1e-12)
    expected = spread if isinstance(schedule, SubVP) else math.sqrt(spread)
    assert math.isclose(schedule.noise(time), expected, rel_tol=1e-11)


def test_vp_defaults_are_the_papers():
    assert (VP().beta_min, VP().beta_max, VP().T) == (0.1, 20, 1)


@pytest.mark.parametrize("fraction", [0.2, 1.0])
def test_vp_integral_is_the_integral_of_beta(fraction):
    area, _ = quad(lambda t: 0.1 + t * (20 - 0.1), 0, fraction)
    assert math.isclose(VP().integral(seconds(VP(), fraction)), area, rel_tol=1e-12)


@pytest.mark.parametrize("fraction", [0.0, *FRACTIONS])
def test_ve_kernel_is_song_et_al(fraction):
    time = seconds(VE(), fraction)
    assert VE().signal(time) == 1
    assert math.isclose(VE().noise(time), 0.01 * (50 / 0.01) ** fraction, rel_tol=1e-12)


@pytest.mark.parametrize("fraction", [0.0, *FRACTIONS])
def test_edm_time_is_the_noise_level(fraction):
    time = seconds(EDM(), fraction)
    assert EDM().signal(time) == 1
    assert EDM().noise(time) == time


def papers_coefficients(schedule, t):
    """f and g^2 of the forward SDE as the papers print them: Song et al. (2021), equations 30 to 34; Karras et al. (2022), g^2 = 2 t."""
    if isinstance(schedule, VE):
        sigma = schedule.sigma_min * (schedule.sigma_max / schedule.sigma_min) ** t
        return 0.0, sigma**2 * 2 * math.log(schedule.sigma_max / schedule.sigma_min)
    if isinstance(schedule, EDM):
        return 0.0, 2 * t
    beta = schedule.beta_min + t * (schedule.beta_max - schedule.beta_min)
    area = t * schedule.beta_min + t**2 / 2 * (schedule.beta_max - schedule.beta_min)
    return -beta / 2, beta * (1 - math.exp(-2 * area)) if isinstance(schedule, SubVP) else beta


@pytest.mark.parametrize("schedule", CONTINUOUS)
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_drift_and_diffusion_are_the_papers(schedule, fraction):
    time = seconds(schedule, fraction)
    drift, diffusion = drift_and_diffusion(schedule, time)
    expected_drift, expected_diffusion = papers_coefficients(schedule, float(time))
    assert math.isclose(drift, expected_drift, rel_tol=1e-11)
    assert math.isclose(diffusion, expected_diffusion, rel_tol=1e-10)


@pytest.mark.parametrize("schedule", CONTINUOUS)
def test_rates_are_derivatives(schedule):
    t, h = seconds(schedule, 0.4), 1e-5 * schedule.T
    signal_rate, noise_rate = schedule.rates(t)
    for rate, value in ((signal_rate, schedule.signal), (noise_rate, schedule.noise)):
        assert math.isclose(rate, (value(t + h) - value(t - h)) / (2 * h), rel_tol=1e-6, abs_tol=1e-9)


@pytest.mark.parametrize("schedule", CONTINUOUS)
def test_rates_of_a_batch_are_those_of_each_time(schedule):
    times = torch.tensor([0.2, 0.9], dtype=torch.float64) * schedule.T
    for batched, *single in zip(
        drift_and_diffusion(schedule, times), *(drift_and_diffusion(schedule, t) for t in times)
    ):
        torch.testing.assert_close(batched, torch.stack(single), **EXACT)


@pytest.mark.parametrize("schedule", CONTINUOUS)
def test_coefficients_are_float64_for_float32_times(schedule):
    t = torch.tensor(0.3, dtype=torch.float32) * schedule.T
    for coefficient in (schedule.signal, schedule.noise):
        assert coefficient(t).dtype == torch.float64
        assert coefficient(t) == coefficient(t.double())


@pytest.mark.parametrize("schedule", CONTINUOUS)
def test_a_plain_number_is_taken_in_full_precision(schedule):
    assert schedule.noise(0.3) == schedule.noise(torch.tensor(0.3, dtype=torch.float64))
    assert schedule.noise(1) == schedule.noise(torch.tensor(1))


# --- between the entries of a table, and the straight line -----------------------------------------------------------------

TABLES = [linear(1000), cosine(50), scaled_linear(200)]


@pytest.mark.parametrize("table", TABLES, ids=["linear", "cosine", "scaled-linear"])
class TestInterpolated:
    def test_at_whole_times_it_is_the_table(self, table):
        steps, between = torch.arange(table.T + 1), Interpolated(table)
        for coefficient in ("signal", "noise"):
            ours, theirs = getattr(between, coefficient)(steps), getattr(table, coefficient)(steps)
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)

    def test_between_them_the_log_of_the_ratio_is_halfway(self, table):
        between, t = Interpolated(table), torch.arange(1, table.T, dtype=torch.float64)
        log = [log_snr(between, at) for at in (t, t + 0.5, t + 1)]
        torch.testing.assert_close(log[1], (log[0] + log[2]) / 2, rtol=1e-9, atol=1e-9)

    def test_times_are_found_again_from_their_ratio(self, table):
        between = Interpolated(table)
        t = torch.linspace(0, table.T, 333, dtype=torch.float64)
        found = between.time_at(between.noise(t) / between.signal(t))
        torch.testing.assert_close(found, t, rtol=1e-6, atol=1e-7)

    def test_it_preserves_the_variance_and_has_rates(self, table):
        between, t = Interpolated(table), torch.tensor([0.3, 7.4, 21.25], dtype=torch.float64)
        torch.testing.assert_close(between.signal(t) ** 2 + between.noise(t) ** 2, torch.ones(3).double(), **EXACT)
        for rate, value in zip(between.rates(t), (between.signal, between.noise)):
            torch.testing.assert_close(rate, (value(t + 1e-6) - value(t - 1e-6)) / 2e-6, rtol=1e-5, atol=1e-9)


def test_an_interpolated_table_needs_signal_and_ratios_that_it_has():
    with pytest.raises(ValueError, match="table must have signal left at T"):
        Interpolated(zero_terminal_snr(linear(10)))
    with pytest.raises(ValueError, match=r"ratio must lie in \[0, .* got values from 1e\+09"):
        Interpolated(linear(10)).time_at(torch.tensor([1e9]))


def test_the_straight_line_and_its_field():
    """Its velocity is eps - x_0, the target of flow matching (Lipman et al., 2023)."""
    schedule, t = Straight(), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    torch.testing.assert_close(schedule.signal(t) + schedule.noise(t), torch.ones(3).double())
    assert schedule.rates(t)[0].tolist() == [-1] * 3 and schedule.rates(t)[1].tolist() == [1] * 3
    x0, eps = normal(3, 2), normal(3, 2, seed=1)
    x_t = GaussianDiffusion(schedule).diffuse(x0, t, eps)
    field = velocity(lambda x, t: x0, schedule)
    torch.testing.assert_close(field(x_t, t), FLOW.target(x0, eps, None, None))  # type: ignore[arg-type]


def test_training_times_are_drawn_as_their_authors_draw_them():
    """20,000 draws: means within five standard errors; whole times 1..T of a table, each equally likely."""
    generator = torch.Generator().manual_seed(0)
    t = linear(10).times(20_000, generator)
    assert t.dtype == torch.int64 and abs(t.bincount(minlength=11)[1:] / 20_000 - 0.1).max() < 5 * 0.3 / 20_000**0.5
    assert t.min() == 1
    for schedule in (VP(), Straight(), Interpolated(linear(50))):
        t = schedule.times(20_000, generator) / schedule.T
        assert t.min() > 0 and t.max() <= 1 and abs(t.mean() - 0.5) < 5 * 0.29 / 20_000**0.5
    log = EDM().times(20_000, generator).log()
    assert abs(log.mean() + 1.2) < 5 * 1.2 / 20_000**0.5 and abs(log.std() - 1.2) < 0.05
