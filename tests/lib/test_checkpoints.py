"""Weights on disk: what is written comes back, and nothing damaged or foreign gets in."""

import errno
import functools
import hashlib
import http.server
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from course_lib.files import write_atomically
from course_lib.models import store
from course_lib.models.cards import ModelCard, build_schedule
from course_lib.models.store import load, save
from course_lib.models.tensors import digest, load_tensors, save_tensors
from course_lib.nets.mlp import MLP


def card(network: MLP) -> ModelCard:
    return ModelCard(
        name="tiny",
        architecture="MLP",
        config=network.config,
        parameters=sum(p.numel() for p in network.parameters()),
        prediction="eps",
        schedule={"name": "linear", "T": 10},
        image_shape=[2],
        dataset="none",
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
        build_schedule({"name": "secret"})


def test_unknown_model_lists_what_is_shipped() -> None:
    with pytest.raises(ValueError, match=r"neither a folder nor a file nor a shipped model \(.*mnist-ddpm"):
        load("mnist-dpm")


def test_shipped_models_load_and_are_small_enough() -> None:
    cards = sorted(store.SHIPPED.glob("*.json"))
    assert [file.stem for file in cards] == store.shipped_models()
    for file in cards:
        network, loaded = load(file.stem)
        assert sum(p.numel() for p in network.parameters()) == loaded.parameters
        assert all(p.dtype == torch.float32 for p in network.parameters())
    sizes = [file.stat().st_size for file in store.SHIPPED.iterdir()]
    assert max(sizes) <= 15e6 and sum(sizes) <= 150e6


def test_a_loaded_network_has_the_order_of_memory_that_convolutions_are_fast_in() -> None:
    network, _ = load("digits-ddpm")
    kernels = [p for p in network.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert kernels and all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


def test_every_shipped_file_has_its_checksum_listed() -> None:
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in store.SHIPPED.iterdir()}
    assert files == store.checksums()


def test_half_precision_on_disk_is_rounded_and_loads_as_float32(tmp_path: Path) -> None:
    network, card = load("mnist-classifier")
    store.save(tmp_path / "half.safetensors", network, card, torch.bfloat16)
    rounded, _ = load(tmp_path / "half.safetensors")
    for name, weight in rounded.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, network.state_dict()[name].bfloat16().float()), name
    whole, half = (store.shipped("mnist-classifier.safetensors"), tmp_path / "half.safetensors")
    assert half.stat().st_size < 0.55 * whole.stat().st_size


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package without its checkout: weights come from a release, here a folder served on loopback."""
    folder = tmp_path / "release"
    folder.mkdir()
    for file in store.SHIPPED.glob("mnist-classifier.*"):
        shutil.copy(file, folder)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(handler.func, "log_message", lambda *arguments: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(store, "RELEASE", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setattr(store, "SHIPPED", tmp_path / "nowhere")
        monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "data"))
        yield folder
        server.shutdown()


def test_weights_come_from_the_release_where_the_checkout_is_missing(release: Path, tmp_path: Path) -> None:
    _, card = load("mnist-classifier")
    assert card.name == "mnist-classifier"
    for file in release.iterdir():
        file.unlink()  # the second time nothing is fetched
    load("mnist-classifier")


def test_a_damaged_download_is_refused(release: Path) -> None:
    file = release / "mnist-classifier.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="hash of downloaded file .* does not match"):
        load("mnist-classifier")


def test_no_network_for_weights_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "RELEASE", "http://127.0.0.1:9/")
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "nowhere")
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(
        ValueError, match=r"could not be downloaded from http://127.0.0.1:9/ \(\w+\): connect to the network, or put"
    ):
        load("mnist-classifier")


def test_failed_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
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
    assert len({digest(tensors) for tensors in [base, *others]}) == 5
    save_tensors(tmp_path / "x.safetensors", base, {"step": "3"})
    tensors, metadata = load_tensors(tmp_path / "x.safetensors")
    assert torch.equal(tensors["a"], base["a"])
    assert metadata["step"] == "3"


def test_two_processes_may_write_the_same_file(tmp_path: Path) -> None:
    code = "import sys\nfrom pathlib import Path\nfrom course_lib.files import write_atomically\n"
    code += "for _ in range(400):\n    write_atomically(Path(sys.argv[1]), b'whole' * 1000)"
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[1] for process in both] == ["", ""]
    assert (tmp_path / "file").read_bytes() == b"whole" * 1000
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
