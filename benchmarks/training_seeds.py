"""How much the luck of the training is worth: python -m benchmarks.training_seeds [--seeds 5] [--n 2000]

A small network learns MNIST as mnist-ddpm did, from five seeds (weights, batches, times, noise); each draws n digits from the same noise
in 25 steps of DDIM. Of each metric: every seed's value with its interval, which says what other draws would do, their mean, and the
standard deviation between seeds, with its interval. Runs are kept in the user's cache and resumed. Written to
results/training-seeds.json.
"""

import argparse
import math
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs
from torch import Tensor

from benchmarks.record import machine, write
from course_lib.data.images import to_bytes
from course_lib.evaluation.evaluate import entry, floors, measure, with_floor
from course_lib.evaluation.features import features
from course_lib.evaluation.intervals import Estimate, Measured
from course_lib.evaluation.reference import CLASSIFIERS, Reference, load_reference
from course_lib.models import store
from course_lib.models.cards import ModelCard
from course_lib.recipes.rows import RECIPES, SMALL
from course_lib.recipes.train import train
from course_lib.sampling.generate import draw_batches

RUNS = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "training-seeds"
RECIPE = replace(
    RECIPES["mnist-ddpm"], name="mnist-ddpm-small", config={"channels": 1, **SMALL, "width": 32}, steps=3000
)
SAMPLER, SAMPLING_STEPS = "ddim", 25
# The 2.5 % and 97.5 % points of chi-square over its degrees of freedom, by these.
CHI_SQUARE = {4: (0.4844, 11.143), 9: (2.700, 19.023)}


def trained(seed: int, folder: Path, steps: int) -> ModelCard:
    """The network of one seed in a folder, trained to its end; its card."""
    return train(RECIPE, folder, steps=steps, seed=seed, resume=folder.exists())


def digits(folder: Path, n: int) -> Tensor:
    """What a trained network draws, uint8 `(n, 1, 28, 28)`."""
    model, _ = store.load_denoising(folder)
    return to_bytes(draw_batches(model, n, SAMPLING_STEPS, SAMPLER, seed=0))


def between(values: list[float]) -> Estimate:
    """The standard deviation between seeds with its 95 % interval, as of normally distributed values."""
    freedom = len(values) - 1
    spread = statistics.stdev(values)
    low, high = CHI_SQUARE[freedom]
    return Estimate(spread, spread * math.sqrt(freedom / high), spread * math.sqrt(freedom / low))


def summary(found: list[dict[str, Measured]], reference: Reference, n: int) -> dict[str, Any]:
    """The metrics of the ledger: every seed's, and their mean and spread beside the standard error of one draw."""
    floor, metrics = floors(reference, n), {}
    for seed, of in enumerate(found):
        metrics |= {f"seed {seed}: {key}": with_floor(key, one, floor[key], n) for key, one in of.items()}
    for key in found[0]:
        values = [of[key].value for of in found]
        metrics[f"between seeds: {key}"] = entry(between(values))
        metrics[f"mean of the seeds: {key}"] = {"value": round(statistics.mean(values), 5)}
        metrics[f"standard error of a draw: {key}"] = {
            "value": round(statistics.mean(of[key].error for of in found), 5)
        }
    return metrics


def main() -> None:
    """Train, draw and measure each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, choices=[freedom + 1 for freedom in CHI_SQUARE])
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=RECIPE.steps, help="of training")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    reference, started = load_reference("mnist"), time.monotonic()
    network, _ = store.load(CLASSIFIERS["mnist"])
    found, cards = [], []
    for seed in range(arguments.seeds):
        folder = arguments.runs / f"seed-{seed}"
        cards.append(trained(seed, folder, arguments.steps))
        found.append(measure(reference, features(network, digits(folder, arguments.n))))  # type: ignore[arg-type]
        print(f"seed {seed}: {found[-1]['frechet distance'].interval(0)}", flush=True)
    options: dict[str, Any] = {"network": f"{cards[0].architecture}, {cards[0].parameters:,} parameters"}
    options |= {"seeds": arguments.seeds, "minutes of training": round(sum(card.minutes for card in cards), 1)}
    options |= {"n": arguments.n, "training steps": arguments.steps, "batch size": RECIPE.batch_size}
    options |= {"sampler": SAMPLER, "sampler steps": SAMPLING_STEPS, **machine()}
    path = arguments.out / "training-seeds.json"
    write(path, "training seeds", options, summary(found, reference, arguments.n), started)


if __name__ == "__main__":
    main()
