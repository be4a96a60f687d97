"""Benchmarks that train small networks with several seeds: each is kept when it is done, and what the seeds give is summed up."""

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from benchmarks.parts import RUNS
from course_lib.evaluation.intervals import mean_of
from course_lib.models.tensors import load_tensors, load_weights, save_tensors
from course_lib.training.loop import fit
from course_lib.training.state import Batch, Loss

ROOT = Path(__file__).resolve().parents[1]
SEEDS = 3
OPTIONS: dict[str, Any] = {"warmup": 50, "ema_decay": 0.995, "bf16": False, "channels_last": False}
Network = TypeVar("Network", bound=nn.Module)


class Training(NamedTuple):
    """What a network learns, from which rows, and for how long."""

    build: Callable[[], nn.Module]
    loss: Loss
    rows: Callable[[], Batch]
    steps: int
    batch: int
    rate: float = 3e-3


def place(kept: Path, name: str, seed: int) -> Path:
    """Where a network's weights lie."""
    return kept / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}.safetensors"


def train(kept: Path, name: str, seed: int, training: Training) -> None:
    """Train one network, unless it is there, and keep its averaged weights."""
    file = place(kept, name, seed)
    if file.exists():
        return
    torch.manual_seed(seed)
    network, rows, steps = training.build(), training.rows(), training.steps
    started, losses = time.process_time(), 0.0
    for state in fit(network, training.loss, rows, steps, training.batch, training.rate, seed=seed, **OPTIONS):
        losses += state.loss
        if state.step % 100 == 0:
            print(f"{name}, seed {seed}: step {state.step} of {steps}, loss {losses / 100:.3f}", flush=True)
            losses = 0.0
    seconds = f"{time.process_time() - started:.1f}"
    save_tensors(file, state.ema.module.state_dict(), {"seconds": seconds, "steps": str(steps)})


def trained(kept: Path, name: str, build: Callable[[], Network]) -> dict[int, tuple[Network, float]]:
    """The trained networks of a name by seed, each with the seconds of a core that it took."""
    found = {}
    for seed in range(SEEDS):
        if (file := place(kept, name, seed)).exists():
            tensors, metadata = load_tensors(file)
            network = build()
            load_weights(network, tensors, file)
            found[seed] = network.eval(), float(metadata["seconds"])
    return found


def entry(values: Tensor, digits: int = 4) -> dict[str, float]:
    """The mean of independent values with its interval; for shares, one that stays within [0, 1]."""
    values = values.double()
    found, shares = mean_of(values), bool(((values >= 0) & (values <= 1)).all())
    interval = found.share(len(values)) if shares else found.interval()
    return rounded(interval._asdict(), digits)


def signed(values: Tensor, digits: int = 4) -> dict[str, float]:
    """The mean of differences with its interval."""
    return rounded(mean_of(values.double()).interval()._asdict(), digits)


def spread(values: list[float], digits: int = 4) -> dict[str, float]:
    """The mean of what each seed gave, with the lowest and the highest."""
    return rounded({"value": sum(values) / len(values), "low": min(values), "high": max(values)}, digits)


def over_seeds(each: list[Tensor], metrics: dict[str, Any], name: str, digits: int = 4) -> None:
    """The mean over all seeds' values with its interval, and the lowest and the highest seed's."""
    metrics[name] = entry(torch.cat(each), digits)
    metrics[f"{name} over seeds"] = spread([float(one.double().mean()) for one in each], digits)


def rounded(numbers: dict[str, float], digits: int) -> dict[str, float]:
    """Numbers by name, rounded."""
    return {name: round(number, digits) for name, number in numbers.items()}


def as_rows(points: Tensor) -> list[str]:
    """Points `(n, ...)`, a text for each of the n: all its coordinates one after the other."""
    return [" ".join(f"{x:.2f}" for x in one.flatten().tolist()) for one in points]


def parser_of(doc: str | None, name: str) -> argparse.ArgumentParser:
    """The command line of such a benchmark: `train` or `measure`, and where things lie."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("train", "measure"))
    parser.add_argument("--only", default="", help="those with this in their names alone")
    parser.add_argument("--kept", type=Path, default=RUNS / name, help="where the trained networks are")
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="where the ledger is")
    parser.add_argument("--quick", action="store_true", help="run every line once and write nothing")
    return parser


def run(
    arguments: Any, names: Iterable[str], train: Callable[[Path, str, int, bool], None], measure: Callable[[Path], None]
) -> None:
    """Train what has `--only` in its name, each seed of all before the next, or measure; --quick does both, in a folder of its own."""
    kept: Path = arguments.kept / "quick" if arguments.quick else arguments.kept
    kept.mkdir(parents=True, exist_ok=True)
    if arguments.task == "train" or arguments.quick:
        for seed in range(1 if arguments.quick else SEEDS):
            for name in names:
                if arguments.only in name:
                    train(kept, name, seed, arguments.quick)
    if arguments.task == "measure" or arguments.quick:
        measure(kept)
