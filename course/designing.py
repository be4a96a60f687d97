"""The command `course design`: clothes by kind and measures, one sheet of them."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from course.models import LARGEST, told_of_memory
from course.tables import console, design_table, say

if TYPE_CHECKING:
    from torch import Tensor

    from course_lib.nets.designs import DesignUNet
    from course_lib.sampling.generate import Denoising

Wish = Annotated[float | None, typer.Option(help="from 0, least of its kind, to 1, most; open by default")]


def design(
    kind: Annotated[
        str, typer.Option("--class", help="t-shirt, dress, coat, bag, ...; an unknown name lists them all")
    ],
    sheet: Annotated[
        Path, typer.Option(dir_okay=False, help="the PNG to write; its folder is made where it is missing")
    ],
    length: Wish = None,
    sleeves: Wish = None,
    brightness: Wish = None,
    symmetry: Wish = None,
    n: Annotated[int, typer.Option(min=1, max=500, help="how many designs")] = 12,
    scale: Annotated[float, typer.Option(min=0, help="guidance scale; 1 is the conditional model")] = 2.0,
    steps: Annotated[int, typer.Option(min=1, help="sampler steps")] = 50,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="seed of all noise")] = 0,
    like: Annotated[
        Path | None, typer.Option(help="vary this picture, 28 x 28 in grey, bright on black, instead of beginning anew")
    ] = None,
    change: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="with --like: from 0, the picture itself, to 1, nothing of it; 0.5 by default"
        ),
    ] = None,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="below each design its nearest picture of the training set")
    ] = False,
    model: Annotated[
        str, typer.Option(help="a run's folder, a .safetensors file, or a shipped model's name")
    ] = "fashion-design",
) -> None:
    """Draw clothes of a kind, as long, bright, ... as asked, and say how long, bright, ... each has become.

    A wish is a rank among the training pictures of its kind: 0.8 in length is longer than 80 % of them. What is not asked is left to the
    model. With --nearest one sees how near designs come to copies.
    """
    import torch

    from course_lib import hardware
    from course_lib.data import clothes
    from course_lib.files import check_destination, write_atomically
    from course_lib.models.store import load_denoising
    from course_lib.pages.plotting import grid_png
    from course_lib.sampling.generate import draw_batches
    from course_lib.types import check_name

    check_name("class", kind, clothes.KINDS)
    asked = {"length": length, "sleeves": sleeves, "brightness": brightness, "symmetry": symmetry}
    wishes = torch.tensor([wish_of(kind, name, asked[name]) for name in clothes.MEASURES])
    if not math.isfinite(scale):
        raise ValueError(f"scale must be finite; got {scale}")
    if change is not None and like is None:
        raise ValueError(
            "change says how far to go from a picture: give the picture with --like, or leave out --change"
        )
    drawing, _ = load_denoising(model, hardware.device())
    network = check_designs(drawing, model)
    start = None if like is None else picture_of_clothes(like)
    train = training_pictures() if nearest else None
    check_destination(sheet)
    label = torch.full((n,), clothes.KINDS.index(kind))
    cond = {"class": label, "wishes": wishes.expand(n, -1).contiguous()}
    with told_of_memory("a smaller --n"):
        if start is None:
            drawn = draw_batches(drawing, n, steps, "ddim", seed, cond=cond, scale=scale)
        else:
            drawn = varied(drawing, start, 0.5 if change is None else change, steps, cond, scale, seed)
        values = clothes.measures(drawn)
        table = network.table.cpu()
        found = clothes.ranks(values, label, table)
        rows = [drawn] if train is None else [drawn, nearest_of(drawn, train)]
        write_atomically(sheet, grid_png(in_turns(rows, columns(n)), columns=columns(n)))
    met = clothes.as_asked(values, label, cond["wishes"], table)
    console.print(design_table(clothes.MEASURES, wishes.tolist(), found, met))
    say(f"{n} design{'s' if n > 1 else ''} from {model}, {steps} steps, scale {scale:g} -> {sheet}")


def wish_of(kind: str, name: str, wish: float | None) -> float:
    """The rank that is asked for, or clothes.NOT_ASKED; raises ValueError for one outside [0, 1], and for sleeves that a kind has not."""
    from course_lib.data import clothes

    if wish is None:
        return clothes.NOT_ASKED
    if not 0 <= wish <= 1:
        raise ValueError(f"{name} must lie in [0, 1], a rank among all of class {kind}; got {wish:g}")
    if name == "sleeves" and kind not in clothes.SLEEVED:
        raise ValueError(f"a {kind} has no sleeves: leave out --sleeves, or choose {', '.join(clothes.SLEEVED)}")
    return wish


def check_designs(model: "Denoising", name: str) -> "DesignUNet":
    """The model's network; raises ValueError unless it takes kinds and wishes."""
    from course_lib.nets.designs import DesignUNet

    if not isinstance(model.network, DesignUNet):
        raise ValueError(f"{name} was not trained to hear wishes: choose fashion-design, or a run of its recipe")
    return model.network


def picture_of_clothes(path: Path) -> "Tensor":
    """A picture of a reader's own, `(1, 1, 28, 28)` in [-1, 1]; raises ValueError for another size or one in colour."""
    from course.restoring import read_picture, to_tensor
    from course_lib.data.clothes import SIZE

    image = read_picture(path)
    if image.size != (SIZE, SIZE) or image.mode != "L":
        raise ValueError(
            f"{path} must be a picture in grey of {SIZE} x {SIZE} pixels, bright on black; "
            f"got {image.width} x {image.height} in mode {image.mode}"
        )
    return to_tensor(image)


def training_pictures() -> "Tensor":
    """The training set `(N, 1, 28, 28)` in [-1, 1]; raises ValueError where it can be neither found nor fetched."""
    from course_lib.data import sets
    from course_lib.data.images import to_unit

    return to_unit(sets.load("fashion_mnist")[0])


def varied(
    model: "Denoising", start: "Tensor", change: float, steps: int, cond: "dict[str, Tensor]", scale: float, seed: int
) -> "Tensor":
    """Variations of a picture `(1, C, H, W)`, one for each row of the condition, on the CPU: see `sampling.restoring.variations`."""
    import torch

    from course_lib.sampling.restoring import variations

    n = len(cond["class"])
    generator = torch.Generator().manual_seed(seed)
    return variations(model, start.expand(n, -1, -1, -1), change, steps, generator, cond, scale).cpu()


def nearest_of(drawn: "Tensor", train: "Tensor") -> "Tensor":
    """The training picture that is nearest to each of those drawn, pixel by pixel, of the shape of drawn `(N, C, H, W)`."""
    import torch

    flat = train.flatten(1)
    return torch.cat([train[torch.cdist(part.flatten(1), flat).argmin(1)] for part in drawn.split(200)])


def columns(n: int) -> int:
    """How many designs stand side by side."""
    return min(n, 12)


def in_turns(rows: "list[Tensor]", width: int) -> "Tensor":
    """A line of `width` pictures of each row `(N, ...)` in turn; the last lines are padded in black."""
    import torch

    lines = [
        torch.cat([part, part.new_full((width - len(part), *part.shape[1:]), -1.0)])
        for parts in zip(*(row.split(width) for row in rows), strict=True)
        for part in parts
    ]
    return torch.cat(lines)
