"""What the reverse variance is worth on 8 x 8 digits: python -m benchmarks.variance_digits train, then measure.

`train` trains three objectives on two schedules (the bound alone on one) from three seeds each, and looks at every network with each
variance that it can have: the bound in bits for test digits, and the Fréchet distance of samples, for few steps and many. Each network is
kept when it is done, so that it may be stopped at any moment. `measure` writes results/variance-digits.json.
"""

import argparse
import math
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor, nn

from benchmarks.record import machine, write
from course_lib.data import sets
from course_lib.data.images import to_unit
from course_lib.diffusion import schedules
from course_lib.diffusion.bound import discretised_log_prob, variational_bound
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import EPS, denoiser
from course_lib.draws import normal_like
from course_lib.evaluation.frechet import frechet_distance, moments
from course_lib.models.tensors import load_tensors, load_weights, save_tensors
from course_lib.nets.mlp import MLP
from course_lib.recipes.classification import prepare
from course_lib.recipes.variance import ImportantTimes, bound_loss, hybrid_loss
from course_lib.sampling.steps import ancestral, ddim, last, sample, unit_variance
from course_lib.sampling.variance import analytic_variance, learned_variance, score_norms, split_output
from course_lib.training.loop import Batch, Loss, fit
from course_lib.types import Cond, Denoiser, Network, Variance

LEVELS, DIMENSIONS = 17, 64
SCHEDULES = {"linear": schedules.linear(), "cosine": schedules.cosine()}
TRAINED = (("simple", "linear"), ("simple", "cosine"), ("hybrid", "linear"), ("hybrid", "cosine"), ("vlb", "cosine"))
SEEDS = (0, 1, 2)
COUNTS = (10, 25, 50, 100, 1000)
SETS = 2  # of as many samples as there are test digits
KEPT = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "variance-digits"


def digits() -> tuple[Tensor, Tensor]:
    """Training and test digits as rows `(N, 64)` in [-1, 1]."""
    train, test = sets.split_digits()
    return train.flatten(1), test.flatten(1)


def objective_of(name: str, process: GaussianDiffusion) -> Loss:
    """The loss that a network is trained with."""
    if name == "hybrid":
        return hybrid_loss(process, EPS, levels=LEVELS)
    if name == "vlb":
        return bound_loss(process, EPS, ImportantTimes(int(process.schedule.T)), LEVELS)

    def simple(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        x0 = to_unit(batch[0])
        t = process.schedule.times(len(x0), generator)
        return denoising_loss(network, x0, t, normal_like(x0, generator), process, EPS).mean()

    return simple


def untrained(objective: str, seed: int) -> MLP:
    """A network with a second output where the objective teaches one."""
    outputs = DIMENSIONS * (1 if objective == "simple" else 2)
    return prepare(MLP, seed, dim=DIMENSIONS, width=256, depth=3, outputs=outputs)


def trained(objective: str, schedule: str, seed: int, steps: int) -> tuple[MLP, float]:
    """The averaged network of one training run, and its minutes."""
    network, start = untrained(objective, seed), time.monotonic()
    loss = objective_of(objective, GaussianDiffusion(SCHEDULES[schedule]))
    data = (digits()[0] + 1) * 127.5
    *_, state = fit(network, loss, (data,), steps, batch_size=64, learning_rate=1e-3, bf16=False, seed=seed)
    averaged = state.ema.module.eval()
    assert isinstance(averaged, MLP)
    return averaged, (time.monotonic() - start) / 60


class Remembered:
    """A network that is asked once for each time: the variances are compared at the same x_t."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.answers = network, dict[float, tuple[Tensor, Tensor]]()

    def __call__(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """The network's answer, as it was the first time."""
        key = float(t[0])
        if key not in self.answers or not torch.equal(self.answers[key][0], x):
            self.answers[key] = x, self.network(x, t, cond)
        return self.answers[key][1]


def ways(
    network: Network, outputs: int, process: GaussianDiffusion, gamma: Tensor, times: Tensor, clip: float | None = None
) -> dict[str, tuple[Denoiser, Variance | None]]:
    """The denoiser with each variance that the network can have, for a chain of the given times."""

    def mean(x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        return split_output(network(x, t, cond), x)[0]

    learns = outputs == 2 * DIMENSIONS
    denoise = denoiser(mean if learns else network, EPS, process.schedule, clip=clip)
    found: dict[str, tuple[Denoiser, Variance | None]] = {
        "beta-tilde": (denoise, None),
        "beta": (denoise, unit_variance(process.schedule)),
        "analytic": (denoise, analytic_variance(gamma, process.schedule)),
    }
    if learns:
        found["learned"] = learned_variance(network, EPS, process, clip=clip, times=times)
        if len(times) <= process.schedule.T:  # else every step is a single one
            found["learned, of single steps"] = learned_variance(network, EPS, process, clip=clip)
    return found


@torch.no_grad()
def look(network: MLP, schedule: str) -> dict[str, Tensor]:
    """Bits of each test digit `(297,)`, the mean over enough draws of noise, and Fréchet distances `(SETS,)`, by way and steps."""
    process, (train, test) = GaussianDiffusion(SCHEDULES[schedule]), digits()
    plain = denoiser(lambda x, t, cond: network(x, t, cond)[:, :DIMENSIONS], EPS, process.schedule)
    gamma = score_norms(plain, train, process, 100, torch.Generator().manual_seed(0))
    found, real = {"gamma": gamma}, moments(train.double())
    decoder = partial(discretised_log_prob, levels=LEVELS)
    for count in COUNTS:
        times, draws = process.schedule.grid(count), max(1, 100 // count)
        for draw in range(draws):
            asked = Remembered(network)
            # Clipped, as the published code of Improved DDPM measures: at the first times a guess from eps is divided by next to nothing.
            for name, (denoise, spread) in ways(asked, network.outputs, process, gamma, times, clip=1.0).items():
                generator = torch.Generator().manual_seed(draw)
                bound = variational_bound(denoise, test, process, decoder, spread, generator, times)
                bits = bound.bits_per_dimension(DIMENSIONS) / draws
                found[f"bits: {name}, {count}"] = found.get(f"bits: {name}, {count}", 0) + bits
        chosen = ways(network, network.outputs, process, gamma, times, clip=1.0)
        samplers = {name: ancestral(d, process, v, torch.Generator().manual_seed(1)) for name, (d, v) in chosen.items()}
        denoise, analytic = chosen["analytic"]
        samplers["DDIM"] = ddim(denoise, process)
        samplers["Analytic-DDIM"] = ddim(denoise, process, 0, torch.Generator().manual_seed(1), x0_variance=analytic)
        if count == max(COUNTS):  # with a thousand steps the ways are alike
            samplers = {"beta-tilde": samplers["beta-tilde"]}
        for name, step in samplers.items():
            x = process.prior((SETS * len(test), DIMENSIONS), torch.Generator().manual_seed(2))
            drawn = last(sample(step, x, times)).double().chunk(SETS)
            found[f"distance: {name}, {count}"] = torch.tensor([frechet_distance(real, part) for part in drawn])
    return found


def train(steps: int, kept: Path, only: str) -> Iterator[str]:
    """Train and look at what is missing of the networks with `only` in their names, and yield a line for each."""
    for seed, (objective, schedule) in product(SEEDS, TRAINED):
        file = kept / f"{objective}-{schedule}-{seed}.safetensors"
        if file.exists() or only not in file.stem:
            continue
        weights = kept / "weights" / file.name
        if weights.exists():
            tensors, metadata = load_tensors(weights)
            network, minutes = untrained(objective, seed).eval(), float(metadata["minutes"])
            load_weights(network, tensors, weights)
        else:
            network, minutes = trained(objective, schedule, seed, steps)
            save_tensors(weights, network.state_dict(), {"minutes": f"{minutes:.2f}"})
        found = look(network, schedule)
        save_tensors(file, found, {"minutes": f"{minutes:.2f}", "steps": str(steps)})
        bits = {name: round(float(found[f"bits: {name}, 25"].mean()), 3) for name in ("beta-tilde", "beta", "analytic")}
        yield f"{file.stem}: {minutes:.1f} minutes, bits in 25 steps {bits}"


def over_seeds(values: list[Tensor]) -> dict[str, float]:
    """The mean over seeds of values of each test digit `(297,)`, with its standard error: from other seeds, and other digits."""
    stacked = torch.stack(values).double()  # (seeds, 297)
    seeds = stacked.mean(1).var() / len(stacked)
    error = float((seeds + stacked.mean(0).var() / stacked.shape[1]).sqrt())
    value = float(stacked.mean())
    return entry(value, value - 1.96 * error, value + 1.96 * error, error)


def entry(value: float, low: float, high: float, error: float) -> dict[str, float]:
    """One metric of the ledger, rounded."""
    parts = {"value": value, "low": low, "high": high, "error": error}
    return {name: round(number, 5) for name, number in parts.items()}


def measure(kept: Path) -> dict[str, dict[str, Any]]:
    """Bits and distances over seeds, and paired differences of bits: same test digits, same noise, same seeds."""
    runs = {
        (objective, schedule): [load_tensors(kept / f"{objective}-{schedule}-{seed}.safetensors")[0] for seed in SEEDS]
        for objective, schedule in TRAINED
    }
    metrics: dict[str, Any] = {}
    for (objective, schedule), found in runs.items():
        for key in found[0]:
            kind, _, name = key.partition(": ")
            if kind == "bits" and all(bool(run[key].isfinite().all()) for run in found):
                metrics[f"{objective}, {schedule}, {name}: bits"] = over_seeds([run[key] for run in found])
            elif kind == "distance":
                means = torch.stack([run[key].mean() for run in found])
                low, high, error = float(means.min()), float(means.max()), float(means.std() / math.sqrt(len(means)))
                metrics[f"{objective}, {schedule}, {name}: distance"] = entry(float(means.mean()), low, high, error)
    differences: dict[str, Any] = {}
    for schedule, count, fixed in product(SCHEDULES, COUNTS, ("beta-tilde", "beta")):
        base = [run[f"bits: {fixed}, {count}"] for run in runs["simple", schedule]]
        for objective, way in (("simple", "analytic"), ("hybrid", "learned")):
            own = [run[f"bits: {way}, {count}"] for run in runs[objective, schedule]]
            change = over_seeds([one - other for one, other in zip(own, base, strict=True)])
            differences[f"{objective}, {schedule}, {way} - simple, {fixed}, {count}: bits"] = change
    train_digits, test = (rows.double() for rows in digits())
    metrics["real test digits: distance"] = {"value": round(frechet_distance(train_digits, test), 5)}
    return {"metrics": metrics, "differences": differences}


def main() -> None:
    """Train, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("train", "measure"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--only", default="", help="train only the networks with this in their names, such as cosine")
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    if arguments.task == "train":
        for line in train(arguments.steps, arguments.kept, arguments.only):
            print(line, flush=True)
        return
    found, files = measure(arguments.kept), list(arguments.kept.glob("*.safetensors"))
    metadata = [load_tensors(file)[1] for file in files]
    minutes = sum(float(each["minutes"]) for each in metadata)
    options = {"steps": int(metadata[0]["steps"]), "seeds": len(SEEDS), "test digits": len(digits()[1]), **machine()}
    path, started = arguments.out / "variance-digits.json", time.monotonic() - 60 * minutes
    write(path, "variance: digits", options, found["metrics"], started, differences=found["differences"])


if __name__ == "__main__":
    main()
