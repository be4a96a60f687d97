"""Data sets: those that ship with packages (digits, photographs), and the archives of MNIST, Fashion-MNIST, CIFAR-10.

Images come as uint8 `(N, C, H, W)`; `images.to_unit` maps them to [-1, 1]. The archives are `<data dir>/<name>.npz`; where one is
missing it is downloaded from its official source (`course_lib.data.download`).
"""

import os
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor

from course_lib.data.download import SOURCES, download
from course_lib.data.images import to_unit
from course_lib.draws import integers
from course_lib.types import check_name

SHAPES = {"mnist": (28, 28), "fashion_mnist": (28, 28), "cifar10": (32, 32, 3)}
CLASSES = 10  # of each of them


def data_dir() -> Path:
    """Where archives are kept: $COURSE_DATA_DIR, or the user's cache."""
    return Path(os.environ.get("COURSE_DATA_DIR") or platformdirs.user_cache_path("learning-to-denoise") / "data")


def load(name: str, split: str = "train") -> tuple[Tensor, Tensor]:
    """Images `(N, C, H, W)` uint8 and labels `(N,)` int64 of "mnist", "fashion_mnist" or "cifar10"; split "train" or "test".

    Raises ValueError for an unknown name or split, a damaged archive, a folder that cannot be written, or no network.
    """
    check_name("name", name, SHAPES)
    check_name("split", split, ("train", "test"))
    archive = data_dir() / f"{name}.npz"
    if not archive.exists():
        download(name, archive)
    images, labels = read_archive(archive, name, split)
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64))


def read_archive(archive: Path, name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of one split, checked: the zip's own checksums, the shape, the dtype, one label an image, each of a class.

    Raises ValueError where they are damaged or others.
    """
    try:
        with open(archive, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    except (OSError, KeyError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{archive} is damaged ({error}): delete it, and it is fetched again from {SOURCES[name].page}"
        ) from error
    if images.dtype != np.uint8 or images.shape[1:] != SHAPES[name] or labels.shape != (len(images),):
        raise ValueError(
            f"{archive} does not hold {name}: expected uint8 images (N, {', '.join(map(str, SHAPES[name]))}) and labels (N,); "
            f"got {images.dtype} {images.shape} and {labels.shape}; delete it, and it is fetched again"
        )
    if not len(labels) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= CLASSES:
        raise ValueError(
            f"{archive} does not hold {name}: labels must be whole numbers from 0 to {CLASSES - 1}; got "
            f"{labels.dtype} {np.unique(labels)[: CLASSES + 1]}; delete it, and it is fetched again"
        )
    return images, labels


def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 handwritten digits: images `(1797, 1, 8, 8)` float32 in [-1, 1] (17 grey levels), labels `(1797,)`."""
    # Read from the package's folder: importing the package takes a second and more, which every page would wait.
    package = find_spec("sklearn")
    assert package is not None and package.submodule_search_locations  # the library depends on it
    file = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    table = torch.from_numpy(np.loadtxt(file, delimiter=","))
    pixels, labels = table[:, :64], table[:, 64]  # (1797, 64) in [0, 16], and (1797,)
    return pixels.float().reshape(-1, 1, 8, 8) / 8 - 1, labels.long()


def split_digits() -> tuple[Tensor, Tensor]:
    """1,500 of the digits to train on, and the other 297, drawn at random once and for all: `(N, 1, 8, 8)` float32 in [-1, 1]."""
    (train, _), (test, _) = split_labelled_digits()
    return train, test


def split_labelled_digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """What `split_digits` has, each with its labels `(N,)`."""
    images, labels = digits()
    train, test = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).split((1500, 297))
    return (images[train], labels[train]), (images[test], labels[test])


def stacked_digits(
    n: int, images: Tensor, labels: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """n pictures of three digits each, drawn at random from images `(N, 1, 8, 8)`, one in each channel: `(n, 3, 8, 8)`.

    With them the number `(n,)` that the three labels `(N,)` make, in 0..999: each picture is of one of a thousand kinds (after the
    stacked MNIST of Metz et al., 2017).
    """
    rows = integers(0, len(images), (n, 3), generator)
    numbers = (labels[rows] * torch.tensor([100, 10, 1])).sum(1)
    return images[rows, 0], numbers


def photographs(size: int = 256) -> Tensor:
    """scikit-learn's two sample photographs (a temple, a flower), the central square at size x size: `(2, 3, size, size)` in [-1, 1]."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    squares = []
    for photo in load_sample_images().images:
        height, width, _ = photo.shape
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = Image.fromarray(photo[top : top + side, left : left + side]).resize(
            (size, size), Image.Resampling.LANCZOS
        )
        squares.append(torch.from_numpy(np.array(square)).permute(2, 0, 1))
    return to_unit(torch.stack(squares))
