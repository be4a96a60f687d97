"""How often scenes-text draws what a caption says: python -m benchmarks.texts draw [--n 240], then measure.

`draw` keeps each part when it is done, so that it may be stopped at any moment and begun again; --n asks for more pictures. Every setting
of a part has the same captions and begins with the same noise. `measure` writes results/texts.json: the share of pictures that show each
aspect of their caption, for combinations that training had and for others; of the pictures of two things whose words are right, how many
have the right things, and all right, beside what one would get right who knows only which words a caption has ("floor"); and copies.
--quick does hardly anything.
"""

import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.parts import arguments_of, draw_all, parts_of, place
from benchmarks.record import machine, write
from course_lib.data import scenes
from course_lib.data.images import to_bytes, to_unit
from course_lib.evaluation.evaluate import entry
from course_lib.evaluation.intervals import mean_of
from course_lib.evaluation.neighbours import copies
from course_lib.models import store
from course_lib.models.telling import Teller, teller
from course_lib.models.tensors import load_tensors
from course_lib.recipes.texts import captioned_scenes
from course_lib.sampling.generate import Denoising, draw
from course_lib.training.loop import generator_for

MODEL = "scenes-text"
STEPS = 25
PICTURES = 40  # in a part, one of each caption
GROUPS = ("seen", "held out")
SCALES = (1.0, 2.0, 3.0, 5.0, 8.0)
BOUND = (
    "their things, of right words",
    "all, of right words",
)  # what `of_pairs` counts among pictures whose words are right


@dataclass(frozen=True)
class Setting:
    """Captions of a group, drawn at a guidance scale; None is told nothing."""

    group: str
    scale: float | None

    @property
    def name(self) -> str:
        """What the ledger calls it."""
        return f"{self.group}, told nothing" if self.scale is None else f"{self.group}, scale {self.scale:g}"


def settings() -> list[Setting]:
    """All of them, in the order in which they are drawn."""
    return [Setting(group, scale) for scale in (3.0, 1.0, None, 2.0, 5.0, 8.0) for group in GROUPS]


@cache
def model() -> tuple[Denoising, Teller]:
    """The model that draws, and what tells it texts."""
    drawing, card = store.load_denoising(MODEL)
    return drawing, teller(card)


def scenes_of_part(group: str, number: int) -> list[scenes.Scene]:
    """The scenes that a part is asked for."""
    generator = generator_for(10 + GROUPS.index(group), number, torch.device("cpu"))
    return scenes.random_scenes(PICTURES, generator, held_out=group == "held out")


def draw_part(setting: Setting, number: int) -> Tensor:
    """The pictures of a part, `(PICTURES, 3, 32, 32)` in [-1, 1]."""
    drawing, tell = model()
    generator = generator_for(0, number, torch.device("cpu"))
    if setting.scale is None:
        return draw(drawing, PICTURES, STEPS, "ddim", generator)
    cond = tell([scenes.caption(scene) for scene in scenes_of_part(setting.group, number)])
    return draw(drawing, PICTURES, STEPS, "ddim", generator, cond, setting.scale)


def kept_part(setting: Setting, number: int) -> dict[str, Tensor]:
    """What is kept of a part: its pictures, uint8."""
    return {"images": to_bytes(draw_part(setting, number))}


def pictures_of(kept: Path, setting: Setting, parts: int) -> Tensor:
    """What was drawn of a setting, `(N, 3, 32, 32)` in [-1, 1]."""
    return torch.cat([to_unit(load_tensors(place(kept, setting, number))[0]["images"]) for number in range(parts)])


def of_pairs(asked: list[scenes.Scene], images: Tensor) -> dict[str, Tensor]:
    """Of the pictures of one thing whether all is right, and of those of two whether all is, their things are, and their words are.

    The things are right wherever they stand; the words, where as many things are small, red, square, ... as the text says, on whichever
    thing. Of the pictures whose words are right, BOUND says whether their things are, and all.
    """
    names = ("one thing", "two things", "their things", "their words", *BOUND)
    found: dict[str, list[float]] = {name: [] for name in names}
    for scene, image in zip(asked, images, strict=True):
        seen = scenes.read(image)
        right = float(all(scenes.shows(scene, seen).values()))
        if scene.relation is None:
            found["one thing"].append(right)
            continue
        shown = [one.thing for one in seen]
        things = float(sorted(shown) == sorted(scene.things))
        words = [sorted(part) for part in zip(*shown, strict=True)]
        spoken = words == [sorted(part) for part in zip(*scene.things, strict=True)]
        for name, value in (("two things", right), ("their things", things), ("their words", float(spoken))):
            found[name].append(value)
        for name, value in zip(BOUND, (things, right), strict=True):
            found[name] += [value] * spoken
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


@cache
def readings() -> dict[tuple[str, ...], dict[str, float]]:
    """The captions of training that have the same words, by these, and how probable each is."""
    found: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for text, p in scenes.caption_chances().items():
        found[tuple(sorted(text.split()))][text] = p
    return dict(found)


def by_words_alone(scene: scenes.Scene) -> tuple[float, float]:
    """How often one who knows only which words a training caption of two things has is right in its things, and in all.

    He takes any caption with these words, as often as it occurs.
    """
    text = scenes.caption(scene)
    of_words = readings()[tuple(sorted(text.split()))]
    things = sum(p for other, p in of_words.items() if sorted(scenes.parse(other).things) == sorted(scene.things))
    return things / sum(of_words.values()), of_words[text] / sum(of_words.values())


def floors(group: str, asked: list[scenes.Scene], words: Tensor) -> dict[str, float]:
    """The mean of `by_words_alone` over the scenes of two things whose words are right; nothing for captions that training has not."""
    pairs = [scene for scene in asked if scene.relation]
    rows = [
        by_words_alone(scene) for scene, right in zip(pairs, words.tolist(), strict=True) if right and group == "seen"
    ]
    return {name: fmean(values) for name, values in zip(BOUND, zip(*rows, strict=True), strict=False)}


def grain(images: Tensor) -> Tensor:
    """How far the ground of pictures `(N, 3, H, W)` is from black, root mean square over all pixels, `(N,)`: 0 where it is black.

    The ground is what lies more than two pixels from anything bright.
    """
    bright = (images.amax(1, keepdim=True) > scenes.BRIGHT).to(images)
    ground = F.max_pool2d(bright, 5, stride=1, padding=2) == 0
    return ((images + 1) * ground).square().mean((1, 2, 3)).sqrt()


def copied(images: Tensor) -> tuple[Tensor, Tensor]:
    """Which pictures `(N,)` lie nearer to a training picture than all but 1 % of fresh scenes do, and which could not, by their grain."""
    train, fresh = (to_unit(captioned_scenes(n, seed)[0]) for n, seed in ((20_000, 0), (2000, 2)))
    found = copies(images, fresh, train)
    return found.near, (grain(images) > found.held_out.quantile(0.01)).double()


def measure(kept: Path) -> dict[str, Any]:
    """The shares of every setting, and the paired differences of the scales from 3."""
    parts, metrics, differences, right = min(parts_of(kept, setting) for setting in settings()), {}, {}, {}
    if not parts:
        raise ValueError(f"there is no whole part in {kept}: draw first")
    for setting in settings():
        asked = [scene for number in range(parts) for scene in scenes_of_part(setting.group, number)]
        images = pictures_of(kept, setting, parts)
        found = scenes.share_shown(asked, images) | of_pairs(asked, images)
        alone = floors(setting.group, asked, found["their words"])
        for name, shown in found.items():
            said = shown[~shown.isnan()]
            if len(said):
                metrics[f"{setting.name}: {name}"] = entry(mean_of(said).share(len(said)), alone.get(name))
        right[setting] = mean_of(found["all"])
        if setting.scale == 3:
            near, grainy = copied(images)
            metrics[f"{setting.name}: copies"] = entry(mean_of(near).share(len(near)), 0.01)
            metrics[f"{setting.name}: too grainy for copies"] = entry(mean_of(grainy).share(len(grainy)))
    for group in GROUPS:
        for scale in SCALES:
            change = right[Setting(group, scale)].minus(right[Setting(group, 3.0)])
            if change.error > 0:  # else leaving out shows no difference, and says nothing of how large it may be
                differences[f"{group}, scale {scale:g} - scale 3: all"] = entry(change.interval())
    return {"metrics": metrics, "differences": differences, "n": parts * PICTURES}


def main() -> None:
    """Do one of the tasks."""
    arguments = arguments_of(__doc__, "texts", 240, PICTURES)
    torch.set_num_threads(1)
    if arguments.task == "draw":
        for line in draw_all(arguments.kept, settings(), kept_part, arguments.parts, arguments.only):
            print(line, flush=True)
        return
    started, result = time.monotonic(), measure(arguments.kept)
    options = {"n": result["n"], "steps": STEPS, **machine()}
    metrics, differences = result["metrics"], result["differences"]
    write(arguments.out / "texts.json", MODEL, options, metrics, started, differences=differences)


if __name__ == "__main__":
    main()
