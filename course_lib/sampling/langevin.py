"""Sampling by Langevin dynamics: at one noise level, through many (NCSN), and as the corrector of another sampler."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from course_lib.diffusion.gaussian import is_end
from course_lib.draws import NoiseSource, standard_normal
from course_lib.types import Schedule, Step, per_sample

Score = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> the gradient of log q(x_t)


def langevin_step(x: Tensor, score: Tensor, size: Tensor | float, noise: Tensor) -> Tensor:
    """x + size score + sqrt(2 size) noise, `(B, ...)`: one step of the (unadjusted) Langevin algorithm; size is a number, or `(B,)`."""
    size = per_sample(torch.as_tensor(size, dtype=torch.float64), x)
    return x + size * score + (2 * size).sqrt() * noise


@torch.no_grad()
def annealed_langevin(
    score: Score,
    schedule: Schedule,
    x: Tensor,
    times: Tensor,
    size: float,
    repeats: int,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Yield x `(B, ...)` after `repeats` Langevin steps at each time, from much noise to little (Song and Ermon, 2019, algorithm 1).

    At a time of noise level sigma the steps have the size `size` sigma^2, so that signal and noise of a step keep their ratio; their
    alpha is 2 size sigma^2.
    """
    noise = standard_normal(generator)
    for t in times:
        for _ in range(repeats):
            x = langevin_step(x, score(x, t), size * schedule.noise(t) ** 2, noise(x))
        yield x


def corrected(
    predictor: Step,
    score: Score,
    corrections: int = 1,
    ratio: float = 0.16,
    generator: torch.Generator | None = None,
    noise: NoiseSource | None = None,
    schedule: Schedule | None = None,
) -> Step:
    """The predictor's step from t to s, then `corrections` Langevin steps at s (Song et al., 2021, algorithms 2 to 5).

    A correction has the size 2 alpha (ratio |noise| / |score|)^2, of the norms' means over the batch of states `(B, ...)`. Without a
    schedule alpha is 1, as in algorithm 4; with one it is the share of the signal's square that a step as long as this one, ending at s,
    leaves: alpha_s of algorithm 5, for schedules whose signal fades. At time 0 there is no correction.
    """
    noise = noise or standard_normal(generator)

    def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        x = predictor(x_t, t, s)
        if is_end(s):
            return x
        alpha = (
            torch.ones(())
            if schedule is None
            else (schedule.signal(s) / schedule.signal((2 * s - t).clamp(min=0))) ** 2
        )
        for _ in range(corrections):
            slope, z = score(x, s), noise(x)
            lengths = [v.flatten(1).square().sum(dim=1).sqrt().mean() for v in (z, slope)]
            size = 2 * alpha.to(x.device) * (ratio * lengths[0] / lengths[1]) ** 2
            x = langevin_step(x, slope, size, z)
        return x

    return step
