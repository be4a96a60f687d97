"""How autoencoders learn: squared error, the price of the latents, a classifier's features, and a discriminator of patches.

The autoencoders of latent diffusion (Rombach et al., 2022), after Esser et al. (2021).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.data import sets
from course_lib.data.images import to_unit
from course_lib.models import store
from course_lib.models.cards import IMAGE, load_card
from course_lib.nets.autoencoders import Autoencoder, Coded, PatchDiscriminator
from course_lib.nets.classifier import ConvClassifier
from course_lib.recipes.adversarial import lazily
from course_lib.recipes.classification import Augment
from course_lib.training.adversarial import fooling_loss, gradient_penalty, telling_loss
from course_lib.training.state import Batch, Loss, Opponent


def perceptual_distance(reader: ConvClassifier, x: Tensor, y: Tensor) -> Tensor:
    """How different a classifier finds two images of each pair, `(B,)`; x and y `(B, C, H, W)` in [-1, 1].

    At every pixel of every stage but the last the channels are a vector, which is divided by its length; the squared distances of these
    vectors are averaged over pixels and stages (Zhang et al., 2018, without their learned weights of the channels). It lies in [0, 4].
    The last stage is left out, since the metrics read it.
    """
    distances = [
        (F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)).square().sum(1).mean((1, 2))
        for a, b in zip(reader.pyramid(x), reader.pyramid(y), strict=True)
    ]
    return torch.stack(distances).mean(0)


def reconstruction_loss(
    coded: Coded, x: Tensor, penalty: float, perceptual: float = 0.0, reader: ConvClassifier | None = None
) -> Tensor:
    """The mean squared error of a pixel, plus `penalty` times the latents' price a pixel, plus `perceptual` times the distance, `()`.

    Images x `(B, C, H, W)` in [-1, 1]. Multiplied by the number of pixels it is the sum of squared errors plus `penalty` times the price.
    Raises ValueError where a perceptual distance is asked for and there is no reader.
    """
    loss = (coded.images.float() - x).square().mean() + penalty * coded.penalty.mean() / x[0].numel()
    if not perceptual:
        return loss
    if reader is None:
        raise ValueError("reader must be given where perceptual is not 0: its features are compared")
    return loss + perceptual * perceptual_distance(reader, coded.images, x).mean()


def held(name: str, device: torch.device) -> ConvClassifier:
    """A shipped classifier whose weights are held, for gradients that go through it; raises ValueError for one of another kind."""
    reader, card = store.load(name, device)
    if not isinstance(reader, ConvClassifier):
        raise ValueError(
            f"the reader must be a ConvClassifier, whose stages are compared; {name} is {card.architecture}"
        )
    return reader.requires_grad_(False)


@dataclass(frozen=True)
class Reconstruct:
    """To give back the image that was given: what an autoencoder's recipe trains for."""

    penalty: float  # of the latents: a weight of the divergence, or of what the choice of words loses
    perceptual: float  # the weight of the perceptual distance; 0 leaves it out
    reader: str  # the classifier whose features are compared
    augment: Augment | None = None

    def images(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The batch's images, augmented, in [-1, 1], `(B, C, H, W)`."""
        images = batch[0] if self.augment is None else self.augment(batch[0], generator)
        return to_unit(images).contiguous(memory_format=torch.channels_last)

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise, without a discriminator."""
        reader = held(self.reader, next(network.parameters()).device) if self.perceptual else None

        def loss(module: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            x = self.images(batch, generator)
            return reconstruction_loss(module(x, generator), x, self.penalty, self.perceptual, reader)

        return loss

    @torch.no_grad()
    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """Six pairs of rows `(36, *shape)`: test images, and below them what is left of them."""
        assert isinstance(network, Autoencoder)
        dataset = load_card(store.locate(self.reader).with_suffix(".json")).dataset
        images = to_unit(sets.load(dataset, "test")[0][:18]).to(network.mean_square.device)
        again = network.decode(network.encode(images))
        return torch.cat([torch.cat([a, b]) for a, b in zip(images.split(6), again.split(6), strict=True)])

    def card(self, network: nn.Module, dataset: str) -> dict[str, Any]:
        """What the card says of the trained network."""
        return {"prediction": IMAGE, "schedule": {}}


@dataclass(frozen=True)
class ReconstructAdversarially(Reconstruct):
    """The same so that no discriminator can tell a patch of the reconstruction from one of an image (Isola et al., 2017)."""

    adversarial: float = 0.01  # the weight of the discriminator's opinion
    discriminator: Mapping[str, Any] = field(default_factory=dict)  # the arguments of a `PatchDiscriminator`
    gamma: float = 0.1  # of the penalty R1
    learning_rate: float = 5e-4  # of the discriminator
    often: float = 1 / 16

    def duel(self, network: nn.Module) -> tuple[Loss, Opponent]:
        """The autoencoder's loss of a batch of uint8 images, and the discriminator with its own."""
        device = next(network.parameters()).device
        reader = held(self.reader, device) if self.perceptual else None
        discriminator = PatchDiscriminator(**self.discriminator).to(device)

        def fool(module: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            x = self.images(batch, generator)
            coded = module(x, generator)
            loss = reconstruction_loss(coded, x, self.penalty, self.perceptual, reader)
            return loss + self.adversarial * fooling_loss(discriminator(coded.images).float())

        def tell(module: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            x = self.images(batch, generator)
            with torch.no_grad():
                fake = network(x, generator).images
            loss = telling_loss(module(x).float(), module(fake).float())
            penalty = lambda: self.gamma / 2 * gradient_penalty(lambda x: module(x).mean(1), x)  # noqa: E731
            return loss + lazily(self.often, generator, penalty)

        return fool, Opponent(discriminator, tell, self.learning_rate)
