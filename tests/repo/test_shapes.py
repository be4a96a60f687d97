"""The benchmark of clouds and blocks: what is compared is equal, baselines are what they are called, and the ledger is whole."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import shapes
from course_lib.data.shapes import KINDS, POINTS, clouds_of

ROOT = Path(__file__).resolve().parents[2]
ENTRY = json.loads((ROOT / "results" / "shapes.json").read_text())
METRICS, GAPS = ENTRY["metrics"], ENTRY["differences"]


def test_both_networks_differ_by_their_places_alone_and_training_keeps_them(tmp_path: Path) -> None:
    for name in shapes.NETWORKS:
        shapes.train(tmp_path, name, 0, True)
        (network, seconds) = shapes.trained(tmp_path, name, partial(shapes.build, name))[0]
        assert seconds < 60 and sum(p.numel() for p in network.parameters()) == ENTRY["options"]["parameters"][name]
        assert shapes.drawn(network, torch.tensor([0, 2]), 0).shape == (2, POINTS, 3)
    sizes = ENTRY["options"]["parameters"]
    assert sizes["row"] - sizes["set"] == POINTS * 64
    assert set(shapes.trained(tmp_path, "set", partial(shapes.build, "set"))) == {0}


def test_gaussians_of_objects_have_their_objects_moments() -> None:
    kinds = torch.zeros(400, dtype=torch.long)
    made = shapes.ellipsoids(kinds, torch.Generator().manual_seed(1))
    real = clouds_of(kinds, torch.Generator().manual_seed(1))
    torch.testing.assert_close(made.var(1).mean(0), real.var(1).mean(0), atol=0.05, rtol=0)
    apart = (made.mean(1) - real.mean(1)).norm(dim=1) - (real.var(1).sum(1) / POINTS).sqrt()
    assert abs(float(apart.mean())) < 0.05  # the sampling error of a mean of 64 points, and no more


def test_what_the_page_counts() -> None:
    digits = torch.tensor([[3, 5, 7], [5, 3, 1]])
    seen = torch.zeros(2, 3, 28, 28)
    seen[0, 0], seen[1, 1] = 0.25, 0.75  # the two threes; both fives are 0
    assert sorted(shapes.variety(seen, digits).tolist()) == [0.0, 0.5]
    assert shapes.hexed(seen[0, :1])[0] == "4" * 784
    wanted = shapes.wanted(20)
    assert all(len(set(row)) == 3 for row in wanted.tolist())
    cloud = clouds_of(shapes.asked(3), torch.Generator().manual_seed(0))
    assert shapes.by_kind(cloud, cloud + 100).tolist() == [1.0] * 18


def test_the_ledger_has_every_seed_and_says_what_the_page_says() -> None:
    for name in (*shapes.NETWORKS, "points apart", "Gaussians of objects", "real"):
        found, spread = METRICS[f"clouds, {name}: told apart"], METRICS[f"clouds, {name}: told apart over seeds"]
        assert found["low"] <= found["value"] <= found["high"]
        assert spread["low"] <= spread["value"] <= spread["high"]
        assert found["value"] == pytest.approx(spread["value"], abs=1e-4)
        assert len(ENTRY["clouds"][name]) == 4 * len(KINDS)
    assert METRICS["clouds, set: told apart"]["high"] < METRICS["clouds, points apart: told apart"]["low"]
    assert METRICS["clouds, set: moved by order"]["value"] < 1e-5 < METRICS["clouds, row: moved by order"]["value"]
    gap = METRICS["clouds, row: told apart"]["value"] - METRICS["clouds, set: told apart"]["value"]
    assert GAPS["row - set: told apart"]["value"] == pytest.approx(gap, abs=2e-4)
    first = METRICS["blocks, distilled, scale 5: shadows read"]["value"]
    for other in ("distilled, scale 1", "carved", "carved, best of many"):
        gap = first - METRICS[f"blocks, {other}: shadows read"]["value"]
        assert GAPS[f"distilled, scale 5 - {other}: shadows read"]["value"] == pytest.approx(gap, abs=2e-4)
    assert {len(row) for rows in ENTRY["shadows"].values() for row in rows} == {3, 784}
