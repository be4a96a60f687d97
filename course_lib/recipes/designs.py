"""How a network learns to draw clothes by kind and measures, each of which may be left open."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.data import clothes, sets
from course_lib.data.images import to_unit
from course_lib.draws import uniform
from course_lib.nets.designs import DesignUNet
from course_lib.recipes.diffusion import COLUMNS, Denoise
from course_lib.sampling.generate import draw
from course_lib.training.loop import Batch, Loss

OPEN = 0.4  # the share of wishes that are left open in training, each by itself


def ranked(split: str = "train") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fashion-MNIST's pictures `(N, 1, 28, 28)` uint8, their labels `(N,)`, ranks `(N, 4)` and the table of the training set.

    Raises ValueError as `sets.load` does.
    """
    images, labels = sets.load("fashion_mnist", split)
    values = clothes.measures(to_unit(images))
    if split == "train":
        table = clothes.distributions(values, labels)
    else:
        train, kinds = sets.load("fashion_mnist")
        table = clothes.distributions(clothes.measures(to_unit(train)), kinds)
    return images, labels, clothes.ranks(values, labels, table), table


def all_but_corners() -> Batch:
    """The training pictures without those that lie in the corner of their kind that is held out, their labels, and their ranks."""
    images, labels, ranks, _ = ranked()
    kept = ~clothes.held_out(ranks, labels)
    return images[kept], labels[kept], ranks[kept]


def designer(**config: Any) -> DesignUNet:
    """An untrained `DesignUNet` of Fashion-MNIST's classes and measures, with the table of the training set in it."""
    network = DesignUNet(classes=len(clothes.KINDS), wishes=clothes.MEASURES, knots=clothes.KNOTS, **config)
    network.table.copy_(ranked()[-1])
    return network


@dataclass(frozen=True)
class Design(Denoise):
    """To undo noise in pictures whose kind and measures are told: the wishes are left open one by one, or all with the class."""

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise; a batch brings pictures, labels and ranks."""
        denoising = super().loss(network)

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            images, labels, wishes = batch
            left_open = uniform(tuple(wishes.shape), generator, device=wishes.device) < OPEN
            return denoising(network, (images, labels, torch.where(left_open, clothes.NOT_ASKED, wishes)), generator)

        return loss

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """A row of designs for each measure that is asked of a dress, from little to much, `(N, *shape)`, from one noise each row."""
        model, drawn = self.drawing(network, shape), []
        for k in range(len(clothes.MEASURES)):
            wishes = torch.full((COLUMNS, len(clothes.MEASURES)), clothes.NOT_ASKED)
            wishes[:, k] = torch.linspace(0.05, 0.95, COLUMNS)
            label = torch.full((COLUMNS,), clothes.KINDS.index("dress"))
            generator = torch.Generator().manual_seed(seed + k)
            drawn.append(
                draw(model, COLUMNS, 20, generator=generator, cond={"class": label, "wishes": wishes}, scale=2.0)
            )
        return torch.cat(drawn)
