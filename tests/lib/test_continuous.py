"""Continuous schedules and their SDEs against the closed forms of Song et al. (2021) and Karras et al. (2022)."""

import math

import pytest
import torch
from scipy.integrate import quad

from course_lib.diffusion.continuous import EDM, VE, VP, SubVP, drift_and_diffusion

CONTINUOUS = [VP(), VP(0.5, 3.0), SubVP(), VE(), VE(0.1, 5.0), EDM(), EDM(3.0)]
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
