"""How networks learn to leap: progressive distillation, consistency models and mean flows, each a loss of a network that is told s."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from course_lib.data.images import to_unit
from course_lib.diffusion.continuous import Interpolated
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import Prediction, denoiser, to_eps
from course_lib.diffusion.schedules import TableSchedule
from course_lib.draws import normal_like, uniform
from course_lib.models import store
from course_lib.models.cards import build_schedule
from course_lib.nets.conditions import Until
from course_lib.nets.unet import UNet
from course_lib.recipes.diffusion import Denoise
from course_lib.sampling.generate import Denoising, draw
from course_lib.sampling.leaps import leap, needed_x0, subdivided
from course_lib.sampling.steps import ddim
from course_lib.training.loop import Batch, Loss
from course_lib.types import Denoiser, Network, Schedule, Step, per_sample

LEAPS = (1, 2, 4, 8)
OfLeaps = Callable[[Network, Tensor, torch.Generator], Tensor]  # (network, x_0, generator) -> scalar


def halves(schedule: Schedule, counts: Sequence[int]) -> Tensor:
    """Start, middle and end of each of N steps, for each of C numbers N of at most M, `(C, M, 3)`; what is beyond N steps is 0.

    Starts and ends are the grid of N, and with the middles that of 2N.
    """
    table = torch.zeros(len(counts), max(counts), 3, dtype=schedule.grid(1).dtype)
    for row, count in zip(table, counts, strict=True):
        grid = schedule.grid(2 * count)
        row[:count] = torch.stack([grid[:-1:2], grid[1::2], grid[2::2]], dim=1)
    return table


def squared(
    network: Network, prediction: Prediction, x_t: Tensor, t: Tensor, s: Tensor, x0: Tensor, schedule: Schedule
) -> Tensor:
    """The squared error `(B,)` of the network's answer at x_t `(B, ...)`, t `(B,)`, told s `(B,)`, from the one that stands for x_0."""
    signal, noise = (per_sample(level(t), x_t) for level in (schedule.signal, schedule.noise))
    target = prediction.target(x0, to_eps(x0, x_t, t, schedule), signal, noise)
    return (network(x_t, t, s.to(x_t.dtype)) - target).square().flatten(1).mean(1)


def distillation_loss(
    teacher: Step, process: GaussianDiffusion, prediction: Prediction, counts: Sequence[int]
) -> OfLeaps:
    """Progressive distillation (Salimans and Ho, 2022): one leap is to end where two leaps of half the length end; x_0 `(B, ...)` to `()`.

    A batch holds every number of steps in `counts`, which double, equally often. Two steps of the teacher are the target of the
    shortest leaps, two of the network's own the target of those that are twice as long, and so on (Frans et al., 2025), so that all
    rounds of the paper are one training.
    """
    sizes = torch.tensor(sorted(counts, reverse=True))
    table = halves(process.schedule, sizes.tolist())

    def loss(network: Network, x0: Tensor, generator: torch.Generator) -> Tensor:
        rounds = torch.arange(len(x0)) * len(sizes) // len(x0)  # (B,): which number of steps, the largest first
        place = (uniform((len(x0),), generator, device=x0.device) * sizes[rounds].to(x0.device)).long()
        t, m, s = table.to(x0.device)[rounds.to(x0.device), place].T
        x_t = process.diffuse(x0, t, normal_like(x0, generator))
        first = int((rounds == 0).sum())
        with torch.no_grad():
            ends = []
            for step, part in ((teacher, slice(first)), (leap(network, prediction, process), slice(first, None))):
                if len(x_t[part]):
                    middle = step(x_t[part], t[part], m[part])
                    ends.append(step(middle, m[part], s[part]))
            wanted = needed_x0(torch.cat(ends), x_t, t, s, process)
        return squared(network, prediction, x_t, t, s, wanted, process.schedule).mean()

    return loss


def consistency_loss(
    teacher: Denoiser | None, process: GaussianDiffusion, prediction: Prediction, steps: int
) -> OfLeaps:
    """Consistency distillation (Song et al., 2023): the leaps to the data from neighbouring times of one path end alike.

    The neighbour on a grid of so many steps is reached by a step of the teacher's DDIM or, without a teacher, with the data and noise
    that made x_t: consistency training. The network's own answer there is the target; no gradient goes through it.
    """
    grid = process.schedule.grid(steps)

    def loss(network: Network, x0: Tensor, generator: torch.Generator) -> Tensor:
        place = (uniform((len(x0),), generator, device=x0.device) * steps).long()
        t, s = (grid.to(x0.device)[place + k] for k in (0, 1))
        x_t, zero = process.diffuse(x0, t, normal_like(x0, generator)), torch.zeros_like(t)
        with torch.no_grad():
            known = x0 if teacher is None else teacher(x_t, t)
            x_s = process.bridge(known, x_t, t, s, eta=0.0)[0]
            start = grid[-2].to(s)  # there is no leap from 0 to 0
            there = leap(network, prediction, process)(x_s, torch.where(s == 0, start, s), zero)
            wanted = torch.where(per_sample(s, x_s) == 0, x_s, there)
        return squared(network, prediction, x_t, t, zero, wanted, process.schedule).mean()

    return loss


def mean_flow_loss(
    process: GaussianDiffusion, prediction: Prediction, teacher: Denoiser | None = None, equal: float = 0.75
) -> OfLeaps:
    """Mean flows (Geng et al., 2025): where a leap from x_t ends must not change as x_t moves along the flow.

    The change is a Jacobian-vector product; the target is the answer plus the change, held fixed. On the straight line it is the paper's
    v - (t - s) du/dt. In a share `equal` of the samples s = t, where the loss is that of flow matching. The flow's direction is the
    data's and noise's, or the teacher's. The schedule must have derivatives.
    """
    schedule = process.schedule

    def loss(network: Network, x0: Tensor, generator: torch.Generator) -> Tensor:
        t = schedule.times(len(x0), generator, x0.device)
        same = uniform((len(x0),), generator, device=x0.device) < equal
        s = torch.where(same, t, t * uniform((len(x0),), generator, device=x0.device))
        noise = normal_like(x0, generator)
        x_t = process.diffuse(x0, t, noise)
        with torch.no_grad():
            if teacher is not None:
                x0 = teacher(x_t, t)
                noise = to_eps(x0, x_t, t, schedule)
            a, b, rates = schedule.signal(t), schedule.noise(t), schedule.rates(t)
            flow = per_sample(rates[0], x0) * x0 + per_sample(rates[1], x0) * noise
            # how far the end of the leap lies from that of DDIM's step, in units of the answer
            pace = prediction.to_x0(torch.ones_like(a), torch.zeros_like(a), a, b) * (rates[0] - rates[1] * a / b)

            def landing(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
                answer = network(x, t, s.to(x.dtype))
                a, b = (per_sample(level(t), x) for level in (schedule.signal, schedule.noise))
                known = prediction.to_x0(answer, x, a, b)
                a_s, b_s = (per_sample(level(s), x) for level in (schedule.signal, schedule.noise))
                return a_s * known + b_s * (x - a * known) / b, answer

            moving = torch.func.jvp(landing, (x_t, t), (flow.to(x_t), torch.ones_like(t)))
            answer, change = moving[0][1], moving[1][0]
            wanted = answer + change / per_sample(pace, x_t)
        return (network(x_t, t, s.to(x_t.dtype)) - wanted).square().flatten(1).mean(1).mean()

    return loss


@dataclass(frozen=True)
class Leap(Denoise):
    """To leap from one time to another; what the ways to learn it share. The teacher is a shipped model, or None."""

    teacher: str | None = None

    def guided(self) -> Denoiser | None:
        """What the teacher says of x_0, within [-1, 1] as its samplers have it."""
        if self.teacher is None:
            return None
        model, _ = store.load_denoising(self.teacher)
        return denoiser(model.network, model.prediction, model.schedule, clip=1.0)

    def of_leaps(self, network: nn.Module) -> OfLeaps:
        """The loss of pictures in [-1, 1]."""
        raise NotImplementedError

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise."""
        of_leaps = self.of_leaps(network)

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            return of_leaps(network, to_unit(batch[0]).contiguous(memory_format=torch.channels_last), generator)

        return loss

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """36 samples in the fewest steps that the network learns to take, and the same noise in the most: `(72, *shape)`."""
        model, takes = Denoising(network, self.prediction, build_schedule(self.schedule), shape), network.takes
        counts, way = (takes.steps, "ddim") if isinstance(takes, Until) and takes.steps else ((1, 2), "consistency")
        ends = (min(counts), max(counts))
        return torch.cat([draw(model, 36, steps, way, torch.Generator().manual_seed(seed)) for steps in ends])


@dataclass(frozen=True)
class Distil(Leap):
    """Progressive distillation, all rounds at once; half of the shortest leap is `parts` steps of the teacher's DDIM."""

    parts: int = 3

    def of_leaps(self, network: nn.Module) -> OfLeaps:
        """`distillation_loss`; raises ValueError without a teacher, or for a network that is not told where a leap ends."""
        process, teacher = GaussianDiffusion(build_schedule(self.schedule)), self.guided()
        if teacher is None:
            raise ValueError("a teacher must be named: without one there is nothing to distil")
        if not isinstance(network.takes, Until):
            raise ValueError("the network must be told where a leap ends: build it with `leaps`")
        return distillation_loss(
            subdivided(ddim(teacher, process), self.parts), process, self.prediction, network.takes.steps
        )


@dataclass(frozen=True)
class Agree(Leap):
    """Consistency distillation, or without a teacher consistency training."""

    steps: int = 40

    def of_leaps(self, network: nn.Module) -> OfLeaps:
        """`consistency_loss`."""
        process = GaussianDiffusion(build_schedule(self.schedule))
        return consistency_loss(self.guided(), process, self.prediction, self.steps)


@dataclass(frozen=True)
class MeanFlow(Leap):
    """Mean flows."""

    def of_leaps(self, network: nn.Module) -> OfLeaps:
        """`mean_flow_loss`."""
        schedule = build_schedule(self.schedule)
        smooth = Interpolated(schedule) if isinstance(schedule, TableSchedule) else schedule
        return mean_flow_loss(GaussianDiffusion(smooth), self.prediction, self.guided())


def with_leaps(start: str, leaps: tuple[int, ...] = LEAPS) -> UNet:
    """A shipped U-Net that is told where a leap ends; at first that makes no difference, so that it leaps as DDIM does."""
    network, card = store.load(start)
    assert isinstance(network, UNet)
    grown = UNet(**{**card.config, "leaps": leaps})
    missing, unexpected = grown.load_state_dict(network.state_dict(), strict=False)
    assert not unexpected and all(".until." in name for name in missing)
    return grown


leaping_mnist_ddpm = partial(with_leaps, "mnist-ddpm")
