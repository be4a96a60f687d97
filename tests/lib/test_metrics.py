"""Metrics against scipy, written-out sums, and sets whose answer is known."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from course_lib.data.images import to_bytes
from course_lib.evaluation.classes import classifier_score, effective_classes, label_accuracy
from course_lib.evaluation.features import Features, features
from course_lib.evaluation.frechet import Moments, frechet_distance, moments
from course_lib.evaluation.intervals import bootstrap, by_size, share_interval
from course_lib.evaluation.kernel import kernel_distance
from course_lib.evaluation.neighbours import copies, manifold
from course_lib.nets.classifier import Classifier


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_frechet_distance_is_the_formula_with_scipys_root():
    a, b = normal(200, 6) @ normal(6, 6, seed=1), normal(150, 6, seed=2) @ normal(6, 6, seed=3) + 1
    cov_a, cov_b = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    written = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert math.isclose(frechet_distance(a, b), float(written), rel_tol=1e-9)
    assert math.isclose(frechet_distance(moments(a), b), frechet_distance(a, b), rel_tol=1e-12)


def test_frechet_distance_is_symmetric_and_zero_for_the_same_set_even_where_a_covariance_is_singular():
    few = normal(4, 10)  # rank 3 at most
    assert frechet_distance(few, few) < 1e-9
    other = normal(50, 10, seed=1)
    assert math.isclose(frechet_distance(few, other), frechet_distance(other, few), rel_tol=1e-6)


def test_frechet_distance_of_a_shift_and_of_a_scaling():
    x = normal(5000, 3)
    assert math.isclose(frechet_distance(x, x + torch.tensor([3.0, 0.0, 4.0])), 25, rel_tol=1e-9)
    spread = x.var(0).sum()  # (2 - 1)^2 times the variance in each direction
    assert math.isclose(frechet_distance(x, 2 * x), float((x.mean(0) ** 2).sum() + spread), rel_tol=1e-9)


def test_frechet_distance_is_biased_upwards_in_a_small_set():
    truth = Moments(torch.zeros(20).double(), torch.eye(20).double())
    small, large = (np.mean([frechet_distance(truth, normal(n, 20, seed=s)) for s in range(5)]) for n in (100, 1000))
    assert small > 5 * large > 0


def test_kernel_distance_is_the_written_out_sum():
    x, y = normal(7, 4), normal(5, 4, seed=1) + 0.5

    def k(a, b):
        return (a @ b / 4 + 1) ** 3

    xx = np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(5) for j in range(5) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert math.isclose(kernel_distance(x, y), xx + yy - 2 * xy, rel_tol=1e-10)


def test_kernel_distance_has_mean_zero_for_equal_distributions_at_any_size():
    values = [kernel_distance(normal(30, 4, seed=2 * s), normal(30, 4, seed=2 * s + 1)) for s in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(300)
    assert min(values) < 0


def test_weights_are_repetitions_that_are_no_neighbours_of_themselves():
    x, y = normal(6, 3), normal(5, 3, seed=1)
    w = torch.tensor([2.0, 0.0, 1.0, 3.0, 1.0]).double()
    repeated = y.repeat_interleave(w.long(), 0)
    assert math.isclose(frechet_distance(x, y, w), frechet_distance(x, repeated), rel_tol=1e-9)
    log_probs = normal(5, 4).log_softmax(-1)
    logs = log_probs.repeat_interleave(w.long(), 0)
    assert math.isclose(classifier_score(log_probs, w), classifier_score(logs), rel_tol=1e-12)
    assert math.isclose(effective_classes(log_probs, w), effective_classes(logs), rel_tol=1e-12)
    ids = torch.arange(5).repeat_interleave(w.long())

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    within = np.mean([k(y[i], y[j]) for i in ids for j in ids if i != j])
    xx = np.mean([k(x[i], x[j]) for i in range(6) for j in range(6) if i != j])
    across = np.mean([k(a, y[j]) for a in x for j in ids])
    assert math.isclose(kernel_distance(x, y, w), xx + within - 2 * across, rel_tol=1e-9)


def test_manifold_is_the_definition_written_out():
    real, generated, k = normal(12, 2), normal(9, 2, seed=1) + 0.8, 3

    def to_kth(x, i):
        return sorted(float((x[i] - z).norm()) for z in x)[k]  # position 0 is the point itself

    rr, rg = [to_kth(real, i) for i in range(12)], [to_kth(generated, j) for j in range(9)]
    d = torch.cdist(generated, real)
    found = manifold(real, generated, k)
    assert found.precise.tolist() == [any(d[j, i] <= rr[i] for i in range(12)) for j in range(9)]
    assert found.recalled.tolist() == [any(d[j, i] <= rg[j] for j in range(9)) for i in range(12)]
    assert torch.allclose(found.dense, torch.tensor([sum(d[j, i] <= rr[i] for i in range(12)) / k for j in range(9)]))
    assert found.covered.tolist() == [any(d[j, i] <= rr[i] for j in range(9)) for i in range(12)]


def test_a_dropped_mode_costs_recall_and_not_precision():
    modes = torch.tensor([[-5.0, 0.0], [5.0, 0.0]]).double()
    real = torch.cat([modes[0] + normal(200, 2), modes[1] + normal(200, 2, seed=1)])
    found = manifold(real, modes[0] + normal(400, 2, seed=2))
    assert found.precise.double().mean() > 0.95
    assert 0.4 < found.recalled.double().mean() < 0.55 and 0.4 < found.covered.double().mean() < 0.55
    assert found.recalled[:200].double().mean() > 0.9 and not found.recalled[200:].any()


def test_classifier_score_is_one_for_doubt_and_the_number_of_classes_for_certainty_and_variety():
    assert math.isclose(classifier_score(torch.full((8, 4), 0.25).double().log()), 1)
    certain = torch.full((8, 4), -800.0).double()
    certain[torch.arange(8), torch.arange(8) % 4] = 0
    assert math.isclose(classifier_score(certain), 4)
    assert math.isclose(classifier_score(certain[::4]), 1)  # one class alone has no variety
    assert math.isclose(effective_classes(certain), 4) and math.isclose(effective_classes(certain[::4]), 1)
    assert label_accuracy(certain, torch.tensor([0, 1, 2, 3, 0, 1, 0, 0])) == 0.75


def test_copies_of_training_images_are_found_and_new_ones_are_not():
    train, held_out = normal(300, 1, 4, 4), normal(300, 1, 4, 4, seed=1)
    assert copies(train[:50] + 0.01, held_out, train).share == 1
    assert copies(normal(300, 1, 4, 4, seed=2), held_out, train).share < 0.05


def test_bias_in_the_number_of_rows_is_seen_where_there_is_one():
    real, x = moments(normal(20_000, 8)), normal(4000, 8, seed=1)
    other = normal(1000, 8, seed=2)
    sizes = (250, 1000, 4000)
    frechet = by_size(lambda rows: frechet_distance(real, x[rows]), 4000, sizes)
    assert frechet[250].value > 2 * frechet[1000].value > 4 * frechet[4000].value  # falls as 1/n
    assert math.isclose(frechet[250].value / frechet[1000].value, 4, rel_tol=0.3)
    kernel = by_size(lambda rows: kernel_distance(other, x[rows]), 4000, sizes)
    assert abs(kernel[250].value - kernel[4000].value) < kernel[250].high - kernel[250].low
    assert all(e.low <= e.value <= e.high for e in frechet.values())
    with pytest.raises(ValueError, match="sizes must not exceed 10, the number of rows; got 20"):
        by_size(lambda rows: 0.0, 10, (5, 20))


def test_bootstrap_interval_of_a_mean_has_the_known_width():
    x = normal(400)
    estimate = bootstrap(lambda w: float(x.mean() if w is None else w @ x / w.sum()), 400, repeats=400)
    assert math.isclose(estimate.high - estimate.low, 2 * 1.96 * float(x.std()) / 20, rel_tol=0.15)
    assert estimate.low < estimate.value == float(x.mean()) < estimate.high


def test_features_are_what_the_class_is_read_off_and_images_are_rounded_to_bytes():
    torch.manual_seed(0)
    network = Classifier(width=8, multipliers=(1, 2), blocks=1)
    images = 2.2 * torch.rand(5, 1, 8, 8) - 1.1  # a little outside of the range
    found = features(network, images, batch_size=2)
    again = features(network, to_bytes(images))
    assert isinstance(found, Features) and torch.allclose(found.vectors, again.vectors, atol=1e-6)
    logits = network.last(found.vectors.float()).detach()
    assert torch.allclose(found.log_probs, logits.log_softmax(-1).double(), atol=1e-5)
    assert torch.equal(found[1:3].log_probs, found.log_probs[1:3])


def test_bad_input_says_what_is_allowed():
    with pytest.raises(ValueError, match="at least 2 rows"):
        moments(normal(1, 3))
    with pytest.raises(ValueError, match="k must be smaller than both sets"):
        manifold(normal(3, 2), normal(9, 2), k=3)


def test_the_interval_of_a_share_holds_the_truth_nineteen_times_in_twenty_and_stays_a_share() -> None:
    drawn = torch.rand(4000, 300, generator=torch.Generator().manual_seed(0)) < 0.3
    estimates = [share_interval(value, 300) for value in drawn.double().mean(1).tolist()]
    held = sum(estimate.low <= 0.3 <= estimate.high for estimate in estimates) / len(estimates)
    assert abs(held - 0.95) < 0.015
    assert share_interval(1.0, 50) == (1.0, pytest.approx(0.92865, abs=1e-5), 1.0)  # 50 / (50 + 1.96^2)
    assert share_interval(0.0, 50) == (0.0, 0.0, pytest.approx(1 - 0.92865, abs=1e-5))
    for value in (0.0, 0.02, 0.5, 0.98, 1.0):
        theirs = scipy.stats.binomtest(round(value * 50), 50).proportion_ci(method="wilson")
        assert share_interval(value, 50)[1:] == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    with pytest.raises(ValueError, match="value must lie in"):
        share_interval(1.01, 50)


def test_a_bootstrap_within_groups_has_no_luck_of_counts_and_the_spread_of_a_sample_with_fixed_counts() -> None:
    groups = torch.arange(300) % 3
    values = 10.0 * groups + normal(300, seed=5)

    def mean(w: torch.Tensor | None) -> float:
        return float(values.mean() if w is None else w @ values / w.sum())

    within, plain = (bootstrap(mean, 300, repeats=400, groups=chosen) for chosen in (groups, None))
    assert math.isclose((within.high - within.low) / (2 * 1.96), 1 / 300**0.5, rel_tol=0.15)
    assert math.isclose((plain.high - plain.low) / (2 * 1.96), (1 + 200 / 3) ** 0.5 / 300**0.5, rel_tol=0.15)
    counts = []
    bootstrap(lambda w: counts.append(w) or 0.0, 300, repeats=5, groups=groups)
    assert all(float(w[groups == group].sum()) == 100 for w in counts[1:] for group in range(3))
