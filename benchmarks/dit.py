"""Diffusion transformers of many sizes: python -m benchmarks.dit pace, train, then measure.

The ladder: transformers of Fashion-MNIST with every patch, width and depth of SIZES, and three U-Nets beside them, each once for STEPS
steps of 64 images and once for as many as BUDGET operations allow. The blocks: the four ways to tell a transformer time and class, equal in
operations, three seeds. The parts: rotary positions on the same network, the same seeds.
`train` trains all of these or, with --only, some; it goes on where it was stopped. `measure` asks each finished network for its loss on
held-out images, with the same times and noise for all, lets it draw, and writes results/dit.json; what is measured is kept, too.
`pace` trains each network for some steps and says how many minutes of a core all would take. --quick does hardly anything.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs
import torch
from torch import Tensor, nn

from benchmarks.contestants import gflop, parameters
from benchmarks.record import machine, write
from course_lib.data import sets
from course_lib.data.images import to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import V
from course_lib.diffusion.schedules import cosine
from course_lib.draws import normal_like
from course_lib.evaluation.evaluate import entry, floors, within_range
from course_lib.evaluation.features import features
from course_lib.evaluation.frechet import frechet_statistic
from course_lib.evaluation.intervals import Estimate, Measured, correlation, cut, mean_of, measured
from course_lib.evaluation.reference import CLASSIFIERS, load_reference
from course_lib.models import store
from course_lib.models.tensors import load_tensors, save_tensors
from course_lib.nets.conditions import Labels
from course_lib.nets.dit import CONDITIONINGS, DiT
from course_lib.nets.unet import UNet
from course_lib.recipes.diffusion import Denoise, diffusion_loss
from course_lib.recipes.rows import COSINE, Recipe
from course_lib.recipes.train import train
from course_lib.sampling.generate import balanced_classes, draw_batches
from course_lib.training.loop import fit

SIZES = {"patch": (7, 4, 2), "width": (32, 64), "depth": (3, 6)}
UNETS = (8, 16, 32)  # widths
STEPS = 700  # at equal steps, and of the blocks and parts
BUDGET = 3e12  # operations of the forward and backward passes of a training, at equal operations
BATCH, RATE, SEEDS = 64, 4e-3, 3
WARMUP = 1 / 7  # the share of the steps in which the rate rises, so that short trainings rise and fall as long ones do
BASE: dict[str, Any] = {"patch": 4, "width": 64, "depth": 6}  # of the blocks and the parts
PARTS: dict[str, dict[str, Any]] = {
    "as it was": {},
    "rotary": {"positions": "rotary"},
}
HELD_OUT, DRAWN, DRAWING_STEPS = 2000, 500, 20
SIDE = 28
KEPT = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "dit"


@dataclass(frozen=True)
class Quiet(Denoise):
    """To undo noise, with no pictures on the way: they would cost a short training more than its steps."""

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> None:  # type: ignore[override]
        """Nothing to see."""


class Piece(NamedTuple):
    """One network to train."""

    group: str  # "steps", "operations", "block" or "part"
    name: str
    architecture: type[nn.Module]
    config: dict[str, Any]
    steps: int
    seed: int = 0

    @property
    def setting(self) -> str:
        """What the ledger calls it."""
        return f"{self.group}, {self.name}, seed {self.seed}"

    @property
    def folder(self) -> str:
        """What its files are called."""
        return self.setting.replace(", ", "-").replace("/", "-").replace(" ", "")

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        return Recipe(
            name=self.folder,
            dataset="fashion_mnist",
            data="Fashion-MNIST, 60,000 training images with their classes",
            architecture=self.architecture,
            config=self.config,
            objective=Quiet(V, COSINE),
            steps=self.steps,
            batch_size=BATCH,
            learning_rate=RATE,
            weight_decay=0.0,
            warmup=round(WARMUP * self.steps),
        )


def ladder() -> dict[str, tuple[type[nn.Module], dict[str, Any]]]:
    """By name: the transformers of all sizes, and the U-Nets."""
    found: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {}
    for patch, width, depth in product(*SIZES.values()):
        found[f"DiT {patch}/{width}/{depth}"] = DiT, transformer(patch=patch, width=width, depth=depth)
    for width in UNETS:
        config = {"channels": 1, "width": width, "multipliers": (1, 2), "blocks": 1, "attention": (1,), "patch": 2}
        found[f"U-Net {width}"] = UNet, {**config, "classes": 10}
    return found


def transformer(**config: Any) -> dict[str, Any]:
    """The arguments of a transformer with classes."""
    return {"channels": 1, "heads": 4, "classes": 10, **config}


def operations(architecture: type[nn.Module], config: Mapping[str, Any]) -> float:
    """Those of one image's forward pass, as torch counts them."""
    return 1e9 * gflop(architecture(**config), lambda network, x, t: network(x, t), (1, SIDE, SIDE))


def equal_ratio(conditioning: str) -> float:
    """How wide a perceptron must be, in widths, for a block with this conditioning to cost what the one with adaLN-Zero costs."""

    def cost(ratio: float) -> int:
        return DiT(**transformer(**BASE, conditioning=conditioning, ratio=ratio)).flops(SIDE, SIDE)

    width, wanted = BASE["width"], DiT(**transformer(**BASE)).flops(SIDE, SIDE)
    slope = (cost(5) - cost(4)) / width  # a neuron's cost
    return round(4 * width + (wanted - cost(4)) / slope) / width


def pieces() -> list[Piece]:
    """All that is to be trained, in order."""
    found = []
    for name, (architecture, config) in ladder().items():
        found.append(Piece("steps", name, architecture, config, STEPS))
    for name, (architecture, config) in ladder().items():
        steps = round(BUDGET / (3 * BATCH * operations(architecture, config)))  # a backward pass costs two forward ones
        found.append(Piece("operations", name, architecture, config, steps))
    for seed in range(SEEDS):
        for name in CONDITIONINGS:
            config = transformer(**BASE, conditioning=name, ratio=equal_ratio(name))
            found.append(Piece("block", name, DiT, config, STEPS, seed))
        for name, part in PARTS.items():
            if part:  # the network as it was is the block with adaLN-Zero
                found.append(Piece("part", name, DiT, transformer(**BASE, **part), STEPS, seed))
    return found


def learn(piece: Piece, kept: Path) -> str:
    """Train a piece, or go on with it; a line."""
    folder = kept / piece.folder
    card = train(piece.recipe, folder, seed=piece.seed, resume=folder.exists())
    return f"{piece.setting}: {card.steps} steps in {card.minutes} minutes"


def pace(piece: Piece, steps: int = 12) -> float:
    """The processor's seconds for one step."""
    images = torch.randint(0, 256, (2 * BATCH, 1, SIDE, SIDE), dtype=torch.uint8)
    labels, started = torch.randint(0, 10, (2 * BATCH,)), 0.0
    loss = diffusion_loss(GaussianDiffusion(cosine()), V, Labels(10))
    for state in fit(piece.architecture(**piece.config), loss, (images, labels), steps + 3, BATCH, RATE):
        if state.step == 3:
            started = time.process_time()
    return (time.process_time() - started) / steps


def estimates(chosen: Iterable[Piece], steps: int = 12) -> Iterator[str]:
    """For each network once: its pace; at last the minutes of a core that all pieces would take."""
    known: dict[str, float] = {}
    minutes: dict[str, float] = {}
    for piece in chosen:
        key = json.dumps([piece.architecture.__name__, piece.config], sort_keys=True)
        if key not in known:
            known[key] = pace(piece, steps)
            yield f"{piece.name}: {1000 * known[key]:.0f} ms a step, {BATCH / known[key]:.0f} images/s"
        minutes[piece.group] = minutes.get(piece.group, 0.0) + piece.steps * known[key] / 60
    yield ", ".join(f"{group}: {value:.0f} minutes" for group, value in minutes.items())


@cache
def questions() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Held-out images `(N, 1, 28, 28)` in [-1, 1], their classes, times that cover all of 1..1000 evenly, and noise."""
    images, labels = sets.load("fashion_mnist", "test")
    x0 = to_unit(images[:HELD_OUT])
    generator = torch.Generator().manual_seed(0)
    t = 1 + torch.arange(HELD_OUT) * 1000 // HELD_OUT
    return x0, labels[:HELD_OUT], t[torch.randperm(HELD_OUT, generator=generator)], normal_like(x0, generator)


@torch.no_grad()
def losses(network: nn.Module, n: int) -> Tensor:
    """The squared error of each of the first n held-out images, the mean over its pixels, `(n,)`."""
    process = GaussianDiffusion(cosine())
    found = []
    for rows in torch.arange(n).split(100):
        x0, labels, t, noise = (part[rows] for part in questions())
        found.append(denoising_loss(network, x0, t, noise, process, V, labels))
    return torch.cat(found)


def judged(piece: Piece, kept: Path, quick: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a finished network is asked for, and its facts: both kept, once they are there."""
    file = kept / f"{piece.folder}.safetensors"
    n, drawn = (100, 20) if quick else (HELD_OUT, DRAWN)
    if not file.exists():
        started = time.monotonic()
        model, card = store.load_denoising(kept / piece.folder)
        cond = balanced_classes(model.takes, drawn)
        images = draw_batches(model, drawn, 2 if quick else DRAWING_STEPS, cond=cond)
        classifier, _ = store.load(CLASSIFIERS["fashion_mnist"])
        seen = features(classifier, images).vectors.float()  # type: ignore[arg-type]
        facts = {
            "steps": card.steps,
            "minutes": card.minutes,
            "parameters": parameters(model.network),
            "operations": operations(piece.architecture, piece.config),
        }
        tensors = {"losses": losses(model.network, n), "vectors": seen}
        facts["seconds"] = round(time.monotonic() - started, 1)
        save_tensors(file, tensors, {"facts": json.dumps(facts)})
    tensors, metadata = load_tensors(file)
    return tensors, json.loads(metadata["facts"])


def metrics_of(tensors: Mapping[str, Tensor]) -> dict[str, Measured]:
    """The two numbers by which a network is judged."""
    vectors = tensors["vectors"].double()
    labels = torch.arange(len(vectors)) * 10 // len(vectors)
    distance = measured(frechet_statistic(load_reference("fashion_mnist").train, vectors), cut(len(vectors), labels))
    return {"loss": mean_of(tensors["losses"]), "frechet distance": distance}


def floor(n: int = DRAWN) -> Estimate:
    """The Frechet distance of n real test images, as many of each class."""
    labels = torch.arange(n) * 10 // n
    return within_range("frechet distance", floors(load_reference("fashion_mnist"), n, labels)["frechet distance"], n)


def over_seeds(values: list[float]) -> dict[str, float]:
    """The mean with its standard error, which is what another set of as many seeds would change; none for one seed."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return {"value": round(statistics.mean(values), 5), "error": round(error, 5), "seeds": len(values)}


def compared(found: Mapping[str, Mapping[str, Measured]], group: str, first: str) -> dict[str, Any]:
    """For each name in a group: the mean over seeds, and the mean of the differences from `first`, seed by seed."""
    rows: dict[str, dict[str, Mapping[str, Measured]]] = {}
    for setting, metrics in found.items():
        kind, name, seed = setting.split(", ")
        if kind == group:
            rows.setdefault(name, {})[seed] = metrics
    summary: dict[str, Any] = {}
    for name, by_seed in rows.items():
        for key in ("loss", "frechet distance"):
            summary[f"{group}, {name}: {key}"] = over_seeds([metrics[key].value for metrics in by_seed.values()])
            theirs = rows.get(first, {})
            apart = [m[key].value - theirs[seed][key].value for seed, m in by_seed.items() if seed in theirs]
            if name != first and apart:
                summary[f"{group}, {name} - {first}: {key}"] = over_seeds(apart)
    return summary


def correlations(
    found: Mapping[str, Mapping[str, Measured]], facts: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """For the ladder's transformers: how the logarithm of the operations goes with loss and distance."""
    summary = {}
    for group in ("steps", "operations"):
        mine = [setting for setting in found if setting.startswith(f"{group}, DiT")]
        if len(mine) < 4:
            continue
        x = [math.log(facts[setting]["operations"]) for setting in mine]
        for key in ("loss", "frechet distance"):
            one = correlation(x, [found[setting][key].value for setting in mine])
            summary[f"{group}: {key}"] = {k: round(v, 4) for k, v in one._asdict().items()} | {"sizes": len(mine)}
    return summary


def measure(chosen: list[Piece], kept: Path, out: Path, quick: bool) -> None:
    """Judge what is finished, and write the ledger's entry."""
    started, found, facts, metrics = time.monotonic(), {}, {}, {}
    done = [piece for piece in chosen if (kept / piece.folder / "model.safetensors").exists()]
    for piece in done:
        tensors, facts[piece.setting] = judged(piece, kept, quick)
        found[piece.setting] = metrics_of(tensors)
        for key, one in found[piece.setting].items():
            estimate = within_range(key, one, DRAWN) if key == "frechet distance" else one.interval()
            metrics[f"{piece.setting}: {key}"] = entry(estimate)
        for key in ("operations", "parameters", "steps", "minutes"):
            metrics[f"{piece.setting}: {key}"] = {"value": facts[piece.setting][key]}
        print(piece.setting, {key: round(one.value, 4) for key, one in found[piece.setting].items()}, flush=True)
    parts = found | {  # the network as it was is the block with adaLN-Zero
        setting.replace("block, adaln-zero", "part, as it was"): one
        for setting, one in found.items()
        if setting.startswith("block, adaln-zero,")
    }
    write(
        out / "dit.json",
        "dit",
        {
            "sizes": SIZES,
            "steps": STEPS,
            "budget": BUDGET,
            "batch": BATCH,
            "rate": RATE,
            "held out": HELD_OUT,
            "samples": DRAWN,
            "drawing steps": DRAWING_STEPS,
            "minutes of training": round(sum(one["minutes"] for one in facts.values()), 1),
            **machine(),
        },
        metrics,
        started - sum(one["seconds"] for one in facts.values()),
        floor=entry(floor()),
        correlations=correlations(found, facts),
        blocks=compared(found, "block", "adaln-zero"),
        parts=compared(parts, "part", "as it was"),
    )


def main() -> None:
    """Do one of the tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("pace", "train", "measure"))
    parser.add_argument("--only", default="", help='only the pieces with this in their names, such as "block, adaln"')
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="2 steps of training, few samples")
    arguments = parser.parse_args()
    chosen = [piece for piece in pieces() if arguments.only in piece.setting]
    if arguments.quick:
        chosen = [piece._replace(steps=2) for piece in chosen]
    if arguments.task == "pace":
        for line in estimates(chosen, 1 if arguments.quick else 12):
            print(line, flush=True)
    elif arguments.task == "train":
        for piece in chosen:
            print(learn(piece, arguments.kept), flush=True)
    else:
        measure(chosen, arguments.kept, arguments.out, arguments.quick)


if __name__ == "__main__":
    main()
