"""Molecules with a network that knows what a turn is, and with one that does not: python -m benchmarks.molecules train, then measure.

`train` teaches, three seeds each, on molecules of our own: an equivariant network; a transformer of atoms, on poses as they come; the
same one on poses that are turned anew each time. The transformers have more weights and take as many steps. Then two of them on
right-handed peroxides alone. With --qm9 FILE, the wheel of the package qm9pack (`pip download --no-deps qm9pack==1.0.3`; QM9 of
Ramakrishnan et al., 2014), also the heavy atoms of QM9's molecules with seven of them.
`measure` writes results/molecules.json. It takes whatever has been trained. --quick does hardly anything.
"""

import ast
import csv
import io
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import trainings
from benchmarks.record import machine, write
from benchmarks.trainings import SEEDS, Training, entry, parser_of, run, spread, trained
from course_lib.data import molecules as world
from course_lib.data.molecules import Molecules
from course_lib.draws import normal
from course_lib.nets.equivariant import EquivariantNetwork, centred
from course_lib.nets.sequences import FrameTransformer
from course_lib.recipes.molecules import PROCESS, UNIT, centred_noise, draw_molecules, molecule_loss

KNOWN, BATCH, DRAWING = 1000, 32, 60  # molecules to learn from, rows of a step, steps of a drawing
DIGITS = 7  # of a number that varies over seeds: errors may be those of rounding
QM9_UNIT = 1.4  # ångström
FAR_OFF = 0.1  # ångström; whose distances differ by more is not congruent


class Plain(nn.Module):
    """A transformer of atoms that is told coordinates and elements as numbers, and knows nothing of space but where the centre is."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = FrameTransformer(3 + len(world.SYMBOLS), None, 32, 2, 4)

    def forward(self, x: Tensor, t: Tensor, atoms: Tensor) -> Tensor:
        """Noisy points x `(B, N, 3)`, times t `(B,)` and atoms `(B, N)` to the shape of x."""
        kinds = F.one_hot(atoms, len(world.SYMBOLS)).to(x)
        return centred(self.inner(torch.cat([x, kinds], 2), t)[..., :3], atoms)


class Kind(NamedTuple):
    """A way to learn: which network, whether poses are turned anew, from which data, and for how many steps."""

    build: Callable[[], nn.Module]
    turned: bool
    data: str
    steps: int

    @property
    def rate(self) -> float:
        """The learning rate: the transformer's is that of the other transformers of its kind."""
        return 5e-3 if self.build is EquivariantNetwork else 3e-3

    @property
    def unit(self) -> float:
        """How many ångström make 1."""
        return QM9_UNIT if self.data == "qm9" else UNIT


KINDS = {
    "equivariant": Kind(EquivariantNetwork, False, "own", 1200),
    "plain": Kind(Plain, False, "own", 1200),
    "plain, turned": Kind(Plain, True, "own", 1200),
    "right-handed, equivariant": Kind(EquivariantNetwork, False, "peroxides", 300),
    "right-handed, plain, turned": Kind(Plain, True, "peroxides", 300),
    "qm9, equivariant": Kind(EquivariantNetwork, False, "qm9", 1000),
    "qm9, plain, turned": Kind(Plain, True, "qm9", 1000),
}


def seeded(seed: int) -> torch.Generator:
    """A generator."""
    return torch.Generator().manual_seed(seed)


def read_qm9(wheel: Path) -> Molecules:
    """The heavy atoms of all molecules of QM9's first part that have seven, all carbon, nitrogen or oxygen, in a shuffled order."""
    places, atoms = [], []
    csv.field_size_limit(2**31 - 1)
    with zipfile.ZipFile(wheel) as archive, archive.open("qm9pack/data/qm9_part1.csv") as file:
        for row in csv.DictReader(io.TextIOWrapper(file, "utf8")):
            elements = ast.literal_eval(row["Elements"])
            heavy = [k for k, symbol in enumerate(elements) if symbol != "H"]
            if int(row["Index"]) > 4300:
                break  # those with seven have the numbers 791 to 4238
            if len(heavy) == 7 and "F" not in elements:
                where = ast.literal_eval(row["XYZ_Ang"])
                places.append([where[k] for k in heavy])
                atoms.append([world.SYMBOLS.index(elements[k]) for k in heavy])
    order = torch.randperm(len(places), generator=seeded(0))
    found = Molecules(torch.tensor(places)[order], torch.tensor(atoms)[order])
    return Molecules(centred(found.places, found.atoms), found.atoms)


def sets(data: str, wheel: Path | None) -> tuple[Molecules, Molecules]:
    """What is learned from, and new molecules to compare with, as many as there can be up to 1,000."""
    if data == "qm9":
        if wheel is None:
            raise ValueError("qm9 needs --qm9 FILE: pip download --no-deps qm9pack==1.0.3, and give the wheel")
        every = read_qm9(wheel)
        return Molecules(*(part[500:] for part in every)), Molecules(*(part[:500] for part in every))
    make = world.peroxides if data == "peroxides" else world.molecules
    return make(KNOWN, seeded(0)), make(KNOWN, seeded(1))


def train(wheel: Path | None, kept: Path, name: str, seed: int, quick: bool) -> None:
    """Train one network, unless it is there."""
    kind = KINDS[name]
    loss = molecule_loss(kind.turned, kind.unit)
    rows = lambda: tuple(sets(kind.data, wheel)[0])  # noqa: E731
    trainings.train(kept, name, seed, Training(kind.build, loss, rows, 2 if quick else kind.steps, BATCH, kind.rate))


@torch.no_grad()
def turning_error(network: nn.Module, new: Molecules, unit: float, mirror: bool = False) -> float:
    """How far the answer to turned (or mirrored) noisy molecules is from the turned answer, relative to its length, over some times."""
    turn = world.rotations(1, seeded(2))[0] * (-1 if mirror else 1)
    times = torch.linspace(50, 950, len(new.atoms)).round()
    x = PROCESS.diffuse(centred(new.places / unit, new.atoms), times, centred_noise(new.atoms, seeded(3))(new.places))
    answer = network(x, times, new.atoms)
    return float((network(x @ turn.T, times, new.atoms) - answer @ turn.T).norm() / answer.norm())


def fitted(known: Molecules, atoms: Tensor, generator: torch.Generator) -> Tensor:
    """Draws from the Gaussian of each formula, `(n, N, 3)`: its covariance between atoms, the same along each axis, as all turns ask."""
    drawn = torch.zeros(*atoms.shape, 3)
    for formula in atoms.unique(dim=0):
        mine = (atoms == formula).all(1)
        places = known.places[(known.atoms == formula).all(1)]
        covariance = torch.einsum("nix,njx->ij", places, places) / (3 * len(places))
        values, vectors = torch.linalg.eigh(covariance)
        z = normal((int(mine.sum()), atoms.shape[1], 3), generator)
        drawn[mine] = torch.einsum("ij,njx->nix", vectors * values.clamp(min=0).sqrt(), z)
    return drawn


def as_text(drawn: Molecules) -> list[str]:
    """Molecules, a text each: for each atom its symbol and its three coordinates in ångström."""
    texts = []
    for places, atoms in zip(*drawn, strict=True):
        rows = [
            f"{world.SYMBOLS[int(kind)]} {x:.2f} {y:.2f} {z:.2f}"
            for kind, (x, y, z) in zip(atoms, places.tolist(), strict=True)
            if kind
        ]
        texts.append(" ".join(rows))
    return texts


def judged(name: str, drawn: list[Molecules], known: Molecules, new: Molecules, metrics: dict[str, Any]) -> None:
    """What the rules say of drawn molecules, one set a seed."""
    hydrogens = bool((new.atoms == 1).any())
    good = [world.valid(*one, hydrogens) for one in drawn]
    metrics[f"{name}: valid"] = entry(torch.cat(good))
    metrics[f"{name}: valid over seeds"] = spread([float(one.double().mean()) for one in good], DIGITS)
    reference = world.distances(*new)
    apart = [world.overlap(world.distances(*one), reference) for one in drawn]
    metrics[f"{name}: distances differ"] = spread(apart, DIGITS)
    near = torch.cat([world.nearest(one, known) for one in drawn])[torch.cat(good)]
    if len(near) > 1:
        metrics[f"{name}: not congruent"] = entry(near > FAR_OFF)
        metrics[f"{name}: nearest"] = {"value": round(float(near.median()), 4)}
    if hydrogens:
        words = [word for one in drawn for word in world.constitutions(*one)]
        isomers = torch.tensor([word == "OCO" for word in words if word in ("OCO", "COO")])
        if len(isomers) > 1:
            metrics[f"{name}: methanediol among isomers"] = entry(isomers)
    print(name, metrics[f"{name}: valid"], metrics[f"{name}: distances differ"], flush=True)


def measure(kept: Path, names: list[str], wheel: Path | None, n: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """All of it: what is drawn for the formulas of new molecules, n a seed, and some molecules to look at."""
    metrics: dict[str, Any] = {}
    examples: dict[str, Any] = {}
    floors: dict[str, tuple[Molecules, Molecules]] = {}
    for name in names:
        kind = KINDS[name]
        networks = trained(kept, name, kind.build)
        if not networks:
            continue
        if kind.data not in floors:
            floors[kind.data] = sets(kind.data, wheel)
        known, new = floors[kind.data]
        drawn = []
        for seed, (network, _) in networks.items():
            atoms = new.atoms[-n:]  # the same formulas for all
            drawn.append(Molecules(draw_molecules(network, atoms, DRAWING, seeded(seed), kind.unit), atoms))
        judged(name, drawn, known, new, metrics)
        examples[name] = as_text(Molecules(*(part[:16] for part in drawn[0])))
        for mirror, what in ((False, "turning error"), (True, "mirror error")):
            errors = [
                turning_error(network, Molecules(*(part[:100] for part in new)), kind.unit, mirror)
                for network, _ in networks.values()
            ]
            metrics[f"{name}: {what}"] = spread(errors, DIGITS)
        metrics[f"{name}: seconds"] = spread([seconds for _, seconds in networks.values()], DIGITS)
        metrics[f"{name}: parameters"] = {"value": sum(p.numel() for p in network.parameters())}
        if kind.data == "peroxides":
            right = torch.cat([world.handedness(one.places[world.valid(*one)]) > 0 for one in drawn])
            if len(right) > 1:
                metrics[f"{name}: right-handed"] = entry(right)
    for data, (known, new) in floors.items():
        rest = [Molecules(*(part[k * n : (k + 1) * n] for part in new)) for k in range(SEEDS)]  # as many as were drawn
        start = {"own": "", "qm9": "qm9, ", "peroxides": "right-handed, "}[data]
        judged(f"{start}new molecules", rest, known, known, metrics)
        if data != "peroxides":
            atoms, width = new.atoms[-n:], float(known.places[known.atoms > 0].std())
            thrown = [Molecules(world.scattered(atoms, width, seeded(seed)), atoms) for seed in range(SEEDS)]
            judged(f"{start}scattered", thrown, known, new, metrics)
        if data == "own":
            gaussian = [Molecules(fitted(known, new.atoms[-n:], seeded(k)), new.atoms[-n:]) for k in range(SEEDS)]
            judged("Gaussian of each formula", gaussian, known, new, metrics)
    return metrics, examples


def written(arguments: Any, names: list[str], kept: Path) -> None:
    """Write the ledger of what has been trained."""
    started, n = time.monotonic(), 4 if arguments.quick else arguments.n
    metrics, examples = measure(kept, names, arguments.qm9, n)
    if arguments.quick:
        return
    options = {
        "seeds": SEEDS,
        "molecules a seed": n,
        "known": KNOWN,
        "batch": BATCH,
        "drawing steps": DRAWING,
        "far off": FAR_OFF,
        **{f"steps, {name}": kind.steps for name, kind in KINDS.items()},
    }
    if arguments.qm9 is not None:
        options["known, qm9"] = len(sets("qm9", arguments.qm9)[0].atoms)
    write(arguments.out / "molecules.json", "molecules", {**options, **machine()}, metrics, started, molecules=examples)


def main() -> None:
    """Train or measure."""
    parser = parser_of(__doc__, "molecules")
    parser.add_argument("--qm9", type=Path, help="the wheel of qm9pack 1.0.3; without it QM9 is left out")
    parser.add_argument("--n", type=int, default=150, help="molecules of each seed")
    arguments = parser.parse_args()
    names = [name for name, kind in KINDS.items() if kind.data != "qm9" or arguments.qm9 is not None]
    chosen = [name for name in names if arguments.only in name]
    run(arguments, names, partial(train, arguments.qm9), partial(written, arguments, chosen))


if __name__ == "__main__":
    main()
