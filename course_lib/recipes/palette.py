"""How one network learns to restore pictures: by diffusion (Palette; Saharia et al., 2022), or as a regression on the picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.data import sets
from course_lib.data.degradations import DEGRADATIONS, Degraded, degraded
from course_lib.data.images import flipped, to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import Prediction
from course_lib.draws import normal_like
from course_lib.hardware import bf16_is_fast
from course_lib.models.cards import build_schedule
from course_lib.recipes.diffusion import COLUMNS
from course_lib.sampling.generate import Denoising
from course_lib.sampling.restoring import mended
from course_lib.training.loop import Batch, Loss
from course_lib.types import per_sample


def on_the_unknown(error: Tensor, unknown: Tensor, power: int) -> Tensor:
    """The mean of |error|^power `()` of pictures `(B, C, H, W)` over what is unknown, `(B, 1, H, W)`: each picture counts alike."""
    each = (error.abs() ** power * unknown).flatten(1).sum(1)
    return (each / (error.shape[1] * unknown.flatten(1).sum(1))).mean()


def read(batch: Batch, generator: torch.Generator) -> tuple[Tensor, Degraded]:
    """The pictures of a batch, mirrored half of the time, and what is left of them, both `(B, C, H, W)`."""
    x0 = to_unit(flipped(batch[0], generator))
    return x0, degraded(x0, generator)


def exercise(dataset: str, seed: int) -> tuple[Tensor, Degraded]:
    """COLUMNS test pictures for each of the DEGRADATIONS, in [-1, 1], and what is left of them, `(N, C, H, W)`."""
    images, _ = sets.load(dataset, "test")
    x0 = to_unit(images[: COLUMNS * len(DEGRADATIONS)])
    return x0, degraded(x0, torch.Generator().manual_seed(seed))


def in_rows(x0: Tensor, left: Degraded, found: Tensor) -> Tensor:
    """For each task a row of what is shown, one of what was found, and one of the pictures themselves, `(N, C, H, W)`."""
    rows = [each.cpu().split(COLUMNS) for each in (left.shown, found, x0)]
    return torch.cat([row for task in zip(*rows, strict=True) for row in task])


@dataclass(frozen=True)
class Palette:
    """To undo noise in pictures of which a part is shown, by any of the DEGRADATIONS; `power` 2 or 1 is that of the loss."""

    prediction: Prediction
    schedule: Mapping[str, Any]  # as a card has it
    power: int = 2
    dataset: str = "cifar10"  # whose test pictures show how far training is

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise."""
        process = GaussianDiffusion(build_schedule(self.schedule))

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            x0, left = read(batch, generator)
            t, noise = process.schedule.times(len(x0), generator, x0.device), normal_like(x0, generator)
            a, b = (per_sample(level(t), x0) for level in (process.schedule.signal, process.schedule.noise))
            output = network(process.diffuse(x0, t, noise), t, left.condition)
            return on_the_unknown(output - self.prediction.target(x0, noise, a, b), left.unknown, self.power)

        return loss

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """Rows of what is left of test pictures, of what the network makes of it, and of the pictures: `(N, *shape)`."""
        x0, left = exercise(self.dataset, seed)
        model = Denoising(network, self.prediction, build_schedule(self.schedule), shape)
        return in_rows(x0, left, mended(model, left, steps=20, generator=torch.Generator().manual_seed(seed)))

    def card(self, network: nn.Module, dataset: str) -> dict[str, Any]:
        """What the card says of the trained network."""
        return {"prediction": self.prediction.name, "schedule": dict(self.schedule)}


@dataclass(frozen=True)
class Regress(Palette):
    """To say the picture at once, from what is left of it: the same network, which sees zeros in the place of x_t, at t = T."""

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise."""
        last = build_schedule(self.schedule).T

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            x0, left = read(batch, generator)
            return on_the_unknown(answered(network, left, last) - x0, left.unknown, self.power)

        return loss

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """Rows of what is left of test pictures, of what the network makes of it, and of the pictures: `(N, *shape)`."""
        x0, left = exercise(self.dataset, seed)
        return in_rows(x0, left, guessed(network, left, build_schedule(self.schedule).T))


def answered(network: nn.Module, left: Degraded, last: float) -> Tensor:
    """What a regression says of the whole picture, of the shape of what is shown `(B, C, H, W)`; `last` is its schedule's T."""
    t = torch.full((len(left.shown),), last, device=left.shown.device)
    return network(torch.zeros_like(left.shown), t, left.condition)


@torch.no_grad()
def guessed(network: nn.Module, left: Degraded, last: float) -> Tensor:
    """Pictures `(B, C, H, W)` as a regression completes them, in [-1, 1], on the network's device."""
    device = next(network.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
        left = Degraded(left.shown.to(device), left.unknown.to(device))
        return left.completed(answered(network, left, last).float().clamp(-1, 1))
