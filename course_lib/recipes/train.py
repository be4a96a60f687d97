"""Train by a recipe: the same on CPU and GPU, leaving weights with a model card in a folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from course_lib.files import write_atomically
from course_lib.hardware import bf16_is_fast, device
from course_lib.models.cards import ModelCard
from course_lib.pages.plotting import grid_png
from course_lib.recipes.classification import prepare
from course_lib.recipes.diffusion import COLUMNS
from course_lib.recipes.rows import Duel, Recipe
from course_lib.training import distributed
from course_lib.training.loop import fit
from course_lib.training.progress import progress
from course_lib.training.runs import Run
from course_lib.training.state import TrainState


def train(
    recipe: Recipe,
    out: Path | str,
    steps: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    parts: int | None = None,
    compiled: bool | None = None,
    checkpointing: bool | None = None,
    bf16: bool | None = None,
    resume: bool = False,
    save_every: int = 250,
) -> ModelCard:
    """Train a model in the folder `out`, or go on with the run that is there; returns the card of the finished model.

    `steps` and `batch_size` are the recipe's where they are None; the keywords after them mean what they mean for `fit`. All of them fix
    the result, so they are stored: a resumed run takes those it was begun with. The state is saved every `save_every` steps.
    Raises ValueError where `fit` does or the data set is missing, both before the folder is made; where the folder holds a run and
    `resume` is not set, or one that was begun with other options; and where a file cannot be written.
    """
    given = {
        "recipe": recipe.name,
        "steps": steps,
        "batch_size": batch_size,
        "seed": seed,
        "parts": parts,
        "compiled": compiled,
        "checkpointing": checkpointing,
        "bf16": bf16,
    }
    usual = {
        "recipe": recipe.name,
        "steps": recipe.steps,
        "batch_size": recipe.batch_size,
        "seed": 0,
        "parts": distributed.count(),
        "compiled": False,
        "checkpointing": False,
        "bf16": bf16_is_fast(device()),
    }
    run = Run.open(out, resume, usual, **{name: value for name, value in given.items() if value is not None})
    batch = recipe.batch()
    network = prepare(recipe.architecture, run.options["seed"], **recipe.config)
    loss, opponent = (
        recipe.objective.duel(network) if isinstance(recipe.objective, Duel) else (recipe.objective.loss(network), None)
    )
    states = fit(
        network,
        loss,
        batch,
        betas=recipe.betas,
        opponent=opponent,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup=recipe.warmup,
        resume=run.state_file,
        **{name: value for name, value in run.options.items() if name != "recipe"},
    )
    run.begin()
    shape, total = tuple(batch[0].shape[1:]), run.options["steps"]
    # A picture is drawn before its state is saved: a kill in between costs none, since the resumed run takes that step again.
    *_, state = run.keep(pictured(progress(states, total), recipe, run, shape), save_every)
    return run.finish(
        state,
        image_shape=list(shape),
        dataset=recipe.dataset,
        data=recipe.data,
        **recipe.objective.card(state.ema.module, recipe.dataset),
    )


def pictured(states: Iterable[TrainState], recipe: Recipe, run: Run, shape: tuple[int, ...]) -> Iterator[TrainState]:
    """Pass the states on; ten times on the way, write a picture of what the averaged network draws."""
    every = max(1, run.options["steps"] // 10)
    for state in states:
        if run.writes and state.step % every == 0:
            drawn = recipe.objective.samples(state.ema.module, shape, run.options["seed"])
            if drawn is not None:
                path = run.folder / f"samples-{state.step:06d}.png"
                write_atomically(path, grid_png(drawn, columns=COLUMNS))
        yield state
