"""How the models of 2015 learn: bits that were drawn afresh, and points of the plane (Sohl-Dickstein et al., 2015)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.data.bits import heartbeats
from course_lib.data.images import to_bytes
from course_lib.data.leaves import dead_leaves
from course_lib.data.toys import swiss_roll
from course_lib.diffusion.binomial import BinomialDiffusion, bit_denoiser
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import Prediction, denoiser
from course_lib.diffusion.schedules import TableSchedule
from course_lib.draws import normal_like
from course_lib.models.cards import BITS, build_schedule
from course_lib.sampling.steps import ancestral, last, reverse, sample
from course_lib.training.loop import Batch, Loss


@dataclass(frozen=True)
class Restore:
    """To tell which bits are the data's: the bound itself, one of its T terms for each sequence of bits."""

    schedule: Mapping[str, Any]  # as a card has it
    rate: float  # of the bits that are drawn afresh

    @property
    def process(self) -> BinomialDiffusion:
        """What happens to the bits."""
        schedule = build_schedule(self.schedule)
        assert isinstance(schedule, TableSchedule)  # the only kind that has whole steps
        return BinomialDiffusion(schedule, self.rate)

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise, an estimate of the bound on -log p(x_0) in nats."""
        process = self.process

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            (x0,) = batch
            t = process.schedule.times(len(x0), generator, x0.device)
            x_t = process.forward(x0, t, generator)
            x0_hat = network(x_t, t).float().sigmoid()
            return process.schedule.T * process.divergence(x0, x0_hat, x_t, t, t - 1).mean()

        return loss

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """36 sequences, the rows of a picture `(1, 1, 36, length)`."""
        generator = torch.Generator().manual_seed(seed)
        device = next(network.parameters()).device
        x = self.process.prior((36, *shape), generator, device=device)
        step = reverse(bit_denoiser(network), self.process, generator)
        return last(sample(step, x, self.process.schedule.grid()))[None, None] * 2 - 1

    def card(self, network: nn.Module, dataset: str) -> dict[str, Any]:
        """What the card says of the trained network."""
        return {"prediction": BITS, "schedule": dict(self.schedule)}


@dataclass(frozen=True)
class DenoisePoints:
    """To undo the noise of points, each level of which comes equally often."""

    prediction: Prediction
    schedule: Mapping[str, Any]  # as a card has it

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise."""
        process = GaussianDiffusion(build_schedule(self.schedule))

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            (x0,) = batch
            t, noise = process.schedule.times(len(x0), generator, x0.device), normal_like(x0, generator)
            return denoising_loss(network, x0, t, noise, process, self.prediction).mean()

        return loss

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """How many of 2,000 points lie in each square of a board over [-2.5, 2.5]^2, as a picture `(1, 1, 50, 50)`."""
        schedule, generator = build_schedule(self.schedule), torch.Generator().manual_seed(seed)
        process = GaussianDiffusion(schedule)
        x = process.prior((2000, *shape), generator, device=next(network.parameters()).device)
        step = ancestral(denoiser(network, self.prediction, schedule), process, generator=generator)
        points = last(sample(step, x, schedule.grid(100))).cpu()
        counts = torch.histogramdd(points.flip(1), [50, 50], range=[-2.5, 2.5] * 2).hist.flip(0)
        return (1 - counts / 4).clamp(min=-1)[None, None]

    def card(self, network: nn.Module, dataset: str) -> dict[str, Any]:
        """What the card says of the trained network."""
        return {"prediction": self.prediction.name, "schedule": dict(self.schedule)}


def all_heartbeats() -> Batch:
    """The five heartbeats, each 400 times: `(2000, 20)`."""
    return (heartbeats().repeat(400, 1),)


def points_of_the_roll() -> Batch:
    """20,000 points of the Swiss roll, `(20000, 2)`."""
    return (swiss_roll(20_000, torch.Generator().manual_seed(0)),)


def heap_of_leaves() -> Batch:
    """2,048 pictures of dead leaves, uint8 `(2048, 1, 32, 32)`."""
    return (to_bytes(dead_leaves(2048, generator=torch.Generator().manual_seed(0))),)
