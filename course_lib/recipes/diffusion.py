"""How diffusion models learn: the loss of a batch of images, and the pictures that show how far training is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import hardware
from course_lib.data.images import to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import EPS, Prediction
from course_lib.diffusion.weights import Weight
from course_lib.draws import normal_like, uniform
from course_lib.evaluation.reconstruction import encoded
from course_lib.models import store
from course_lib.models.cards import build_schedule, load_card
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
    read: Callable[[Tensor], Tensor] = to_unit,
) -> Loss:
    """The denoising loss `()` of a batch of uint8 images: the schedule's times, standard normal noise (Algorithm 1 of Ho et al., 2020).

    Where the network takes a condition, the batch brings it after the images, one tensor for each name; it becomes the null with
    probability UNCONDITIONAL, so that one network learns to answer with the condition and without it. `read` makes x_0 of what the batch
    has in the place of images.
    """
    names = list(takes) if isinstance(takes, Mapping) else []

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        images = batch[0] if augment is None else augment(batch[0], generator)
        x0 = read(images)
        x0 = x0.contiguous(memory_format=torch.channels_last) if x0.ndim == 4 else x0
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

    def drawing(self, network: nn.Module, shape: tuple[int, ...]) -> Denoising:
        """The network ready to draw; `shape` is that of what it denoises."""
        return Denoising(network, self.prediction, build_schedule(self.schedule), shape)

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """What the network draws now, `(N, C, H, W)`: COLUMNS samples of each class at the scale 2, or 36 without classes."""
        model = self.drawing(network, shape)
        n = COLUMNS * (model.takes.classes if isinstance(model.takes, Labels) else 6)
        generator, cond = torch.Generator().manual_seed(seed), balanced_classes(model.takes, n)
        return draw(model, n, 50, generator=generator, cond=cond, scale=2.0)

    def card(self, network: nn.Module, dataset: str) -> dict[str, Any]:
        """What the card says of the trained network."""
        return {"prediction": self.prediction.name, "schedule": dict(self.schedule)}


@dataclass(frozen=True)
class DenoiseLatents(Denoise):
    """To undo noise in an autoencoder's latents, whose weights are held: what a latent diffusion model's recipe trains for.

    Every image is encoded once, before the training. Latents are not augmented; with `mirrored` those of the mirror images are there, too.
    """

    autoencoder: str = field(kw_only=True)  # a path, or a shipped model's name
    mirrored: bool = field(default=False, kw_only=True)

    def encoded(self, batch: Batch) -> Batch:
        """The latents `(N, C, h, w)` of uint8 images, in half precision, and what came with the images."""
        images, *others = batch
        network = store.load_autoencoder(self.autoencoder, device=hardware.device())
        seen = [images, images.flip(-1)] if self.mirrored else [images]
        latents = torch.cat([encoded(network, each) for each in seen])
        return (latents, *(torch.cat([other] * len(seen)) for other in others))

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise; a batch brings latents."""
        process, takes = GaussianDiffusion(build_schedule(self.schedule)), network.takes
        return diffusion_loss(process, self.prediction, takes, None, self.loss_weight, Tensor.float)  # type: ignore[arg-type]

    def drawing(self, network: nn.Module, shape: tuple[int, ...]) -> Denoising:
        """The network ready to draw, with the autoencoder that decodes."""
        autoencoder = store.load_autoencoder(self.autoencoder, device=next(network.parameters()).device)
        return super().drawing(network, shape)._replace(autoencoder=autoencoder)

    def card(self, network: nn.Module, dataset: str) -> dict[str, Any]:
        """What the card says of the trained network, with the autoencoder that it belongs to."""
        found = load_card(store.locate(self.autoencoder).with_suffix(".json"))
        return {
            **super().card(network, dataset),
            "autoencoder": {"model": str(self.autoencoder), "sha256": found.sha256},
        }
