"""The pictures of chapter 15's page on Palette: pure functions, one question each."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.data.degradations import DEGRADATIONS, Degraded
from course_lib.data.sets import photographs
from course_lib.diffusion.exact import Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.measurements import leaning_bumps
from course_lib.diffusion.schedules import cosine
from course_lib.draws import standard_normal
from course_lib.evaluation.frechet import frechet_distance, moments
from course_lib.pages.plotting import closed, curves, rows
from course_lib.sampling.generate import Denoising
from course_lib.sampling.restoring import mended
from course_lib.sampling.steps import ancestral, ddim, last, sample
from course_lib.types import Denoiser, Step

DOUBLE = torch.float64
SIDES = (-2.2, 2.2)
TASKS = tuple(DEGRADATIONS)
PALETTE, UNTOUCHED = "cifar10-palette", "untouched"
MODELS = ("regression", PALETTE, "palette, L1", "palette, no attention")
Ledger = Mapping[str, Mapping[str, Mapping[str, float]]]  # values by setting, "task, model", and by metric


def second_given_first(mixture: Mixture, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the second coordinate, given the first `(n,)` exactly: the components' weights, means and variances, `(n, K)`."""
    at, (straight, across, own) = mixture.means, (mixture.covariances[:, i, j] for i, j in ((0, 0), (1, 0), (1, 1)))
    off = first[:, None] - at[:, 0]
    weights = (mixture.weights.log() - off**2 / (2 * straight) - straight.log() / 2).softmax(1)
    means = at[:, 1] + across / straight * off
    return weights, means, (own - across**2 / straight).expand_as(means)


def median(weights: Tensor, means: Tensor, variances: Tensor, halvings: int = 16) -> Tensor:
    """The medians `(...)` of mixtures on the line, whose components lie along the last axis `(..., K)`, by halving an interval."""
    deviations = variances.sqrt()
    low, high = (means - 5 * deviations).amin(-1), (means + 5 * deviations).amax(-1)
    for _ in range(halvings):
        middle = (low + high) / 2
        below = (weights * torch.special.ndtr((middle[..., None] - means) / deviations)).sum(-1) < 0.5
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def answered(n: int = 20_000, draws: int = 8) -> dict[str, Tensor]:
    """Points `(n, 2)` of the leaning bumps, with answers in the place of their second coordinate, and other points."""
    mixture, generator = leaning_bumps(), torch.Generator().manual_seed(0)
    (data, _), (other, _) = mixture.sample(n, generator), mixture.sample(n, generator)
    weights, means, variances = second_given_first(mixture, data[:, 0])
    component = torch.multinomial(weights, draws, True, generator=generator)  # (n, draws)
    each = torch.normal(means.gather(1, component), variances.gather(1, component).sqrt(), generator=generator)
    found = {
        "mean": (weights * means).sum(1),
        "median": median(weights, means, variances),
        "draw": each[:, 0],
        f"mean of {draws} draws": each.mean(1),
    }
    answers = {name: torch.stack([data[:, 0], second], 1) for name, second in found.items()}
    return {"data": data, **answers, "other data": other}


def judged(points: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """Of each answer: mean squared and absolute error, decibels below the mean, Fréchet distance from the data, share below 0."""
    data, best = points["data"], float((points["mean"] - points["data"]).square().sum(1).mean())
    real, found = moments(data), {}
    for name, x in points.items():
        square = float((x - data).square().sum(1).mean())
        found[name] = {
            "square": square,
            "absolute": float((x - data).abs().sum(1).mean()),
            "lost": 10 * torch.log10(torch.tensor(max(square, 1e-9) / best)).item(),
            "distance": frechet_distance(real, x),
            "share": float((x[:, 1] < 0).double().mean()),
        }
    return found


def answers(points: Mapping[str, Tensor], shown: int = 700) -> Figure:
    """Data; for each first coordinate the mean and the median of the second; and a draw of the second."""
    names = ("data", "mean", "median", "draw")
    figure, axes = plt.subplots(1, len(names), figsize=(6.8, 2.1), sharex=True, sharey=True)
    for axis, name in zip(axes, names, strict=True):
        x = points[name][:shown]
        axis.scatter(x[:, 0], x[:, 1], s=3, linewidths=0)
        axis.set(title=name, xlabel="first", xlim=SIDES, ylim=SIDES, aspect="equal")
    axes[0].set_ylabel("second coordinate")
    return closed(figure)


SCHEDULE = cosine(1000)
PROCESS = GaussianDiffusion(SCHEDULE)
RARE = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # the weight of the rarer bump
DEVIATION = 0.05  # of each bump; they lie at -1 and 1


def answering(share: Tensor, middle: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Denoiser:
    """What a perfect network answers for x_t `(W, n)`, of which row k has the rarer bump, at 1, with the weight share[k]: a middle of x_0.

    `middle` takes weights, means and variances of the components of p(x_0 | x_t), `(W, n, 2)`.
    """
    at = torch.tensor([-1.0, 1.0], dtype=DOUBLE)
    odds = torch.stack([1 - share, share], -1).log()[:, None]  # (W, 1, 2)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        a, b = SCHEDULE.signal(t), SCHEDULE.noise(t)
        off, width = x[..., None] - a * at, a**2 * DEVIATION**2 + b**2
        means = at + a * DEVIATION**2 / width * off
        return middle((odds - off**2 / (2 * width)).softmax(-1), means, (DEVIATION**2 * b**2 / width).expand_as(means))

    return denoise


def mean(weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """The means `(...)` of mixtures on the line; the components lie along the last axis `(..., K)`."""
    return (weights * means).sum(-1)


def shares(make: Callable[[Denoiser], Step], middle: Callable[..., Tensor], n: int = 1500, steps: int = 50) -> Tensor:
    """The share of the rarer bump among n draws, for each weight of RARE, `(W,)`, from evenly spread noise at first."""
    share = torch.tensor(RARE, dtype=DOUBLE)
    start = torch.special.ndtri((torch.arange(n, dtype=DOUBLE) + 0.5) / n).expand(len(share), n)
    x = last(sample(make(answering(share, middle)), start, SCHEDULE.grid(steps)))
    return (x > 0).double().mean(1)


def both_middles() -> dict[str, Tensor]:
    """The shares that are drawn with the mean and with the median, by DDIM and by DDPM, `(W,)`."""
    ways: dict[str, Callable[[Denoiser], Step]] = {
        "DDIM": lambda denoise: ddim(denoise, PROCESS),
        "DDPM": lambda denoise: ancestral(denoise, PROCESS, noise=standard_normal(torch.Generator().manual_seed(0))),
    }
    return {f"{m.__name__}, {name}": shares(way, m) for m in (mean, median) for name, way in ways.items()}


def derived_share(share: Tensor) -> Tensor:
    """What is left of the share of the rarer of two possibilities, where DDIM follows medians."""
    return torch.special.ndtr(-(2 * ((1 - share) / share).log()).sqrt())


def rarer(found: Mapping[str, Tensor]) -> Figure:
    """The share that is drawn of the rarer of two bumps against its weight."""
    figure, (axis,) = curves("weight of the rarer bump", "share that is drawn", height=3.2)
    line = torch.linspace(0.001, 0.5, 200, dtype=DOUBLE)
    axis.plot(line, line, color="0.5", linewidth=1, label="as it should be")
    axis.plot(line, derived_share(line), color="C1", linewidth=1, label="median, derived")
    for (name, drawn), marker in zip(found.items(), "os^D", strict=True):
        axis.plot(RARE, drawn, marker, color="C0" if name.startswith("mean") else "C1", markersize=5, label=name)
    axis.legend(fontsize=8)
    return closed(figure)


def tasks(size: int = 32) -> Figure:
    """Two photographs, and what each of the four losses of information leaves of them."""
    whole = photographs(size)
    shown = {"as it is": whole} | {
        name: degrade(whole, torch.Generator().manual_seed(1)).shown for name, degrade in DEGRADATIONS.items()
    }
    return rows(shown, size=1.0)


def restored(model: Denoising, size: int = 32, steps: int = 25, draws: int = 3) -> Figure:
    """Two photographs under each of the four tasks, side by side: what is shown, draws by a model, and the photographs."""
    whole = photographs(size)
    left = [degrade(whole, torch.Generator().manual_seed(1)) for degrade in DEGRADATIONS.values()]
    shown, unknown = (torch.cat([getattr(one, part) for one in left]) for part in ("shown", "unknown"))
    many = Degraded(shown.repeat(draws, 1, 1, 1), unknown.repeat(draws, 1, 1, 1))
    found = mended(model, many, steps, generator=torch.Generator().manual_seed(0)).cpu().split(len(shown))
    named = {f"draw {number + 1}": x for number, x in enumerate(found)}
    return rows({"shown": shown, **named, "as it is": whole.repeat(len(left), 1, 1, 1)}, size=0.75)


def bars(values: Sequence[Mapping[str, float]]) -> tuple[list[float], list[list[float]]]:
    """Values, and how far their intervals reach below and above them."""
    middle = [one["value"] for one in values]
    reach = [
        [max(one["value"] - one["low"], 0) for one in values],
        [max(one["high"] - one["value"], 0) for one in values],
    ]
    return middle, reach


def near_and_real(found: Ledger) -> Figure:
    """For each task, the peak signal-to-noise ratio of each model against the kernel distance of what it makes."""
    figure, axes = plt.subplots(2, 2, figsize=(6.8, 5.2))
    for axis, task in zip(axes.flat, TASKS, strict=True):
        for name, marker, color in zip(MODELS, "so^v", ("C1", "C0", "C0", "C0"), strict=True):
            if (one := found.get(f"{task}, {name}")) is not None:
                (x,), across = bars([one["kernel distance"]])
                (y,), along = bars([one["psnr"]])
                axis.errorbar(
                    x,
                    y,
                    along,
                    across,
                    marker,
                    color=color,
                    markersize=7,
                    capsize=0,
                    elinewidth=1,
                    mfc="none",
                    label=name,
                )
        floor = found[f"{task}, {PALETTE}"]["kernel distance"]
        axis.axvspan(floor["floor_low"], floor["floor_high"], color="0.5", alpha=0.15, linewidth=0)
        axis.set_title(task)
    for axis in axes[1]:
        axis.set_xlabel("kernel distance (nearer to real: left)")
    for axis in axes[:, 0]:
        axis.set_ylabel("PSNR in decibels")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return closed(figure)


def cell(one: Mapping[str, float], decimals: int = 2, signed: bool = False) -> str:
    """A value with its interval, as a table shows it."""
    form = f"{'+' if signed else ''}z.{decimals}f"  # z: no minus before 0.0
    return f"{one['value']:{form}} [{one['low']:{form}}, {one['high']:{form}}]"


def winners(differences: Ledger, rival: str, metric: str) -> tuple[str, str, str]:
    """The tasks in which the rival is better by a metric, those in which cifar10-palette is, and those in which nobody can tell."""
    found: dict[str, list[str]] = {"rival": [], "palette": [], "open": []}
    for task in TASKS:
        change = differences.get(f"{task}, {rival} - {PALETTE}", {}).get(metric)
        if change is not None:
            sign = -1 if metric.endswith("distance") else 1
            low, high = sorted((sign * change["low"], sign * change["high"]))
            found["rival" if low > 0 else "palette" if high < 0 else "open"].append(task)
    rival_, palette, open_ = (", ".join(tasks) or "none" for tasks in found.values())
    return rival_, palette, open_
