"""Palette against the same network as a regression: python -m benchmarks.palette train, then draw, then measure.

`train` trains cifar10-palette and what it is compared with: the same network, steps and batches as a regression, as a
diffusion model with an L1 loss, and without self-attention. It goes on with runs that are there. `draw` restores test
pictures with every model that is trained, eight times where the model draws, batch by batch, and leaves them as they are beside that
(grey in what is hidden). Each part is kept when it is done, so that both may be stopped at any moment and begun again. `measure` writes
results/palette.json: for each task and model the peak signal-to-noise ratio, the classifier's accuracy, the spread of the draws, and
distances of one draw of each picture from real pictures, with paired differences from cifar10-palette. --quick does hardly anything.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor

from benchmarks.record import machine, write
from course_lib.data import sets
from course_lib.data.degradations import DEGRADATIONS, Degraded
from course_lib.data.images import to_bytes, to_unit
from course_lib.evaluation.evaluate import entry, floors, with_floor
from course_lib.evaluation.evaluate import measure as measured_features
from course_lib.evaluation.features import Features, features
from course_lib.evaluation.intervals import Measured, mean_of
from course_lib.evaluation.reference import CLASSIFIERS, load_reference
from course_lib.models import store
from course_lib.models.tensors import load_tensors, save_tensors
from course_lib.recipes.palette import Palette, Regress, guessed
from course_lib.recipes.rows import RECIPES, Recipe
from course_lib.recipes.train import train
from course_lib.sampling.restoring import mended
from course_lib.training.loop import generator_for

MODEL, UNTOUCHED = "cifar10-palette", "untouched"
STEPS, DRAWS, BATCH = 25, 8, 50
KINDS = ("frechet distance", "kernel distance")
KEPT = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "palette"


def recipes(steps: int | None) -> dict[str, Recipe]:
    """What is trained, by name: the recipe that ships, and what differs from it in one thing."""
    shipped = RECIPES[MODEL]
    assert isinstance(shipped.objective, Palette)
    prediction, schedule = shipped.objective.prediction, shipped.objective.schedule
    found = {
        MODEL: shipped,
        "regression": replace(shipped, objective=Regress(prediction, schedule)),
        "palette, L1": replace(shipped, objective=Palette(prediction, schedule, power=1)),
        "palette, no attention": replace(shipped, config={**shipped.config, "attention": ()}),
    }
    return {name: replace(one, name=name, steps=steps or one.steps) for name, one in found.items()}


def folder(kept: Path, name: str) -> Path:
    """The run of a model."""
    return kept / name.replace(", ", "-").replace(" ", "_")


def trained(kept: Path, steps: int | None, only: str) -> Iterator[str]:
    """Train, or go on with, what has `only` in its name and is not there already; a line for each."""
    for name, recipe in recipes(steps).items():
        if only in name and not (name == MODEL and MODEL in store.shipped_models()):
            at = folder(kept, name)
            card = train(recipe, at, resume=at.exists())
            yield f"{name}: {card.steps} steps in {card.minutes} minutes"


def models(kept: Path) -> dict[str, str]:
    """Where the weights of each model are that is there: its own run, or what ships; nowhere for what is left untouched."""
    found = {UNTOUCHED: ""}
    for name in recipes(None):
        if (folder(kept, name) / "model.safetensors").exists():
            found[name] = str(folder(kept, name))
        elif name in store.shipped_models():
            found[name] = name
    return found


def pictures(task: str, number: int) -> tuple[Tensor, Tensor, Degraded]:
    """Test pictures `(BATCH, C, H, W)` of a part, in [-1, 1], their classes, and what is left of them."""
    images, labels = test_set()
    at = slice(number * BATCH, (number + 1) * BATCH)
    x0 = to_unit(images[at])
    return x0, labels[at], DEGRADATIONS[task](x0, generator_for(1, number, torch.device("cpu")))


@cache
def test_set() -> tuple[Tensor, Tensor]:
    """CIFAR-10's test pictures and their classes."""
    return sets.load("cifar10", "test")


def place(kept: Path, name: str, task: str, number: int) -> Path:
    """The file of a part."""
    return folder(kept, name) / "drawn" / task / f"{number:03d}.safetensors"


def drawn(name: str, where: str, left: Degraded, number: int) -> Tensor:
    """The pictures of a part, `(draws, BATCH, C, H, W)`: several where the model draws, one where it says, and what is left of them."""
    if name == UNTOUCHED:
        hole = left.unknown * bool((left.unknown == 0).any())  # where all is wanted, what is shown is no noise
        return torch.where(hole > 0, 0.0, left.shown)[None]
    model, _ = store.load_denoising(where)
    if name.startswith("regression"):
        return guessed(model.network, left, model.schedule.T)[None]
    many = Degraded(left.shown.repeat(DRAWS, 1, 1, 1), left.unknown.repeat(DRAWS, 1, 1, 1))
    return mended(model, many, STEPS, generator=generator_for(2, number, torch.device("cpu"))).unflatten(0, (DRAWS, -1))


def draw_all(kept: Path, parts: int, only: str) -> Iterator[str]:
    """Restore what is missing of so many parts with the models that have `only` in their names."""
    classifier, _ = store.load(CLASSIFIERS["cifar10"])
    for number in range(parts):
        for task in DEGRADATIONS:
            for name, where in models(kept).items():
                file, started = place(kept, name, task, number), time.process_time()
                if only not in name or file.exists():
                    continue
                _, _, left = pictures(task, number)
                x = to_bytes(drawn(name, where, left, number).flatten(0, 1))
                found = features(classifier, x)  # type: ignore[arg-type]
                kinds = {"images": x, "vectors": found.vectors.float(), "log_probs": found.log_probs.float()}
                seconds = time.process_time() - started
                save_tensors(file, kinds, {"seconds": f"{seconds:.1f}"})
                yield f"{name}, {task}, part {number}: {seconds:.1f} s"


def decibels(error: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of mean squared errors of pictures in [-1, 1], of the same shape; at most 100."""
    return 10 * torch.log10(4 / error.clamp(min=4e-10))


def of_pictures(x: Tensor, x0: Tensor, right: Tensor) -> dict[str, Tensor]:
    """What is measured of each picture, `(B,)`, from its draws x `(draws, B, C, H, W)`; `right` `(draws, B)` says how it was read.

    "psnr" is the mean over the draws, "psnr of the mean" that of the mean of the draws (which of a single one is the same), "spread" the
    standard deviation of a pixel.
    """
    found = {
        "psnr": decibels((x - x0).square().flatten(2).mean(2)).mean(0),
        "psnr of the mean": decibels((x.mean(0) - x0).square().flatten(1).mean(1)),
        "accuracy": right.double().mean(0),
    }
    if len(x) > 1:
        found["spread"] = x.var(0).flatten(1).mean(1).sqrt()
    return found


def measure(kept: Path) -> dict[str, Any]:
    """Every metric of the parts that all models have, and paired differences from MODEL."""
    there, metrics, differences, seconds = models(kept), {}, {}, 0.0
    parts = min(
        next(k for k in count() if not place(kept, name, task, k).exists()) for name in there for task in DEGRADATIONS
    )
    reference, n = load_reference("cifar10"), parts * BATCH
    floor = floors(reference, n)
    for task in DEGRADATIONS:
        by_model: dict[str, dict[str, Measured]] = {}
        for name in there:
            values: dict[str, list[Tensor]] = {}
            rows = []
            for number in range(parts):
                tensors, metadata = load_tensors(place(kept, name, task, number))
                x0, labels, _ = pictures(task, number)
                x = to_unit(tensors["images"]).unflatten(0, (-1, BATCH))
                right = tensors["log_probs"].argmax(1).unflatten(0, (-1, BATCH)) == labels
                for key, each in of_pictures(x, x0, right).items():
                    values.setdefault(key, []).append(each.double())
                rows.append(Features(tensors["vectors"][:BATCH].double(), tensors["log_probs"][:BATCH].double()))
                seconds += float(metadata["seconds"])
            found = {key: mean_of(torch.cat(each)) for key, each in values.items()}
            seen = Features(torch.cat([each.vectors for each in rows]), torch.cat([each.log_probs for each in rows]))
            distances = measured_features(reference, seen)
            found |= {key: distances[key] for key in KINDS}
            for key, one in found.items():
                if key in KINDS:
                    metrics[f"{task}, {name}: {key}"] = with_floor(key, one, floor[key], n)
                else:
                    metrics[f"{task}, {name}: {key}"] = entry(one.share(n) if key == "accuracy" else one.interval())
            by_model[name] = found
            print(task, name, {key: round(one.value, 3) for key, one in found.items()}, flush=True)
        for name in by_model.keys() - {MODEL}:
            for key in by_model[name].keys() & by_model.get(MODEL, {}).keys():
                change = by_model[name][key].minus(by_model[MODEL][key])
                differences[f"{task}, {name} - {MODEL}: {key}"] = entry(change.interval())
    return {"metrics": metrics, "differences": differences, "n": n, "seconds": seconds}


def main() -> None:
    """Do one of the tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("train", "draw", "measure"))
    parser.add_argument("--steps", type=int, help="of training (the recipe's own number by default)")
    parser.add_argument("--n", type=int, default=100, help=f"pictures a task, a multiple of {BATCH}")
    parser.add_argument("--only", default="", help="only the models with this in their names")
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="2 steps of training, one part")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.task == "measure":
        result = measure(arguments.kept)
        trained_for = store.load(models(arguments.kept)[MODEL])[1].steps
        options = {"pictures": result["n"], "draws": DRAWS, "steps": STEPS, "training steps": trained_for, **machine()}
        path, started = arguments.out / "palette.json", time.monotonic() - result["seconds"]
        write(path, "palette", options, result["metrics"], started, differences=result["differences"])
        return
    lines = (
        trained(arguments.kept, 2 if arguments.quick else arguments.steps, arguments.only)
        if arguments.task == "train"
        else draw_all(arguments.kept, 1 if arguments.quick else arguments.n // BATCH, arguments.only)
    )
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
