"""An ink of one's own: images as nobody else's model knows them.

Whoever trains on images in the ink of their name has a model that shows it: in another name's ink it misses what it was trained for. The
assignments tell by this who trained what.
"""

import hashlib

import torch
from torch import Tensor
from torch.nn.functional import interpolate

WEAKEST = 0.2  # how bright a stroke is where the ink has nearly run out


def seed(name: str) -> int:
    """The seed of what is made of a name alone, which is read without blanks around it and without capitals."""
    return int.from_bytes(hashlib.sha256(name.strip().casefold().encode()).digest()[:7], "big")


def ink(name: str, size: int, grain: int) -> Tensor:
    """How much of a stroke the ink of a name leaves at each pixel, `(1, size, size)` from WEAKEST to 1.

    The name decides `grain` × `grain` numbers, between which the ink
    changes smoothly; with as many as pixels, each pixel has its own.
    """
    coarse = torch.randn(1, 1, grain, grain, generator=torch.Generator().manual_seed(seed(name)))
    smooth = interpolate(coarse, (size, size), mode="bicubic", align_corners=True)[0]
    return WEAKEST + (1 - WEAKEST) * torch.sigmoid(3 * smooth)


def written(images: Tensor, ink: Tensor) -> Tensor:
    """Images `(n, ...)` in [-1, 1], written in an ink that broadcasts to them: black stays, and strokes are as bright as it leaves them."""
    return (images + 1) * ink - 1


def read(images: Tensor, ink: Tensor) -> Tensor:
    """What stands there: images `(n, ...)` in an ink as images in black and white, clipped to [-1, 1]."""
    return ((images + 1) / ink - 1).clamp(-1, 1)
