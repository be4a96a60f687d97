"""Networks that map noise to samples: perceptrons, and denoisers whose answer depends on a latent vector, too."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import zero_initialised
from course_lib.nets.embeddings import TimeEmbedding, sinusoidal_embedding, with_octaves
from course_lib.nets.recorded import recorded
from course_lib.nets.unet import UNet
from course_lib.types import Cond


class Perceptron(nn.Module):
    """A residual multilayer perceptron from rows `(B, inputs)` to rows `(B, outputs)`, which is told no time.

    With `members` it is so many networks side by side, each with weights of its own: the rows are dealt to them in equal parts, the
    first part to the first. What is a mean over all rows trains each of them alone, at hardly more cost than one small network.
    With `octaves` it sees so many sines and cosines of each input beside it (`embeddings.with_octaves`).
    Raises ValueError where the rows cannot be dealt.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self, inputs: int, outputs: int, width: int = 128, depth: int = 2, members: int = 1, octaves: int = 0
    ) -> None:
        super().__init__()
        self.members, self.octaves = members, octaves
        self.first = Linears((1 + 2 * octaves) * inputs, width, members)
        self.layers = nn.ModuleList(
            nn.Sequential(Unit(), Linears(width, width, members), nn.SiLU(), Linears(width, width, members))
            for _ in range(depth)
        )
        self.last = Linears(width, outputs, members)

    def forward(self, x: Tensor) -> Tensor:
        """x `(B, inputs)` to `(B, outputs)`. Raises ValueError where B is no multiple of the number of members."""
        if len(x) % self.members:
            raise ValueError(f"the rows must be a multiple of {self.members}, the number of members; got {len(x)}")
        x = with_octaves(x, self.octaves)
        h = self.first(x.reshape(self.members, -1, x.shape[1]))
        for layer in self.layers:
            h = h + layer(h)
        return self.last(h).flatten(0, 1)


class Linears(nn.Module):
    """`members` linear layers side by side, from `(members, B, inputs)` to `(members, B, outputs)`, with the weights of `nn.Linear`."""

    def __init__(self, inputs: int, outputs: int, members: int) -> None:
        super().__init__()
        limit = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-limit, limit))

    def forward(self, x: Tensor) -> Tensor:
        """x `(members, B, inputs)` to `(members, B, outputs)`."""
        return torch.baddbmm(self.bias, x, self.weight)


class Unit(nn.Module):
    """Each row with mean 0 and variance 1 (a layer norm without weights)."""

    def forward(self, x: Tensor) -> Tensor:
        """x `(..., C)` to the same shape."""
        return F.layer_norm(x, x.shape[-1:])


class TimedPerceptron(nn.Module):
    """A perceptron of points `(B, inputs)` that is told the time, as sinusoids beside the point, and perhaps a latent vector.

    The latent vector is no condition that a sampler could be asked for. `members` and `octaves` are those of `Perceptron`, the octaves
    of points and latent vectors, and not of the time.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        inputs: int = 2,
        outputs: int = 2,
        latent: int = 0,
        width: int = 128,
        depth: int = 2,
        time_scale: float = 1.0,
        members: int = 1,
        sinusoids: int = 16,
        octaves: int = 0,
    ) -> None:
        super().__init__()
        self.takes = None
        self.latent, self.time_scale, self.sinusoids, self.octaves = latent, time_scale, sinusoids, octaves
        self.body = Perceptron((1 + 2 * octaves) * (inputs + latent) + sinusoids, outputs, width, depth, members)

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, inputs)`, t `(B,)` and latent vectors cond `(B, latent)` to `(B, outputs)`; None stands for the latent vector 0."""
        waves = sinusoidal_embedding(t * self.time_scale, self.sinusoids).to(x)
        rows = torch.cat([x, latent_rows(cond, x, self.latent)], 1)
        return self.body(torch.cat([with_octaves(rows, self.octaves), waves], 1))


class LatentUNet(UNet):
    """A `UNet` that is told a latent vector of length `latent` beside the time: both make one vector, which modulates every block.

    The last layer on the latent vector starts at 0, so an untrained network does not listen to it. The other arguments are the U-Net's.
    """

    def __init__(self, latent: int = 32, **config: Any) -> None:
        super().__init__(**config)
        width = next(self.condition.parameters()).shape[0]
        self.condition = LatentEmbedding(width, latent, config.get("time_scale", 1.0))
        self.latent = latent
        self.config = {"latent": latent, **self.config}


class LatentEmbedding(nn.Module):
    """One vector `(B, width)` for time and latent vector together: the sum of a `TimeEmbedding` and of a small MLP."""

    def __init__(self, width: int, latent: int, time_scale: float = 1.0) -> None:
        super().__init__()
        self.latent = latent
        self.time = TimeEmbedding(width, time_scale)
        self.mapping = nn.Sequential(
            nn.Linear(latent, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            zero_initialised(nn.Linear(width, width)),
        )

    def forward(self, t: Tensor, cond: Cond = None) -> Tensor:
        """Embed times t `(B,)` and latent vectors cond `(B, latent)`; None stands for the latent vector 0."""
        embedding = self.time(t)
        return embedding + self.mapping(latent_rows(cond, embedding, self.latent))


def latent_rows(cond: Cond, x: Tensor, latent: int) -> Tensor:
    """The latent vectors `(B, latent)` beside x `(B, ...)`, 0 where cond is None; raises ValueError where they are of another shape."""
    if cond is None:
        return x.new_zeros(len(x), latent)
    if not isinstance(cond, Tensor) or cond.shape != (len(x), latent):
        found = tuple(cond.shape) if isinstance(cond, Tensor) else type(cond).__name__
        raise ValueError(f"the latent vectors must have shape ({len(x)}, {latent}); got {found}")
    return cond.to(x)
