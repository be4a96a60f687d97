"""The variational bound: its terms written out, and against the exact likelihood of a mixture."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from course_lib.diffusion.bound import Bound, gaussian_log_prob, variational_bound
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import TableSchedule, cosine, linear
from course_lib.sampling.steps import unit_variance
from tests.lib.tensors import double, normal

EXACT = {"rtol": 1e-11, "atol": 1e-12}


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
    bound = variational_bound(exact.denoise, x0, GaussianDiffusion(schedule), gaussian_log_prob, x0_variance, generator)
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
        GaussianDiffusion(schedule),
        gaussian_log_prob,
        lambda x, t: exact.covariance(x, t).flatten(),
        generator,
    )
    excess = bound.total + exact.log_prob(x0, torch.tensor(0))
    assert abs(excess.mean()) < 4 * excess.std() / math.sqrt(20_000)


def test_terms_are_those_of_equation_5():
    """Every term from torch.distributions; at each time the same noise is drawn again."""
    schedule, x0 = linear(4, 0.1, 0.4), normal(3, 2, seed=5)
    process, beta, alpha_bar = GaussianDiffusion(schedule), schedule.beta, schedule.alpha_bar
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
        lambda x, t: x0, x0, GaussianDiffusion(schedule), lambda x0, mean, variance: seen.append(variance) or x0[:, 0]
    )
    assert math.isclose(seen[0], schedule.beta[1], rel_tol=1e-12)
    torch.testing.assert_close(bound.steps, torch.zeros(2, 2, dtype=torch.float64))  # the same mean, the same variance


def test_a_given_variance_is_the_decoders_and_widens_every_step():
    """Where the means agree, a step costs the KL between N(0, beta-tilde) and N(0, beta-tilde + w^2 variance)."""
    schedule, x0, seen = linear(3, 0.1, 0.4), normal(1, 2), []
    process = GaussianDiffusion(schedule)
    bound = variational_bound(
        lambda x, t: x0,
        x0,
        process,
        lambda x0, mean, variance: seen.append(variance) or x0[:, 0],
        lambda x, t: double(0.2) * t,
    )
    assert math.isclose(seen[0], 0.2, rel_tol=1e-12)
    for t in (2, 3):
        weight, _, variance = process.posterior_weights(torch.tensor(t), torch.tensor(t - 1))
        wide = Normal(0, (variance + weight**2 * 0.2 * t).sqrt())
        expected = 2 * kl_divergence(Normal(0, variance.sqrt()), wide)  # two dimensions
        torch.testing.assert_close(bound.steps[t - 2, 0], expected, **EXACT)


def test_one_step_has_no_middle_terms():
    bound = variational_bound(lambda x, t: x, normal(3, 2), GaussianDiffusion(linear(1, 0.5, 0.5)), gaussian_log_prob)
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
