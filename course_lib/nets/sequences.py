"""Transformers for what comes in a row or as a set: columns of a spectrogram, steps of a plan, frames of a film, points in space."""

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.nets.blocks import zero_initialised
from course_lib.nets.conditions import Labels, Takes, Vectors
from course_lib.nets.embeddings import ConditionEmbedding
from course_lib.nets.recorded import recorded
from course_lib.nets.transformers import AdaLNZero, TokenAttention, modulated, perceptron, rotary_angles, spread
from course_lib.types import Cond


class Told(nn.Module):
    """One vector `(B, width)` for the time and for what else a network is told: a class, `numbers` numbers, or nothing.

    Raises ValueError for both classes and numbers.
    """

    def __init__(self, width: int, classes: int | None, numbers: int | None, time_scale: float) -> None:
        super().__init__()
        if classes is not None and numbers is not None:
            raise ValueError("classes and numbers must not be given together: a network is told one of the two")
        self.takes: Takes = None if classes is None else Labels(classes)
        self.count, self.numbers = numbers or 0, None
        if numbers is not None:
            self.takes, self.numbers = Vectors((numbers,)), perceptron(numbers, width)
            self.numbers[-1] = nn.Linear(width, width)
        self.condition = ConditionEmbedding(width, classes, time_scale)

    def forward(self, t: Tensor, cond: Cond = None) -> Tensor:
        """Times t `(B,)` and the condition, `(B,)` classes or `(B, numbers)`, to `(B, width)`; None stands for the null."""
        if self.numbers is None:
            return self.condition(t, cond)
        given = torch.zeros(len(t), self.count, device=t.device) if cond is None else cond
        return self.condition(t) + self.numbers(given.to(self.numbers[0].weight))  # type: ignore[union-attr, arg-type]


class Answer(nn.Module):
    """Tokens `(B, ..., channels)` back to data `(B, ..., dim)`, plus as much of the noisy input as the condition says.

    The noise of dim numbers does not fit through channels fewer than dim, and need not: it is let through. Both parts start at 0.
    """

    def __init__(self, channels: int, dim: int, width: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(width, 2 * channels)
        self.last = zero_initialised(nn.Linear(channels, dim))
        self.gain = zero_initialised(nn.Linear(width, 1))

    def forward(self, h: Tensor, x: Tensor, told: Tensor) -> Tensor:
        """Tokens h, the noisy input x in the shape of the answer, and told `(B, width)`."""
        shift, scale = spread(self.modulation(told), h).chunk(2, dim=-1)
        return self.last(modulated(h, shift, scale)) + spread(self.gain(told), x) * x


class FrameTransformer(nn.Module):
    """A row of frames `(B, frames, dim)`, one token each, which attend to one another; or with `frames` None a set of points.

    In a row each token is told its place by a learned vector, and queries and keys are turned, so that it knows how far others are.
    In a set none is told anything of the kind: the answer to points in another order is the answer in that order.
    It takes `classes` classes, or `numbers` numbers, or no condition. Raises ValueError for both, and where the heads do not divide the
    width, in a row into multiples of 4.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        dim: int,
        frames: int | None,
        width: int = 96,
        depth: int = 3,
        heads: int = 4,
        classes: int | None = None,
        numbers: int | None = None,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.told = Told(width, classes, numbers, time_scale)
        self.takes = self.told.takes
        self.first = nn.Linear(dim, width)
        self.places = None if frames is None else nn.Parameter(0.02 * torch.randn(frames, width))
        self.blocks = nn.ModuleList(
            AdaLNZero(width, width, TokenAttention(width, heads), perceptron(width, 4 * width)) for _ in range(depth)
        )
        self.answer = Answer(width, dim, width)
        angles = None if frames is None else rotary_angles(1, frames, width // heads)
        self.register_buffer("angles", angles, persistent=False)

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, frames, dim)`, t `(B,)`, and the condition `(B,)` or `(B, numbers)` or None, to the shape of x."""
        told = self.told(t, cond)
        h = self.first(x) if self.places is None else self.first(x) + self.places
        for block in self.blocks:
            h = block(h, told[:, None], self.angles)
        return self.answer(h, x, told)
