"""Samplers: every step against its paper and against diffusers, every sampler's distribution, the order of the ODE methods."""

import functools
import math

import pytest
import torch
from scipy.integrate import solve_ivp

from course_lib.continuous import EDM, VE, VP, SubVP, drift_and_diffusion
from course_lib.exact import ExactDiffusion, Mixture
from course_lib.gaussian import GaussianProcess
from course_lib.grids import karras_grid, uniform_grid
from course_lib.samplers import ancestral, ddim, euler, euler_maruyama, heun, last, sample, unit_variance, velocity
from course_lib.schedules import from_betas, linear

EXACT = {"rtol": 1e-12, "atol": 1e-12}
CONTINUOUS = [VP(), SubVP(), VE(0.02, 6.0), EDM(6.0)]


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MIXTURE = Mixture(
    double([0.5, 0.3, 0.2]),
    double([[1.0, 0.8], [-1.2, 0.6], [0.1, -1.3]]),
    double([[[0.06, 0.03], [0.03, 0.06]], [[0.04, 0.0], [0.0, 0.1]], [[0.08, -0.02], [-0.02, 0.03]]]),
)


# --- against diffusers: its index t - 1 is our t, and its table has no entry for t = 0 ---------------------------------

STEPS = 20
TABLE = linear(STEPS, 0.01, 0.4)


def reference(scheduler_class, inference_steps=STEPS, **options):
    """A scheduler of diffusers on our betas, with its float32 table replaced by the same one in float64.

    With the table of float32 the steps agree to 1e-6 only, which would hide a mistake of that size.
    """
    scheduler = scheduler_class(
        num_train_timesteps=STEPS, trained_betas=TABLE.beta[1:].numpy(), clip_sample=False, **options
    )
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), TABLE.alpha_bar[1:], rtol=2e-6, atol=0)
    scheduler.alphas_cumprod = TABLE.alpha_bar[1:]
    scheduler.set_timesteps(inference_steps)
    return scheduler


def network(x, t):
    """Some prediction of the noise."""
    return torch.sin(3 * x) + 0.1 * float(t)


def denoise(x, t):
    """The prediction of the data that belongs to it."""
    return (x - TABLE.noise(t) * network(x, t)) / TABLE.signal(t)


@pytest.mark.parametrize("inference_steps", [20, 5, 4])
@pytest.mark.parametrize(
    ("variance_type", "x0_variance"),
    [("fixed_small", None), ("fixed_large", unit_variance(TABLE))],
    ids=["beta-tilde", "beta"],
)
def test_every_ddpm_step_is_that_of_diffusers(monkeypatch, inference_steps, variance_type, x0_variance):
    """fixed_small is clamped at 1e-20 there, which matters at the last step alone, where no noise is added."""
    scheduling_ddpm = pytest.importorskip("diffusers.schedulers.scheduling_ddpm")
    z, stride = normal(3, 2, seed=1), STEPS // inference_steps
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *args, **options: z)
    scheduler = reference(scheduling_ddpm.DDPMScheduler, inference_steps, variance_type=variance_type)
    step = ancestral(denoise, GaussianProcess(TABLE), x0_variance, noise=lambda x: z)
    for index in scheduler.timesteps.tolist():
        x, t, s = normal(3, 2, seed=index + 2), torch.tensor(index + 1), torch.tensor(max(index + 1 - stride, 0))
        theirs = scheduler.step(network(x, t), index, x).prev_sample
        torch.testing.assert_close(step(x, t, s), theirs, **EXACT)


@pytest.mark.parametrize("inference_steps", [20, 5, 4])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_every_ddim_step_is_that_of_diffusers(inference_steps, eta):
    scheduling_ddim = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    z, stride = normal(3, 2, seed=1), STEPS // inference_steps
    scheduler = reference(scheduling_ddim.DDIMScheduler, inference_steps, set_alpha_to_one=True)
    step = ddim(denoise, GaussianProcess(TABLE), eta, noise=lambda x: z)
    for index in scheduler.timesteps.tolist():
        x, t, s = normal(3, 2, seed=index + 2), torch.tensor(index + 1), torch.tensor(max(index + 1 - stride, 0))
        theirs = scheduler.step(network(x, t), index, x, eta=eta, variance_noise=z if eta else None).prev_sample
        torch.testing.assert_close(step(x, t, s), theirs, **EXACT)


# --- against the papers ------------------------------------------------------------------------------------------------


def test_ancestral_is_algorithm_2():
    x, z, step = normal(3, 2), normal(3, 2, seed=1), ancestral(denoise, GaussianProcess(TABLE), noise=lambda x: z_now)
    for t in range(STEPS, 0, -1):
        z_now = z if t > 1 else torch.zeros_like(z)
        beta, alpha, alpha_bar = TABLE.beta[t], TABLE.alpha[t], TABLE.alpha_bar
        sigma = ((1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta).sqrt()
        eps = network(x, t)
        expected = (x - (1 - alpha) / (1 - alpha_bar[t]).sqrt() * eps) / alpha.sqrt() + sigma * z_now
        torch.testing.assert_close(step(x, torch.tensor(t), torch.tensor(t - 1)), expected, **EXACT)


@pytest.mark.parametrize("schedule", CONTINUOUS)
def test_ddim_with_eta_1_is_ancestral(schedule):
    exact, process, z = ExactDiffusion(MIXTURE, schedule), GaussianProcess(schedule), normal(5, 2, seed=1)
    arguments = normal(5, 2), double(0.7) * schedule.T, double(0.4) * schedule.T
    ours = ddim(exact.denoise, process, eta=1.0, noise=lambda x: z)(*arguments)
    torch.testing.assert_close(ours, ancestral(exact.denoise, process, noise=lambda x: z)(*arguments), **EXACT)


@pytest.mark.parametrize("schedule", CONTINUOUS)
@pytest.mark.parametrize("fractions", [(1.0, 0.0), (0.6, 0.5), (0.9, 0.2)])
def test_ancestral_with_the_true_variance_is_exact_on_a_gaussian_in_steps_of_any_size(schedule, fractions):
    """For data N(1, 0.3) the reverse step is Gaussian, and its variance needs Var[x_0 | x_t]: push the mean and variance."""
    exact = ExactDiffusion(Mixture(double([1.0]), double([[1.0]]), double([[[0.3]]])), schedule)
    t, s = (double(fraction) * schedule.T for fraction in fractions)
    start = schedule.signal(t) + (0.3 * schedule.signal(t) ** 2 + schedule.noise(t) ** 2).sqrt() * double(
        [[0.0], [1.0]]
    )

    def push(z, s):
        step = ancestral(
            exact.denoise, GaussianProcess(schedule), lambda x, t: exact.covariance(x, t).flatten(), noise=lambda x: z
        )
        return step(start, t, s)

    s = s if float(s) else double(1e-4) * schedule.T  # at 0 no noise is added
    mean, moved = push(torch.zeros(2, 1), s), push(torch.ones(2, 1), s)
    variance = (mean[1] - mean[0]) ** 2 + (moved[0] - mean[0]) ** 2
    torch.testing.assert_close(mean[0], schedule.signal(s).reshape(1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        variance, (0.3 * schedule.signal(s) ** 2 + schedule.noise(s) ** 2).reshape(1), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("schedule", CONTINUOUS)
@pytest.mark.parametrize("fraction", [0.05, 0.5, 1.0])
def test_velocity_is_the_probability_flow(schedule, fraction):
    """Song et al. (2021), equation 13: f x - g^2 score / 2."""
    exact, t, x = ExactDiffusion(MIXTURE, schedule), double(fraction) * schedule.T, normal(6, 2)
    drift, diffusion = drift_and_diffusion(schedule, t)
    expected = drift * x - diffusion * exact.score(x, t) / 2
    torch.testing.assert_close(velocity(exact.denoise, schedule)(x, t), expected, rtol=1e-9, atol=1e-9)


def test_velocity_of_edm_is_karras_et_al():
    """Karras et al. (2022), algorithm 1, line 4: (x - D(x; t)) / t."""
    exact, t, x = ExactDiffusion(MIXTURE, EDM(6.0)), double(1.7), normal(6, 2)
    torch.testing.assert_close(velocity(exact.denoise, EDM(6.0))(x, t), (x - exact.denoise(x, t)) / t, **EXACT)


def test_velocity_takes_one_time_for_each_sample():
    exact, times, x = ExactDiffusion(MIXTURE, VP()), double([0.2, 0.8]), normal(2, 2)
    field = velocity(exact.denoise, VP())
    one_by_one = torch.cat([field(x[b : b + 1], times[b]) for b in range(2)])
    torch.testing.assert_close(field(x, times), one_by_one, **EXACT)


def slope(x, t):
    return x * t


def test_euler_is_one_step_along_the_slope():
    x, t, s = normal(2, 2), double(0.9), double(0.4)
    torch.testing.assert_close(euler(slope)(x, t, s), x - 0.5 * 0.9 * x, **EXACT)


def test_heun_averages_the_slopes_at_both_ends():
    x, t, s = normal(2, 2), double(0.9), double(0.4)
    guess = x - 0.5 * 0.9 * x
    torch.testing.assert_close(heun(slope)(x, t, s), x - 0.5 * (0.9 * x + 0.4 * guess) / 2, **EXACT)


@pytest.mark.parametrize(("end", "s"), [(0.0, 0.0), (0.2, 0.2), (0.2, 0.1)])
def test_heun_is_eulers_step_at_the_end(end, s):
    x, t = normal(2, 2), double(0.9)
    torch.testing.assert_close(heun(slope, end)(x, t, double(s)), euler(slope)(x, t, double(s)), **EXACT)


@pytest.mark.parametrize("schedule", CONTINUOUS)
def test_euler_maruyama_is_a_step_of_the_reverse_sde(schedule):
    """Song et al. (2021), equation 6, with dt = s - t < 0: x + (f x - g^2 score) dt + g sqrt(-dt) z."""
    exact, t, s = ExactDiffusion(MIXTURE, schedule), double(0.7) * schedule.T, double(0.6) * schedule.T
    x, z = normal(5, 2), normal(5, 2, seed=1)
    drift, diffusion = drift_and_diffusion(schedule, t)
    mean = x + (drift * x - diffusion * exact.score(x, t)) * (s - t)
    ours = euler_maruyama(exact.denoise, schedule, noise=lambda x: z)(x, t, s)
    torch.testing.assert_close(ours, mean + diffusion.sqrt() * (t - s).sqrt() * z, rtol=1e-9, atol=1e-9)


# --- the last step -----------------------------------------------------------------------------------------------------

STOCHASTIC = {
    "ancestral": lambda exact, schedule, noise: ancestral(exact, GaussianProcess(schedule), noise=noise),
    "ancestral-beta": lambda exact, schedule, noise: ancestral(
        exact, GaussianProcess(schedule), unit_variance(schedule), noise=noise
    ),
    "ddim-0.5": lambda exact, schedule, noise: ddim(exact, GaussianProcess(schedule), 0.5, noise=noise),
    "ddim-1": lambda exact, schedule, noise: ddim(exact, GaussianProcess(schedule), 1.0, noise=noise),
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
    "ancestral": (CHAIN, 300, lambda d, g: ancestral(d, GaussianProcess(CHAIN), generator=g)),
    "ancestral-beta": (
        CHAIN,
        300,
        lambda d, g: ancestral(d, GaussianProcess(CHAIN), unit_variance(CHAIN), generator=g),
    ),
    "ddim-0": (CHAIN, 100, lambda d, g: ddim(d, GaussianProcess(CHAIN), 0.0, generator=g)),
    "ddim-0.5": (CHAIN, 300, lambda d, g: ddim(d, GaussianProcess(CHAIN), 0.5, generator=g)),
    "ddim-1": (CHAIN, 300, lambda d, g: ddim(d, GaussianProcess(CHAIN), 1.0, generator=g)),
    "euler": (VP(), 100, lambda d, g: euler(velocity(d, VP()))),
    "heun": (VP(), 80, lambda d, g: heun(velocity(d, VP()))),
    "euler-maruyama": (VP(), 200, lambda d, g: euler_maruyama(d, VP(), generator=g)),
}


@functools.cache
def drawn(name):
    """Samples `(COUNT, 2)` and the mode `(COUNT,)` next to each; the modes lie 6 standard deviations apart and more."""
    schedule, steps, make = SAMPLERS[name]
    generator = torch.Generator().manual_seed(0)
    x = GaussianProcess(schedule).prior((COUNT, 2), generator, torch.float64)
    x = last(sample(make(ExactDiffusion(MIXTURE, schedule).denoise, generator), x, uniform_grid(schedule, steps)))
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
        lambda d, **noise: ancestral(d, GaussianProcess(VP()), **noise),
        lambda d, **noise: ddim(d, GaussianProcess(VP()), 1.0, **noise),
        lambda d, **noise: euler_maruyama(d, VP(), **noise),
    ],
    ids=["ancestral", "ddim", "euler-maruyama"],
)
def test_a_generator_is_the_source_of_the_noise(make):
    exact, arguments = ExactDiffusion(MIXTURE, VP()).denoise, (normal(4, 2), double(0.5), double(0.4))
    drawn_inside = make(exact, generator=torch.Generator().manual_seed(7))(*arguments)
    torch.testing.assert_close(drawn_inside, make(exact, noise=lambda x: normal(4, 2, seed=7))(*arguments), **EXACT)


X, ORACLE = torch.zeros(2, 2, dtype=torch.float64), ExactDiffusion(MIXTURE, TABLE).denoise


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: last(sample(euler(slope), X, torch.tensor([0.0, 1.0]))), r"times must be one row that falls strictly"),
        (lambda: last(sample(euler(slope), X, torch.tensor([2, 1, 1]))), r"times must .* got \[2, 1, 1\]"),
        (
            lambda: velocity(ORACLE, TABLE)(X, torch.tensor(5)),
            r"schedule must be continuous .* a table has no derivative",
        ),
        (lambda: euler_maruyama(ORACLE, TABLE)(X, torch.tensor(5), torch.tensor(4)), r"schedule must be continuous"),
        (
            lambda: ddim(ORACLE, GaussianProcess(TABLE), 2.0)(X, torch.tensor(5), torch.tensor(4)),
            r"eta must lie in \[0, 1\]; got 2.0",
        ),
        (
            lambda: ddim(ORACLE, GaussianProcess(TABLE), -0.5)(X, torch.tensor(5), torch.tensor(4)),
            r"eta must lie in \[0, 1\]; got -0.5",
        ),
        (
            lambda: ancestral(ORACLE, GaussianProcess(TABLE))(X, torch.tensor(4), torch.tensor(5)),
            r"s must be earlier than t",
        ),
        (
            lambda: ancestral(ORACLE, GaussianProcess(TABLE))(X, torch.tensor(21), torch.tensor(5)),
            r"t must lie in \[0, 20\]",
        ),
        (
            lambda: ddim(ORACLE, GaussianProcess(TABLE))(X, torch.tensor(2.5), torch.tensor(1)),
            r"t must hold whole steps",
        ),
        (lambda: velocity(ExactDiffusion(MIXTURE, VP()).denoise, VP())(X, double(0.0)), r"t must have noise\(t\) > 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
