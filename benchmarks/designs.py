"""What a designer gets of fashion-design: python -m benchmarks.designs draw [--n 500], then measure.

`draw` keeps each part when it is done, so that it may be stopped at any moment and begun again; --n asks for more designs. Every setting
of a part begins with the same noise and has the same wishes. `measure` writes results/designs.json: how often wishes are met that were
seen in training and that were not, how many designs lie in the corners that were not, how far variations lie from their picture, when a
wish decides, and copies. --quick does hardly anything.
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
from course_lib.data import clothes, sets
from course_lib.data.images import to_bytes, to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import denoiser
from course_lib.draws import normal_like, uniform
from course_lib.evaluation.evaluate import entry
from course_lib.evaluation.intervals import Measured, mean_of
from course_lib.evaluation.neighbours import Copies, copies
from course_lib.hardware import bf16_is_fast
from course_lib.models import store
from course_lib.models.tensors import load_tensors
from course_lib.recipes.designs import ranked
from course_lib.sampling.generate import Denoising, draw, guided_denoiser
from course_lib.sampling.guidance import composed
from course_lib.sampling.restoring import variations
from course_lib.sampling.steps import ddim, last, sample
from course_lib.training.loop import generator_for
from course_lib.types import Denoiser

MODEL = "fashion-design"
STEPS = 25
DESIGNS = 50  # in a part, equally many of each kind
ASKED = ("length", "brightness")
SCALES = (1.0, 2.0, 3.0)
CHANGES = (0.2, 0.35, 0.5, 0.65, 0.8)  # t_0 / T of the variations
SWITCHES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # time / T at which the wishes are exchanged
ENDS = (0.1, 0.9)  # the ranks between which they are


@dataclass(frozen=True)
class Setting:
    """One way to draw: `group` names the wishes, `way` what is done with them, and `value` its scale, change or time."""

    group: str  # "seen", "held out", "vary" or "exchange"
    way: str
    value: float

    @property
    def name(self) -> str:
        """What the ledger calls it."""
        return f"{self.group}, {self.way} {self.value:g}"


def settings() -> list[Setting]:
    """All of them, in the order in which they are drawn."""
    asking = [
        Setting(group, way, scale)
        for group in ("seen", "held out")
        for way, scales in (("together", SCALES), ("composed", (1.0, 2.0)), ("class alone", (1.0,)))
        for scale in scales
    ]
    varying = [Setting("vary", "from", change) for change in CHANGES]
    return [*asking, *varying, *(Setting("exchange", "at", switch) for switch in SWITCHES)]


@cache
def model() -> Denoising:
    """The model that draws."""
    return store.load_denoising(MODEL)[0]


@cache
def clothes_of(split: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures, labels and ranks of the training or the test set, and the table of the training set."""
    return ranked(split)


def labels_of_part() -> Tensor:
    """The kinds of a part's designs, `(DESIGNS,)`."""
    return torch.arange(DESIGNS) * len(clothes.KINDS) // DESIGNS


def rows_of_part(number: int) -> Tensor:
    """Test pictures `(DESIGNS,)` of these kinds that lie in no corner, others in each part."""
    _, labels, ranks, _ = clothes_of("test")
    shown = ~clothes.held_out(ranks, labels)
    each = DESIGNS // len(clothes.KINDS)
    return torch.cat(
        [
            ((labels == kind) & shown).nonzero()[number * each : (number + 1) * each, 0]
            for kind in range(len(clothes.KINDS))
        ]
    )


def wishes_of_part(group: str, number: int) -> Tensor:
    """Ranks in ASKED, `(DESIGNS, 4)`: those of test pictures, or, held out, of the corner of each kind; the others are left open."""
    wishes = torch.full((DESIGNS, len(clothes.MEASURES)), clothes.NOT_ASKED)
    if group == "seen":
        ranks = clothes_of("test")[2][rows_of_part(number)]
    else:
        inside = uniform((DESIGNS, len(clothes.MEASURES)), generator_for(1, number, torch.device("cpu"))) * clothes.CELL
        high = torch.zeros_like(inside, dtype=torch.bool)
        for row, label in enumerate(labels_of_part().tolist()):
            corner = clothes.corner_of(label)
            high[row, list(corner.measures)] = torch.tensor(corner.high)
        ranks = torch.where(high, 1 - inside, inside)
    for name in ASKED:
        wishes[:, clothes.MEASURES.index(name)] = ranks[:, clothes.MEASURES.index(name)]
    return wishes


def told(wishes: Tensor) -> dict[str, Tensor]:
    """The condition of a part's kinds and these wishes."""
    return {"class": labels_of_part(), "wishes": wishes}


def alone(wishes: Tensor, *names: str) -> Tensor:
    """The wishes `(N, 4)`, of which only those named are kept."""
    kept = torch.full_like(wishes, clothes.NOT_ASKED)
    for name in names:
        kept[:, clothes.MEASURES.index(name)] = wishes[:, clothes.MEASURES.index(name)]
    return kept


@torch.no_grad()
def by(denoise: Denoiser, generator: torch.Generator) -> Tensor:
    """What DDIM draws with a denoiser, `(DESIGNS, 1, 28, 28)`."""
    process = GaussianDiffusion(model().schedule)
    x = process.prior((DESIGNS, *model().shape), generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast(torch.device("cpu"))):
        return last(sample(ddim(denoise, process), x, model().schedule.grid(STEPS)))


def told_denoiser(wishes: Tensor) -> Denoiser:
    """The conditional denoiser of a part's kinds and these wishes, not clipped."""
    return denoiser(model().network, model().prediction, model().schedule, told(wishes))


def exchanged(first: Denoiser, second: Denoiser, at: float) -> Denoiser:
    """The first denoiser above a time, the second at it and below."""
    return lambda x_t, t: (first if float(t) > at else second)(x_t, t)


def ends() -> tuple[Tensor, Tensor]:
    """Wishes `(DESIGNS, 4)` for little and for much of what is ASKED."""
    low = alone(torch.full((DESIGNS, len(clothes.MEASURES)), ENDS[0]), *ASKED)
    return low, alone(torch.full((DESIGNS, len(clothes.MEASURES)), ENDS[1]), *ASKED)


def draw_part(setting: Setting, number: int) -> Tensor:
    """The designs of a part, `(DESIGNS, 1, 28, 28)` in [-1, 1]."""
    generator = generator_for(0, number, torch.device("cpu"))
    if setting.group == "vary":
        images = to_unit(clothes_of("test")[0][rows_of_part(number)])
        cond = told(torch.full((DESIGNS, len(clothes.MEASURES)), clothes.NOT_ASKED))
        return variations(model(), images, setting.value, 2 * STEPS, generator, cond)
    if setting.group == "exchange":
        first, second = (guided_denoiser(model(), told(wishes), DESIGNS, 2.0) for wishes in ends())
        return by(exchanged(first, second, setting.value * model().schedule.T), generator)
    wishes = wishes_of_part(setting.group, number)
    if setting.way == "composed":
        base = told_denoiser(alone(wishes))
        return by(composed(base, [told_denoiser(alone(wishes, name)) for name in ASKED], setting.value, 1.0), generator)
    wishes = alone(wishes) if setting.way == "class alone" else wishes
    return draw(model(), DESIGNS, STEPS, "ddim", generator, told(wishes), setting.value)


def kept_part(setting: Setting, number: int) -> dict[str, Tensor]:
    """What is kept of a part: its designs, uint8, and, of variations, the denoiser's error on their pictures."""
    tensors = {"images": to_bytes(draw_part(setting, number))}
    return tensors | ({"error": squared_error(setting.value, number)} if setting.group == "vary" else {})


@torch.no_grad()
def squared_error(change: float, number: int) -> Tensor:
    """The squared error of the denoiser, a pixel, at the time from which variations begin, on the pictures of a part: `(DESIGNS,)`."""
    x0, process = to_unit(clothes_of("test")[0][rows_of_part(number)]), GaussianDiffusion(model().schedule)
    grid = model().schedule.grid(2 * STEPS)
    t = grid[grid <= change * model().schedule.T][0]
    generator = generator_for(2, number, torch.device("cpu"))
    denoise = guided_denoiser(
        model(), told(torch.full((DESIGNS, len(clothes.MEASURES)), clothes.NOT_ASKED)), DESIGNS, 1.0
    )
    errors = [denoise(process.diffuse(x0, t, normal_like(x0, generator)), t) - x0 for _ in range(4)]
    return torch.stack(errors).square().flatten(2).mean((0, 2))


def of_wishes(images: Tensor, labels: Tensor, wishes: Tensor) -> dict[str, Tensor]:
    """Whether each design `(N, 1, 28, 28)` is as asked, in each measure of ASKED and in both, `(N,)` bool."""
    met = clothes.as_asked(clothes.measures(images), labels, wishes, clothes_of("train")[3])
    return {**{name: met[:, clothes.MEASURES.index(name)] for name in ASKED}, "both": met.all(1)}


def ranks_of(images: Tensor, labels: Tensor) -> Tensor:
    """The ranks of designs `(N, 1, 28, 28)` among the training pictures of their kind, `(N, 4)`."""
    return clothes.ranks(clothes.measures(images), labels, clothes_of("train")[3])


def gathered(kept: Path, setting: Setting, parts: int) -> dict[str, Tensor]:
    """What is measured of each design of a setting, `(N,)`."""
    found: dict[str, list[Tensor]] = {}
    for number in range(parts):
        tensors, _ = load_tensors(place(kept, setting, number))
        images, labels = to_unit(tensors["images"]), labels_of_part()
        if setting.group == "vary":
            start = to_unit(clothes_of("test")[0][rows_of_part(number)])
            each = {"moved": (images - start).square().flatten(1).mean(1), "expected": 2 * tensors["error"]}
        elif setting.group == "exchange":
            each = {name: ranks_of(images, labels)[:, clothes.MEASURES.index(name)] for name in ASKED}
        else:
            each = of_wishes(images, labels, wishes_of_part(setting.group, number))
            if setting.group == "held out":  # a wish in the corner may be met from outside, within the tolerance
                each["inside"] = clothes.held_out(ranks_of(images, labels), labels)
        for name, values in each.items():
            found.setdefault(name, []).append(values.double())
    return {name: torch.cat(values) for name, values in found.items()}


def copied(kept: Path, setting: Setting, parts: int) -> Measured:
    """The share of a setting's designs that lie nearer to a training picture than all but 1 % of test pictures do."""
    images = torch.cat([to_unit(load_tensors(place(kept, setting, number))[0]["images"]) for number in range(parts)])
    train, test = (to_unit(sets.load("fashion_mnist", split)[0]) for split in ("train", "test"))
    found: Copies = copies(images, test[:2000], train)
    return mean_of(found.near)


def measure(kept: Path) -> dict[str, Any]:
    """Every metric of the settings, and the paired differences of the ways to ask."""
    parts, metrics, differences, values = min(parts_of(kept, setting) for setting in settings()), {}, {}, {}
    if not parts:
        raise ValueError(f"there is no whole part in {kept}: draw first")
    for setting in settings():
        values[setting] = gathered(kept, setting, parts)
        for name, each in values[setting].items():
            one = mean_of(each)
            share = setting.group in ("seen", "held out")
            metrics[f"{setting.name}: {name}"] = entry(one.share(len(each)) if share else one.interval())
        if setting.way == "together":
            metrics[f"{setting.name}: copies"] = entry(copied(kept, setting, parts).share(parts * DESIGNS), 0.01)
        if setting.group == "vary":
            change = mean_of(values[setting]["moved"]).minus(mean_of(values[setting]["expected"]))
            differences[f"{setting.name}: moved - expected"] = entry(change.interval())
    for setting, other in pairs():
        for name in ("both", "inside") if setting.group == "held out" else ("both",):
            change = mean_of(values[setting][name]).minus(mean_of(values[other][name]))
            differences[f"{setting.name} - {other.name}: {name}"] = entry(change.interval())
    return {"metrics": metrics, "differences": differences, "n": parts * DESIGNS}


def pairs() -> list[tuple[Setting, Setting]]:
    """Settings whose wishes are the same, the first to be compared with the second."""
    found = []
    for group in ("seen", "held out"):
        scales = [Setting(group, "together", scale) for scale in SCALES]
        found += [(scales[1], scales[0]), (scales[2], scales[1])]
        found += [(Setting(group, "composed", scale), Setting(group, "together", scale)) for scale in SCALES[:2]]
    return found


def main() -> None:
    """Do one of the tasks."""
    arguments = arguments_of(__doc__, "designs", 500, DESIGNS)
    torch.set_num_threads(1)
    if arguments.task == "draw":
        for line in draw_all(arguments.kept, settings(), kept_part, arguments.parts, arguments.only):
            print(line, flush=True)
        return
    started, result = time.monotonic(), measure(arguments.kept)
    options: Mapping[str, Any] = {
        "n": result["n"],
        "steps": STEPS,
        "asked": list(ASKED),
        "ends": list(ENDS),
        **machine(),
    }
    write(
        arguments.out / "designs.json",
        MODEL,
        dict(options),
        result["metrics"],
        started,
        differences=result["differences"],
    )


if __name__ == "__main__":
    main()
