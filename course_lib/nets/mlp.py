"""A multilayer perceptron for 2-D data."""

from typing import Any

from torch import Tensor, nn

from course_lib.nets.conditions import Labels, Until
from course_lib.nets.embeddings import ConditionEmbedding
from course_lib.nets.recorded import recorded
from course_lib.types import Cond


class MLP(nn.Module):
    """A residual MLP on points `(B, dim)`, told time and class at every layer.

    `outputs` (None: `dim`) is the length of the output; twice the input's says the variance of each coordinate, too.
    With `leaps`, the numbers of steps that it learns to take (`()` for a consistency model), it is told as its condition at which time a
    leap ends (`conditions.Until`).
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        dim: int = 2,
        width: int = 128,
        depth: int = 3,
        classes: int | None = None,
        time_scale: float = 1.0,
        outputs: int | None = None,
        leaps: tuple[int, ...] | None = None,
    ):
        super().__init__()
        self.takes = Until(tuple(leaps)) if leaps is not None else None if classes is None else Labels(classes)
        self.condition = ConditionEmbedding(width, classes, time_scale, leaps=leaps)
        self.first = nn.Linear(dim, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.outputs = dim if outputs is None else outputs
        self.last = nn.Linear(width, self.outputs)

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, dim)`, t `(B,)`, cond `(B,)` or None, to `(B, outputs)`."""
        condition = self.condition(t, cond)
        h = self.first(x)
        for layer in self.layers:
            h = h + layer(h + condition)
        return self.last(h)
