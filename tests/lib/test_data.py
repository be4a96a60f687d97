"""Data: the small sets, the archives, the downloads, and each way in which they can fail."""

import errno
import gzip
import hashlib
import http.server
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib.data import ink, sets, toys
from course_lib.data.download import IDX_FILES, SOURCES, Source, parse_idx, read_cifar10
from course_lib.data.images import dequantised, to_bytes, to_unit


def idx(array: np.ndarray) -> bytes:
    """The IDX file of a uint8 array."""
    return b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()


def made_up(n: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    """A tiny archive in MNIST's shape."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2 * n, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, 2 * n, dtype=np.uint8)
    return {"x_train": images[:n], "y_train": labels[:n], "x_test": images[n:], "y_test": labels[n:]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    return tmp_path


def test_digits_are_seventeen_grey_levels() -> None:
    images, labels = sets.digits()
    assert images.shape == (1797, 1, 8, 8)
    assert set(torch.unique(images).tolist()) == {level / 8 - 1 for level in range(17)}
    assert labels.bincount().min() > 170


def test_photographs_are_square_and_coloured() -> None:
    photos = sets.photographs(32)
    assert photos.shape == (2, 3, 32, 32)
    assert photos.min() >= -1
    assert photos.max() <= 1
    assert photos.std() > 0.3


def test_bytes_and_unit_are_inverse() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_unit(every)), every)
    assert to_unit(every)[[0, -1]].tolist() == [-1, 1]


@pytest.mark.parametrize("name", sorted(toys.TOY_SETS))
def test_toy_sets_are_seeded_and_stay_in_view(name: str) -> None:
    make = toys.TOY_SETS[name]
    points = make(2000, torch.Generator().manual_seed(0))
    assert points.shape == (2000, 2)
    assert torch.equal(points, make(2000, torch.Generator().manual_seed(0)))
    assert points.abs().max() < 2.6
    assert points.std(0).min() > 0.4


def test_checkerboard_leaves_the_white_squares_empty() -> None:
    squares = toys.checkerboard(5000, torch.Generator().manual_seed(0)).floor().long()
    assert (squares.sum(1) % 2 == 0).all()
    assert len(torch.unique(squares, dim=0)) == 8


def test_eight_gaussians_are_eight_equal_groups_on_a_circle() -> None:
    points = toys.eight_gaussians(8000, torch.Generator().manual_seed(0))
    group = (torch.atan2(points[:, 1], points[:, 0]) / (torch.pi / 4)).round().long() % 8
    assert group.bincount().min() > 850
    assert abs(float(points.norm(dim=1).mean()) - 1.6) < 0.05


def test_archive_is_read_as_written(folder: Path) -> None:
    arrays = made_up()
    np.savez(folder / "mnist.npz", **arrays)
    images, labels = sets.load("mnist", "test")
    assert torch.equal(images[:, 0], torch.from_numpy(arrays["x_test"]))
    assert labels.tolist() == arrays["y_test"].tolist()


def test_damage_is_noticed(folder: Path) -> None:
    np.savez(folder / "mnist.npz", **made_up())
    content = bytearray((folder / "mnist.npz").read_bytes())
    content[2000] ^= 1
    (folder / "mnist.npz").write_bytes(content)
    with pytest.raises(ValueError, match="is damaged .*delete it"):
        sets.load("mnist")
    (folder / "mnist.npz").write_bytes(content[:1000])
    with pytest.raises(ValueError, match="is damaged"):
        sets.load("mnist")


@pytest.mark.parametrize(
    "change",
    [
        {"x_train": np.zeros((5, 8, 8), np.uint8)},
        {"x_train": np.zeros((5, 28, 28))},
        {"y_train": np.zeros(4, np.uint8)},
        {"x_train": np.array([{}], dtype=object)},
        {"y_train": np.array([0, 1, 2, 3, 17], np.uint8)},
        {"y_train": np.array([0, 1, 2, 3, -1])},
        {"y_train": np.array([0, 1, 2, 3, 4.5])},
        {"x_train": np.zeros((0, 28, 28), np.uint8), "y_train": np.zeros(0, np.uint8)},
    ],
    ids=["shape", "dtype", "labels", "pickled objects", "label 17", "label -1", "label 4.5", "nothing"],
)
def test_foreign_archive_is_refused(folder: Path, change: dict[str, np.ndarray]) -> None:
    np.savez(folder / "mnist.npz", **made_up() | change)
    with pytest.raises(ValueError, match=r"mnist\.npz (does not hold mnist|is damaged)"):
        sets.load("mnist")


def test_damage_of_a_compressed_archive_is_noticed(folder: Path) -> None:
    arrays = made_up()
    np.savez_compressed(folder / "mnist.npz", **arrays | {"x_train": arrays["x_train"] // 100})
    content = bytearray((folder / "mnist.npz").read_bytes())
    content[60:70] = b"\xff" * 10  # where the first array's blocks begin
    (folder / "mnist.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged \(Error -3 while decompressing data"):
        sets.load("mnist")


def test_missing_key_is_damage(folder: Path) -> None:
    np.savez(folder / "mnist.npz", x_train=made_up()["x_train"])
    with pytest.raises(ValueError, match="is damaged"):
        sets.load("mnist")


def test_unknown_names_get_the_nearest_match() -> None:
    with pytest.raises(
        ValueError, match="name must be one of 'cifar10', 'fashion_mnist', 'mnist'; got 'minst'; did you mean 'mnist'"
    ):
        sets.load("minst")
    with pytest.raises(ValueError, match="split must be one of 'test', 'train'; got 'tests'; did you mean 'test'"):
        sets.load("mnist", "tests")


def test_idx_parser() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array_equal(parse_idx(idx(array)), array)
    with pytest.raises(ValueError, match="not an IDX file"):
        parse_idx(b"<html>")


def test_cifar_parser(tmp_path: Path) -> None:
    rng, expected = np.random.default_rng(0), {}
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as tar:
        for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
            records = rng.integers(0, 256, (2, 3073), dtype=np.uint8)
            expected[name] = records
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = records.nbytes
            tar.addfile(info, io.BytesIO(records.tobytes()))
    arrays = read_cifar10(tmp_path / "c.tar.gz")
    assert arrays["x_train"].shape == (10, 32, 32, 3)
    second = expected["data_batch_2.bin"][1]
    assert arrays["y_train"][3] == second[0]
    assert arrays["x_train"][3, 5, 7].tolist() == [second[1 + plane * 1024 + 5 * 32 + 7] for plane in range(3)]
    assert arrays["y_test"].tolist() == expected["test_batch.bin"][:, 0].tolist()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, np.ndarray]]:
    """A mirror of MNIST on this machine, with a made-up content."""
    arrays, files = made_up(seed=1), tmp_path / "mirror"
    files.mkdir()
    md5 = {}
    for name, key in zip(IDX_FILES, ("x_train", "y_train", "x_test", "y_test"), strict=True):
        (files / name).write_bytes(gzip.compress(idx(arrays[key]), mtime=0))
        md5[name] = hashlib.md5((files / name).read_bytes()).hexdigest()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(files)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setitem(SOURCES, "mnist", Source("page", f"http://127.0.0.1:{server.server_port}/", md5))
    yield arrays
    server.shutdown()
    server.server_close()


def test_download_is_checked_converted_and_kept(folder: Path, mirror: dict[str, np.ndarray]) -> None:
    images, _ = sets.load("mnist")
    assert torch.equal(images[:, 0], torch.from_numpy(mirror["x_train"]))
    with np.load(folder / "mnist.npz") as stored:
        assert set(stored) == set(mirror)


def test_wrong_checksum_is_one_clear_error(folder: Path, mirror: dict[str, np.ndarray]) -> None:
    SOURCES["mnist"].md5["train-labels-idx1-ubyte.gz"] = "0" * 32
    with pytest.raises(ValueError, match="(?s)train-labels-idx1-ubyte.gz.*hash"):
        sets.load("mnist")
    assert not (folder / "mnist.npz").exists()


def test_no_network_is_one_clear_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 9 of this machine refuses every connection.
    md5 = SOURCES["mnist"].md5
    monkeypatch.setitem(SOURCES, "mnist", Source("page", "http://127.0.0.1:9/", md5))
    with pytest.raises(ValueError, match="could not be downloaded.*connect to the network, or put mnist.npz"):
        sets.load("mnist")


def test_full_disk_is_one_clear_error(
    folder: Path, mirror: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ValueError, match="mnist could not be stored: .*No space left.*COURSE_DATA_DIR"):
        sets.load("mnist")
    assert not list(folder.glob("*.npz")) and not list(folder.glob("*.partial"))


def test_unwritable_folder_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "file" / "data"))
    with pytest.raises(ValueError, match="could not be stored: .*COURSE_DATA_DIR"):
        sets.load("mnist")


@pytest.mark.needs_data("mnist")
def test_mnist_is_the_published_one() -> None:
    images, labels = sets.load("mnist", "train")
    assert hashlib.md5(idx(images[:, 0].numpy())).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
    assert labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.needs_data("fashion_mnist", "cifar10")
@pytest.mark.parametrize(("name", "shape"), [("fashion_mnist", (10_000, 1, 28, 28)), ("cifar10", (10_000, 3, 32, 32))])
def test_other_archives_have_a_thousand_test_images_a_class(name: str, shape: tuple[int, ...]) -> None:
    images, labels = sets.load(name, "test")
    assert images.shape == shape
    assert labels.bincount().tolist() == [1000] * 10


def test_split_digits_shares_all_digits_out_once_and_always_alike() -> None:
    train, held_out = sets.split_digits()
    assert (len(train), len(held_out)) == (1500, 297)
    shared_out, whole = torch.cat([train, held_out]).flatten(1), sets.digits()[0].flatten(1)
    assert torch.equal(shared_out.sum(1).sort().values, whole.sum(1).sort().values)
    assert all(torch.equal(*pair) for pair in zip(sets.split_digits(), (train, held_out), strict=True))
    assert not torch.equal(train, whole[:1500].reshape_as(train))  # the last ones have other writers


def test_dequantised_values_fill_their_level_s_bin_evenly_and_rounding_brings_the_level_back() -> None:
    train, _ = sets.split_digits()
    images = to_bytes(train)
    spread = dequantised(images, torch.Generator().manual_seed(0), levels=17)
    level = (to_unit(spread) + 1) * 8  # in levels, 0 to 16, but for the rounding to bytes
    assert ((level.round() == (train + 1) * 8).float().mean() > 0.97) and (level - (train + 1) * 8).abs().max() < 0.54
    inside = level - (train + 1) * 8
    assert abs(inside.mean()) < 4 * (1 / 12) ** 0.5 / inside.numel() ** 0.5
    assert abs(inside.var() - 1 / 12) < 1e-3


def test_an_ink_is_a_name_s_own_and_is_read_off_again() -> None:
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    own, other = ink.ink("Ada ", 8, grain=8), ink.ink("Bob", 8, grain=8)
    assert torch.equal(own, ink.ink("ada", 8, grain=8)) and own.shape == (1, 8, 8)
    assert (own - other).abs().mean() > 0.1 and float(own.min()) >= ink.WEAKEST and float(own.max()) <= 1
    written = ink.written(images, own)
    assert torch.allclose(ink.read(written, own), images, atol=1e-5) and (written <= images + 1e-6).all()
    assert torch.equal(ink.written(-torch.ones(1, 1, 8, 8), own), -torch.ones(1, 1, 8, 8))  # black stays black


def test_an_ink_with_fewer_grains_than_pixels_is_smooth() -> None:
    smooth, grainy = (ink.ink("ada", 28, grain=grain) for grain in (10, 28))
    steps = [one.diff(dim=-1).abs().mean() for one in (smooth, grainy)]
    assert smooth.shape == grainy.shape == (1, 28, 28) and steps[0] < 0.5 * steps[1]
