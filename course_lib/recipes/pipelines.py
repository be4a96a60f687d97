"""How a whole pipeline of Stable Diffusion's parts is learned: an autoencoder of scenes first, then U-Net and text encoder together."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.data import captions
from course_lib.data.images import to_unit
from course_lib.data.tokens import BEGIN, EMPTY, vocabulary
from course_lib.nets.autoencoders import Autoencoder
from course_lib.recipes.autoencoding import Reconstruct
from course_lib.recipes.diffusion import DenoiseLatents
from course_lib.recipes.texts import SHOWN, captioned_scenes
from course_lib.sampling.generate import draw

# What the text encoder reads: room for a scene of two things of which one has to be spelled.
READS: dict[str, Any] = {"tokens": len(vocabulary()), "begin": BEGIN, "empty": EMPTY, "length": 20}


@dataclass(frozen=True)
class ReconstructScenes(Reconstruct):
    """To give back scenes: their edges are sharp and their colours few, so that the squared error does without a judge beside it."""

    perceptual: float = 0.0
    reader: str = ""  # nobody's features are compared

    @torch.no_grad()
    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """Six pairs of rows `(36, *shape)`: scenes that are not in the training set, and below them what is left of them."""
        assert isinstance(network, Autoencoder)
        images = to_unit(captioned_scenes(18, seed=1)[0]).to(network.mean_square.device)
        again = network.decode(network.encode(images))
        return torch.cat([torch.cat([a, b]) for a, b in zip(images.split(6), again.split(6), strict=True)])


@dataclass(frozen=True)
class DenoiseCaptioned(DenoiseLatents):
    """To undo noise in the latents of captioned pictures; a batch brings the captions' rows, which the network reads by itself."""

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """Six pictures `(N, C, H, W)` of each caption in SHOWN, at the scale 3."""
        texts = [text for text in SHOWN for _ in range(6)]
        generator = torch.Generator().manual_seed(seed)
        model = self.drawing(network, shape)
        return draw(model, len(texts), 25, generator=generator, cond=captions.encode(texts), scale=3.0)
