"""What the same minutes of training on MNIST give, ours and the peers': python -m benchmarks.quality [--minutes 15]

Each library's network (of equal size, see contestants.py) trains alone on this machine for the same wall-clock time in its fastest
eager mode, averages its weights, then draws the same number of images in 50 deterministic steps with its own sampler. The images
are measured as `course evaluate` measures them. Needs the MNIST archive. Written to results/bench-quality.json.
"""

import argparse
import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contestants import BATCH, Contestant, Mode, contestants, lucid
from benchmarks.record import machine, write
from course_lib.data import sets
from course_lib.diffusion import schedules
from course_lib.diffusion.predictions import V
from course_lib.evaluation.evaluate import compare
from course_lib.hardware import bf16_is_fast
from course_lib.sampling.generate import Denoising, draw
from course_lib.training.loop import averaged

STEPS = 50
DRAWN = 200  # images at a time


def train(contestant: Contestant, images: Tensor, mode: Mode, seconds: float) -> tuple[nn.Module, int]:
    """The averaged network after so many seconds of training, and how many images it saw."""
    torch.manual_seed(0)
    network = contestant.build()
    average = averaged(network, 0.999)  # `fit` keeps one of its own; here all are averaged alike
    start, steps = time.monotonic(), 0
    for _ in contestant.train(network, images, mode):
        steps += 1
        average.update_parameters(network)
        if time.monotonic() - start >= seconds:
            break
    return copy.deepcopy(average.module).eval(), steps * BATCH


def drawn(contestant: Contestant, network: nn.Module, n: int, mode: Mode) -> Tensor:
    """n images `(n, 1, 28, 28)` in [-1, 1] by the library's own deterministic sampler in STEPS steps."""
    sampler = {"course_lib": ours, "diffusers": diffusers_ddim, "denoising-diffusion-pytorch": lucid_ddim}[
        contestant.name
    ]
    torch.manual_seed(1)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=mode.bf16):
        return torch.cat([sampler(network, min(DRAWN, n - start)) for start in range(0, n, DRAWN)])


def ours(network: nn.Module, n: int) -> Tensor:
    """The course's sampler."""
    return draw(Denoising(network, V, schedules.cosine(), (1, 28, 28)), n, STEPS)


def diffusers_ddim(network: nn.Module, n: int) -> Tensor:
    """diffusers' DDIMPipeline without the conversion to PIL images."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    scheduler = DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    scheduler.set_timesteps(STEPS)
    x = torch.randn(n, 1, 28, 28)
    for t in scheduler.timesteps:
        x, *_ = scheduler.step(network(x, t).sample.float(), int(t), x, return_dict=False)
    return x.clamp(-1, 1)


def lucid_ddim(network: nn.Module, n: int) -> Tensor:
    """denoising-diffusion-pytorch's sampler, which returns images in [0, 1]."""
    diffusion = lucid().GaussianDiffusion(
        network, image_size=28, objective="pred_v", beta_schedule="cosine", sampling_timesteps=STEPS
    )
    return diffusion.sample(batch_size=n) * 2 - 1


def results(minutes: float, n: int, images: Tensor) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each contestant its metrics, after training it and drawing from it."""
    mode = Mode(bf16=bf16_is_fast(torch.device("cpu")), channels_last=True, compiled=False)
    for contestant in contestants(1, 28):
        network, seen = train(contestant, images, mode, 60 * minutes)
        samples = drawn(contestant, network, n, mode).float()
        print(f"{contestant.name}: {seen:,} images seen in {minutes:g} minutes, {n} drawn", flush=True)
        yield contestant.name, {"images seen": {"value": seen}, **compare("mnist", samples)}


def main() -> None:
    """Train, draw, measure, and write the comparison into the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that all runs; writes nothing")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    minutes, n, started = (
        (0.02, 100, time.monotonic()) if arguments.quick else (arguments.minutes, arguments.n, time.monotonic())
    )
    images, _ = sets.load("mnist", "train")
    metrics: dict[str, Any] = {}
    for name, found in results(minutes, n, images):
        metrics |= {f"{name}: {key}": value for key, value in found.items()}
        print(f"  Frechet distance {found['frechet distance']}", flush=True)
    if not arguments.quick:
        options = {"minutes": minutes, "n": n, "steps of the sampler": STEPS, **machine()}
        write(arguments.out / "bench-quality.json", "quality at equal time, MNIST", options, metrics, started)


if __name__ == "__main__":
    main()
