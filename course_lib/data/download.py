"""Fetch data sets from their official sources, each converted once to one .npz archive."""

import gzip
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from requests import RequestException

from course_lib.files import check_destination, write_atomically

IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@dataclass(frozen=True)
class Source:
    """Where a data set is published: its page for people, the folder of its files, and each file's MD5 as published."""

    page: str
    base: str
    md5: dict[str, str]


def idx_source(page: str, base: str, *md5: str) -> Source:
    """A source in MNIST's four-file layout."""
    return Source(page, base, dict(zip(IDX_FILES, md5, strict=True)))


SOURCES = {
    # The original host answers with errors at times; this bucket is the mirror that PyTorch keeps.
    "mnist": idx_source(
        "http://yann.lecun.com/exdb/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    "fashion_mnist": idx_source(
        "https://github.com/zalandoresearch/fashion-mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    # The binary version: the "python" one is a pickle, which would run code when it is opened.
    "cifar10": Source(
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
}


def download(name: str, archive: Path) -> None:
    """Download `name`, check it, convert it, and put it at `archive` in one atomic step.

    Raises ValueError with what to do where there is no network, the folder cannot be written, or a checksum differs.
    """
    source = SOURCES[name]
    with told_of_data_dir(name):
        check_destination(archive)
    try:
        files = [Path(fetch(source, file, archive.parent / "downloads")) for file in source.md5]
        arrays = read_cifar10(files[0]) if name == "cifar10" else read_idx_files(files)
    except RequestException as error:
        raise ValueError(
            f"{name} is not in {archive.parent} and could not be downloaded from {source.base} ({type(error).__name__}): "
            f"connect to the network, or put {archive.name} (keys x_train, y_train, x_test, y_test, uint8) there, "
            "or set COURSE_DATA_DIR to a folder that has it"
        ) from error
    except OSError as error:
        raise ValueError(
            f"{name} could not be stored in {archive.parent} ({error.strerror or error}): free some disk space, or set COURSE_DATA_DIR "
            "to a folder that you may write to"
        ) from error
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # pyright: ignore[reportArgumentType]
    with told_of_data_dir(name):
        write_atomically(archive, packed.getbuffer())


@contextmanager
def told_of_data_dir(name: str) -> Iterator[None]:
    """Inside, raise the ValueError of a file that cannot be written again, saying that data may lie elsewhere."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name} could not be stored: {error}, by setting COURSE_DATA_DIR to it") from error


def fetch(source: Source, file: str, folder: Path) -> str:
    """The path of one downloaded file, its MD5 checked; what is already there is not fetched again."""
    import pooch  # here, since it brings a progress bar that warns in notebooks without widgets, and most pages download nothing

    return pooch.retrieve(
        source.base + file, known_hash=f"md5:{source.md5[file]}", fname=file, path=folder, progressbar=True
    )


def read_idx_files(files: list[Path]) -> dict[str, np.ndarray]:
    """The four arrays of an MNIST-like set."""
    keys = ("x_train", "y_train", "x_test", "y_test")
    return {key: parse_idx(gzip.decompress(file.read_bytes())) for key, file in zip(keys, files, strict=True)}


def parse_idx(data: bytes) -> np.ndarray:
    """The uint8 array in an IDX file: two zero bytes, type 8, the number of axes, each length as a big-endian int32, the values.

    Raises ValueError where they are others.
    """
    if data[:3] != b"\x00\x00\x08":
        raise ValueError(f"not an IDX file of bytes: it starts with {data[:4].hex()}")
    axes = data[3]
    shape = np.frombuffer(data, ">i4", axes, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def read_cifar10(file: Path) -> dict[str, np.ndarray]:
    """The four arrays of CIFAR-10's binary version: each record is a label and 3 x 32 x 32 bytes, colour planes first."""
    parts = {}
    with tarfile.open(file) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None and member.name.endswith(".bin"):
                parts[Path(member.name).name] = np.frombuffer(content.read(), np.uint8).reshape(-1, 3073)
    train = np.concatenate([parts[f"data_batch_{i}.bin"] for i in range(1, 6)])
    arrays = {}
    for split, records in (("train", train), ("test", parts["test_batch.bin"])):
        arrays[f"x_{split}"] = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays[f"y_{split}"] = records[:, 0]
    return arrays
