"""What each of `fit`'s keywords for speed and memory does to both: python -m benchmarks.keywords

The network is that of `mnist-ddpm`. Each way of training runs in a process of its own, so that its memory can be told, in
interleaved rounds. Written to results/bench-keywords.json.
"""

import argparse
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import machine, measured, write
from course_lib.diffusion import schedules
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import V
from course_lib.nets.unet import UNet
from course_lib.recipes.diffusion import diffusion_loss
from course_lib.recipes.rows import SMALL
from course_lib.training.loop import fit

BATCH = 256
WAYS: dict[str, dict[str, Any]] = {
    "float32, contiguous": {"bf16": False, "channels_last": False},
    "float32, channels_last": {"bf16": False},
    "bf16, contiguous": {"bf16": True, "channels_last": False},
    "bf16, channels_last": {"bf16": True},
    "bf16, channels_last, compiled": {"bf16": True, "compiled": True},
    "bf16, channels_last, checkpointing": {"bf16": True, "checkpointing": True},
    "bf16, channels_last, 4 parts": {"bf16": True, "parts": 4},
}


def run(keywords: dict[str, Any], threads: int, seconds: float) -> tuple[float, float]:
    """Images a second, and how many MiB the process grew by, in training with these keywords."""
    torch.set_num_threads(threads)
    images = torch.randint(0, 256, (1024, 1, 28, 28), dtype=torch.uint8)
    loss = diffusion_loss(GaussianDiffusion(schedules.cosine()), V)
    states = fit(UNet(**SMALL), loss, (images,), steps=1_000_000, batch_size=BATCH, **keywords)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    next(states)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(states)
        count += 1
    speed = count * BATCH / (time.perf_counter() - start)
    return speed, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    """Measure every way of training and write the table into the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all runs; writes nothing")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    rounds, seconds = (1, 0.1) if arguments.quick else (3, 3.0)
    started, found = time.monotonic(), {name: [] for name in WAYS}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for _ in range(rounds):
            for name, keywords in WAYS.items():
                found[name].append(pool.apply(run, (keywords, torch.get_num_threads(), seconds)))
    metrics: dict[str, Any] = {}
    for name, values in found.items():
        speeds, memory = zip(*values, strict=True)
        metrics[f"{name}: training images/s"] = measured(list(speeds))
        metrics[f"{name}: memory, MiB"] = measured(list(memory))
        print(name, *(metrics[f"{name}: {key}"]["value"] for key in COLUMNS), flush=True)
    if not arguments.quick:
        options = {"shape": "28x28x1", "batch": BATCH, "rounds": rounds, **machine()}
        write(arguments.out / "bench-keywords.json", "keywords of fit", options, metrics, started)


COLUMNS = ("training images/s", "memory, MiB")

if __name__ == "__main__":
    main()
