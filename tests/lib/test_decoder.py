"""The decoder of 8-bit data: the mass of a Gaussian in each bin, against mpmath."""

import math

import mpmath
import pytest
import torch

from course_lib.diffusion.bound import discretised_log_prob, gaussian_log_prob
from tests.lib.tensors import double, normal

EXACT = {"rtol": 1e-11, "atol": 1e-12}


def pixel(level, levels=256):
    return 2 * level / (levels - 1) - 1


def log_mass(x0, mean, variance, levels=256):
    """Equation 13 of Ho et al. in 60 digits: the mass between x - 1/255 and x + 1/255, open at the outermost bins."""
    sign = 1 if x0 >= mean else -1  # in the mirror the bin is above the mean, where erfc keeps its precision
    x0, mean, half = sign * mpmath.mpf(x0), sign * mpmath.mpf(mean), mpmath.mpf(1) / (levels - 1)

    def tail(x):
        return mpmath.erfc((x - mean) / mpmath.sqrt(2 * mpmath.mpf(variance))) / 2

    with mpmath.workdps(60):
        above = 1 if x0 < -1 + half else tail(x0 - half)
        below = 0 if x0 > 1 - half else tail(x0 + half)
        return float(mpmath.log(above - below))


@pytest.mark.parametrize("level", [0, 1, 100, 128, 254, 255])
@pytest.mark.parametrize("mean", [-1.3, -0.99, 0.003, 0.7, 1.0])
@pytest.mark.parametrize("variance", [1e-4, 0.01, 1.0, 100.0])
def test_discretised_log_prob_is_equation_13(level, mean, variance):
    """At variance 1e-4 some bins lie 200 standard deviations off, where the mass itself is 0 in float64."""
    x0 = double([[pixel(level)]])
    ours = discretised_log_prob(x0, double([[mean]]), double(variance))
    assert math.isclose(ours, log_mass(float(x0), mean, variance), rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("mean", [-2.0, -1.0, 0.0, 0.31, 1.5])
@pytest.mark.parametrize("variance", [1e-6, 1e-3, 0.1, 10.0])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_all_levels_together_hold_mass_1(mean, variance, levels):
    x0 = double([[pixel(level, levels)] for level in range(levels)])
    total = discretised_log_prob(x0, torch.full_like(x0, mean), double(variance), levels).exp().sum()
    assert math.isclose(total, 1, rel_tol=1e-11)


def test_a_bin_too_narrow_for_float32_has_a_finite_log_prob():
    x0 = torch.tensor([[pixel(100)]])
    assert discretised_log_prob(x0, x0, torch.tensor(1e12)).isfinite()


@pytest.mark.parametrize("variance", [1e-5, 1e-3, 1.0, 1e4])
def test_discretised_log_prob_is_finite_and_close_in_float32(variance):
    """The float32 of training, against float64: to 1e-3 of the value."""
    x0 = torch.tensor([[pixel(level)] for level in range(256)])
    for mean in (-1.0, 0.2, 1.0):
        single = discretised_log_prob(x0, torch.full_like(x0, mean), torch.tensor(variance))
        full = discretised_log_prob(x0.double(), torch.full_like(x0, mean).double(), double(variance))
        torch.testing.assert_close(single.double(), full, rtol=1e-3, atol=1e-3)


def test_discretised_log_prob_adds_up_the_pixels():
    x0, mean = double([[pixel(3), pixel(200)], [pixel(0), pixel(90)]]), 0.1 * normal(2, 2)
    variance = double([0.1, 0.4])
    one_by_one = [
        sum(discretised_log_prob(x0[b, i].reshape(1, 1), mean[b, i].reshape(1, 1), variance[b]) for i in range(2))
        for b in range(2)
    ]
    torch.testing.assert_close(discretised_log_prob(x0, mean, variance), torch.cat(one_by_one), **EXACT)


def test_narrow_bins_hold_density_times_width():
    x0, mean, variance = double([[pixel(140)]]), double([[0.2]]), double(0.5)
    expected = gaussian_log_prob(x0, mean, variance) + math.log(2 / 255)
    torch.testing.assert_close(discretised_log_prob(x0, mean, variance), expected, rtol=1e-5, atol=0)
