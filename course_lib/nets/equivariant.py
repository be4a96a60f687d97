"""A network for atoms in space that cannot tell how a molecule is turned, where it lies, or in which order its atoms come.

An equivariant graph network, E(n)-GNN, after Satorras, Hoogeboom and Welling (2021). Rows whose atom is 0 are empty.
"""

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.nets.blocks import zero_initialised
from course_lib.nets.embeddings import TimeEmbedding
from course_lib.nets.recorded import recorded

RINGS, FAR = 32, 6.0  # how many bells distances are seen through, and where the last one stands


def present(atoms: Tensor, like: Tensor) -> Tensor:
    """1 where there is an atom and 0 where there is none, `(B, N, 1)`, for atoms `(B, N)`, in the dtype of `like`."""
    return (atoms > 0)[..., None].to(like)


def centred(x: Tensor, atoms: Tensor) -> Tensor:
    """Points x `(B, N, 3)` less the mean of those that are atoms, `(B, N)`: the projection on centre 0. Empty rows become 0."""
    there = present(atoms, x)
    return there * (x - (there * x).sum(1, keepdim=True) / there.sum(1, keepdim=True))


def bells(square: Tensor) -> Tensor:
    """Squared distances `(...)` as heights of RINGS bell curves of the distance, `(..., RINGS)`."""
    middles = torch.linspace(0, FAR, RINGS, device=square.device, dtype=square.dtype)
    distance = (square + 1e-8).sqrt()[..., None]
    return torch.exp(-0.5 * ((distance - middles) * (RINGS - 1) / FAR) ** 2)


class EquivariantLayer(nn.Module):
    """Messages from distances; each atom moves along the differences to the others, and its features gather the messages."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mine, self.theirs = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.near = nn.Linear(RINGS, width, bias=False)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.pull = zero_initialised(nn.Linear(width, 1))
        self.gather = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor, h: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Points x `(B, N, 3)`, features h `(B, N, width)` and presence `(B, N, 1)` to new points and features."""
        apart = x[:, :, None] - x[:, None]  # (B, N, N, 3)
        square = apart.square().sum(3)
        m = self.message(self.mine(h)[:, :, None] + self.theirs(h)[:, None] + self.near(bells(square)))
        m = m * there[:, None]  # from atoms only, (B, N, N, width)
        pull = self.pull(m) * there[:, None] / (1 + (square + 1e-8).sqrt()[..., None])
        x = x + there * (apart * pull).sum(2)
        return x, h + there * self.gather(torch.cat([h, m.sum(2)], 2))


class EquivariantNetwork(nn.Module):
    """A denoiser of molecules that is told which atoms there are: turned input, turned output; mirrored, mirrored.

    Its answer is a multiple of the input that the time decides, plus how far `depth` layers have moved the points, with centre 0.
    """

    config: dict[str, Any]

    @recorded
    def __init__(self, width: int = 32, depth: int = 3, kinds: int = 4, time_scale: float = 1.0) -> None:
        super().__init__()
        self.kinds = nn.Embedding(kinds + 1, width)
        self.time = TimeEmbedding(width, time_scale)
        self.layers = nn.ModuleList(EquivariantLayer(width) for _ in range(depth))
        self.gain = zero_initialised(nn.Linear(width, 1))

    def forward(self, x: Tensor, t: Tensor, atoms: Tensor) -> Tensor:
        """Noisy points x `(B, N, 3)`, times t `(B,)` and atoms `(B, N)`, 0 for none, to the shape of x."""
        there, told = present(atoms, x), self.time(t)[:, None]  # (B, N, 1), (B, 1, width)
        moved, h = x, there * (self.kinds(atoms) + told)
        for layer in self.layers:
            moved, h = layer(moved, h, there)
        return centred(self.gain(told) * x + moved - x, atoms)
