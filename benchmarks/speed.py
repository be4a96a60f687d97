"""Images a second in training and in forward passes, ours and the peers', interleaved: python -m benchmarks.speed [--quick]

First every precision and memory order is tried for each network; then the best of each, eager and compiled, take turns, round by
round, so that whatever else the machine does meets all of them alike. The medians, and the ratios of each round, go to
results/bench-speed-*.json, one file for each size of image and kind of processor.
"""

import argparse
import gc
import itertools
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.contestants import BATCH, Contestant, Mode, contestants, gflop, parameters
from benchmarks.record import machine, measured, write

SHAPES = {"28x28x1": (1, 28, 28), "32x32x3": (3, 32, 32)}


class Runner:
    """One contestant in one mode, ready to be timed again and again."""

    def __init__(self, contestant: Contestant, mode: Mode, images: Tensor) -> None:
        torch.manual_seed(0)
        self.contestant, self.mode = contestant, mode
        self.network = contestant.build()
        self.steps = contestant.train(self.network, images, mode)
        order = torch.channels_last if mode.channels_last else torch.contiguous_format
        self.x = torch.randn(BATCH, *images.shape[1:]).contiguous(memory_format=order)
        self.t = torch.randint(1, 1000, (BATCH,))
        self.train()  # also compiles, and puts the weights into the mode's memory order

    def train(self) -> None:
        """One optimiser step."""
        next(self.steps)

    def predict(self) -> None:
        """One forward pass without gradients."""
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.mode.bf16):
            self.contestant.forward(self.network, self.x, self.t)


def rate(act: Callable[[], None], seconds: float) -> float:
    """Images a second of a batch's act, repeated for about so many seconds after one repetition for warming up."""
    act()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        act()
        count += 1
    return count * BATCH / (time.perf_counter() - start)


def best_modes(contestant: Contestant, images: Tensor, seconds: float) -> dict[str, dict[bool, Mode]]:
    """For training and for forward passes: the fastest eager mode (False), and the same compiled (True)."""
    trained: dict[Mode, float] = {}
    predicted: dict[Mode, float] = {}
    for bf16, channels_last in itertools.product((False, True), repeat=2):
        mode = Mode(bf16, channels_last, compiled=False)
        runner = Runner(contestant, mode, images)
        trained[mode], predicted[mode] = rate(runner.train, seconds), rate(runner.predict, seconds)
        print(f"  {contestant.name}, {mode}: {trained[mode]:.0f}, {predicted[mode]:.0f} images/s", flush=True)
        del runner
        gc.collect()
    best = {"training": max(trained, key=trained.__getitem__), "forward": max(predicted, key=predicted.__getitem__)}
    return {what: {False: mode, True: replace(mode, compiled=True)} for what, mode in best.items()}


def compare(
    shape: tuple[int, ...],
    ways: tuple[bool, ...],
    modes: dict[str, dict[str, dict[bool, Mode]]],
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    """Medians of images a second, and ratios to the faster peer, of interleaved rounds; `ways` are eager (False), compiled (True)."""
    images = torch.randint(0, 256, (1024, *shape), dtype=torch.uint8)
    field = contestants(*shape[:2])
    ours, *peers = (contestant.name for contestant in field)
    metrics: dict[str, Any] = {}
    for contestant in field:
        network = contestant.build()
        metrics[f"{contestant.name}, parameters"] = {"value": parameters(network)}
        metrics[f"{contestant.name}, GFLOP an image"] = {"value": round(gflop(network, contestant.forward, shape), 4)}
    for what, compiled in itertools.product(("training", "forward"), ways):
        runners = {c.name: Runner(c, modes[c.name][what][compiled], images) for c in field}
        acts = {name: runner.train if what == "training" else runner.predict for name, runner in runners.items()}
        for act in acts.values():
            act()  # compiles
        turns = [{name: rate(act, seconds) for name, act in acts.items()} for _ in range(rounds)]
        how = "compiled" if compiled else "eager"
        for name, runner in runners.items():
            metrics[f"{what}, {how}, {name}, images/s"] = measured([turn[name] for turn in turns]) | {
                "mode": str(runner.mode)
            }
        faster = max(peers, key=lambda peer: statistics.median(turn[peer] for turn in turns))
        ratios = measured([turn[ours] / turn[faster] for turn in turns])
        metrics[f"{what}, {how}, ratio to the faster peer"] = ratios | {"mode": faster}
        print(f"  {what}, {how}: {ratios['value']:.2f} times {faster}", flush=True)
        del runners, acts
        gc.collect()
        torch._dynamo.reset()
    return metrics


def short(processor: str) -> str:
    """A processor's maker and family: "Intel Xeon" of "Intel(R) Xeon(R) Processor"."""
    return " ".join(re.sub(r"\(\w+\)", "", processor).split()[:2])


def main() -> None:
    """Run the comparison and write it into the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all runs; writes nothing")
    parser.add_argument("--eager", action="store_true", help="leave out the compiled runs, which take most of the time")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    rounds, seconds = (1, 0.1) if arguments.quick else (5, 2.5)
    screened = torch.randint(0, 256, (1024, *SHAPES["28x28x1"]), dtype=torch.uint8)
    started = time.monotonic()
    print("which way of running suits whom, at 28 x 28 x 1 (training, forward):", flush=True)
    modes = {c.name: best_modes(c, screened, seconds / 2) for c in contestants(1, 28)}
    for name, shape in SHAPES.items():
        print(f"{name}:", flush=True)
        metrics = compare(shape, (False,) if arguments.eager else (False, True), modes, rounds, seconds)
        if not arguments.quick:
            options = {"shape": name, "batch": BATCH, "rounds": rounds, **machine()}
            kind = short(options["machine"])
            file = f"bench-speed-{name}-{kind.lower().replace(' ', '-')}.json"
            write(arguments.out / file, f"speed at {name}, {kind}", options, metrics, started)


if __name__ == "__main__":
    main()
