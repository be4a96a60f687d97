"""A normalising flow of affine coupling layers (Dinh et al., 2017): invertible, with a Jacobian that is read off."""

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.nets.latent import Perceptron
from course_lib.nets.recorded import recorded


class Coupling(nn.Module):
    """Scale and shift the coordinates where `mask` `(D,)` is False by what a network makes of the others; it starts as the identity.

    The logarithm of the scale is bounded to [-limit, limit] by a tanh.
    """

    def __init__(
        self, mask: Tensor, width: int, depth: int, members: int = 1, octaves: int = 0, limit: float = 2.0
    ) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        kept = int(mask.sum())
        self.kept, self.moved = mask.nonzero()[:, 0].tolist(), (~mask).nonzero()[:, 0].tolist()
        self.network = Perceptron(kept, 2 * (len(mask) - kept), width, depth, members, octaves)
        for parameter in self.network.last.parameters():
            nn.init.zeros_(parameter)
        self.limit = limit

    def scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """The log-scale and the shift of the moved coordinates, each `(B, moved)`, from the kept ones `(B, kept)`."""
        raw, shift = self.network(kept).chunk(2, 1)
        return self.limit * torch.tanh(raw / self.limit), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x `(B, D)` to y `(B, D)`, and log |det dy/dx| `(B,)`: the sum of the log-scales."""
        kept, moved = x[:, self.kept], x[:, self.moved]
        log_scale, shift = self.scale_and_shift(kept)
        return self.together(kept, moved * log_scale.exp() + shift), log_scale.sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        """y `(B, D)` back to x: the kept coordinates are as they were, so scale and shift are known."""
        kept, moved = y[:, self.kept], y[:, self.moved]
        log_scale, shift = self.scale_and_shift(kept)
        return self.together(kept, (moved - shift) * (-log_scale).exp())

    def together(self, kept: Tensor, moved: Tensor) -> Tensor:
        """The coordinates in their order again, `(B, D)`."""
        whole = kept.new_empty(len(kept), len(self.kept) + len(self.moved))
        whole[:, self.kept], whole[:, self.moved] = kept, moved.to(kept.dtype)
        return whole


class CouplingFlow(nn.Module):
    """`layers` couplings in a row, which move the two halves of the coordinates in turns; data go in, standard normal noise comes out.

    `members` and `octaves` are those of `Perceptron`. The halves of each pair of layers are drawn anew by a fixed seed, so that in
    the end every coordinate has met the others.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self, dim: int = 2, layers: int = 8, width: int = 64, depth: int = 1, members: int = 1, octaves: int = 0
    ) -> None:
        super().__init__()
        generator, masks = torch.Generator().manual_seed(0), []
        for _ in range(-(-layers // 2)):
            mask = torch.zeros(dim, dtype=torch.bool)
            mask[torch.randperm(dim, generator=generator)[: dim // 2]] = True
            masks += [mask, ~mask]
        self.layers = nn.ModuleList(Coupling(mask, width, depth, members, octaves) for mask in masks[:layers])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data x `(B, D)` to noise `(B, D)`, and log |det| of the map's Jacobian `(B,)`."""
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, volume = layer(x)
            total = total + volume
        return x, total

    def inverse(self, z: Tensor) -> Tensor:
        """Noise z `(B, D)` to data."""
        for layer in reversed(self.layers):
            z = layer.inverse(z)  # type: ignore[operator]
        return z
