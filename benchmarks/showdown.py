"""Five kinds of models, equal parameters and seconds: python -m benchmarks.showdown train, then measure.

Every model learns the 25 Gaussians and the stacked digits from five seeds, which are trained side by side as the members of one
network. Its steps are as many as fit into BUDGET seconds of a core for all five, by its pace, which is measured for all
models in turns. All have one learning rate, which was not searched for.
Each part is kept when it is done, and a run's state on the way, so that it may be stopped at any moment and begun again. `measure`
writes results/showdown.json. --quick does hardly anything.

A run has failed where its loss is not finite, or where fewer than half of the modes are covered. (A mode is covered that gets a quarter of
its fair share of the samples.)
"""

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.record import machine, write
from course_lib.data import sets
from course_lib.diffusion.exact import five_by_five
from course_lib.draws import uniform
from course_lib.evaluation.frechet import frechet_distance
from course_lib.evaluation.modes import Modes, modes_of_classes, modes_of_points
from course_lib.evaluation.neighbours import manifold
from course_lib.files import write_atomically
from course_lib.models.tensors import load_tensors, load_weights, save_tensors
from course_lib.recipes.rivals import Ddpm, DenoisingGan, Flow, Gan, Rival, Vae
from course_lib.training.loop import fit, generator_for

SEEDS, ROWS = 5, 128  # members of one network, and rows a step of each
BUDGET = {"points": 90.0, "digits": 120.0}  # seconds of one core, for all members together
RATE = 2e-3  # of every model: the tuning is equal, there is none
DRAWN = {"points": 4000, "digits": 10_000}  # samples of each seed
LEVELS = 17
KEPT = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "showdown"
SPREAD = 0.05 * 0.5**0.5  # of a bump of `five_by_five`

POINTS: dict[str, Any] = {
    "GAN": Gan(2, latent=4, width=64, depth=2),
    "VAE": Vae(2, latent=2, width=64, depth=2),
    "flow": Flow(2, layers=8, width=45, depth=1),
    "DDPM": Ddpm(2, width=88, depth=2),
    "DD-GAN": DenoisingGan(2, latent=4, width=62, depth=2),
}
DIGITS: dict[str, Any] = {
    "GAN": Gan(192, latent=32, width=160, depth=2),
    "VAE": Vae(192, latent=32, width=160, depth=2, grain=False),
    "flow": Flow(192, layers=6, width=95, depth=1),
    "DDPM": Ddpm(192, width=214, depth=2),
    "DD-GAN": DenoisingGan(192, latent=32, width=142, depth=2),
}
# What the denoising diffusion GAN loses without its parts, on the points.
PARTS: dict[str, Any] = {
    "DD-GAN, T = 1": replace(POINTS["DD-GAN"], T=1),
    "DD-GAN, T = 2": replace(POINTS["DD-GAN"], T=2),
    "DD-GAN, T = 8": replace(POINTS["DD-GAN"], T=8),
    "DD-GAN, no z": replace(POINTS["DD-GAN"], latent=0),
    "GAN, no R1": replace(POINTS["GAN"], often=0.0),
}
ADVERSARIAL = (0.5, 0.99)  # Adam's betas for two networks in turns; the others take Adam's own


class Piece(NamedTuple):
    """One network of five members to train."""

    data: str  # "points" or "digits"
    name: str
    rival: Any
    seed: int
    budget: float

    @property
    def file(self) -> str:
        """What its files are called."""
        return f"{self.data}-{self.name}-{self.seed}".replace(" ", "").replace(",", "-").replace("=", "")


def learned_from(data: str, rows: int = 100_000) -> Tensor:
    """The training rows `(N, D)` of a data set."""
    generator = torch.Generator().manual_seed(0)
    if data == "points":
        return five_by_five().sample(rows, generator)[0].float()
    train, _ = sets.split_labelled_digits()
    return spread_out(sets.stacked_digits(rows // 2, *train, generator)[0], generator)


def held_out(data: str, rows: int = 10_000) -> Tensor:
    """New rows `(N, D)`: for the digits, of the 297 that no model has seen."""
    generator = torch.Generator().manual_seed(1)
    if data == "points":
        return five_by_five().sample(rows, generator)[0].float()
    _, test = sets.split_labelled_digits()
    return spread_out(sets.stacked_digits(rows, *test, generator)[0], generator)


def spread_out(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures of 17 grey levels in [-1, 1] as rows `(N, D)`, each level spread evenly over its seventeenth of [-1, 1]."""
    levels = ((images + 1) * 8).round()
    return ((levels + uniform(tuple(levels.shape), generator)) * (2 / LEVELS) - 1).flatten(1)


class Reader(nn.Module):
    """Reads the three digits of a row `(B, 192)`, one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 32), nn.SiLU())
        self.last = nn.Linear(32, 10)

    def features(self, x: Tensor) -> Tensor:
        """The features of the three digits side by side, `(B, 96)`."""
        return self.body(x.reshape(-1, 64)).reshape(len(x), 96)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of the three digits, `(B, 3, 10)`."""
        return self.last(self.body(x.reshape(-1, 3, 64)))

    def numbers(self, x: Tensor) -> Tensor:
        """The numbers in 0..999 that the rows show, `(B,)`."""
        return (self(x).argmax(-1) * torch.tensor([100, 10, 1])).sum(1)


def reader(kept: Path, steps: int = 1500) -> Reader:
    """The reader of digits, trained in seconds on the 1,500, and kept."""
    torch.manual_seed(0)
    network, file = Reader(), kept / "reader.safetensors"
    if not file.exists():
        (images, labels), _ = sets.split_labelled_digits()

        def loss(module: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
            features = module.body(spread_out(batch[0], generator))  # type: ignore[operator]
            return F.cross_entropy(module.last(features), batch[1])  # type: ignore[operator]

        *_, state = fit(network, loss, (images, labels), steps, learning_rate=2e-3, weight_decay=0.05, bf16=False)
        save_tensors(file, state.ema.module.state_dict())
    load_weights(network, load_tensors(file)[0], file)
    return network.eval()


def pieces(quick: bool) -> list[Piece]:
    """All that is to be trained."""
    share = 0.02 if quick else 1.0
    found = [Piece("points", name, rival, 0, share * BUDGET["points"]) for name, rival in POINTS.items()]
    found += [Piece("points", name, rival, 0, share * BUDGET["points"]) for name, rival in PARTS.items()]
    return found + [Piece("digits", name, rival, 0, share * BUDGET["digits"]) for name, rival in DIGITS.items()]


def trained(piece: Piece, kept: Path) -> tuple[nn.Module, Any, dict[str, Any]]:
    """The averaged network of a piece, its rival, and what its training took; trained where it is not kept yet."""
    rival, file = replace(piece.rival, members=SEEDS, learning_rate=RATE), kept / f"{piece.file}.safetensors"
    torch.manual_seed(piece.seed)
    network = rival.build()
    if not file.exists():
        learn(network, rival, piece, kept, file)
    tensors, metadata = load_tensors(file)
    load_weights(network, tensors, file)
    return network.eval(), rival, json.loads(metadata["facts"])


def learn(network: nn.Module, rival: Any, piece: Piece, kept: Path, file: Path) -> None:
    """Train a piece to its end, from where it was left, and keep its averaged weights with what it took."""
    state_file, plan_file = kept / f"{piece.file}.state.safetensors", kept / f"{piece.file}.json"
    loss, opponent = rival.task(network)
    counted = [network, *([opponent.network] if opponent else [])]
    weights = sum(p.numel() for module in counted for p in module.parameters()) // SEEDS
    data = learned_from(piece.data)
    options = how(piece, opponent)
    if not plan_file.exists():
        plan = {
            "steps": max(20, round(piece.budget / paces(kept, piece.data)[f"{piece.data}-{piece.name}"])),
            "seconds": 0.0,
        }
        write_atomically(plan_file, json.dumps(plan).encode())
    plan = json.loads(plan_file.read_text())
    started, spent = time.process_time(), plan["seconds"]
    state = None
    try:
        for state in fit(
            network, loss, (data,), plan["steps"], resume=state_file if state_file.exists() else None, **options
        ):
            if state.step % 200 == 0:
                plan["seconds"] = spent + time.process_time() - started
                state.save(state_file)
                write_atomically(plan_file, json.dumps(plan).encode())
    except ValueError as error:
        print(f"{piece.file}: {error}", flush=True)
    assert state is not None
    facts = {"steps": plan["steps"], "reached": state.step, "weights": weights}
    facts["seconds"] = round(spent + time.process_time() - started, 1)
    save_tensors(file, state.ema.module.state_dict(), {"facts": json.dumps(facts)})
    state_file.unlink(missing_ok=True)


def how(piece: Piece, opponent: Any) -> dict[str, Any]:
    """The keywords of `fit` for a piece."""
    return {
        "batch_size": SEEDS * ROWS,
        "learning_rate": RATE,
        "weight_decay": 0.0,
        "clip": math.inf,  # a norm over all members would couple them
        "betas": ADVERSARIAL if opponent else (0.9, 0.999),
        "opponent": opponent,
        "bf16": False,
        "channels_last": False,
        "seed": piece.seed,
    }


def paces(kept: Path, data: str, rounds: int = 3, steps: int = 10) -> dict[str, float]:
    """The processor's seconds for one step of each model of a data set, the best of a few rounds in turns; measured once, and kept."""
    file = kept / f"paces-{data}.json"
    if not file.exists():
        found: dict[str, float] = {}
        for _ in range(rounds):
            for piece in (piece for piece in pieces(quick=False) if piece.data == data):
                rival = replace(piece.rival, members=SEEDS)
                network = rival.build()
                loss, opponent = rival.task(network)
                rows = torch.randn(2 * SEEDS * ROWS, rival.dim)
                started = 0.0
                for state in fit(network, loss, (rows,), steps + 4, **how(piece, opponent)):
                    if state.step == 4:
                        started = time.process_time()
                pace, name = (time.process_time() - started) / steps, f"{piece.data}-{piece.name}"
                found[name] = min(pace, found.get(name, math.inf))
        write_atomically(file, json.dumps(found).encode())
    return json.loads(file.read_text())


@torch.no_grad()
def drawn(network: nn.Module, rival: Rival, n: int, seed: int = 0) -> Tensor:
    """n samples of each member, `(SEEDS, n, D)`."""
    return rival.draw(network, SEEDS * n, generator_for(seed, 0, torch.device("cpu"))).unflatten(0, (SEEDS, n))


def at_modes(data: str, rows: Tensor, kept: Path) -> Modes:
    """The modes of rows `(n, D)`."""
    if data == "points":
        return modes_of_points(rows.double(), five_by_five().means, SPREAD)
    return modes_of_classes(reader(kept).numbers(rows), 1000)


@torch.no_grad()
def values(data: str, rows: Tensor, kept: Path, real: Tensor) -> dict[str, float]:
    """The metrics of rows `(n, D)` beside as many real ones."""
    modes = at_modes(data, rows, kept)
    seen = (lambda x: x.double()) if data == "points" else (lambda x: reader(kept).features(x).double())
    features, theirs = seen(rows), seen(real)
    near = manifold(theirs[:2000], features[:2000])
    found = {
        "modes": float(modes.covered),
        "divergence of the modes": modes.divergence,
        "frechet distance": frechet_distance(theirs, features),
        "precision": float(near.precise.double().mean()),
        "recall": float(near.recalled.double().mean()),
        "failed": float(modes.covered < len(modes.counts) / 2),
    }
    return found | ({"hits": modes.hits} if data == "points" else {})


@torch.no_grad()
def likelihoods(data: str, network: nn.Module, rival: Rival, x: Tensor) -> list[float] | None:
    """The mean of -log p or its bound for each member: nats for points, bits for each dimension and its 17 levels for digits."""
    found = rival.log_prob(network, x.repeat(SEEDS, 1), torch.Generator().manual_seed(2))
    if found is None:
        return None
    nats = (-found.double()).unflatten(0, (SEEDS, len(x))).mean(1)
    in_bits = nats / (x.shape[1] * math.log(2)) + math.log2(LEVELS / 2)
    return (nats if data == "points" else in_bits).tolist()


@torch.no_grad()
def seconds_a_thousand(network: nn.Module, rival: Rival, repeats: int = 3) -> float:
    """The processor's seconds for a thousand samples: the best of a few times."""
    spent = []
    for seed in range(repeats):
        started = time.process_time()
        drawn(network, rival, 1000 // SEEDS, seed)
        spent.append(time.process_time() - started)
    return min(spent)


def spread(found: list[float]) -> dict[str, float]:
    """The mean over seeds with the lowest and the highest."""
    kept = [value for value in found if math.isfinite(value)]
    middle = sum(kept) / len(kept) if kept else 0.0
    return {
        "value": round(middle, 5),
        "low": round(min(kept, default=0.0), 5),
        "high": round(max(kept, default=0.0), 5),
    }


def measure(piece: Piece, kept: Path, n: int) -> dict[str, Any]:
    """All metrics of a trained piece, by name, with a few samples of its first seed."""
    network, rival, facts = trained(piece, kept)
    real, samples = held_out(piece.data), drawn(network, rival, n)
    finite = samples.isfinite().flatten(1).all(1).tolist()
    by_seed = [values(piece.data, rows, kept, real[:n]) for rows, ok in zip(samples, finite, strict=True) if ok]
    failures = [found["failed"] for found in by_seed] + [1.0] * finite.count(False)
    metrics = {key: spread([found[key] for found in by_seed]) for key in (by_seed[0] if by_seed else ())}
    metrics["failed"] = {"value": sum(failures), "low": sum(failures), "high": sum(failures)}
    if (found := likelihoods(piece.data, network, rival, real[:1000])) is not None:
        metrics["-log p"] = spread(found)
    metrics["seconds a thousand"] = {"value": round(seconds_a_thousand(network, rival), 5)}
    for key in ("weights", "seconds", "steps"):
        metrics[f"training: {key}"] = {"value": facts[key]}
    metrics["evaluations"] = {"value": rival.evaluations}
    shown = samples[0, :400] if piece.data == "points" else samples[0, :12]
    return {"metrics": metrics, "shown": [[round(value, 3) for value in row] for row in shown.tolist()]}


def floor(data: str, kept: Path, n: int) -> dict[str, Any]:
    """What real rows get, the mean of five draws."""
    draws = learned_from(data, 200_000)
    found = [values(data, draws[k * n : (k + 1) * n], kept, held_out(data)[:n]) for k in range(5)]
    return {key: spread([one[key] for one in found]) for key in found[0] if key != "failed"}


def main() -> None:
    """Do one of the tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("train", "measure"))
    parser.add_argument("--only", default="", help="only the pieces with this in their names, such as points-GAN")
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the budget, few samples")
    arguments = parser.parse_args()
    kept: Path = arguments.kept
    kept.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    chosen = [piece for piece in pieces(arguments.quick) if arguments.only in f"{piece.data}-{piece.name}"]
    if arguments.task == "train":
        for piece in chosen:
            print(piece.file, trained(piece, kept)[2], flush=True)
        return
    started, metrics, shown = time.monotonic(), {}, {}
    done = [piece for piece in chosen if arguments.quick or (kept / f"{piece.file}.safetensors").exists()]
    for data in dict.fromkeys(piece.data for piece in done):
        n = 500 if arguments.quick else DRAWN[data]
        metrics |= {f"{data}, real: {key}": value for key, value in floor(data, kept, n).items()}
        for piece in (piece for piece in done if piece.data == data):
            found, setting = measure(piece, kept, n), f"{data}, {piece.name}"
            metrics |= {f"{setting}: {key}": value for key, value in found["metrics"].items()}
            shown[setting] = found["shown"]
            print(setting, {key: value["value"] for key, value in found["metrics"].items()}, flush=True)
    options = {
        "seeds": SEEDS,
        "rows a step": ROWS,
        "samples": DRAWN,
        "seconds": BUDGET,
        "learning rate": RATE,
        **machine(),
    }
    write(arguments.out / "showdown.json", "showdown", options, metrics, started, shown=shown)


if __name__ == "__main__":
    main()
