"""Three paths for one network, at equal minutes: python -m benchmarks.flows train --seed 0, then draw, then measure.

`train` trains the three small networks of one seed (the recipes mnist-ddpm, mnist-flow and mnist-edm with half the width, the same steps
and batches). `draw` draws digits from all that are trained, and from the shipped ones with --shipped, batch by batch in turns, from 2 to
100 evaluations of the network, and from mnist-ddpm in 1000 steps, which is what the others are compared with. Each part is kept when
it is done, so that it may be stopped at any moment and begun again. `measure` writes results/flows.json: Frechet distances, paired
differences within a batch of noise, and their means over the seeds. --quick trains and draws hardly anything.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor

from benchmarks.record import machine, write
from course_lib.evaluation.evaluate import entry, floors, within_range
from course_lib.evaluation.features import features
from course_lib.evaluation.frechet import frechet_statistic
from course_lib.evaluation.intervals import Measured, cut, measured
from course_lib.evaluation.reference import CLASSIFIERS, load_reference
from course_lib.models import store
from course_lib.models.tensors import load_tensors, save_tensors
from course_lib.recipes.rows import RECIPES, SMALL
from course_lib.recipes.train import train
from course_lib.sampling.generate import Denoising, draw
from course_lib.training.loop import generator_for

NAMES = ("mnist-ddpm", "mnist-flow", "mnist-edm")
EVALUATIONS = (2, 3, 5, 7, 9, 11, 15, 25, 51, 99)
SAMPLERS = ("ddim", "heun", "dpm-solver")
TEACHER = "mnist-ddpm, ddpm, 1000"  # whose quality the others are to reach
BATCH, STEPS = 100, 3000
KEPT = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "flows"


def small(name: str, steps: int) -> Any:
    """The recipe with half the width."""
    recipe = RECIPES[name]
    return replace(recipe, name=f"{name}-small", config={**recipe.config, **SMALL, "width": 32}, steps=steps)


def trained(kept: Path, seed: int, steps: int) -> Iterator[str]:
    """Train the networks of one seed, or go on with them; a line for each."""
    for name in NAMES:
        folder = kept / f"{name}-{seed}"
        card = train(small(name, steps), folder, steps=steps, seed=seed, resume=folder.exists())
        yield f"{name}, seed {seed}: {card.steps} steps in {card.minutes} minutes"


def models(kept: Path, shipped: bool) -> dict[str, Path | str]:
    """By name: where the weights of a finished network are; those that ship have no seed in their names."""
    found: dict[str, Path | str] = {
        folder.parent.name: folder.parent for folder in sorted(kept.glob("*/model.safetensors"))
    }
    return found | {name: name for name in NAMES if shipped and name in store.shipped_models()}


def steps_for(sampler: str, evaluations: int) -> int | None:
    """How many steps cost so many evaluations, or None where no number of them does: Heun's last step has one, the others two."""
    if sampler != "heun":
        return evaluations
    return (evaluations + 1) // 2 if evaluations % 2 and evaluations > 1 else None


def settings(kept: Path, shipped: bool, evaluations: tuple[int, ...]) -> dict[str, Callable[[torch.Generator], Tensor]]:
    """How samples are drawn: a batch from a generator."""
    found: dict[str, Callable[[torch.Generator], Tensor]] = {}
    for name, where in models(kept, shipped).items():
        model, _ = store.load_denoising(where)
        for sampler in SAMPLERS:
            for asked in evaluations:
                if (steps := steps_for(sampler, asked)) is not None:
                    found[f"{name}, {sampler}, {asked}"] = partial(drawn, model, steps, sampler)
    if "mnist-ddpm" in store.shipped_models() and shipped:
        found[TEACHER] = partial(drawn, store.load_denoising("mnist-ddpm")[0], 1000, "ddpm")
    return found


def drawn(model: Denoising, steps: int, sampler: str, generator: torch.Generator) -> Tensor:
    """One batch of samples."""
    return draw(model, BATCH, steps, sampler, generator)


def place(kept: Path, name: str, number: int) -> Path:
    """The file of one batch of a setting."""
    return kept / "drawn" / name.replace(" ", "") / f"{number:03d}.safetensors"


def draw_all(kept: Path, n: int, ways: dict[str, Callable[[torch.Generator], Tensor]], only: str) -> Iterator[str]:
    """Draw what is missing of n samples of the settings with `only` in their names; batch k of every setting begins with one noise."""
    classifier, _ = store.load(CLASSIFIERS["mnist"])
    for number in range(n // BATCH):
        for name, way in ways.items():
            file, started = place(kept, name, number), time.monotonic()
            if only in name and not file.exists():
                found = features(classifier, way(generator_for(0, number, torch.device("cpu"))))  # type: ignore[arg-type]
                seconds = time.monotonic() - started
                save_tensors(file, {"vectors": found.vectors.float()}, {"seconds": f"{seconds:.1f}"})
                yield f"{name}, batch {number}: {seconds:.1f} s"


def distances(kept: Path, names: list[str]) -> tuple[dict[str, Measured], int, float]:
    """The Frechet distance of each setting, from as many samples as all have, and the seconds that drawing them took."""
    batches = min(next(k for k in count() if not place(kept, name, k).exists()) for name in names)
    reference, found, seconds = load_reference("mnist"), {}, 0.0
    for name in names:
        loaded = [load_tensors(place(kept, name, number)) for number in range(batches)]
        vectors = torch.cat([tensors["vectors"] for tensors, _ in loaded]).double()
        found[name] = measured(frechet_statistic(reference.train, vectors), cut(len(vectors)))
        seconds += sum(float(metadata["seconds"]) for _, metadata in loaded)
    return found, batches * BATCH, seconds


def over_seeds(found: dict[str, Measured]) -> dict[str, Any]:
    """For each path, sampler and count: the mean over seeds, the lowest and the highest; and the same of differences from mnist-ddpm's."""
    values: dict[tuple[str, str], dict[str, float]] = {}
    for setting, one in found.items():
        name, how = setting.split(", ", 1)
        path, _, seed = name.rpartition("-")
        if path in NAMES and seed.isdecimal():
            values.setdefault((path, how), {})[seed] = one.value
    summary: dict[str, Any] = {}
    for (path, how), by_seed in values.items():
        mine = list(by_seed.values())
        summary[f"{path}, {how}: mean of {len(mine)} seeds"] = spread(mine)
        theirs = values.get(("mnist-ddpm", how), {})
        both = [by_seed[seed] - theirs[seed] for seed in by_seed if seed in theirs]
        if path != "mnist-ddpm" and both:
            summary[f"{path} - mnist-ddpm, {how}: mean of {len(both)} seeds"] = spread(both)
    return summary


def spread(values: list[float]) -> dict[str, float]:
    """The mean of a few values, with the lowest and the highest."""
    return {"value": round(statistics.mean(values), 5), "low": round(min(values), 5), "high": round(max(values), 5)}


def measure(kept: Path, names: list[str]) -> dict[str, Any]:
    """Distances, and paired differences from the thousand steps of mnist-ddpm, as the ledger holds them."""
    found, n, seconds = distances(kept, names)
    floor = within_range("frechet distance", floors(load_reference("mnist"), n)["frechet distance"], n)
    metrics, differences = {}, {}
    for name, one in found.items():
        metrics[f"{name}: frechet distance"] = {
            **entry(within_range("frechet distance", one, n)),
            **{f"floor{end}": round(x, 5) for end, x in zip(("", "_low", "_high"), floor, strict=True)},
        }
        if TEACHER in found and name != TEACHER:
            differences[f"{name} - {TEACHER}: frechet distance"] = entry(one.minus(found[TEACHER]).interval())
    metrics |= over_seeds(found)
    return {"metrics": metrics, "differences": differences, "n": n, "seconds": seconds}


def main() -> None:
    """Do one of the tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("train", "draw", "measure"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS, help="of training")
    parser.add_argument("--n", type=int, default=500, help=f"samples a setting, a multiple of {BATCH}")
    parser.add_argument("--shipped", action="store_true", help="the shipped models, too")
    parser.add_argument("--only", default="", help="draw only the settings with this in their names")
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="2 steps of training, one batch, two counts")
    arguments = parser.parse_args()
    steps, n = (2, BATCH) if arguments.quick else (arguments.steps, arguments.n)
    ways = settings(arguments.kept, arguments.shipped, (2, 3) if arguments.quick else EVALUATIONS)
    if arguments.task == "measure":
        found = measure(arguments.kept, [name for name in ways if place(arguments.kept, name, 0).exists()])
        options = {"samples": found["n"], "batch": BATCH, "training steps of the small ones": steps, **machine()}
        started = time.monotonic() - found["seconds"]
        write(
            arguments.out / "flows.json", "flows", options, found["metrics"], started, differences=found["differences"]
        )
        return
    lines = (
        trained(arguments.kept, arguments.seed, steps)
        if arguments.task == "train"
        else draw_all(arguments.kept, n, ways, arguments.only)
    )
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
