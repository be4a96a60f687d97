"""The command `course restore`: a reader's own picture, filled in, extended, coloured or mended by a model that ships."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from course.models import LARGEST, told_of_memory
from course.tables import say

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

    from course_lib.data.degradations import Degraded
    from course_lib.sampling.generate import Denoising

TASKS = ("inpaint", "uncrop", "colour", "jpeg")
MODELS = {"RGB": "cifar10-cfg", "L": "mnist-ddpm"}  # for a picture's mode
TRAINED = "cifar10-palette"  # for all of the TASKS
BLACK_AND_WHITE = {0, 255}


def restore(
    picture: Annotated[Path, typer.Argument(help="the picture, in RGB or grey (a PNG is best)")],
    task: Annotated[str, typer.Option(help="inpaint, uncrop, colour or jpeg")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="the PNG to write; its folder is made where it is missing")],
    mask: Annotated[
        Path | None,
        typer.Option(help="for inpaint: a picture of the same size, white where something is to be filled in"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="a run's folder, a .safetensors file, or a shipped model's name "
            "(default: cifar10-palette for jpeg, cifar10-cfg for other pictures in colour, mnist-ddpm for pictures in grey)"
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="pigdm (the default), dps, repaint or replacement; none for a model that was trained to restore"
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="sampler steps")] = 100,
    n: Annotated[int, typer.Option(min=1, max=100, help="how many answers; several are written as one sheet")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="seed of all noise")] = 0,
) -> None:
    """Restore a picture of your own: fill in what a mask marks, extend a smaller one, colour a grey one, mend what JPEG has lost.

    A model knows pictures of its own data set alone: 28 x 28 for digits, 32 x 32 in colour. Most were trained for none of this, and
    keep to what is known by a method. cifar10-palette was trained for it, with JPEG at quality 5, holes that are boxes, and frames of an
    eighth of the picture at each side. Of colours there are many that fit, so ask for several answers with --n.
    """
    import torch

    from course_lib import hardware
    from course_lib.diffusion.measurements import grey, known
    from course_lib.files import check_destination, write_atomically
    from course_lib.models.store import load_denoising
    from course_lib.pages.plotting import grid_png
    from course_lib.sampling.restoring import mended, restored

    check_task(task, mask, method)
    image = read_picture(picture)
    name = model or (TRAINED if task == "jpeg" else MODELS["RGB" if task == "colour" else image.mode])
    drawing, _ = load_denoising(name, hardware.device())
    trained = is_trained(drawing)
    check_way(task, method, image, name, drawing.shape, trained)
    seen, pixels = what_is_known(task, image, mask, name, drawing.shape)
    check_destination(out)
    measurement, method = grey() if seen is None else known(seen), method or "pigdm"
    with told_of_memory("a smaller --n"):
        y, generator = pixels.repeat(n, 1, 1, 1), torch.Generator().manual_seed(seed)
        if trained:
            found = mended(drawing, left_of(y, seen, drawing.shape[0], generator), steps, generator=generator).cpu()
        else:
            found = restored(drawing, measurement, y, method, steps, generator).cpu()
        if task != "jpeg":
            found = measurement.replaced(found, y).clamp(-1, 1)  # what is known is kept as it is
        write_atomically(out, grid_png(found) if n > 1 else as_png(found[0]))
    way = "" if trained else f" by {method}"
    say(f"{n} answer{'s' if n > 1 else ''} to {picture} ({task}) from {name}{way}, {steps} steps -> {out}")


def check_task(task: str, mask: Path | None, method: str | None) -> None:
    """Raise a ValueError for an unknown task or method, for a mask where none belongs, and for none where one does."""
    from course_lib.sampling.restoring import METHODS
    from course_lib.types import check_name

    check_name("task", task, TASKS)
    if method is not None:
        check_name("method", method, METHODS)
    if task == "inpaint" and mask is None:
        raise ValueError(
            "task inpaint needs --mask: a picture of the same size, white where something is to be filled in"
        )
    if task != "inpaint" and mask is not None:
        raise ValueError(f"a mask goes with --task inpaint alone; got {mask} for {task}")


def is_trained(drawing: "Denoising") -> bool:
    """Whether a model was trained to restore: whether it is told a picture of its own size, and a mask."""
    from course_lib.nets.conditions import Vectors

    channels, *size = drawing.shape
    takes = drawing.takes
    return isinstance(takes, Vectors) and takes.shape == (channels + 1, *size)


def check_way(task: str, method: str | None, image: "Image", name: str, shape: tuple[int, ...], trained: bool) -> None:
    """Raise a ValueError where a model that was trained to restore, or was not, cannot do the task, or not in this way."""
    if not trained:
        if task == "jpeg":
            raise ValueError(
                f"task jpeg needs a model that was trained for it, such as {TRAINED}; {name} was not, and the methods that need no "
                "training ask for a linear measurement, which JPEG is not: leave out --model"
            )
        return
    if method is not None:
        raise ValueError(f"{name} was trained to restore, so there is no method to choose: leave out --method {method}")
    channels, height, width = shape
    wanted = width - 2 * (width // 8), height - 2 * (height // 8)
    if task == "uncrop" and image.size != wanted:
        raise ValueError(
            f"{name} was trained to extend a picture by an eighth of its own size to each side: the picture must be "
            f"{wanted[0]} x {wanted[1]}; got {image.width} x {image.height}"
        )
    if task == "jpeg" and channels == 3 and image.mode != "RGB":
        raise ValueError(f"{name} mends colour pictures; this one is grey: save it in RGB")


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


def what_is_known(
    task: str, image: "Image", mask: Path | None, name: str, shape: tuple[int, ...]
) -> "tuple[Tensor | None, Tensor]":
    """What is known of the picture that is wanted, as a mask `(1, 1, H, W)`, 1 where pixels are known, and pixels `(1, C, H, W)`.

    There is no mask where all pixels are known in a way: as grey values `(1, 1, H, W)`, or as JPEG left them.
    Raises ValueError where picture, task and model do not fit each other.
    """
    import torch
    import torch.nn.functional as F

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
        return seen, F.pad(pixels, frame) * seen
    if (image.width, image.height) != (width, height):
        raise ValueError(
            f"the picture must be {width} x {height}, the size of {name}'s pictures; got {size}: cut out a square and make it that small"
        )
    if mask is None:
        return None, pixels
    seen = read_mask(mask, image.size)
    return seen, pixels * seen


def left_of(y: "Tensor", seen: "Tensor | None", channels: int, generator: "torch.Generator") -> "Degraded":
    """What is left of pictures, y `(n, C, H, W)`, as a model that was trained to restore them is shown it: with noise in what is missing.

    `seen` `(1, 1, H, W)` is 1 where pixels are known; None where all are known in a way, and all are wanted.
    """
    import torch

    from course_lib.data.degradations import Degraded, hidden

    if seen is None:
        return Degraded(y.expand(-1, channels, -1, -1), torch.ones_like(y[:, :1]))
    return hidden(y, (1 - seen).expand(len(y), -1, -1, -1), generator)


def check_model(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of a model's pictures; raises ValueError where it draws something else."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"{name} draws no pictures in grey or RGB: choose another --model")
    return shape[0], shape[1], shape[2]
