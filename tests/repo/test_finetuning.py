"""The benchmark of fine-tuning: what is compared is equal but for what learns, and the ledger keeps whole results."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import finetuning
from course_lib.nets.unet import UNet

ROOT = Path(__file__).resolve().parents[2]
ENTRY = json.loads((ROOT / "results" / "finetuning.json").read_text())
METRICS = ENTRY["metrics"]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with a base that has hardly learned."""
    for _ in finetuning.train_base(tmp_path, 1):
        pass
    return tmp_path


def test_seeds_share_no_pictures_and_no_heart_that_is_asked_is_learned() -> None:
    sets = {seed: finetuning.hearts(seed, 8) for seed in (0, 1, 2, 500, 501, 502, -1, -2, -3, finetuning.TUNING_SEED)}
    for one, pictures in sets.items():
        for other, more in sets.items():
            assert one == other or not bool((pictures[:, None] == more[None]).flatten(2).all(-1).any())


def test_a_way_goes_on_where_it_was_and_the_word_alone_forgets_nothing(kept: Path) -> None:
    lines = list(finetuning.train(kept, "word alone", 0, 2, 10))
    assert len(lines) == 1 and list(finetuning.train(kept, "word alone", 0, 2, 10)) == []
    found = finetuning.load_tensors(finetuning.place(kept, "word alone", 0))[0]
    before = finetuning.both_errors(finetuning.base(kept))[1]
    assert torch.allclose(
        found["digits' losses"], before, rtol=0, atol=1e-6
    )  # but for the order of the convolutions' sums
    assert found["hearts"].shape == found["digits"].shape == (10, 1, 8, 8)


def test_losses_share_their_noise() -> None:
    torch.manual_seed(0)
    network = UNet(**finetuning.SIZE)
    first, again = finetuning.both_errors(network), finetuning.both_errors(network)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


def test_overlap_counts_the_pixels_of_both_sketches() -> None:
    pictures = torch.tensor([[[[255, 255], [0, 0]]]], dtype=torch.uint8)
    sketch = torch.tensor([[[[1.0, 0], [1, 0]]]])
    assert float(finetuning.overlap(pictures, sketch)) == pytest.approx(1 / 3)
    assert float(finetuning.overlap(pictures, finetuning.outlined(pictures))) == 1


def test_copies_are_found_out() -> None:
    learned, others = finetuning.hearts(0), finetuning.hearts(500)
    assert float(finetuning.nearer(learned, learned, others).mean()) == 1
    assert 0.2 < float(finetuning.nearer(finetuning.hearts(-1, 100), learned, others).mean()) < 0.8


def test_the_judge_knows_what_it_judges() -> None:
    who = finetuning.judge()
    assert float((finetuning.judged(who, finetuning.hearts(-1, 100)) == finetuning.HEART).float().mean()) > 0.95
    assert METRICS["judge: digits right"]["low"] > 0.9 and METRICS["judge: hearts known"]["low"] > 0.9


def test_the_ledger_has_every_way_and_seed() -> None:
    assert ENTRY["options"]["seeds"] == finetuning.SEEDS >= 3
    for name in finetuning.WAYS:
        curve = ENTRY["curves"][name]["hearts"]
        assert len(curve) == len(ENTRY["options"]["asked"]) and all(len(row) == finetuning.SEEDS for row in curve)
        for what in ("loss of hearts", "forgetting", "digits right", "hearts known", "change of digits"):
            found = METRICS[f"{name}: {what}"]
            assert found["low"] <= found["value"] <= found["high"]
    assert (
        abs(METRICS["word alone: forgetting"]["value"]) < 1e-4
        and METRICS["word alone: change of digits"]["value"] < 1e-2
    )
    weights = [
        METRICS[f"{name}: weights"]["value"] for name in ("all weights", "rank 16", "rank 4", "rank 1", "word alone")
    ]
    assert weights == sorted(weights, reverse=True)


def test_differences_are_those_of_the_values() -> None:
    for key, found in ENTRY["differences"].items():
        pair, _, what = key.rpartition(": ")
        one, _, other = pair.partition(" - ")
        if f"{one}: {what}" in METRICS:
            expected = METRICS[f"{one}: {what}"]["value"] - METRICS[f"{other}: {what}"]["value"]
            assert found["value"] == pytest.approx(expected, abs=2e-4)


def test_what_the_page_says_of_every_seed_is_so() -> None:
    full, four, prior = (ENTRY["curves"][name]["digits"][-1] for name in ("all weights", "rank 4", "rank 4, prior"))
    assert all(one > two > three for one, two, three in zip(full, four, prior, strict=True))
    sixteen, four, one, full_prior, four_prior = (
        ENTRY["curves"][name]["hearts"][-1]
        for name in ("rank 16", "rank 4", "rank 1", "all weights, prior", "rank 4, prior")
    )
    assert all(a < b < c for a, b, c in zip(sixteen, four, one, strict=True))
    assert all(a < b for a, b in zip(full_prior, four_prior, strict=True))


def test_what_the_page_says_of_copies_and_distances_is_so() -> None:
    shares = [METRICS[f"{name}: nearer to what was learned"]["value"] for name in finetuning.WAYS]
    real = METRICS["real hearts: nearer to what was learned over seeds"]
    assert all(real["low"] < share < real["high"] for share in shares)
    far = {name: METRICS[f"{name}: distance"]["value"] for name in finetuning.WAYS}
    floor = METRICS["real hearts: distance"]["high"]
    groups = [
        ("all weights", "rank 16", "rank 4"),
        ("rank 1", "all weights, prior", "rank 4, prior"),
        ("rank 4, attention alone", "word alone"),
    ]
    near, more, most = ([far[name] for name in group] for group in groups)
    assert floor < min(near) and max(near) < min(more) and 5 * max(more) < min(most)
