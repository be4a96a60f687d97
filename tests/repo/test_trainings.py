"""Benchmarks that train with several seeds: what is there is not trained again, and what the seeds give is summed up as it is said."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import trainings
from benchmarks.trainings import Training

ROWS = (torch.arange(8.0)[:, None],)


def squared(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    return (network(batch[0]) - 3).square().mean()


def line() -> nn.Linear:
    return nn.Linear(1, 1)


def test_a_training_is_kept_by_seed_and_not_done_again(tmp_path: Path) -> None:
    asked: list[int] = []

    def rows() -> tuple[Tensor, ...]:
        asked.append(1)
        return ROWS

    training = Training(line, squared, rows, 3, 4)
    for seed in (0, 2, 2):
        trainings.train(tmp_path, "a line, straight", seed, training)
    assert len(asked) == 2 and trainings.place(tmp_path, "a line, straight", 2).name == "a-line-straight-2.safetensors"
    found = trainings.trained(tmp_path, "a line, straight", line)
    assert set(found) == {0, 2} and all(seconds < 60 for _, seconds in found.values())
    weights = {seed: network.weight.item() for seed, (network, _) in found.items()}
    for seed, weight in weights.items():
        torch.manual_seed(seed)
        assert 0 < abs(weight - line().weight.item()) < 0.02, "three small steps from where its seed began"


def test_shares_stay_within_their_range_and_differences_do_not() -> None:
    shares, gaps = torch.ones(20), torch.tensor([0.0, 0.5, 1.0, 1.0])
    assert trainings.entry(shares)["high"] == 1 and trainings.entry(shares)["low"] < 1
    assert trainings.signed(gaps)["high"] > 1 > trainings.entry(gaps)["high"]
    metrics: dict[str, Any] = {}
    trainings.over_seeds([torch.tensor([0, 1]), torch.tensor([1, 1])], metrics, "hits")
    assert metrics["hits"]["value"] == 0.75
    assert metrics["hits over seeds"] == {"value": 0.75, "low": 0.5, "high": 1.0}
    assert trainings.spread([1 / 3, 2 / 3], 2) == {"value": 0.5, "low": 0.33, "high": 0.67}
    assert trainings.as_rows(torch.tensor([[[0.5, -1.0]], [[2.0, 0.25]]])) == ["0.50 -1.00", "2.00 0.25"]


@pytest.mark.parametrize(
    ("task", "quick", "expected"),
    [
        ("train", False, [("plan", seed, False) for seed in range(3)]),
        ("measure", False, ["measured"]),
        ("train", True, [("plan", 0, True), "measured"]),
        ("measure", True, [("plan", 0, True), "measured"]),
    ],
)
def test_what_is_asked_is_done(task: str, quick: bool, expected: list[Any], tmp_path: Path) -> None:
    done: list[Any] = []

    def train(kept: Path, name: str, seed: int, quick: bool) -> None:
        assert kept == (tmp_path / "quick" if quick else tmp_path) and kept.is_dir()
        done.append((name, seed, quick))

    arguments = SimpleNamespace(task=task, quick=quick, kept=tmp_path, only="plan")
    trainings.run(arguments, ("sounds", "plan"), train, lambda kept: done.append("measured"))
    assert done == expected
