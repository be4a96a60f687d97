"""Each sampler's step against diffusers and against the formula of its paper."""

import pytest
import torch

from course_lib.diffusion.continuous import EDM, VP, drift_and_diffusion
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import linear
from course_lib.sampling.ode import dpm_solver, euler, heun, velocity
from course_lib.sampling.sde import euler_maruyama
from course_lib.sampling.steps import ancestral, ddim, last, sample, unit_variance
from tests.lib.tensors import CONTINUOUS, MIXTURE, double, normal

EXACT = {"rtol": 1e-12, "atol": 1e-12}

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
    step = ancestral(denoise, GaussianDiffusion(TABLE), x0_variance, noise=lambda x: z)
    for index in scheduler.timesteps.tolist():
        x, t, s = normal(3, 2, seed=index + 2), torch.tensor(index + 1), torch.tensor(max(index + 1 - stride, 0))
        theirs = scheduler.step(network(x, t), index, x).prev_sample
        torch.testing.assert_close(step(x, t, s), theirs, **EXACT)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs, of NumPy 2
def test_dpm_solver_draws_what_diffusers_draws():
    """The whole chain, since its steps remember; diffusers computes log(signal / noise) in the dtype of its table."""
    multistep = pytest.importorskip("diffusers.schedulers.scheduling_dpmsolver_multistep")
    scheduler = multistep.DPMSolverMultistepScheduler(
        num_train_timesteps=STEPS,
        trained_betas=TABLE.beta[1:].numpy(),
        solver_order=2,
        algorithm_type="dpmsolver++",
        solver_type="midpoint",
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        lower_order_final=True,
        euler_at_final=True,
    )
    scheduler.alphas_cumprod = TABLE.alpha_bar[1:]
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == [19, 15, 11, 7, 3]
    theirs = normal(3, 2)
    for index in scheduler.timesteps:
        theirs = scheduler.step(network(theirs, index + 1), index, theirs).prev_sample
    ours = last(sample(dpm_solver(denoise, TABLE), normal(3, 2), torch.tensor([20, 16, 12, 8, 4, 0])))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("inference_steps", [20, 5, 4])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_every_ddim_step_is_that_of_diffusers(inference_steps, eta):
    scheduling_ddim = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    z, stride = normal(3, 2, seed=1), STEPS // inference_steps
    scheduler = reference(scheduling_ddim.DDIMScheduler, inference_steps, set_alpha_to_one=True)
    step = ddim(denoise, GaussianDiffusion(TABLE), eta, noise=lambda x: z)
    for index in scheduler.timesteps.tolist():
        x, t, s = normal(3, 2, seed=index + 2), torch.tensor(index + 1), torch.tensor(max(index + 1 - stride, 0))
        theirs = scheduler.step(network(x, t), index, x, eta=eta, variance_noise=z if eta else None).prev_sample
        torch.testing.assert_close(step(x, t, s), theirs, **EXACT)


# --- against the papers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [TABLE, *CONTINUOUS])
def test_unit_variance_is_that_of_normal_data(schedule):
    eye, t = torch.eye(2, dtype=torch.float64), torch.tensor(schedule.T)
    exact = ExactDiffusion(Mixture(double([1.0]), 0 * eye[:1], eye[None]), schedule)
    covariance = exact.covariance(normal(1, 2), t)[0]
    torch.testing.assert_close(unit_variance(schedule)(normal(1, 2), t) * eye, covariance, **EXACT)


def test_ancestral_is_algorithm_2():
    x, z, step = normal(3, 2), normal(3, 2, seed=1), ancestral(denoise, GaussianDiffusion(TABLE), noise=lambda x: z_now)
    for t in range(STEPS, 0, -1):
        z_now = z if t > 1 else torch.zeros_like(z)
        beta, alpha, alpha_bar = TABLE.beta[t], TABLE.alpha[t], TABLE.alpha_bar
        sigma = ((1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta).sqrt()
        eps = network(x, t)
        expected = (x - (1 - alpha) / (1 - alpha_bar[t]).sqrt() * eps) / alpha.sqrt() + sigma * z_now
        torch.testing.assert_close(step(x, torch.tensor(t), torch.tensor(t - 1)), expected, **EXACT)


@pytest.mark.parametrize("schedule", CONTINUOUS)
def test_ddim_with_eta_1_is_ancestral(schedule):
    exact, process, z = ExactDiffusion(MIXTURE, schedule), GaussianDiffusion(schedule), normal(5, 2, seed=1)
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
            exact.denoise, GaussianDiffusion(schedule), lambda x, t: exact.covariance(x, t).flatten(), noise=lambda x: z
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


X, ORACLE = torch.zeros(2, 2, dtype=torch.float64), ExactDiffusion(MIXTURE, TABLE).denoise


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: velocity(ORACLE, TABLE)(X, torch.tensor(5)),
            r"schedule must be continuous .* a table has no derivative",
        ),
        (lambda: euler_maruyama(ORACLE, TABLE)(X, torch.tensor(5), torch.tensor(4)), r"schedule must be continuous"),
        (
            lambda: ddim(ORACLE, GaussianDiffusion(TABLE), 2.0)(X, torch.tensor(5), torch.tensor(4)),
            r"eta must lie in \[0, 1\]; got 2.0",
        ),
        (
            lambda: ddim(ORACLE, GaussianDiffusion(TABLE), -0.5)(X, torch.tensor(5), torch.tensor(4)),
            r"eta must lie in \[0, 1\]; got -0.5",
        ),
        (
            lambda: ancestral(ORACLE, GaussianDiffusion(TABLE))(X, torch.tensor(4), torch.tensor(5)),
            r"s must be earlier than t",
        ),
        (
            lambda: ancestral(ORACLE, GaussianDiffusion(TABLE))(X, torch.tensor(21), torch.tensor(5)),
            r"t must lie in \[0, 20\]",
        ),
        (
            lambda: ddim(ORACLE, GaussianDiffusion(TABLE))(X, torch.tensor(2.5), torch.tensor(1)),
            r"t must hold whole steps",
        ),
        (lambda: velocity(ExactDiffusion(MIXTURE, VP()).denoise, VP())(X, double(0.0)), r"t must have noise\(t\) > 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
