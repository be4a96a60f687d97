"""How a network is told the time and the class."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_lib.types import Cond


def sinusoidal_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Cosines and sines of t `(B,)` at dim/2 frequencies from 1 down to 1/max_period, `(B, dim)`.

    The position encoding of Vaswani et al. (2017) with time in the place of position. Raises ValueError unless dim is even.
    """
    if dim % 2:
        raise ValueError(f"dim must be even, half cosines and half sines; got {dim}")
    half = dim // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies  # (B, dim/2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def with_octaves(x: Tensor, octaves: int) -> Tensor:
    """Rows x `(B, D)` with the sines and cosines of 1, 2, 4, ... times each coordinate beside them, `(B, (1 + 2 octaves) D)`.

    A network learns slowly what changes fast along its inputs; with these inputs it need not (Tancik et al., 2020).
    """
    waves = (x[:, :, None] * 2.0 ** torch.arange(octaves, device=x.device)).flatten(1)
    return torch.cat([x, waves.sin(), waves.cos()], 1)


def position_embedding(x: Tensor) -> Tensor:
    """Where each pixel of `(B, C, H, W)` stands, `(C, H, W)`: sinusoids of the row, then of the column.

    Raises ValueError unless C is a multiple of 4.
    """
    _, C, H, W = x.shape
    if C % 4:
        raise ValueError(f"the number of channels must be a multiple of 4, for sines and cosines of two axes; got {C}")
    row, column = (sinusoidal_embedding(torch.arange(n, device=x.device), C // 2).T for n in (H, W))
    return torch.cat([row[:, :, None].expand(-1, -1, W), column[:, None].expand(-1, H, -1)]).to(x.dtype)


class TimeEmbedding(nn.Sequential):
    """A vector `(B, width)` for times t `(B,)`: a small MLP on the sinusoids of t, stretched by `time_scale`."""

    def __init__(self, width: int, time_scale: float = 1.0, sinusoids: int = 64) -> None:
        super().__init__(nn.Linear(sinusoids, width), nn.SiLU(), nn.Linear(width, width))
        self.time_scale, self.sinusoids = time_scale, sinusoids

    def forward(self, t: Tensor) -> Tensor:
        """Embed times `(B,)`."""
        waves = sinusoidal_embedding(t * self.time_scale, self.sinusoids)
        return super().forward(waves.to(next(self.parameters()).dtype))


class LearnedTimeEmbedding(nn.Module):
    """A vector `(B, width)` for times t `(B,)`, all of it learned: one row for each time 0..T; between two times, a blend of their rows.

    It assumes nothing about neighbouring times, so it needs more data than the sinusoids: every row learns alone.
    """

    def __init__(self, width: int, T: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(T + 1, width)

    def forward(self, t: Tensor) -> Tensor:
        """Embed times `(B,)` in [0, T]."""
        below = t.floor().long()
        above = (below + 1).clamp(max=self.rows.num_embeddings - 1)
        return torch.lerp(self.rows(below), self.rows(above), (t - below)[:, None].to(self.rows.weight.dtype))


class LabelEmbedding(nn.Embedding):
    """A learned vector `(B, width)` for each class, and one more, the null token, for "no class given"."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(classes + 1, width)
        self.null = classes

    def forward(self, cond: Tensor | None, like: Tensor | None = None) -> Tensor:
        """Embed classes cond `(B,)` as `(B, width)`; None asks for the null token, as often as `like` `(B,)` is long.

        Raises ValueError where both are None.
        """
        return super().forward(or_null(cond, like, self.null))


def or_null(cond: Tensor | None, like: Tensor | None, null: int) -> Tensor:
    """The classes cond `(B,)`, or, where that is None, the null token as often as `like` `(B,)` is long.

    Raises ValueError where both are None.
    """
    if cond is not None:
        return cond
    if like is None:
        raise ValueError("like must be given where cond is None: it says for how many samples")
    return torch.full_like(like, null, dtype=torch.long)


class ConditionEmbedding(nn.Module):
    """One vector `(B, width)` for time and class together: the sum of a `TimeEmbedding` and, with `classes`, a `LabelEmbedding`.

    `time_scale` stretches t so that it covers about [0, 1000] (use 1000 for a schedule with t in [0, 1]). With `leaps`, the vector also
    says at which time a leap ends. Raises ValueError for both classes and leaps.
    """

    def __init__(
        self,
        width: int,
        classes: int | None = None,
        time_scale: float = 1.0,
        sinusoids: int = 64,
        leaps: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if classes is not None and leaps is not None:
            raise ValueError("classes and leaps must not be given together: a network is told one of the two")
        self.time = TimeEmbedding(width, time_scale, sinusoids)
        self.label = LabelEmbedding(width, classes) if classes is not None else None
        self.until = TimeEmbedding(width, time_scale, sinusoids) if leaps is not None else None
        if self.until is not None:  # at first the end of a leap makes no difference
            for parameter in self.until[2].parameters():
                nn.init.zeros_(parameter)

    def forward(self, t: Tensor, cond: Cond = None) -> Tensor:
        """Embed times t `(B,)` and classes cond `(B,)` or None as `(B, width)`; raises ValueError where there is no place for cond.

        With `leaps`, cond are the times at which leaps end; None, or one below 0, stands for t itself.
        """
        first, *others = self.parts(t, cond)
        return first + others[0] if others else first

    def parts(self, t: Tensor, cond: Cond = None) -> list[Tensor]:
        """What `forward` adds, each `(B, width)`: the time, and with classes or leaps what cond says; raises ValueError as it does."""
        if cond is not None and not isinstance(cond, Tensor):
            raise ValueError(f"cond must be one tensor of classes (B,); got a mapping with {sorted(cond)}")
        embedding = self.time(t)
        if self.until is not None:
            return [embedding, self.until(t if cond is None else torch.where(cond < 0, t.to(cond), cond))]
        if self.label is not None:
            return [embedding, self.label(cond, like=t)]
        if cond is not None:
            raise ValueError("cond must be None: this network was built without classes")
        return [embedding]
