"""The pictures of chapter 13: linear autoencoders, rates and errors, words, textures, the scale, attention, and what was measured."""

import base64
import functools
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from course_lib.data.sets import photographs
from course_lib.diffusion.compression import water_filling
from course_lib.diffusion.exact import ExactDiffusion, Mixture, three_bumps, two_bumps
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import cosine
from course_lib.models import store
from course_lib.nets.blocks import attend
from course_lib.nets.classifier import ConvClassifier
from course_lib.pages.plotting import arrow, as_pictures, box, closed, curves, show_image
from course_lib.recipes.autoencoding import perceptual_distance
from course_lib.sampling.steps import ddim, last, sample

MARKS = ("o-", "s--", "^-.", "d:")


# --- linear autoencoders of photographs ------------------------------------------------------------------------------


@functools.cache
def photos() -> Tensor:
    """The temple and the flower, `(2, 3, 256, 256)` in float64."""
    return photographs().double()


class LinearAutoencoder:
    """The best linear map of squares of `factor` x `factor` pixels to so many numbers, and back: principal components of `images`."""

    def __init__(self, images: Tensor, factor: int, numbers: int) -> None:
        self.factor = factor
        rows = self.squares(images).movedim(1, -1).flatten(0, 2)  # (N, 3 factor^2)
        self.mean = rows.mean(0)
        variances, axes = torch.linalg.eigh(torch.cov(rows.T))
        self.variances, self.axes = variances.flip(0), axes.flip(1)[:, :numbers]

    def squares(self, images: Tensor) -> Tensor:
        """Images `(N, 3, H, W)` as `(N, 3 factor^2, H / factor, W / factor)`."""
        return F.pixel_unshuffle(images, self.factor)

    def encode(self, images: Tensor) -> Tensor:
        """The latents `(N, numbers, H / factor, W / factor)`."""
        return torch.einsum("nchw,ck->nkhw", self.squares(images) - self.mean[:, None, None], self.axes)

    def decode(self, latents: Tensor) -> Tensor:
        """Images `(N, 3, H, W)`."""
        rows = torch.einsum("nkhw,ck->nchw", latents, self.axes) + self.mean[:, None, None]
        return F.pixel_shuffle(rows, self.factor)


def decibels(error: float) -> float:
    """The peak signal-to-noise ratio of a mean squared error of pixels in [-1, 1]."""
    return 10 * math.log10(4 / error)


def kept(factors: Sequence[int]) -> list[tuple[int, int, Tensor, float]]:
    """For each factor: numbers a square, the flower after coding with the components of both photographs, and its decibels."""
    flower = photos()[1:]
    found = []
    for factor in factors:
        coder = LinearAutoencoder(photos(), factor, 2 * factor)
        again = coder.decode(coder.encode(flower))
        found.append((factor, 2 * factor, again, decibels(float((again - flower).square().mean()))))
    return found


def opening(factors: Sequence[int] = (2, 4, 8)) -> Figure:
    """A part of the flower, and what linear autoencoders with several factors keep of it."""
    window = (slice(None), slice(None), slice(84, 180), slice(84, 180))
    figure, axes = plt.subplots(1, len(factors) + 1, figsize=(6.8, 2.1))
    show_image(axes[0], as_pictures(photos()[1:][window])[0], "$f = 1$: all numbers")
    for axis, (factor, numbers, again, quality) in zip(axes[1:], kept(factors), strict=True):
        share = 3 * factor**2 // numbers if 3 * factor**2 % numbers == 0 else 3 * factor**2 / numbers
        show_image(axis, as_pictures(again[window])[0], f"$f = {factor}$: 1 in {share}\n{quality:.1f} dB")
    return closed(figure)


@functools.cache
def spectrum(factor: int = 8) -> Tensor:
    """The variances of the photographs' squares along their principal axes, the largest first."""
    return LinearAutoencoder(photos(), factor, 1).variances.clamp(min=1e-9)


def by_water(levels: Tensor) -> tuple[Tensor, Tensor]:
    """Bits and mean squared error a number of the cheapest code of Gaussian squares, for levels of water `(N,)`."""
    found = [water_filling(spectrum(), float(level)) for level in levels]
    bits = torch.stack([one.rate.mean() for one in found]) / math.log(2)
    return bits, torch.stack([one.distortion.mean() for one in found])


def by_noise(levels: Tensor) -> tuple[Tensor, Tensor]:
    """The same for a diffusion model that is exact, when the noise-to-signal ratio has fallen to each of the levels."""
    bits = torch.stack([(1 + spectrum() / level).log().mean() / 2 for level in levels]) / math.log(2)
    return bits, torch.stack([(spectrum() * level / (spectrum() + level)).mean() for level in levels])


def bits_between(worse: float, better: float) -> tuple[float, float]:
    """Bits a number up to the worse of two qualities in decibels, and up to the better, by the exact diffusion model."""
    levels = torch.logspace(-8, 3, 4000, dtype=torch.float64)
    bits, errors = by_noise(levels)
    quality = 10 * torch.log10(4 / errors)
    order = quality.argsort()
    found = np.interp([worse, better], quality[order].numpy(), bits[order].numpy())
    return float(found[0]), float(found[1])


def rates(level: float = 3e-3) -> Figure:
    """The spectrum of photographs' squares under water, and quality against bits: the cheapest code, and a diffusion model."""
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 2.9))
    order = torch.arange(1, len(spectrum()) + 1)
    axes[0].loglog(order, spectrum(), color="C0")
    axes[0].fill_between(order, 1e-7, torch.minimum(spectrum(), torch.tensor(level)), color="C0", alpha=0.25)
    axes[0].axhline(level, color="C1", linestyle="--", linewidth=1)
    axes[0].set(xlabel="principal axis", ylabel="variance", ylim=(1e-6, None), title="what is lost")
    levels = torch.logspace(-6, 2, 200, dtype=torch.float64)
    for (bits, error), style, name in ((by_water(levels), "-", "cheapest code"), (by_noise(levels), "--", "diffusion")):
        axes[1].plot(bits, 10 * torch.log10(4 / error), style, label=name)
    axes[1].set(xlabel="bits a number", ylabel="quality (dB)", xlim=(0, 4), ylim=(10, 55), title="what it costs")
    axes[1].legend()
    return closed(figure)


# --- words -----------------------------------------------------------------------------------------------------------


def words(points: Tensor, count: int, rounds: int = 60) -> Tensor:
    """A codebook `(count, D)` for points `(N, D)` by Lloyd's rule: each word moves to the mean of the points that choose it."""
    book = points[torch.linspace(0, len(points) - 1, count).long()].clone()
    for _ in range(rounds):
        choice = torch.cdist(points, book).argmin(1)
        for word in range(count):
            if bool((choice == word).any()):
                book[word] = points[choice == word].mean(0)
    return book


def codebook(count: int = 12) -> Figure:
    """Points of the plane with the words that they choose; and the error of words for a Gaussian on the line against bits."""
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 2.9))
    points = three_bumps().sample(1500, torch.Generator().manual_seed(0))[0]
    book = words(points, count)
    choice = torch.cdist(points, book).argmin(1)
    for start, end in zip(points[:300], book[choice[:300]], strict=True):
        axes[0].plot(*torch.stack([start, end]).T, color="0.6", linewidth=0.5)
    axes[0].scatter(*points[:300].T, s=5, color="C0")
    axes[0].scatter(*book.T, s=45, color="C1", marker="s", zorder=3)
    axes[0].set(title=f"{count} words", xticks=[], yticks=[], aspect="equal")
    line = torch.special.ndtri((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000)[:, None]
    bits, errors = [0, 1, 2, 3, 4], []
    for count in (2**b for b in bits):
        book = words(line, count)
        errors.append(float(torch.cdist(line, book).min(1).values.square().mean()))
    axes[1].semilogy(bits, errors, "s", color="C1", label="words, one number at a time")
    axes[1].semilogy(bits, [4.0**-b for b in bits], color="C0", label="Shannon's limit")
    axes[1].set(xlabel="bits", ylabel="squared error")
    axes[1].legend(fontsize=8)
    return closed(figure)


# --- textures --------------------------------------------------------------------------------------------------------


def waves(phases: Tensor, n: int = 64, cycles: int = 5) -> Tensor:
    """Waves of variance 1 whose phases `(N,)` alone differ, `(N, n)`."""
    place = 2 * math.pi * cycles * torch.arange(n, dtype=torch.float64) / n
    return math.sqrt(2) * torch.cos(place + phases[:, None])


def by_magnitude(x: Tensor, y: Tensor) -> Tensor:
    """The mean squared difference of the magnitudes of two waves' Fourier coefficients, `(N,)`: blind to the phase."""
    return (torch.fft.rfft(x, norm="ortho").abs() - torch.fft.rfft(y, norm="ortho").abs()).square().sum(1) / x.shape[1]


def texture_errors(n: int = 4000) -> dict[str, tuple[float, float]]:
    """For two decoders that are not told the phase: squared error, and distance of magnitudes; the mean over phases."""
    generator = torch.Generator().manual_seed(0)
    true, other = (waves(2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)) for _ in range(2))
    answers = {"mean": torch.zeros_like(true), "draw": other}
    size = lambda a, b: float((a - b).square().mean())  # noqa: E731
    return {name: (size(true, x), float(by_magnitude(true, x).mean())) for name, x in answers.items()}


@torch.no_grad()
def by_features(cycles: int = 4, side: int = 32) -> dict[str, float]:
    """How far a classifier of CIFAR-10 finds grey, and the same stripes moved by half a wave, from stripes."""
    reader, _ = store.load("cifar10-classifier")
    assert isinstance(reader, ConvClassifier)
    lines = 0.8 * waves(torch.tensor([0.4, 0.4 + math.pi]), side, cycles).float() / math.sqrt(2)
    stripes, moved = lines[:, None, None].expand(2, 3, side, side).split(1)
    apart = {"grey": 0 * stripes, "moved": moved}
    return {name: float(perceptual_distance(reader, stripes, x)) for name, x in apart.items()}


def textures() -> Figure:
    """A wave, and what two decoders make of a code that does not say its phase."""
    figure, axes = plt.subplots(1, 3, figsize=(6.8, 1.7), sharey=True)
    true, other = waves(torch.tensor([0.4, 2.6], dtype=torch.float64))
    for axis, line, title in zip(axes, (true, 0 * true, other), ("the texture", "the mean", "a draw"), strict=True):
        axis.imshow(line.expand(16, -1), cmap="gray", vmin=-1.6, vmax=1.6, aspect="auto")
        axis.set(title=title, xticks=[], yticks=[])
    return closed(figure)


# --- the scale -------------------------------------------------------------------------------------------------------


def scaled(sigma: float) -> Mixture:
    """The two bumps, moved and stretched to mean 0 and standard deviation sigma."""
    bumps = two_bumps()
    size = sigma / float(bumps.covariance().sqrt())
    return Mixture(bumps.weights, size * (bumps.means - bumps.mean()), size**2 * bumps.covariances)


def off(sigma: float, steps: int, n: int = 400) -> float:
    """How far samples by an exact denoiser lie from the truth, in standard deviations: sorted, they are matched with quantiles."""
    exact = ExactDiffusion(scaled(sigma), cosine(1000))
    noise = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]
    drawn = last(sample(ddim(exact.denoise, GaussianDiffusion(exact.schedule)), noise, exact.schedule.grid(steps)))
    truth = scaled(sigma).sample(100_000, torch.Generator().manual_seed(0))[0].flatten().sort().values
    places = truth[((torch.arange(n) + 0.5) / n * len(truth)).long()]
    return float((drawn.flatten().sort().values - places).square().mean().sqrt()) / sigma


SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


def scales(counts: Sequence[int] = (10, 25, 50)) -> Figure:
    """The share of the times that have more signal than noise, and the error of exact samplers, against the scale of the data."""
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 2.9))
    fine = np.logspace(-2, 2, 200)
    axes[0].semilogx(fine, 2 / np.pi * np.arctan(fine), color="C0")
    axes[0].axhline(0.5, color="0.6", linewidth=0.8)
    axes[0].set(xlabel="standard deviation of the data", ylabel="share of times with SNR > 1", ylim=(0, 1))
    for number, steps in enumerate(counts):
        axes[1].loglog(SIGMAS, [off(s, steps) for s in SIGMAS], MARKS[number], markersize=4, label=f"{steps} steps")
    axes[1].set(xlabel="standard deviation of the data", ylabel="error of the samples")
    axes[1].legend(fontsize=8)
    return closed(figure)


# --- the system, and attention ---------------------------------------------------------------------------------------


def diagram() -> Figure:
    """Pixels above, latents below: encode, add noise and take it away, decode."""
    figure, axis = plt.subplots(figsize=(6.8, 2.4))
    axis.axhline(1.05, color="0.7", linewidth=0.8, linestyle=":")
    axis.text(3.1, 1.15, "pixels", ha="center", fontsize=8, color="0.45")
    axis.text(3.1, 0.8, "latents", ha="center", fontsize=8, color="0.45")
    for x, y, text, color, width in (
        (0.6, 1.7, "$x$", "C0", 0.7), (0.6, 0.3, "$z_0$", "C1", 0.7), (3.1, 0.3, "$z_T$", "C1", 0.7),
        (5.6, 0.3, "network, 50 times", "C2", 2.0), (8.4, 0.3, "$\\hat{z}_0$", "C1", 0.7), (8.4, 1.7, "$\\hat{x}$", "C0", 0.7),
        (5.6, 1.7, "class, text", "0.45", 1.5),
    ):  # fmt: skip
        box(axis, x, y, text, color, width)
    for start, end in (((0.6, 1.4), (0.6, 0.6)), ((8.4, 0.6), (8.4, 1.4)), ((5.6, 1.4), (5.6, 0.6))):
        arrow(axis, start, end)
    for x, text in ((0.78, "encoder $\\mathcal{E}$"), (5.75, "conditions"), (8.58, "decoder $\\mathcal{D}$")):
        axis.text(x, 0.82, text, fontsize=8, color="0.45", ha="left")
    arrow(axis, (0.98, 0.3), (2.72, 0.3), "noise")
    arrow(axis, (3.48, 0.3), (4.58, 0.3))
    arrow(axis, (6.62, 0.3), (8.02, 0.3))
    axis.set(xlim=(0, 9.7), ylim=(-0.2, 2.2))
    axis.set_axis_off()
    return closed(figure)


COLOURS = torch.tensor([[0.9, -0.6, -0.7], [-0.7, 0.5, -0.6], [-0.8, -0.5, 0.8], [0.8, 0.7, -0.6]], dtype=torch.float64)
CORNERS = torch.tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=torch.float64)


def asked(sharpness: float, side: int = 24) -> tuple[Tensor, Tensor]:
    """Pixels that ask by their place, and four tokens with a place and a colour: the weights `(4, side, side)`, and what is heard."""
    axis = torch.linspace(-1, 1, side, dtype=torch.float64)
    query = sharpness * torch.cartesian_prod(axis, axis)  # (side^2, 2)
    heard = lambda value: attend(query, CORNERS, value).T.unflatten(1, (side, side))  # noqa: E731
    return heard(torch.eye(4, dtype=torch.float64)), heard(COLOURS)[None]


def listening(sharpness: float = 6.0) -> Figure:
    """How much each pixel listens to each of four tokens, and what it hears."""
    weights, picture = asked(sharpness)
    figure, axes = plt.subplots(1, 5, figsize=(6.8, 1.7))
    for axis, name, weight in zip(
        axes, ("red, top left", "green, top right", "blue, bottom left", "yellow, bottom right"), weights, strict=False
    ):
        axis.imshow(weight, cmap="gray", vmin=0, vmax=1)
        axis.set_title(name.replace(", ", "\n"), fontsize=8)
        axis.set_axis_off()
    show_image(axes[4], as_pictures(picture)[0], "what is\nheard")
    axes[4].title.set_fontsize(8)
    return closed(figure)


# --- what was measured -----------------------------------------------------------------------------------------------


def shown(png: str, width: float = 6.8) -> Figure:
    """A PNG in base64 as a figure."""
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
    figure, axis = plt.subplots(figsize=(width, width * picture.shape[0] / picture.shape[1]))
    show_image(axis, picture)
    return closed(figure)


def reconstructions(pictures: Mapping[str, str]) -> Figure:
    """Test images, and what is left of them by each autoencoder, a row each."""
    ends = {int(row): name.removesuffix(": rows") for name, row in pictures.items() if name.endswith(": rows")}
    names = ["test images", *(ends[row].removeprefix("autoencoder, ") for row in sorted(ends))]
    figure = shown(pictures["reconstructions"], 5.2)
    axis = figure.axes[0]
    for row, name in enumerate(names):
        axis.text(
            -0.02, 1 - (row + 0.5) / len(names), name, transform=axis.transAxes, ha="right", va="center", fontsize=8
        )
    return figure


def drawn(pictures: Mapping[str, str], factors: Sequence[int] = (1, 2, 4, 8)) -> Figure:
    """Samples of the models of all factors, two rows of ten each, the classes in order from left to right."""
    sheets = [np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[f"diffusion, f = {f}"])))) for f in factors]
    shape = sheets[0].shape
    figure, axes = plt.subplots(
        len(sheets), 1, figsize=(6.0, 6.0 * len(sheets) * shape[0] / shape[1]), gridspec_kw={"hspace": 0.06}
    )
    for axis, f, sheet in zip(axes, factors, sheets, strict=True):
        show_image(axis, sheet)
        axis.text(-0.02, 0.5, f"$f = {f}$", transform=axis.transAxes, ha="right", va="center", fontsize=8)
    return closed(figure)


def tradeoff(metrics: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Reconstruction, distance with its floors, and speed, against the factor."""
    factors = (1, 2, 4, 8)
    figure, axes = curves("factor $f$", "", columns=3, height=2.8)
    for style, color, name, kind in (
        ("s--", "C1", "autoencoder", "autoencoder"),
        ("^:", "C2", "components", "principal components"),
    ):
        quality = [metrics[f"{kind}, f = {f}: psnr"]["value"] for f in factors[1:]]
        axes[0].plot(factors[1:], quality, style, color=color, markersize=4, label=name)
    axes[0].set(title="reconstruction (dB)")
    axes[0].legend(fontsize=8)
    for style, color, name, key, having in (
        ("o-", "C0", "samples", "diffusion, f = {}: frechet distance", factors),
        ("s--", "C1", "reconstructions", "autoencoder, f = {}: frechet distance", factors[1:]),
    ):
        found = [metrics[key.format(f)] for f in having]
        middle, low, high = ([one[part] for one in found] for part in ("value", "low", "high"))
        gaps = ([m - a for m, a in zip(middle, low, strict=True)], [b - m for m, b in zip(middle, high, strict=True)])
        axes[1].errorbar(having, middle, gaps, fmt=style, color=color, markersize=4, capsize=2, label=name)
    axes[1].set(title="Fréchet distance", ylim=(0, None))
    axes[1].legend(fontsize=8)
    speeds = [metrics[f"diffusion, f = {f}: samples a second"]["value"] for f in factors]
    axes[2].plot(factors, speeds, "o-", markersize=4)
    axes[2].set(title="samples a second", yscale="log")
    axes[2].set_yticks((8, 16, 32, 64), ("8", "16", "32", "64"))
    axes[2].minorticks_off()
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_xticks(factors, [str(f) for f in factors])
    return closed(figure)
