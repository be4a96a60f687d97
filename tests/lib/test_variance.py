"""Variances that a network learns, one a pixel, against the formulas of Nichol and Dhariwal (2021)."""

import math

import pytest
import torch

from course_lib.diffusion.bound import gaussian_kl, gaussian_log_prob, variational_bound
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import EPS, denoiser
from course_lib.diffusion.schedules import linear
from course_lib.nets.unet import UNet
from course_lib.sampling.steps import ancestral, last, sample, unit_variance
from course_lib.sampling.variance import learned_variance, split_output
from tests.lib.tensors import double, normal

SCHEDULE = linear(20, 0.01, 0.3)
PROCESS = GaussianDiffusion(SCHEDULE)


def network_saying(logits):
    """A network that predicts half of x as noise and these logits, `()` or of the shape of x."""
    return lambda x, t, cond: torch.cat([0.5 * x, torch.as_tensor(logits).to(x) * torch.ones_like(x)], dim=1)


@pytest.mark.parametrize("t", [1, 2, 3, 11, 20])
@pytest.mark.parametrize("logit", [-1.0, -0.2, 0.7, 1.0])
def test_the_reverse_variance_is_equation_15(t, logit):
    """exp(v log beta_t + (1 - v) log beta-tilde_t); beta-tilde_1 = 0 is replaced by beta-tilde_2."""
    beta, bar = SCHEDULE.beta, SCHEDULE.alpha_bar
    tilde = (1 - bar[:-1]) / (1 - bar[1:]) * beta[1:]  # tilde[t - 1] is that of step t
    v = (logit + 1) / 2
    written = math.exp(v * math.log(beta[t]) + (1 - v) * math.log(tilde[max(t, 2) - 1]))
    x = normal(3, 2, 4, 4)
    denoise, x0_variance = learned_variance(network_saying(logit), EPS, PROCESS)
    now, before = torch.tensor(t), torch.tensor(t - 1)
    weight_x0, _, posterior = PROCESS.posterior_weights(now, before)
    ours = posterior + weight_x0**2 * x0_variance(x, now)
    torch.testing.assert_close(ours.double(), torch.full_like(x, written), rtol=2e-6, atol=0)
    assert torch.equal(denoise(x, now), denoiser(lambda x, t, c: 0.5 * x, EPS, SCHEDULE)(x, now))


def test_a_variance_a_pixel_is_drawn_with_as_it_was_learned():
    """20,000 draws of one step from the same x_t: pixels of two logits get beta-tilde and beta."""
    x = torch.ones(20_000, 2, dtype=torch.float64).reshape(20_000, 1, 2)
    logits = double([-1.0, 1.0])
    denoise, x0_variance = learned_variance(network_saying(logits), EPS, PROCESS)
    t, s = torch.tensor(8), torch.tensor(7)
    drawn = ancestral(denoise, PROCESS, x0_variance, generator=torch.Generator().manual_seed(0))(x, t, s)
    _, _, tilde = PROCESS.posterior_weights(t, s)
    found = drawn.var(0).flatten()
    assert ((found / torch.stack([tilde, SCHEDULE.beta[8]]) - 1).abs() < 5 * (2 / 20_000) ** 0.5).all()


def test_one_evaluation_serves_prediction_and_variance():
    calls = []

    def network(x, t, cond):
        calls.append(t)
        return torch.cat([x, x], dim=1)

    denoise, x0_variance = learned_variance(network, EPS, PROCESS)
    last(sample(ancestral(denoise, PROCESS, x0_variance), normal(2, 1, 3), SCHEDULE.grid(5)))
    assert len(calls) == 5


def test_the_bound_takes_a_variance_a_pixel():
    """With every logit 1 it is the bound of beta_t, which `unit_variance` gives, in all steps but the first, whose decoder differs."""
    x0 = 0.3 * normal(4, 2, 3)
    denoise, x0_variance = learned_variance(network_saying(1.0), EPS, PROCESS)
    bounds = [
        variational_bound(denoise, x0, PROCESS, gaussian_log_prob, spread, torch.Generator().manual_seed(0))
        for spread in (x0_variance, unit_variance(SCHEDULE))
    ]
    torch.testing.assert_close(bounds[0].steps, bounds[1].steps, rtol=1e-4, atol=1e-4)


def test_the_kl_of_variances_a_pixel_is_the_sum_over_pixels():
    mean_q, mean_p, var_q, var_p = (
        normal(5, 2, 3),
        normal(5, 2, 3, seed=1),
        normal(5, 2, 3, seed=2).exp(),
        normal(5, 2, 3, seed=3).exp(),
    )
    ours = gaussian_kl(mean_q, var_q, mean_p, var_p)
    q, p = (torch.distributions.Normal(mean, var.sqrt()) for mean, var in ((mean_q, var_q), (mean_p, var_p)))
    torch.testing.assert_close(ours, torch.distributions.kl_divergence(q, p).flatten(1).sum(1))
    mixed = gaussian_kl(mean_q, var_q, mean_p, double([1, 2, 3, 4, 5]))
    per_sample = gaussian_kl(mean_q, var_q, mean_p, double([1, 2, 3, 4, 5])[:, None, None].expand(5, 2, 3))
    torch.testing.assert_close(mixed, per_sample)


@pytest.mark.parametrize("steps", [2, 5, 20])
def test_the_bound_of_normal_data_is_tight_at_every_grid(steps):
    """Its reverse steps are Gaussian however long they are, so on average the bound is -log p(x_0): within five standard errors."""
    exact = ExactDiffusion(Mixture(double([1.0]), double([[0.0, 0.0]]), torch.eye(2).double()[None]), SCHEDULE)
    x0, generator = normal(4000, 2), torch.Generator().manual_seed(1)  # another seed than that of x0
    bound = variational_bound(
        exact.denoise, x0, PROCESS, gaussian_log_prob, unit_variance(SCHEDULE), generator, SCHEDULE.grid(steps)
    )
    excess = bound.total - (x0.square() + math.log(2 * math.pi)).sum(1) / 2
    assert abs(excess.mean()) < 5 * excess.std() / 4000**0.5


def test_a_bound_over_fewer_steps_is_looser_where_a_long_step_is_not_gaussian():
    """Two far modes: a leap to one of them cannot be a Gaussian, and both bounds lie above -log p(x_0)."""
    modes = Mixture(double([0.5, 0.5]), double([[-1.0], [1.0]]), double([[[0.05]], [[0.05]]]))
    exact, generator = ExactDiffusion(modes, SCHEDULE), torch.Generator().manual_seed(0)
    x0, _ = modes.sample(4000, generator)
    truth = -(torch.distributions.Normal(double([-1.0, 1.0]), 0.05**0.5).log_prob(x0).logsumexp(1) - math.log(2))
    few, many = (
        variational_bound(
            exact.denoise, x0, PROCESS, gaussian_log_prob, unit_variance(SCHEDULE), generator, SCHEDULE.grid(steps)
        ).total
        for steps in (3, 20)
    )
    for looser, tighter in ((few, many), (many, truth)):
        excess = looser - tighter
        assert excess.mean() > 5 * excess.std() / 4000**0.5


def test_an_output_of_another_width_is_refused_and_says_what_to_do():
    network = UNet(channels=1, width=8, multipliers=(1,), attention=(), outputs=2)
    x, t = torch.zeros(2, 1, 4, 4), torch.tensor(3)
    assert network(x, torch.tensor([3, 3])).shape == (2, 2, 4, 4)
    with pytest.raises(
        ValueError, match=r"output and x_t must have the same shape; got output \(2, 2, 4, 4\), x_t \(2, 1, 4, 4\)"
    ):
        denoiser(network, EPS, SCHEDULE)(x, t)
    denoise, _ = learned_variance(network, EPS, PROCESS)
    assert denoise(x, t).shape == x.shape
    with pytest.raises(
        ValueError, match=r"must return shape \(2, 2, 4, 4\), twice the channels of x_t .* got \(2, 3, 4, 4\)"
    ):
        split_output(torch.zeros(2, 3, 4, 4), x)


def test_attention_at_a_resolution_that_is_not_there_is_refused():
    for options in ({"attention": (9,)}, {"attention": (), "transformer": (2,)}):
        with pytest.raises(ValueError, match="must list resolutions from 0 to 1"):
            UNet(width=8, multipliers=(1, 2), **options)
