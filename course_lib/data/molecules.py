"""Small molecules in space: a world of our own, put together from ideal lengths and angles, and rules that read bonds from distances.

An atom is a number: 1 hydrogen, 2 carbon, 3 nitrogen, 4 oxygen, and 0 where there is none. Places are in ångström, 1e-10 m.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.draws import integers, normal, normal_like

SYMBOLS = "-HCNO"
RADII = torch.tensor([0.0, 0.31, 0.76, 0.71, 0.66])  # covalent, of Cordero et al. (2008), in ångström
VALENCES = torch.tensor([0, 1, 4, 3, 2])  # how many bonds an atom has
WORDS = ("OO", "NO", "NN", "CO", "CN", "OCO", "COO")  # the heavy atoms of seven molecules; the last two are isomers
STRETCHED, DOUBLE, TRIPLE, CRUSHED = 1.2, 0.92, 0.83, 0.7  # shares of the sum of two radii, at which the bond changes
WOBBLE, SHAKE = 10.0, 0.02  # of torsions, in degrees, and of each coordinate, in ångström
TWIST = 111.5  # degrees between the two hydrogens of hydrogen peroxide, seen along its oxygens
PAIR = 9  # the bonds that a crushed pair counts as: no valence allows it


class Molecules(NamedTuple):
    """Places `(n, N, 3)` in ångström and atoms `(n, N)`, int64; rows without an atom lie at the end, at 0."""

    places: Tensor
    atoms: Tensor


def directions() -> Tensor:
    """From the middle of a tetrahedron to its four corners, `(4, 3)`: the first upwards, the others round it at 0, 120 and 240 degrees."""
    around = 2 * math.pi * torch.arange(3) / 3
    low = torch.stack([8**0.5 / 3 * around.cos(), 8**0.5 / 3 * around.sin(), torch.full((3,), -1 / 3)], 1)
    return torch.cat([torch.tensor([[0.0, 0.0, 1.0]]), low])


def chain(word: str, torsions: Tensor) -> Molecules:
    """Molecules `(n, N, 3)` of heavy atoms in a chain, such as "CCO", filled up with hydrogens; torsions `(n, bonds)` in radians.

    Bonds are as long as the two radii together, all angles are a tetrahedron's, and an oxygen's or nitrogen's free pairs of electrons
    take a corner each. A torsion of 0 puts the corner at 0 degrees opposite the corner that leads back. Heavy atoms come first.
    Raises ValueError for letters that are no heavy atom, and for torsions that are not as many as the bonds.
    """
    kinds = [SYMBOLS.find(letter) for letter in word]
    if not kinds or min(kinds) < 2:
        raise ValueError(f"word must be letters of {SYMBOLS[2:]!r}, one a heavy atom; got {word!r}")
    if torsions.ndim != 2 or torsions.shape[1] != len(word) - 1:
        raise ValueError(
            f"torsions must be (n, {len(word) - 1}), one a bond of {word!r}; got shape {tuple(torsions.shape)}"
        )
    corners, n = directions(), len(torsions)
    place, frame = torch.zeros(n, 3), torch.eye(3).expand(n, 3, 3)  # a frame's columns are an atom's axes
    heavy, hydrogens = [], []
    for k, kind in enumerate(kinds):
        heavy.append(place)
        first, last = k == 0, k == len(word) - 1
        free = [corner for corner in range(4) if not (corner == 0 and not first) and not (corner == 1 and not last)]
        taken = free[: int(VALENCES[kind]) - 2 + first + last]
        hydrogens += [place + (RADII[kind] + RADII[1]) * frame @ corners[corner] for corner in taken]
        if not last:
            along = frame @ corners[1]
            place = place + (RADII[kind] + RADII[kinds[k + 1]]) * along
            frame = behind(along, frame @ corners[0], torsions[:, k])
    places = torch.stack(heavy + hydrogens, 1)
    return Molecules(places, torch.tensor(kinds + len(hydrogens) * [1]).expand(n, -1))


def behind(along: Tensor, reference: Tensor, torsion: Tensor) -> Tensor:
    """The frames `(n, 3, 3)` of atoms that a bond `along` `(n, 3)` leads to: their third axis leads back along it.

    At the torsion 0 `(n,)` the first axis points away from what of `reference` `(n, 3)` stands across the bond.
    """
    across = reference - (reference * along).sum(1, keepdim=True) * along
    x = -across / across.norm(dim=1, keepdim=True)
    z = -along
    y = torch.linalg.cross(z, x)
    cos, sin = torsion.cos()[:, None], torsion.sin()[:, None]
    return torch.stack([cos * x + sin * y, cos * y - sin * x, z], 2)


def molecules(n: int, generator: torch.Generator | None = None, words: Sequence[str] = WORDS) -> Molecules:
    """n molecules of the world: which word, which of the three staggered torsions at each bond, and which hand is left to chance.

    Torsions wobble and all atoms shake a little; each molecule is put in a pose of its own, its centre at 0.
    """
    chosen = integers(0, len(words), (n,), generator)
    made, rows = [], []
    for k, word in enumerate(words):
        count = int((chosen == k).sum())
        shape = (count, len(word) - 1)
        staggered = 2 * math.pi / 3 * integers(0, 3, shape, generator)
        made.append(chain(word, staggered + math.radians(WOBBLE) * normal(shape, generator)))
        rows.append((chosen == k).nonzero()[:, 0])
    places, atoms = padded(made)
    hand = 2.0 * integers(0, 2, (n, 1, 1), generator) - 1
    places = torch.cat([places[..., :2], hand * places[..., 2:]], 2)  # a mirror image for half of them
    places = places + SHAKE * normal_like(places, generator)
    order = torch.cat(rows).argsort()
    return posed(Molecules(places[order], atoms[order]), generator)


def padded(made: Sequence[Molecules], room: int | None = None) -> Molecules:
    """All of them in one, with empty rows at the end of the smaller; `room` is the number of rows, that of the largest if None."""
    room = max(one.atoms.shape[1] for one in made) if room is None else room
    places = [torch.nn.functional.pad(one.places, (0, 0, 0, room - one.places.shape[1])) for one in made]
    atoms = [torch.nn.functional.pad(one.atoms, (0, room - one.atoms.shape[1])) for one in made]
    return Molecules(torch.cat(places), torch.cat(atoms))


def rotations(n: int, generator: torch.Generator | None = None) -> Tensor:
    """n rotations `(n, 3, 3)`, all equally likely: of unit quaternions that are drawn from a normal distribution."""
    w, x, y, z = torch.nn.functional.normalize(normal((n, 4), generator), dim=1).unbind(1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], 1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], 1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], 1),
    ]
    return torch.stack(rows, 1)


def posed(given: Molecules, generator: torch.Generator | None = None) -> Molecules:
    """The same molecules, each turned at random, its centre at 0."""
    there = (given.atoms > 0)[..., None].to(given.places)
    places = given.places - (there * given.places).sum(1, keepdim=True) / there.sum(1, keepdim=True)
    return Molecules(there * places @ rotations(len(places), generator).mT, given.atoms)


def peroxides(n: int, generator: torch.Generator | None = None) -> Molecules:
    """n molecules of hydrogen peroxide, H-O-O-H, all right-handed: the torsion is 90 degrees and wobbles, and never changes its sign."""
    torsion = math.radians(90 - 60) + math.radians(WOBBLE) * normal(
        (n, 1), generator
    )  # corner 1 stands at 60 degrees less
    made = chain("OO", torsion)
    return posed(Molecules(made.places + SHAKE * normal_like(made.places, generator), made.atoms), generator)


def handedness(places: Tensor) -> Tensor:
    """The triple product of the three bonds of peroxides `(n, 4, 3)`, O O H H, `(n,)`: above 0 one hand, below 0 the other.

    The hydrogen of the first oxygen is the one that is nearer to it than the other hydrogen is.
    """
    apart = torch.cdist(places[:, :1], places[:, 2:])[:, 0]  # (n, 2), from the first oxygen
    mine = 2 + apart.argmin(1)
    rows = torch.arange(len(places))
    first, other = places[rows, mine], places[rows, 5 - mine]
    bonds_ = torch.stack([places[:, 0] - first, places[:, 1] - places[:, 0], other - places[:, 1]], 1)
    return torch.linalg.det(bonds_)


def orders(places: Tensor, atoms: Tensor) -> Tensor:
    """The orders of all bonds, `(n, N, N)` whole numbers, 0 where there is none, read from places `(n, N, 3)` and atoms `(n, N)`.

    Two atoms are bonded that are less than STRETCHED times the sum of their radii apart; below DOUBLE and TRIPLE times it the bond of two
    heavy atoms is double or triple. Below CRUSHED two atoms are too near to each other, which counts as PAIR bonds.
    """
    radii = RADII[atoms]
    share = torch.cdist(places, places) / (radii[:, :, None] + radii[:, None]).clamp(min=1e-6)
    heavy = (atoms > 1)[:, :, None] & (atoms > 1)[:, None]
    found = (share < STRETCHED).long() + (heavy & (share < DOUBLE)) + (heavy & (share < TRIPLE))
    found = torch.where(share < CRUSHED, PAIR, found)
    there = (atoms > 0)[:, :, None] & (atoms > 0)[:, None] & ~torch.eye(atoms.shape[1], dtype=torch.bool)
    return found * there


def connected(found: Tensor, atoms: Tensor) -> Tensor:
    """Whether bonds `(n, N, N)` hold all atoms `(n, N)` of a molecule together, `(n,)`."""
    reach = (found > 0).double() + torch.eye(atoms.shape[1], dtype=torch.float64)
    for _ in range(max(1, atoms.shape[1].bit_length())):
        reach = (reach @ reach > 0).double()  # twice as far
    there = (atoms > 0).double()
    return (reach[:, 0] * there).sum(1) == there.sum(1)


def valid(places: Tensor, atoms: Tensor, hydrogens: bool = True) -> Tensor:
    """Whether each atom has the bonds that its valence asks for and all hang together, `(n,)`, for `(n, N, 3)` and `(n, N)`.

    With `hydrogens` False, where hydrogens have been left out, an atom may have fewer: those that are missing fill up.
    """
    found = orders(places, atoms)
    asked, made = VALENCES[atoms], found.sum(2)
    right = (made == asked) if hydrogens else (made <= asked)
    return right.all(1) & connected(found, atoms)


def constitutions(places: Tensor, atoms: Tensor) -> list[str]:
    """The words of molecules `(n, N, 3)` of atoms `(n, N)`: their heavy atoms along the chain.

    Of the two readings the one that is in WORDS, or else the first in the alphabet. "" where a molecule is not valid, or no chain of
    single bonds.
    """
    right, found, words = valid(places, atoms), orders(places, atoms), []
    for good, bonded, kinds in zip(right.tolist(), found, atoms, strict=True):
        members = (kinds > 1).nonzero()[:, 0]
        inner = bonded[members][:, members]
        ends = (inner.sum(1) == 1).nonzero()[:, 0].tolist()
        if not good or len(ends) != 2 or int(inner.sum()) != 2 * (len(members) - 1):
            words.append("")
            continue
        walk = [ends[0]]
        while len(walk) < len(members):
            ahead = [k for k in inner[walk[-1]].nonzero()[:, 0].tolist() if k not in walk]
            if not ahead:
                break
            walk += ahead[:1]
        read = "".join(SYMBOLS[int(kinds[members[k]])] for k in walk)
        both = sorted((read, read[::-1]))
        words.append(next((word for word in both if word in WORDS), both[0]))
    return words


def distances(places: Tensor, atoms: Tensor) -> Tensor:
    """All distances in each molecule `(n, N, 3)`, `(n, pairs)`, in ångström: sorted within each kind of pair, the kinds in a fixed order.

    Molecules of one formula that can be laid over each other, or over the mirror image, have the same. Pairs with no atom come last, as 0.
    """
    i, j = torch.triu_indices(atoms.shape[1], atoms.shape[1], 1)
    low, high = torch.minimum(atoms[:, i], atoms[:, j]), torch.maximum(atoms[:, i], atoms[:, j])
    kind = torch.where(low > 0, low * len(SYMBOLS) + high, len(SYMBOLS) ** 2)
    apart = torch.where(low > 0, (places[:, i] - places[:, j]).norm(dim=2), 0)
    return apart.gather(1, (1000.0 * kind.double() + apart).argsort(1))


def nearest(given: Molecules, known: Molecules) -> Tensor:
    """How far each given molecule is from the nearest known one of its formula, `(n,)`: the root mean square of `distances`, in ångström.

    Infinite where none has its formula.
    """
    mine, theirs = (distances(*one) for one in (given, known))
    formula, others = (one.atoms.sort(1).values for one in (given, known))
    same = (formula[:, None] == others[None]).all(2)
    count = (given.atoms > 0).sum(1)
    pairs = (count * (count - 1) / 2).to(mine)
    exact = "donot_use_mm_for_euclid_dist"
    apart = torch.cdist(mine, theirs, compute_mode=exact) / pairs[:, None].sqrt()
    return torch.where(same, apart, math.inf).amin(1)


def overlap(one: Tensor, other: Tensor, width: float = 0.05, highest: float = 6.0) -> float:
    """How much the histograms of two sets of distances `(...)` differ: half the sum of the shares' differences, from 0 to 1."""
    bins = int(highest / width)
    shares = [torch.histc(x[x > 0].clamp(max=highest), bins, 0, highest) for x in (one, other)]
    return float(0.5 * (shares[0] / shares[0].sum() - shares[1] / shares[1].sum()).abs().sum())


def scattered(atoms: Tensor, spread: float, generator: torch.Generator | None = None) -> Tensor:
    """Places `(n, N, 3)` thrown at random round a centre with a standard deviation in ångström, for atoms `(n, N)`: a baseline."""
    return spread * normal((*atoms.shape, 3), generator) * (atoms > 0)[..., None]
