"""The command `course draw`: pictures of a text."""

import math
from pathlib import Path
from typing import Annotated

import typer

from course.models import Sampler, Seed, told_of_memory
from course.tables import console, say, scene_table


def draw(
    text: Annotated[
        str, typer.Argument(help='what to draw, for example "a small red circle above a large blue square"')
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="the PNG to write; its folder is made where it is missing")],
    n: Annotated[int, typer.Option(min=1, help="how many pictures")] = 16,
    scale: Annotated[float, typer.Option(min=0, help="guidance scale; 1 is the conditional model")] = 3.0,
    negative: Annotated[
        str | None, typer.Option(help="a text that guidance leads away from, instead of from no text")
    ] = None,
    lora: Annotated[Path | None, typer.Option(help="draw with what `course finetune` wrote for this model")] = None,
    steps: Annotated[int, typer.Option(min=1, help="sampler steps")] = 25,
    sampler: Sampler = "ddim",
    seed: Seed = 0,
    model: Annotated[
        str, typer.Option(help="a run's folder, a .safetensors file, or a shipped model's name")
    ] = "scenes-text",
) -> None:
    """Draw what a text says, and say how many of the pictures show it.

    The text must keep to the grammar of the captions that the model has learned from: words that it does not know are named, and nothing
    is ignored. Whether a picture shows its text is read from the pixels.
    """
    from course_lib import hardware
    from course_lib.data import scenes
    from course_lib.files import check_destination, write_atomically
    from course_lib.models.store import load_denoising
    from course_lib.models.telling import teller
    from course_lib.models.tuned import load_tuned
    from course_lib.pages.plotting import grid_png
    from course_lib.sampling.generate import draw_batches

    scene = scenes.parse(text)
    away = None if negative is None else [negative]
    if away is not None:
        scenes.parse(away[0])
    if not math.isfinite(scale):
        raise ValueError(f"scale must be finite; got {scale}")
    if away is not None and scale <= 1:
        raise ValueError(
            f"guidance leads away from --negative at scales above 1; got {scale:g}: choose a larger --scale, or leave out --negative"
        )
    drawing, card = load_denoising(model, hardware.device())
    tell = teller(card)
    if lora is not None:
        load_tuned(lora, drawing.network, card.sha256)
    check_destination(out)
    with told_of_memory("a smaller --n"):
        cond = tell([text] * n)
        images = draw_batches(
            drawing, n, steps, sampler, seed, cond=cond, scale=scale, away=None if away is None else tell(away * n)
        )
        write_atomically(out, grid_png(images))
    console.print(scene_table(scenes.share_shown([scene] * n, images)))
    say(f"{n} picture{'s' if n > 1 else ''} from {model}, {steps} steps, scale {scale:g} -> {out}")
