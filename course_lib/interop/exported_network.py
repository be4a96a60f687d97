"""How a network of the course becomes a model of diffusers."""

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

Network = nn.Module  # in an exported file, the network's own class


class ExportedNetwork(ModelMixin, ConfigMixin):
    """The network of a diffusion model, with what one must know to draw from it.

    `architecture` holds the network's arguments; `prediction` says what it predicts (eps, x0, v, score or flow) of samples of a `shape`,
    and `schedule` which times it knows: "table" (the scheduler's, counted from 1), "straight" or "edm". `classes` or `leaps` is what it
    can be told: how many classes there are, or how many steps it has learned to take. `clip` bounds x_0, where it is bounded.
    """

    @register_to_config
    def __init__(
        self,
        architecture: dict[str, Any],
        prediction: str,
        shape: list[int],
        schedule: dict[str, Any],
        clip: float | None = None,
        classes: int | None = None,
        leaps: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.network = Network(**architecture)

    def forward(self, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
        """x `(B, *shape)` at times t `(B,)`, told cond `(B,)` or nothing, to the prediction, of the shape of x."""
        return self.network(x, t, cond)[:, : x.shape[1]]  # what follows, a learned variance, is not used here


class ExportedAutoencoder(ModelMixin, ConfigMixin):
    """The autoencoder whose latents the network denoises."""

    @register_to_config
    def __init__(self, architecture: dict[str, Any]) -> None:
        super().__init__()
        self.network = Network(**architecture)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents z `(B, C, H, W)` to images `(B, C', H', W')` in [-1, 1]."""
        return self.network.decode(z)  # type: ignore[operator]

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Images x `(B, C', H', W')` in [-1, 1] to their latents `(B, C, H, W)`."""
        return self.network.encode(x)  # type: ignore[operator]
