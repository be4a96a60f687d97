"""The commands for models: train, sample, evaluate, ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from course.tables import console, metric_table, say, say_error

if TYPE_CHECKING:
    from course_lib.nets.conditions import Takes

Model = Annotated[str, typer.Argument(help="a run's folder, a .safetensors file, or a shipped model's name")]
Steps = Annotated[int, typer.Option(min=1, help="sampler steps")]
Sampler = Annotated[
    str,
    typer.Option(
        help="ddim, heun or dpm-solver (deterministic), ddpm (ancestral), or analytic-ddim and analytic-ddpm, for a model whose "
        "score was measured, such as mnist-ddpm; heun asks the network twice a step; consistency is for consistency models"
    ),
]
Scale = Annotated[float, typer.Option(help="guidance scale; 1 is the conditional model")]
LARGEST = 2**63 - 1  # the largest seed
Seed = Annotated[int, typer.Option(min=0, max=LARGEST, help="seed of all noise")]


def train(
    recipe: Annotated[
        str, typer.Argument(help="what to train, for example mnist-ddpm; an unknown name lists them all")
    ],
    out: Annotated[Path, typer.Option(help="the run's folder")],
    steps: Annotated[
        int | None, typer.Option(min=1, help="optimiser steps (the recipe's own number by default)")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="images a step")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=LARGEST, help="seed of weights, batches and noise (default: 0)")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with the run in --out, to the same weights as an unbroken run")
    ] = False,
    compiled: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="compile the network first (needs a C++ compiler)"),
    ] = None,
    checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--checkpointing/--no-checkpointing",
            help="save memory: compute activations again in the backward pass",
        ),
    ] = None,
    parts: Annotated[
        int | None, typer.Option(min=1, help="cut each batch into so many parts, one after the other, to save memory")
    ] = None,
) -> None:
    """Train a model; safe to kill at any moment and to go on with --resume, which restores the options of the run.

    On several GPUs: torchrun --nproc-per-node gpu -m course.cli train RECIPE --out DIR
    """
    from course_lib.recipes.rows import RECIPES
    from course_lib.recipes.train import train as train_model
    from course_lib.training import distributed
    from course_lib.types import check_name

    check_name("recipe", recipe, RECIPES)
    distributed.join()
    try:
        with told_of_memory("a smaller --batch-size, or try --parts or --checkpointing"):
            card = train_model(
                RECIPES[recipe], out, steps, batch_size, seed, parts, compiled, checkpointing, resume=resume
            )
    except KeyboardInterrupt:
        say_error(f"stopped: the same command with --resume goes on with the run in {out}")
        raise typer.Exit(130) from None
    if distributed.rank() == 0:
        file = out / "model.safetensors"
        say(f"{card.name}: {card.steps} steps, {card.images_seen:,} images, {card.minutes} minutes -> {file}")
    distributed.leave()


def sample(
    model: Model,
    n: Annotated[int, typer.Option(min=1, max=10_000, help="how many images")] = 64,
    steps: Steps = 50,
    sampler: Sampler = "ddim",
    label: Annotated[int | None, typer.Option(help="the class to draw (all in turn by default)")] = None,
    lora: Annotated[Path | None, typer.Option(help="draw with what `course finetune` wrote for this model")] = None,
    word: Annotated[str | None, typer.Option(help="a new word of --lora to draw, in the place of --label")] = None,
    scale: Scale = 1.0,
    seed: Seed = 0,
    out: Annotated[
        Path, typer.Option(dir_okay=False, help="the picture to write, a PNG; its folder is made where it is missing")
    ] = Path("grid.png"),
) -> None:
    """Draw images from a trained model and write them as one picture."""
    from course_lib import hardware
    from course_lib.files import check_destination, write_atomically
    from course_lib.models.asking import asked
    from course_lib.models.store import load_denoising
    from course_lib.models.tuned import load_tuned
    from course_lib.pages.plotting import grid_png
    from course_lib.sampling.generate import draw_batches

    drawing, card = load_denoising(model, hardware.device())
    words = [] if lora is None else load_tuned(lora, drawing.network, card.sha256)
    cond = asked(drawing, n, label if word is None else label_of(drawing.takes, words, word, label), scale)
    check_destination(out)
    with told_of_memory("a smaller --n"):
        images = draw_batches(drawing, n, steps, sampler, seed, cond=cond, scale=scale)
        write_atomically(out, grid_png(images))
    say(f"{len(images)} images from {model} by {sampler}, {steps} steps -> {out}")


def label_of(takes: "Takes", words: list[str], word: str, label: int | None) -> int:
    """The class that a new word names; raises ValueError for a word that was not learned, and for a label beside it."""
    if label is not None:
        raise ValueError("--word and --label both name a class: give one of them")
    if word not in words:
        known = f"it knows {', '.join(words)}" if words else "no --lora with new words is given"
        raise ValueError(f"word {word!r} was not learned: {known}")
    return takes.classes - len(words) + words.index(word)  # type: ignore[union-attr]


def evaluate(
    model: Model,
    n: Annotated[int | None, typer.Option(min=1, help="how many images to draw (5000)")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="sampler steps (50)")] = None,
    sampler: Annotated[
        str | None, typer.Option(help="ddim, heun, dpm-solver, ddpm, analytic-ddim or analytic-ddpm (ddim)")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="guidance scale (1, the conditional model)")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=LARGEST, help="seed of all noise (0)")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="also write the entry to this JSON file of the ledger; its folder is made where it is missing",
        ),
    ] = None,
) -> None:
    """Measure a model against real images, each metric with a 95 % interval and the value that real images get.

    The options of drawing are for models that draw: a classifier is measured on the test set, an autoencoder by what it leaves of that.
    """
    import json

    from course_lib.evaluation.evaluate import evaluate as measure
    from course_lib.files import check_destination, write_atomically

    if out:
        check_destination(out)
    with told_of_memory("a smaller --n"):
        entry = measure(model, n, steps, sampler, scale, seed)
    console.print(metric_table(entry))
    if out:
        write_atomically(out, json.dumps(entry, indent=2).encode() + b"\n")
        say(f"written to {out}")


def ledger(
    folder: Annotated[Path, typer.Argument(help="the folder of results")] = Path("results"),
) -> None:
    """Print every measured result."""
    from course_lib.evaluation.ledger import ledger as entries

    found = entries(folder)
    for entry in found:
        console.print(metric_table(entry))
    if not found:
        say(f"no results in {folder}")


@contextmanager
def told_of_memory(remedy: str) -> Iterator[None]:
    """Inside, an error of torch's for want of memory becomes a MemoryError that says what to ask for."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(remedy) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):  # the CPU's has no class of its own
            raise
        raise MemoryError(remedy) from error
