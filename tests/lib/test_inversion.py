"""The code of an image, and ways from one code to another."""

import pytest
import torch

from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import cosine, linear
from course_lib.sampling.inversion import invert, invert_ddim, lerp, slerp
from course_lib.sampling.steps import ddim, last, sample
from tests.lib.tensors import double, normal

SCHEDULE = cosine(200)
MIXTURE = Mixture(
    double([0.6, 0.4]),
    double([[1.0, 0.5], [-1.0, 0.2]]),
    double([[[0.2, 0.05], [0.05, 0.1]], [[0.1, 0.0], [0.0, 0.3]]]),
)
DENOISE = ExactDiffusion(MIXTURE, SCHEDULE).denoise
DENOISE_DATA, _ = MIXTURE.sample(20, torch.Generator().manual_seed(0))
HALF = torch.tensor([0.0, 0.3, 1.0])


def returned(x0, steps, evaluations):
    """The images that DDIM draws from their own codes."""
    times = SCHEDULE.grid(steps)
    code = invert(DENOISE, SCHEDULE, x0, times, evaluations)
    return last(sample(ddim(DENOISE, GaussianDiffusion(SCHEDULE)), code, times))


def test_enough_evaluations_invert_ddim_exactly():
    x0, _ = MIXTURE.sample(20, torch.Generator().manual_seed(0))
    assert (returned(x0, 40, 60) - x0).abs().max() < 1e-6


def test_one_evaluation_comes_back_closer_with_more_steps():
    x0, _ = MIXTURE.sample(20, torch.Generator().manual_seed(0))
    few, many = ((returned(x0, steps, 1) - x0).norm(dim=1).mean() for steps in (20, 200))
    assert many < few / 5


def test_the_codes_of_data_are_standard_normal():
    x0, _ = MIXTURE.sample(4000, torch.Generator().manual_seed(0))
    code = invert(DENOISE, SCHEDULE, x0, SCHEDULE.grid(200), 3)
    assert code.mean(0).abs().max() < 0.06
    assert (torch.cov(code.T) - torch.eye(2)).abs().max() < 0.08


def test_fewer_than_one_evaluation_is_refused():
    with pytest.raises(ValueError, match="evaluations must be at least 1 a step; got 0"):
        invert(DENOISE, SCHEDULE, normal(1, 2), SCHEDULE.grid(4), 0)


@pytest.mark.parametrize("way", [lerp, slerp])
def test_a_way_begins_and_ends_where_it_should(way):
    a, b = normal(5, 3, 4), normal(5, 3, 4, seed=1)
    path = way(a, b, HALF)
    assert path.shape == (3, 5, 3, 4)
    torch.testing.assert_close(path[0], a)
    torch.testing.assert_close(path[2], b)


def test_slerp_stays_on_the_sphere_and_turns_evenly():
    a, b = (x / x.norm(dim=1, keepdim=True) for x in (normal(6, 9), normal(6, 9, seed=1)))
    path = slerp(a, b, HALF)
    torch.testing.assert_close(path.norm(dim=2), torch.ones(3, 6, dtype=torch.float64))
    whole, part = torch.arccos((a * b).sum(1)), torch.arccos((a * path[1]).sum(1))
    torch.testing.assert_close(part, 0.3 * whole)


def test_slerp_keeps_the_spread_of_noise_and_lerp_does_not():
    a, b = normal(3, 20_000), normal(3, 20_000, seed=1)
    assert (slerp(a, b, double([0.5])).std() - 1).abs() < 0.02
    assert (lerp(a, b, double([0.5])).std() - 0.5**0.5).abs() < 0.02


def test_slerp_refuses_parallel_noises():
    a = normal(2, 5)
    with pytest.raises(ValueError, match="a and b must not be parallel"):
        slerp(a, 2 * a, HALF)


def test_the_usual_inversion_is_of_first_order_and_needs_no_iteration():
    """Drawing from the code comes back to the image, with half the error for twice the steps; a fixed point is exact."""
    x0 = DENOISE_DATA

    def error(steps):
        times = SCHEDULE.grid(steps)
        code = invert_ddim(DENOISE, SCHEDULE, x0, times)
        return float((last(sample(ddim(DENOISE, GaussianDiffusion(SCHEDULE)), code, times)) - x0).norm())

    assert 1.5 < error(50) / error(100) < 3
    times = SCHEDULE.grid(50)
    exact = last(sample(ddim(DENOISE, GaussianDiffusion(SCHEDULE)), invert(DENOISE, SCHEDULE, x0, times, 30), times))
    assert (exact - x0).norm() < 0.1 * error(50)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs, of NumPy 2
def test_every_step_of_the_usual_inversion_is_that_of_diffusers():
    """Its inverse scheduler asks at s for the step from s to t, as we do; its index t - 1 is our t."""
    inverse = pytest.importorskip("diffusers.schedulers.scheduling_ddim_inverse")
    table = linear(20, 0.01, 0.3)
    scheduler = inverse.DDIMInverseScheduler(
        20, trained_betas=table.beta[1:].tolist(), clip_sample=False, timestep_spacing="trailing"
    )
    scheduler.alphas_cumprod = table.alpha_bar[1:]
    scheduler.set_timesteps(20)
    x, eps = normal(3, 2), normal(3, 2, seed=1)
    for s in (4, 11):
        t = s + 1
        theirs = scheduler.step(eps, s, x).prev_sample  # from index s - 1 to index s
        a, b = table.signal(s), table.noise(s)
        ours = table.signal(t) * (x - b * eps) / a + table.noise(t) * eps
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
        two = invert_ddim(
            lambda x_s, at: (x_s - table.noise(at) * eps) / table.signal(at), table, x, torch.tensor([t, s])
        )
        torch.testing.assert_close(two, ours, rtol=1e-6, atol=1e-6)
