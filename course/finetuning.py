"""The command `course finetune`: a shipped model learns something new from a reader's own pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from course.models import LARGEST, told_of_memory
from course.restoring import check_model, read_picture
from course.tables import say, say_error

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

KINDS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
FEWEST, MOST = 4, 1000  # pictures


def finetune(
    model: Annotated[
        str,
        typer.Argument(
            help="a run's folder, a .safetensors file, a shipped model's name, or a Stable Diffusion pipeline of diffusers: its folder, or "
            "OWNER/NAME on the hub"
        ),
    ],
    pictures: Annotated[
        Path, typer.Option(help="the folder of your pictures, 16 to 64 of them, bright on black for digits")
    ],
    captions: Annotated[
        Path,
        typer.Option(help="a text file: in each line a picture's name, a tab or a comma, and what it shows"),
    ],
    out: Annotated[
        Path,
        typer.Option(
            dir_okay=False, help="the LoRA to write, a .safetensors file; its folder is made where it is missing"
        ),
    ],
    rank: Annotated[
        int, typer.Option(min=0, max=256, help="of the adapters; 0 learns the new words' vectors alone")
    ] = 4,
    steps: Annotated[int, typer.Option(min=1, help="optimiser steps")] = 250,
    batch_size: Annotated[int, typer.Option(min=1, help="pictures a step")] = 16,
    rate: Annotated[
        float | None, typer.Option(help="the learning rate (the usual one for what learns, by default)")
    ] = None,
    remind: Annotated[
        list[str] | None,
        typer.Option(help="a text that a model of texts is reminded of, by samples of its own; may be given again"),
    ] = None,
    keep: Annotated[
        int,
        typer.Option(min=0, max=100, help="so many samples of its own of each old class, or of each --remind"),
    ] = 4,
    invert: Annotated[
        bool, typer.Option("--invert", help="turn dark strokes on white into bright ones on black")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="seed of adapters, batches and noise")] = 0,
) -> None:
    """Teach a model something new from a few pictures of your own.

    Pictures are cut to a square in the middle, made grey where the model is, and brought to its size. For a model of classes, such as
    mnist-cfg, a caption that is a whole number is one of its classes, and any other word becomes a new class. For scenes-text a caption
    is a text of its grammar, and for a pipeline of diffusers any text. `course sample` and `course draw` draw with --lora.
    """
    import torch
    from rich.progress import track

    from course_lib.files import check_destination
    from course_lib.recipes.pupils import pupil_of

    pupil = pupil_of(model, rank)
    said = read_captions(captions)
    check_matched(pictures, said, captions)
    conditions, shape = pupil.conditions(said), check_model(model, pupil.shape)
    if rank == 0 and not pupil.words:
        raise ValueError("rank 0 teaches new words alone, and the captions have none: choose a rank of at least 1")
    lesson = torch.stack([fitted(read_picture(pictures / name), shape, invert) for name in said])
    check_destination(out)
    try:
        with told_of_memory("a smaller --batch-size"):
            kept = pupil.kept(remind or [], keep, seed)
            states = pupil.learn((lesson, conditions), kept, rank, steps, batch_size, rate, seed)
            *_, state = track(states, "learning", total=steps, transient=True)
    except KeyboardInterrupt:
        say_error(f"stopped: nothing was written to {out}")
        raise typer.Exit(130) from None
    pupil.save(out, state)
    words = f", new words: {', '.join(pupil.words)}" if pupil.words else ""
    say(f"{len(lesson)} pictures taught to {model}, rank {rank}, {steps} steps{words} -> {out}")
    if kept is None:
        say("it was reminded of nothing, and may forget: see --keep and --remind")


def read_captions(path: Path) -> dict[str, str]:
    """What each line of a captions file says of which picture; raises ValueError for a line that says nothing of a picture, or again."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason}): save the captions as plain text") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, caption = (part.strip() for part in line.partition("\t" if "\t" in line else ","))
        if not name or not caption:
            raise ValueError(
                f"line {number} of {path} must be a picture's name, a tab or a comma, and a class or word; got {line!a:.80}"
            )
        if name in found:
            raise ValueError(f"line {number} of {path} names {name} again: give each picture one line")
        found[name] = caption
    return found


def check_matched(folder: Path, said: Mapping[str, str], captions: Path) -> None:
    """Raise a ValueError unless there is a picture in the folder for each caption, a caption for each picture, and enough of both."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give the one that your pictures lie in")
    there = {file.name for file in folder.iterdir() if file.suffix.lower() in KINDS}
    if missing := [name for name in said if not (folder / name).is_file()]:
        raise ValueError(
            f"{captions} names {missing[0]}, which is not in {folder} ({len(missing)} such): correct the name, or delete the line"
        )
    if silent := sorted(there - said.keys()):
        raise ValueError(
            f"{captions} says nothing of {silent[0]} in {folder} ({len(silent)} such): add a line, or move the picture away"
        )
    if not FEWEST <= len(said) <= MOST:
        raise ValueError(
            f"{captions} must describe {FEWEST} to {MOST} pictures, 16 to 64 at best; it describes {len(said)}"
        )


def fitted(image: "Image", shape: Sequence[int], invert: bool) -> "Tensor":
    """A picture as the model takes it, `(C, H, W)` uint8: a square from the middle, grey where C is 1, of the model's size."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    channels, height, width = shape
    image = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (width, height), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(ImageOps.invert(image) if invert else image))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1)
