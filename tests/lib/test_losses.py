"""Losses: the denoising loss and its weights written out, the bound against exact likelihoods, the decoders against mpmath."""

import math

import mpmath
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from course_lib.continuous import EDM, VP
from course_lib.exact import ExactDiffusion, Mixture
from course_lib.gaussian import GaussianProcess
from course_lib.losses import (
    Bound,
    denoising_loss,
    discretised_log_prob,
    gaussian_kl,
    gaussian_log_prob,
    variational_bound,
)
from course_lib.predictions import EPS, PREDICTIONS, X0
from course_lib.samplers import unit_variance
from course_lib.schedules import TableSchedule, cosine, linear

EXACT = {"rtol": 1e-11, "atol": 1e-12}


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- the denoising loss ------------------------------------------------------------------------------------------------


def test_simple_loss_is_equation_14():
    schedule, t = linear(), torch.tensor([1, 500, 1000])
    x0, eps = normal(3, 1, 2, 2), normal(3, 1, 2, 2, seed=1)
    loss = denoising_loss(lambda x, t, cond: torch.sin(x), x0, t, eps, GaussianProcess(schedule))
    for b in range(3):
        alpha_bar = schedule.alpha_bar[t[b]]
        x_t = alpha_bar.sqrt() * x0[b] + (1 - alpha_bar).sqrt() * eps[b]
        assert math.isclose(loss[b], ((eps[b] - torch.sin(x_t)) ** 2).sum() / 4, rel_tol=1e-12)


@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS.keys())
@pytest.mark.parametrize("schedule", [VP(), EDM()])
def test_loss_compares_with_the_predictions_target(prediction, schedule):
    x0, eps, t = normal(2, 3), normal(2, 3, seed=1), double([0.3, 0.8])
    a, b = schedule.signal(t)[:, None], schedule.noise(t)[:, None]
    loss = denoising_loss(lambda x, t, cond: 2 * x, x0, t, eps, GaussianProcess(schedule), prediction)
    expected = (2 * (a * x0 + b * eps) - prediction.target(x0, eps, a, b)) ** 2
    torch.testing.assert_close(loss, expected.mean(1), **EXACT)


def test_weight_multiplies_each_sample():
    arguments = normal(3, 2), double([0.1, 0.5, 0.9]), normal(3, 2, seed=1), GaussianProcess(VP())
    plain = denoising_loss(lambda x, t, cond: x, *arguments)
    weighted = denoising_loss(lambda x, t, cond: x, *arguments, weight=lambda t: 1 + 10 * t)
    torch.testing.assert_close(weighted, double([2.0, 6.0, 10.0]) * plain, **EXACT)


def test_eps_loss_is_the_snr_weighted_data_loss():
    """b^2 |eps - eps-hat|^2 = a^2 |x_0 - x_0-hat|^2."""
    schedule, t = linear(), torch.tensor([3, 300, 900])
    process, x0, eps = GaussianProcess(schedule), normal(3, 4), normal(3, 4, seed=1)
    a, b = schedule.signal(t)[:, None], schedule.noise(t)[:, None]
    loss = denoising_loss(lambda x, t, cond: torch.sin(x), x0, t, eps, process, EPS)
    as_data = denoising_loss(
        lambda x, t, cond: (x - b * torch.sin(x)) / a,
        x0, t, eps, process, X0, weight=lambda t: schedule.alpha_bar[t] / (1 - schedule.alpha_bar[t]),
    )  # fmt: skip
    torch.testing.assert_close(loss, as_data, rtol=1e-9, atol=0)


def test_network_sees_the_noisy_data_the_times_and_the_condition():
    seen, cond, t = {}, torch.tensor([4, 7]), torch.tensor([2, 9])
    process, x0, eps = GaussianProcess(linear(10)), normal(2, 3), normal(2, 3, seed=1)

    def network(x, t, cond):
        seen.update(x=x, t=t, cond=cond)
        return x

    denoising_loss(network, x0, t, eps, process, cond=cond)
    assert torch.equal(seen["x"], process.diffuse(x0, t, eps))
    assert seen["t"] is t
    assert seen["cond"] is cond


def test_gradients_reach_the_network():
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    denoising_loss(
        lambda x, t, cond: scale * x, normal(2, 2), double([0.2, 0.7]), normal(2, 2, seed=1), GaussianProcess(VP())
    ).sum().backward()
    assert scale.grad.abs() > 0


# --- Gaussian pieces ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variances", [(0.3, 0.3), (0.2, 1.7), (5.0, 0.01)])
def test_gaussian_kl_is_that_of_torch(variances):
    mean_q, mean_p, (variance_q, variance_p) = normal(3, 2, 2), normal(3, 2, 2, seed=1), map(double, variances)
    expected = kl_divergence(Normal(mean_q, variance_q.sqrt()), Normal(mean_p, variance_p.sqrt())).sum((1, 2))
    torch.testing.assert_close(gaussian_kl(mean_q, variance_q, mean_p, variance_p), expected, **EXACT)


def test_gaussian_kl_takes_a_variance_for_each_sample():
    mean_q, mean_p, variance_q, variance_p = normal(2, 3), normal(2, 3, seed=1), double([0.3, 2.0]), double([0.7, 0.1])
    expected = [gaussian_kl(mean_q[b][None], variance_q[b], mean_p[b][None], variance_p[b])[0] for b in range(2)]
    torch.testing.assert_close(gaussian_kl(mean_q, variance_q, mean_p, variance_p), torch.stack(expected), **EXACT)


def test_gaussian_log_prob_is_that_of_torch():
    x0, mean, variance = normal(3, 2), normal(3, 2, seed=1), double([0.1, 1.0, 4.0])
    expected = Normal(mean, variance.sqrt()[:, None]).log_prob(x0).sum(1)
    torch.testing.assert_close(gaussian_log_prob(x0, mean, variance), expected, **EXACT)


# --- the decoder of 8-bit data -----------------------------------------------------------------------------------------


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


# --- the variational bound ---------------------------------------------------------------------------------------------

MIXTURE = Mixture(
    double([0.6, 0.4]),
    double([[0.8, -0.5], [-1.0, 0.7]]),
    double([[[0.1, 0.05], [0.05, 0.1]], [[0.2, 0.0], [0.0, 0.05]]]),
)


def even_log_snr(steps, extent=9.0):
    """T steps whose log-SNR falls evenly from +extent to -extent: each step's share of the gap then shrinks like 1 / T^2."""
    ratio = torch.linspace(extent, -extent, steps, dtype=torch.float64)
    return TableSchedule(torch.cat([torch.ones(1, dtype=torch.float64), torch.sigmoid(ratio)]))


def gap(schedule, x0_variance=None, draws=4000):
    """Bound minus -log p(x_0), averaged over data drawn from the mixture, and its standard error."""
    generator = torch.Generator().manual_seed(0)
    x0, _ = MIXTURE.sample(draws, generator)
    exact = ExactDiffusion(MIXTURE, schedule)
    bound = variational_bound(exact.denoise, x0, GaussianProcess(schedule), gaussian_log_prob, x0_variance, generator)
    excess = bound.total + exact.log_prob(x0, torch.tensor(0))
    return float(excess.mean()), float(excess.std()) / math.sqrt(draws)


@pytest.mark.parametrize("schedule", [linear(30, 0.01, 0.5), cosine(30), even_log_snr(10), even_log_snr(60)])
@pytest.mark.parametrize("variance", ["beta-tilde", "beta"])
def test_bound_is_at_least_the_negative_log_likelihood(schedule, variance):
    excess, error = gap(schedule, unit_variance(schedule) if variance == "beta" else None)
    assert excess > -3 * error


def test_gap_vanishes_as_the_steps_grow():
    """With an exact denoiser a step of d log-SNR costs O(d^2), and T steps over a fixed range O(1 / T): twice T, half the gap."""
    excess = {steps: gap(even_log_snr(steps))[0] for steps in (50, 100, 200)}
    assert 0.4 < excess[100] / excess[50] < 0.6
    assert 0.4 < excess[200] / excess[100] < 0.6
    assert excess[200] < 0.5


def test_bound_is_tight_for_a_gaussian_with_the_true_variance():
    """For N(0.4, 0.3) each reverse step is exactly Gaussian: on average only the prior's mismatch is left of the gap."""
    gaussian, schedule = Mixture(double([1.0]), double([[0.4]]), double([[[0.3]]])), even_log_snr(8)
    exact, generator = ExactDiffusion(gaussian, schedule), torch.Generator().manual_seed(0)
    x0, _ = gaussian.sample(20_000, generator)
    bound = variational_bound(
        exact.denoise,
        x0,
        GaussianProcess(schedule),
        gaussian_log_prob,
        lambda x, t: exact.covariance(x, t).flatten(),
        generator,
    )
    excess = bound.total + exact.log_prob(x0, torch.tensor(0))
    assert abs(excess.mean()) < 4 * excess.std() / math.sqrt(20_000)


def test_terms_are_those_of_equation_5():
    """Every term from torch.distributions; at each time the same noise is drawn again."""
    schedule, x0 = linear(4, 0.1, 0.4), normal(3, 2, seed=5)
    process, beta, alpha_bar = GaussianProcess(schedule), schedule.beta, schedule.alpha_bar
    generator = torch.Generator().manual_seed(9)
    bound = variational_bound(
        lambda x, t: torch.sin(x) * t, x0, process, gaussian_log_prob, unit_variance(schedule), generator
    )
    generator.manual_seed(9)

    def posterior_mean(x0, x_t, t):
        weight = alpha_bar[t - 1].sqrt() * beta[t] / (1 - alpha_bar[t])
        return weight * x0 + (1 - beta[t]).sqrt() * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * x_t

    prior = kl_divergence(Normal(alpha_bar[4].sqrt() * x0, (1 - alpha_bar[4]).sqrt()), Normal(double(0.0), double(1.0)))
    torch.testing.assert_close(bound.prior, prior.sum(1), **EXACT)
    for t in (2, 3, 4, 1):  # the order in which the noise is drawn
        eps = torch.randn(3, 2, generator=generator, dtype=torch.float64)
        x_t = alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * eps
        x0_hat = torch.sin(x_t) * t
        if t == 1:
            expected = -Normal(x0_hat, beta[1].sqrt()).log_prob(x0).sum(1)
            torch.testing.assert_close(bound.reconstruction, expected, **EXACT)
            continue
        beta_tilde = (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta[t]
        truth = Normal(posterior_mean(x0, x_t, t), beta_tilde.sqrt())
        model = Normal(posterior_mean(x0_hat, x_t, t), beta[t].sqrt())
        torch.testing.assert_close(bound.steps[t - 2], kl_divergence(truth, model).sum(1), **EXACT)


def test_without_a_variance_the_decoder_has_beta_1_and_the_steps_beta_tilde():
    schedule, x0, seen = linear(3, 0.1, 0.4), normal(2, 2), []
    bound = variational_bound(
        lambda x, t: x0, x0, GaussianProcess(schedule), lambda x0, mean, variance: seen.append(variance) or x0[:, 0]
    )
    assert math.isclose(seen[0], schedule.beta[1], rel_tol=1e-12)
    torch.testing.assert_close(bound.steps, torch.zeros(2, 2, dtype=torch.float64))  # the same mean, the same variance


def test_one_step_has_no_middle_terms():
    bound = variational_bound(lambda x, t: x, normal(3, 2), GaussianProcess(linear(1, 0.5, 0.5)), gaussian_log_prob)
    assert bound.steps.shape == (0, 3)
    torch.testing.assert_close(bound.total, bound.prior + bound.reconstruction)


def test_total_and_bits():
    bound = Bound(double([1.0, 2.0]), double([[3.0, 4.0], [5.0, 6.0]]), double([7.0, 8.0]))
    assert bound.total.tolist() == [16, 20]
    torch.testing.assert_close(bound.bits_per_dimension(4), double([16.0, 20.0]) / 4 / math.log(2), **EXACT)


def test_uniform_bytes_cost_8_bits():
    """A decoder that gives each of 256 levels the same mass needs 8 bits for each dimension."""
    bound = Bound(torch.zeros(2).double(), torch.zeros(0, 2).double(), torch.full((2,), 12 * math.log(256)).double())
    torch.testing.assert_close(bound.bits_per_dimension(12), double([8.0, 8.0]), rtol=1e-6, atol=0)


def test_mixture_of_the_tests_has_the_likelihood_of_torch():
    x0, _ = MIXTURE.sample(5, torch.Generator().manual_seed(1))
    components = MultivariateNormal(MIXTURE.means, MIXTURE.covariances).log_prob(x0[:, None])
    expected = (components + MIXTURE.weights.log()).logsumexp(1)
    torch.testing.assert_close(ExactDiffusion(MIXTURE, linear()).log_prob(x0, torch.tensor(0)), expected, **EXACT)


PROCESS, DATA = GaussianProcess(linear(10)), torch.zeros(4, 2, dtype=torch.float64)
TIMES = torch.tensor([1, 2, 3, 4])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: denoising_loss(lambda x, t, c: x[:, :1], DATA, TIMES, DATA, PROCESS),
            r"output and target .* same shape",
        ),
        (
            lambda: denoising_loss(lambda x, t, c: x, DATA, TIMES, DATA[:2], PROCESS),
            r"x0 and noise .* same shape; got x0",
        ),
        (
            lambda: denoising_loss(lambda x, t, c: x, DATA, TIMES[:3], DATA, PROCESS),
            r"t must have shape .* got shape \(3,\)",
        ),
        (lambda: denoising_loss(lambda x, t, c: x, DATA, TIMES + 9, DATA, PROCESS), r"t must lie in \[0, 10\]"),
        (
            lambda: denoising_loss(lambda x, t, c: x, DATA, TIMES, DATA, PROCESS, weight=lambda t: t[:, None]),
            r"weight and error must have the same shape; got weight \(4, 1\), error \(4,\)",
        ),
        (
            lambda: variational_bound(lambda x, t: x, DATA, GaussianProcess(VP()), gaussian_log_prob),
            r"process must have a table schedule",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
