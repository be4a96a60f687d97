"""Guidance on exact mixtures, where the conditional denoiser and the classifier are known."""

import pytest
import torch

from course_lib.diffusion import schedules
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.measurements import posterior
from course_lib.diffusion.predictions import EPS, X0, V
from course_lib.sampling.guidance import (
    class_score,
    classifier_free,
    classifier_guided,
    composed,
    dynamic_threshold,
    extrapolated,
    rescaled,
    within,
)
from course_lib.types import per_sample
from tests.lib.tensors import double, normal

SCHEDULE = schedules.cosine(T=100)
MIXTURE = Mixture(
    double([0.3, 0.7]),
    double([[-1.0, 0.5], [0.8, -0.2]]),
    0.2 * torch.eye(2, dtype=torch.float64).expand(2, 2, 2) + torch.diag(double([0.0, 0.1])),
)
EXACT = ExactDiffusion(MIXTURE, SCHEDULE)
CLASSES = [EXACT.conditional(k) for k in range(2)]
X, T, COND = normal(4, 2), torch.tensor([5, 30, 60, 95]), torch.tensor([0, 1, 1, 0])


def answers(kind):
    """A network with classes that gives the exact answer to each class, and to the null token 2 that of the whole mixture."""

    def network(x, t, cond):
        rows = [((*CLASSES, EXACT)[c]).denoise(x[n : n + 1], t[n : n + 1]) for n, c in enumerate(cond.tolist())]
        x0 = torch.cat(rows)
        a, b = (per_sample(level, x) for level in (SCHEDULE.signal(t), SCHEDULE.noise(t)))
        return kind.target(x0, (x - a * x0) / b, a, b)

    return network


def conditional(x, t):
    return torch.cat([CLASSES[c].denoise(x[n : n + 1], t[n : n + 1]) for n, c in enumerate(COND.tolist())])


@pytest.mark.parametrize("kind", [EPS, X0, V])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_classifier_free_guidance_is_the_line_through_both_answers(kind, scale):
    guided = classifier_free(answers(kind), kind, SCHEDULE, COND, null=2, scale=scale)
    written = EXACT.denoise(X, T) + scale * (conditional(X, T) - EXACT.denoise(X, T))
    assert torch.allclose(guided(X, T), written, rtol=1e-9, atol=1e-9)


def test_classifier_free_guidance_of_eps_is_the_papers_formula():
    w = 1.5  # (1 + w) eps(cond) - w eps(null), equation 6 of Ho and Salimans (2022)
    network = answers(EPS)
    eps = (1 + w) * network(X, T, COND) - w * network(X, T, torch.full_like(COND, 2))
    a, b = (per_sample(level, X) for level in (SCHEDULE.signal(T), SCHEDULE.noise(T)))
    guided = classifier_free(network, EPS, SCHEDULE, COND, null=2, scale=1 + w)
    assert torch.allclose(guided(X, T), (X - b * eps) / a, rtol=1e-9, atol=1e-9)


def test_one_batch_asks_for_both_answers_and_a_single_answer_is_asked_once():
    sizes = []

    def network(x, t, cond):
        sizes.append(len(x))
        return answers(V)(x, t, cond)

    for scale in (2.0, 1.0, 0.0):
        classifier_free(network, V, SCHEDULE, COND, null=2, scale=scale)(X, torch.tensor(40))
    assert sizes == [8, 4, 4]


def test_clipping_comes_after_guiding():
    guided = classifier_free(answers(V), V, SCHEDULE, COND, null=2, scale=30.0, clip=1.0)(X, T)
    free = classifier_free(answers(V), V, SCHEDULE, COND, null=2, scale=30.0)(X, T)
    assert free.abs().max() > 1 and torch.equal(guided, free.clamp(-1, 1))


def test_class_score_is_the_difference_of_the_scores():
    """grad log p(y|x) = grad log p(x|y) - grad log p(x), by Bayes' rule."""

    def classifier(x, t):
        return EXACT.class_posterior(x, t).log()

    scores = torch.cat([CLASSES[c].score(X[n : n + 1], T[n : n + 1]) for n, c in enumerate(COND.tolist())])
    assert torch.allclose(class_score(classifier, X, T, COND), scores - EXACT.score(X, T), rtol=1e-8, atol=1e-9)


def test_guidance_by_the_exact_classifier_at_scale_one_is_the_conditional_denoiser():
    guided = classifier_guided(EXACT.denoise, lambda x, t: EXACT.class_posterior(x, t).log(), SCHEDULE, COND, scale=1.0)
    assert torch.allclose(guided(X, T), conditional(X, T), rtol=1e-8, atol=1e-9)
    with torch.no_grad():  # samplers run without gradients; the classifier's is taken all the same
        at_once = guided(X, torch.tensor(40))
    assert at_once.isfinite().all() and not at_once.requires_grad


# --- what takes the place of the null token, and what tames strong guidance ---------------------------------------------


def test_extrapolation_of_two_models_is_the_line_through_both_answers():
    one, other = CLASSES[0].denoise, CLASSES[1].denoise
    line = other(X, T) + 2.5 * (one(X, T) - other(X, T))
    assert torch.allclose(extrapolated(one, other, 2.5)(X, T), line)
    assert torch.allclose(extrapolated(one, other, 2.5, clip=0.3)(X, T), line.clamp(-0.3, 0.3))


def test_wishes_that_owe_each_other_nothing_compose_exactly_and_others_do_not():
    for off, exact in ((0.0, True), (0.6, False)):
        covariance = torch.tensor([[1.0, off, 0.0], [off, 1.0, 0.0], [0.0, 0.0, 0.3]], dtype=torch.float64)
        prior = Mixture(double([1.0]), torch.zeros(1, 3, dtype=torch.float64), covariance[None])
        rows, y = torch.eye(3, dtype=torch.float64), double([0.7, -0.4])
        given = [
            ExactDiffusion(posterior(prior, rows[k], y[k], 0.2) if len(k) else prior, SCHEDULE).denoise
            for k in (torch.tensor(which, dtype=torch.long) for which in ([], [0], [1], [0, 1]))
        ]
        x = normal(4, 3)
        found = composed(given[0], given[1:3])(x, T)
        assert torch.allclose(found, given[3](x, T), atol=1e-9) is exact
    one, other = CLASSES[0].denoise, CLASSES[1].denoise
    assert torch.allclose(composed(one, [other], 2.5)(X, T), extrapolated(other, one, 2.5)(X, T))
    assert float(composed(one, [other], 9.0, clip=0.3)(X, T).abs().max()) <= 0.3


def test_an_interval_guides_after_its_low_end_and_up_to_its_high_end():
    step = within(lambda x, t: x + 1, lambda x, t: x, 20, 60)
    assert [float((step(X, torch.tensor(t)) - X).mean()) for t in (20, 21, 60, 61)] == [0, 1, 1, 0]


def test_a_dynamic_threshold_keeps_the_order_of_the_pixels_and_brings_them_into_the_range():
    wild = 4 * normal(3, 1, 10, 10)
    tamed = dynamic_threshold(lambda x, t: wild, 0.9)(wild, T[:3])
    assert float(tamed.abs().max()) <= 1 + 1e-6
    assert abs(float((tamed.abs() > 0.999).double().mean()) - 0.1) < 0.02
    for before, after in zip(wild.flatten(1), tamed.flatten(1), strict=True):
        assert (after[before.argsort()].diff() >= -1e-9).all()


def test_a_dynamic_threshold_leaves_a_picture_in_the_range_alone():
    calm = normal(3, 1, 10, 10).tanh()
    assert torch.equal(dynamic_threshold(lambda x, t: calm)(calm, T[:3]), calm)


def test_rescaling_gives_back_the_spread_of_the_conditional_model():
    wild, calm = 5 * normal(3, 1, 6, 6), normal(3, 1, 6, 6, seed=1)

    def spread(x):
        return x.flatten(1).std(1)

    whole = rescaled(lambda x, t: wild, lambda x, t: calm, 1.0)(wild, T[:3])
    half = rescaled(lambda x, t: wild, lambda x, t: calm, 0.5)(wild, T[:3])
    assert torch.allclose(spread(whole), spread(calm))
    assert torch.allclose(spread(half), (spread(calm) + spread(wild)) / 2)
