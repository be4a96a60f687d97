"""Every image network of course_lib on the same footing: parameters, GFLOP, images a second: python -m benchmarks.networks

Each trains on 28 x 28 x 1 images as `fit` trains by default; rounds are interleaved. Written to results/bench-networks.json.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.contestants import Contestant, Mode, gflop, our_steps, parameters
from benchmarks.record import machine, measured, write
from benchmarks.speed import Runner, rate
from course_lib.hardware import bf16_is_fast
from course_lib.nets.dit import DiT
from course_lib.nets.hybrid import Hybrid
from course_lib.nets.unet import BasicUNet, UNet
from course_lib.recipes.rows import SMALL

NETWORKS: dict[str, Any] = {
    "U-Net, basic": partial(BasicUNet, width=32, multipliers=(1, 2, 2)),
    "U-Net, residual": partial(UNet, width=32, multipliers=(1, 2, 2), attention=()),
    "U-Net with attention": partial(UNet, width=32, multipliers=(1, 2, 2), attention=(1, 2)),
    "U-Net with transformer blocks": partial(UNet, width=32, multipliers=(1, 2, 2), attention=(), transformer=(1, 2)),
    "U-Net of the recipes (patches of 2)": partial(UNet, **SMALL),
    "the same with group norm": partial(UNet, **SMALL, norm="group"),
    "the same with RMS norm": partial(UNet, **SMALL, norm="rms"),
    "the same without norm": partial(UNet, **SMALL, norm="none"),
    "DiT, global attention": partial(DiT, patch=2, width=128, depth=6),
    "DiT, windows of 7": partial(DiT, patch=2, width=128, depth=6, window=7),
    "DiT, patches of 4": partial(DiT, patch=4, width=256, depth=6),
    "hybrid": partial(Hybrid, width=64, multipliers=(1, 2), depth=4, patch=2),
}


def contestant(name: str, build: partial[nn.Module]) -> Contestant:
    """One of our networks as a contestant."""
    return Contestant(name, build, our_steps, lambda network, x, t: network(x, t))


def main() -> None:
    """Measure every network and write the table into the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all runs; writes nothing")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    rounds, seconds = (1, 0.1) if arguments.quick else (5, 1.5)
    shape, started = (1, 28, 28), time.monotonic()
    images = torch.randint(0, 256, (1024, *shape), dtype=torch.uint8)
    mode = Mode(bf16=bf16_is_fast(torch.device("cpu")), channels_last=True, compiled=False)
    runners = {name: Runner(contestant(name, build), mode, images) for name, build in NETWORKS.items()}
    trained: dict[str, list[float]] = {name: [] for name in runners}
    predicted: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, runner in runners.items():
            trained[name].append(rate(runner.train, seconds))
            predicted[name].append(rate(runner.predict, seconds / 2))
    metrics: dict[str, Any] = {}
    for name, runner in runners.items():
        metrics[f"{name}: parameters"] = {"value": parameters(runner.network)}
        metrics[f"{name}: GFLOP"] = {"value": round(gflop(runner.network, runner.contestant.forward, shape), 4)}
        metrics[f"{name}: training images/s"] = measured(trained[name])
        metrics[f"{name}: forward images/s"] = measured(predicted[name])
        print(name, *(metrics[f"{name}: {key}"]["value"] for key in COLUMNS), flush=True)
    if not arguments.quick:
        options = {"shape": "28x28x1", "mode": str(mode), "rounds": rounds, **machine()}
        write(arguments.out / "bench-networks.json", "networks at 28x28x1", options, metrics, started)


COLUMNS = ("parameters", "GFLOP", "training images/s", "forward images/s")

if __name__ == "__main__":
    main()
