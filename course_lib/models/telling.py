"""How a text is told to a network that draws: its words, or their vectors, as the towers say them that the network has learned with."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_lib import hardware
from course_lib.data import captions
from course_lib.models import store
from course_lib.models.cards import ModelCard
from course_lib.nets.standard import StandardUNet

# B texts -> their words (B, LENGTH), or the vectors of these (B, LENGTH, width), on the CPU
Teller = Callable[[Sequence[str]], Tensor]


def teller(card: ModelCard) -> Teller:
    """What tells texts to the model of a card: `captions.encode` where it reads words by itself, else see `told`.

    Raises ValueError where the model was not trained with captions, and where its towers are missing, or are others.
    """
    if card.architecture == StandardUNet.__name__:
        return captions.encode
    if not card.towers:
        raise ValueError(f"{card.name} was not trained with captions: choose scenes-text, or a run of its recipe")
    towers = store.load_towers(**card.towers, device=hardware.device())
    return lambda texts: told(towers.text, captions.encode(texts))


@torch.no_grad()
def told(tower: torch.nn.Module, words: Tensor) -> Tensor:
    """The vectors `(N, length, width)` that a tower for texts gives captions `(N, length)`, in float32, on the CPU."""
    device = next(tower.parameters()).device
    return torch.cat([tower(part.to(device)).float().cpu() for part in words.split(1000)])
