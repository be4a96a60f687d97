"""Short films of a handwritten digit that moves and bounces, and how coherent a film is."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.draws import integers

FRAMES, SIZE, DIGIT = 6, 12, 8  # frames a film, pixels a side of a frame and of a digit


def bouncing(images: Tensor, n: int, frames: int = FRAMES, generator: torch.Generator | None = None) -> Tensor:
    """n films `(n, frames, SIZE, SIZE)` in [-1, 1] of digits drawn at random from `images` `(N, 1, 8, 8)` in [-1, 1].

    A digit begins anywhere, moves one pixel a frame along each axis, and turns round at the walls.
    """
    start = integers(0, 2 * (SIZE - DIGIT), (n, 2), generator)
    return filmed(images[integers(0, len(images), (n,), generator), 0], start, frames)


def every_film(images: Tensor, frames: int = FRAMES) -> Tensor:
    """All the films that digits `(N, 1, 8, 8)` can make, equally likely, `(64 N, frames, SIZE, SIZE)`."""
    places = torch.arange(2 * (SIZE - DIGIT))
    start = torch.cartesian_prod(places, places)
    return filmed(images[:, 0].repeat_interleave(len(start), 0), start.repeat(len(images), 1), frames)


def filmed(chosen: Tensor, start: Tensor, frames: int) -> Tensor:
    """The films of digits `(n, 8, 8)` that begin at these places `(n, 2)` of their way to and fro along each axis."""
    room, n = SIZE - DIGIT, len(chosen)
    # On a circle of 2 room places, each wall is met once, and a step is a step.
    around = (start[:, None] + torch.arange(frames)[:, None]).remainder(2 * room)  # (n, frames, 2)
    corners = torch.where(around <= room, around, 2 * room - around)
    films = torch.full((n, frames, SIZE, SIZE), -1.0)
    rows, columns = (corners[..., axis, None] + torch.arange(DIGIT) for axis in (0, 1))  # (n, frames, DIGIT)
    film, frame = torch.arange(n)[:, None, None, None], torch.arange(frames)[:, None, None]
    films[film, frame, rows[..., :, None], columns[..., None, :]] = chosen[:, None]
    return films


class Moves(NamedTuple):
    """How each frame of a film follows from the one before, `(n, frames - 1)` or with the two axes `(n, frames - 1, 2)`."""

    step: Tensor  # the shift in -2..2 along each axis after which the frame before agrees best
    residual: Tensor  # the root mean square difference that is left, relative to the ink of the frame

    @property
    def allowed(self) -> Tensor:
        """Which moves `(n, frames - 1)` are one pixel along each axis."""
        return (self.step.abs() == 1).all(-1)


def moves(films: Tensor, reach: int = 2) -> Moves:
    """The best shift of each frame of `(n, frames, H, W)` in [-1, 1] to the next, and what is left of the difference after it."""
    ink = (films + 1) / 2
    size = films.shape[-1]
    padded = F.pad(ink[:, :-1], (reach, reach, reach, reach))
    shifts = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    moved = torch.stack([
        padded[..., reach - dy : reach - dy + size, reach - dx : reach - dx + size] for dy, dx in shifts
    ])  # fmt: skip
    left = (moved - ink[:, 1:]).square().sum((-2, -1))  # (shifts, n, frames - 1)
    least, best = left.min(0)
    whole = ink[:, 1:].square().sum((-2, -1)).clamp(min=1e-6)
    return Moves(torch.tensor(shifts).to(best.device)[best], (least / whole).sqrt())


def read(films: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """The digit in each frame of films `(n, frames, SIZE, SIZE)`, `(n, frames)`: the label of the nearest image at its best place.

    `images` `(N, 1, 8, 8)` and `labels` `(N,)` are digits that are known; each is tried at every place of a frame.
    """
    room, known = SIZE - DIGIT + 1, ((images[:, 0] + 1) / 2).flatten(1)
    ink = ((films + 1) / 2).flatten(0, 1)
    windows = ink.unfold(1, DIGIT, 1).unfold(2, DIGIT, 1).reshape(len(ink), room**2, -1)  # (frames, places, 64)
    outside = ink.square().sum((1, 2))[:, None] - windows.square().sum(2)
    away = torch.cdist(windows, known.expand(len(ink), -1, -1)).square() + outside[..., None]  # (frames, places, N)
    return labels.to(films.device)[away.amin(1).argmin(1)].view(films.shape[:2])
