"""The pictures and tables of chapter 17: pure functions, one question each."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from course_lib.data import captions, scenes
from course_lib.data.images import to_unit
from course_lib.data.scenes import Scene, Thing
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.evaluation.intervals import Estimate, mean_of
from course_lib.nets.blocks import CrossAttention
from course_lib.nets.clip import Clip, contrastive_loss
from course_lib.pages.plotting import as_pictures, closed, show_image
from course_lib.sampling.generate import Denoising, guided_denoiser
from course_lib.sampling.steps import ddim, last, sample

DOUBLE = torch.float64


CODES: dict[str, Callable[[str], Hashable]] = {
    "nothing": lambda text: None,
    "which words, not their order": lambda text: tuple(sorted(text.split())),
    "all words, in order": lambda text: text,
}
FACING = {"below": "above", "right of": "left of"}


def one_way(text: str) -> str:
    """The caption, or, where it says "below" or "right of", the other caption of the same picture."""
    scene = scenes.parse(text)
    facing = FACING.get(str(scene.relation))
    return text if facing is None else scenes.caption(Scene(scene.things[::-1], facing))


SHOWN: dict[
    str, Callable[[str], Hashable]
] = {  # what towers may know of a caption, if they know that pictures have no first thing
    "what the picture can show": one_way,
    "its words, not their order": lambda text: tuple(sorted(one_way(text).split())),
}


def entropy(chances: Sequence[float]) -> float:
    """In bits."""
    return -sum(p * math.log2(p) for p in chances)


def bits_lost() -> dict[str, float]:
    """The bits of a caption that each code leaves open."""
    chances = scenes.caption_chances()
    found = {}
    for name, code in CODES.items():
        of_code: dict[Hashable, float] = defaultdict(float)
        for text, p in chances.items():
            of_code[code(text)] += p
        found[name] = entropy(list(chances.values())) - entropy(list(of_code.values()))
    return found


def repeats_floor(size: int, code: str = "what the picture can show") -> float:
    """The least contrastive loss of batches of so many training scenes, eq-text-repeats, for towers that know this code of captions."""
    of_code: dict[Hashable, float] = defaultdict(float)
    for text, p in scenes.caption_chances().items():
        of_code[SHOWN[code](text)] += p
    return sum(
        p
        * sum(math.comb(size - 1, k) * p**k * (1 - p) ** (size - 1 - k) * math.log(1 + k) for k in range(min(size, 60)))
        for p in of_code.values()
    )


def captioned(pictures: Tensor, texts: Sequence[str], columns: int = 6) -> Figure:
    """Pictures `(N, 3, H, W)` with their captions below."""
    lines = math.ceil(len(pictures) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(6.8, 2.0 * lines), squeeze=False)
    for axis, picture, text in zip(axes.flat, as_pictures(pictures), texts, strict=True):
        show_image(axis, picture)
        axis.text(0.5, -0.05, fill(text, 14), transform=axis.transAxes, ha="center", va="top", fontsize=8)
    return closed(figure)


@torch.no_grad()
def loss_of(towers: Clip, size: int, batches: int = 8) -> tuple[Estimate, Estimate]:
    """The contrastive loss of towers on batches of fresh scenes, and by how much it exceeds what repeated captions cost in each."""
    found, more = [], []
    for number in range(batches):
        generator = torch.Generator().manual_seed(100 + number)
        asked = scenes.random_scenes(size, generator)
        texts = [scenes.caption(scene) for scene in asked]
        loss = contrastive_loss(towers(to_unit(scenes.pictures(asked, generator)), captions.encode(texts)))
        often = Counter(map(one_way, texts))
        found.append(loss)
        more.append(loss - sum(n * math.log(n) for n in often.values()) / size)
    return mean_of(torch.stack(found).double()).interval(), mean_of(torch.stack(more).double()).interval()


# --- what the towers can tell apart -------------------------------------------------------------------------------------


def swapped(scene: Scene, part: str) -> Scene:
    """The scene of two things with one property of theirs exchanged."""
    one, other = scene.things
    change = lambda thing, source: thing._replace(**{part: getattr(source, part)})  # noqa: E731
    return Scene((change(one, other), change(other, one)), scene.relation)


OPPOSITE = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
FOILS: dict[str, Callable[[Scene], Scene]] = {
    "the colours exchanged": lambda scene: swapped(scene, "colour"),
    "the shapes exchanged": lambda scene: swapped(scene, "shape"),
    "the sizes exchanged": lambda scene: swapped(scene, "size"),
    "the opposite relation": lambda scene: Scene(scene.things, OPPOSITE[str(scene.relation)]),
    "the relation turned by 90 degrees": lambda scene: Scene(
        scene.things, {"above": "left of", "below": "right of"}.get(str(scene.relation), "above")
    ),
    "another colour for the first": lambda scene: Scene(
        (other_colour(scene.things[0], scene.things[1].colour), scene.things[1]), scene.relation
    ),
}


def other_colour(thing: Thing, taken: str) -> Thing:
    """The thing in the next colour of the palette that is not taken."""
    names = list(scenes.COLOURS)
    rest = [name for name in (*names[names.index(thing.colour) + 1 :], *names) if name not in (taken, thing.colour)]
    return thing._replace(colour=rest[0])


def turned(scene: Scene) -> Scene:
    """The same picture of two things, told from the other one."""
    return Scene(scene.things[::-1], OPPOSITE[str(scene.relation)])


@torch.no_grad()
def told_apart(
    towers: Clip, held_out: bool, sides: Sequence[bool] = (False, True), n: int = 600
) -> dict[str, Estimate]:
    """How often a picture is nearer to its caption than to a foil of the same words, or nearly: the share and its interval.

    The scenes are told as they were made, or, where `sides` says True, which they take in turn, from their other thing: a held-out scene
    is made with the new thing first. Where nothing is held out, foils with a held-out combination are left out, too.
    """
    generator = torch.Generator().manual_seed(40 + held_out)
    made = [scene for scene in scenes.random_scenes(2 * n, generator, held_out) if scene.relation][:n]
    of_pictures = towers.of_pictures(to_unit(scenes.pictures(made, generator)))
    asked = [turned(scene) if sides[k % len(sides)] else scene for k, scene in enumerate(made)]
    right = (of_pictures * said(towers, asked)).sum(1)
    found = {}
    for name, foil in FOILS.items():
        others = [foil(scene) for scene in asked]
        counts = [held_out or not scenes.is_held_out(other) for other in others]
        differ = torch.tensor([one != other and k for one, other, k in zip(asked, others, counts, strict=True)])
        wins = (right > (of_pictures * said(towers, others)).sum(1))[differ].double()
        found[name] = mean_of(wins).share(len(wins))
    return found


def said(towers: Clip, asked: Sequence[Scene]) -> Tensor:
    """The captions of scenes on the sphere, `(N, joint)`."""
    return towers.of_texts(captions.encode([scenes.caption(scene) for scene in asked]))


# --- guidance -----------------------------------------------------------------------------------------------------------


def pushed(mean: float = 0.0, spread: float = 1.0, scale: float = 2.0) -> Figure:
    """What guidance away from a bell makes of another, for a wide, an equal and a narrow bell to avoid."""
    figure, axes = plt.subplots(1, 3, figsize=(6.8, 2.3), sharex=True, sharey=True)
    x = torch.linspace(-6, 8, 1401, dtype=DOUBLE)
    bell = lambda m, s: torch.exp(-((x - m) ** 2) / (2 * s**2)) / (s * math.sqrt(2 * math.pi))  # noqa: E731
    for axis, avoided in zip(axes, (1.6, 1.0, 0.85), strict=True):
        axis.plot(x, bell(mean, spread), color="0.5", label="wanted")
        axis.plot(x, bell(-1.5, avoided), color="C1", linestyle="--", label="to avoid")
        log = scale * bell(mean, spread).log() - (scale - 1) * bell(-1.5, avoided).log()
        density = torch.exp(log - log.max())
        axis.plot(x, density / (density.sum() * (x[1] - x[0])), color="C0", label="the bracket")
        axis.set(title=f"to avoid: spread {avoided:g}", xlabel="x", ylim=(0, 0.8))
    axes[0].set_ylabel("density")
    axes[0].legend(fontsize=8)
    return closed(figure)


# --- attention ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def attended(model: Denoising, cond: Tensor, at: float, level: int = 1, steps: int = 25) -> tuple[Tensor, Tensor]:
    """A picture, and which word each of its places asks when the time is at * T: `(3, H, W)` and `(words, h, w)`.

    The weights of all blocks of a level are averaged, and of all heads.
    """
    caught: list[Tensor] = []
    blocks = [
        module.asking
        for module in model.network.modules()
        if getattr(module, "asking", None) is not None and getattr(module, "level", -1) == level
    ]
    process = GaussianDiffusion(model.schedule)
    x = process.prior((1, *model.shape), torch.Generator().manual_seed(3))
    times = model.schedule.grid(steps)
    denoise = guided_denoiser(model, cond, 1, 3.0)
    watched = times[(times - at * model.schedule.T).abs().argmin()]
    for now, then in pairwise(times):
        if now == watched:
            hooks = [block.register_forward_pre_hook(lambda m, i: caught.append(weights(m, *i))) for block in blocks]
            guided_denoiser(model, cond, 1, 1.0)(x, now)
            for hook in hooks:
                hook.remove()
        x = last(sample(ddim(denoise, process), x, torch.stack([now, then])))
    return x[0], torch.stack(caught).mean((0, 1))


def weights(block: nn.Module, x: Tensor, tokens: Tensor) -> Tensor:
    """The attention weights of a block for one picture, the mean of its heads, `(1, words, h, w)`."""
    assert isinstance(block, CrossAttention)
    query = block.to_query(block.norm(x)).flatten(2).mT
    key, _ = block.to_key_value(tokens).chunk(2, dim=-1)
    query, key = (h.unflatten(-1, (block.heads, -1)).transpose(-3, -2) for h in (query, key))
    found = torch.softmax(query @ key.mT / query.shape[-1] ** 0.5, dim=-1).mean(1)  # (1, places, words)
    return found.mT.unflatten(-1, x.shape[2:])


def asked_words(picture: Tensor, maps: Tensor, text: str) -> Figure:
    """The picture, and beside it where each of its words is asked, brighter is more."""
    words = text.split()
    columns = 6
    lines = math.ceil((len(words) + 1) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(6.8, 1.35 * lines), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    show_image(axes.flat[0], as_pictures(picture[None])[0], "drawn")
    for axis, word, where in zip(axes.flat[1:], words, maps, strict=False):
        axis.imshow(where, cmap="gray", vmin=0, vmax=float(maps[: len(words)].max()))
        axis.set_title(word, fontsize=8)
    return closed(figure)


# --- measured -----------------------------------------------------------------------------------------------------------


def met(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """The share of pictures that show each aspect of their text against the scale, for seen and held-out combinations."""
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 2.9), sharey=True)
    for axis, group in zip(axes, ("seen", "held out"), strict=True):
        scales = sorted(float(name.rsplit(" ", 1)[1]) for name in found if name.startswith(f"{group}, scale "))
        for number, aspect in enumerate((*scenes.ASPECTS, "all")):
            values = [found[f"{group}, scale {scale:g}"][aspect] for scale in scales]
            bars(axis, [scale * (1 + 0.01 * number) for scale in scales], values, number, aspect)
        chance = found[f"{group}, told nothing"]["all"]
        axis.axhspan(chance["low"], chance["high"], color="0.5", alpha=0.25, linewidth=0)
        axis.set(title=group, xlabel="guidance scale", xscale="log", ylim=(0, 1.02))
        axis.set_xticks(scales, [f"{scale:g}" for scale in scales])
        axis.minorticks_off()
    axes[0].set_ylabel("pictures that show it")
    axes[0].legend(fontsize=7, loc="lower center", ncol=3)
    return closed(figure)


def bars(axis: Any, at: Sequence[float], values: Sequence[Mapping[str, float]], number: int, label: str) -> None:
    """Values with their intervals at some places."""
    ends = [[v["value"] - v["low"] for v in values], [v["high"] - v["value"] for v in values]]
    style = "os^vD*"[number] + "-"
    axis.errorbar(at, [v["value"] for v in values], ends, fmt=style, markersize=4, capsize=2, linewidth=1, label=label)
