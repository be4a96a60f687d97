"""The pictures of the page on sound, films and plans."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from course_lib.data import paths, videos
from course_lib.data.sets import split_labelled_digits
from course_lib.data.sounds import DRUM, LENGTH, RATE, Sounds
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import cosine
from course_lib.pages.plotting import closed, shades
from course_lib.recipes.sounds import seen
from course_lib.sampling.steps import ancestral, last, sample
from course_lib.types import Denoiser

TUNE = (0, 4, 7, 11, 12, 9, 7, 4, 12, 0, 2, 4, 12, 7, 12, 0)  # notes, and 12 for the drum


def show_spectra(loudness: Mapping[str, Tensor], bins: int = 128) -> Figure:
    """Spectra `(16, 257)` by name, side by side: time to the right, pitch upwards, up to 2 kHz."""
    figure, axes = plt.subplots(1, len(loudness), figsize=(6.8, 2.5), sharey=True)
    extent = (0.0, 1000 * LENGTH / RATE, 0.0, bins * RATE / 512)
    for axis, (name, one) in zip(axes, loudness.items(), strict=True):
        axis.imshow(one[:, :bins].T, origin="lower", aspect="auto", extent=extent, vmin=-1, vmax=1, cmap=shades("0.5"))
        axis.set(title=name, xlabel="ms")
        axis.grid(False)
    axes[0].set_ylabel("Hz")
    return closed(figure)


def one_of_each(sounds: Sounds) -> dict[str, Tensor]:
    """The spectra of one sound of each kind, the two instruments with the same note, and the mean of these two."""
    loudness = seen(sounds.waves)
    first = {  # of each note and kind
        (int(note), int(kind)): k for k, (note, kind) in enumerate(zip(sounds.notes, sounds.kinds, strict=True))
    }
    note = next(note for note in range(DRUM) if (note, 0) in first and (note, 1) in first)
    pipe, string, drum = first[note, 0], first[note, 1], first[DRUM, 2]
    found = {"pipe": loudness[pipe], "string": loudness[string], "drum": loudness[drum]}
    return {**found, "mean of pipe and string": (loudness[pipe] + loudness[string]) / 2}


def reach(rho: float, b: Tensor) -> Tensor:
    """The factor by which the best denoiser's weight falls from frame to frame, for noise levels b of a chain with correlation rho."""
    a2, b2 = 1 - b**2, b**2
    s = (a2 * (1 - rho**2) + b2 * (1 + rho**2)) / (b2 * rho)
    return (s - (s**2 - 4).clamp(min=0).sqrt()) / 2


def show_reach(rhos: Sequence[float] = (0.5, 0.8, 0.95)) -> Figure:
    """The factor against the noise, and the weights of 21 frames at three noises."""
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 2.7))
    b = torch.linspace(0.02, 1, 200, dtype=torch.float64)
    for rho, style in zip(rhos, ("-", "--", "-."), strict=True):
        axes[0].plot(b, reach(rho, b), style, label=f"correlation {rho:g}")
    axes[0].set(xlabel="noise b", ylabel="factor a frame", ylim=(0, 1))
    axes[0].legend(fontsize=8)
    away = torch.arange(21)
    sigma = 0.95 ** (away[:, None] - away).abs().double()
    for noise, mark in ((0.2, "o-"), (0.6, "s--"), (0.9, "^-.")):
        a2 = 1 - noise**2
        row = (a2**0.5 * sigma @ torch.linalg.inv(a2 * sigma + noise**2 * torch.eye(21).double()))[10]
        axes[1].plot(away - 10, row, mark, markersize=3, label=f"b = {noise:g}")
    axes[1].set(xlabel="frames away", ylabel="weight in the best guess")
    axes[1].legend(fontsize=8)
    return closed(figure)


PROCESS = GaussianDiffusion(cosine(1000))


def vocabulary() -> tuple[Tensor, Tensor]:
    """Two digits of each class, `(20, 1, 8, 8)`, and their labels `(20,)`."""
    (images, labels), _ = split_labelled_digits()
    chosen = torch.cat([(labels == digit).nonzero()[:2, 0] for digit in range(10)])
    return images[chosen], labels[chosen]


def looking(films: Tensor, reach: int) -> Denoiser:
    """The best denoiser of films `(n, FRAMES, SIZE, SIZE)`, all equally likely, each of whose frames sees so many to either side.

    The probability of each film given the frames that are seen, by Bayes' rule, weighs that film's frame.
    """
    data = films.flatten(2).transpose(0, 1)  # (FRAMES, n, pixels)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        a, b = PROCESS.schedule.signal(t).float(), PROCESS.schedule.noise(t).float()
        rows = x_t.flatten(2).transpose(0, 1)  # (FRAMES, B, pixels)
        logs = -torch.cdist(rows, a * data).square() / (2 * b**2)  # (FRAMES, B, n), of each frame alone
        together = torch.stack([logs[max(0, f - reach) : f + reach + 1].sum(0) for f in range(len(logs))])
        return (together.softmax(-1) @ data).transpose(0, 1).view_as(x_t)

    return denoise


def drawn_films(films: Tensor, reach: int, n: int, steps: int = 40, seed: int = 0) -> Tensor:
    """n films by the ancestral sampler with that denoiser."""
    generator = torch.Generator().manual_seed(seed)
    x = PROCESS.prior((n, *films.shape[1:]), generator)
    step = ancestral(looking(films, reach), PROCESS, generator=generator)
    return last(sample(step, x, PROCESS.schedule.grid(steps)))


def show_films(pictures: Mapping[str, Tensor], n: int = 2) -> Figure:
    """n films of each kind, a row each, with a wider gap between films."""
    figure, axes = plt.subplots(len(pictures), 1, figsize=(6.8, 0.62 * len(pictures) + 0.2))
    for axis, (name, films) in zip(np.atleast_1d(axes), pictures.items(), strict=True):
        sheet = np.full((videos.SIZE, n * videos.FRAMES * (videos.SIZE + 1) + 4 * (n - 1)), np.nan)
        for number, film in enumerate(films[:n]):
            for k, frame in enumerate(film):
                left = number * (videos.FRAMES * (videos.SIZE + 1) + 4) + k * (videos.SIZE + 1)
                sheet[:, left : left + videos.SIZE] = frame
        axis.imshow(sheet, vmin=-1, vmax=1, cmap="gray", interpolation="nearest")
        axis.set_axis_off()
        axis.text(-0.01, 0.5, name, transform=axis.transAxes, ha="right", va="center", fontsize=8)
    return closed(figure)


def show_walks(walks: Mapping[str, Sequence[str]], names: Sequence[str]) -> Figure:
    """Walks round the pillar by name, side by side; those that touch it are dashed."""
    figure, axes = plt.subplots(1, len(names), figsize=(6.8, 2.9), sharey=True)
    for axis, name in zip(axes, names, strict=True):
        rows = torch.tensor([[float(x) for x in one.split()] for one in walks[name]]).unflatten(1, (-1, 2))
        for one, hit in zip(rows, paths.touches(rows), strict=True):
            axis.plot(one[:, 0], one[:, 1], "--" if hit else "-", color="C1" if hit else "C0", linewidth=0.8)
        axis.add_patch(Circle((0, 0), paths.PILLAR, color="0.6"))
        axis.add_patch(Circle(paths.GOAL, paths.NEAR, fill=False, color="C2", linewidth=1.5))
        axis.set(
            title=name if name == "expert" else f"{name} done", xlim=(-1.3, 1.3), ylim=(-1.2, 1.35), aspect="equal"
        )
        axis.title.set_fontsize(9)
    return closed(figure)


def arrivals(settings: Mapping[str, Mapping[str, Mapping[str, float]]], counts: Sequence[int]) -> Figure:
    """The share of walks that arrive against the number of actions done before the next plan."""
    figure, axis = plt.subplots(figsize=(6.8, 2.5))
    for name, mark in (("diffusion", "o-"), ("regression", "s--")):
        found = [settings[f"plans, {name}, {count} done"]["arrived"] for count in counts]
        spread = [[one["value"] - one["low"] for one in found], [one["high"] - one["value"] for one in found]]
        axis.errorbar(range(len(counts)), [one["value"] for one in found], spread, fmt=mark, capsize=3, label=name)
    axis.set(xlabel="actions done before the next plan", ylabel="arrived", ylim=(0, 1.05))
    axis.set_xticks(range(len(counts)), [str(count) for count in counts])
    axis.legend(fontsize=8)
    return closed(figure)
