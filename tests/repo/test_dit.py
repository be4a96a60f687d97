"""The benchmark of diffusion transformers: what is equal is equal, and what is compared belongs together."""

from pathlib import Path

import pytest
import torch

from benchmarks import dit
from course_lib.evaluation.intervals import Measured
from course_lib.nets.dit import CONDITIONINGS, DiT
from course_lib.nets.unet import UNet
from course_lib.recipes import rows

NONE = torch.zeros(2, dtype=torch.float64)


def metrics(loss: float, distance: float) -> dict[str, Measured]:
    return {"loss": Measured(loss, NONE), "frechet distance": Measured(distance, NONE)}


def test_every_network_is_trained_for_equal_steps_and_for_equal_operations() -> None:
    found = [piece for piece in dit.pieces() if piece.group in ("steps", "operations")]
    by_group = {group: [piece.name for piece in found if piece.group == group] for group in ("steps", "operations")}
    assert by_group["steps"] == by_group["operations"] == list(dit.ladder())
    assert len([name for name in by_group["steps"] if name.startswith("DiT")]) >= 9
    for piece in found:
        step = 3 * dit.BATCH * dit.operations(piece.architecture, piece.config)
        assert piece.recipe.warmup == round(piece.steps / 7)
        assert piece.steps == dit.STEPS if piece.group == "steps" else abs(piece.steps * step - dit.BUDGET) <= step


def test_the_four_blocks_cost_the_same_up_to_a_neuron() -> None:
    wanted = DiT(**dit.transformer(**dit.BASE)).flops(dit.SIDE, dit.SIDE)
    neuron = 4 * 51 * dit.BASE["width"] * dit.BASE["depth"]
    found = {piece.name: piece.config for piece in dit.pieces() if piece.group == "block"}
    assert found.keys() == CONDITIONINGS.keys()
    for config in found.values():
        assert abs(DiT(**config).flops(dit.SIDE, dit.SIDE) - wanted) <= neuron
    assert found["adaln-zero"]["ratio"] == 4 and 2.9 < found["cross-attention"]["ratio"] < 3.1


def test_every_piece_has_a_folder_of_its_own_and_every_seed_all_of_them() -> None:
    found = dit.pieces()
    assert len({piece.folder for piece in found}) == len({piece.setting for piece in found}) == len(found)
    assert not [piece.folder for piece in found if Path(piece.folder).name != piece.folder]
    for group in ("block", "part"):
        names = [{p.name for p in found if p.group == group and p.seed == seed} for seed in range(dit.SEEDS)]
        assert all(name == names[0] for name in names)


def test_seeds_are_compared_with_their_own_partner() -> None:
    found = {
        "block, adaln-zero, seed 0": metrics(0.30, 5.0),
        "block, adaln-zero, seed 1": metrics(0.20, 7.0),
        "block, adaln, seed 0": metrics(0.35, 6.0),
        "block, adaln, seed 1": metrics(0.23, 9.0),
        "block, in-context, seed 1": metrics(0.60, 9.0),
        "part, adaln, seed 0": metrics(9.0, 9.0),
    }
    summary = dit.compared(found, "block", "adaln-zero")
    assert summary["block, adaln: loss"] == {"value": 0.29, "error": 0.06, "seeds": 2}
    assert summary["block, adaln - adaln-zero: loss"] == {"value": 0.04, "error": 0.01, "seeds": 2}
    assert summary["block, adaln - adaln-zero: frechet distance"] == {"value": 1.5, "error": 0.5, "seeds": 2}
    assert summary["block, in-context - adaln-zero: loss"] == {"value": 0.4, "error": 0.0, "seeds": 1}
    assert not [key for key in summary if key.startswith("part") or "adaln-zero - " in key]


def test_correlations_are_of_the_transformers_alone_and_of_logarithms() -> None:
    found, facts = {}, {}
    for power in range(5):
        setting = f"steps, DiT {power}/8/1, seed 0"
        found[setting], facts[setting] = metrics(1 - 0.1 * power, 2.0**power), {"operations": 10.0**power}
    found["steps, U-Net 16, seed 0"], facts["steps, U-Net 16, seed 0"] = metrics(9.0, 9.0), {"operations": 1.0}
    summary = dit.correlations(found, facts)
    assert summary["steps: loss"]["value"] == pytest.approx(-1) and summary["steps: loss"]["sizes"] == 5
    assert 0 < summary["steps: frechet distance"]["low"] < summary["steps: frechet distance"]["value"] < 1
    assert not [key for key in summary if key.startswith("operations")]


def test_a_piece_is_trained_once_and_its_answers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (128, 1, 28, 28), dtype=torch.uint8, generator=draw)
    labels = torch.arange(128) % 10
    monkeypatch.setitem(rows.TRAINING, "fashion_mnist", lambda: (images, labels))
    monkeypatch.setattr(dit.sets, "load", lambda name, split: (images, labels))
    monkeypatch.setattr(dit, "HELD_OUT", 128)
    dit.questions.cache_clear()
    piece = dit.Piece("part", "tiny", DiT, dit.transformer(patch=7, width=8, depth=1), 2)
    assert dit.learn(piece, tmp_path).startswith("part, tiny, seed 0: 2 steps")
    weights = (tmp_path / piece.folder / "model.safetensors").stat().st_mtime_ns
    tensors, facts = dit.judged(piece, tmp_path, quick=True)
    dit.learn(piece, tmp_path)
    monkeypatch.setattr(dit, "losses", None)  # nothing is asked again
    again, same = dit.judged(piece, tmp_path, quick=True)
    dit.questions.cache_clear()
    assert torch.equal(again["vectors"], tensors["vectors"]) and same == facts
    assert facts["operations"] == DiT(**piece.config).flops(28, 28) and facts["steps"] == 2
    assert (tmp_path / piece.folder / "model.safetensors").stat().st_mtime_ns >= weights
    assert not list((tmp_path / piece.folder).glob("samples-*"))


def test_unets_stand_beside_the_ladder() -> None:
    sizes = {name: dit.operations(*of) for name, of in dit.ladder().items()}
    transformers = [size for name, size in sizes.items() if name.startswith("DiT")]
    for name, (architecture, _) in dit.ladder().items():
        if architecture is UNet:
            assert min(transformers) < sizes[name] < 1.5 * max(transformers)
