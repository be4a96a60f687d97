"""How pictures and captions of scenes are learned from: by two towers that match them, and by a U-Net that is told the captions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import hardware
from course_lib.data import captions, scenes
from course_lib.data.images import to_unit
from course_lib.models import store
from course_lib.models.cards import PAIR, load_card
from course_lib.models.telling import told
from course_lib.nets.clip import Clip, contrastive_loss
from course_lib.recipes.diffusion import Denoise
from course_lib.sampling.generate import draw
from course_lib.training.loop import Batch, Loss

SCENES = 20_000  # of the training set
SHOWN = (  # what the pictures of a training show, a row each: seen in training, and not
    "a large green circle",
    "a small red square above a large blue circle",
    "a small purple cross left of a small white triangle",
    "a large red triangle",
    "a small blue cross below a large green square",
)


def captioned_scenes(n: int = SCENES, seed: int = 0) -> Batch:
    """n training scenes: pictures `(n, 3, 32, 32)` uint8 and captions `(n, LENGTH)`, none with a held-out combination."""
    generator = torch.Generator().manual_seed(seed)
    found = scenes.random_scenes(n, generator)
    return scenes.pictures(found, generator), captions.encode([scenes.caption(scene) for scene in found])


@dataclass(frozen=True)
class Match:
    """To tell which caption belongs to which picture of a batch."""

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise; a batch brings pictures and captions."""

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            return contrastive_loss(network(to_unit(batch[0]), batch[1]))

        return loss

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> None:
        """Nothing: it draws no pictures."""

    def card(self, network: nn.Module, dataset: str) -> dict[str, Any]:
        """What the card says of the trained network: how often it finds the caption among 100, and the picture."""
        images, words = captioned_scenes(1000, seed=1)
        found = retrieval(network, images, words)
        return {"prediction": PAIR, "schedule": {}, "metrics": found}


@torch.no_grad()
def retrieval(network: nn.Module, images: Tensor, words: Tensor, among: int = 100) -> dict[str, float]:
    """How often the right caption of an image is found among so many, and the right image of a caption.

    Images `(N, 3, size, size)` uint8 and captions `(N, length)` in parts of `among`; a caption that is the same as the right one is right.
    """
    assert isinstance(network, Clip)
    device = next(network.parameters()).device
    right = torch.zeros(2)
    for picture, text in zip(images.split(among), words.split(among), strict=True):
        logits = network(to_unit(picture).to(device), text.to(device)).cpu()
        for k, found in enumerate((logits.argmax(1), logits.argmax(0))):
            right[k] += (text[found] == text).all(1).sum()
    return dict(zip(("captions found", "pictures found"), (right / len(images)).tolist(), strict=True))


@dataclass(frozen=True)
class DenoiseTold(Denoise):
    """To undo noise in pictures whose captions are told, as the text tower of a trained `Clip` says them: its weights are held."""

    clip: str = "scenes-clip"  # a path, or a shipped model's name

    def encoded(self, batch: Batch) -> Batch:
        """The images, and the vectors of their captions' words `(N, length, width)`, in half precision."""
        images, words = batch
        return images, self.tell(words).half()

    def tell(self, words: Tensor) -> Tensor:
        """The vectors `(N, length, width)` of captions `(N, length)`; raises ValueError as `store.load_towers` does."""
        return told(store.load_towers(self.clip, device=hardware.device()).text, words)

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise; a batch brings images and vectors of words."""
        denoising = super().loss(network)

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            return denoising(network, (batch[0], batch[1].float()), generator)

        return loss

    def card(self, network: nn.Module, dataset: str) -> dict[str, Any]:
        """What the card says of the trained network, with the towers that say captions to it."""
        found = load_card(store.locate(self.clip).with_suffix(".json"))
        return {**super().card(network, dataset), "towers": {"model": str(self.clip), "sha256": found.sha256}}

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """Six pictures of each caption in SHOWN, at the scale 3: `(N, *shape)`."""
        texts = [text for text in SHOWN for _ in range(6)]
        cond = self.tell(captions.encode(texts))
        generator = torch.Generator().manual_seed(seed)
        return draw(self.drawing(network, shape), len(texts), 25, generator=generator, cond=cond, scale=3.0)


def of_words(words: Tensor) -> Tensor:
    """One-hot vectors `(N, length, SYMBOLS)` of captions `(N, length)`: what a network is told that has to learn the words itself."""
    return nn.functional.one_hot(words, captions.SYMBOLS).float()


CLIP: Mapping[str, Any] = {"words": captions.SYMBOLS, "length": captions.LENGTH, "size": scenes.SIZE}
