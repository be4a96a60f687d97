"""The likelihood along the probability flow, on mixtures whose density is known."""

import pytest
import torch

from course_lib.diffusion.continuous import EDM, VP
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.schedules import cosine
from course_lib.sampling.guidance import classifier_guided
from course_lib.sampling.likelihood import divergence, log_likelihood
from tests.lib.tensors import double, normal

MIXTURE = Mixture(
    double([0.3, 0.7]),
    double([[1.0, 0.5], [-0.8, 0.0]]),
    double([[[0.2, 0.05], [0.05, 0.1]], [[0.1, 0.0], [0.0, 0.3]]]),
)


@pytest.mark.parametrize(("schedule", "first"), [(VP(), 0.01), (cosine(), 10)], ids=["vp", "table"])
def test_it_is_the_true_density(schedule, first):
    exact = ExactDiffusion(MIXTURE, schedule)
    times = torch.linspace(schedule.T, first, 200, dtype=torch.float64)
    times = times if isinstance(schedule, VP) else times.round().long().unique().flip(0)
    x, _ = MIXTURE.sample(30, torch.Generator().manual_seed(0))
    found = log_likelihood(exact.denoise, schedule, x, times)
    assert (found - exact.log_prob(x, times[-1])).abs().max() < 0.01


def test_random_signs_are_right_on_average():
    schedule = VP()
    exact, times = ExactDiffusion(MIXTURE, schedule), torch.linspace(1, 0.02, 60, dtype=torch.float64)
    x = normal(1, 2).expand(2000, 2)
    found = log_likelihood(exact.denoise, schedule, x, times, probes=1, generator=torch.Generator().manual_seed(0))
    true = log_likelihood(exact.denoise, schedule, x[:1], times)
    assert found.std() > 0
    assert abs(found.mean() - true.item()) < 4 * found.std() / 2000**0.5


def test_the_divergence_of_a_linear_field_is_its_trace():
    matrix = normal(6, 6)

    def field(x, t):
        return (x.flatten(1) @ matrix.T).reshape(x.shape)

    x = normal(4, 2, 3)
    value, trace = divergence(field, x, double(0.5))
    torch.testing.assert_close(value, field(x, None))
    torch.testing.assert_close(trace, matrix.trace().expand(4))
    probes = normal(20_000, 1, 2, 3).sign()
    estimated = divergence(field, x[:1], double(0.5), probes)[1]
    assert abs(float(estimated - matrix.trace())) < 0.2


def test_time_zero_and_other_schedules_are_refused():
    exact = ExactDiffusion(MIXTURE, VP()).denoise
    with pytest.raises(ValueError, match="the last of the times must be above 0"):
        log_likelihood(exact, VP(), normal(2, 2), double([1.0, 0.0]))
    with pytest.raises(ValueError, match="schedule must be variance-preserving"):
        log_likelihood(ExactDiffusion(MIXTURE, EDM()).denoise, EDM(), normal(2, 2), double([80.0, 1.0]))


# --- what would be wrong without a word --------------------------------------------------------------------------------------


def undifferentiated(denoise):
    @torch.no_grad()
    def answer(x, t):
        return denoise(x, t)

    return answer


def test_a_denoiser_without_a_derivative_is_refused():
    times = torch.linspace(1, 0.01, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="denoise must be differentiable in x: it runs under no_grad"):
        log_likelihood(undifferentiated(ExactDiffusion(MIXTURE, VP()).denoise), VP(), normal(3, 2), times)


def test_a_denoiser_that_does_not_depend_on_x_needs_no_derivative():
    """For data that are 0 alone, x_0-hat is 0, and q(x_t) is N(0, noise^2)."""
    times = torch.linspace(1, 0.3, 200, dtype=torch.float64)
    x, noise = 0.5 * normal(5, 2), VP().noise(torch.tensor(0.3)).item()
    found = log_likelihood(lambda x, t: torch.zeros_like(x), VP(), x, times)
    truth = torch.distributions.Normal(0.0, noise).log_prob(x).sum(1)
    assert (found - truth).abs().max() < 0.01


def test_times_that_do_not_begin_at_T_are_refused():
    times = torch.linspace(0.9, 0.01, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="times must begin at T = 1, where the density is known; they begin at 0.9"):
        log_likelihood(ExactDiffusion(MIXTURE, VP()).denoise, VP(), normal(3, 2), times)


def test_a_guided_denoiser_keeps_the_derivative_of_its_guidance():
    """Guiding the whole mixture to a class by the exact posterior, at scale 1, is the class's own diffusion."""
    schedule, cond = VP(), torch.zeros(6, dtype=torch.long)
    exact = ExactDiffusion(MIXTURE, schedule)

    def classifier(x, t):
        return exact.class_posterior(x, t).log()

    guided = classifier_guided(exact.denoise, classifier, schedule, cond, 1.0)
    times = torch.linspace(1, 0.02, 150, dtype=torch.float64)
    x, _ = exact.conditional(0).mixture.sample(6, torch.Generator().manual_seed(0))
    found = log_likelihood(guided, schedule, x, times)
    assert (found - exact.conditional(0).log_prob(x, times[-1])).abs().max() < 0.02
