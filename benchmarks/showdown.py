"""Five kinds of models, equal parameters and seconds: python -m benchmarks.showdown tune, train, then measure.

Every model learns the 25 Gaussians and the stacked digits from five seeds, which are trained side by side as the members of one
network. Its steps are as many as fit into BUDGET seconds of a core for all five, by its pace, which is measured for all
models in turns. On the points, networks may see sines and cosines of what they read, too (`octaves`).
`tune` gives each model equally many short runs, with seeds of their own, and writes results/showdown-tuning.json; TUNED has the best
setting of each.
Each part is kept when it is done, and a run's state on the way, so that it may be stopped at any moment and begun again. `measure`
writes results/showdown.json; what was not trained on this machine keeps what the entry had of it. --quick does hardly anything.

A run has failed where its loss is not finite, or where fewer than half of the modes are covered. (A mode is covered that gets a quarter of
its fair share of the samples.)
"""

import argparse
import json
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Set
from dataclasses import replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.record import machine, write
from course_lib.data import sets
from course_lib.diffusion.exact import ExactDiffusion, five_by_five
from course_lib.diffusion.schedules import cosine
from course_lib.draws import uniform
from course_lib.evaluation.frechet import frechet_distance
from course_lib.evaluation.modes import Modes, modes_of_classes, modes_of_points
from course_lib.evaluation.neighbours import manifold
from course_lib.files import write_atomically
from course_lib.models.tensors import load_tensors, load_weights, save_tensors
from course_lib.recipes.rivals import Ddpm, DenoisingGan, Flow, Gan, Rival, Vae
from course_lib.sampling.steps import ancestral, last, sample
from course_lib.training.loop import fit, generator_for

SEEDS, ROWS = 5, 128  # members of one network, and rows a step of each
BUDGET = {"points": 60.0, "digits": 90.0}  # seconds of one core, for all members together
TRIAL = {"points": 15.0, "digits": 15.0}  # seconds of one core for a run of the tuning
TRIED = {  # octaves and learning rate: what the tuning tries
    "points": [(0, 3e-3), (3, 1e-3), (3, 3e-3), (5, 1e-3), (5, 3e-3)],
    "digits": [(0, rate) for rate in (7e-4, 2e-3, 6e-3)],
}
TUNED = {  # and what it chose; the rate is that of both networks of a model that has two
    "points": {"GAN": (3, 3e-3), "VAE": (5, 3e-3), "flow": (5, 1e-3), "DDPM": (5, 3e-3), "DD-GAN": (3, 3e-3)},
    "digits": {"GAN": (0, 2e-3), "VAE": (0, 6e-3), "flow": (0, 2e-3), "DDPM": (0, 6e-3), "DD-GAN": (0, 6e-3)},
}
# What was chosen anew after the trials, which are over before this game has begun; its penalty R1 is thirty times as strong.
AGAIN: dict[str, dict[str, Any]] = {"points": {"DD-GAN": {"octaves": 5, "gamma": 3.0}}, "digits": {}}
WEIGHTS = {"points": 33_000, "digits": 275_000}  # of all networks of a model together
DRAWN = {"points": 4000, "digits": 10_000}  # samples of each seed
SHOWN = {"points": 400, "digits": 12}  # samples of the first seed that the ledger keeps
LEVELS = 17
KEPT = platformdirs.user_cache_path("learning-to-denoise") / "runs" / "showdown"
SPREAD = 0.05 * 0.5**0.5  # of a bump of `five_by_five`

POINTS: dict[str, Any] = {  # their widths are chosen by `sized`
    "GAN": Gan(2, latent=4),
    "VAE": Vae(2, latent=2),
    "flow": Flow(2, layers=8),
    "DDPM": Ddpm(2),
    "DD-GAN": DenoisingGan(2, latent=4),
}
DIGITS: dict[str, Any] = {
    "GAN": Gan(192, latent=32),
    "VAE": Vae(192, latent=32, grain=False),
    "flow": Flow(192, layers=6),
    "DDPM": Ddpm(192),
    "DD-GAN": DenoisingGan(192, latent=32),
}
# What the games lose without their parts, on the points: what each piece has of its own.
PARTS: dict[str, dict[str, Any]] = {
    "DD-GAN, T = 1": {"T": 1},
    "DD-GAN, T = 2": {"T": 2},
    "DD-GAN, T = 8": {"T": 8},
    "DD-GAN, no z": {"latent": 0},
    "DD-GAN, longer": {},
    "DD-GAN, as tuned": {"octaves": TUNED["points"]["DD-GAN"][0], "gamma": 0.1},
    "GAN, no R1": {"often": 0.0},
    "GAN, strong R1": AGAIN["points"]["DD-GAN"],
}
LONGER = 5  # times the seconds of the others have the pieces of that name
ADVERSARIAL = (0.5, 0.99)  # Adam's betas for two networks in turns; the others take Adam's own


class Piece(NamedTuple):
    """One network of five members to train."""

    data: str  # "points" or "digits"
    name: str
    rival: Any
    seed: int
    budget: float
    rate: float
    trial: bool = False  # of the tuning

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


@torch.enable_grad()
def reader(kept: Path, steps: int = 1500) -> Reader:
    """The reader of digits, trained in seconds on the 1,500, and kept; wherever it is first asked for."""
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


def weights(rival: Any) -> int:
    """How many weights all networks of one member have."""
    network = rival.build()
    _, opponent = rival.task(network)
    return sum(
        p.numel() for module in (network, *([opponent.network] if opponent else [])) for p in module.parameters()
    )


@cache
def sized(rival: Any, data: str) -> Any:
    """The rival as wide as its share of the weights allows."""
    wide = bisect_right(range(1, 512), WEIGHTS[data], key=lambda width: weights(replace(rival, width=width)))
    return replace(rival, width=wide)


def pieces(quick: bool) -> list[Piece]:
    """All that is to be trained."""
    found = []
    for data, rivals in (("points", POINTS), ("digits", DIGITS)):
        for name, own in ({name: {} for name in rivals} | (PARTS if data == "points" else {})).items():
            whole = name.partition(",")[0]
            octaves, rate = TUNED[data][whole]
            rival = replace(rivals[whole], **{"octaves": octaves} | AGAIN[data].get(whole, {}) | own)
            seconds = (0.02 if quick else 1.0) * BUDGET[data] * (LONGER if name.endswith("longer") else 1)
            found.append(Piece(data, name, sized(rival, data), 0, seconds, rate))
    return found


def trials(quick: bool) -> list[Piece]:
    """The runs of the tuning."""
    return [
        Piece(
            data,
            f"{name}, {octaves} octaves, rate {rate:g}",
            sized(replace(rival, octaves=octaves), data),
            1,
            (0.02 if quick else 1.0) * TRIAL[data],
            rate,
            trial=True,
        )
        for data, rivals in (("points", POINTS), ("digits", DIGITS))
        for name, rival in rivals.items()
        for octaves, rate in TRIED[data]
    ]


def trained(piece: Piece, kept: Path) -> tuple[nn.Module, Any, dict[str, Any]]:
    """The averaged network of a piece, its rival, and what its training took; trained where it is not kept yet."""
    rival, file = replace(piece.rival, members=SEEDS, learning_rate=piece.rate), kept / f"{piece.file}.safetensors"
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
    data = learned_from(piece.data)
    options = how(piece, opponent)
    if not plan_file.exists():
        own = f"{piece.data}-{piece.name.removesuffix(', longer')}"
        seconds = pace(piece) if piece.trial else paces(kept, piece.data)[own]
        plan = {"steps": max(20, round(piece.budget / seconds)), "seconds": 0.0}
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
    facts = {"steps": plan["steps"], "reached": state.step, "weights": weights(piece.rival)}
    facts["seconds"] = round(spent + time.process_time() - started, 1)
    save_tensors(file, state.ema.module.state_dict(), {"facts": json.dumps(facts)})
    state_file.unlink(missing_ok=True)


def how(piece: Piece, opponent: Any) -> dict[str, Any]:
    """The keywords of `fit` for a piece."""
    return {
        "batch_size": SEEDS * ROWS,
        "learning_rate": piece.rate,
        "weight_decay": 0.0,
        "clip": math.inf,  # a norm over all members would couple them
        "betas": ADVERSARIAL if opponent else (0.9, 0.999),
        "opponent": opponent,
        "bf16": False,
        "channels_last": False,
        "seed": piece.seed,
    }


def pace(piece: Piece, steps: int = 10) -> float:
    """The processor's seconds for one step of a piece."""
    rival = replace(piece.rival, members=SEEDS)
    network = rival.build()
    loss, opponent = rival.task(network)
    rows, started = torch.randn(2 * SEEDS * ROWS, rival.dim), 0.0
    for state in fit(network, loss, (rows,), steps + 4, **how(piece, opponent)):
        if state.step == 4:
            started = time.process_time()
    return (time.process_time() - started) / steps


def paces(kept: Path, data: str, rounds: int = 3) -> dict[str, float]:
    """The pace of each model of a data set, the best of a few rounds in turns; measured once, and kept."""
    file = kept / f"paces-{data}.json"
    if not file.exists():
        found: dict[str, float] = {}
        for _ in range(rounds):
            for piece in (piece for piece in pieces(quick=False) if piece.data == data):
                name = f"{piece.data}-{piece.name}"
                found[name] = min(pace(piece), found.get(name, math.inf))
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
def astray(data: str, rows: Tensor, kept: Path) -> float:
    """How far rows `(n, D)` are from the truth, in the one number by which the tuning chooses; real ones have a little.

    Points: the total variation between their shares and the true ones, of the 25 modes and of what lies at none. Digits: the Frechet
    distance from as many training rows.
    """
    if data == "digits":
        theirs, ours = (reader(kept).features(x).double() for x in (learned_from(data)[: len(rows)], rows))
        return frechet_distance(theirs, ours)
    at, found = 1 - math.exp(-4.5), at_modes(data, rows, kept)  # a bump's share within three deviations
    inside = (found.counts / found.n - at / len(found.counts)).abs().sum()
    return float(inside + abs(found.hits - at)) / 2


def judged(piece: Piece, kept: Path, n: int) -> dict[str, float]:
    """How far astray the members of a piece are; a sample that is no number counts as the point 0."""
    network, rival, _ = trained(piece, kept)
    rows = drawn(network, rival, n).nan_to_num(0.0, 0.0, 0.0)
    return spread([astray(piece.data, each, kept) for each in rows])


def tune(kept: Path, out: Path, quick: bool, chosen: list[Piece]) -> None:
    """Run the trials, and write how far astray each went."""
    started, metrics = time.monotonic(), {}
    for piece in chosen:
        metrics[f"{piece.data}, {piece.name}"] = judged(piece, kept, 500 if quick else 2000)
        print(piece.file, metrics[f"{piece.data}, {piece.name}"], flush=True)
    options = {"seeds": SEEDS, "rows a step": ROWS, "seconds": TRIAL, "tried": TRIED, **machine()}
    write(out / "showdown-tuning.json", "showdown-tuning", options, metrics, started)


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
def seconds_a_thousand(done: list[Piece], kept: Path, rounds: int = 5) -> dict[str, dict[str, float]]:
    """The processor's seconds in which each piece draws a thousand samples: the best of a few rounds in turns."""
    found: dict[str, float] = {}
    for seed in range(rounds):
        for piece in done:
            network, rival, _ = trained(piece, kept)
            started = time.process_time()
            drawn(network, rival, 1000 // SEEDS, seed)
            spent, key = time.process_time() - started, f"{setting_of(piece)}: seconds a thousand"
            found[key] = min(spent, found.get(key, math.inf))
    return {key: {"value": round(value, 5)} for key, value in found.items()}


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
    if piece.data == "points" and isinstance(rival, DenoisingGan):
        metrics |= step_by_step(network, rival, n, kept)
    for key in ("weights", "seconds", "steps"):
        metrics[f"training: {key}"] = {"value": facts[key]}
    metrics["evaluations"] = {"value": rival.evaluations}
    return {"metrics": metrics, "shown": rounded(samples[0, : SHOWN[piece.data]])}


@torch.no_grad()
def step_by_step(network: nn.Module, rival: DenoisingGan, n: int, kept: Path) -> dict[str, dict[str, float]]:
    """Which steps a denoising diffusion GAN of the points has learned: its modes where the last step, or all others, are exact."""
    generator = generator_for(1, 0, torch.device("cpu"))
    exact, own = ExactDiffusion(five_by_five(), rival.process.schedule), rival.denoise(network, generator)
    found = {}
    for name, ours in (("all but the last step", lambda t: t > 1), ("the last step alone", lambda t: t == 1)):

        def denoise(x: Tensor, t: Tensor, ours: Callable[[Tensor], Tensor] = ours) -> Tensor:
            return own(x, t) if ours(t) else exact.draw(x.double(), t, generator).to(x)

        step = ancestral(denoise, rival.process, generator=generator)
        x = rival.process.prior((SEEDS * n, 2), generator)
        rows = last(sample(step, x, rival.process.schedule.grid())).unflatten(0, (SEEDS, n))
        modes = [at_modes("points", each.nan_to_num(0.0, 0.0, 0.0), kept) for each in rows]
        found[f"{name}: modes"] = spread([float(each.covered) for each in modes])
        found[f"{name}: hits"] = spread([each.hits for each in modes])
        found[f"{name}: divergence of the modes"] = spread([each.divergence for each in modes])
    return found


def once(file: Path, found: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a measurement finds, which is kept in a file: it is made where the file is missing."""
    if not file.exists():
        write_atomically(file, json.dumps(found()).encode())
    return json.loads(file.read_text())


def measured(piece: Piece, kept: Path, n: int) -> dict[str, Any]:
    """What `measure` finds, kept beside the weights."""
    return once(kept / f"{piece.file}.measured-{n}.json", lambda: measure(piece, kept, n))


def rounded(rows: Tensor) -> list[list[float]]:
    """Rows `(n, D)` for the ledger."""
    return [[round(value, 3) for value in row] for row in rows.tolist()]


def floor(data: str, kept: Path, n: int) -> dict[str, Any]:
    """What real rows get, the mean of five draws."""
    draws = learned_from(data, 200_000)
    found = [values(data, draws[k * n : (k + 1) * n], kept, held_out(data)[:n]) for k in range(5)]
    metrics: dict[str, Any] = {key: spread([one[key] for one in found]) for key in found[0] if key != "failed"}
    if data == "digits":
        metrics["read"] = {"value": round(read_right(kept), 5)}
    else:  # the entropy, estimated on the rows that the models are asked about
        logs = ExactDiffusion(five_by_five(), cosine(1)).log_prob(held_out(data)[:1000].double(), torch.tensor(0))
        metrics["-log p"] = {"value": round(-float(logs.mean()), 5)}
    return metrics


@torch.no_grad()
def read_right(kept: Path, n: int = 10_000) -> float:
    """The share of new pictures whose three digits the reader reads right."""
    _, test = sets.split_labelled_digits()
    generator = torch.Generator().manual_seed(3)
    pictures, numbers = sets.stacked_digits(n, *test, generator)
    return float((reader(kept).numbers(spread_out(pictures, generator)) == numbers).double().mean())


def elsewhere(file: Path, here: Set[str]) -> dict[str, dict[str, Any]]:
    """What the ledger has of pieces that are not measured here, and which machine measured each; nothing where there is no entry."""
    entry = json.loads(file.read_text()) if file.exists() else {"metrics": {}, "shown": {}, "options": {}}
    all_there_are = {setting for piece in pieces(quick=False) for setting in (setting_of(piece), f"{piece.data}, real")}
    parts = {
        part: {key: value for key, value in entry[part].items() if key.partition(":")[0] in all_there_are - here}
        for part in ("metrics", "shown")
    }
    found = sorted({key.partition(":")[0] for key in parts["metrics"]})
    kept, machine_then = entry["options"].get("kept", {}), entry["options"].get("machine")
    return parts | {"kept": {setting: kept.get(setting, machine_then) for setting in found}}


def setting_of(piece: Piece) -> str:
    """What the ledger calls a piece."""
    return f"{piece.data}, {piece.name}"


def main() -> None:
    """Do one of the tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("tune", "train", "measure"))
    parser.add_argument("--only", default="*", help="a pattern of the pieces' names, such as 'points-DD-GAN*'")
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the budget, few samples")
    arguments = parser.parse_args()
    kept: Path = arguments.kept
    kept.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    of = trials if arguments.task == "tune" else pieces
    chosen = [piece for piece in of(arguments.quick) if fnmatch(f"{piece.data}-{piece.name}", arguments.only)]
    if arguments.task == "tune":
        tune(kept, arguments.out, arguments.quick, chosen)
        return
    if arguments.task == "train":
        for piece in chosen:
            print(piece.file, trained(piece, kept)[2], flush=True)
        return
    started, metrics, shown = time.monotonic(), {}, {}
    done = [piece for piece in chosen if arguments.quick or (kept / f"{piece.file}.safetensors").exists()]
    for data in dict.fromkeys(piece.data for piece in done):
        n = 500 if arguments.quick else DRAWN[data]
        real = once(kept / f"{data}-real.measured-{n}.json", lambda data=data, n=n: floor(data, kept, n))
        metrics |= {f"{data}, real: {key}": value for key, value in real.items()}
        shown[f"{data}, real"] = rounded(held_out(data)[: SHOWN[data]])
        for piece in (piece for piece in done if piece.data == data):
            found, setting = measured(piece, kept, n), setting_of(piece)
            metrics |= {f"{setting}: {key}": value for key, value in found["metrics"].items()}
            shown[setting] = found["shown"]
            print(setting, {key: value["value"] for key, value in found["metrics"].items()}, flush=True)
    metrics |= seconds_a_thousand(done, kept)
    options = {
        "seeds": SEEDS,
        "rows a step": ROWS,
        "samples": DRAWN,
        "seconds": BUDGET,
        "octaves and learning rates": TUNED,
        "after the tuning": AGAIN,
        **machine(),
    }
    file = arguments.out / "showdown.json"
    earlier = elsewhere(file, shown.keys())
    options["kept"] = earlier["kept"]
    metrics, shown = (earlier[part] | found for part, found in (("metrics", metrics), ("shown", shown)))
    write(file, "showdown", options, metrics, started, shown=shown)


if __name__ == "__main__":
    main()
