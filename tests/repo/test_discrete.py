"""The benchmark of discrete diffusion: what is compared is equal but for what it learns, and the ledger keeps whole results."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import discrete
from course_lib.data.text import ALPHABET
from course_lib.nets.symbols import next_losses

ROOT = Path(__file__).resolve().parents[2]
ENTRY = json.loads((ROOT / "results" / "discrete.json").read_text())
METRICS = ENTRY["metrics"]


def test_pages_are_learned_or_held_out() -> None:
    assert not set(discrete.LEARNED) & set(discrete.HELD_OUT)
    assert all((ROOT / "chapters" / name / "index.md").exists() for name in discrete.LEARNED + discrete.HELD_OUT)


def test_the_text_is_kept_as_it_was(tmp_path: Path) -> None:
    first = discrete.Text(tmp_path)
    assert set("".join(first.learned)) <= set(ALPHABET) and first.to_ask().shape[1] == discrete.LENGTH
    pages = json.loads((tmp_path / "text.json").read_text())
    (tmp_path / "text.json").write_text(json.dumps({**pages, discrete.HELD_OUT[0]: "another text\n" * 20}))
    assert discrete.Text(tmp_path).fingerprint != first.fingerprint


def test_both_networks_are_of_one_size_and_shape() -> None:
    networks = [discrete.build(kind) for kind in ("masked", "autoregressive", "masked longer")]
    shapes = [[weights.shape for weights in network.parameters()] for network in networks]
    assert shapes[0] == shapes[1] == shapes[2]
    assert ENTRY["options"]["parameters"]["masked"] == sum(shape.numel() for shape in shapes[0])


def test_training_goes_on_where_it_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discrete, "BATCH", 2)
    lines = list(discrete.train(tmp_path, "digits", 0, 2))
    assert len(lines) == 1 and "step 2" in lines[0]
    assert list(discrete.train(tmp_path, "digits", 0, 2)) == []
    before = discrete.trained(tmp_path, "digits")[0][0].state_dict()
    (tmp_path / "digits-0.safetensors").unlink()
    (line,) = discrete.train(tmp_path, "digits", 0, 2)
    after = discrete.trained(tmp_path, "digits")[0][0].state_dict()
    assert "step 2" in line and all(torch.equal(weights, after[name]) for name, weights in before.items())


def test_bits_of_a_model_that_knows_nothing_are_those_of_the_alphabet() -> None:
    network = discrete.build("autoregressive")
    torch.nn.init.zeros_(network.last.weight)
    torch.nn.init.zeros_(network.last.bias)
    x = torch.randint(0, discrete.K, (2, discrete.LENGTH), generator=torch.Generator().manual_seed(0))
    expected = torch.full((2,), torch.log2(torch.tensor(float(discrete.K))).item(), dtype=torch.float64)
    torch.testing.assert_close(discrete.bits_a_letter("autoregressive", network, x, 1), expected, rtol=1e-5, atol=0)
    assert float(next_losses(network, x).mean().detach()) == pytest.approx(float(expected[0]) * 0.693147, rel=1e-4)


def test_the_interval_of_a_mean_is_that_of_whole_parts_of_the_text() -> None:
    values = torch.cat([torch.zeros(100), torch.ones(100)]).double()
    assert discrete.windows_mean(values).value == 0.5
    scattered = torch.tensor([0.0, 1.0] * 100, dtype=torch.float64)
    assert discrete.windows_mean(values).error > 3 * discrete.windows_mean(scattered).error


def test_the_ledger_has_every_seed_and_all_that_the_page_shows() -> None:
    assert ENTRY["options"]["seeds"] == discrete.SEEDS
    for kind in ("masked", "autoregressive"):
        spread = METRICS[f"{kind}: bits over seeds"]
        each = [METRICS[f"{kind}, seed {seed}: bits"]["value"] for seed in range(discrete.SEEDS)]
        assert spread["low"] == min(each) and spread["high"] == max(each)
        assert METRICS[f"{kind}: bits"]["low"] < METRICS[f"{kind}: bits"]["value"] < METRICS[f"{kind}: bits"]["high"]
        assert METRICS[f"{kind}: bits"]["high"] < METRICS["letter frequencies: bits"]["low"]
    assert {f"{order}, {steps} steps: known words" for order in discrete.ORDERS for steps in discrete.DECODING} <= set(
        METRICS
    )
    assert set(ENTRY["pictures"]) == {"1 steps", "4 steps", "16 steps", "64 steps", "shown", "completed", "true"}
    difference = ENTRY["differences"]["masked - autoregressive: bits"]
    expected = METRICS["masked: bits"]["value"] - METRICS["autoregressive: bits"]["value"]
    assert difference["value"] == pytest.approx(expected, abs=2e-4)
