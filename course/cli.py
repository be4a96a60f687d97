"""The console command `course`. Heavy imports wait until a command needs them, so that help is instant."""

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
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
            Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
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
    heun = "heun"
    dpm_solver = "dpm-solver"


SAMPLER_HELP = "ddim, heun or dpm-solver (deterministic), or ddpm (ancestral); heun asks the network twice a step"


@app.command()
def doctor() -> None:
    """Show what this machine has, and what to do where something needed is missing (exit status 1)."""
    from course.doctor import examine

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
    recipe: Annotated[
        str, typer.Argument(help="what to train, for example mnist-ddpm; an unknown name lists them all")
    ],
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
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="save memory: compute activations again in the backward pass")
    ] = False,
    parts: Annotated[
        int | None, typer.Option(min=1, help="cut each batch into so many parts, one after the other, to save memory")
    ] = None,
) -> None:
    """Train a model; safe to kill at any moment and to go on with --resume.

    On several GPUs: torchrun --nproc-per-node gpu -m course.cli train RECIPE --out DIR
    """
    from course_lib.recipes.diffusion import RECIPES
    from course_lib.training import distributed
    from course_lib.training.runs import stored_options
    from course_lib.types import check_name

    check_name("recipe", recipe, RECIPES)
    given = {"recipe": recipe, "steps": steps, "batch_size": batch_size, "seed": seed}
    options = (stored_options(out) if resume else {}) | {k: v for k, v in given.items() if v is not None}
    options = {k: v for k, v in options.items() if k != "recipe"}
    distributed.join()
    card = RECIPES[recipe](out, resume=resume, compiled=compiled, checkpointing=checkpointing, parts=parts, **options)
    if distributed.rank() == 0:
        console.print(
            f"{card.name}: {card.steps} steps, {card.images_seen:,} images, {card.minutes} minutes -> {out / 'model.safetensors'}"
        )
    distributed.leave()


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help="a run's folder, a .safetensors file, or a shipped model's name")],
    n: Annotated[int, typer.Option(min=1, help="how many images")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="sampler steps")] = 50,
    sampler: Annotated[Sampler, typer.Option(help=SAMPLER_HELP)] = Sampler.ddim,
    label: Annotated[int | None, typer.Option(help="the class to draw (all in turn by default)")] = None,
    scale: Annotated[float, typer.Option(help="guidance scale; 1 is the conditional model")] = 1.0,
    seed: Annotated[int, typer.Option(help="seed of all noise")] = 0,
    out: Annotated[Path, typer.Option(dir_okay=False, help="the picture to write")] = Path("grid.png"),
) -> None:
    """Draw images from a trained model and write them as one picture."""
    import torch

    from course_lib import hardware
    from course_lib.models import store
    from course_lib.pages.plotting import save_grid
    from course_lib.sampling.generate import balanced_classes, draw_batches

    drawing, _ = store.load_denoising(model, hardware.device())
    cond = balanced_classes(drawing.takes, n) if label is None else torch.full((n,), label)
    images = draw_batches(drawing, n, steps, sampler.value, seed, cond=cond, scale=scale)
    save_grid(out, images)
    console.print(f"{len(images)} images from {model} by {sampler.value}, {steps} steps -> {out}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="a run's folder, a .safetensors file, or a shipped model's name")],
    n: Annotated[int, typer.Option(min=1, help="how many images to draw")] = 5000,
    steps: Annotated[int, typer.Option(min=1, help="sampler steps")] = 50,
    sampler: Annotated[Sampler, typer.Option(help=SAMPLER_HELP)] = Sampler.ddim,
    scale: Annotated[float, typer.Option(help="guidance scale; 1 is the conditional model")] = 1.0,
    seed: Annotated[int, typer.Option(help="seed of all noise")] = 0,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="also write the entry to this JSON file of the ledger")
    ] = None,
) -> None:
    """Measure a model against real images, each metric with a 95 % interval and the value that real images get."""
    import json

    from course_lib.evaluation.evaluate import evaluate as measure
    from course_lib.files import write_atomically

    entry = measure(model, n, steps, sampler.value, scale, seed)
    console.print(metric_table(entry))
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, json.dumps(entry, indent=2).encode() + b"\n")
        console.print(f"written to {out}")


@app.command()
def ledger(
    folder: Annotated[Path, typer.Argument(help="the folder of results")] = Path("results"),
) -> None:
    """Print every measured result."""
    from course_lib.evaluation.ledger import ledger as entries

    for entry in entries(folder):
        console.print(metric_table(entry))


assignments = typer.Typer(no_args_is_help=True, help="Build the assignments.")
app.add_typer(assignments, name="assignments")


@assignments.command("build")
def build_assignments(
    names: Annotated[list[str] | None, typer.Argument(help="which, for example a01 (all by default)")] = None,
    out: Annotated[Path, typer.Option(help="the folder to write below")] = Path("build"),
) -> None:
    """Write the students' notebooks below OUT/release and the instructors' below OUT/solved: the same bytes every time."""
    from autograder.assignment.source import assignment_names, build

    for name in names or assignment_names():
        files = build(name, out)
        console.print("\n".join(str(file) for file in files), highlight=False)


@app.command()
def check(
    assignment: Annotated[str, typer.Argument(help="its number, for example a01")],
    notebook: Annotated[Path, typer.Argument(help="your notebook")],
) -> None:
    """Run your notebook from top to bottom, and its public checks, before you hand it in (exit status 1 where one fails)."""
    from autograder.assignment.check import check as run_checks

    with console.status(f"running {notebook} from top to bottom"):
        found = run_checks(assignment, notebook)
    for one in found:
        console.print(
            f"[green]ok[/]  {one.name}" if one.passed else f"[red]!![/]  {one.name}: ", end="\n" if one.passed else ""
        )
        if not one.passed:
            console.print(one.message, markup=False, highlight=False)
    right = sum(one.passed for one in found)
    console.print(f"{right} of {len(found)} pass. The hidden tests use other numbers and look deeper.")
    if right < len(found):
        raise typer.Exit(1)


@app.command()
def grade(
    submitted: Annotated[Path, typer.Argument(help="the folder SUBMITTED/<student>/<assignment>/topic.ipynb")],
    assignment: Annotated[str, typer.Option(help="its number, for example a01")],
    jobs: Annotated[int, typer.Option(min=1, help="how many processes grade")] = 1,
    dask: Annotated[str, typer.Option(help="grade on the Dask cluster whose scheduler has this address")] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="where the course's secret and the grades known so far lie (default: term/grades)"),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write all grades to this file")] = None,
    feedback: Annotated[Path | None, typer.Option(help="write a page for each student below this folder")] = None,
    gradescope: Annotated[Path | None, typer.Option(help="write Gradescope's results.json below this folder")] = None,
) -> None:
    """Grade a folder of submissions; start again after an interruption, and it goes on (exit status 1 where one has no grade)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from autograder.grading import pool

    if jobs > 1 and not dask:
        pool.prepare()  # while the next lines import torch and more

    from autograder.assignment.source import read_assignment
    from autograder.assignment.submission import submissions
    from autograder.exchange import reports
    from autograder.grading import many
    from autograder.grading.store import TERM, course_secret

    found, out = read_assignment(assignment), out or TERM / "grades"
    todo = submissions(submitted, found)
    secret = course_secret(out / "secret")
    with Progress(
        TextColumn("grading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    ) as bar:
        try:
            with closing(many.grade_all(todo, found.name, secret, out / found.name, jobs, dask)) as going:
                grades = sorted(bar.track(going, total=len(todo)), key=lambda one: one.student)
        except KeyboardInterrupt:
            bar.console.print("stopped; the grades known so far are kept: run the same command again to go on")
            raise typer.Exit(130) from None
    table = Table("student", "points", "remarks", title=str(found.course["title"]), title_justify="left")
    for one in grades:
        review = sum(test.review for test in one.result.tests) if one.result else 0
        remark = one.problem or (f"{review} tests need a look" if review else "")
        points = f"{one.result.score():g} of {one.result.worth():g}" if one.result else "none"
        table.add_row(escape(reports.plain(one.student)), points, escape(reports.plain(remark)))
    console.print(table)
    reports.write_reports(grades, str(found.course["title"]), json_file, feedback, gradescope)
    if any(one.result is None for one in grades):
        raise typer.Exit(1)


def metric_table(entry: dict[str, Any]) -> Table:
    """One entry of the ledger as a table: value, interval, and the floor that real images set."""
    options = ", ".join(f"{key} {value}" for key, value in entry["options"].items())
    table = Table(
        "metric", "value", "95 % interval", "real images", title=f"{entry['model']}  {options}", title_justify="left"
    )
    for name, found in entry["metrics"].items():
        interval = f"[{found['low']:.4g}, {found['high']:.4g}]"
        floor = f"{found['floor']:.4g}" if "floor" in found else ""
        table.add_row(name, f"{found['value']:.4g}", interval, floor)
    return table


if __name__ == "__main__":
    app()
