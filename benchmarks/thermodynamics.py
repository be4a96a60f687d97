"""The models of 2015 (chapter 8), trained and measured: python -m benchmarks.thermodynamics heartbeat [--quick], or roll, leaves, mnist.

Each part trains its models by their recipes, from three seeds (leaves from one), in --runs (a run that was stopped goes on), and writes
the entry of the ledger, results/thermodynamics-PART.json.
"""

import argparse
import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor, nn

from benchmarks.contestants import gflop
from benchmarks.record import machine, write
from course_lib.data import sets
from course_lib.data.bits import heartbeats, phases
from course_lib.data.images import dequantised, to_bytes, to_unit
from course_lib.data.leaves import dead_leaves
from course_lib.data.toys import swiss_roll
from course_lib.diffusion.binomial import BinomialDiffusion, bernoulli_entropy, binomial_bound, bit_denoiser
from course_lib.diffusion.bound import Bound, gaussian_log_prob, variational_bound
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import PREDICTIONS, V, denoiser
from course_lib.diffusion.schedules import cosine, erasing
from course_lib.evaluation.features import features
from course_lib.evaluation.frechet import frechet_distance, frechet_statistic
from course_lib.evaluation.intervals import cut, measured, share_interval
from course_lib.evaluation.reference import CLASSIFIERS, load_reference
from course_lib.hardware import bf16_is_fast
from course_lib.models import store
from course_lib.models.cards import ModelCard
from course_lib.nets.unet import UNet
from course_lib.recipes.nonequilibrium import Restore
from course_lib.recipes.rows import RECIPES, SMALL, Recipe
from course_lib.recipes.train import train
from course_lib.sampling.generate import draw_batches
from course_lib.sampling.steps import last, reverse, sample
from course_lib.types import Denoiser, Schedule, Variance

RUNS = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "thermodynamics"
SEEDS = (0, 1, 2)
BIT = math.log(2)

Found = dict[str, float]


def spread(values: Tensor) -> Found:
    """The mean of independent values `(N,)` with its 95 % interval by the jackknife."""
    rows = values.double()
    found = measured(lambda w: float(rows.mean() if w is None else w @ rows / w.sum()), cut(len(rows))).interval()
    return {key: round(value, 5) for key, value in found._asdict().items()}


def trained(recipe: Recipe, seed: int, runs: Path, steps: int | None = None) -> tuple[nn.Module, ModelCard]:
    """The model of one seed, trained where it is not there yet."""
    folder = runs / f"{recipe.name}-{seed}"
    if not (folder / "model.safetensors").exists():
        train(recipe, folder, steps=steps, seed=seed, resume=(folder / "run.json").exists())
    return store.load(folder)


# --- the heartbeat ----------------------------------------------------------------------------------------------------


def exact_heartbeat(process: BinomialDiffusion) -> Denoiser:
    """p(x_0 = 1 | x_t) of each bit, by Bayes' rule over the five sequences."""
    words = heartbeats()

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        one = process.transition(words.to(x_t), torch.tensor(0), torch.as_tensor(t))  # (5, 20)
        likelihood = x_t @ one.log().T + (1 - x_t) @ (1 - one).log().T  # (B, 5)
        return likelihood.softmax(1) @ words.to(x_t)

    return denoise


def of_2015(bound: Bound, x0: Tensor, process: BinomialDiffusion) -> Tensor:
    """K of each sequence `(B,)`, in bits: the last step back is not learned, and costs the entropy of the first step forth."""
    first = bernoulli_entropy(process.transition(x0, torch.tensor(0), torch.tensor(1)))
    return -(bound.prior + bound.steps.sum(0) + first) / BIT


def measure_bits(denoise: Denoiser, process: BinomialDiffusion, n: int, seed: int = 0) -> dict[str, Found]:
    """Both forms of K of n heartbeats, as many of each, and the shares of each among n sequences that the model draws."""
    generator = torch.Generator().manual_seed(seed)
    x0 = heartbeats().double().repeat(n // 5, 1)
    bound = binomial_bound(denoise, x0, process, generator)
    found = {"K": spread(-bound.total / BIT), "K of 2015": spread(of_2015(bound, x0, process))}
    step = reverse(denoise, process, generator)
    start = process.prior((n, 20), generator, torch.float64)
    phase = phases(last(sample(step, start, process.schedule.grid())))
    counts = {"valid": int((phase >= 0).sum())}
    counts |= {f"phase {place}": int((phase == place).sum()) for place in range(5)}
    for key, count in counts.items():
        found[key] = {part: round(value, 5) for part, value in share_interval(count / n, n)._asdict().items()}
    return found


def heartbeat_part(runs: Path, quick: bool) -> dict[str, Any]:
    """The exact denoiser at several numbers of steps, and three seeds of the network."""
    recipe, n, metrics = RECIPES["heartbeat"], 100 if quick else 2000, {}
    assert isinstance(recipe.objective, Restore)
    for steps in (10, 50) if quick else (10, 20, 50, 100, 200, 500, 1000, 2000):
        process = BinomialDiffusion(erasing(steps), recipe.objective.rate)
        metrics |= named(f"exact, {steps} steps", measure_bits(exact_heartbeat(process), process, n))
    for seed in SEEDS[: 1 if quick else None]:
        network, _ = trained(recipe, seed, runs, 20 if quick else None)
        metrics |= named(
            f"seed {seed}", measure_bits(bit_denoiser(network.double()), recipe.objective.process, n, seed)
        )
    return metrics


# --- the Swiss roll ----------------------------------------------------------------------------------------------------


def exact_roll(schedule: Schedule, points: int = 600) -> ExactDiffusion:
    """The roll as so many Gaussians along the spiral, which lie closer than they are wide: its density to ten digits and more."""
    angle = 1.5 * math.pi * (1 + 2 * (torch.arange(points, dtype=torch.float64) + 0.5) / points)
    means = torch.stack([angle * angle.cos(), angle * angle.sin()], 1) / 7
    covariances = (0.3 / 7) ** 2 * torch.eye(2, dtype=torch.float64).repeat(points, 1, 1)
    weights = torch.full((points,), 1 / points, dtype=torch.float64)
    return ExactDiffusion(Mixture(weights, means, covariances), schedule)


def measured_variance(
    denoise: Denoiser, x0: Tensor, process: GaussianDiffusion, times: Tensor, generator: torch.Generator
) -> Variance:
    """The best variance of x_0 that is one number a time: the denoiser's mean squared error on some data, at each of the times."""
    with torch.no_grad():
        errors = {
            float(t): (denoise(process.forward(x0, t, generator), t) - x0).square().mean().double() for t in times[:-1]
        }
    return lambda x_t, t: errors[float(t)]


def bits_of(
    denoise: Denoiser, x0: Tensor, fitted: Tensor, process: GaussianDiffusion, steps: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """K of each sample `(B,)` in bits, with variances measured on other data; first with a learned last step, then 2015's."""
    times, generator = process.schedule.grid(steps), torch.Generator().manual_seed(seed)
    variance = measured_variance(denoise, fitted, process, times, generator)
    bound = variational_bound(denoise, x0, process, gaussian_log_prob, variance, generator, times)
    level = float(process.schedule.noise(times[-2]))
    first = x0[0].numel() / 2 * math.log(2 * math.pi * math.e * level**2)  # H_q(X_1 | X_0)
    return -bound.total / BIT, -(bound.prior + bound.steps.sum(0) + first) / BIT


def roll_part(runs: Path, quick: bool) -> dict[str, Any]:
    """The roll's entropy, a Gaussian's, the exact denoiser's bound, and that of three seeds of the network, on the same points."""
    recipe, n, metrics = RECIPES["swiss-roll"], 100 if quick else 2000, {}
    x0, fitted = (swiss_roll(n, torch.Generator().manual_seed(seed)).double() for seed in (101, 102))
    centre, scale = fitted.mean(0), (fitted - fitted.mean(0)).square().mean().sqrt()
    null = torch.distributions.Normal(centre, scale).log_prob(x0).sum(1) / BIT
    metrics["null"] = spread(null)
    metrics["scale"] = {"value": round(float(scale), 6)}
    exact = exact_roll(cosine(1000))
    truth = exact.log_prob(x0, torch.tensor(0)) / BIT
    metrics["truth"] = spread(truth)
    few = x0[:400]
    for steps in (20,) if quick else (10, 20, 50, 100, 250, 1000):
        learned, fixed = bits_of(exact.denoise, few, fitted[:200], GaussianDiffusion(exact.schedule), steps)
        gaps = {"K below truth": spread(truth[:400] - learned), "K of 2015 below truth": spread(truth[:400] - fixed)}
        metrics |= named(f"exact, {steps} steps", gaps)
    for seed in SEEDS[: 1 if quick else None]:
        network, card = trained(recipe, seed, runs, 20 if quick else None)
        denoise = denoiser(network.double(), PREDICTIONS[card.prediction], card.build_schedule())
        learned, fixed = bits_of(denoise, x0, fitted, GaussianDiffusion(card.build_schedule()), 20 if quick else 1000)
        found = {"K": spread(learned), "K of 2015": spread(fixed), "K over null": spread(learned - null)}
        metrics |= named(f"seed {seed}", found | {"K below truth": spread(truth - learned)})
    return metrics


# --- dead leaves -------------------------------------------------------------------------------------------------------


def leaves(n: int, seed: int) -> Tensor:
    """n pictures `(n, 1, 32, 32)` in [-1, 1], each grey level spread over its bin."""
    generator = torch.Generator().manual_seed(seed)
    return to_unit(dequantised(to_bytes(dead_leaves(n, generator=generator)), generator))


def in_levels(log_density: Tensor, pixels: int) -> Tensor:
    """A log-density in bits `(B,)` of pixels in [-1, 1] as bits a pixel `(B,)` of pixels in 256 grey levels, to be paid."""
    return -log_density / pixels + math.log2(127.5)


def gaussian_fit(pictures: Tensor) -> torch.distributions.MultivariateNormal:
    """The Gaussian with the pictures' mean and covariance, the same under all turns and reflections `(N, 1, S, S)`."""
    turned = torch.cat([f(pictures.rot90(k, (2, 3))) for k in range(4) for f in (lambda x: x, lambda x: x.flip(3))])
    flat = turned.flatten(1).double()
    flat = flat - flat.mean()
    covariance = flat.T @ flat / len(flat)
    return torch.distributions.MultivariateNormal(pictures.double().mean().expand(flat.shape[1]), covariance)


def leaves_part(runs: Path, quick: bool) -> dict[str, Any]:
    """Bits a pixel of new pictures: independent pixels, a Gaussian, and the network."""
    recipe, n, metrics = RECIPES["leaves"], 10 if quick else 24, {}
    test, fitted = leaves(n, 101), leaves(n, 102)
    pixels = test[0].numel()
    if not quick:
        fit = gaussian_fit(leaves(4096, 103))
        gaussian = in_levels(fit.log_prob(test.flatten(1).double()) / BIT, pixels)
        metrics["gaussian"] = spread(gaussian)
    independent = torch.distributions.Normal(fitted.mean(), fitted.std()).log_prob(test).flatten(1).sum(1) / BIT
    metrics["independent"] = spread(in_levels(independent.double(), pixels))
    metrics["scale"] = {"value": round(float(fitted.std()), 6)}
    for seed in SEEDS[:1]:
        network, card = trained(recipe, seed, runs, 2 if quick else None)
        schedule = card.build_schedule()
        denoise = denoiser(network, PREDICTIONS[card.prediction], schedule)
        learned, _ = bits_of(denoise, test, fitted, GaussianDiffusion(schedule), 10 if quick else 100)
        found = {"bits": spread(in_levels(learned, pixels))}
        if not quick:
            found["below gaussian"] = spread(gaussian - in_levels(learned, pixels))
        metrics |= named(f"seed {seed}", found)
    return metrics


# --- handwriting --------------------------------------------------------------------------------------------------------


def networks() -> dict[str, Recipe]:
    """The network of 2015 and a small one of today, all else alike, for half as many steps as the shipped model."""
    old = RECIPES["mnist-multiscale"]
    config = {"channels": 1, **SMALL, "width": 32}
    short = {"2015": old, "today": dataclasses.replace(old, architecture=UNet, config=config)}
    return {
        year: dataclasses.replace(recipe, name=f"mnist-of-{year}", steps=old.steps // 2)
        for year, recipe in short.items()
    }


@torch.no_grad()
def test_losses(network: nn.Module, card: ModelCard, images: Tensor) -> tuple[Tensor, Tensor]:
    """The mean squared error of v of each image `(N,)`, at a time and with a noise that belong to the image; and those times `(N,)`."""
    schedule = card.build_schedule()
    process, generator = GaussianDiffusion(schedule), torch.Generator().manual_seed(0)
    t = schedule.times(len(images), generator)
    noise = torch.randn(images.shape, generator=generator)
    rows = torch.arange(len(images)).split(250)
    losses = [denoising_loss(network, images[r], t[r], noise[r], process, V) for r in rows]
    return torch.cat(losses).double(), t


def by_third(losses: Tensor, t: Tensor) -> dict[str, Found]:
    """The mean over all times, and over each third of them."""
    thirds = {
        "loss": t > 0,
        "loss, little noise": t <= 333,
        "loss, middle": (t > 333) & (t <= 667),
        "loss, much noise": t > 667,
    }
    return {name: spread(losses[chosen]) for name, chosen in thirds.items()}


def distances(images: Tensor) -> Found:
    """The Frechet distance of drawn digits `(n, 1, 28, 28)` in the features of the course's classifier, with its interval."""
    reference = load_reference("mnist")
    classifier, _ = store.load(CLASSIFIERS["mnist"])
    vectors = features(classifier, images).vectors  # type: ignore[arg-type]
    found = measured(frechet_statistic(reference.train, vectors), cut(len(images))).interval(low=0.0)
    return {key: round(value, 4) for key, value in found._asdict().items()}


def real_distance(n: int, draws: int = 10) -> Found:
    """What so many real test digits get, the mean of several draws."""
    reference = load_reference("mnist")
    orders = [
        torch.randperm(len(reference.test.vectors), generator=torch.Generator().manual_seed(k)) for k in range(draws)
    ]
    found = [frechet_distance(reference.train, reference.test.vectors[order[:n]]) for order in orders]
    return {"value": round(sum(found) / draws, 4), "low": round(min(found), 4), "high": round(max(found), 4)}


def mnist_part(runs: Path, quick: bool) -> dict[str, Any]:
    """Both networks from three seeds: size, work, minutes, the loss on test images, and what they draw."""
    images, n = to_unit(sets.load("mnist", "test")[0])[: 100 if quick else 2000], 100 if quick else 600
    losses, metrics = {}, named("real digits", {"frechet distance": real_distance(n)})
    for seed in SEEDS[: 1 if quick else None]:
        for name, recipe in networks().items():
            network, card = trained(recipe, seed, runs, 2 if quick else None)
            losses[name], t = test_losses(network, card, images)
            drawn = draw_batches(store.denoising(network, card), n, 20, seed=seed)
            found = {**by_third(losses[name], t), "frechet distance": distances(drawn)}
            metrics |= named(f"{name}, seed {seed}", found | {"minutes": {"value": card.minutes}})
            if seed == 0:
                work = gflop(network, lambda net, x, t: net(x, t), (1, 28, 28))
                size = {"parameters": {"value": card.parameters}, "GFLOP an image": {"value": round(work, 4)}}
                metrics |= named(name, size)
        metrics |= named(f"2015 - today, seed {seed}", by_third(losses["2015"] - losses["today"], t))
    return metrics


PARTS = {"heartbeat": heartbeat_part, "roll": roll_part, "leaves": leaves_part, "mnist": mnist_part}


def named(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """The metrics of one setting, as the ledger names them; and a line that says that they are there."""
    print(name, {key: value.get("value") for key, value in found.items()}, flush=True)
    return {f"{name}: {key}": value for key, value in found.items()}


def main() -> None:
    """Train and measure one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--quick", action="store_true", help="a few steps and samples, and nothing is written")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    started = time.monotonic()
    found = PARTS[arguments.part](arguments.runs, arguments.quick)
    if not arguments.quick:
        options = {"bf16": bf16_is_fast(torch.device("cpu")), **machine()}
        path = arguments.out / f"thermodynamics-{arguments.part}.json"
        write(path, f"thermodynamics: {arguments.part}", options, found, started)


if __name__ == "__main__":
    main()
