"""How diffusion models learn: the loss of a batch of images, and the pictures that show how far training is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.data.images import to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import EPS, Prediction
from course_lib.diffusion.weights import Weight
from course_lib.draws import normal_like, uniform
from course_lib.models.cards import build_schedule
from course_lib.nets.conditions import Labels, Takes, dropped
from course_lib.recipes.classification import Augment
from course_lib.sampling.generate import Denoising, balanced_classes, draw
from course_lib.training.loop import Batch, Loss

UNCONDITIONAL = 0.1  # the share of labels that classifier-free guidance drops in training (Ho and Salimans, 2022)
COLUMNS = 6  # samples a class in a picture


def diffusion_loss(
    process: GaussianDiffusion,
    prediction: Prediction = EPS,
    takes: Takes = None,
    augment: Augment | None = None,
    weight: Weight | None = None,
) -> Loss:
    """The denoising loss `()` of a batch of uint8 images: the schedule's times, standard normal noise (Algorithm 1 of Ho et al., 2020).

    Where the network takes a condition, the batch brings it after the images, one tensor for each name; it becomes the null with
    probability UNCONDITIONAL, so that one network learns to answer with the condition and without it.
    """
    names = list(takes) if isinstance(takes, Mapping) else []

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        images = batch[0] if augment is None else augment(batch[0], generator)
        x0 = to_unit(images).contiguous(memory_format=torch.channels_last)
        t, noise = process.schedule.times(len(x0), generator, x0.device), normal_like(x0, generator)
        given = dict(zip(names, batch[1:], strict=True)) if names else batch[1] if takes is not None else None
        cond = None if given is None else dropped(takes, given, UNCONDITIONAL, generator)
        return denoising_loss(network, x0, t, noise, process, prediction, cond, weight).mean()

    return loss


def drop_labels(labels: Tensor, null: int, share: float, generator: torch.Generator) -> Tensor:
    """The labels `(B,)`, each replaced by the null token with probability `share`, independently: `conditions.dropped` for classes."""
    lost = uniform((len(labels),), generator, device=labels.device) < share
    return torch.where(lost, null, labels)


@dataclass(frozen=True)
class Denoise:
    """To undo noise, each level of which comes equally often: what a diffusion model's recipe trains for."""

    prediction: Prediction
    schedule: Mapping[str, Any]  # as a card has it
    augment: Augment | None = None
    loss_weight: Weight | None = None  # of each time's squared error; None weighs all alike

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise; where the network takes a condition, a batch brings it."""
        process, takes = GaussianDiffusion(build_schedule(self.schedule)), network.takes
        return diffusion_loss(process, self.prediction, takes, self.augment, self.loss_weight)  # type: ignore[arg-type]

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """What the network draws now, `(N, *shape)`: COLUMNS samples of each class at the scale 2, or 36 without classes."""
        model = Denoising(network, self.prediction, build_schedule(self.schedule), shape)
        n = COLUMNS * (model.takes.classes if isinstance(model.takes, Labels) else 6)
        generator, cond = torch.Generator().manual_seed(seed), balanced_classes(model.takes, n)
        return draw(model, n, 50, generator=generator, cond=cond, scale=2.0)

    def card(self, network: nn.Module, dataset: str) -> dict[str, Any]:
        """What the card says of the trained network."""
        return {"prediction": self.prediction.name, "schedule": dict(self.schedule)}
