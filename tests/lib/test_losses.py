"""Losses: the denoising loss and its weights written out, the bound against exact likelihoods, the decoders against mpmath."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from course_lib.diffusion.bound import gaussian_kl, gaussian_log_prob, variational_bound
from course_lib.diffusion.continuous import EDM, VP
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import EPS, PREDICTIONS, SCORE, X0
from course_lib.diffusion.schedules import linear
from tests.lib.tensors import double, normal

EXACT = {"rtol": 1e-11, "atol": 1e-12}


# --- the denoising loss ------------------------------------------------------------------------------------------------


def test_simple_loss_is_equation_14():
    schedule, t = linear(), torch.tensor([1, 500, 1000])
    x0, eps = normal(3, 1, 2, 2), normal(3, 1, 2, 2, seed=1)
    loss = denoising_loss(lambda x, t, cond: torch.sin(x), x0, t, eps, GaussianDiffusion(schedule))
    for b in range(3):
        alpha_bar = schedule.alpha_bar[t[b]]
        x_t = alpha_bar.sqrt() * x0[b] + (1 - alpha_bar).sqrt() * eps[b]
        assert math.isclose(loss[b], ((eps[b] - torch.sin(x_t)) ** 2).sum() / 4, rel_tol=1e-12)


def test_the_score_at_no_noise_is_refused_because_it_is_infinite():
    x0, t, process = normal(2, 3), torch.tensor([0, 5]), GaussianDiffusion(linear())
    with pytest.raises(ValueError, match=r"t must have noise\(t\) > 0"):
        denoising_loss(lambda x, t, cond: x, x0, t, x0, process, SCORE)
    assert denoising_loss(lambda x, t, cond: x, x0, t, x0, process, X0).isfinite().all()


@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS.keys())
@pytest.mark.parametrize("schedule", [VP(), EDM()])
def test_loss_compares_with_the_predictions_target(prediction, schedule):
    x0, eps, t = normal(2, 3), normal(2, 3, seed=1), double([0.3, 0.8])
    a, b = schedule.signal(t)[:, None], schedule.noise(t)[:, None]
    loss = denoising_loss(lambda x, t, cond: 2 * x, x0, t, eps, GaussianDiffusion(schedule), prediction)
    expected = (2 * (a * x0 + b * eps) - prediction.target(x0, eps, a, b)) ** 2
    torch.testing.assert_close(loss, expected.mean(1), **EXACT)


def test_weight_multiplies_each_sample():
    arguments = normal(3, 2), double([0.1, 0.5, 0.9]), normal(3, 2, seed=1), GaussianDiffusion(VP())
    plain = denoising_loss(lambda x, t, cond: x, *arguments)
    weighted = denoising_loss(lambda x, t, cond: x, *arguments, weight=lambda t: 1 + 10 * t)
    torch.testing.assert_close(weighted, double([2.0, 6.0, 10.0]) * plain, **EXACT)


def test_eps_loss_is_the_snr_weighted_data_loss():
    """b^2 |eps - eps-hat|^2 = a^2 |x_0 - x_0-hat|^2."""
    schedule, t = linear(), torch.tensor([3, 300, 900])
    process, x0, eps = GaussianDiffusion(schedule), normal(3, 4), normal(3, 4, seed=1)
    a, b = schedule.signal(t)[:, None], schedule.noise(t)[:, None]
    loss = denoising_loss(lambda x, t, cond: torch.sin(x), x0, t, eps, process, EPS)
    as_data = denoising_loss(
        lambda x, t, cond: (x - b * torch.sin(x)) / a,
        x0, t, eps, process, X0, weight=lambda t: schedule.alpha_bar[t] / (1 - schedule.alpha_bar[t]),
    )  # fmt: skip
    torch.testing.assert_close(loss, as_data, rtol=1e-9, atol=0)


def test_network_sees_the_noisy_data_the_times_and_the_condition():
    seen, cond, t = {}, torch.tensor([4, 7]), torch.tensor([2, 9])
    process, x0, eps = GaussianDiffusion(linear(10)), normal(2, 3), normal(2, 3, seed=1)

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
        lambda x, t, cond: scale * x, normal(2, 2), double([0.2, 0.7]), normal(2, 2, seed=1), GaussianDiffusion(VP())
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


PROCESS, DATA = GaussianDiffusion(linear(10)), torch.zeros(4, 2, dtype=torch.float64)
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
            lambda: variational_bound(lambda x, t: x, DATA, GaussianDiffusion(VP()), gaussian_log_prob),
            r"steps must be given: a continuous schedule has no steps to count",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
