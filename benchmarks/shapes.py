"""Clouds of points, and blocks that are sculpted from their shadows: python -m benchmarks.shapes train, then measure.

`train` teaches one transformer clouds of three kinds of shapes, three seeds each: as a set, and the same with places told, with the same
data, batches and steps. Each network is kept.
`measure` writes results/shapes.json. Clouds: how often the nearest other cloud gives a drawn one away, beside points that do not see
one another, Gaussians of single objects, and real clouds. Blocks: how many of three shadows a classifier reads as the digit that was
asked for, by score distillation at two scales and by carving drawn digits. --quick does hardly anything.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import trainings
from benchmarks.record import machine, write
from benchmarks.trainings import SEEDS, Training, as_rows, entry, over_seeds, parser_of, run, signed, trained
from course_lib.data.shadows import SIDES, carved, outlines
from course_lib.data.shapes import KINDS, POINTS, chamfer, clouds, clouds_of, scattered, told_apart
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import V, denoiser
from course_lib.diffusion.schedules import cosine
from course_lib.draws import normal, normal_like
from course_lib.models import store
from course_lib.nets.conditions import dropped
from course_lib.nets.sets import PointTransformer
from course_lib.recipes.shadows import sculpt
from course_lib.sampling.generate import draw
from course_lib.sampling.steps import ddim, last, sample
from course_lib.training.state import Batch

NETWORKS = {"set": None, "row": POINTS}  # how many places a network is told
STEPS, BATCH, LEARNED = 1700, 8, 4000  # clouds to learn from
EACH, DRAWING = 30, 30  # clouds of each kind, seed and method; steps of DDIM
BLOCKS, SCULPTING, SCALES = 12, 100, (5.0, 1.0)
TRIES, TRY = 6, 12  # as many carvings, of digits in so many guided steps each, cost less than one guided sculpture
DIGITS = 5  # of a number in the ledger
COSINE = cosine(1000)
PROCESS = GaussianDiffusion(COSINE)


# --- clouds -----------------------------------------------------------------------------------------------------------


def build(name: str) -> PointTransformer:
    """An untrained network."""
    return PointTransformer(len(KINDS), NETWORKS[name])


def to_learn() -> Batch:
    """The clouds that all networks learn from, and their kinds."""
    made = clouds(LEARNED, torch.Generator().manual_seed(0))
    return made.points, made.kinds


def loss(network: Any, batch: Batch, generator: torch.Generator) -> Tensor:
    """The denoising loss; a tenth of the clouds go without their kind."""
    points, kinds = batch
    t, noise = COSINE.times(len(points), generator), normal_like(points, generator)
    told = dropped(network.takes, kinds, 0.1, generator)
    return denoising_loss(network, points, t, noise, PROCESS, V, told).mean()


def train(kept: Path, name: str, seed: int, quick: bool) -> None:
    """Train one network, unless it is there."""
    trainings.train(kept, name, seed, Training(partial(build, name), loss, to_learn, 2 if quick else STEPS, BATCH))


def asked(each: int) -> Tensor:
    """The kinds of the clouds that are drawn, each kind as often, in order."""
    return torch.arange(len(KINDS)).repeat_interleave(each)


@torch.no_grad()
def drawn(network: nn.Module, kinds: Tensor, seed: int) -> Tensor:
    """What a network draws of these kinds."""
    noise = PROCESS.prior((len(kinds), POINTS, 3), torch.Generator().manual_seed(seed))
    step = ddim(denoiser(network, V, COSINE, kinds), PROCESS)
    return last(sample(step, noise, COSINE.grid(DRAWING)))


def ellipsoids(kinds: Tensor, generator: torch.Generator) -> Tensor:
    """Clouds that are Gaussian, each with the mean and the covariance of one new real cloud."""
    real = clouds_of(kinds, generator)
    centre = real.mean(1, keepdim=True)
    mixture = normal((len(kinds), POINTS, POINTS), generator) / POINTS**0.5
    return centre + mixture @ (real - centre)


def by_kind(first: Tensor, second: Tensor) -> Tensor:
    """`told_apart` within each kind, for clouds in the order of `asked`."""
    pairs = zip(first.chunk(len(KINDS)), second.chunk(len(KINDS)), strict=True)
    return torch.cat([told_apart(*pair) for pair in pairs]).double()


def nearest(first: Tensor, second: Tensor) -> Tensor:
    """The Chamfer distance of each of the second clouds to the nearest of the first of its kind."""
    pairs = zip(first.chunk(len(KINDS)), second.chunk(len(KINDS)), strict=True)
    return torch.cat([chamfer(*pair).amin(0) for pair in pairs]).double()


@torch.no_grad()
def moved_by_order(network: PointTransformer) -> float:
    """How much a network's answer to noisy clouds depends on the order of the points: root mean square, as a share of the answer's."""
    generator = torch.Generator().manual_seed(5)
    made = clouds(16, generator)
    t = torch.full((16,), 500)
    x = PROCESS.diffuse(made.points, t, normal_like(made.points, generator))
    order = torch.randperm(POINTS, generator=generator)
    plain, other = network(x, t, made.kinds), network(x[:, order], t, made.kinds)
    return float((other - plain[:, order]).square().mean().sqrt() / plain.square().mean().sqrt())


def measure_clouds(kept: Path, each: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """All of it for clouds: metrics; paired differences; clouds to look at."""
    kinds, metrics, gaps, examples = asked(each), {}, {}, {}
    real = [clouds_of(kinds, torch.Generator().manual_seed(100 + seed)) for seed in range(SEEDS)]
    generators = [torch.Generator().manual_seed(200 + seed) for seed in range(SEEDS)]
    made: dict[str, list[Tensor]] = {
        name: [drawn(network, kinds, seed) for seed, (network, _) in trained(kept, name, partial(build, name)).items()]
        for name in NETWORKS
    }
    made["points apart"] = [scattered(kinds, generator) for generator in generators]
    made["Gaussians of objects"] = [ellipsoids(kinds, generator) for generator in generators]
    made["real"] = [clouds_of(kinds, generator) for generator in generators]
    told: dict[str, list[Tensor]] = {}
    for name, sets in made.items():
        told[name] = [by_kind(one, other) for one, other in zip(real, sets, strict=False)]
        if not sets:
            continue
        over_seeds(told[name], metrics, f"{name}: told apart", DIGITS)
        close = [nearest(one, other) for one, other in zip(real, sets, strict=False)]
        over_seeds(close, metrics, f"{name}: distance to the nearest", DIGITS)
        examples[name] = as_rows(sets[0].unflatten(0, (len(KINDS), -1))[:, :4].flatten(0, 1))
        print(name, metrics[f"{name}: told apart"], metrics[f"{name}: told apart over seeds"], flush=True)
    for name in NETWORKS:
        networks = trained(kept, name, partial(build, name)).values()
        if networks:
            shares = [moved_by_order(network) for network, _ in networks]
            metrics[f"{name}: moved by order"] = {"value": round(sum(shares) / len(shares), 6)}
            metrics[f"{name}: seconds"] = {"value": round(sum(s for _, s in networks) / len(networks), 1)}
    if told["set"] and len(told["set"]) == len(told["row"]):
        gap = torch.cat([one - other for one, other in zip(told["row"], told["set"], strict=True)])
        gaps["row - set: told apart"] = signed(gap, DIGITS)
    return metrics, gaps, examples


# --- blocks -----------------------------------------------------------------------------------------------------------


def wanted(blocks: int) -> Tensor:
    """Three different digits for each block, `(blocks, 3)`."""
    generator = torch.Generator().manual_seed(7)
    return torch.stack([torch.randperm(10, generator=generator)[: len(SIDES)] for _ in range(blocks)])


@torch.no_grad()
def read(seen: Tensor, digits: Tensor) -> Tensor:
    """Whether the shipped classifier reads each shadow `(B, 3, 28, 28)` in [0, 1] as the digit `(B, 3)` that was asked for."""
    network, _ = store.load("mnist-classifier")
    return network(2 * seen.flatten(0, 1)[:, None] - 1).argmax(1).view_as(digits) == digits


def carvings(digits: Tensor, tries: int) -> tuple[Tensor, Tensor]:
    """Pictures of the digits `(B, 3)` that the model draws, and the shadows of blocks carved from them: `(tries, B, 3, 28, 28)` each."""
    model, _ = store.load_denoising("mnist-cfg")
    cond = digits.repeat(tries, 1)
    generator = torch.Generator().manual_seed(11)
    pictures = draw(model, cond.numel(), TRY, "ddim", generator, cond.flatten(), SCALES[0])
    pictures = ((pictures[:, 0] + 1) / 2).unflatten(0, (-1, len(SIDES)))
    return tuple(x.unflatten(0, (tries, -1)) for x in (pictures, outlines(carved(pictures))))  # type: ignore[return-value]


def variety(seen: Tensor, digits: Tensor) -> Tensor:
    """Root mean square differences of all pairs of pictures `(B, 3, 28, 28)` that are to show the same digit."""
    pictures, labels = seen.flatten(0, 1).flatten(1), digits.flatten()
    apart = torch.cdist(pictures, pictures) / pictures.shape[1] ** 0.5
    pairs = torch.triu(labels[:, None] == labels, 1)
    return apart[pairs].double()


def hexed(seen: Tensor) -> list[str]:
    """Pictures `(n, 28, 28)` in [0, 1], a text each: a hexadecimal digit a pixel."""
    return ["".join(f"{v:x}" for v in one.flatten().tolist()) for one in (15 * seen.clamp(0, 1)).round().int()]


def measure_blocks(blocks: int, steps: int, tries: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """All of it for blocks: metrics; paired differences; shadows to look at."""
    digits, metrics, gaps = wanted(blocks), {}, {}
    examples: dict[str, Any] = {"digits": digits[:4].tolist()}
    model, _ = store.load_denoising("mnist-cfg")
    seen, right = {}, {}
    for scale in SCALES:
        *_, done = sculpt(model, digits, steps, scale, torch.Generator().manual_seed(1))
        seen[f"distilled, scale {scale:g}"] = done.seen
    pictures, cut = carvings(digits, tries)
    misfit = (pictures - cut).abs().flatten(2).mean(2)  # (tries, blocks)
    seen["carved"] = cut[0]
    seen["carved, best of many"] = cut[misfit.argmin(0), torch.arange(blocks)]
    seen["drawn"] = pictures[0]
    for name, one in seen.items():
        right[name] = read(one, digits).double()
        metrics[f"{name}: shadows read"] = entry(right[name].flatten(), DIGITS)
        metrics[f"{name}: blocks read"] = entry(right[name].prod(1), DIGITS)
        metrics[f"{name}: ink"] = entry(one.flatten(2).mean(2).flatten(), DIGITS)
        metrics[f"{name}: spread"] = {"value": round(float(variety(one, digits).mean()), 5)}
        examples[name] = hexed(one[:4].flatten(0, 1))
        print(name, metrics[f"{name}: shadows read"], metrics[f"{name}: blocks read"], flush=True)
    metrics["carved: misfit"] = entry(misfit[0], DIGITS)
    metrics["carved, best of many: misfit"] = entry(misfit.amin(0), DIGITS)
    first = f"distilled, scale {SCALES[0]:g}"
    for other in (f"distilled, scale {SCALES[1]:g}", "carved", "carved, best of many"):
        gap = (right[first] - right[other]).mean(1)  # shadows of one block share noise
        gaps[f"{first} - {other}: shadows read"] = signed(gap, DIGITS)
    return metrics, gaps, examples


def measure(arguments: Any, kept: Path) -> None:
    """Write the ledger of what has been trained."""
    started, quick = time.monotonic(), arguments.quick
    found, gaps, seen = measure_clouds(kept, 2 if quick else EACH)
    more = measure_blocks(*((2, 1, 2) if quick else (BLOCKS, SCULPTING, TRIES)))
    if quick:
        return
    options = {
        "seeds": SEEDS,
        "points": POINTS,
        "clouds of each kind": EACH,
        "steps": STEPS,
        "batch": BATCH,
        "clouds to learn from": LEARNED,
        "parameters": {name: sum(p.numel() for p in build(name).parameters()) for name in NETWORKS},
        "blocks": BLOCKS,
        "steps of distillation": SCULPTING,
        "carvings to choose from": TRIES,
        "steps of a drawn digit": TRY,
    }
    metrics = {f"clouds, {name}": value for name, value in found.items()}
    metrics |= {f"blocks, {name}": value for name, value in more[0].items()}
    extra = {"differences": {**gaps, **more[1]}, "clouds": seen, "shadows": more[2]}
    write(arguments.out / "shapes.json", "shapes in space", {**options, **machine()}, metrics, started, **extra)


def main() -> None:
    """Train or measure."""
    arguments = parser_of(__doc__, "shapes").parse_args()
    run(arguments, NETWORKS, train, partial(measure, arguments))


if __name__ == "__main__":
    main()
