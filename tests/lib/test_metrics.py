"""Metrics against scipy, written-out sums, and sets whose answer is known."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from benchmarks.intervals import MODELS, World, covered
from course_lib.data.images import to_bytes
from course_lib.evaluation.classes import classifier_score, effective_classes, label_accuracy
from course_lib.evaluation.features import Features, features
from course_lib.evaluation.frechet import Moments, frechet_distance, moments
from course_lib.evaluation.intervals import Measured, by_size, correlation, cut, mean_of, measured, share_interval
from course_lib.evaluation.kernel import kernel_distance
from course_lib.evaluation.neighbours import copies, coverage_statistic, manifold, recall_statistic
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


def test_interval_of_a_correlation_is_scipys() -> None:
    for n, seed in ((4, 0), (12, 1), (60, 2)):
        x, noise = normal(n, seed=seed), normal(n, seed=seed + 10)
        y = -x + 0.5 * noise
        theirs = scipy.stats.pearsonr(x.numpy(), y.numpy())
        ends = theirs.confidence_interval(0.95)
        found = correlation(x.tolist(), y.tolist())
        assert found == pytest.approx((theirs.statistic, ends.low, ends.high), abs=1e-9)
    assert correlation([1.0, 2.0, 3.0, 4.0], [8.0, 6.0, 4.0, 2.0]) == pytest.approx((-1.0, -1.0, -1.0))
    with pytest.raises(ValueError, match="same length, at least 4; got 3 and 3"):
        correlation([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    with pytest.raises(ValueError, match="must each hold different numbers"):
        correlation([1.0, 2.0, 3.0, 4.0], [5.0] * 4)


def test_parts_cut_within_groups_have_no_luck_of_counts() -> None:
    groups = torch.arange(300) % 3
    values = 10.0 * groups + normal(300, seed=5)

    def mean(w: torch.Tensor | None) -> float:
        return float(values.mean() if w is None else w @ values / w.sum())

    within, plain = (measured(mean, cut(300, chosen)).error for chosen in (groups, None))
    assert math.isclose(within, 1 / 300**0.5, rel_tol=0.25)
    assert math.isclose(plain, (1 + 200 / 3) ** 0.5 / 300**0.5, rel_tol=0.25)


def test_the_standard_error_of_a_mean_and_of_a_difference_of_rows_that_share_their_noise_is_the_known_one() -> None:
    x, other = normal(500, seed=1), 0.1 * normal(500, seed=2)

    def mean(values: torch.Tensor):
        return lambda w: float(values.mean() if w is None else w @ values / w.sum())

    errors = [measured(mean(x), cut(500, seed=seed)).error for seed in range(40)]
    assert math.isclose(np.mean(np.square(errors)), float(x.var()) / 500, rel_tol=0.1)
    one, two = (measured(mean(values), cut(500)) for values in (x, x + 1 + other))
    difference = two.minus(one)
    assert difference.value == pytest.approx(1 + float(other.mean()), abs=1e-12)
    assert math.isclose(difference.error, float(other.std()) / 500**0.5, rel_tol=0.3)
    assert difference.error < 0.2 * (one.error**2 + two.error**2) ** 0.5


def test_parts_have_as_many_of_each_class_and_as_many_rows() -> None:
    labels = torch.arange(600) % 10
    part_of = cut(600, labels)
    assert part_of.bincount().tolist() == [12] * 50
    few = cut(400, torch.arange(400) % 10)
    for part in range(40):
        assert (torch.arange(400) % 10)[few == part].bincount().tolist() == [1] * 10
    assert set(cut(103).bincount().tolist()) == {2, 3} and len(cut(20).unique()) == 20
    assert not torch.equal(cut(600, labels), cut(600, labels, seed=1))


def test_an_interval_is_two_standard_errors_wide_and_stays_in_the_range() -> None:
    without = torch.tensor([-1.0, 1.0] * 25).double() / 49
    assert Measured(3.0, without).error == pytest.approx(1 / 7, abs=1e-9)  # sqrt(49 / 50 * 50 / 49^2)
    reach = Measured(3.0, without).reach
    assert reach * 7 == pytest.approx(scipy.stats.t.ppf(0.975, 49), rel=1e-3)
    assert Measured(0.0, without[:10]).reach / Measured(0.0, without[:10]).error == pytest.approx(
        scipy.stats.t.ppf(0.975, 9), rel=3e-3
    )
    assert Measured(3.0, without).interval() == (3.0, pytest.approx(3 - reach), pytest.approx(3 + reach))
    value, low, high = Measured(0.01, without).interval(low=0)
    assert 0 < low < 1e-9 and high > 1 and low * high == pytest.approx(value**2)
    value, low, high = Measured(9.9, without).interval(1, 10)
    assert 1 < low < 9.9 < high < 10
    wide = Measured(5.5, without).interval(1, 10)
    assert wide.high - wide.low == pytest.approx(2 * reach, rel=0.01)
    assert Measured(0.0, without).interval(low=0) == (0.0, 0.0, pytest.approx(reach))
    assert Measured(10.0, without).interval(1, 10) == (10.0, pytest.approx(10 - reach), 10.0)


def test_the_interval_of_a_share_by_parts_is_wilsons_for_independent_rows() -> None:
    right = (torch.rand(5000, generator=torch.Generator().manual_seed(3)) < 0.9).double()
    found = measured(lambda w: float(right.mean() if w is None else w @ right / w.sum()), cut(5000))
    ours, wilson = found.share(5000), share_interval(float(right.mean()), 5000)
    assert math.isclose(ours.high - ours.low, wilson.high - wilson.low, rel_tol=0.25)
    none = measured(lambda w: 0.0, cut(500))
    assert none.share(500) == share_interval(0.0, 500)


def test_recall_and_coverage_without_some_rows_are_those_of_the_others() -> None:
    real, generated = normal(60, 3), 1.3 * normal(90, 3, seed=1)
    for keep in (90, 70, 30, 5):
        w = torch.zeros(90).double()
        w[torch.randperm(90, generator=torch.Generator().manual_seed(keep))[:keep]] = 1
        near = manifold(real, generated[w > 0])
        assert recall_statistic(real, generated)(w) == pytest.approx(float(near.recalled.double().mean()), abs=1e-12)
        assert coverage_statistic(real, generated)(w) == pytest.approx(float(near.covered.double().mean()), abs=1e-12)
    near = manifold(real, generated)
    assert recall_statistic(real, generated)(None) == pytest.approx(float(near.recalled.double().mean()), abs=1e-12)
    assert coverage_statistic(real, generated)(None) == pytest.approx(float(near.covered.double().mean()), abs=1e-12)


def test_the_error_of_a_mean_is_that_of_its_independent_parts():
    x = normal(2000)
    assert mean_of(x).value == pytest.approx(float(x.mean()))
    assert mean_of(x).error == pytest.approx(float(x.std()) / 2000**0.5, rel=0.25)
    # Rows that go together in tens say no more than a tenth as many: left out one by one, they would feign certainty.
    parts = torch.arange(50).repeat_interleave(40)
    repeated = x[:200].repeat_interleave(10)
    assert mean_of(repeated, parts).error == pytest.approx(float(x[:200].std()) / 200**0.5, rel=0.25)
    assert mean_of(repeated).error < 0.6 * mean_of(repeated, parts).error


@pytest.mark.parametrize("balanced", [False, True])
def test_intervals_hold_the_mean_over_other_draws_of_a_known_model_in_nineteen_of_twenty_cases(balanced: bool) -> None:
    """Of 100 intervals, 87 is more than three standard deviations below 95. An interval of recall that resamples the real rows alone
    holds the mean as often here, but by luck: it is shorter than four standard deviations between draws, and that is asked, too.
    """
    sets = 100
    found = covered(World(100), MODELS["too alike"], balanced, sets, 300)
    for key, (inside, length) in found.items():
        assert inside >= 0.87 * sets and length > 0.9, (key, inside, length)
    for key in ("precision", "density"):  # those of independent rows are not too wide either
        assert found[key][1] < 1.2, (key, found[key])
