"""What samplers do over many steps: no noise at the end, the right distribution, the right order of convergence."""

import functools
import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import solve_ivp

from course_lib.diffusion.continuous import EDM, VP
from course_lib.diffusion.exact import ExactDiffusion
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import from_betas
from course_lib.sampling.ode import angle_heun, dpm_solver, euler, heun, velocity
from course_lib.sampling.sde import churned, euler_maruyama
from course_lib.sampling.steps import ancestral, ddim, last, sample, unit_variance
from course_lib.sampling.times import karras_grid
from tests.lib.tensors import CONTINUOUS, MIXTURE, double, normal

EXACT = {"rtol": 1e-12, "atol": 1e-12}

# --- the last step -----------------------------------------------------------------------------------------------------

STOCHASTIC = {
    "ancestral": lambda exact, schedule, noise: ancestral(exact, GaussianDiffusion(schedule), noise=noise),
    "ancestral-beta": lambda exact, schedule, noise: ancestral(
        exact, GaussianDiffusion(schedule), unit_variance(schedule), noise=noise
    ),
    "ddim-0.5": lambda exact, schedule, noise: ddim(exact, GaussianDiffusion(schedule), 0.5, noise=noise),
    "ddim-1": lambda exact, schedule, noise: ddim(exact, GaussianDiffusion(schedule), 1.0, noise=noise),
    "euler-maruyama": lambda exact, schedule, noise: euler_maruyama(exact, schedule, noise=noise),
}


@pytest.mark.parametrize("schedule", CONTINUOUS)
@pytest.mark.parametrize("make", STOCHASTIC.values(), ids=STOCHASTIC.keys())
class TestNoiseOfAStep:
    def moved(self, make, schedule, s):
        """How far a step to s moves when the noise changes by 1."""
        exact, x, t = ExactDiffusion(MIXTURE, schedule).denoise, normal(4, 2), double(0.5) * schedule.T
        low, high = (make(exact, schedule, lambda x, z=z: torch.full_like(x, z))(x, t, s) for z in (0.0, 1.0))
        return high - low

    def test_the_last_step_adds_none(self, make, schedule):
        assert torch.equal(self.moved(make, schedule, double(0.0)), torch.zeros(4, 2, dtype=torch.float64))

    def test_every_other_step_adds_some(self, make, schedule):
        assert (self.moved(make, schedule, double(0.1) * schedule.T) > 1e-3).all()


# --- the distribution of the samples -----------------------------------------------------------------------------------

COUNT = 4000
CHAIN = from_betas(torch.linspace(1e-4, 0.06, 300))  # ends at signal 0.01
SAMPLERS = {
    "ancestral": (CHAIN, 300, lambda d, g: ancestral(d, GaussianDiffusion(CHAIN), generator=g)),
    "ancestral-beta": (
        CHAIN,
        300,
        lambda d, g: ancestral(d, GaussianDiffusion(CHAIN), unit_variance(CHAIN), generator=g),
    ),
    "ddim-0": (CHAIN, 100, lambda d, g: ddim(d, GaussianDiffusion(CHAIN), 0.0, generator=g)),
    "ddim-0.5": (CHAIN, 300, lambda d, g: ddim(d, GaussianDiffusion(CHAIN), 0.5, generator=g)),
    "ddim-1": (CHAIN, 300, lambda d, g: ddim(d, GaussianDiffusion(CHAIN), 1.0, generator=g)),
    "euler": (VP(), 100, lambda d, g: euler(velocity(d, VP()))),
    "heun": (VP(), 80, lambda d, g: heun(velocity(d, VP()))),
    "angle-heun": (CHAIN, 50, lambda d, g: angle_heun(d, CHAIN)),
    "dpm-solver": (CHAIN, 75, lambda d, g: dpm_solver(d, CHAIN)),
    "euler-maruyama": (VP(), 200, lambda d, g: euler_maruyama(d, VP(), generator=g)),
}


@functools.cache
def drawn(name):
    """Samples `(COUNT, 2)` and the mode `(COUNT,)` next to each; the modes lie 6 standard deviations apart and more."""
    schedule, steps, make = SAMPLERS[name]
    generator = torch.Generator().manual_seed(0)
    x = GaussianDiffusion(schedule).prior((COUNT, 2), generator, torch.float64)
    x = last(sample(make(ExactDiffusion(MIXTURE, schedule).denoise, generator), x, schedule.grid(steps)))
    return x, torch.cdist(x, MIXTURE.means).argmin(1)


def squared_distance(name):
    """Each sample's Mahalanobis distance to its mode, squared: 2 on average for samples of the mixture."""
    x, mode = drawn(name)
    centred = (x - MIXTURE.means[mode])[:, :, None]
    return (centred.mT @ torch.linalg.solve(MIXTURE.covariances[mode], centred)).squeeze()


@pytest.mark.parametrize("name", SAMPLERS)
class TestDistribution:
    """4,000 samples. Tolerances are 5 standard errors, rounded up; the last one leaves room for the steps' own error."""

    def test_mean(self, name):
        x, _ = drawn(name)
        assert (x.mean(0) - MIXTURE.mean()).abs().max() < 0.08

    def test_covariance(self, name):
        x, _ = drawn(name)
        assert (torch.cov(x.T) - MIXTURE.covariance()).abs().max() < 0.1

    def test_mode_weights(self, name):
        _, mode = drawn(name)
        assert (mode.bincount(minlength=3) / COUNT - MIXTURE.weights).abs().max() < 0.04

    def test_width_of_the_modes(self, name):
        assert abs(squared_distance(name).mean() - 2) < 0.2


# --- the order of convergence ------------------------------------------------------------------------------------------


@functools.cache
def flow(schedule, start, end):
    """The probability-flow ODE of the mixture, three starting points, and where scipy's solver takes them."""
    x, field = normal(3, 2), velocity(ExactDiffusion(MIXTURE, schedule).denoise, schedule)
    solution = solve_ivp(
        lambda t, x: field(torch.as_tensor(x).reshape(3, 2), double(t)).flatten().numpy(),
        (start, end),
        x.flatten().numpy(),
        method="DOP853",
        rtol=1e-8,
        atol=1e-8,
    )
    return field, x, torch.as_tensor(solution.y[:, -1]).reshape(3, 2)


def error(method, schedule, start, end, steps):
    """How far a method with so many even steps lands from scipy's solution."""
    field, x, truth = flow(schedule, start, end)
    return float(
        (last(sample(method(field), x, torch.linspace(start, end, steps + 1, dtype=torch.float64))) - truth).norm()
    )


@pytest.mark.parametrize(
    ("make", "order"),
    [
        (lambda denoise: ddim(denoise, GaussianDiffusion(VP())), 1),
        (lambda denoise: angle_heun(denoise, VP()), 2),
        (lambda denoise: dpm_solver(denoise, VP()), 2),
    ],
    ids=["ddim", "angle-heun", "dpm-solver"],
)
def test_order_of_convergence_without_a_velocity(make, order):
    """These solvers read the schedule's levels and not their derivatives; they too meet the ODE that scipy solves."""
    exact = ExactDiffusion(MIXTURE, VP()).denoise
    _, x, truth = flow(VP(), 0.8, 0.2)

    def error(steps):
        times = torch.linspace(0.8, 0.2, steps + 1, dtype=torch.float64)
        return float((last(sample(make(exact), x, times)) - truth).norm())

    assert abs(math.log2(error(50) / error(100)) - order) < 0.2


def test_angle_heun_refuses_a_schedule_that_does_not_preserve_the_variance():
    with pytest.raises(ValueError, match="schedule must be variance-preserving"):
        angle_heun(lambda x, t: x, EDM())(normal(2, 2), double(0.5), double(0.4))


def test_dpm_solver_forgets_what_another_chain_answered():
    """A second chain begins at another time than that at which the first ended, and must not see its answers."""
    exact, times = ExactDiffusion(MIXTURE, VP()).denoise, torch.linspace(1, 0.1, 6, dtype=torch.float64)
    step = dpm_solver(exact, VP())
    last(sample(step, normal(4, 2, seed=1), times))
    used, fresh = (last(sample(s, normal(4, 2), times)) for s in (step, dpm_solver(exact, VP())))
    torch.testing.assert_close(used, fresh, **EXACT)


@pytest.mark.parametrize("schedule", [VP(), EDM(3.0)], ids=["vp", "edm"])
@pytest.mark.parametrize(
    ("method", "order"),
    [(euler, 1), (heun, 2), (functools.partial(heun, end=0.2), 2)],
    ids=["euler", "heun", "heun-ending-with-euler"],
)
def test_order_of_convergence(schedule, method, order):
    """Twice as many steps divide the error by 2^order; the exponent is measured to 0.2."""
    coarse, fine = (error(method, schedule, 0.8 * schedule.T, 0.2, steps) for steps in (50, 100))
    assert abs(math.log2(coarse / fine) - order) < 0.2


def test_heun_on_karras_grid_reaches_the_data():
    """18 steps of Karras et al. (2022) to time 0 land on average within 0.05 of where 300 do; the modes are 0.2 wide."""
    exact, x = ExactDiffusion(MIXTURE, EDM()), 80 * normal(50, 2)
    step = heun(velocity(exact.denoise, EDM()))
    few, many = (last(sample(step, x, karras_grid(steps=steps))) for steps in (18, 300))
    assert (few - many).norm(dim=1).mean() < 0.05


# --- the generator `sample` --------------------------------------------------------------------------------------------


def test_sample_yields_the_start_and_the_state_at_every_later_time():
    steps = []

    def step(x, t, s):
        steps.append((int(t), int(s)))
        return x + 1

    states = list(sample(step, torch.zeros(1), torch.tensor([9, 4, 0])))
    assert [float(x) for x in states] == [0, 1, 2]
    assert steps == [(9, 4), (4, 0)]


def test_sample_takes_a_step_only_when_asked():
    def fail(x, t, s):
        raise AssertionError("a step too many")

    states = sample(fail, torch.zeros(1), torch.tensor([2, 1, 0]))
    assert next(states) == 0


def test_sample_records_no_gradients():
    x = torch.ones(2, requires_grad=True)
    assert not last(sample(lambda x, t, s: 2 * x, x, torch.tensor([1, 0]))).requires_grad


def test_last_is_the_last():
    assert last(iter([torch.tensor(1), torch.tensor(2)])) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda d, **noise: ancestral(d, GaussianDiffusion(VP()), **noise),
        lambda d, **noise: ddim(d, GaussianDiffusion(VP()), 1.0, **noise),
        lambda d, **noise: euler_maruyama(d, VP(), **noise),
    ],
    ids=["ancestral", "ddim", "euler-maruyama"],
)
def test_a_generator_is_the_source_of_the_noise(make):
    exact, arguments = ExactDiffusion(MIXTURE, VP()).denoise, (normal(4, 2), double(0.5), double(0.4))
    drawn_inside = make(exact, generator=torch.Generator().manual_seed(7))(*arguments)
    torch.testing.assert_close(drawn_inside, make(exact, noise=lambda x: normal(4, 2, seed=7))(*arguments), **EXACT)


@pytest.mark.parametrize("times", [[0.0, 1.0], [2.0, 1.0, 1.0], [1.0]])
def test_a_grid_that_does_not_fall_is_named(times):
    with pytest.raises(ValueError, match=rf"times must be one row that falls strictly, .* got \[{times[0]}"):
        last(sample(lambda x, t, s: x, torch.zeros(1), torch.tensor(times)))


def test_two_chains_may_share_one_step_of_dpm_solver():
    """The step knows each state by itself: chains that take turns, or begin again from a state, draw what each draws alone."""
    exact, times = ExactDiffusion(MIXTURE, CHAIN).denoise, CHAIN.grid(10)
    alone = [list(sample(dpm_solver(exact, CHAIN), x, times)) for x in (normal(4, 2), normal(4, 2, seed=1))]
    shared = dpm_solver(exact, CHAIN)
    together = list(zip(*(sample(shared, x, times) for x in (normal(4, 2), normal(4, 2, seed=1)))))
    for states, pair in zip(zip(*alone), together):
        assert all(torch.equal(a, b) for a, b in zip(states, pair))
    x, (t, s) = together[4][0], times[4:6]
    assert torch.equal(shared(x, t, s), shared(x, t, s))


# --- churn ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("churn", [0.0, 3.0, 40.0])
def test_churned_heun_is_algorithm_2_of_karras_et_al(churn):
    """The paper's algorithm written out, with the noise of both the same; 40 is above the largest that counts."""
    schedule, levels = EDM(5.0), karras_grid(0.02, 5.0, 8)
    exact = ExactDiffusion(MIXTURE, schedule).denoise
    z = [normal(3, 2, seed=seed) for seed in range(8)]

    def written(x):
        for i, (t, s) in enumerate(pairwise(levels)):
            gamma = min(churn / 8, math.sqrt(2) - 1) if 0.1 <= t <= 3 else 0.0
            raised = t + gamma * t
            x_hat = x + (raised**2 - t**2).sqrt() * 1.003 * z[i]
            d = (x_hat - exact(x_hat, raised)) / raised
            x = x_hat + (s - raised) * d
            if s > 0:
                x = x_hat + (s - raised) * (d / 2 + (x - exact(x, s)) / (2 * s))
        return x

    inner = heun(velocity(exact, schedule))
    steps = [churned(inner, schedule, churn, 8, 0.1, 3, 1.003, noise=lambda x, i=i: z[i]) for i in range(8)]
    x = 5.0 * normal(3, 2, seed=20)
    ours = x
    for step, (t, s) in zip(steps, pairwise(levels)):
        ours = step(ours, t, s)
    torch.testing.assert_close(ours, written(x), rtol=1e-9, atol=1e-9)


def test_churn_refuses_what_means_nothing_and_stays_within_the_schedule():
    step = heun(velocity(ExactDiffusion(MIXTURE, EDM(5.0)).denoise, EDM(5.0)))
    for wrong in ((-1.0, 8, 0.0, 1.0, 1.0), (1.0, 0, 0.0, 1.0, 1.0), (1.0, 8, 0.0, 1.0, 0.0)):
        with pytest.raises(ValueError, match="churn must be at least 0, inflation above 0 and steps at least 1"):
            churned(step, EDM(5.0), *wrong)
    assert churned(step, EDM(5.0), 40.0, 8)(5 * normal(2, 2), double(5.0), double(4.0)).isfinite().all()
