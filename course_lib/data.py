"""Data: sets that ship with packages (digits, photographs), generated 2-D sets, and the archives of MNIST, Fashion-MNIST, CIFAR-10.

Images come as uint8 `(N, C, H, W)`; `to_unit` maps them to [-1, 1]. The archives are `<data dir>/<name>.npz`; where one is
missing it is downloaded from its official source (`course_lib.download`).
"""

import difflib
import math
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor

from course_lib.download import SOURCES, download

SHAPES = {"mnist": (28, 28), "fashion_mnist": (28, 28), "cifar10": (32, 32, 3)}


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
    """The arrays of one split, checked: the zip's own checksums, the shape, the dtype, one label an image."""
    try:
        with open(archive, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{archive} is damaged ({error}): delete it, and it is fetched again from {SOURCES[name].page}"
        ) from error
    if images.dtype != np.uint8 or images.shape[1:] != SHAPES[name] or labels.shape != (len(images),):
        raise ValueError(
            f"{archive} does not hold {name}: expected uint8 images (N, {', '.join(map(str, SHAPES[name]))}) and labels (N,); "
            f"got {images.dtype} {images.shape} and {labels.shape}; delete it, and it is fetched again"
        )
    return images, labels


def check_name(argument: str, name: str, known: Iterable[str]) -> None:
    """Raise a ValueError that lists the known names and the nearest match unless `name` is one of them."""
    names = sorted(known)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, names))}; got {name!r}{hint}")


def to_unit(images: Tensor) -> Tensor:
    """uint8 images, or float ones in [0, 255], to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] to uint8; values outside are clipped."""
    return ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def shifted(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Each image `(N, C, H, W)` moved by up to `pixels` in height and width, at random; what comes in repeats the border."""
    padded = torch.nn.functional.pad(images, (pixels,) * 4, mode="replicate")
    N, C, H, W = images.shape
    top, left = (
        torch.randint(0, 2 * pixels + 1, (N, 1, 1, 1), generator=generator, device=images.device) for _ in "hw"
    )
    rows, columns = torch.arange(H, device=images.device)[:, None], torch.arange(W, device=images.device)
    samples, channels = torch.arange(N)[:, None, None, None], torch.arange(C)[:, None, None]
    return padded[samples.to(images.device), channels.to(images.device), rows + top, columns + left]


def flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image `(N, C, H, W)` mirrored left to right with probability one half."""
    mirror = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(mirror, images.flip(-1), images)


def dequantised(images: Tensor, generator: torch.Generator, levels: int = 256) -> Tensor:
    """uint8 images of so many grey levels as floats, each value spread evenly over its level's bin, for a density (Theis et al., 2016)."""
    noise = torch.rand(images.shape, generator=generator, device=images.device) - 0.5
    return images.float() + noise * (255 / (levels - 1))


def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 handwritten digits: images `(1797, 1, 8, 8)` float32 in [-1, 1] (17 grey levels), labels `(1797,)`."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)  # (1797, 64) in [0, 16]
    return torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 8 - 1, torch.from_numpy(labels).long()


def split_digits() -> tuple[Tensor, Tensor]:
    """1,500 of the digits to train on, and the other 297, drawn at random once and for all: `(N, 1, 8, 8)` float32 in [-1, 1]."""
    images, _ = digits()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order[:1500]], images[order[1500:]]


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


def moons(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Two interleaved half circles, `(n, 2)`, about within [-2, 2]."""
    angle = math.pi * torch.rand(n, generator=generator)
    upper = torch.rand(n, generator=generator) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos()) - 0.5
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin()) - 0.25
    return 1.2 * (torch.stack([x, y], 1) + 0.05 * torch.randn(n, 2, generator=generator))


def swiss_roll(n: int, generator: torch.Generator | None = None) -> Tensor:
    """A spiral of one and a half turns, `(n, 2)`, about within [-2, 2]."""
    angle = 1.5 * math.pi * (1 + 2 * torch.rand(n, generator=generator))
    spiral = torch.stack([angle * angle.cos(), angle * angle.sin()], 1)
    return (spiral + 0.3 * torch.randn(n, 2, generator=generator)) / 7


def checkerboard(n: int, generator: torch.Generator | None = None) -> Tensor:
    """The black squares of a 4 x 4 board, `(n, 2)`, within [-2, 2]."""
    x = 4 * torch.rand(n, generator=generator) - 2
    row = 2 * torch.randint(0, 2, (n,), generator=generator) - 2 + x.floor().remainder(2)
    return torch.stack([x, row + torch.rand(n, generator=generator)], 1)


def eight_gaussians(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Eight small Gaussians on a circle of radius 1.6, `(n, 2)`."""
    angle = math.pi / 4 * torch.randint(0, 8, (n,), generator=generator)
    return 1.6 * torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(n, 2, generator=generator)


def spirals(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Two arms of a spiral, `(n, 2)`, about within [-2, 2]."""
    angle = 3 * math.pi * torch.rand(n, generator=generator).sqrt()
    sign = 2.0 * torch.randint(0, 2, (n,), generator=generator) - 1
    arm = torch.stack([-angle.cos(), angle.sin()], 1) * (angle * sign / 5)[:, None]
    return arm + 0.05 * torch.randn(n, 2, generator=generator)


TOY_SETS: dict[str, Callable[..., Tensor]] = {
    f.__name__: f for f in (moons, swiss_roll, checkerboard, eight_gaussians, spirals)
}
