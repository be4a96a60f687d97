"""How straight the paths of a flow are, and the pairs of ends from which a straighter flow is learned (Liu et al., 2023)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from course_lib.sampling.steps import sample
from course_lib.types import Step, check_decreasing


def straightness(states: Iterable[Tensor], times: Tensor) -> Tensor:
    """The mean over time of |dx/dt - (x at the end - x at the start) / (end - start)|^2 along each path, `(B,)`; 0 for a straight line.

    `states` are those of `sampling.steps.sample` at the decreasing times, each `(B, ...)`; between two times a path counts as straight, so
    the grid must be fine. Raises ValueError unless there is one state for each time.
    """
    times, path = check_decreasing(times), [state.flatten(1) for state in states]
    if len(path) != len(times):
        raise ValueError(f"states must be as many as times, {len(times)}; got {len(path)}")
    steps = times.diff().to(path[0])  # all negative
    chord = (path[-1] - path[0]) / steps.sum()
    slopes = torch.stack(path).diff(dim=0) / steps[:, None, None]
    bends = (slopes - chord).square().sum(2)  # (steps, B)
    return (bends * steps[:, None]).sum(0) / steps.sum()


def ends(step: Step, x: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """The data `(B, ...)` that a sampler makes of noise x, and that noise: the pairs that a reflow learns from.

    Train on them with the straight line's loss, x_0 and its own noise: `denoising_loss` with `FLOW` and `Straight`.
    """
    *_, x0 = sample(step, x, times)
    return x0, x
