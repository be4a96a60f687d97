"""The benchmark of sounds and plans: what is compared is equal, the Gaussians are those of the data, and the ledger is whole."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import beyond
from course_lib.data import paths
from course_lib.recipes.sounds import many_sounds

ROOT = Path(__file__).resolve().parents[2]
ENTRY = json.loads((ROOT / "results" / "beyond.json").read_text())
METRICS = ENTRY["metrics"]


def test_both_policies_are_one_network_and_training_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beyond, "BATCH", 4)
    for kind in beyond.KINDS:
        beyond.train(tmp_path, kind, 0, True)
        (network, seconds) = beyond.trained(tmp_path, kind, beyond.build)[0]
        assert seconds < 60 and sum(p.numel() for p in network.parameters()) == ENTRY["options"]["parameters"]
        plan = beyond.policy_of(kind, network, 0)(paths.starts(3, torch.Generator().manual_seed(0)))
        assert plan.shape == (3, paths.CHUNK, 2)
    assert set(beyond.trained(tmp_path, "plan", beyond.build)) == {0}


def test_fitted_gaussians_have_the_mean_and_covariance_of_their_note() -> None:
    loudness, notes = many_sounds()
    rows = loudness[notes == 3][:, 2, 14:20]
    drawn = beyond.fitted(torch.full((400,), 3), torch.Generator().manual_seed(0))[:, 2, 14:20]
    error = (rows.var(0) / 400).sqrt()
    assert bool(((drawn.mean(0) - rows.mean(0)).abs() < 5 * error).all())
    scale = torch.outer(rows.std(0), rows.std(0))
    assert float(((drawn.T.cov() - rows.T.cov()) / scale).abs().max()) < 0.3


def test_the_ledger_has_every_seed_and_says_what_the_page_says() -> None:
    assert ENTRY["options"]["seeds"] == beyond.SEEDS
    for name in ("diffusion", "Gaussian of each note"):
        found = METRICS[f"sounds, {name}: one instrument over seeds"]
        assert found["low"] <= found["value"] <= found["high"]
    pure = {name: METRICS[f"sounds, {name}: one instrument"] for name in ("diffusion", "Gaussian of each note")}
    assert pure["diffusion"]["low"] > pure["Gaussian of each note"]["high"]
    for count in beyond.EXECUTED:
        gap = ENTRY["differences"][f"diffusion - regression, {count} done: arrived"]
        arrived = [METRICS[f"plans, {name}, {count} done: arrived"]["value"] for name in ("diffusion", "regression")]
        assert gap["value"] == pytest.approx(arrived[0] - arrived[1], abs=2e-4)
    assert ENTRY["differences"]["diffusion - regression, 8 done: arrived"]["low"] > 0
    assert ENTRY["differences"]["diffusion - regression, 1 done: arrived"]["high"] < 0
    for walks in ENTRY["walks"].values():
        assert len(walks) == 24 and {len(walk.split()) % 2 for walk in walks} == {0}
