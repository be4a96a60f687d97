"""Few steps: python -m benchmarks.few_steps line, then draw, then measure.

`line` teaches four small networks of three seeds to leap along the flow of the book's two bumps, each in one of chapter 11's ways and
with the same steps and batches, and says how far what they generate lies from the truth, which is known: results/few-steps-line.json.
`draw` draws digits from the shipped few-step model in 1, 2, 4 and 8 evaluations, from its teacher and from mnist-flow, where it has
shipped, in as many by other samplers, and from the teacher in 50; batch k of every setting begins with the same noise. Each batch is kept
when it is done, so that drawing may be stopped at any moment and begun again. `measure` writes results/few-steps.json: every metric, and
paired differences of the Frechet distance. --quick does hardly anything.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor, nn

from benchmarks.flows import place, spread
from benchmarks.record import machine, write
from course_lib.data.images import to_bytes
from course_lib.diffusion.continuous import Straight
from course_lib.diffusion.exact import ExactDiffusion, two_bumps
from course_lib.diffusion.flow_map import ExactFlowMap
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import FLOW
from course_lib.draws import standard_normal
from course_lib.evaluation.evaluate import copied, entry, floors, measure, with_floor
from course_lib.evaluation.features import Features, features
from course_lib.evaluation.intervals import Measured
from course_lib.evaluation.reference import CLASSIFIERS, load_reference
from course_lib.models import store
from course_lib.models.tensors import load_tensors, save_tensors
from course_lib.nets.mlp import MLP
from course_lib.recipes.few_steps import OfLeaps, consistency_loss, distillation_loss, mean_flow_loss
from course_lib.sampling.generate import Denoising, draw
from course_lib.sampling.leaps import leap, renoised, subdivided
from course_lib.sampling.steps import ddim, last, sample
from course_lib.training.loop import fit, generator_for

MODEL, TEACHER, FLOW_MODEL = "mnist-leaps", "mnist-ddpm", "mnist-flow"
EVALUATIONS = (1, 2, 4, 8)
END = f"{TEACHER}, ddim, 50"  # whose quality the few steps are to reach
BATCH = 100
KEPT = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "few-steps"

SEEDS, STEPS = 3, 1000  # of training on the line
LINE = GaussianDiffusion(Straight())
ORACLE = ExactDiffusion(two_bumps(), Straight())
POINTS = 61  # noises of the curves, evenly spaced from -3 to 3


def exact(x: Tensor, t: Tensor) -> Tensor:
    """The exact denoiser, for x in any precision."""
    return ORACLE.denoise(x.double(), t).to(x.dtype)


FAST, SLOW = 1000.0, 10.0  # how far the network's clock stretches the times in [0, 1]


def ways() -> dict[str, OfLeaps]:
    """The losses: two with the exact denoiser as their teacher, and two with data alone, the last one twice: with either clock."""
    return {
        "progressive distillation": distillation_loss(subdivided(ddim(exact, LINE), 3), LINE, FLOW, EVALUATIONS),
        "consistency distillation": consistency_loss(exact, LINE, FLOW, 40),
        "consistency training": consistency_loss(None, LINE, FLOW, 40),
        "mean flow": mean_flow_loss(LINE, FLOW),
        "mean flow, slow clock": mean_flow_loss(LINE, FLOW),
    }


def student(loss: OfLeaps, seed: int, steps: int, clock: float) -> nn.Module:
    """A small network after its training on points of the two bumps."""
    torch.manual_seed(seed)
    network = MLP(dim=1, width=64, depth=2, time_scale=clock, leaps=EVALUATIONS)
    points = two_bumps().sample(20_000, torch.Generator().manual_seed(100 + seed))[0].float()
    learn = lambda network, batch, generator: loss(network, batch[0], generator)  # noqa: E731
    *_, state = fit(network, learn, (points,), steps, 256, 2e-3, bf16=False, weight_decay=0.0, seed=seed)
    return state.ema.module.eval()


def generated(network: nn.Module, name: str, x: Tensor, evaluations: int) -> Tensor:
    """What a network makes of noise: consistency models go home and start again with fresh noise, the others leap along the grid."""
    step = leap(network, FLOW, LINE)
    if name.startswith("consistency"):
        step = renoised(step, LINE, standard_normal(torch.Generator().manual_seed(1)))
    return last(sample(step, x, Straight().grid(evaluations)))


def apart(x: Tensor, truth: Tensor) -> float:
    """The Wasserstein distance (of squares) between two sets of as many points on the line: sorted, they are matched."""
    return float((x.flatten().double().sort().values - truth.flatten().double().sort().values).square().mean().sqrt())


def on_the_line(seeds: int, steps: int, n: int, only: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Distances from the truth, over seeds, and what the networks of the first seed make of evenly spaced noises in one evaluation."""
    true, noise = ExactFlowMap(two_bumps(), Straight()), torch.randn(n, 1, generator=torch.Generator().manual_seed(0))
    grid = torch.linspace(-3, 3, POINTS)[:, None]
    begin, end = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    truth = true(noise.double(), begin, end)
    quantiles = true(torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None], begin, end)
    metrics: dict[str, Any] = {"truth: distance": {"value": round(apart(truth, quantiles), 5)}}
    for evaluations in (1, 2, 4, 8, 48):
        x = last(sample(ddim(exact, LINE), noise.double(), Straight().grid(evaluations)))
        metrics[f"DDIM, {evaluations} evaluations: distance"] = {"value": round(apart(x, quantiles), 5)}
    curves = {"noise": grid.flatten().tolist(), "truth": true(grid.double(), begin, end).flatten().tolist()}
    for name, loss in ways().items():
        if only not in name:
            continue
        clock = SLOW if name.endswith("slow clock") else FAST
        networks = [student(loss, seed, steps, clock) for seed in range(seeds)]
        for evaluations in EVALUATIONS:
            values = [apart(generated(network, name, noise, evaluations), quantiles) for network in networks]
            metrics[f"{name}, {evaluations} evaluations: distance"] = spread(values)
        curves[name] = [round(x, 4) for x in generated(networks[0], name, grid, 1).flatten().tolist()]
        print(name, {key: value for key, value in metrics.items() if key.startswith(name)}, flush=True)
    return metrics, {key: [round(x, 4) for x in values] for key, values in curves.items()}


def settings(evaluations: tuple[int, ...]) -> dict[str, Callable[[torch.Generator], Tensor]]:
    """How samples are drawn: a batch from a generator. What has not shipped is left out."""
    asked = [(MODEL, "ddim", k) for k in evaluations]
    for name in (TEACHER, FLOW_MODEL):
        asked += [
            (name, sampler, k)
            for sampler in ("ddim", "dpm-solver")
            for k in evaluations
            if (sampler, k) != ("dpm-solver", 1)
        ]
    asked.append((TEACHER, "ddim", 50))
    models = {name: store.load_denoising(name)[0] for name in {n for n, *_ in asked} & set(store.shipped_models())}
    return {f"{name}, {how}, {k}": partial(drawn, models[name], k, how) for name, how, k in asked if name in models}


def drawn(model: Denoising, steps: int, sampler: str, generator: torch.Generator) -> Tensor:
    """One batch of samples."""
    return draw(model, BATCH, steps, sampler, generator)


def draw_all(kept: Path, n: int, found: dict[str, Callable[[torch.Generator], Tensor]], only: str) -> Iterator[str]:
    """Draw what is missing of n samples of the settings with `only` in their names."""
    classifier, _ = store.load(CLASSIFIERS["mnist"])
    for number in range(n // BATCH):
        for name, way in found.items():
            file, started = place(kept, name, number), time.monotonic()
            if only in name and not file.exists():
                images = to_bytes(way(generator_for(0, number, torch.device("cpu"))))
                seconds = time.monotonic() - started
                read = features(classifier, images)  # type: ignore[arg-type]
                kinds = {"images": images, "vectors": read.vectors.float(), "log_probs": read.log_probs.float()}
                save_tensors(file, kinds, {"seconds": f"{seconds:.1f}"})
                yield f"{name}, batch {number}: {seconds:.1f} s"


def measure_all(kept: Path, names: list[str]) -> dict[str, Any]:
    """All metrics of each setting, from as many samples as all have, and differences from the teacher's in 50 steps."""
    batches = min(next(k for k in count() if not place(kept, name, k).exists()) for name in names)
    reference, n = load_reference("mnist"), batches * BATCH
    floor, metrics, seconds = floors(reference, n), {}, 0.0
    distances: dict[str, Measured] = {}
    for name in names:
        loaded = [load_tensors(place(kept, name, number)) for number in range(batches)]
        images, vectors, logs = (
            torch.cat([tensors[key] for tensors, _ in loaded]) for key in ("images", "vectors", "log_probs")
        )
        found = measure(reference, Features(vectors.double(), logs.double()))
        distances[name] = found["frechet distance"]
        metrics |= {f"{name}: {key}": with_floor(key, one, floor[key], n) for key, one in found.items()}
        metrics[f"{name}: copies"] = entry(copied("mnist", images), 0.01)
        seconds += sum(float(metadata["seconds"]) for _, metadata in loaded)
        print(name, metrics[f"{name}: frechet distance"], flush=True)
    differences = {
        f"{name} - {END}: frechet distance": entry(one.minus(distances[END]).interval())
        for name, one in distances.items()
        if END in distances and name != END
    }
    return {"metrics": metrics, "differences": differences, "n": n, "seconds": seconds}


def main() -> None:
    """Do one of the tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("line", "draw", "measure"))
    parser.add_argument("--n", type=int, default=1000, help=f"samples a setting, a multiple of {BATCH}")
    parser.add_argument(
        "--only", default="", help="only the settings with this in their names; line keeps the others' results"
    )
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="2 steps of training, one batch, one count")
    arguments = parser.parse_args()
    started = time.monotonic()
    if arguments.task == "line":
        seeds, steps, n = (1, 2, 200) if arguments.quick else (SEEDS, STEPS, 4000)
        metrics, curves = on_the_line(seeds, steps, n, arguments.only)
        file = arguments.out / "few-steps-line.json"
        if arguments.only and file.exists():
            kept = json.loads(file.read_text())
            metrics, curves = {**kept["metrics"], **metrics}, {**kept["curves"], **curves}
            started -= 60 * kept["minutes"]
        options = {"seeds": seeds, "training steps": steps, "samples": n, **machine()}
        write(file, "few steps on the line", options, metrics, started, curves=curves)
        return
    found = settings((1,) if arguments.quick else EVALUATIONS)
    if arguments.task == "draw":
        for line in draw_all(arguments.kept, BATCH if arguments.quick else arguments.n, found, arguments.only):
            print(line, flush=True)
        return
    result = measure_all(arguments.kept, [name for name in found if place(arguments.kept, name, 0).exists()])
    options = {"samples": result["n"], "batch": BATCH, **machine()}
    write(
        arguments.out / "few-steps.json",
        "few steps",
        options,
        result["metrics"],
        started - result["seconds"],
        differences=result["differences"],
    )


if __name__ == "__main__":
    main()
