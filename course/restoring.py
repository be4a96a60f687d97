"""The command `course restore`: a reader's own picture, filled in, extended or coloured by a model that ships."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from course.models import LARGEST, told_of_memory
from course.tables import say

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from course_lib.diffusion.measurements import Measurement

TASKS = ("inpaint", "uncrop", "colour")
MODELS = {"RGB": "cifar10-cfg", "L": "mnist-ddpm"}  # for a picture's mode
BLACK_AND_WHITE = {0, 255}


def restore(
    picture: Annotated[Path, typer.Argument(help="the picture, in RGB or grey (a PNG is best)")],
    task: Annotated[str, typer.Option(help="inpaint, uncrop or colour")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="the PNG to write; its folder is made where it is missing")],
    mask: Annotated[
        Path | None,
        typer.Option(help="for inpaint: a picture of the same size, white where something is to be filled in"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="a run's folder, a .safetensors file, or a shipped model's name "
            "(default: cifar10-cfg for colour, mnist-ddpm for pictures in grey)"
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="pigdm, dps, repaint or replacement")] = "pigdm",
    steps: Annotated[int, typer.Option(min=1, help="sampler steps")] = 100,
    n: Annotated[int, typer.Option(min=1, max=100, help="how many answers; several are written as one sheet")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="seed of all noise")] = 0,
) -> None:
    """Restore a picture of your own: fill in what a mask marks, extend a smaller picture to all sides, or colour a grey one.

    The model was trained for none of this, and knows pictures of its own data set alone: 28 x 28 for digits, 32 x 32 in colour. Small
    holes and frames come out better than large holes; of colours there are many that fit, so ask for several answers with --n.
    """
    import torch

    from course_lib import hardware
    from course_lib.files import check_destination, write_atomically
    from course_lib.models.store import load_denoising
    from course_lib.pages.plotting import grid_png
    from course_lib.sampling.restoring import METHODS, restored
    from course_lib.types import check_name

    check_task(task, mask)
    check_name("method", method, METHODS)
    image = read_picture(picture)
    name = model or MODELS["RGB" if task == "colour" else image.mode]
    drawing, _ = load_denoising(name, hardware.device())
    measurement, y = measured(task, image, mask, name, drawing.shape)
    check_destination(out)
    with told_of_memory("a smaller --n"):
        y = y.repeat(n, *[1] * (y.ndim - 1)).to(drawing.device)
        found = restored(drawing, measurement, y, method, steps, torch.Generator().manual_seed(seed))
        found = measurement.replaced(found, y).clamp(-1, 1).cpu()  # what is known is kept as it is
        write_atomically(out, grid_png(found) if n > 1 else as_png(found[0]))
    say(f"{n} answer{'s' if n > 1 else ''} to {picture} ({task}) from {name} by {method}, {steps} steps -> {out}")


def check_task(task: str, mask: Path | None) -> None:
    """Raise a ValueError for a task that no shipped model can do, and for a mask where none belongs, or none where one does."""
    from course_lib.types import check_name

    if task == "jpeg":
        raise ValueError(
            "task jpeg needs a model that was trained for it, and none ships yet: what JPEG loses is no linear measurement; "
            f"tasks are {', '.join(TASKS)}"
        )
    check_name("task", task, TASKS)
    if task == "inpaint" and mask is None:
        raise ValueError(
            "task inpaint needs --mask: a picture of the same size, white where something is to be filled in"
        )
    if task != "inpaint" and mask is not None:
        raise ValueError(f"a mask goes with --task inpaint alone; got {mask} for {task}")


def read_picture(path: Path) -> "Image":
    """A picture in RGB or grey; raises ValueError where the file holds none, or one with another mode, such as transparency."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            file.load()
            image = file.copy()
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} holds no picture that can be read ({error}): save it as a PNG") from error
    if image.mode == "1":
        image = image.convert("L")
    if image.mode == "P" and "transparency" not in image.info:
        image = image.convert("RGB")
    if image.mode not in MODELS:
        raise ValueError(
            f"{path} must be in RGB or in 8-bit grey (L), without transparency; its mode is {image.mode}: save it as such a PNG"
        )
    return image


def to_tensor(image: "Image") -> "Tensor":
    """A picture in [-1, 1], `(1, C, H, W)`."""
    import numpy as np
    import torch

    from course_lib.data.images import to_unit

    pixels = torch.from_numpy(np.array(image))
    return to_unit(pixels[None, None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)[None])


def as_png(picture: "Tensor") -> bytes:
    """A picture `(C, H, W)` in [-1, 1] as a PNG file of its own size."""
    import io

    from PIL import Image

    from course_lib.pages.plotting import as_pictures

    file = io.BytesIO()
    Image.fromarray(as_pictures(picture[None])[0]).save(file, "PNG")
    return file.getvalue()


def read_mask(path: Path, size: tuple[int, int]) -> "Tensor":
    """The mask of what is known, `(1, 1, H, W)`: 0 where the picture is white.

    Raises ValueError where it has another size, colours or greys, or where all is known or nothing is.
    """
    import torch

    image = read_picture(path)
    if image.size != size:
        raise ValueError(
            f"the mask {path} must have the picture's size, {size[0]} x {size[1]}; got {image.size[0]} x {image.size[1]}"
        )
    pixels = to_tensor(image)
    grey = pixels[:, :1]
    values = {int(value) for value in ((grey + 1) * 127.5).round().unique()}
    if not bool((pixels == grey).all()) or not values <= BLACK_AND_WHITE:
        raise ValueError(
            f"the mask {path} must be black (kept) and white (filled in) alone; it has other colours: save it as a PNG without smoothing"
        )
    if len(values) < 2:
        what = (
            "everything is to be filled in: draw with course sample" if 255 in values else "nothing is to be filled in"
        )
        raise ValueError(f"the mask {path} must have black and white; it has one of them alone, so {what}")
    return torch.where(grey > 0, 0.0, 1.0)


def measured(
    task: str, image: "Image", mask: Path | None, name: str, shape: tuple[int, ...]
) -> "tuple[Measurement, Tensor]":
    """What is known of the picture that is wanted, and its values `(1, ...)`.

    Raises ValueError where picture, task and model do not fit each other.
    """
    import torch
    import torch.nn.functional as F

    from course_lib.diffusion.measurements import grey, known

    channels, height, width = check_model(name, shape)
    size = f"{image.width} x {image.height}"
    pixels = to_tensor(image)
    if task == "colour":
        if channels != 3:
            raise ValueError(f"task colour needs a model of colour pictures; {name} draws grey ones")
        if not bool((pixels == pixels[:, :1]).all()):
            raise ValueError("task colour needs a grey picture; this one is in colour")
        pixels = pixels[:, :1]
    elif pixels.shape[1] != channels:
        kinds = {1: "grey", 3: "colour"}
        hint = ": choose --task colour, or another --model" if channels == 3 else ": choose another --model"
        raise ValueError(f"{name} draws {kinds[channels]} pictures; this one is {kinds[pixels.shape[1]]}{hint}")
    if task == "uncrop":
        right, below = width - image.width, height - image.height
        if min(right, below) < 0 or max(right, below) == 0:
            raise ValueError(
                f"task uncrop extends a picture that is smaller than {width} x {height}, the size of {name}'s pictures; got {size}"
            )
        frame = (right // 2, right - right // 2, below // 2, below - below // 2)
        seen = F.pad(torch.ones(1, 1, image.height, image.width), frame)
        return known(seen), F.pad(pixels, frame) * seen
    if (image.width, image.height) != (width, height):
        raise ValueError(
            f"the picture must be {width} x {height}, the size of {name}'s pictures; got {size}: cut out a square and make it that small"
        )
    if mask is None:
        return grey(), pixels
    seen = read_mask(mask, image.size)
    return known(seen), pixels * seen


def check_model(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of a model's pictures; raises ValueError where it draws something else."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"{name} draws no pictures in grey or RGB: choose another --model")
    return shape[0], shape[1], shape[2]
