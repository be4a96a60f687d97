"""Langevin dynamics: its stationary distribution, its failure at one level, and its use as a corrector."""

import pytest
import torch

from course_lib.diffusion.continuous import VE, VP
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.predictions import to_score
from course_lib.diffusion.schedules import TableSchedule, linear
from course_lib.sampling.langevin import annealed_langevin, corrected, langevin_step
from course_lib.sampling.sde import euler_maruyama
from course_lib.sampling.steps import last, sample
from tests.lib.tensors import double, normal

FAR = Mixture(double([0.2, 0.8]), double([[-4.0], [4.0]]), double([[[0.25]], [[0.25]]]))


def test_the_spread_of_a_gaussian_is_that_of_the_algorithm():
    """x' = (1 - size) x + sqrt(2 size) z has the stationary variance 1 / (1 - size / 2)."""
    generator, x = torch.Generator().manual_seed(0), normal(20_000, 1)
    for _ in range(30):
        x = langevin_step(x, -x, 0.4, torch.randn(x.shape, generator=generator, dtype=x.dtype))
    assert abs(x.var() - 1 / 0.8) < 0.05


def test_one_level_keeps_the_start_and_many_levels_find_the_weights():
    schedule = VE(0.5, 10.0)
    exact = ExactDiffusion(Mixture(FAR.weights, FAR.means, torch.zeros(2, 1, 1, dtype=torch.float64)), schedule)
    start = 10 * normal(3000, 1)

    def run(times, repeats):
        return last(
            annealed_langevin(exact.score, schedule, start, times, 0.05, repeats, torch.Generator().manual_seed(1))
        )

    stuck = (run(double([0.0]), 200) < 0).double().mean()
    found = (run(torch.linspace(1, 0, 20, dtype=torch.float64), 30) < 0).double().mean()
    assert abs(stuck - 0.5) < 0.05
    assert abs(found - 0.2) < 0.05


def test_corrections_bring_a_coarse_sampler_nearer_to_the_data():
    narrow = Mixture(double([0.2, 0.8]), double([[-0.8], [0.8]]), double([[[0.04]], [[0.04]]]))
    exact, times = ExactDiffusion(narrow, VP()), torch.linspace(1, 1e-3, 20, dtype=torch.float64)

    def score(x, t):
        return to_score(exact.denoise(x, t), x, t, VP())

    def misfit(step):
        x = last(sample(step, normal(4000, 1), times))
        shares = torch.histc(x.clamp(-2, 2), 40, -2, 2) / len(x)
        centres = (torch.arange(40, dtype=torch.float64) - 19.5) / 10
        true = exact.log_prob(centres[:, None], times[-1]).exp() * 0.1
        return float((shares - true).abs().sum())

    generator = torch.Generator().manual_seed(3)
    plain = euler_maruyama(exact.denoise, VP(), generator=generator)
    assert misfit(corrected(plain, score, 3, 0.35, generator=generator)) < 0.75 * misfit(plain)


def test_no_correction_at_the_data():
    asked = []

    def score(x, t):
        asked.append(float(t))
        return -x

    step = corrected(lambda x, t, s: x, score, 2)
    step(normal(2, 3), double(0.5), double(0.2))
    step(normal(2, 3), double(0.2), double(0.0))
    assert asked == [0.2, 0.2]


@pytest.mark.parametrize("schedule", [linear(20, 0.01, 0.3), VE(0.02, 6.0)])
def test_with_a_schedule_a_correction_has_algorithm_5s_factor(schedule):
    """On an even grid alpha is alpha_s of the table, and 1 where the signal does not fade (algorithm 4)."""
    z, fixed, x = normal(50, 4), 3 * normal(50, 4, seed=2), normal(50, 4, seed=3)
    t, s = (torch.tensor(10), torch.tensor(9)) if isinstance(schedule, TableSchedule) else (double(0.5), double(0.4))
    step = corrected(lambda x, t, s: x, lambda x, t: fixed, 1, 0.2, noise=lambda x: z, schedule=schedule)
    alpha = schedule.alpha[9] if isinstance(schedule, TableSchedule) else double(1.0)
    size = 2 * alpha * (0.2 * z.norm(dim=1).mean() / fixed.norm(dim=1).mean()) ** 2
    torch.testing.assert_close(step(x, t, s), x + size * fixed + (2 * size).sqrt() * z)
