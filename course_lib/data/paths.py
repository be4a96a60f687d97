"""A small task of control: walk round a pillar to a goal. There are two ways, equally good, and an expert takes either."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.draws import integers, normal, uniform

STEPS, CHUNK, SCALE = (
    24,
    8,
    0.25,
)  # steps of an expert's walk, actions planned at once, the longest step (it counts as 1)
PILLAR, GOAL, NEAR = 0.4, (0.0, 1.0), 0.15  # the pillar's radius, around (0, 0); the goal and how near is there
Policy = Callable[[Tensor], Tensor]  # positions (n, 2) -> the next actions (n, CHUNK, 2), in [-1, 1]


def starts(n: int, generator: torch.Generator | None = None) -> Tensor:
    """n places `(n, 2)` before the pillar, within a quarter of its middle line."""
    across = 0.5 * uniform((n, 1), generator) - 0.25
    return torch.cat([across, torch.full_like(across, -1)], 1)


def walks(n: int, generator: torch.Generator | None = None) -> Tensor:
    """n walks `(n, STEPS + 1, 2)` of an expert from `starts` to the goal, left or right of the pillar by the toss of a coin."""
    start = starts(n, generator)
    side = 2.0 * integers(0, 2, (n, 1), generator) - 1
    wide = 0.8 + 0.05 * normal((n, 1), generator)
    done = torch.linspace(0, 1, STEPS + 1)
    across = start[:, :1] * (1 - done) ** 2 + side * wide * torch.sin(math.pi * done).clamp(min=0) ** 1.5
    return torch.stack([across, (2 * done - 1).expand(n, -1)], 2)


def lessons(walked: Tensor) -> tuple[Tensor, Tensor]:
    """What a policy learns from walks `(n, STEPS + 1, 2)`: places `(m, 2)` and the next CHUNK actions there `(m, CHUNK, 2)`.

    An action is a step, divided by SCALE. At the goal the expert stands still.
    """
    still = walked[:, -1:].expand(-1, CHUNK, -1)
    steps = torch.cat([walked, still], 1).diff(dim=1) / SCALE
    chunks = steps.unfold(1, CHUNK, 1).transpose(2, 3)[:, : walked.shape[1]]  # (n, STEPS + 1, CHUNK, 2)
    return walked.flatten(0, 1), chunks.flatten(0, 1)


class Walked(NamedTuple):
    """What became of walks: the places `(n, steps + 1, 2)`, and which of them arrived, `(n,)`, or hit the pillar, `(n,)`."""

    places: Tensor
    arrived: Tensor
    hit: Tensor

    @property
    def right(self) -> Tensor:
        """Which walks `(n,)` pass the pillar on its right."""
        nearest = self.places[..., 1].abs().argmin(1)
        return self.places[torch.arange(len(nearest), device=nearest.device), nearest, 0] > 0


@torch.no_grad()
def walk(policy: Policy, start: Tensor, executed: int = 4, steps: int = 32) -> Walked:
    """Let a policy walk from places `(n, 2)`: it plans CHUNK actions, `executed` of them are done, and it plans anew.

    Who comes within NEAR of the goal stays there; who touches the pillar has failed. Raises ValueError unless 1 <= executed <= CHUNK.
    """
    if not 1 <= executed <= CHUNK:
        raise ValueError(f"executed must lie in [1, {CHUNK}], the length of a plan; got {executed}")
    places, goal = [start], torch.tensor(GOAL).to(start)
    there = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    for k in range(steps):
        if k % executed == 0:
            plan = policy(places[-1])
        step = SCALE * plan[:, k % executed].clamp(-1, 1)
        places.append(torch.where(there[:, None], places[-1], places[-1] + step))
        there = there | ((places[-1] - goal).norm(dim=1) < NEAR)
    walked = torch.stack(places, 1)
    hit = touches(walked)
    return Walked(walked, there & ~hit, hit)


def touches(walked: Tensor) -> Tensor:
    """Which walks `(n, steps + 1, 2)` come, anywhere along their straight steps, within PILLAR of the middle, `(n,)`."""
    start, step = walked[:, :-1], walked.diff(dim=1)
    length = step.square().sum(2).clamp(min=1e-12)
    share = (-(start * step).sum(2) / length).clamp(0, 1)[..., None]  # where the step is nearest to the middle
    return ((start + share * step).norm(dim=2) < PILLAR).any(1)
