"""The command `course finetune`: a shipped model learns something new from a reader's own pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from course.models import LARGEST, Model, told_of_memory
from course.restoring import check_model, read_picture
from course.tables import say, say_error

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

KINDS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
FEWEST, MOST = 4, 1000  # pictures


class Lesson(NamedTuple):
    """What is to be learned: pictures `(n, C, H, W)` uint8, the class of each `(n,)`, and the words that name new classes."""

    pictures: "Tensor"
    labels: "Tensor"
    words: list[str]


def finetune(
    model: Model,
    pictures: Annotated[
        Path, typer.Option(help="the folder of your pictures, 16 to 64 of them, bright on black for digits")
    ],
    captions: Annotated[
        Path,
        typer.Option(help="a text file: in each line a picture's name, a tab or a comma, and its class or a new word"),
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
    keep: Annotated[
        int, typer.Option(min=0, max=100, help="so many samples of its own of each old class the model is reminded of")
    ] = 4,
    invert: Annotated[
        bool, typer.Option("--invert", help="turn dark strokes on white into bright ones on black")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="seed of adapters, batches and noise")] = 0,
) -> None:
    """Teach a model of classes, such as mnist-cfg or fashion-cfg, from a few pictures of your own; `course sample --lora` draws with it.

    Pictures are cut to a square in the middle, made grey where the model is, and brought to its size. A caption that is a whole number is
    one of the model's classes; any other word becomes a new class.
    """
    import torch
    from rich.progress import track

    from course_lib import hardware
    from course_lib.files import check_destination
    from course_lib.models.store import load_denoising
    from course_lib.models.tuned import save_tuned
    from course_lib.nets.conditions import Labels
    from course_lib.recipes.finetuning import finetune as states_of
    from course_lib.recipes.finetuning import own_samples, prepared

    drawing, card = load_denoising(model, hardware.device())
    if not isinstance(drawing.takes, Labels) or drawing.autoencoder is not None or drawing.learns_variance:
        raise ValueError(
            f"{model} is no model of pictures with classes alone, as is fine-tuned here: choose mnist-cfg, fashion-cfg or cifar10-cfg"
        )
    lesson = read_lesson(pictures, captions, check_model(model, drawing.shape), drawing.takes.classes, invert)
    if rank == 0 and not lesson.words:
        raise ValueError("rank 0 teaches new words alone, and the captions have none: choose a rank of at least 1")
    check_destination(out)
    try:
        with told_of_memory("a smaller --batch-size"):
            kept = own_samples(drawing, keep, seed=seed) if keep else None
            torch.manual_seed(seed)
            prepared(drawing.network, len(lesson.words), rank)
            state = None
            new = lesson.pictures, lesson.labels
            for state in track(  # noqa: B007 (the last is what is kept)
                states_of(drawing, new, steps, batch_size, kept=kept, seed=seed),
                "learning",
                total=steps,
                transient=True,
            ):
                pass
    except KeyboardInterrupt:
        say_error(f"stopped: nothing was written to {out}")
        raise typer.Exit(130) from None
    assert state is not None
    save_tuned(out, state.ema.module, lesson.words, card.sha256)
    words = f", new words: {', '.join(lesson.words)}" if lesson.words else ""
    say(f"{len(lesson.pictures)} pictures taught to {model}, rank {rank}, {steps} steps{words} -> {out}")


def read_lesson(folder: Path, captions: Path, shape: Sequence[int], classes: int, invert: bool) -> Lesson:
    """The pictures that the captions name, ready for a model of a shape; raises ValueError where captions and pictures do not match."""
    import torch

    said = read_captions(captions)
    check_matched(folder, said, captions)
    labels, words = meaning(said, classes)
    pixels = [fitted(read_picture(folder / name), shape, invert) for name in said]
    return Lesson(torch.stack(pixels), torch.tensor(labels), words)


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


def meaning(said: Mapping[str, str], classes: int) -> tuple[list[int], list[str]]:
    """What captions mean to a model of classes: the class of each, and the words that name the classes after the last old one, in order.

    A whole number is a class, anything else a word. Raises ValueError for a class that the model does not have.
    """
    words: list[str] = []
    labels = []
    for name, caption in said.items():
        if caption.lstrip("-").isdecimal():
            label = int(caption)
            if not 0 <= label < classes:
                raise ValueError(
                    f"the caption of {name} must be a class from 0 to {classes - 1}, or a word; got {caption}"
                )
            labels.append(label)
        else:
            if caption not in words:
                words.append(caption)
            labels.append(classes + words.index(caption))
    return labels, words


def fitted(image: "Image", shape: Sequence[int], invert: bool) -> "Tensor":
    """A picture as the model takes it, `(C, H, W)` uint8: a square from the middle, grey where C is 1, of the model's size."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    channels, height, width = shape
    image = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (width, height), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(ImageOps.invert(image) if invert else image))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1)
