"""Weights on disk: what is written comes back, and nothing damaged or foreign gets in."""

import errno
import json
import pickle
from pathlib import Path

import pytest
import torch

from course_lib import checkpoints
from course_lib.checkpoints import ModelCard, load, load_tensors, save, save_tensors, write_atomically
from course_lib.nets import MLP


def card(network: MLP) -> ModelCard:
    return ModelCard(
        name="tiny",
        architecture="MLP",
        config=network.config,
        parameters=sum(p.numel() for p in network.parameters()),
        prediction="eps",
        schedule={"name": "linear", "T": 10},
        image_shape=[2],
        data="none",
        recipe={},
        steps=1,
        images_seen=1,
        seed=0,
        device="cpu",
        minutes=0.0,
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = MLP(width=8, depth=1)
    save(tmp_path / "model.safetensors", network, card(network))
    return tmp_path / "model.safetensors"


def test_round_trip(saved: Path) -> None:
    torch.manual_seed(0)
    original = MLP(width=8, depth=1)
    for place in (saved, saved.parent):
        network, loaded = load(place)
        assert all(torch.equal(a, b) for a, b in zip(original.state_dict().values(), network.state_dict().values()))
        assert not network.training
        assert loaded.build_schedule().T == 10
    assert sorted(p.name for p in saved.parent.iterdir()) == ["model.json", "model.safetensors"]


@pytest.mark.parametrize("position", [-3, 0.5])
def test_one_changed_byte_is_noticed(saved: Path, position: float) -> None:
    data = bytearray(saved.read_bytes())
    data[int(position) if position < 0 else int(position * len(data))] ^= 1
    saved.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        load(saved)


def test_truncated_file_is_noticed(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is damaged or no safetensors file"):
        load(saved)


class Trap:
    """Leaves a file where somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_never_opened(saved: Path) -> None:
    sprung = saved.parent / "sprung"
    saved.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ValueError, match="no safetensors file"):
        load(saved)
    assert not sprung.exists()


def test_foreign_weights_are_named(saved: Path, tmp_path: Path) -> None:
    other = MLP(width=16, depth=1)
    save(tmp_path / "other" / "model.safetensors", other, card(MLP(width=8, depth=1)))
    with pytest.raises(ValueError, match="holds the weights of another network"):
        load(tmp_path / "other")


def test_card_must_fit_its_file(saved: Path) -> None:
    content = json.loads(saved.with_suffix(".json").read_text())
    for change, message in (
        ({"sha256": "0"}, "not the file that its card describes"),
        ({"architecture": "Oracle"}, "architecture must be one of .*'DiT'.*'UNet'.* says 'Oracle'"),
        ({"surprise": 1}, "is no model card"),
    ):
        saved.with_suffix(".json").write_text(json.dumps(content | change))
        with pytest.raises(ValueError, match=message):
            load(saved)
    saved.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match="does not exist"):
        load(saved)
    with pytest.raises(ValueError, match="schedule must be one of"):
        checkpoints.build_schedule({"name": "secret"})


def test_unknown_model_lists_what_is_shipped() -> None:
    with pytest.raises(ValueError, match=r"neither a folder nor a file nor a shipped model \(.*mnist-ddpm"):
        load("mnist-dpm")


def test_shipped_models_load() -> None:
    cards = sorted(checkpoints.SHIPPED.glob("*.json"))
    assert {file.stem for file in cards} >= {"mnist-ddpm", "mnist-classifier"}
    for file in cards:
        network, loaded = load(file.stem)
        assert sum(p.numel() for p in network.parameters()) == loaded.parameters


def test_failed_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    with pytest.raises(ValueError, match="could not be written .*No space left.*free some disk space"):
        save_tensors(saved, {"a": torch.ones(2)})
    with pytest.raises(ValueError, match="could not be written .*No space left"):
        write_atomically(saved, b"new")
    assert saved.read_bytes() == before
    assert not list(saved.parent.glob("*.partial"))


def test_digest_sees_names_types_shapes_and_values(tmp_path: Path) -> None:
    base = {"a": torch.zeros(4)}
    others = [
        {"b": torch.zeros(4)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.tensor([0.0, 0, 0, 1])},
    ]
    assert len({checkpoints.digest(tensors) for tensors in [base, *others]}) == 5
    save_tensors(tmp_path / "x.safetensors", base, {"step": "3"})
    tensors, metadata = load_tensors(tmp_path / "x.safetensors")
    assert torch.equal(tensors["a"], base["a"])
    assert metadata["step"] == "3"
