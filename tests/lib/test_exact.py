"""The oracle against independent truths: autograd, Tweedie, Bayes, numerical convolution, sampling."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from course_lib.diffusion.continuous import EDM, VE, VP, SubVP
from course_lib.diffusion.exact import ExactDiffusion, IdealDenoiser, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import PREDICTIONS, to_eps, to_score
from course_lib.diffusion.schedules import TableSchedule, cosine, linear
from tests.lib.tensors import double, normal

SCHEDULES = [linear(100), cosine(100), VP(), SubVP(), VE(), EDM(5.0)]
FRACTIONS = [0.05, 0.4, 1.0]
CLOSE = {"rtol": 1e-9, "atol": 1e-10}


MIXTURE = Mixture(
    double([0.2, 0.5, 0.3]),
    double([[1.0, 2.0], [-1.5, 0.3], [0.4, -1.0]]),
    double([[[0.5, 0.2], [0.2, 0.3]], [[0.1, 0.0], [0.0, 0.9]], [[0.3, -0.25], [-0.25, 0.4]]]),
)


def time(schedule, fraction):
    if isinstance(schedule, TableSchedule):
        return torch.tensor(round(fraction * schedule.T))
    return torch.tensor(fraction * schedule.T, dtype=torch.float64)


def marginal(schedule, t, mixture=MIXTURE):
    """q(x_t) by torch.distributions: component k is N(a mu_k, a^2 Sigma_k + b^2 I)."""
    a, b = schedule.signal(t), schedule.noise(t)
    covariances = a**2 * mixture.covariances + b**2 * torch.eye(mixture.means.shape[1], dtype=torch.float64)
    components = MultivariateNormal(a * mixture.means, covariances)
    return MixtureSameFamily(Categorical(mixture.weights), components)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("fraction", FRACTIONS)
class TestEveryMarginal:
    def case(self, schedule, fraction):
        return ExactDiffusion(MIXTURE, schedule), time(schedule, fraction), 2 * normal(6, 2)

    def test_log_prob_is_that_of_the_scaled_and_widened_components(self, schedule, fraction):
        exact, t, x = self.case(schedule, fraction)
        torch.testing.assert_close(exact.log_prob(x, t), marginal(schedule, t).log_prob(x), **CLOSE)

    def test_score_is_the_gradient_of_log_prob(self, schedule, fraction):
        exact, t, x = self.case(schedule, fraction)
        x = x.requires_grad_()
        (gradient,) = torch.autograd.grad(exact.log_prob(x, t).sum(), x)
        torch.testing.assert_close(exact.score(x, t), gradient, **CLOSE)

    def test_tweedie(self, schedule, fraction):
        """E[x_0 | x_t] = (x_t + b^2 score) / a."""
        exact, t, x = self.case(schedule, fraction)
        expected = (x + schedule.noise(t) ** 2 * exact.score(x, t)) / schedule.signal(t)
        torch.testing.assert_close(exact.denoise(x, t), expected, rtol=1e-7, atol=1e-8)

    def test_eps_and_score_belong_to_the_denoiser(self, schedule, fraction):
        exact, t, x = self.case(schedule, fraction)
        x0 = exact.denoise(x, t)
        torch.testing.assert_close(exact.eps(x, t), to_eps(x0, x, t, schedule), **CLOSE)
        torch.testing.assert_close(exact.score(x, t), to_score(x0, x, t, schedule), rtol=1e-8, atol=1e-8)

    def test_covariance_is_the_scaled_jacobian_of_the_denoiser(self, schedule, fraction):
        """Cov[x_0 | x_t] = b^2 / a * d E[x_0 | x_t] / d x_t."""
        exact, t, x = self.case(schedule, fraction)
        jacobian = torch.stack([torch.func.jacrev(lambda y: exact.denoise(y[None], t)[0])(row) for row in x])
        expected = schedule.noise(t) ** 2 / schedule.signal(t) * jacobian
        torch.testing.assert_close(exact.covariance(x, t), expected, **CLOSE)

    def test_class_posterior_is_bayes_rule(self, schedule, fraction):
        exact, t, x = self.case(schedule, fraction)
        likelihood = marginal(schedule, t).component_distribution.log_prob(x[:, None]).exp()
        joint = MIXTURE.weights * likelihood
        torch.testing.assert_close(exact.class_posterior(x, t), joint / joint.sum(1, keepdim=True), **CLOSE)

    def test_conditional_is_the_component_alone(self, schedule, fraction):
        exact, t, x = self.case(schedule, fraction)
        for k in range(3):
            component = MultivariateNormal(
                schedule.signal(t) * MIXTURE.means[k],
                schedule.signal(t) ** 2 * MIXTURE.covariances[k]
                + schedule.noise(t) ** 2 * torch.eye(2, dtype=torch.float64),
            )
            torch.testing.assert_close(exact.conditional(k).log_prob(x, t), component.log_prob(x), **CLOSE)

    def test_the_whole_score_is_the_posterior_mean_of_the_components(self, schedule, fraction):
        exact, t, x = self.case(schedule, fraction)
        scores = torch.stack([exact.conditional(k).score(x, t) for k in range(3)], 1)
        expected = (exact.class_posterior(x, t)[..., None] * scores).sum(1)
        torch.testing.assert_close(exact.score(x, t), expected, **CLOSE)

    def test_a_batch_of_times_gives_each_sample_its_own(self, schedule, fraction):
        exact, t, x = self.case(schedule, fraction)
        batch = torch.stack([t, time(schedule, 0.7), *[t] * 4])
        for quantity in (
            exact.log_prob,
            exact.score,
            exact.eps,
            exact.denoise,
            exact.covariance,
            exact.class_posterior,
        ):
            together = quantity(x, batch)
            torch.testing.assert_close(together[:1], quantity(x[:1], t), **CLOSE)
            torch.testing.assert_close(together[1:2], quantity(x[1:2], time(schedule, 0.7)), **CLOSE)


def test_three_dimensions_with_eigenvectors_that_are_not_symmetric():
    """In two dimensions the matrix of eigenvectors may equal its transpose, which hides a rotation the wrong way."""
    factors = normal(2, 3, 3, seed=5)
    mixture = Mixture(double([0.4, 0.6]), normal(2, 3), factors @ factors.mT)
    exact, t, x = ExactDiffusion(mixture, VP()), double(0.3), normal(4, 3, seed=1).requires_grad_()
    log_prob = marginal(VP(), t, mixture).log_prob(x)
    torch.testing.assert_close(exact.log_prob(x, t), log_prob, **CLOSE)
    torch.testing.assert_close(exact.score(x, t), torch.autograd.grad(log_prob.sum(), x)[0], **CLOSE)
    jacobian = torch.stack([torch.func.jacrev(lambda y: exact.denoise(y[None], t)[0])(row) for row in x.detach()])
    expected = VP().noise(t) ** 2 / VP().signal(t) * jacobian
    torch.testing.assert_close(exact.covariance(x, t), expected, **CLOSE)


@pytest.mark.parametrize("schedule", [VP(), EDM(5.0)])
def test_log_prob_is_a_numerical_convolution(schedule):
    """q(x_t) as an integral of q(x_0) q(x_t | x_0) over 20,001 points, in one dimension."""
    mixture = Mixture(double([0.3, 0.7]), double([[-1.0], [0.8]]), double([[[0.04]], [[0.2]]]))
    t = time(schedule, 0.3)
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    prior = sum(
        weight * torch.distributions.Normal(mean, variance.sqrt()).log_prob(grid).exp()
        for weight, mean, variance in zip(mixture.weights, mixture.means[:, 0], mixture.covariances[:, 0, 0])
    )
    x = double([[-2.0], [0.1], [1.3]])
    kernel = torch.distributions.Normal(schedule.signal(t) * grid, schedule.noise(t)).log_prob(x).exp()
    integral = (prior * kernel).sum(1) * (grid[1] - grid[0])
    torch.testing.assert_close(ExactDiffusion(mixture, schedule).log_prob(x, t), integral.log(), **CLOSE)


def test_without_noise_the_marginal_is_the_data():
    x = normal(4, 2)
    exact, t = ExactDiffusion(MIXTURE, VP()), torch.tensor(0.0)
    torch.testing.assert_close(exact.denoise(x, t), x, **CLOSE)
    assert exact.covariance(x, t).abs().max() < 1e-15


def test_far_from_the_data_nothing_overflows():
    exact, x = ExactDiffusion(MIXTURE, VP()), double([[1e3, -1e3], [1e6, 1e6]])
    for quantity in (exact.log_prob, exact.score, exact.denoise, exact.class_posterior):
        assert quantity(x, double(0.01)).isfinite().all()


def test_mixture_mean_and_covariance_are_those_of_its_distribution():
    reference = marginal(VP(), double(0.0))
    torch.testing.assert_close(MIXTURE.mean(), reference.mean, **CLOSE)
    torch.testing.assert_close(MIXTURE.covariance().diagonal(), reference.variance, **CLOSE)
    second = sum(w * (c + m[:, None] * m) for w, m, c in zip(MIXTURE.weights, MIXTURE.means, MIXTURE.covariances))
    expected = second - MIXTURE.mean()[:, None] * MIXTURE.mean()
    torch.testing.assert_close(MIXTURE.covariance(), expected, **CLOSE)


class TestMixtureSample:
    """40,000 draws; a mean is within 5 standard errors, a covariance within 5 % of its component's largest entry."""

    def draws(self):
        return MIXTURE.sample(40_000, torch.Generator().manual_seed(0))

    def test_weights(self):
        _, component = self.draws()
        share = torch.bincount(component, minlength=3) / len(component)
        assert (share - MIXTURE.weights).abs().max() < 5 * 0.5 / math.sqrt(40_000)

    @pytest.mark.parametrize("k", [0, 1, 2])
    def test_component_mean_and_covariance(self, k):
        x, component = self.draws()
        own = x[component == k]
        spread = MIXTURE.covariances[k].diagonal().sqrt()
        assert ((own.mean(0) - MIXTURE.means[k]).abs() < 5 * spread / math.sqrt(len(own))).all()
        error = (torch.cov(own.T) - MIXTURE.covariances[k]).abs().max()
        assert error < 0.05 * MIXTURE.covariances[k].max()

    def test_same_generator_same_draws(self):
        assert torch.equal(self.draws()[0], self.draws()[0])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("fraction", FRACTIONS)
class TestIdealDenoiser:
    data = normal(7, 3, seed=4)

    def test_is_a_mixture_without_covariance(self, schedule, fraction):
        points = Mixture(torch.full((7,), 1 / 7, dtype=torch.float64), self.data, torch.zeros(7, 3, 3).double())
        x, t = 2 * normal(5, 3), time(schedule, fraction)
        ideal, exact = IdealDenoiser(self.data, schedule), ExactDiffusion(points, schedule)
        torch.testing.assert_close(ideal(x, t), exact.denoise(x, t), **CLOSE)
        torch.testing.assert_close(ideal.weights(x, t), exact.class_posterior(x, t), **CLOSE)

    def test_a_batch_of_times_gives_each_sample_its_own(self, schedule, fraction):
        t, later = time(schedule, fraction), time(schedule, 0.7)
        x, ideal = normal(2, 3), IdealDenoiser(self.data, schedule)
        together = ideal(x, torch.stack([t, later]))
        torch.testing.assert_close(together, torch.cat([ideal(x[:1], t), ideal(x[1:], later)]), **CLOSE)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS.keys())
def test_the_ideal_denoiser_of_one_point_has_zero_loss(schedule, prediction):
    data, noise = normal(1, 1, 2, 2), normal(4, 1, 2, 2, seed=1)
    ideal = IdealDenoiser(data, schedule)
    t = torch.stack([time(schedule, fraction) for fraction in (0.1, 0.3, 0.6, 1.0)])

    def network(x, t, cond):
        x0, column = ideal(x, t), (-1, 1, 1, 1)
        a, b = schedule.signal(t).reshape(column), schedule.noise(t).reshape(column)
        return prediction.target(x0, to_eps(x0, x, t, schedule), a, b)

    loss = denoising_loss(network, data.expand(4, -1, -1, -1), t, noise, GaussianDiffusion(schedule), prediction)
    assert loss.max() < 1e-20


def test_ideal_denoiser_copies_the_nearest_point_when_there_is_hardly_any_noise():
    images = normal(6, 1, 4, 4)
    x = images[[2, 5]] + 0.001 * normal(2, 1, 4, 4, seed=1)
    torch.testing.assert_close(IdealDenoiser(images, EDM())(x, double(0.01)), images[[2, 5]], **CLOSE)


def test_ideal_denoiser_answers_in_the_type_of_its_input():
    assert IdealDenoiser(normal(3, 2), VP())(torch.zeros(1, 2), torch.tensor(0.5)).dtype == torch.float32


POINTS = Mixture(double([1.0]), double([[0.5, 0.5]]), torch.zeros(1, 2, 2).double())
EYE = torch.eye(2).double()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Mixture(double([1.0]), double([0.0, 0.0]), EYE),
            r"means .* shapes \(K,\), \(K, D\), \(K, D, D\); got",
        ),
        (lambda: Mixture(double([0.5, 0.5]), double([[0.0, 0.0]]), EYE[None]), r"weights, .* got \(2,\), \(1, 2\)"),
        (lambda: Mixture(double([1.0]), double([[0.0, 0.0]]), EYE), r"covariances must have .* \(2, 2\)"),
        (lambda: Mixture(double([0.7, 0.7]), EYE, EYE.expand(2, 2, 2)), r"weights must be positive and add up to 1"),
        (lambda: Mixture(double([1.5, -0.5]), EYE, EYE.expand(2, 2, 2)), r"weights must be positive .* -0.5"),
        (
            lambda: Mixture(double([1.0]), double([[0.0, 0.0]]), -EYE[None]),
            r"covariances must be positive semidefinite",
        ),
        (
            lambda: Mixture(double([1.0]), double([[0.0, 0.0]]), double([[[1.0, 0.5], [0.0, 1.0]]])),
            r"covariances must be symmetric",
        ),
        (
            lambda: ExactDiffusion(MIXTURE, VP()).score(normal(3, 3), double(0.5)),
            r"x must have shape \(B, 2\); got \(3, 3\)",
        ),
        (
            lambda: ExactDiffusion(MIXTURE, VP()).score(normal(2), double(0.5)),
            r"x must have shape \(B, 2\); got \(2,\)",
        ),
        (
            lambda: ExactDiffusion(MIXTURE, VP()).denoise(normal(3, 2), double([0.5, 0.1])),
            r"t must have shape .* got shape \(2,\)",
        ),
        (lambda: ExactDiffusion(MIXTURE, VP()).denoise(normal(3, 2), double(1.5)), r"t must lie in \[0, 1\]"),
        (
            lambda: ExactDiffusion(POINTS, VP()).denoise(normal(3, 2), double(0.0)),
            r"t must have noise\(t\) > 0 .* no covariance",
        ),
        (lambda: ExactDiffusion(MIXTURE, VP()).conditional(3), r"component must be one of 0 .. 2; got 3"),
        (lambda: ExactDiffusion(MIXTURE, VP()).conditional(-1), r"component must be one of 0 .. 2; got -1"),
        (lambda: IdealDenoiser(torch.zeros(0, 2), VP()), r"data must have shape \(N, ...\) with N >= 1; got \(0, 2\)"),
        (lambda: IdealDenoiser(torch.zeros(3), VP()), r"data must have shape \(N, ...\) with N >= 1; got \(3,\)"),
        (lambda: IdealDenoiser(EYE, VP())(EYE, double(0.0)), r"t must have noise\(t\) > 0"),
        (
            lambda: IdealDenoiser(EYE, VP())(normal(3, 5), double(0.5)),
            r"x must hold samples of the data's shape \(2,\); got \(3, 5\)",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
