"""Evaluation with what is shipped: no data and no network, but where a test says so."""

import json
from pathlib import Path

import pytest
import torch

from course_lib.data import sets
from course_lib.data.images import to_unit
from course_lib.evaluation.classes import label_accuracy
from course_lib.evaluation.evaluate import alike, compare, copied, evaluate, floors, measure, real_draw, within_range
from course_lib.evaluation.features import Features, features
from course_lib.evaluation.intervals import Estimate
from course_lib.evaluation.ledger import by_scale, by_setting, ledger
from course_lib.evaluation.reference import CLASSIFIERS, Reference, check_classifier, load_reference
from course_lib.models import store
from course_lib.models.cards import load_card

SHIPPED = [name for name, model in CLASSIFIERS.items() if (store.SHIPPED / f"{model}.safetensors").exists()]


def estimates(reference: Reference, found: Features, labels: torch.Tensor | None = None) -> dict[str, Estimate]:
    """Every metric with its interval."""
    return {key: within_range(key, m, len(found.vectors)) for key, m in measure(reference, found, labels).items()}


def test_mnist_is_shipped():
    assert "mnist" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_the_reference_belongs_to_its_classifier(name):
    reference = load_reference(name)
    check_classifier(reference, load_card(store.SHIPPED / f"{CLASSIFIERS[name]}.json").sha256)
    with pytest.raises(ValueError, match="made with another classifier"):
        check_classifier(reference, "0" * 64)


@pytest.mark.parametrize("name", SHIPPED)
def test_real_images_come_near_to_real_images_and_one_class_alone_does_not(name):
    reference = load_reference(name)
    whole = estimates(reference, reference.test[:1000])
    zeros = reference.test.log_probs.argmax(1) == 0
    part = estimates(reference, reference.test[zeros])
    assert whole["frechet distance"].high < 0.2 * part["frechet distance"].low
    assert whole["recall"].value > 0.6 > 2 * part["coverage"].value
    assert whole["effective classes"].value > 9.8 and part["effective classes"].value == 1
    for estimate in whole.values():
        assert estimate.low <= estimate.value <= estimate.high


def test_an_entry_holds_every_metric_and_can_be_written_and_listed(tmp_path: Path):
    entry = evaluate("mnist-ddpm", n=100, steps=2)
    again = evaluate("mnist-ddpm", n=100, steps=2)
    assert entry["metrics"] == again["metrics"]  # the seed fixes everything
    assert entry["options"] == {"n": 100, "steps": 2, "sampler": "ddim", "scale": 1.0, "seed": 0}
    for found in entry["metrics"].values():
        assert found["low"] <= found["value"] <= found["high"] and "floor" in found
    for name, found in entry["metrics"].items():
        if name != "copies":  # whose floor is a definition
            assert found["floor_low"] <= found["floor"] <= found["floor_high"]
    assert entry["metrics"]["frechet distance"]["value"] > entry["metrics"]["frechet distance"]["floor"] > 0
    (tmp_path / "a.json").write_text(json.dumps(entry))
    assert ledger(tmp_path) == [entry]
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(ValueError, match=r"b\.json is damaged"):
        ledger(tmp_path)


def test_a_model_with_classes_is_measured_beside_real_images_of_the_same_classes() -> None:
    """Forty real digits of each class and any 400: the same model, but for the luck of the class counts."""
    reference = load_reference("mnist")
    classes = reference.test.log_probs.argmax(1)
    labels = torch.arange(400) % 10
    rows = alike(classes, labels)
    assert classes[rows].bincount().tolist() == [40] * 10 and len(rows.unique()) == 400
    assert not torch.equal(rows, alike(classes, labels, seed=1)) and torch.equal(rows, alike(classes, labels))
    few = alike(torch.tensor([0, 1, 0]), torch.tensor([0, 0, 0, 1, 1]))
    assert sorted(few[:3].tolist()) in ([0, 0, 2], [0, 2, 2]) and few[3:].tolist() == [1, 1]
    drawn, drawn_classes = real_draw(reference, 400, labels, seed=3)
    assert drawn_classes is not None and torch.equal(drawn.log_probs.argmax(1), drawn_classes)
    assert drawn_classes.bincount().tolist() == [40] * 10
    balanced, plain = floors(reference, 400, labels), floors(reference, 400)
    assert balanced["frechet distance"].value < 0.6 * plain["frechet distance"].value
    assert balanced["frechet distance"].error < 0.5 * plain["frechet distance"].error
    width = [estimates(reference, *real_draw(reference, 400, each, 0))["effective classes"] for each in (labels, None)]
    assert width[0].high - width[0].low < 0.2 * (width[1].high - width[1].low)


def test_a_floor_is_the_mean_of_several_draws_and_knows_how_much_one_varies() -> None:
    reference = load_reference("mnist")
    floor = floors(reference, 400)["frechet distance"]
    draws = [
        measure(reference, real_draw(reference, 400, None, seed)[0])["frechet distance"].value for seed in range(10)
    ]
    assert floor.value == pytest.approx(sum(draws) / 10, rel=1e-12)
    assert 0.5 < floor.error / torch.tensor(draws).std() < 3
    low, high = floor.interval(low=0)[1:]
    assert sum(low <= draw <= high for draw in draws) >= 9


def test_a_measurement_with_labels_takes_both_the_interval_and_the_floor_of_its_classes() -> None:
    images = torch.rand(200, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels, reference = torch.arange(200) % 2, load_reference("mnist")
    found = compare("mnist", images, labels)
    floor = floors(reference, 200, labels)["effective classes"].value
    assert found["effective classes"]["floor"] == pytest.approx(floor, abs=1e-5) == pytest.approx(2, abs=0.01)
    assert found["effective classes"]["floor_low"] < 2 <= found["effective classes"]["floor_high"] < 2.1


def test_no_interval_leaves_the_range_of_its_metric_where_all_or_none_are_right() -> None:
    reference = load_reference("mnist")
    for asked in (torch.arange(200) % 10, torch.zeros(200, dtype=torch.long)):
        drawn, labels = real_draw(reference, 200, asked, seed=0)
        assert labels is not None
        found = estimates(reference, drawn, labels)
        accuracy, kinds = found["accuracy"], found["effective classes"]
        assert accuracy.high == accuracy.value == 1 and 0.97 < accuracy.low < 0.99
        assert kinds.value == pytest.approx(len(labels.unique())) and kinds.low < kinds.high
        for key, (value, low, high) in found.items():
            bounds = {"frechet distance": (0, 1e9), "kernel distance": (-1e9, 1e9), "density": (0, 1e9)}
            bounds |= {"classifier score": (1, 10), "effective classes": (1, 10 + 1e-9)}
            least, most = bounds.get(key, (0, 1))
            assert least - 1e-9 <= low <= value <= high <= most, key


def test_a_sweep_is_read_by_setting_and_by_scale():
    sweep = {"scale 0.5: accuracy": {"value": 1}, "scale 0.5: recall": {"value": 2}, "scale 2: accuracy": {"value": 3}}
    assert by_scale(sweep) == {
        0.5: {"accuracy": {"value": 1}, "recall": {"value": 2}},
        2.0: {"accuracy": {"value": 3}},
    }
    assert by_setting({"ddim: 20 steps: recall": 4}) == {"ddim: 20 steps": {"recall": 4}}


def test_bad_input_says_what_is_allowed():
    with pytest.raises(
        ValueError, match="mnist-classifier is a classifier, which draws nothing: leave out steps, seed"
    ):
        evaluate("mnist-classifier", steps=20, seed=0)
    with pytest.raises(ValueError, match=r"n must lie in \[100, 5000\]"):
        evaluate("mnist-ddpm", n=6000)
    with pytest.raises(ValueError, match="digits-ddpm draws what none of the classifiers knows"):
        evaluate("digits-ddpm")


@pytest.mark.needs_data
def test_test_images_score_like_the_reference_and_noise_on_them_costs():
    images, labels = sets.load("mnist", "test")
    clean = compare("mnist", images[:500], labels[:500])
    assert clean["accuracy"]["value"] > 0.98
    for key in ("frechet distance", "kernel distance", "precision", "recall", "classifier score"):
        assert abs(clean[key]["value"] - clean[key]["floor"]) < 0.02 * (1 + abs(clean[key]["floor"]))
    noise = torch.randn(500, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    noisy = compare("mnist", to_unit(images[:500]) + 0.6 * noise, labels[:500])
    assert noisy["frechet distance"]["low"] > 5 * clean["frechet distance"]["high"]
    assert noisy["accuracy"]["high"] < 0.9 < clean["accuracy"]["low"]


@pytest.mark.needs_data("mnist", "fashion_mnist", "cifar10")
@pytest.mark.parametrize(("name", "promised"), [("mnist", 0.994), ("fashion_mnist", 0.93), ("cifar10", 0.92)])
def test_the_shipped_classifiers_keep_what_their_cards_promise(name, promised):
    network, card = store.load(CLASSIFIERS[name])
    stated = card.metrics["test accuracy"]
    assert stated["value"] >= promised and stated["low"] < stated["value"] < stated["high"]
    images, labels = sets.load(name, "test")
    found = features(network, images[:2000]).log_probs
    deviation = (stated["value"] * (1 - stated["value"]) / 2000) ** 0.5
    assert abs(label_accuracy(found, labels[:2000]) - stated["value"]) < 5 * deviation


@pytest.mark.needs_data("mnist")
def test_copies_of_training_images_are_counted():
    train, _ = sets.load("mnist", "train")
    test, _ = sets.load("mnist", "test")
    assert copied("mnist", to_unit(train[:200])).value == 1
    fresh = copied("mnist", to_unit(test[1000:1400]))
    assert fresh.low <= fresh.value < 0.05
