"""The command `course export`: a model as a folder for other software."""

from pathlib import Path
from typing import Annotated

import typer

from course.models import Model
from course.tables import say


def export(
    model: Model,
    to: Annotated[str, typer.Option(help="diffusers, or onnx with a sampler in numpy")],
    out: Annotated[Path, typer.Option(help="the folder to make; it must be new, or empty")],
) -> None:
    """Write a model that draws pictures as a folder for other software, which draws there what `course sample` draws here.

    The folder holds all that is needed, the network's code included, and a README that says how to draw from it. For diffusers, a run of
    scenes-pipeline becomes a StableDiffusionPipeline, which needs no code of ours and which `course finetune` can teach.
    """
    from course_lib.interop.export import export as write

    card = write(model, to, out)
    say(f"{card.name} for {to} -> {out}")
