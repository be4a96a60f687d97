"""Images a second of sampling, ours and diffusers' pipeline, with the same network and steps: python -m benchmarks.sampling [--quick]

The network is diffusers' own UNet2DModel (untrained: its weights do not matter for speed), 28 x 28 x 1. DDIMPipeline draws with it
as it comes; the course's sampler draws with it through the same deterministic steps, and both end as arrays in [0, 1]. They take turns,
round by round. Written to results/bench-sampling.json.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.contestants import BATCH, diffusers_unet
from benchmarks.record import machine, measured, write
from course_lib.diffusion import schedules
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import EPS, denoiser
from course_lib.hardware import bf16_is_fast
from course_lib.sampling.steps import ddim, last, sample
from course_lib.types import Cond


def ours(unet: Any, n: int, steps: int) -> Any:
    """n images `(n, 28, 28, 1)` by the course's sampler."""
    schedule = schedules.cosine()
    process = GaussianDiffusion(schedule)

    def network(x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        return unet(x, t).sample.float()

    denoise = denoiser(network, EPS, schedule, clip=1.0)
    x = last(sample(ddim(denoise, process), process.prior((n, 1, 28, 28)), schedule.grid(steps)))
    return (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def theirs(pipeline: Any, n: int, steps: int) -> Any:
    """The same number of images by diffusers' pipeline."""
    return pipeline(batch_size=n, num_inference_steps=steps, output_type="np").images


def main() -> None:
    """Measure in turns, and write the comparison into the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few images in two steps; writes nothing")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    n, steps, rounds, started = (4, 2, 1, time.monotonic()) if arguments.quick else (BATCH, 20, 7, time.monotonic())
    unet = diffusers_unet(1, 28).eval()
    from diffusers.pipelines.ddim.pipeline_ddim import DDIMPipeline
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    pipeline = DDIMPipeline(unet, DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2"))
    pipeline.set_progress_bar_config(disable=True)
    acts: dict[str, Callable[[], Any]] = {
        "course_lib": lambda: ours(unet, n, steps),
        "diffusers": lambda: theirs(pipeline, n, steps),
    }
    rates: dict[str, list[float]] = {name: [] for name in acts}
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast(torch.device("cpu"))):
        for _ in range(rounds + 1):  # the first warms up
            for name, act in acts.items():
                begun = time.perf_counter()
                assert act().shape == (n, 28, 28, 1)
                rates[name].append(n / (time.perf_counter() - begun))
    rates = {name: values[1:] for name, values in rates.items()}
    ratios = [one / other for one, other in zip(rates["course_lib"], rates["diffusers"], strict=True)]
    metrics = {f"{name}, images/s": measured(values) for name, values in rates.items()}
    metrics["ratio to diffusers"] = measured(ratios)
    print(metrics, flush=True)
    if not arguments.quick:
        options = {"n": n, "steps": steps, "rounds": rounds, "network": "UNet2DModel", **machine()}
        write(arguments.out / "bench-sampling.json", "sampling beside diffusers", options, metrics, started)


if __name__ == "__main__":
    main()
