"""A run's folder: what fixes the result is kept over interruptions, and what is refused leaves no trace."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from course_lib.models.tensors import load_tensors
from course_lib.recipes import train as recipe_training
from course_lib.recipes.classification import prepare
from course_lib.recipes.rows import RECIPES
from course_lib.recipes.train import train
from course_lib.training.runs import Run
from course_lib.training.state import TrainState

DIGITS = RECIPES["digits-ddpm"]
TINY: dict[str, Any] = {"steps": 4, "batch_size": 8}


def options_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())["options"]


def weights(folder: Path) -> torch.Tensor:
    tensors, _ = load_tensors(folder / "model.safetensors")
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


class Killed(BaseException):
    """Stands for a kill."""


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_training, "pictured", lambda states, *others: states)


def train_until(step: int, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Train, and be killed when so many steps are saved."""

    def keep(run: Run, states: Any, save_every: int = 250) -> Any:
        for state in kept(run, states, save_every):
            yield state
            if state.step == step:
                raise Killed

    kept = Run.keep
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Run, "keep", keep)
        train(DIGITS, folder, save_every=1, **TINY, **options)


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("option", [{"parts": 2}, {"checkpointing": True}, {"bf16": True}])
def test_a_resumed_run_takes_the_options_it_was_begun_with(
    option: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name, value), *_ = option.items()
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", dict
    )  # where a processor has units for bf16, that is the default
    train(DIGITS, tmp_path / "whole", **TINY, **option)
    train(DIGITS, tmp_path / "plain", **TINY)
    assert not torch.equal(weights(tmp_path / "whole"), weights(tmp_path / "plain")) or name == "checkpointing"
    train_until(2, tmp_path / "killed", monkeypatch, **option)
    assert options_in(tmp_path / "killed")[name] == value
    with pytest.raises(ValueError, match=f"{name} was {value} and is now"):
        train(DIGITS, tmp_path / "killed", resume=True, **{name: 1 if name == "parts" else False})
    card = train(DIGITS, tmp_path / "killed", resume=True)
    assert card.recipe == options_in(tmp_path / "whole")
    assert torch.equal(weights(tmp_path / "killed"), weights(tmp_path / "whole"))


@pytest.mark.usefixtures("without_pictures")
def test_the_parts_of_several_processes_are_kept_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("course_lib.training.distributed.count", lambda: 2)
        patch.setattr("course_lib.training.distributed.mean", lambda value: value)
        train_until(1, tmp_path / "run", patch)
    assert options_in(tmp_path / "run")["parts"] == 2
    train(DIGITS, tmp_path / "run", resume=True)
    train(DIGITS, tmp_path / "plain", **TINY)
    assert options_in(tmp_path / "run")["parts"] == 2
    assert not torch.equal(weights(tmp_path / "run"), weights(tmp_path / "plain"))


@pytest.mark.parametrize("wrong", [{"batch_size": 100_000}, {"parts": 3}, {"steps": 0}])
def test_what_is_refused_leaves_no_folder(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must"):
        train(DIGITS, tmp_path / "run", **{**TINY, **wrong})
    assert not (tmp_path / "run").exists()


def test_a_kill_between_the_state_and_the_picture_loses_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("course_lib.recipes.diffusion.draw", lambda model, n, *others, **more: torch.zeros(n, 1, 8, 8))

    def save(state: TrainState, path: Path) -> None:
        saved(state, path)
        if state.step == 2:
            raise Killed

    saved = TrainState.save
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TrainState, "save", save)
        train(DIGITS, tmp_path / "run", save_every=1, **TINY)
    train(DIGITS, tmp_path / "run", resume=True)
    pictures = sorted(file.name for file in (tmp_path / "run").glob("*.png"))
    assert pictures == [f"samples-{step:06d}.png" for step in (1, 2, 3, 4)]


def test_a_damaged_log_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_training, "pictured", lambda states, *others: states)
    train_until(2, tmp_path / "run", monkeypatch)
    with open(tmp_path / "run" / "log.csv", "a") as log:
        log.write("half a r")
    with pytest.raises(ValueError, match=r"log\.csv is damaged"):
        train(DIGITS, tmp_path / "run", resume=True)


def test_several_processes_refuse_alike_and_end(tmp_path: Path) -> None:
    """Each of two processes reads what is there before the first writes, so that none waits for one that has given up."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "course.cli",
    ]
    command += ["train", "digits-ddpm", "--steps", "1", "--batch-size", "7", "--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode != 0
    assert "parts must be a multiple of the number of processes (2) and divide batch_size (7); got 2" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_pictures")
def test_the_rate_rises_over_as_many_steps_as_the_recipe_says(tmp_path: Path) -> None:
    """Adam's first step moves a weight by the rate, so the largest move of a weight is the rate of the first step."""
    moves = {}
    for warmup in (0, 9):
        recipe = replace(DIGITS, warmup=warmup, weight_decay=0.0)
        train(recipe, tmp_path / str(warmup), steps=1, batch_size=8)
        start = prepare(recipe.architecture, 0, **recipe.config).state_dict()
        tensors, _ = load_tensors(tmp_path / str(warmup) / "state.safetensors")
        moves[warmup] = max(
            float((tensors[f"network.{name}"] - old).abs().max())
            for name, old in start.items()
            if old.is_floating_point()
        )
    assert moves[0] == pytest.approx(DIGITS.learning_rate, rel=0.01)
    assert moves[9] == pytest.approx(DIGITS.learning_rate / 10, rel=0.01)
