"""Pictures that lost something: a hole, their border, their colours, or what JPEG throws away; and where it is missing."""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from course_lib.data.images import to_bytes, to_unit
from course_lib.diffusion.measurements import grey
from course_lib.draws import integers, normal_like, uniform


class Degraded(NamedTuple):
    """What is left of pictures, in [-1, 1], and where the rest is wanted: 1 for a pixel that is unknown, 0 for one that stays."""

    shown: Tensor  # (B, C, H, W)
    unknown: Tensor  # (B, 1, H, W)

    @property
    def condition(self) -> Tensor:
        """Both as one picture `(B, C + 1, H, W)`, as a network is told of them."""
        return torch.cat([self.shown, self.unknown], 1)

    def completed(self, x: Tensor) -> Tensor:
        """Pictures x `(B, C, H, W)` where something was unknown, and elsewhere what is shown."""
        return torch.where(self.unknown > 0, x, self.shown)


def hidden(x: Tensor, unknown: Tensor, generator: torch.Generator | None = None) -> Degraded:
    """Pictures x `(B, C, H, W)` with noise where the mask `(B, 1, H, W)` is 1 (Saharia et al., 2022)."""
    return Degraded(torch.where(unknown > 0, normal_like(x, generator), x), unknown)


def box(x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """A mask `(B, 1, H, W)` that is 1 in a box of each picture x `(B, C, H, W)`; corners and sides are `(B,)`."""
    rows, columns = (torch.arange(n, device=x.device) for n in x.shape[2:])
    down = (rows >= top[:, None]) & (rows < (top + height)[:, None])  # (B, H)
    across = (columns >= left[:, None]) & (columns < (left + width)[:, None])
    return (down[:, None, :, None] & across[:, None, None, :]).to(x.dtype)


def holed(x: Tensor, generator: torch.Generator | None = None) -> Degraded:
    """A box of a quarter to five eighths of each side is missing somewhere in each picture `(B, C, H, W)`."""
    corners, sides = [], []
    for n in x.shape[2:]:
        side = integers(n // 4, 5 * n // 8 + 1, (len(x),), generator, x.device)
        corners.append((uniform((len(x),), generator, device=x.device) * (n - side + 1)).long())
        sides.append(side)
    return hidden(x, box(x, *corners, *sides), generator)


def cropped(x: Tensor, generator: torch.Generator | None = None) -> Degraded:
    """A frame of an eighth of each side is missing around each picture `(B, C, H, W)`."""
    mask = torch.ones_like(x[:, :1])
    H, W = x.shape[2:]
    mask[..., H // 8 : H - H // 8, W // 8 : W - W // 8] = 0
    return hidden(x, mask, generator)


def greyed(x: Tensor, generator: torch.Generator | None = None) -> Degraded:
    """The grey values of each colour picture `(B, 3, H, W)`, three times; all of it is unknown."""
    return Degraded(grey().apply(x).expand_as(x), torch.ones_like(x[:, :1]))


def compressed(x: Tensor, generator: torch.Generator | None = None, quality: int = 5) -> Degraded:
    """Each picture `(B, C, H, W)` after JPEG by Pillow, which works on the CPU; all of it is unknown. `quality` is Pillow's, 1 to 95."""
    pictures = to_bytes(x).permute(0, 2, 3, 1).cpu().numpy()
    found = np.stack([through_jpeg(picture, quality) for picture in pictures]).reshape(pictures.shape)
    shown = to_unit(torch.from_numpy(found).permute(0, 3, 1, 2)).to(x)
    return Degraded(shown, torch.ones_like(x[:, :1]))


def through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """A picture `(H, W, 3)` or `(H, W, 1)` uint8 that was written as JPEG and read again."""
    file = io.BytesIO()
    Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


DEGRADATIONS: dict[str, Callable[..., Degraded]] = {
    "inpaint": holed,
    "uncrop": cropped,
    "colour": greyed,
    "jpeg": compressed,
}


def degraded(x: Tensor, generator: torch.Generator | None = None) -> Degraded:
    """A quarter of the pictures x `(B, C, H, W)` after each of the DEGRADATIONS; where B is no multiple, the last get the rest."""
    parts = x.tensor_split(len(DEGRADATIONS))
    found = [degrade(part, generator) for degrade, part in zip(DEGRADATIONS.values(), parts, strict=True) if len(part)]
    return Degraded(torch.cat([one.shown for one in found]), torch.cat([one.unknown for one in found]))
