"""How often the 95 % intervals of the metrics hold the truth, on distributions that are known: python -m benchmarks.intervals

"Real pictures" and each of four models are mixtures of ten Gaussians, one a class, in DIMENSIONS features, whose moments and class
probabilities are known. Many sets of n samples are drawn from a model. The truth is a metric's mean over all of them, and the
interval of one set is right where it holds that. Written to results/intervals.json after each model.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.record import machine, write
from course_lib.evaluation.evaluate import measure, statistics, within_range
from course_lib.evaluation.features import Features
from course_lib.evaluation.frechet import Moments
from course_lib.evaluation.intervals import share_interval
from course_lib.evaluation.reference import Reference

DIMENSIONS, CLASSES = 8, 10
MODELS = {"perfect": 1.0, "too alike": 0.8}  # how wide a class is, in units of a real one's standard deviation


class World:
    """Real pictures, n of them to compare with, and models of them; in [-1, 1]^DIMENSIONS lie the centres of the classes."""

    def __init__(self, n: int, seed: int = 0) -> None:
        self.n, self.generator = n, torch.Generator().manual_seed(seed)
        self.centres = 1.5 * torch.randn(CLASSES, DIMENSIONS, generator=self.generator, dtype=torch.float64)
        middle = self.centres - self.centres.mean(0)
        covariance = torch.eye(DIMENSIONS).double() + middle.T @ middle / CLASSES
        real = self.draw(1.0, balanced=False)[0]
        self.reference = Reference("", Moments(self.centres.mean(0), covariance), real.vectors, real)

    def draw(self, width: float, balanced: bool) -> tuple[Features, Tensor | None]:
        """n samples of a model, and their classes where each was asked for equally often."""
        free = torch.randint(CLASSES, (self.n,), generator=self.generator)
        classes = torch.arange(self.n) % CLASSES if balanced else free
        noise = torch.randn(self.n, DIMENSIONS, generator=self.generator, dtype=torch.float64)
        x = self.centres[classes] + width * noise
        return Features(x, (-torch.cdist(x, self.centres).square() / 2).log_softmax(1)), classes if balanced else None


def covered(world: World, width: float, balanced: bool, sets: int, more: int) -> dict[str, tuple[int, float]]:
    """For each metric, how many intervals of so many sets hold the mean over them and `more` sets, and how long one is in units of
    four standard deviations between sets.
    """
    found = [measure(world.reference, *world.draw(width, balanced), seed=number) for number in range(sets)]
    others = [statistics(world.reference, *world.draw(width, balanced)) for _ in range(more)]
    table = {}
    for key in found[0]:
        values = [each[key].value for each in found] + [each[key](None) for each in others]
        values = torch.tensor(values, dtype=torch.float64)
        intervals = [within_range(key, each[key], world.n) for each in found]
        inside = sum(low <= float(values.mean()) <= high for _, low, high in intervals)
        length = sum(high - low for _, low, high in intervals) / sets
        table[key] = inside, length / (4 * float(values.std()))
    return table


def main() -> None:
    """Draw, measure, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=500, help="samples in a set")
    parser.add_argument("--sets", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="ten sets of 100; writes nothing")
    arguments = parser.parse_args()
    n, sets = (100, 10) if arguments.quick else (arguments.n, arguments.sets)
    world, metrics, started = World(n), {}, time.monotonic()
    for name, width in MODELS.items():
        for balanced in (False, True):
            setting = f"{name}, {'as many of each class' if balanced else 'classes at random'}"
            for key, (inside, length) in covered(world, width, balanced, sets, 4 * sets).items():
                counted = share_interval(inside / sets, sets)
                metrics[f"{setting}: {key}"] = {k: round(v, 4) for k, v in counted._asdict().items()} | {
                    "length": round(length, 3)
                }
                print(f"{setting}, {key}: {inside} of {sets}, length {length:.2f}", flush=True)
            if not arguments.quick:
                options = {"n": n, "sets": sets, "seed": 0, **machine()}
                write(arguments.out / "intervals.json", "coverage of 95 % intervals", options, metrics, started)


if __name__ == "__main__":
    main()
