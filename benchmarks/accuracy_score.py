"""The classification accuracy score of mnist-cfg at rising scales: python -m benchmarks.accuracy_score [--n 2000]

A small classifier learns from n drawn digits alone, as many of each class, and is tested on the 10,000 real test digits; beside it
the same classifier that learned from n real training digits. Written to results/accuracy-score.json after each setting.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.record import machine, write
from course_lib.data import sets
from course_lib.data.images import to_bytes
from course_lib.models import store
from course_lib.recipes.classification import accuracy_score
from course_lib.sampling.generate import balanced_classes, draw_batches

MODEL, STEPS = "mnist-cfg", 25  # the sampler's steps
SCALES = (1.0, 2.0, 8.0)


def real(n: int) -> tuple[Tensor, Tensor]:
    """n digits of the training set, as many of each class, and their classes."""
    images, labels = sets.load("mnist", "train")
    chosen = torch.cat([(labels == digit).nonzero()[: n // 10, 0] for digit in range(10)])
    return images[chosen], labels[chosen]


def drawn(n: int, scale: float) -> tuple[Tensor, Tensor]:
    """n digits that the model draws when it is asked for each class equally often, and what was asked for."""
    model, _ = store.load_denoising(MODEL)
    cond = balanced_classes(model.takes, n)
    assert cond is not None
    return to_bytes(draw_batches(model, n, STEPS, "ddim", seed=0, cond=cond, scale=scale)), cond


def main() -> None:
    """Draw, train and test for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000, help="digits to learn from, a multiple of 10")
    parser.add_argument("--training-steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="100 digits and 20 steps of one scale; writes nothing")
    arguments = parser.parse_args()
    n, steps = (100, 20) if arguments.quick else (arguments.n, arguments.training_steps)
    if n % 10 or n < 100:
        parser.error(f"--n must be a multiple of 10, at least 100; got {n}")
    test, metrics, started = sets.load("mnist", "test"), {}, time.monotonic()
    options = {"diffusion model": MODEL, "n": n, "sampler steps": STEPS, "training steps": steps, "seed": 0}
    for scale in (None, *SCALES[: 1 if arguments.quick else None]):
        images, labels = real(n) if scale is None else drawn(n, scale)
        found = accuracy_score(images, labels, test, steps)
        setting = "real digits" if scale is None else f"scale {scale:g}"
        metrics[f"{setting}: classification accuracy score"] = {k: round(v, 5) for k, v in found._asdict().items()}
        print(json.dumps({setting: found}), flush=True)
        if not arguments.quick:
            write(
                arguments.out / "accuracy-score.json",
                "classification accuracy score",
                {**options, **machine()},
                metrics,
                started,
            )


if __name__ == "__main__":
    main()
