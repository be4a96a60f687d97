"""Images between bytes and [-1, 1], and the augmentations that training uses."""

import torch
from torch import Tensor

from course_lib.draws import integers, uniform


def to_unit(images: Tensor) -> Tensor:
    """uint8 images `(N, C, H, W)`, or float ones in [0, 255], to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Images `(N, C, H, W)` in [-1, 1] to uint8; values outside are clipped."""
    return ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def shifted(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Each image `(N, C, H, W)` moved by up to `pixels` in height and width, at random; what comes in repeats the border."""
    padded = torch.nn.functional.pad(images, (pixels,) * 4, mode="replicate")
    N, C, H, W = images.shape
    top, left = (integers(0, 2 * pixels + 1, (N, 1, 1, 1), generator, images.device) for _ in "hw")
    rows, columns = torch.arange(H, device=images.device)[:, None], torch.arange(W, device=images.device)
    samples, channels = torch.arange(N)[:, None, None, None], torch.arange(C)[:, None, None]
    return padded[samples.to(images.device), channels.to(images.device), rows + top, columns + left]


def flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image `(N, C, H, W)` mirrored left to right with probability one half."""
    mirror = uniform((len(images), 1, 1, 1), generator, device=images.device) < 0.5
    return torch.where(mirror, images.flip(-1), images)


def dequantised(images: Tensor, generator: torch.Generator, levels: int = 256) -> Tensor:
    """uint8 images `(N, C, H, W)` of so many grey levels as floats, each value spread evenly over its level's bin (Theis et al., 2016).

    A density can be fitted to them.
    """
    noise = uniform(tuple(images.shape), generator, device=images.device) - 0.5
    return images.float() + noise * (255 / (levels - 1))
