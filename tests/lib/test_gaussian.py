"""The Gaussian process: the chain composed step by step, the posterior against Ho et al. and Bayes, the family of bridges."""

import math

import pytest
import torch

from course_lib.diffusion.continuous import EDM, VE, VP, SubVP
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import TableSchedule, cosine, linear, sigmoid
from tests.lib.tensors import normal

TABLES = [linear(40, 1e-3, 0.3), cosine(25), sigmoid(30)]
CONTINUOUS = [VP(), SubVP(), VE(), EDM()]
PAIRS = [(0.0, 0.3), (0.2, 0.25), (0.31, 0.9), (0.0, 1.0)]  # s and t as fractions of T
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def times(schedule, fractions):
    """Two times s < t as tensors, whole ones for a table."""
    if isinstance(schedule, TableSchedule):
        return [torch.tensor(round(fraction * schedule.T)) for fraction in fractions]
    return [torch.tensor(fraction * schedule.T, dtype=torch.float64) for fraction in fractions]


def density(x, mean, variance):
    return torch.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


@pytest.mark.parametrize("schedule", TABLES)
def test_single_steps_compose_to_the_closed_form(schedule):
    process, mean, variance = GaussianDiffusion(schedule), 1.0, 0.0
    for t in range(1, schedule.T + 1):
        ratio, step_variance = process.transition(torch.tensor(t - 1), torch.tensor(t))
        mean, variance = float(ratio) * mean, float(ratio) ** 2 * variance + float(step_variance)
        assert math.isclose(mean, schedule.signal(t), rel_tol=1e-12)
        assert math.isclose(variance, 1 - schedule.alpha_bar[t], rel_tol=1e-12)


@pytest.mark.parametrize("schedule", TABLES)
def test_one_step_is_equation_2(schedule):
    t = torch.arange(1, schedule.T + 1)
    ratio, variance = GaussianDiffusion(schedule).transition(t - 1, t)
    torch.testing.assert_close(ratio, (1 - schedule.beta[1:]).sqrt(), **EXACT)
    torch.testing.assert_close(variance, schedule.beta[1:], **EXACT)


@pytest.mark.parametrize("schedule", [*TABLES, *CONTINUOUS])
def test_transitions_compose(schedule):
    process = GaussianDiffusion(schedule)
    r, s, t = times(schedule, [0.2, 0.4, 0.9])
    (first, first_variance), (second, second_variance) = process.transition(r, s), process.transition(s, t)
    ratio, variance = process.transition(r, t)
    torch.testing.assert_close(second * first, ratio, **EXACT)
    torch.testing.assert_close(second**2 * first_variance + second_variance, variance, rtol=1e-10, atol=0)


@pytest.mark.parametrize("schedule", [*TABLES, *CONTINUOUS])
@pytest.mark.parametrize("pair", PAIRS)
def test_transition_carries_the_marginal_from_s_to_t(schedule, pair):
    s, t = times(schedule, pair)
    ratio, variance = GaussianDiffusion(schedule).transition(s, t)
    torch.testing.assert_close(ratio * schedule.signal(s), schedule.signal(t), **EXACT)
    torch.testing.assert_close(ratio**2 * schedule.noise(s) ** 2 + variance, schedule.noise(t) ** 2, **EXACT)


@pytest.mark.parametrize("schedule", [*TABLES, *CONTINUOUS])
def test_diffuse_is_signal_times_data_plus_noise_times_eps(schedule):
    x0, eps = normal(3, 1, 2, 2), normal(3, 1, 2, 2, seed=1)
    t = torch.stack(times(schedule, [0.0, 0.4, 1.0]))
    x_t = GaussianDiffusion(schedule).diffuse(x0, t, eps)
    for b in range(3):
        expected = schedule.signal(t[b]) * x0[b] + schedule.noise(t[b]) * eps[b]
        torch.testing.assert_close(x_t[b], expected, **EXACT)


@pytest.mark.parametrize("schedule", [*TABLES, *CONTINUOUS])
def test_advance_adds_the_transitions_noise(schedule):
    x_s, eps, process = normal(4, 2), normal(4, 2, seed=1), GaussianDiffusion(schedule)
    s, t = times(schedule, [0.2, 0.7])
    ratio, variance = process.transition(s, t)
    torch.testing.assert_close(process.advance(x_s, s, t, eps), ratio * x_s + variance.sqrt() * eps, **EXACT)


def test_advancing_step_by_step_draws_the_marginal():
    """Mean and standard deviation of 20,000 chains, within 5 standard errors."""
    schedule, n = linear(40, 1e-3, 0.3), 20_000
    process, x = GaussianDiffusion(schedule), torch.full((n, 1), 1.5, dtype=torch.float64)
    for t in range(1, 41):
        x = process.advance(x, torch.tensor(t - 1), torch.tensor(t), normal(n, 1, seed=t))
    assert abs(x.mean() - 1.5 * schedule.signal(40)) < 5 * schedule.noise(40) / math.sqrt(n)
    assert abs(x.std() - schedule.noise(40)) < 5 * schedule.noise(40) / math.sqrt(2 * n)


@pytest.mark.parametrize("schedule", TABLES)
def test_posterior_is_equations_6_and_7(schedule):
    x0, x_t, beta, alpha_bar = normal(2, 3), normal(2, 3, seed=1), schedule.beta, schedule.alpha_bar
    for t in range(1, schedule.T + 1):
        mean, variance = GaussianDiffusion(schedule).posterior(x0, x_t, torch.tensor(t), torch.tensor(t - 1))
        remaining = 1 - alpha_bar[t]
        expected = alpha_bar[t - 1].sqrt() * beta[t] / remaining * x0
        expected = expected + schedule.alpha[t].sqrt() * (1 - alpha_bar[t - 1]) / remaining * x_t
        torch.testing.assert_close(mean, expected, **EXACT)
        torch.testing.assert_close(variance, (1 - alpha_bar[t - 1]) / remaining * beta[t], **EXACT)


@pytest.mark.parametrize("schedule", [*TABLES, *CONTINUOUS])
@pytest.mark.parametrize("pair", [(0.2, 0.4), (0.35, 0.9)])
def test_posterior_is_bayes_rule_on_a_grid(schedule, pair):
    """q(x_s | x_0) q(x_t | x_s) on 4,001 points, normalised by their sum, against the closed form."""
    process, (s, t), x0, x_t = GaussianDiffusion(schedule), times(schedule, pair), 0.7, -0.4
    ratio, variance = process.transition(s, t)
    mean, posterior_variance = process.posterior(
        torch.tensor([[x0]], dtype=torch.float64), torch.tensor([[x_t]], dtype=torch.float64), t, s
    )
    grid = float(mean) + float(posterior_variance.sqrt()) * torch.linspace(-9, 9, 4001, dtype=torch.float64)
    weight = density(grid, float(schedule.signal(s)) * x0, float(schedule.noise(s)) ** 2)
    weight = weight * density(x_t, float(ratio) * grid, float(variance))
    weight = weight / weight.sum()
    brute_mean = (weight * grid).sum()
    brute_variance = (weight * (grid - brute_mean) ** 2).sum()
    torch.testing.assert_close(brute_mean, mean.squeeze(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(brute_variance, posterior_variance, rtol=1e-9, atol=0)


@pytest.mark.parametrize("schedule", [*TABLES, *CONTINUOUS])
@pytest.mark.parametrize("pair", PAIRS)
def test_bridge_with_eta_1_is_the_posterior(schedule, pair):
    process, (s, t), x0, x_t = GaussianDiffusion(schedule), times(schedule, pair), normal(5, 2), normal(5, 2, seed=1)
    for ours, reference in zip(process.bridge(x0, x_t, t, s, eta=1.0), process.posterior(x0, x_t, t, s)):
        torch.testing.assert_close(ours, reference, **EXACT)


@pytest.mark.parametrize("schedule", TABLES)
@pytest.mark.parametrize("pair", PAIRS)
def test_bridge_with_eta_0_is_ddim(schedule, pair):
    s, t = times(schedule, pair)
    x0, x_t = normal(5, 2), normal(5, 2, seed=1)
    alpha_bar_s, alpha_bar_t = schedule.alpha_bar[s], schedule.alpha_bar[t]
    eps = (x_t - alpha_bar_t.sqrt() * x0) / (1 - alpha_bar_t).sqrt()  # DDIM, equation 9 solved for eps
    mean, variance = GaussianDiffusion(schedule).bridge(x0, x_t, t, s, eta=0.0)
    torch.testing.assert_close(mean, alpha_bar_s.sqrt() * x0 + (1 - alpha_bar_s).sqrt() * eps, **EXACT)
    assert variance == 0


@pytest.mark.parametrize("schedule", TABLES)
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_bridge_variance_is_equation_16(schedule, pair, eta):
    s, t = times(schedule, pair)
    alpha_bar_s, alpha_bar_t = schedule.alpha_bar[s], schedule.alpha_bar[t]
    sigma = eta * ((1 - alpha_bar_s) / (1 - alpha_bar_t)).sqrt() * (1 - alpha_bar_t / alpha_bar_s).sqrt()
    _, variance = GaussianDiffusion(schedule).bridge(normal(1, 1), normal(1, 1), t, s, eta)
    torch.testing.assert_close(variance, sigma**2, **EXACT)


@pytest.mark.parametrize("schedule", [*TABLES, *CONTINUOUS])
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("eta", [0.0, 0.3, 0.8, 1.0])
def test_bridge_keeps_the_marginal_for_every_eta(schedule, pair, eta):
    """Push x_t ~ N(a_t x_0, b_t^2) through the bridge, whose mean is affine in x_t: what arrives is N(a_s x_0, b_s^2)."""
    (s, t), x0 = times(schedule, pair), torch.tensor([[0.7], [0.7]], dtype=torch.float64)
    x_t = schedule.signal(t) * x0 + schedule.noise(t) * torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    mean, variance = GaussianDiffusion(schedule).bridge(x0, x_t, t, s, eta)
    torch.testing.assert_close(mean[0], schedule.signal(s) * x0[0], **EXACT)
    torch.testing.assert_close((mean[1] - mean[0]).squeeze() ** 2 + variance, schedule.noise(s) ** 2, **EXACT)


@pytest.mark.parametrize("schedule", [*TABLES, *CONTINUOUS])
@pytest.mark.parametrize("method", ["posterior", "bridge"])
def test_a_batch_of_times_gives_each_sample_its_own(schedule, method):
    process = GaussianDiffusion(schedule)
    x0, x_t = normal(2, 1, 2, 2), normal(2, 1, 2, 2, seed=1)
    (s_0, t_0), (s_1, t_1) = times(schedule, [0.2, 0.5]), times(schedule, [0.4, 0.9])
    mean, variance = getattr(process, method)(x0, x_t, torch.stack([t_0, t_1]), torch.stack([s_0, s_1]))
    for b, (s, t) in enumerate([(s_0, t_0), (s_1, t_1)]):
        one_mean, one_variance = getattr(process, method)(x0[b : b + 1], x_t[b : b + 1], t, s)
        torch.testing.assert_close(mean[b : b + 1], one_mean, **EXACT)
        torch.testing.assert_close(variance[b], one_variance, **EXACT)


@pytest.mark.parametrize("schedule", [*TABLES, VP(), SubVP(), EDM()])  # VE still has noise sigma_min at time 0
def test_the_posterior_at_time_0_is_the_data(schedule):
    s, t = times(schedule, [0.0, 0.4])
    mean, variance = GaussianDiffusion(schedule).posterior(normal(3, 2), normal(3, 2, seed=1), t, s)
    torch.testing.assert_close(mean, normal(3, 2), **EXACT)
    assert variance == 0


@pytest.mark.parametrize("schedule", [linear(), VE(), EDM()])
def test_prior_has_the_last_noise_level(schedule):
    level = schedule.noise(torch.tensor(schedule.T, dtype=torch.float64))
    draw = GaussianDiffusion(schedule).prior((2, 3), torch.Generator().manual_seed(3), torch.float64)
    torch.testing.assert_close(draw, level * normal(2, 3, seed=3), rtol=1e-15, atol=0)


def test_prior_is_float32_by_default():
    assert GaussianDiffusion(VP()).prior((1, 2)).dtype == torch.float32


def test_coefficients_are_cast_to_the_datas_type():
    x0 = torch.ones(2, 3, dtype=torch.float32)
    t = torch.tensor([0.5, 0.7], dtype=torch.float64)
    assert GaussianDiffusion(VP()).diffuse(x0, t, x0).dtype == torch.float32


PROCESS, DATA = GaussianDiffusion(linear(10)), torch.zeros(4, 2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: PROCESS.diffuse(DATA, torch.tensor([1, 2]), DATA),
            r"t must have shape \(\) or \(B,\) with B = 4, .* \(4, 2\); got shape \(2,\)",
        ),
        (
            lambda: PROCESS.diffuse(DATA, torch.full((4, 1), 3), DATA),
            r"t must have shape \(\) or \(B,\) .* got shape \(4, 1\)",
        ),
        (
            lambda: PROCESS.diffuse(DATA, torch.tensor(1), DATA[:3]),
            r"x0 and noise must have the same shape; got x0 \(4, 2\), noise \(3, 2\)",
        ),
        (lambda: PROCESS.diffuse(DATA, torch.tensor(11), DATA), r"t must lie in \[0, 10\]; got values from 11 to 11"),
        (
            lambda: PROCESS.advance(DATA, 2, 3, DATA[:, :1]),
            r"x_s and noise must have the same shape; got x_s \(4, 2\), noise \(4, 1\)",
        ),
        (lambda: PROCESS.advance(DATA, 3, 3, DATA), r"s must be earlier than t .* got s = 3, t = 3"),
        (
            lambda: PROCESS.posterior(DATA, DATA, torch.tensor(2), torch.tensor(5)),
            r"s must be earlier than t .* got s = 5, t = 2",
        ),
        (
            lambda: PROCESS.posterior(DATA[0], DATA, torch.tensor(2), torch.tensor(1)),
            r"x0 and x_t must have the same shape; got x0 \(2,\), x_t \(4, 2\)",
        ),
        (
            lambda: PROCESS.bridge(DATA, DATA[:2], torch.tensor(2), torch.tensor(1)),
            r"x0 and x_t must have the same shape",
        ),
        (
            lambda: PROCESS.bridge(DATA, DATA, torch.tensor([1, 2, 3, 4]), torch.tensor([0, 1, 3, 0])),
            r"s must be earlier than t",
        ),
        (
            lambda: PROCESS.bridge(DATA, DATA, torch.tensor(2), torch.tensor(1), eta=1.5),
            r"eta must lie in \[0, 1\]; got 1.5",
        ),
        (
            lambda: PROCESS.bridge(DATA, DATA, torch.tensor(2), torch.tensor(1), eta=-0.1),
            r"eta must lie in \[0, 1\]; got -0.1",
        ),
        (
            lambda: PROCESS.bridge(DATA, DATA, torch.tensor(2), torch.tensor(1), eta=math.nan),
            r"eta must lie in \[0, 1\]; got nan",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
