"""How a network is told the time and the class."""

import math

import torch
from torch import Tensor, nn

from course_lib.types import Cond


def sinusoidal_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Cosines and sines of t `(B,)` at dim/2 frequencies from 1 down to 1/max_period, `(B, dim)`.

    The position encoding of Vaswani et al. (2017) with time in the place of position; dim must be even.
    """
    if dim % 2:
        raise ValueError(f"dim must be even, half cosines and half sines; got {dim}")
    half = dim // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies  # (B, dim/2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class ConditionEmbedding(nn.Module):
    """One vector `(B, width)` for time and class together: an MLP on the sinusoids plus a learned row for each class.

    The class `classes` is the null token, which stands for "no class given"; cond = None asks for it everywhere.
    `time_scale` stretches t so that it covers about [0, 1000] (use 1000 for a schedule with t in [0, 1]).
    """

    def __init__(self, width: int, classes: int | None = None, time_scale: float = 1.0, sinusoids: int = 64) -> None:
        super().__init__()
        self.classes, self.time_scale, self.sinusoids = classes, time_scale, sinusoids
        self.time = nn.Sequential(nn.Linear(sinusoids, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width) if classes is not None else None

    def forward(self, t: Tensor, cond: Cond = None) -> Tensor:
        """Embed times t `(B,)` and classes cond `(B,)` or None."""
        embedding = self.time(sinusoidal_embedding(t * self.time_scale, self.sinusoids))
        if self.label is None:
            if cond is not None:
                raise ValueError("cond must be None: this network was built without classes")
            return embedding
        if cond is None:
            cond = torch.full_like(t, self.label.num_embeddings - 1, dtype=torch.long)
        return embedding + self.label(cond)
