"""Captioned scenes: one or two coloured shapes on black, drawn by formulas, said by a small grammar, and read back from pixels.

Whether a picture shows what its caption says can be decided without any trained judge, and a model can be asked for combinations that no
training picture has.
"""

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from course_lib.data.images import to_bytes
from course_lib.draws import integers, uniform

SIZE = 32
COLOURS: dict[str, tuple[float, float, float]] = {  # in [-1, 1]
    "red": (0.8, -0.8, -0.8),
    "green": (-0.7, 0.5, -0.7),
    "blue": (-0.7, -0.4, 0.9),
    "yellow": (0.9, 0.8, -0.8),
    "purple": (0.4, -0.6, 0.7),
    "white": (0.9, 0.9, 0.9),
}
SHAPES = ("circle", "square", "triangle", "cross")
SIZES = {"small": 3.5, "large": 6.0}  # half of the height, in pixels
RELATIONS = ("above", "below", "left of", "right of")
# Colours and shapes that never meet in the training set; each occurs there with others.
HELD_OUT = (("red", "triangle"), ("blue", "cross"), ("yellow", "circle"), ("white", "square"))
BRIGHT = -0.3  # in the brightest channel: what is darker is background
LEAST = 8  # pixels: what is smaller is no thing
MIDDLE = 4.75  # half of the height, between small and large
GAP = 2  # pixels between two things, at least


class Thing(NamedTuple):
    """What can be said of a thing."""

    size: str
    colour: str
    shape: str


class Scene(NamedTuple):
    """One thing, or two of which the first stands in a relation to the second."""

    things: tuple[Thing, ...]
    relation: str | None = None


class Seen(NamedTuple):
    """A thing that was found in a picture, and where its middle is, in pixels."""

    thing: Thing
    row: float
    column: float


def caption(scene: Scene) -> str:
    """The scene in words, such as "a small red circle above a large blue square"."""
    first, *rest = (f"a {' '.join(thing)}" for thing in scene.things)
    return " ".join([first, *(f"{scene.relation} {other}" for other in rest)])


WORDS = tuple(sorted({"a", "of", *SIZES, *COLOURS, *SHAPES, *(r.split()[0] for r in RELATIONS)}))
PHRASE = "a small|large COLOUR SHAPE [above|below|left of|right of a small|large COLOUR SHAPE]"
_THING = rf"an? ({'|'.join(SIZES)}) ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_CAPTION = re.compile(rf"{_THING}(?: ({'|'.join(RELATIONS)}) {_THING})?")


def parse(text: str) -> Scene:
    """The scene that a caption describes; capitals and blanks make no difference.

    Raises ValueError that names the words that are not in the grammar, or says what the grammar is.
    """
    words = text.lower().split()
    unknown = [word for word in dict.fromkeys(words) if word not in (*WORDS, "an")]
    if unknown:
        raise ValueError(f"unknown words: {', '.join(unknown)}; known are {', '.join(WORDS)}")
    found = _CAPTION.fullmatch(" ".join(words))
    if found is None:
        raise ValueError(f"a caption must read {PHRASE}; got {text!r}")
    first, relation, second = Thing(*found.groups()[:3]), found[4], found.groups()[4:]
    return Scene((first, Thing(*second)), relation) if relation else Scene((first,))


def all_things() -> list[Thing]:
    """Every thing that there is."""
    return [Thing(*parts) for parts in itertools.product(SIZES, COLOURS, SHAPES)]


def is_held_out(scene: Scene) -> bool:
    """Whether some thing of the scene has a colour and a shape that never meet in training."""
    return any((thing.colour, thing.shape) in HELD_OUT for thing in scene.things)


def random_scenes(n: int, generator: torch.Generator | None = None, held_out: bool = False) -> list[Scene]:
    """n scenes, half of them of two things, that are not of the same colour: all of them for training, or all with a held-out thing.

    In a held-out scene of two things, the first is the one that is new.
    """
    things = all_things()
    seen = [thing for thing in things if (thing.colour, thing.shape) not in HELD_OUT]
    first = [thing for thing in things if thing not in seen] if held_out else seen
    draws = [integers(0, high, (n,), generator).tolist() for high in (len(first), len(seen), len(RELATIONS), 2)]
    found = []
    for one, other, relation, two in zip(*draws, strict=True):
        rest = [thing for thing in seen if thing.colour != first[one].colour]
        pair = (first[one], rest[other % len(rest)])
        found.append(Scene(pair, RELATIONS[relation]) if two else Scene(pair[:1]))
    return found


@cache
def caption_chances() -> dict[str, float]:
    """Every caption of the training scenes of `random_scenes`, and how probable it is."""
    things = [thing for thing in all_things() if (thing.colour, thing.shape) not in HELD_OUT]
    found: dict[str, float] = defaultdict(float)
    for first in things:
        found[caption(Scene((first,)))] += 0.5 / len(things)
        rest = [thing for thing in things if thing.colour != first.colour]
        for k in range(len(things)):
            for relation in RELATIONS:
                two = Scene((first, rest[k % len(rest)]), relation)
                found[caption(two)] += 0.5 / len(things) ** 2 / len(RELATIONS)
    return dict(found)


def distance(shape: str, x: Tensor, y: Tensor, half: Tensor) -> Tensor:
    """How far points `(...)` lie outside of a shape, about, in pixels; inside, it is below 0.

    x is to the right and y down from its middle, `half` half its height; all three broadcast.
    """
    if shape == "circle":
        return (x**2 + y**2).sqrt() - half
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - half
    if shape == "triangle":  # the top above the middle, a level base
        slope = 5**0.5  # of the sides' normals: they rise by two for one to the side
        return torch.maximum(y - half, (2 * x.abs() - (y + half)) / slope)
    bar = half / 3
    return torch.minimum(torch.maximum(x.abs() - half, y.abs() - bar), torch.maximum(x.abs() - bar, y.abs() - half))


def coverage(shape: str, row: Tensor, column: Tensor, half: Tensor) -> Tensor:
    """The share of each pixel that a shape covers, about: `(N, SIZE, SIZE)` for middles and halves `(N,)`."""
    at = torch.arange(SIZE, dtype=torch.float32) + 0.5
    y = (at[:, None] - row[:, None, None]).expand(-1, SIZE, SIZE)
    x = (at[None, :] - column[:, None, None]).expand(-1, SIZE, SIZE)
    return (0.5 - distance(shape, x, y, half[:, None, None])).clamp(0, 1)


def pictures(scenes: Sequence[Scene], generator: torch.Generator | None = None) -> Tensor:
    """One picture of each scene, its things at random places that agree with the caption: `(N, 3, SIZE, SIZE)` uint8."""
    shares = uniform((len(scenes), 2, 2), generator).tolist()
    images = torch.full((len(scenes), 3, SIZE, SIZE), -1.0)
    for image, scene, share in zip(images, scenes, shares, strict=True):
        for thing, (row, column) in zip(scene.things, places(scene, share), strict=True):
            half = torch.tensor([SIZES[thing.size]])
            covered = coverage(thing.shape, torch.tensor([row]), torch.tensor([column]), half)
            image.lerp_(torch.tensor(COLOURS[thing.colour])[:, None, None], covered)
    return to_bytes(images)


def places(scene: Scene, shares: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """The middles (row, column) of the scene's things, for shares in [0, 1] of the room that each coordinate of each thing has."""
    halves = [SIZES[thing.size] for thing in scene.things]
    free = [
        [1 + half + share * (SIZE - 2 - 2 * half) for share in pair] for half, pair in zip(halves, shares, strict=False)
    ]
    if scene.relation:
        axis = 0 if scene.relation in ("above", "below") else 1
        order = (0, 1) if scene.relation in ("above", "left of") else (1, 0)
        # Along the axis of the relation both share the room that the two sizes and the gap leave.
        room = SIZE - 2 - GAP - 2 * sum(halves)
        low, high = sorted(pair[axis] for pair in shares)
        before, after = order
        free[before][axis] = 1 + halves[before] + low * room
        free[after][axis] = 1 + 2 * halves[before] + GAP + halves[after] + high * room
    return [(row, column) for row, column in free]


def read(image: Tensor) -> list[Seen]:
    """The things in a picture `(3, SIZE, SIZE)` in [-1, 1], from the largest to the smallest.

    Pixels brighter than the background that touch are a thing, if they are at least LEAST. It has the colour that most of them are nearest
    to, and the shape that overlaps it best when it is drawn in its place and with its area.
    """
    names, palette = list(COLOURS), torch.tensor(list(COLOURS.values()))
    pixels = image.detach().float().cpu().clamp(-1, 1)
    near = torch.cdist(pixels.flatten(1).T, palette).argmin(1).reshape(SIZE, SIZE)
    bright = pixels.amax(0)
    labels, count = ndimage.label((bright > BRIGHT).numpy(), np.ones((3, 3)))  # type: ignore[misc]
    found = []
    for k in range(1, count + 1):
        inside = torch.from_numpy(labels == k)
        if int(inside.sum()) < LEAST:
            continue
        votes = torch.zeros(len(names)).index_add_(0, near[inside], bright[inside] - BRIGHT)
        number = int(votes.argmax())
        lit = palette[number] + 1
        share = torch.tensordot(lit, pixels + 1, 1) / lit.square().sum()  # of each pixel that is covered
        around = torch.from_numpy(ndimage.binary_dilation(inside.numpy(), np.ones((3, 3))))  # type: ignore[arg-type]
        found.append((float(share[around].sum()), described((share * around).clamp(0, 1), names[number])))
    return [seen for _, seen in sorted(found, key=lambda pair: -pair[0])]


# The area of a shape of half height 1, and how far its centre of mass lies below its middle.
AREA = {"circle": math.pi, "square": 4.0, "triangle": 2.0, "cross": 20 / 9}
LOWER = {"circle": 0.0, "square": 0.0, "triangle": 1 / 3, "cross": 0.0}


def described(covered: Tensor, colour: str) -> Seen:
    """The thing that covers so much of each pixel, `(SIZE, SIZE)` in [0, 1]."""
    at = torch.arange(SIZE, dtype=torch.float32) + 0.5
    area = float(covered.sum())
    row, column = (float(covered.sum(axis) @ at) / area for axis in (1, 0))
    tried = {}
    for shape in SHAPES:
        half = math.sqrt(area / AREA[shape])
        middle = row - LOWER[shape] * half
        drawn = coverage(shape, torch.tensor([middle]), torch.tensor([column]), torch.tensor([half]))[0]
        overlap = float(torch.minimum(drawn, covered).sum() / torch.maximum(drawn, covered).sum())
        tried[overlap] = (shape, half, middle)
    shape, half, middle = tried[max(tried)]
    return Seen(Thing("small" if half < MIDDLE else "large", colour, shape), middle, column)


ASPECTS = ("count", "colour", "shape", "size", "relation")


def shows(scene: Scene, seen: Sequence[Seen]) -> dict[str, bool]:
    """What of a scene was found: how many things there are, and the colour, shape and size of each, and their relation.

    Things are matched in the order that makes most of this right. What a scene does not say, such as the relation of a single thing, is
    left out.
    """
    best: dict[str, bool] = {}
    for chosen in itertools.permutations(seen, len(scene.things)):
        found = {"count": len(seen) == len(scene.things)}
        for aspect in ("colour", "shape", "size"):
            pairs = zip(scene.things, chosen, strict=True)
            found[aspect] = all(getattr(thing, aspect) == getattr(other.thing, aspect) for thing, other in pairs)
        if scene.relation:
            found["relation"] = related(scene.relation, *chosen)
        if sum(found.values()) > sum(best.values()) or not best:
            best = found
    said = [aspect for aspect in ASPECTS if aspect != "relation" or scene.relation]
    return {aspect: best.get(aspect, False) for aspect in said}


def related(relation: str, first: Seen, second: Seen) -> bool:
    """Whether the first thing stands in this relation to the second."""
    down, right = second.row - first.row, second.column - first.column
    return {"above": down > 0, "below": down < 0, "left of": right > 0, "right of": right < 0}[relation]


def share_shown(scenes: Iterable[Scene], images: Tensor) -> dict[str, Tensor]:
    """For each of ASPECTS, and "all" of them, which pictures `(N, 3, SIZE, SIZE)` in [-1, 1] show it, `(N,)` float64.

    It is NaN where a scene says nothing of it.
    """
    found = [shows(scene, read(image)) for scene, image in zip(scenes, images, strict=True)]
    table = {name: [one.get(name, float("nan")) for one in found] for name in ASPECTS}
    table["all"] = [float(all(one.values())) for one in found]
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in table.items()}
