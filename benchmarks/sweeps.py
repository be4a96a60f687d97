"""How the shipped models answer to a setting of the sampler: python -m benchmarks.sweeps samplers [--n 1000]

Each sweep draws n images a setting, measures them as `course evaluate` measures them, and writes one entry of the ledger,
results/sweep-NAME.json. After every setting the entry is written again, and a sweep that was stopped goes on where it was.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import machine, write
from course_lib.data import sets
from course_lib.data.images import to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import PREDICTIONS, denoiser
from course_lib.evaluation.evaluate import compare
from course_lib.evaluation.intervals import bootstrap
from course_lib.hardware import bf16_is_fast
from course_lib.models import store
from course_lib.sampling.generate import balanced_classes, draw_batches
from course_lib.sampling.guidance import classifier_free, classifier_guided, dynamic_threshold, rescaled, within
from course_lib.sampling.steps import ddim, last, sample
from course_lib.types import Denoiser

Setting = tuple[str, Callable[[int], tuple[str, Tensor, Tensor | None]]]  # its name; n -> (data set, images, classes)


def samplers() -> Iterator[Setting]:
    """Four samplers at the same number of network evaluations, on mnist-ddpm (chapter 3)."""
    model, _ = store.load_denoising("mnist-ddpm")

    def setting(sampler: str, evaluations: int, steps: int) -> Setting:
        def draw(n):
            return ("mnist", draw_batches(model, n, steps, sampler, seed=0, batch_size=250), None)

        return f"{sampler}, {evaluations} evaluations", draw

    for evaluations in (5, 10, 20, 50, 100, 1000):
        for sampler in ("ddpm", "ddim", "heun", "dpm-solver"):
            if evaluations == 1000 and sampler in ("heun", "dpm-solver"):
                continue  # they have long converged
            # Heun's last step asks once: k steps ask 2k - 1 times, and an even number of evaluations is one too many.
            yield setting(sampler, evaluations, (evaluations + 1) // 2 if sampler == "heun" else evaluations)


def classifier() -> Iterator[Setting]:
    """Classifier guidance of mnist-ddpm by mnist-noisy-classifier, at rising scales (chapter 5)."""
    network, card = store.load("mnist-ddpm")
    guide, _ = store.load("mnist-noisy-classifier")
    schedule = card.build_schedule()
    process, denoise = GaussianDiffusion(schedule), denoiser(network, PREDICTIONS[card.prediction], schedule)

    def drawn(n: int, scale: float) -> tuple[str, Tensor, Tensor]:
        cond, generator, batches = torch.arange(n) * 10 // n, torch.Generator().manual_seed(0), []
        for wanted in cond.split(250):
            x = process.prior((len(wanted), *card.image_shape), generator)
            step = ddim(classifier_guided(denoise, guide, schedule, wanted, scale, clip=1.0), process)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast(torch.device("cpu"))):
                batches.append(last(sample(step, x, schedule.grid(25))))
        return "mnist", torch.cat(batches), cond

    for scale in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0):
        yield f"scale {scale:g}", partial(drawn, scale=scale)


def free_scales(model: str, steps: int, scales: tuple[float, ...]) -> Iterator[Setting]:
    """Classifier-free guidance at rising scales (chapter 6)."""
    drawing, card = store.load_denoising(model)

    def drawn(n: int, scale: float) -> tuple[str, Tensor, Tensor | None]:
        cond = balanced_classes(drawing.takes, n)
        return (
            card.dataset,
            draw_batches(drawing, n, steps, "ddim", seed=0, batch_size=250, cond=cond, scale=scale),
            cond,
        )

    for scale in scales:
        yield f"scale {scale:g}", partial(drawn, scale=scale)


def remedies() -> Iterator[Setting]:
    """What takes the glare out of strong guidance, on cifar10-cfg at scale 8 in 20 steps (chapter 6)."""
    network, card = store.load("cifar10-cfg")
    schedule, prediction = card.build_schedule(), PREDICTIONS[card.prediction]
    process, null = GaussianDiffusion(schedule), card.config["classes"]
    free = partial(classifier_free, network, prediction, schedule)

    def told(labels: Tensor, clip: float | None = None) -> Denoiser:
        return denoiser(network, prediction, schedule, labels, clip)

    ways: dict[str, Callable[[Tensor], Denoiser]] = {
        "scale 1": lambda y: told(y, 1.0),
        "scale 3": lambda y: free(y, null, 3.0, 1.0),
        "scale 8, clipped": lambda y: free(y, null, 8.0, 1.0),
        "dynamic threshold": lambda y: dynamic_threshold(free(y, null, 8.0)),
        "rescaled": lambda y: rescaled(free(y, null, 8.0), told(y), clip=1.0),
        "interval 200 to 800": lambda y: within(free(y, null, 8.0, 1.0), told(y, 1.0), 200, 800),
    }

    def drawn(n: int, way: str) -> tuple[str, Tensor, Tensor]:
        cond, generator, batches = torch.arange(n) * 10 // n, torch.Generator().manual_seed(0), []
        for labels in cond.split(125):
            x = process.prior((len(labels), *card.image_shape), generator)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast(torch.device("cpu"))):
                batches.append(last(sample(ddim(ways[way](labels), process), x, schedule.grid(20))))
        return "cifar10", torch.cat(batches), cond

    for way in ways:
        yield way, partial(drawn, way=way)

    def real(n: int) -> tuple[str, Tensor, Tensor]:
        images, labels = sets.load("cifar10", "test")
        return "cifar10", to_unit(images[:n]), labels[:n]

    yield "real test images", real


SWEEPS: dict[str, Callable[[], Iterator[Setting]]] = {
    "samplers": samplers,
    "classifier": classifier,
    "mnist-cfg": partial(free_scales, "mnist-cfg", 25, (0.0, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)),
    "remedies": remedies,
    "cifar10-cfg": partial(free_scales, "cifar10-cfg", 20, (0.0, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)),
}


def saturated(images: Tensor) -> dict[str, float]:
    """The share of values within one grey level of black or white, with its bootstrap interval over the images."""
    rows = (images.abs() > 1 - 2 / 255).flatten(1).double().mean(1)
    estimate = bootstrap(lambda w: float(rows.mean() if w is None else w @ rows / w.sum()), len(rows))
    return {part: round(value, 5) for part, value in estimate._asdict().items()}


def known(path: Path, n: int) -> dict[str, Any]:
    """The values that an earlier run with the same n has left."""
    entry = json.loads(path.read_text()) if path.exists() else {}
    return entry["metrics"] if entry.get("options", {}).get("n") == n else {}


def main() -> None:
    """Run one sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", choices=SWEEPS)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="20 images of the first setting only; writes nothing")
    arguments = parser.parse_args()
    if arguments.quick:
        name, draw = next(SWEEPS[arguments.sweep]())
        print(f"{name}: {compare(*draw(20))['frechet distance']}")
        return
    path, started = arguments.out / f"sweep-{arguments.sweep}.json", time.monotonic()
    metrics = known(path, arguments.n)
    for name, draw in SWEEPS[arguments.sweep]():
        if f"{name}: frechet distance" in metrics:
            continue
        name_of_data, images, labels = draw(arguments.n)
        found = compare(name_of_data, images, labels) | {"saturated": saturated(images)}
        metrics |= {f"{name}: {key}": value for key, value in found.items()}
        print(f"{name}: {found['frechet distance']}", flush=True)
        write(path, f"sweep: {arguments.sweep}", {"n": arguments.n, "seed": 0, **machine()}, metrics, started)


if __name__ == "__main__":
    main()
