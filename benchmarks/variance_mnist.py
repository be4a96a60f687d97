"""What the reverse variance is worth on MNIST: python -m benchmarks.variance_mnist gamma, then bits, draw, measure.

`gamma` measures the norms of the models' scores and writes them beside their weights. `bits` computes the bound of test digits with each
variance, for few steps and many. `draw` draws samples, batch by batch in turns, and keeps their features. Each part is kept when it is
done, so that it may be stopped at any moment. `measure` writes results/variance-mnist.json.
"""

import argparse
import functools
import json
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor

from benchmarks.record import machine, write
from benchmarks.variance_digits import Remembered, entry
from course_lib.data import sets
from course_lib.data.images import to_unit
from course_lib.diffusion.bound import discretised_log_prob, variational_bound
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import denoiser
from course_lib.evaluation.evaluate import floors, within_range
from course_lib.evaluation.features import features
from course_lib.evaluation.frechet import frechet_statistic
from course_lib.evaluation.intervals import Measured, cut, measured
from course_lib.evaluation.reference import CLASSIFIERS, load_reference
from course_lib.hardware import bf16_is_fast
from course_lib.models import store
from course_lib.models.tensors import load_tensors, save_tensors
from course_lib.sampling.generate import Denoising, draw
from course_lib.sampling.steps import ancestral, last, sample, unit_variance
from course_lib.sampling.variance import analytic_variance, learned_variance, score_norms, split_output
from course_lib.training.loop import generator_for
from course_lib.types import Cond, Denoiser, Variance

MODELS = ("mnist-ddpm", "mnist-iddpm")
COUNTS, IMAGES = (10, 25, 50, 100, 1000), 100  # steps and test digits for the bound
STEPS = (10, 20, 25, 50, 100)  # for samples
BATCH = 100
KEPT = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "variance-mnist"


def fast() -> torch.autocast:
    """bf16 where the hardware is fast at it, as models are drawn from."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast(torch.device("cpu")))


def plain(model: Denoising, network: Any = None, clip: float | None = None) -> Denoiser:
    """The denoiser of a model, whether or not its network says a variance, too."""
    asked = network or model.network

    def mean(x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        return split_output(asked(x, t, cond), x)[0]

    return denoiser(mean if model.learns_variance else asked, model.prediction, model.schedule, clip=clip)


def gamma(name: str, draws: int) -> Path:
    """Measure the norms of a model's score on training digits."""
    model = store.denoising(*store.load(name))  # not what was measured with earlier weights
    data = to_unit(sets.load("mnist", "train")[0])
    with fast():
        found = score_norms(
            plain(model), data, GaussianDiffusion(model.schedule), draws, torch.Generator().manual_seed(0)
        )
    return store.save_gamma(name, found)


def ways(model: Denoising, network: Any, times: Tensor) -> dict[str, tuple[Denoiser, Variance | None]]:
    """The denoiser with each variance that a model can have, for a chain of the given times."""
    process, denoise = GaussianDiffusion(model.schedule), plain(model, network, 1.0)
    assert model.gamma is not None
    found: dict[str, tuple[Denoiser, Variance | None]] = {
        "beta-tilde": (denoise, None),
        "beta": (denoise, unit_variance(model.schedule)),
        "analytic": (denoise, analytic_variance(model.gamma, model.schedule)),
    }
    if model.learns_variance:
        found["learned"] = learned_variance(network, model.prediction, process, clip=1.0, times=times)
        found["learned, of single steps"] = learned_variance(network, model.prediction, process, clip=1.0)
    return found


@torch.no_grad()
def bits(kept: Path) -> Iterator[str]:
    """The divergences of all steps of test digits in bits for each dimension, and the whole bound, `(n,)`, by model, way and steps."""
    images = to_unit(sets.load("mnist", "test")[0])
    for steps in COUNTS:
        for name in MODELS:
            file, started = kept / f"bits-{name}-{steps}.safetensors", time.monotonic()
            if file.exists():
                continue
            model = model_of(name)
            x0, times = images[:IMAGES], model.schedule.grid(steps)
            asked, found = Remembered(model.network), {}
            with fast():
                for way, (denoise, spread) in ways(model, asked, times).items():
                    generator = torch.Generator().manual_seed(0)
                    process = GaussianDiffusion(model.schedule)
                    bound = variational_bound(denoise, x0, process, discretised_log_prob, spread, generator, times)
                    found[f"{way}, all"] = bound.bits_per_dimension(x0[0].numel())
                    found[way] = bound.steps.sum(0) / (x0[0].numel() * math.log(2))
            save_tensors(file, found, {"seconds": f"{time.monotonic() - started:.1f}"})
            yield f"{name}, {steps} steps: { {way: round(float(values.mean()), 3) for way, values in found.items()} }"


@functools.cache
def model_of(name: str) -> Denoising:
    """A model that draws, loaded once."""
    return store.load_denoising(name)[0]


def by_sampler(name: str, sampler: str, steps: int, generator: torch.Generator) -> Tensor:
    """A batch of samples by one of the command's samplers."""
    return draw(model_of(name), BATCH, steps, sampler, generator)


@torch.no_grad()
def with_beta(steps: int, generator: torch.Generator) -> Tensor:
    """A batch of samples by DDPM with the larger variance."""
    model = model_of("mnist-ddpm")
    process = GaussianDiffusion(model.schedule)
    x = process.prior((BATCH, *model.shape), generator)
    step = ancestral(plain(model, clip=1.0), process, unit_variance(model.schedule), generator)
    with fast():
        return last(sample(step, x, model.schedule.grid(steps)))


def settings() -> dict[str, Callable[[torch.Generator], Tensor]]:
    """How samples are drawn: a batch from a generator."""
    found: dict[str, Callable[[torch.Generator], Tensor]] = {}
    for steps in STEPS:
        found |= {
            f"DDPM, beta-tilde, {steps}": partial(by_sampler, "mnist-ddpm", "ddpm", steps),
            f"DDPM, beta, {steps}": partial(with_beta, steps),
            f"Analytic-DDPM, {steps}": partial(by_sampler, "mnist-ddpm", "analytic-ddpm", steps),
            f"DDIM, {steps}": partial(by_sampler, "mnist-ddpm", "ddim", steps),
            f"Analytic-DDIM, {steps}": partial(by_sampler, "mnist-ddpm", "analytic-ddim", steps),
            f"DDPM, learned, {steps}": partial(by_sampler, "mnist-iddpm", "ddpm", steps),
        }
    return found


def draw_all(kept: Path, n: int, only: str) -> Iterator[str]:
    """Draw what is missing of n samples of the settings with `only` in their names; batch k of every setting begins with the same noise."""
    classifier, _ = store.load(CLASSIFIERS["mnist"])
    for number in range(n // BATCH):
        for name, drawn in settings().items():
            file, started = kept / "drawn" / name.replace(" ", "") / f"{number:03d}.safetensors", time.monotonic()
            if only in name and not file.exists():
                found = features(classifier, drawn(generator_for(0, number, torch.device("cpu"))))  # type: ignore[arg-type]
                seconds = time.monotonic() - started
                save_tensors(file, {"vectors": found.vectors.float()}, {"seconds": f"{seconds:.1f}"})
                yield f"{name}, batch {number}: {seconds:.0f} s"


def distances(kept: Path, most: int | None = None) -> tuple[dict[str, Measured], int, float]:
    """The Fréchet distance of each setting, from as many samples as all have (at most so many), and the seconds of drawing them."""
    folders = {name: kept / "drawn" / name.replace(" ", "") for name in settings()}
    batches = min(next(k for k in count() if not (at / f"{k:03d}.safetensors").exists()) for at in folders.values())
    batches = batches if most is None else min(batches, most // BATCH)
    reference, found, seconds = load_reference("mnist"), {}, 0.0
    for name, folder in folders.items():
        loaded = [load_tensors(folder / f"{number:03d}.safetensors") for number in range(batches)]
        vectors = torch.cat([tensors["vectors"] for tensors, _ in loaded]).double()
        found[name] = measured(frechet_statistic(reference.train, vectors), cut(len(vectors)))
        seconds += sum(float(metadata["seconds"]) for _, metadata in loaded)
    return found, batches * BATCH, seconds


def of_images(values: Tensor) -> dict[str, float]:
    """The mean of values of independent images `(n,)` with its 95 % interval and standard error."""
    value, error = float(values.mean()), float(values.double().std() / len(values) ** 0.5)
    return entry(value, value - 1.96 * error, value + 1.96 * error, error)


def measure(kept: Path, out: Path) -> dict[str, Any]:
    """Bits, distances and paired differences of both, as the ledger holds them, beside DDPM's thousand steps of the sweep of samplers."""
    metrics: dict[str, Any] = {}
    differences: dict[str, Any] = {}
    seconds = 0.0
    for steps in COUNTS:
        files = {name: load_tensors(kept / f"bits-{name}-{steps}.safetensors") for name in MODELS}
        seconds += sum(float(metadata["seconds"]) for _, metadata in files.values())
        for name, (found, _) in files.items():
            for way, values in found.items():
                if not bool(values.isfinite().all()):
                    continue  # where a pixel's last variance is 0, it has no density
                metrics[f"{name}, {way}, {steps}: bits"] = of_images(values)
                for fixed in ("beta-tilde", "beta"):
                    if way != fixed and not way.endswith("all"):
                        change = of_images(values - files["mnist-ddpm"][0][fixed])
                        differences[f"{name}, {way} - mnist-ddpm, {fixed}, {steps}: bits"] = change
    found, n, drawing = distances(kept)
    floor = floors(load_reference("mnist"), n)["frechet distance"]
    real = within_range("frechet distance", floor, n)
    for name, one in found.items():
        metrics[f"{name}: frechet distance"] = {
            **entry(*within_range("frechet distance", one, n), one.error),
            **{f"floor{end}": round(x, 5) for end, x in zip(("", "_low", "_high"), real, strict=True)},
        }
        for other in found:
            if name != other and name.split(", ")[-1] == other.split(", ")[-1]:
                change = one.minus(found[other])
                differences[f"{name} - {other}: frechet distance"] = entry(*change.interval(), change.error)
    parts = json.loads((out / "parts" / "sweep-samplers.json").read_text())["settings"]["ddpm, 1000 evaluations"][
        "metrics"
    ]
    few = min(int(size) for size in parts)  # a thousand steps are slow: there are fewer samples of them
    value, *without = parts[str(few)]["frechet distance"]
    one = Measured(value, torch.tensor(without, dtype=torch.float64))
    metrics["few, DDPM, 1000: frechet distance"] = entry(*within_range("frechet distance", one, few), one.error)
    for name, one in distances(kept, few)[0].items():
        metrics[f"few, {name}: frechet distance"] = entry(*within_range("frechet distance", one, few), one.error)
    return {"metrics": metrics, "differences": differences, "n": n, "few": few, "seconds": seconds + drawing}


def main() -> None:
    """Do one of the tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("gamma", "bits", "draw", "measure"))
    parser.add_argument("--models", nargs="*", default=MODELS, help="whose gamma to measure")
    parser.add_argument("--draws", type=int, default=100, help="noisy digits at each time for gamma")
    parser.add_argument("--only", default="", help="draw only the settings with this in their names")
    parser.add_argument("--n", type=int, default=300, help=f"samples a setting, a multiple of {BATCH}")
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    if arguments.task == "gamma":
        for name in arguments.models:
            print(f"written to {gamma(name, arguments.draws)}", flush=True)
    elif arguments.task == "measure":
        found, options = (
            measure(arguments.kept, arguments.out),
            {"seed": 0, "bf16": bf16_is_fast(torch.device("cpu")), **machine()},
        )
        options = {"samples": found["n"], "few samples": found["few"], "test digits": IMAGES, **options}
        started = time.monotonic() - found["seconds"]
        path = arguments.out / "variance-mnist.json"
        write(path, "variance: mnist", options, found["metrics"], started, differences=found["differences"])
    else:
        lines = (
            bits(arguments.kept) if arguments.task == "bits" else draw_all(arguments.kept, arguments.n, arguments.only)
        )
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    main()
