"""The pictures of chapter 19: letters drawn together where all is listed, what small networks learn, and the model of letters."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.data.text import ALPHABET, decode, encode
from course_lib.diffusion.discrete import SymbolDiffusion, straight, uniform_noise
from course_lib.diffusion.enumerated import ExactSymbols, three_words
from course_lib.diffusion.masked import absorbing, hidden_counts, hidden_loss, hide
from course_lib.nets.symbols import SymbolTransformer
from course_lib.pages.plotting import closed
from course_lib.sampling.unmasking import at_random, likeliest_draw, most_certain
from course_lib.training.loop import fit

LANGUAGE = three_words(0.1)
MASKED = absorbing(straight, 3)
FLAT = SymbolDiffusion(straight, uniform_noise(3))
COUNTS = (1, 2, 4, 8, 16, 32, 64)
ORDERS = {"at random": at_random, "most certain": most_certain, "likeliest draw": likeliest_draw}
MARKS = {"at random": "o-", "most certain": "s--", "likeliest draw": "^-."}


def grid(steps: int) -> Tensor:
    """Even times from 1 to 0, `(steps + 1,)`."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def destroyed(sentence: str, times: Sequence[float]) -> list[tuple[str, str, str]]:
    """A sentence at some times, with letters drawn anew and with letters hidden."""
    x0, found = encode(sentence)[None], []
    noises = (SymbolDiffusion(straight, uniform_noise(len(ALPHABET))), absorbing(straight, len(ALPHABET)))
    for time in times:
        t = torch.tensor(time, dtype=torch.float64)
        rows = [x0 if time == 0 else noise.forward(x0, t, torch.Generator().manual_seed(3)) for noise in noises]
        found.append((f"{time:g}", *(decode(row[0]).replace("\n", "¶") for row in rows)))
    return found


def errors(language: ExactSymbols = LANGUAGE) -> dict[str, list[float]]:
    """The divergence of what each process draws, in nats, for each number of steps."""
    return {
        name: [
            language.divergence(language.drawn_by(language.denoiser(process), process, grid(count))) for count in COUNTS
        ]
        for name, process in (("masked", MASKED), ("uniform", FLAT))
    }


def parallel(found: Mapping[str, Sequence[float]], bound: Sequence[float]) -> Figure:
    """The divergence from the data against the number of steps, and how far the bound in as many steps lies above the entropy."""
    figure, axis = plt.subplots(figsize=(6.8, 3.0))
    axis.plot(COUNTS, bound, "d:", color="C2", label="masked: bound minus entropy")
    axis.plot(COUNTS, found["masked"], "o-", color="C0", label="masked: divergence")
    axis.plot(COUNTS, found["uniform"], "s--", color="C1", label="uniform: divergence")
    axis.set(xscale="log", yscale="log", xlabel="steps", ylabel="nats")
    axis.set_xticks(COUNTS, [str(count) for count in COUNTS])
    axis.xaxis.set_minor_locator(plt.NullLocator())
    axis.legend(fontsize=8)
    return closed(figure)


def bound_gaps(language: ExactSymbols = LANGUAGE) -> list[float]:
    """The masked process's bound with the exact denoiser minus the entropy, for each number of steps, with no sampling."""
    found = []
    for count in COUNTS:
        total = 0.0
        for a, b in zip(1 - grid(count)[1:], 1 - grid(count)[:-1], strict=True):  # kept after and before a step back
            total += float((a - b) / (1 - b)) * expected_cost(language, float(1 - b))
        found.append(total - language.entropy())
    return found


def expected_cost(language: ExactSymbols, share: float) -> float:
    """The mean sum of -log p(x^i | seen) over hidden letters, each of which is hidden with a probability."""
    p, total = language.joint, 0.0
    for code in range(2**language.length):
        hidden = [place for place in range(language.length) if code >> place & 1]
        if not hidden:
            continue
        seen = p.sum(hidden, keepdim=True)
        weight = share ** len(hidden) * (1 - share) ** (language.length - len(hidden))
        for place in hidden:
            others = [other for other in hidden if other != place]
            both = p.sum(others, keepdim=True) if others else p
            total += weight * -float(torch.special.xlogy(both, both / seen).sum())
    return total


def taught(steps: int = 500, seed: int = 0) -> tuple[SymbolTransformer, list[tuple[int, float]]]:
    """A small network after its training on words of the language, and its exact bound on the way."""
    torch.manual_seed(seed)
    network = SymbolTransformer(3, (1, 4), 32, 2, 2, places=True)
    words = LANGUAGE.sample(20_000, torch.Generator().manual_seed(seed))

    def loss(network: Any, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        (x0,) = batch
        x_t = hide(x0, hidden_counts(len(x0), 4, generator), 3, generator)
        return hidden_loss(network, x0, x_t, 3).mean()

    states = fit(network, loss, (words,), steps, 128, 3e-3, warmup=20, bf16=False, channels_last=False, seed=seed)
    asked = (1, 10, 20, 40, 80, 160, steps)
    curve = [(state.step, exact_bound(network)) for state in states if state.step in asked]
    return network.eval(), curve


@torch.no_grad()
def exact_bound(network: SymbolTransformer) -> float:
    """The mean over words of the bound in continuous time, over all subsets of hidden letters: no sampling, in nats."""
    words, weight, total = LANGUAGE.sequences, LANGUAGE.joint.flatten(), 0.0
    for code in range(1, 16):
        hidden = torch.tensor([bool(code >> place & 1) for place in range(4)])
        m = int(hidden.sum())
        subsets = (4, 6, 4, 1)[m - 1]
        losses = hidden_loss(network, words, torch.where(hidden, 3, words), 3)
        total += float(weight @ losses.double()) / 4 / subsets
    return total


def learning(curve: Sequence[tuple[int, float]]) -> Figure:
    """The bound against training steps, above the entropy."""
    figure, axis = plt.subplots(figsize=(6.8, 2.5))
    axis.plot(*zip(*curve, strict=True), "o-", label="bound of the network")
    axis.axhline(LANGUAGE.entropy(), color="0.5", linestyle="--", label="entropy of the language")
    axis.set(xscale="log", xlabel="training steps", ylabel="nats a word")
    axis.legend(fontsize=8)
    return closed(figure)


def by_hidden(found: Mapping[str, Mapping[str, float]], backwards: float, alone: float) -> Figure:
    """Bits a hidden letter against how many of 128 are hidden, for each network, and the autoregressive model's bits."""
    figure, axis = plt.subplots(figsize=(6.8, 3.0))
    for mark, (name, curve) in zip(("o-", "s--"), found.items(), strict=False):
        axis.plot([int(m) for m in curve], list(curve.values()), mark, markersize=4, label=name)
    axis.axhline(backwards, color="C2", linestyle="-.", label="autoregressive, a letter")
    axis.axhline(alone, color="0.5", linestyle=":", label="letter frequencies alone")
    axis.set(xlabel="hidden letters of 128", ylabel="bits", ylim=(0, None))
    axis.legend(fontsize=8, loc="lower right")
    return closed(figure)


def decoding(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """Words that the learned pages have, and different words, against steps, for the three orders; the references as level lines."""
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 3.0))
    for number, (order, mark) in enumerate(MARKS.items()):
        rows = {int(k.split(", ")[1].split()[0]): v for k, v in found.items() if k.startswith(order)}
        counts = sorted(rows)
        known = [rows[count]["known words"] for count in counts]
        spread = [[one["value"] - one["low"] for one in known], [one["high"] - one["value"] for one in known]]
        shifted = [count * 1.06 ** (number - 1) for count in counts]
        axes[0].errorbar(
            shifted, [one["value"] for one in known], spread, fmt=mark, markersize=4, capsize=2, label=order
        )
        axes[1].plot(counts, [rows[count]["different words"]["value"] for count in counts], mark, markersize=4)
    for name, style in (("held-out pages", ":"), ("autoregressive, 128 steps", "-.")):
        axes[0].axhline(found[name]["known words"]["value"], color="0.5", linestyle=style, label=name.split(",")[0])
        axes[1].axhline(found[name]["different words"]["value"], color="0.5", linestyle=style)
    for axis, title in zip(axes, ("known words", "different words"), strict=True):
        axis.set(xscale="log", xlabel="steps", title=title, ylim=(0, 1.05))
        axis.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
        axis.xaxis.set_minor_locator(plt.NullLocator())
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=5, fontsize=7)
    return closed(figure)


def digits(rows: Sequence[str]) -> Tensor:
    """Rows of 64 symbols 0, 1 and (for hidden) 2 as pictures `(n, 1, 8, 8)`: black, white, grey."""
    shades = torch.tensor([-1.0, 1.0, 0.0])
    return shades[torch.tensor([[int(symbol) for symbol in row] for row in rows])].view(-1, 1, 8, 8)
