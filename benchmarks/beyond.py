"""Sounds and plans with one kind of network: python -m benchmarks.beyond train, then measure.

`train` teaches small transformers, three seeds each. For sounds: the recipe `sounds`. For plans: a diffusion of the next eight actions,
and the same network as a regression, with the same data, batches and steps. Each network is kept.
`measure` writes results/beyond.json: which note is heard against which was asked for, and from which instrument, beside draws of a
Gaussian that was fitted to each note; how many walks arrive. It takes whatever has been trained. --quick does hardly anything.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import trainings
from benchmarks.record import machine, write
from benchmarks.trainings import SEEDS, Training, as_rows, entry, over_seeds, parser_of, run, signed, trained
from course_lib.data import paths
from course_lib.data.sounds import DRUM, LENGTH, NOTES, cents, frequency, instruments, pitch, sounds
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import V
from course_lib.diffusion.schedules import cosine
from course_lib.draws import normal_like
from course_lib.models import store
from course_lib.nets.sequences import FrameTransformer
from course_lib.recipes.rows import RECIPES
from course_lib.recipes.sounds import heard, many_sounds, seen
from course_lib.recipes.train import train as train_recipe
from course_lib.sampling.generate import Denoising, draw
from course_lib.training.state import Batch, Loss

KINDS = ("plan", "plan, regression")
STEPS, BATCH = 700, 64
EXECUTED = (1, 2, 4, 8)  # how many actions of a plan of eight are done before the next
COSINE = cosine(1000)
PROCESS = GaussianDiffusion(COSINE)


def to_learn() -> Batch:
    """What the policies learn from: the next actions and where they begin, of a thousand walks."""
    places, actions = paths.lessons(paths.walks(1000, torch.Generator().manual_seed(0)))
    return actions, places


def build() -> FrameTransformer:
    """An untrained policy."""
    return FrameTransformer(2, paths.CHUNK, 32, 2, 2, numbers=2)


def loss_of(kind: str) -> Loss:
    """What a kind of network learns."""

    def denoising(network: Any, batch: Batch, generator: torch.Generator) -> Tensor:
        actions, places = batch
        t, noise = COSINE.times(len(actions), generator), normal_like(actions, generator)
        return denoising_loss(network, actions, t, noise, PROCESS, V, places).mean()

    def regression(network: Any, batch: Batch, generator: torch.Generator) -> Tensor:
        actions, places = batch
        return (regressed(network, places) - actions).square().mean()

    return regression if kind.endswith("regression") else denoising


def regressed(network: FrameTransformer, places: Tensor) -> Tensor:
    """The network's one answer for each place `(n, 2)`: it is shown no noise, at the time 0."""
    nothing = torch.zeros(len(places), paths.CHUNK, 2)
    return network(nothing, nothing[:, 0, 0], places)


def train(kept: Path, name: str, seed: int, quick: bool) -> None:
    """Train one network, unless it is there: sounds by their recipe, a policy as a small training."""
    if name == "sounds":
        run = kept / f"sounds-{seed}"
        if not (run / "model.safetensors").exists():
            train_recipe(RECIPES["sounds"], run, seed=seed, steps=2 if quick else None)
    else:
        trainings.train(kept, name, seed, Training(build, loss_of(name), to_learn, 2 if quick else STEPS, BATCH))


# --- sounds -----------------------------------------------------------------------------------------------------------


def fitted(asked: Tensor, generator: torch.Generator) -> Tensor:
    """Draws from the Gaussian with the mean and covariance of each note's sounds: the mean plus a random mixture of deviations."""
    loudness, notes = many_sounds()
    drawn = []
    for note in asked:
        rows = loudness[notes == note]
        mixture = torch.randn(len(rows), generator=generator) / (len(rows) - 1) ** 0.5
        drawn.append(rows.mean(0) + torch.tensordot(mixture, rows - rows.mean(0), 1))
    return torch.stack(drawn)


def listened(loudness: list[Tensor], asked: Tensor, name: str, metrics: dict[str, Any]) -> None:
    """What an ear of rules says of sounds, given as loudness, one set a seed; the drum is left out."""
    tonal, cents_off, right, pure, pipes = asked < DRUM, [], [], [], []
    for seed, one in enumerate(loudness):
        waves = heard(one[tonal], seed=seed)
        found = cents(pitch(waves)[0], frequency(asked[tonal].double())).abs()
        played = instruments(waves, asked[tonal])
        cents_off.append(found)
        right.append((found < 50).double())
        pure.append((played >= 0).double())
        pipes.append((played == 0).double())
    each = {"right note": right, "one instrument": pure, "pipe": pipes}
    for what, values in each.items():
        over_seeds(values, metrics, f"{name}: {what}")
    metrics[f"{name}: cents"] = {"value": round(float(torch.cat(cents_off).median()), 2)}
    print(name, metrics[f"{name}: right note"], metrics[f"{name}: one instrument"], flush=True)


def measure_sounds(kept: Path, times: int) -> dict[str, Any]:
    """All of it for sounds, `times` sounds of each note and seed."""
    metrics: dict[str, Any] = {}
    asked = torch.arange(NOTES + 1).repeat(times)
    runs = [kept / f"sounds-{seed}" for seed in range(SEEDS)]
    models = [store.load_denoising(run) for run in runs if (run / "model.safetensors").exists()]
    generators = [torch.Generator().manual_seed(seed) for seed in range(SEEDS)]
    drawn = [draw(model, len(asked), 30, "ddim", generators[seed], asked) for seed, (model, _) in enumerate(models)]
    if drawn:
        listened(drawn, asked, "diffusion", metrics)
        metrics["diffusion: minutes"] = {"value": sum(card.minutes for _, card in models) / len(models)}
    listened([fitted(asked, generator) for generator in generators], asked, "Gaussian of each note", metrics)
    real = sounds(len(asked), torch.Generator().manual_seed(99))
    listened([seen(real.waves)], real.notes, "new real sounds", metrics)
    learned = many_sounds()[0].flatten(1)
    sets = {"new real sounds": seen(real.waves), **({"diffusion": drawn[0]} if drawn else {})}
    for name, rows in sets.items():
        nearest = torch.cdist(rows.flatten(1), learned).amin(1) / learned.shape[1] ** 0.5
        metrics[f"{name}: distance to the nearest learned"] = entry(nearest)
    return metrics


# --- plans ------------------------------------------------------------------------------------------------------------


def policy_of(kind: str, network: FrameTransformer, seed: int) -> Callable[[Tensor], Tensor]:
    """What a trained network does at places `(n, 2)`."""
    if kind.endswith("regression"):
        return lambda places: regressed(network, places)
    model, generator = Denoising(network, V, COSINE, (paths.CHUNK, 2)), torch.Generator().manual_seed(seed)
    return lambda places: draw(model, len(places), 10, "ddim", generator, places)


def measure_plans(kept: Path, n: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """All of it for plans: shares of walks that arrive, by kind and actions done; paired differences; walks to look at."""
    metrics: dict[str, Any] = {}
    examples: dict[str, Any] = {}
    arrived: dict[tuple[str, int], list[Tensor]] = {}
    for kind, name in (("plan", "diffusion"), ("plan, regression", "regression")):
        for executed in EXECUTED:
            each, hits, right = [], [], []
            for seed, (network, _) in trained(kept, kind, build).items():
                start = paths.starts(n, torch.Generator().manual_seed(100 + seed))
                done = paths.walk(policy_of(kind, network, seed), start, executed)
                each.append(done.arrived.double())
                hits.append(done.hit.double())
                right.append(done.right[done.arrived].double())
                if seed == 0:
                    examples[f"{name}, {executed}"] = as_rows(done.places[:24])
            if each:
                setting = f"{name}, {executed} done"
                arrived[name, executed] = each
                over_seeds(each, metrics, f"{setting}: arrived")
                over_seeds(hits, metrics, f"{setting}: hit the pillar")
                if all(len(one) for one in right):
                    over_seeds(right, metrics, f"{setting}: on the right")
                print(setting, metrics[f"{setting}: arrived"], flush=True)
        spent = [seconds for _, seconds in trained(kept, kind, build).values()]
        if spent:
            metrics[f"{name}: seconds"] = {"value": round(sum(spent) / len(spent), 1)}
    differences = {}
    for executed in EXECUTED:
        pair = [arrived.get((name, executed), []) for name in ("diffusion", "regression")]
        if all(pair) and len(pair[0]) == len(pair[1]):
            gap = torch.cat([one - other for one, other in zip(*pair, strict=True)])
            differences[f"diffusion - regression, {executed} done: arrived"] = signed(gap)
    expert = paths.walks(n, torch.Generator().manual_seed(5))
    metrics["expert: hit the pillar"] = entry(paths.touches(expert).double())
    examples["expert"] = as_rows(expert[:24])
    return metrics, differences, examples


def measure(arguments: Any, kept: Path) -> None:
    """Write the ledger of what has been trained."""
    started, n = time.monotonic(), 4 if arguments.quick else arguments.n
    heard_ = measure_sounds(kept, 1 if arguments.quick else 4)
    planned, differences, walks = measure_plans(kept, n)
    if arguments.quick:
        return
    options = {
        "seeds": SEEDS,
        "samples a sound": LENGTH,
        "walks": n,
        "steps": STEPS,
        "batch": BATCH,
        "parameters": sum(p.numel() for p in build().parameters()),
    }
    metrics = {f"sounds, {name}": value for name, value in heard_.items()}
    metrics |= {f"plans, {name}": value for name, value in planned.items()}
    more = {"differences": differences, "walks": walks}
    write(arguments.out / "beyond.json", "sounds and plans", {**options, **machine()}, metrics, started, **more)


def main() -> None:
    """Train or measure."""
    parser = parser_of(__doc__, "beyond")
    parser.add_argument("--n", type=int, default=100, help="walks of each seed")
    arguments = parser.parse_args()
    run(arguments, ("sounds", *KINDS), train, partial(measure, arguments))


if __name__ == "__main__":
    main()
