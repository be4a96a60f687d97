"""How often the exported pipeline draws what a caption says, and what a LoRA changes: python -m benchmarks.pipeline draw, then measure.

The model is scenes-pipeline: a run's folder of this name in the working directory, or the one that ships. All pictures are drawn by
diffusers, from the folder that `course export` writes. Where a part wants a pipeline that knows hearts, `draw` first teaches one with 32 of
them in three colours, and what it draws itself. `draw` keeps each part when it is done, so that it may be stopped at any moment and begun
again; --n asks for more pictures. Every setting of a group has the same captions and begins with the same noise. `measure` writes
results/pipeline.json: the share of pictures that show each aspect of their caption, for combinations that training had and for others, at
four scales, and the share of hearts, in the colours that were taught and in others; all with the differences that the LoRA makes, and
the first pictures of each. --quick does hardly anything.
"""

import base64
import math
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.parts import arguments_of, draw_all, parts_of, place
from benchmarks.record import machine, write
from course_lib.data import scenes
from course_lib.data.images import to_bytes, to_unit
from course_lib.data.scenes import AREA, COLOURS, LOWER, MIDDLE, SHAPES, SIZE, SIZES, Scene, Thing
from course_lib.draws import integers, uniform
from course_lib.evaluation.evaluate import entry
from course_lib.evaluation.intervals import Measured, mean_of
from course_lib.evaluation.reconstruction import reconstructed
from course_lib.interop.export import export
from course_lib.models import store
from course_lib.models.cards import load_card
from course_lib.models.tensors import load_tensors
from course_lib.pages.plotting import grid_png
from course_lib.recipes import stable_diffusion
from course_lib.training.loop import generator_for

MODEL = "scenes-pipeline"
STEPS = 25
PICTURES = 40  # in a part, one of each caption
IN_A_ROW = 8  # that the ledger keeps
SCALES = (3.0, 1.0, 2.0, 5.0)
TAUGHT = ("red", "green", "blue")  # the colours of the hearts that it is shown
HEARTS = {"hearts": TAUGHT, "hearts of other colours": tuple(colour for colour in COLOURS if colour not in TAUGHT)}
GROUPS = ("seen", "held out", *HEARTS)
HEART_ASPECTS = ("count", "colour", "heart", "size")
LESSON: dict[str, Any] = {"rank": 8, "steps": 1200, "batch_size": 16, "learning_rate": 2e-3}
SHOWN, REMINDED = 32, 16  # hearts, and texts of which the pipeline draws two pictures itself
FINE = 4  # places a side of a pixel at which a heart's edge is asked for


@dataclass(frozen=True)
class Setting:
    """Captions of a group, drawn at a guidance scale by the pipeline as it is, or with the LoRA."""

    group: str
    scale: float
    taught: bool = False

    @property
    def name(self) -> str:
        """What the ledger calls it."""
        return f"{self.group}, scale {self.scale:g}{', LoRA' if self.taught else ''}"


def settings() -> list[Setting]:
    """All of them, in the order in which they are drawn."""
    scenes_ = [Setting(group, scale) for scale in SCALES for group in GROUPS[:2]]
    hearts_ = [Setting(group, SCALES[0]) for group in HEARTS]
    return [*scenes_, *hearts_, *(Setting(group, SCALES[0], taught=True) for group in GROUPS)]


# --- hearts ----------------------------------------------------------------------------------------------------------


def heart(row: float, column: float, half: float) -> Tensor:
    """The share of each pixel that a heart covers, `(SIZE, SIZE)`: its middle, and half its height, in pixels.

    With u to the right and v up, in units in which it is sqrt(5) high, it is where (u^2 + v^2 - 1)^3 <= u^2 v^3.
    """
    at = (torch.arange(SIZE * FINE) + 0.5) / FINE
    unit = 5**0.5 / (2 * half)
    v, u = (row - at[:, None]) * unit + (5**0.5 / 2 - 1), (at[None, :] - column) * unit
    inside = (u**2 + v**2 - 1) ** 3 <= u**2 * v**3
    return inside.float().reshape(SIZE, FINE, SIZE, FINE).mean((1, 3))


@cache
def form() -> tuple[float, float]:
    """A heart's area, for half a height of 1, and how far its centre of mass lies below its middle."""
    covered, half = heart(SIZE / 2, SIZE / 2, SIZE / 3), SIZE / 3
    at = torch.arange(SIZE) + 0.5
    return float(covered.sum()) / half**2, (float(covered.sum(1) @ at / covered.sum()) - SIZE / 2) / half


def hearts(things: list[Thing], generator: torch.Generator) -> Tensor:
    """One picture of each heart, at a random place: `(N, 3, SIZE, SIZE)` uint8."""
    images = torch.full((len(things), 3, SIZE, SIZE), -1.0)
    for image, thing, share in zip(images, things, uniform((len(things), 2), generator).tolist(), strict=True):
        half = SIZES[thing.size]
        row, column = (1 + half + part * (SIZE - 2 - 2 * half) for part in share)
        image.lerp_(torch.tensor(COLOURS[thing.colour])[:, None, None], heart(row, column, half))
    return to_bytes(images)


def random_hearts(n: int, colours: tuple[str, ...], generator: torch.Generator) -> list[Thing]:
    """n hearts of these colours, small and large."""
    chosen = zip(*(integers(0, high, (n,), generator).tolist() for high in (2, len(colours))), strict=True)
    return [Thing(list(SIZES)[size], colours[colour], "heart") for size, colour in chosen]


def overlaps(covered: Tensor) -> dict[str, float]:
    """How well each shape, drawn in its place and with its area, overlaps what is covered, `(SIZE, SIZE)`; as in `scenes.described`."""
    at, area = torch.arange(SIZE, dtype=torch.float32) + 0.5, float(covered.sum())
    row, column = (float(covered.sum(axis) @ at) / area for axis in (1, 0))
    found = {}
    for shape in (*SHAPES, "heart"):
        full, lower = form() if shape == "heart" else (AREA[shape], LOWER[shape])
        half = math.sqrt(area / full)
        middle = row - lower * half
        places = torch.tensor([middle]), torch.tensor([column]), torch.tensor([half])
        drawn = heart(middle, column, half) if shape == "heart" else scenes.coverage(shape, *places)[0]
        found[shape] = float(torch.minimum(drawn, covered).sum() / torch.maximum(drawn, covered).sum())
    return found


def shows_heart(asked: Thing, image: Tensor) -> dict[str, bool]:
    """Which of HEART_ASPECTS of a heart a picture `(3, SIZE, SIZE)` in [-1, 1] shows; none where it shows not one thing."""
    seen = scenes.read(image)
    if len(seen) != 1:
        return dict.fromkeys(HEART_ASPECTS, False)
    lit = torch.tensor(COLOURS[seen[0].thing.colour]) + 1
    covered = (torch.tensordot(lit, image + 1, 1) / lit.square().sum()).clamp(0, 1)
    found, half = overlaps(covered), math.sqrt(float(covered.sum()) / form()[0])
    return {
        "count": True,
        "colour": seen[0].thing.colour == asked.colour,
        "heart": max(found, key=found.__getitem__) == "heart",
        "size": ("small" if half < MIDDLE else "large") == asked.size,
    }


def share_of_hearts(asked: list[Thing], images: Tensor) -> dict[str, Tensor]:
    """For each of HEART_ASPECTS, and "all" of them, which pictures `(N, 3, SIZE, SIZE)` show it, `(N,)` float64."""
    found = [shows_heart(thing, image) for thing, image in zip(asked, images, strict=True)]
    table = {name: [float(one[name]) for one in found] for name in HEART_ASPECTS}
    table["all"] = [float(all(one.values())) for one in found]
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in table.items()}


# --- the pipeline ----------------------------------------------------------------------------------------------------


@cache
def pipeline(kept: Path, taught: bool) -> Any:
    """The pipeline from its folder, with the LoRA where it is wanted; both are made first where they are not there."""
    folder, file = kept / "folder", kept / "lora.safetensors"
    if not folder.exists():
        export(MODEL, "diffusers", folder)
    if taught and not file.exists():
        teach(stable_diffusion.load_pipeline(str(folder)), file)
    found = stable_diffusion.load_pipeline(str(folder))
    if taught:
        found.load_lora_weights(file)
    return found


def teach(pupil: Any, file: Path) -> None:
    """Teach a pipeline hearts, remind it of what it draws of other texts, and keep the adapters."""
    generator = generator_for(20, 0, torch.device("cpu"))
    things = random_hearts(SHOWN, TAUGHT, generator)
    new = stable_diffusion.latents_of(pupil, hearts(things, generator)), stable_diffusion.told(pupil, texts_of(things))
    others = texts_of(scenes.random_scenes(REMINDED, generator))
    own = stable_diffusion.own_latents(pupil, others, SHOWN // REMINDED, STEPS)
    options = dict(LESSON)
    stable_diffusion.add_adapters(pupil, options.pop("rank"))
    *_, state = stable_diffusion.finetune(pupil, new, kept=own, bf16=False, **options)
    stable_diffusion.save_adapters(file, state.ema.module)  # type: ignore[arg-type]


def texts_of(asked: list[Any]) -> list[str]:
    """The captions of scenes, or of single things."""
    return [scenes.caption(one if isinstance(one, Scene) else Scene((one,))) for one in asked]


def asked_of_part(group: str, number: int) -> list[Any]:
    """The scenes, or the hearts, that a part is asked for."""
    generator = generator_for(10 + GROUPS.index(group), number, torch.device("cpu"))
    if group in HEARTS:
        return random_hearts(PICTURES, HEARTS[group], generator)
    return scenes.random_scenes(PICTURES, generator, held_out=group == "held out")


def draw_part(kept: Path, setting: Setting, number: int) -> dict[str, Tensor]:
    """What is kept of a part: its pictures, uint8."""
    found, texts = pipeline(kept, setting.taught), texts_of(asked_of_part(setting.group, number))
    side = found.unet.config.sample_size
    shape, generator = (
        (PICTURES, found.unet.config.in_channels, side, side),
        generator_for(0, number, torch.device("cpu")),
    )
    noise = torch.randn(shape, generator=generator).to(found.device)
    options = {"guidance_scale": setting.scale, "num_inference_steps": STEPS, "output_type": "pt"}
    return {"images": to_bytes(2 * found(texts, latents=noise, **options).images.cpu() - 1)}


# --- what comes out --------------------------------------------------------------------------------------------------


def shares(kept: Path, setting: Setting, parts: int) -> dict[str, Tensor]:
    """Which pictures of a setting show which aspect, `(N,)` each."""
    asked = [one for number in range(parts) for one in asked_of_part(setting.group, number)]
    images = torch.cat([to_unit(load_tensors(place(kept, setting, number))[0]["images"]) for number in range(parts)])
    return (share_of_hearts if setting.group in HEARTS else scenes.share_shown)(asked, images)


def rebuilt(n: int) -> dict[str, Tensor]:
    """Which aspects of n scenes of training's kind are there after the autoencoder: a bound, about, for a model of its latents."""
    autoencoder = store.load_denoising(MODEL)[0].autoencoder
    assert autoencoder is not None
    generator = generator_for(30, 0, torch.device("cpu"))
    asked = scenes.random_scenes(n, generator)
    return scenes.share_shown(asked, to_unit(reconstructed(autoencoder, scenes.pictures(asked, generator))))


def measure(kept: Path) -> dict[str, Any]:
    """The shares of every setting, what the LoRA changes, and what other scales than 3 do."""
    parts = min(parts_of(kept, setting) for setting in settings())
    if not parts:
        raise ValueError(f"there is no whole part in {kept}: draw first")
    metrics, differences = {}, {}
    right: dict[Setting, Measured] = {}
    for name, found in [("autoencoder", rebuilt(parts * PICTURES)), *((s, shares(kept, s, parts)) for s in settings())]:
        if isinstance(name, Setting):
            right[name] = mean_of(found["all"])
        for aspect, shown in found.items():
            said = shown[~shown.isnan()]
            label = name.name if isinstance(name, Setting) else name
            metrics[f"{label}: {aspect}"] = entry(mean_of(said).share(len(said)))
    for setting, value in right.items():
        plain = Setting(setting.group, SCALES[0])
        change = value.minus(right[plain])
        if setting != plain and change.error > 0:  # else leaving out shows no difference, and says nothing of its size
            differences[f"{setting.name} - {plain.name}: all"] = entry(change.interval())
    return {"metrics": metrics, "differences": differences, "pictures": pictures(kept), "n": parts * PICTURES}


def pictures(kept: Path) -> dict[str, dict[str, Any]]:
    """The first pictures of each group, as they come and after the LoRA: their captions, and a PNG of them in a row, base64."""
    found: dict[str, dict[str, Any]] = {}
    for setting in settings():
        if setting.scale == SCALES[0]:
            images = to_unit(load_tensors(place(kept, setting, 0))[0]["images"][:IN_A_ROW])
            png = base64.b64encode(grid_png(images, columns=IN_A_ROW)).decode()
            found[setting.name] = {"captions": texts_of(asked_of_part(setting.group, 0)[:IN_A_ROW]), "png": png}
    return found


def main() -> None:
    """Do one of the tasks."""
    arguments = arguments_of(__doc__, "pipeline", 240, PICTURES)
    torch.set_num_threads(1)
    kept = (
        arguments.kept / load_card(store.locate(MODEL).with_suffix(".json")).sha256[:12]
    )  # other weights, other parts
    if arguments.task == "draw":
        for line in draw_all(
            kept, settings(), lambda setting, number: draw_part(kept, setting, number), arguments.parts, arguments.only
        ):
            print(line, flush=True)
        return
    started, result = time.monotonic(), measure(kept)
    options = {"n": result["n"], "steps": STEPS, "hearts": SHOWN, "lesson": LESSON, **machine()}
    write(
        arguments.out / "pipeline.json",
        MODEL,
        options,
        result["metrics"],
        started,
        differences=result["differences"],
        pictures=result["pictures"],
    )


if __name__ == "__main__":
    main()
