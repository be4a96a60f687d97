"""How the shipped models answer to a setting of the sampler: python -m benchmarks.sweeps draw samplers [--n 5000], then measure.

`draw` draws n images a setting in batches of BATCH and keeps each, so that it may be stopped at any moment and goes on where it was;
batch k of every setting begins with the same noise, so that settings can be compared by paired differences. It takes the settings in
turn: a sweep that was stopped early holds equally many images of each. `measure` reads what was drawn and writes the entry of the
ledger, results/sweep-NAME.json: the metrics of each setting of which n images were drawn, and the differences of the sweep's pairs of
settings, from as many images as both have. It keeps each metric and its value without each fiftieth of the images in
results/parts/sweep-NAME.json, so that a sweep can be drawn on several machines, some settings on each.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs
import torch
from torch import Tensor, nn

from benchmarks.record import machine, write
from course_lib.data import sets
from course_lib.data.images import to_bytes, to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import PREDICTIONS, denoiser
from course_lib.evaluation.evaluate import alike, entry, floors, measure, with_floor
from course_lib.evaluation.features import Features, features
from course_lib.evaluation.intervals import Measured, cut, measured
from course_lib.evaluation.reference import CLASSIFIERS, Reference, load_reference
from course_lib.files import write_atomically
from course_lib.hardware import bf16_is_fast
from course_lib.models import store
from course_lib.models.tensors import load_tensors, save_tensors
from course_lib.sampling.generate import draw
from course_lib.sampling.guidance import classifier_free, classifier_guided, dynamic_threshold, rescaled, within
from course_lib.sampling.steps import ddim, last, sample
from course_lib.training.loop import generator_for
from course_lib.types import Denoiser

BATCH = 100  # images drawn at once, ten of each class where classes are asked for
SIZES = (
    1000,
    5000,
)  # numbers of images at which settings are measured as well where more were drawn, to be compared with fewer
DRAWN = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "sweeps"

Draw = Callable[[Tensor, torch.Generator], Tensor]  # (classes of a batch, generator) -> its images


@dataclass(frozen=True)
class Sweep:
    """One model at several settings."""

    networks: dict[str, nn.Module]  # the shipped networks that draw, by their models' names
    dataset: str
    balanced: bool  # whether each class is asked for equally often; else the model draws what it likes
    settings: dict[str, Draw]
    pairs: list[tuple[str, str]]  # settings of which the first is compared with the second


def samplers() -> Sweep:
    """Four samplers at the same number of network evaluations, and one of them in single precision, on mnist-ddpm (chapter 3)."""
    model, _ = store.load_denoising("mnist-ddpm")
    process = GaussianDiffusion(model.schedule)
    denoise = denoiser(model.network, model.prediction, model.schedule, clip=1.0)

    @torch.no_grad()
    def float32(labels: Tensor, generator: torch.Generator) -> Tensor:
        x = process.prior((len(labels), *model.shape), generator)
        return last(sample(ddim(denoise, process), x, model.schedule.grid(50)))

    def setting(sampler: str, steps: int) -> Draw:
        return lambda labels, generator: draw(model, len(labels), steps, sampler, generator)

    settings = {}
    for evaluations in (5, 10, 20, 50, 100, 1000):
        for sampler in ("ddpm", "ddim", "heun", "dpm-solver"):
            if evaluations == 1000 and sampler in ("heun", "dpm-solver"):
                continue  # they have long converged
            # Heun's last step asks once: k steps ask 2k - 1 times, and an even number of evaluations is one too many.
            steps = (evaluations + 1) // 2 if sampler == "heun" else evaluations
            settings[f"{sampler}, {evaluations} evaluations"] = setting(sampler, steps)
    slow = {sampler: f"{sampler}, 1000 evaluations" for sampler in ("ddpm", "ddim")}
    pairs = [(slow["ddpm"], slow["ddim"])]
    for name in settings.keys() - slow.values():
        pairs.append((name, slow["ddpm" if name.startswith("ddpm") else "ddim"]))
        if not name.startswith("ddim"):
            pairs.append((name, f"ddim{name[name.index(',') :]}"))
    settings["ddim in float32, 50 evaluations"] = float32
    pairs.append(("ddim in float32, 50 evaluations", "ddim, 50 evaluations"))
    return Sweep({"mnist-ddpm": model.network}, "mnist", balanced=False, settings=settings, pairs=sorted(pairs))


def classifier() -> Sweep:
    """Classifier guidance of mnist-ddpm by mnist-noisy-classifier, at rising scales (chapter 5)."""
    network, card = store.load("mnist-ddpm")
    guide, _ = store.load("mnist-noisy-classifier")
    schedule = card.build_schedule()
    process, denoise = GaussianDiffusion(schedule), denoiser(network, PREDICTIONS[card.prediction], schedule)

    def drawn(labels: Tensor, generator: torch.Generator, scale: float) -> Tensor:
        x = process.prior((len(labels), *card.image_shape), generator)
        step = ddim(classifier_guided(denoise, guide, schedule, labels, scale, clip=1.0), process)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast(torch.device("cpu"))):
            return last(sample(step, x, schedule.grid(25)))

    settings: dict[str, Draw] = {f"scale {s:g}": partial(drawn, scale=s) for s in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)}
    return Sweep(
        {"mnist-ddpm": network, "mnist-noisy-classifier": guide},
        "mnist",
        balanced=True,
        settings=settings,
        pairs=steps_and_from_one(settings),
    )


def steps_and_from_one(settings: Iterable[str]) -> list[tuple[str, str]]:
    """Each scale and the one before it, and each larger one and scale 1."""
    names = list(settings)
    steps = [(after, before) for before, after in pairwise(names)]
    from_one = [(name, "scale 1") for name in names[names.index("scale 1") + 1 :]]
    return list(dict.fromkeys(steps + from_one))


def free_scales(model: str, steps: int) -> Sweep:
    """Classifier-free guidance at rising scales (chapter 6)."""
    drawing, card = store.load_denoising(model)

    def drawn(labels: Tensor, generator: torch.Generator, scale: float) -> Tensor:
        return draw(drawing, len(labels), steps, "ddim", generator, labels, scale)

    scales = (0.0, 1.0, 1.1, 1.2, 1.3, 1.5, 2.0, 3.0, 5.0, 8.0)
    settings: dict[str, Draw] = {f"scale {s:g}": partial(drawn, scale=s) for s in scales}
    return Sweep(
        {model: drawing.network}, card.dataset, balanced=True, settings=settings, pairs=steps_and_from_one(settings)
    )


def remedies() -> Sweep:
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

    def drawn(labels: Tensor, generator: torch.Generator, way: str) -> Tensor:
        x = process.prior((len(labels), *card.image_shape), generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast(torch.device("cpu"))):
            return last(sample(ddim(ways[way](labels), process), x, schedule.grid(20)))

    def real(labels: Tensor, generator: torch.Generator) -> Tensor:
        images, classes = sets.load("cifar10", "test")
        order = torch.randperm(len(images), generator=generator)
        return to_unit(images[order[alike(classes[order], labels)][labels.argsort().argsort()]])

    settings: dict[str, Draw] = {way: partial(drawn, way=way) for way in ways} | {"real test images": real}
    strong = "scale 8, clipped"
    pairs = [(way, strong) for way in ways if way != strong]
    return Sweep({"cifar10-cfg": network}, "cifar10", balanced=True, settings=settings, pairs=pairs)


SWEEPS: dict[str, Callable[[], Sweep]] = {
    "samplers": samplers,
    "classifier": classifier,
    "mnist-cfg": partial(free_scales, "mnist-cfg", 25),
    "remedies": remedies,
    "cifar10-cfg": partial(free_scales, "cifar10-cfg", 20),
}


def batch_file(folder: Path, setting: str, number: int) -> Path:
    """Where one batch of a setting is kept."""
    return folder / setting.replace(" ", "-") / f"{number:03d}.safetensors"


def draw_sweep(sweep: Sweep, folder: Path, n: int, only: str = "") -> Iterator[str]:
    """Draw what is missing of n images a setting, batch by batch, and yield a line for each; `only` names part of the settings' names."""
    network, _ = store.load(CLASSIFIERS[sweep.dataset])
    labels = torch.arange(BATCH) % sets.CLASSES
    for number in range(n // BATCH):
        for name, drawn in sweep.settings.items():
            file, started = batch_file(folder, name, number), time.monotonic()
            if only not in name or file.exists():
                continue
            images = to_bytes(drawn(labels, generator_for(0, number, torch.device("cpu"))))
            found = features(network, images)  # type: ignore[arg-type]
            seconds = time.monotonic() - started
            tensors = {"images": images, "vectors": found.vectors.float(), "log_probs": found.log_probs.float()}
            tensors |= {"labels": labels} if sweep.balanced else {}
            save_tensors(file, tensors, {"seconds": f"{seconds:.1f}", "machine": json.dumps(machine())})
            yield f"{name}, batch {number}: {seconds:.0f} s"


class Drawn(NamedTuple):
    """What was drawn of one setting."""

    found: Features
    labels: Tensor | None
    saturated: Tensor  # (n,): the share of an image's values within one grey level of black or white
    seconds: float


def read(folder: Path, setting: str, batches: int) -> Drawn:
    """The first batches of a setting."""
    loaded = [load_tensors(batch_file(folder, setting, number)) for number in range(batches)]
    joined = {name: torch.cat([tensors[name] for tensors, _ in loaded]) for name in loaded[0][0]}
    extreme = (joined["images"] <= 1) | (joined["images"] >= 254)
    return Drawn(
        Features(joined["vectors"].double(), joined["log_probs"].double()),
        joined.get("labels"),
        extreme.flatten(1).double().mean(1),
        sum(float(metadata["seconds"]) for _, metadata in loaded),
    )


def measure_setting(drawn: Drawn, reference: Reference) -> dict[str, Measured]:
    """Every metric of what was drawn, and the share of saturated values."""
    rows = drawn.saturated
    share = measured(lambda w: float(rows.mean() if w is None else w @ rows / w.sum()), cut(len(rows), drawn.labels))
    return measure(reference, drawn.found, drawn.labels) | {"saturated": share}


class Kept(NamedTuple):
    """A setting measured: every metric by its number of images, and the seconds that the drawing took."""

    seconds: float
    metrics: dict[int, dict[str, Measured]]


def measure_settings(sweep: Sweep, folder: Path, n: int, kept: dict[str, Kept]) -> dict[str, Kept]:
    """What is `kept` of each setting, with that measured anew of which at least as many images lie here, up to n."""
    reference, found = load_reference(sweep.dataset), dict(kept)
    here = {name: min(n, BATCH * batches_of(folder, name)) for name in sweep.settings}
    for name, have in here.items():
        if have and have >= max(kept[name].metrics if name in kept else [0]):
            partners = {other for pair in sweep.pairs if name in pair for other in pair}
            theirs = {here[other] for other in partners}.union(
                *(kept[other].metrics for other in partners & kept.keys())
            )
            sizes = {have, *(size for size in (*SIZES, *theirs) if 0 < size < have)}
            drawn = {size: read(folder, name, size // BATCH) for size in sorted(sizes)}
            metrics = {size: measure_setting(of, reference) for size, of in drawn.items()}
            found[name] = Kept(round(drawn[have].seconds, 1), metrics)
            print(f"{name}: {metrics[have]['frechet distance'].interval(0)}, {have} images", flush=True)
    return {name: found[name] for name in sweep.settings if name in found}


def ledger_of(sweep: Sweep, kept: dict[str, Kept], n: int) -> dict[str, dict[str, Any]]:
    """Metrics and differences as the ledger holds them."""
    labels = torch.arange(n) % sets.CLASSES if sweep.balanced else None
    floor = floors(load_reference(sweep.dataset), n, labels)
    metrics = {
        f"{name}: {key}": with_floor(key, found, floor.get(key), n)
        for name, of in kept.items()
        for key, found in of.metrics.get(n, {}).items()
    }
    differences: dict[str, Any] = {}
    for one, other in sweep.pairs:
        if both := kept[one].metrics.keys() & kept[other].metrics.keys() if {one, other} <= kept.keys() else set():
            for key, found in kept[one].metrics[max(both)].items():
                change = found.minus(kept[other].metrics[max(both)][key])
                if change.error > 0:  # else leaving out shows no difference, and says nothing of how large it may be
                    differences[f"{one} - {other}: {key}"] = {**entry(change.interval()), "n": max(both)}
    return {"metrics": metrics, "differences": differences}


def to_json(kept: dict[str, Kept]) -> dict[str, Any]:
    """The settings as they stand in a file: of each metric the value, and after it those without each part."""

    def numbers(found: Measured) -> list[float]:
        return [float(f"{x:.7g}") for x in (found.value, *found.without.tolist())]

    return {
        name: {
            "seconds": of.seconds,
            "metrics": {
                str(n): {key: numbers(found) for key, found in table.items()} for n, table in of.metrics.items()
            },
        }
        for name, of in kept.items()
    }


def read_parts(file: Path, weights: dict[str, str]) -> dict[str, Kept]:
    """The settings that an earlier run kept; none where it drew with other weights, or never was."""
    if not file.exists() or (found := json.loads(file.read_text()))["weights"] != weights:
        return {}

    def one(numbers: list[float]) -> Measured:
        return Measured(numbers[0], torch.tensor(numbers[1:], dtype=torch.float64))

    return {
        name: Kept(
            of["seconds"],
            {int(n): {key: one(found) for key, found in table.items()} for n, table in of["metrics"].items()},
        )
        for name, of in found["settings"].items()
    }


def batches_of(folder: Path, setting: str) -> int:
    """How many batches of a setting were drawn, without a gap."""
    return next(number for number in count() if not batch_file(folder, setting, number).exists())


def main() -> None:
    """Draw or measure one sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("draw", "measure"))
    parser.add_argument("sweep", choices=SWEEPS)
    parser.add_argument("--n", type=int, default=1000, help=f"images a setting, a multiple of {BATCH}")
    parser.add_argument("--only", default="", help="draw only the settings with this in their names")
    parser.add_argument(
        "--compile", action="store_true", help="compile the networks first: worth it from 50 evaluations"
    )
    parser.add_argument("--drawn", type=Path, default=DRAWN, help="where the images are kept")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    if arguments.n < BATCH or arguments.n % BATCH:
        parser.error(f"--n must be a multiple of {BATCH}; got {arguments.n}")
    sweep, folder, started = SWEEPS[arguments.sweep](), arguments.drawn / arguments.sweep, time.monotonic()
    if arguments.task == "draw":
        for network in sweep.networks.values() if arguments.compile else ():
            network.to(memory_format=torch.channels_last).compile(dynamic=False)  # type: ignore[call-overload]
        for line in draw_sweep(sweep, folder, arguments.n, arguments.only):
            print(line, flush=True)
        return
    parts = arguments.out / "parts" / f"sweep-{arguments.sweep}.json"
    weights = {model: store.load(model)[1].sha256 for model in sweep.networks}
    kept = measure_settings(sweep, folder, arguments.n, read_parts(parts, weights))
    text = (
        json.dumps({"weights": weights, "settings": to_json(kept)})
        .replace('"metrics"', '\n"metrics"')
        .replace("], ", "],\n")
    )
    write_atomically(parts, text.encode() + b"\n")
    options = {"n": arguments.n, "seed": 0, **machine()}  # parts may have been drawn on other ones
    started -= sum(of.seconds for of in kept.values())
    path = arguments.out / f"sweep-{arguments.sweep}.json"
    found = ledger_of(sweep, kept, arguments.n)
    write(path, f"sweep: {arguments.sweep}", options, found["metrics"], started, differences=found["differences"])


if __name__ == "__main__":
    main()
