"""The console command `course`: doctor, train, sample. Heavy imports wait until a command needs them, so that help is instant."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

console = Console()


class OneLineErrors(TyperGroup):
    """Show a ValueError, which the library raises for bad input, as one message instead of a traceback."""

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the command; turn a ValueError into one line and exit status 1."""
        try:
            return super().invoke(ctx)
        except ValueError as error:
            Console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False, soft_wrap=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train, sample and look after diffusion models.",
)


class Sampler(StrEnum):
    """The samplers that work on a model with a table of noise levels."""

    ddim = "ddim"
    ddpm = "ddpm"


@app.command()
def doctor() -> None:
    """Show what this machine has, and what to do where something needed is missing (exit status 1)."""
    from course_lib.doctor import examine

    table = Table("", "what", "found", title="course doctor", title_justify="left")
    findings = examine()
    marks = {"ok": "[green]ok[/]", "optional": "[yellow]--[/]", "missing": "[red]!![/]"}
    for finding in findings:
        table.add_row(marks[finding.state], finding.what, finding.found)
    console.print(table)
    for finding in findings:
        if finding.remedy:
            console.print(f"{marks[finding.state]} {finding.what}: {finding.remedy}", soft_wrap=True)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="mnist-ddpm or digits-ddpm")],
    out: Annotated[Path, typer.Option(help="the run's folder")],
    steps: Annotated[
        int | None, typer.Option(min=1, help="optimiser steps (the recipe's own number by default)")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="images a step")] = None,
    seed: Annotated[int | None, typer.Option(help="seed of weights, batches and noise")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with the run in --out, to the same weights as an unbroken run")
    ] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="compile the network first (needs a C++ compiler)")
    ] = False,
) -> None:
    """Train a model; safe to kill at any moment and to go on with --resume."""
    from course_lib.data import check_name
    from course_lib.recipes import RECIPES
    from course_lib.runs import stored_options

    check_name("recipe", recipe, RECIPES)
    given = {"recipe": recipe, "steps": steps, "batch_size": batch_size, "seed": seed}
    options = (stored_options(out) if resume else {}) | {k: v for k, v in given.items() if v is not None}
    card = RECIPES[recipe](out, resume=resume, compiled=compiled, **{k: v for k, v in options.items() if k != "recipe"})
    console.print(
        f"{card.name}: {card.steps} steps, {card.images_seen:,} images, {card.minutes} minutes -> {out / 'model.safetensors'}"
    )


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help="a run's folder, a .safetensors file, or a shipped model's name")],
    n: Annotated[int, typer.Option(min=1, help="how many images")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="sampler steps")] = 50,
    sampler: Annotated[Sampler, typer.Option(help="ddim (deterministic) or ddpm (ancestral)")] = Sampler.ddim,
    seed: Annotated[int, typer.Option(help="seed of all noise")] = 0,
    out: Annotated[Path, typer.Option(help="the picture to write")] = Path("grid.png"),
) -> None:
    """Draw images from a trained model and write them as one picture."""
    from course_lib.drawing import draw_batches
    from course_lib.plotting import save_grid

    images = draw_batches(model, n, steps, sampler.value, seed)
    save_grid(out, images)
    console.print(f"{len(images)} images from {model} by {sampler.value}, {steps} steps -> {out}")
