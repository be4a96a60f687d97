"""Restoring pictures with models that were trained for nothing of it: python -m benchmarks.restoring draw, then measure.

`draw` restores test pictures from what is left of them, by every method of `course_lib.sampling.restoring`, with mnist-ddpm and
cifar10-cfg (without classes); and edits mosaics of test pictures by SDEdit from several t_0. All methods see the same pictures and begin
with the same noise. Each part is kept when it is done, so that drawing may be stopped at any moment and begun again; --n asks for
more pictures. `measure` writes results/restoring.json: what each method makes of the pictures, with intervals over pictures, and paired
differences. --quick does hardly anything.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.parts import arguments_of, draw_all, parts_of, place
from benchmarks.record import machine, write
from course_lib.data import sets
from course_lib.data.images import to_bytes, to_unit
from course_lib.diffusion.measurements import Measurement, coarse, grey, known
from course_lib.evaluation.evaluate import entry, floors, with_floor
from course_lib.evaluation.features import Features, features
from course_lib.evaluation.intervals import Measured, cut, mean_of, measured, share_interval
from course_lib.evaluation.kernel import kernel_statistic
from course_lib.evaluation.reference import CLASSIFIERS, load_reference
from course_lib.models import store
from course_lib.models.tensors import load_tensors
from course_lib.sampling.generate import Denoising
from course_lib.sampling.restoring import METHODS, RATE, REPEATS, restored, variations
from course_lib.training.loop import generator_for

MODELS = {"mnist": "mnist-ddpm", "cifar10": "cifar10-cfg"}
STEPS = 50
PICTURES, DRAWS = 10, 2  # in a part: each picture is restored twice
GUIDES = 40  # in a part of SDEdit
STARTS = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)  # t_0 / T
FACTOR = 4  # of the mosaics


def framed(size: int, low: int, high: int, inside: float) -> Tensor:
    """A mask `(1, 1, size, size)` that is `inside` on the rows and columns from low to high - 1, and the contrary elsewhere."""
    mask = torch.full((1, 1, size, size), 1 - inside)
    mask[..., low:high, low:high] = inside
    return mask


def upper_half(size: int) -> Tensor:
    """A mask `(1, 1, size, size)` of the upper half."""
    return (torch.arange(size) < size // 2).float()[None, None, :, None].expand(1, 1, size, size)


TASKS: dict[str, Mapping[str, Measurement]] = {
    "mnist": {"lower half": known(upper_half(28)), "mosaic": coarse(FACTOR)},
    "cifar10": {
        "inpaint": known(framed(32, 8, 24, 0.0)),
        "uncrop": known(framed(32, 4, 28, 1.0)),
        "colour": grey(),
    },
}


@dataclass(frozen=True)
class Setting:
    """One way to make pictures: of which set, from what, and how; `start` is SDEdit's t_0 / T."""

    data: str
    task: str
    method: str
    start: float = 0.0

    @property
    def name(self) -> str:
        """What the ledger calls it."""
        return f"{self.data}, {self.task}, {self.method}"

    @property
    def rows(self) -> int:
        """How many pictures of the test set a part has."""
        return GUIDES if self.start else PICTURES

    def pictures(self, number: int) -> tuple[Tensor, Tensor]:
        """The pictures `(rows, C, H, W)` of a part, in [-1, 1], and their classes."""
        images, labels = test_set(self.data)
        at = slice(number * self.rows, (number + 1) * self.rows)
        return to_unit(images[at]), labels[at]

    def draw(self, number: int) -> Tensor:
        """The pictures of a part, restored, or edited: `(draws, rows, C, H, W)`."""
        generator = generator_for(0, number, torch.device("cpu"))
        x0, _ = self.pictures(number)
        model = model_of(self.data)
        if self.start:
            return variations(model, mosaic(x0), self.start, STEPS, generator)[None]
        measurement = TASKS[self.data][self.task]
        y = measurement.observe(x0).repeat(DRAWS, *[1] * (x0.ndim - 1))
        return restored(model, measurement, y, self.method, STEPS, generator).unflatten(0, (DRAWS, -1))


def mosaic(x0: Tensor) -> Tensor:
    """Pictures `(B, C, H, W)` in squares of one colour each."""
    measurement = coarse(FACTOR)
    return measurement.inverse(measurement.apply(x0))


def settings() -> list[Setting]:
    """All of them, in the order in which they are drawn."""
    restoring = [Setting(data, task, method) for data, tasks in TASKS.items() for task in tasks for method in METHODS]
    editing = [Setting(data, "edit", f"{start:g}", start) for data in MODELS for start in STARTS]
    return sorted([*restoring, *editing], key=lambda one: list(MODELS).index(one.data))


@cache
def test_set(data: str) -> tuple[Tensor, Tensor]:
    """The test pictures and their classes."""
    return sets.load(data, "test")


@cache
def model_of(data: str) -> Denoising:
    """The model that draws such pictures."""
    return store.load_denoising(MODELS[data])[0]


def draw_part(setting: Setting, number: int) -> dict[str, Tensor]:
    """The restored pictures of a part, `(N, C, H, W)` uint8, and what the classifier makes of them."""
    drawn = to_bytes(setting.draw(number).flatten(0, 1))
    found = features(store.load(CLASSIFIERS[setting.data])[0], drawn)  # type: ignore[arg-type]
    return {"images": drawn, "vectors": found.vectors.float(), "log_probs": found.log_probs.float()}


def rms(x: Tensor, draws: int) -> Tensor:
    """The root mean square of each picture `(draws * rows, ...)`, over its draws: `(rows,)`."""
    return x.unflatten(0, (draws, -1)).square().flatten(2).mean((0, 2)).sqrt()


def of_pictures(setting: Setting, x: Tensor, x0: Tensor, right: Tensor) -> dict[str, Tensor]:
    """What is measured of each picture, `(rows,)`: x `(draws * rows, C, H, W)` was made of x0 `(rows, C, H, W)`.

    "error" is the distance to the picture itself, "residual" that of what can be seen of both, "spread" that of two draws divided by
    sqrt 2 (the standard deviation of a pixel between draws), and "accuracy" the share of the draws that the classifier reads right.
    """
    draws = len(x) // len(x0)
    truth = x0.repeat(draws, 1, 1, 1)
    measurement = coarse(FACTOR) if setting.start else TASKS[setting.data][setting.task]
    found = {
        "error": rms(x - truth, draws),
        "residual": rms(measurement.apply(x - truth), draws),
        "accuracy": right.double().unflatten(0, (draws, -1)).mean(0),
    }
    if draws > 1:
        first, second = x.unflatten(0, (draws, -1))[:2]
        found["spread"] = rms((first - second) / 2**0.5, 1)
    return found


def ratio_of(error: Tensor, spread: Tensor) -> Measured:
    """How far draws lie from the pictures, divided by how far two of them lie from each other; 1 for exact draws.

    Both are root mean squares of pictures `(n,)`, the spread as in `of_pictures`.
    """
    rows = torch.stack([error, spread]).double().square()

    def ratio(weights: Tensor | None) -> float:
        of_error, of_spread = rows.mean(1) if weights is None else rows @ weights
        return float((of_error / (2 * of_spread)).sqrt())

    return measured(ratio, cut(len(error)))


def gathered(kept: Path, setting: Setting, parts: int) -> tuple[dict[str, Measured], Features, float]:
    """All that is measured of a setting, the features of what it drew, and the seconds that took."""
    values: dict[str, list[Tensor]] = {}
    vectors, logs, seconds = [], [], 0.0
    for number in range(parts):
        tensors, metadata = load_tensors(place(kept, setting, number))
        x0, labels = setting.pictures(number)
        x = to_unit(tensors["images"])
        right = tensors["log_probs"].argmax(1) == labels.repeat(len(x) // len(x0))
        for key, each in of_pictures(setting, x, x0, right).items():
            values.setdefault(key, []).append(each.double())
        vectors.append(tensors["vectors"][: len(x0)])  # one draw of each picture
        logs.append(tensors["log_probs"][: len(x0)])
        seconds += float(metadata["seconds"])
    found = {key: mean_of(torch.cat(each)) for key, each in values.items()}
    if "spread" in values:
        found["ratio"] = ratio_of(torch.cat(values["error"]), torch.cat(values["spread"]))
    seen = Features(torch.cat(vectors).double(), torch.cat(logs).double())
    found["kernel distance"] = distance(setting.data, seen)
    return found, seen, seconds


@cache
def reference(data: str) -> Any:
    """What real pictures look like to the classifier."""
    return load_reference(data)


def distance(data: str, seen: Features) -> Measured:
    """The kernel distance from the training set, which has no bias in the number of pictures."""
    real = reference(data).train_vectors
    return measured(kernel_statistic(real, seen.vectors), cut(len(seen.vectors)))


def complete(kept: Path) -> dict[str, int]:
    """How many parts there are of each set's settings of each kind, at least."""
    found: dict[str, int] = {}
    for setting in settings():
        key = f"{setting.data}, {setting.task}"
        parts = parts_of(kept, setting)
        found[key] = min(found.get(key, parts), parts)
    return found


def baseline(setting: Setting) -> str:
    """The setting that a setting is compared with: pseudoinverse guidance, or SDEdit from half of the time."""
    return Setting(setting.data, setting.task, "0.5" if setting.start else "pigdm").name


def measure(kept: Path) -> dict[str, Any]:
    """Every metric of the settings of which there are parts, and paired differences."""
    parts, metrics, differences = complete(kept), {}, {}
    all_found: dict[str, dict[str, Measured]] = {}
    seconds, pictures, real = 0.0, {}, {}
    for setting in settings():
        key = f"{setting.data}, {setting.task}"
        if not parts[key]:
            continue
        found, seen, took = gathered(kept, setting, parts[key])
        pictures[key], seconds, n = parts[key] * setting.rows, seconds + took, len(seen.vectors)
        all_found[setting.name] = found
        if (setting.data, n) not in real:
            real[setting.data, n] = floors(reference(setting.data), n)["kernel distance"]
        for name, one in found.items():
            if name == "kernel distance":
                metrics[f"{setting.name}: {name}"] = with_floor(name, one, real[setting.data, n], n)
            else:
                share = name == "accuracy"
                metrics[f"{setting.name}: {name}"] = entry(one.share(n) if share else one.interval(0.0))
        each = took / (parts[key] * setting.rows * (1 if setting.start else DRAWS))
        metrics[f"{setting.name}: seconds"] = {"value": round(each, 3)}
        print(setting.name, {name: round(one.value, 3) for name, one in found.items()}, flush=True)
    for setting in settings():
        other = baseline(setting)
        if setting.name in all_found and other in all_found and other != setting.name:
            for name, one in all_found[setting.name].items():
                change = one.minus(all_found[other][name])
                differences[f"{setting.name} - {other}: {name}"] = entry(change.interval())
    for data in MODELS:
        if any(key.startswith(data) for key in pictures):
            metrics[f"{data}, real: accuracy"] = real_accuracy(data)
    return {"metrics": metrics, "differences": differences, "pictures": pictures, "seconds": seconds}


def real_accuracy(data: str) -> dict[str, float]:
    """The share of the test pictures in the reference that the classifier reads right."""
    found = reference(data).test.log_probs.argmax(1)
    _, labels = test_set(data)
    return entry(share_interval(float((found == labels[: len(found)]).double().mean()), len(found)))


def main() -> None:
    """Do one of the tasks."""
    arguments = arguments_of(__doc__, "restoring", 100, PICTURES)
    torch.set_num_threads(1)
    if arguments.task == "draw":
        for line in draw_all(arguments.kept, settings(), draw_part, arguments.parts, arguments.only):
            print(line, flush=True)
        return
    result = measure(arguments.kept)
    options = {
        "pictures": result["pictures"],
        "draws": DRAWS,
        "steps": STEPS,
        "repeats": REPEATS,
        "rate": RATE,
        **machine(),
    }
    path, started = arguments.out / "restoring.json", time.monotonic() - result["seconds"]
    write(path, "restoring", options, result["metrics"], started, differences=result["differences"])


if __name__ == "__main__":
    main()
