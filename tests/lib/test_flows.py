"""Flow matching and EDM: velocities against exact mixtures, couplings, straightness, preconditioning, weights, and their recipes."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from course_lib.data import sets
from course_lib.data.images import to_unit
from course_lib.diffusion import weights
from course_lib.diffusion.continuous import EDM, VP, Straight, drift_and_diffusion
from course_lib.diffusion.exact import ExactDiffusion
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import EPS, FLOW, PREDICTIONS, X0, V, denoiser, to_eps, to_score
from course_lib.diffusion.schedules import cosine, linear
from course_lib.models import store
from course_lib.nets.preconditioned import Preconditioned, PreconditionedUNet, coefficients
from course_lib.recipes import rows
from course_lib.recipes.diffusion import Denoise
from course_lib.recipes.rows import RECIPES
from course_lib.recipes.train import train
from course_lib.sampling.generate import Denoising, draw
from course_lib.sampling.guidance import extrapolated
from course_lib.sampling.ode import euler, heun, velocity
from course_lib.sampling.steps import ddim, last, sample
from course_lib.sampling.straightness import ends, straightness
from course_lib.sampling.times import karras_grid
from course_lib.training.coupling import matched
from tests.lib.killed import killed_at_second_save
from tests.lib.tensors import MIXTURE, double, normal

EXACT = {"rtol": 1e-10, "atol": 1e-11}
LINE = ExactDiffusion(MIXTURE, Straight())


# --- flows -------------------------------------------------------------------------------------------------------------


def test_the_flow_networks_answer_is_the_velocity_of_its_denoiser() -> None:
    """A network that predicts eps - x_0 goes through x_0-hat to the probability flow and comes back as itself."""
    x, t = normal(5, 2), double([0.1, 0.4, 0.7, 0.99, 1.0])
    network = lambda x, t, cond: torch.sin(3 * x) + t[:, None]  # noqa: E731
    field = velocity(denoiser(network, FLOW, Straight()), Straight())
    torch.testing.assert_close(field(x, t), network(x, t, None), **EXACT)


@pytest.mark.parametrize("schedule", [Straight(), EDM(6.0)], ids=["straight", "edm"])
def test_a_step_of_ddim_is_eulers_where_signal_and_noise_are_lines(schedule) -> None:
    exact, t, s = ExactDiffusion(MIXTURE, schedule), double(0.8), double(0.3)
    ours, theirs = ddim(exact.denoise, GaussianDiffusion(schedule)), euler(velocity(exact.denoise, schedule))
    torch.testing.assert_close(ours(normal(6, 2), t, s), theirs(normal(6, 2), t, s), **EXACT)


def test_the_straight_flow_carries_noise_to_the_mixture() -> None:
    x = normal(20_000, 2)
    drawn = last(sample(heun(velocity(LINE.denoise, Straight())), x, Straight().grid(100)))
    torch.testing.assert_close(drawn.mean(0), MIXTURE.mean(), rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.T.cov(), MIXTURE.covariance(), rtol=0, atol=0.03)


def test_guiding_denoisers_guides_their_velocities() -> None:
    one, other, x, t = LINE.conditional(0), LINE, normal(6, 2), double(0.6)
    guided = velocity(extrapolated(one.denoise, other.denoise, 2.5), Straight())(x, t)
    fields = [velocity(exact.denoise, Straight())(x, t) for exact in (one, other)]
    torch.testing.assert_close(guided, fields[1] + 2.5 * (fields[0] - fields[1]), **EXACT)


def test_matching_is_the_cheapest_of_all_orders() -> None:
    x0, noise = normal(6, 1, 3), normal(6, 1, 3, seed=1)
    found = matched(x0, noise)
    costs = {order: float((x0 - noise[list(order)]).square().sum()) for order in itertools.permutations(range(6))}
    assert math.isclose(float((x0 - found).square().sum()), min(costs.values()), rel_tol=1e-12)
    assert sorted(found.flatten().tolist()) == sorted(noise.flatten().tolist())
    with pytest.raises(ValueError, match="x0 and noise must have the same shape"):
        matched(x0, noise[:5])


def test_straightness_of_a_line_is_0_and_of_a_parabola_is_known() -> None:
    """x = u^2 from u = 0 to 1 (in time 1 - t) has speed 2u and chord 1: the mean of (2u - 1)^2 is 1/3."""
    times = torch.linspace(1, 0, 2001, dtype=torch.float64)
    line = [2 + (1 - t) * normal(3, 4) for t in times]
    torch.testing.assert_close(straightness(line, times), torch.zeros(3).double(), **EXACT)
    bent = [((1 - t) ** 2).expand(2, 1) for t in times]
    torch.testing.assert_close(straightness(bent, times), double([1 / 3, 1 / 3]), rtol=1e-5, atol=0)
    late = [(2 * ((2 - t) / 2) ** 2).expand(2, 1) for t in 2 * times]  # over twice the time, with half the acceleration
    torch.testing.assert_close(straightness(late, 2 * times), double([1 / 3, 1 / 3]), rtol=1e-5, atol=0)
    with pytest.raises(ValueError, match="states must be as many as times, 2001; got 2"):
        straightness(bent[:2], times)


def test_the_ends_of_a_flow_give_noise_and_what_it_becomes() -> None:
    step, x, times = euler(velocity(LINE.denoise, Straight())), normal(4, 2), Straight().grid(20)
    x0, noise = ends(step, x, times)
    assert torch.equal(noise, x) and torch.equal(x0, last(sample(step, x, times)))


def test_reflow_of_a_gaussian_pairs_is_straight() -> None:
    """Between x_0 = m + C eps and its own eps the velocity at x_t is a function of x_t, so the best answer has no loss at all."""
    noise, factor, shift = normal(200, 2), double([[0.5, 0.2], [0.0, 1.5]]), double([1.0, -2.0])
    x0, t = noise @ factor.T + shift, torch.linspace(0.01, 1, 200, dtype=torch.float64)

    def best(x, t, cond):
        blend = (1 - t)[:, None, None] * factor + t[:, None, None] * torch.eye(2)
        eps = torch.linalg.solve(blend, x - (1 - t)[:, None] * shift)
        return eps - (eps @ factor.T + shift)

    loss = denoising_loss(best, x0, t, noise, GaussianDiffusion(Straight()), FLOW)
    assert float(loss.max()) < 1e-20
    other = denoising_loss(best, x0, t, noise.flip(0), GaussianDiffusion(Straight()), FLOW)
    assert float(other.mean()) > 0.1


# --- EDM ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0, 40.0])
def test_preconditioned_input_and_target_have_unit_variance(sigma) -> None:
    """Over 200,000 draws of data of standard deviation 0.7: within five standard errors of a variance."""
    c, n = coefficients(double(sigma), 0.7), 200_000
    x0, x = 0.7 * normal(n), 0.7 * normal(n) + sigma * normal(n, seed=1)
    for values in (c.into * x, (x0 - c.skip * x) / c.out):
        assert abs(float(values.var()) - 1) < 5 * (2 / n) ** 0.5
    assert math.isclose(float(c.noise), math.log(sigma) / 4, abs_tol=1e-12)


def test_preconditioning_makes_a_network_that_says_0_the_best_linear_denoiser() -> None:
    """For Gaussian data the best denoiser is linear, so nothing is left for the network to say."""
    x, sigma = normal(4, 3), double([0.1, 0.5, 2.0, 30.0])
    model = Preconditioned(torch.nn.Module(), 0.7)
    model.network.forward = lambda x, t, cond: torch.zeros_like(x)
    torch.testing.assert_close(model(x, sigma), x * (0.49 / (0.49 + sigma**2))[:, None], **EXACT)
    with pytest.raises(ValueError, match="sigma_data, .* must be above 0; got 0"):
        Preconditioned(torch.nn.Module(), 0)


def test_with_unit_data_the_raw_network_predicts_minus_v() -> None:
    """x_t / sqrt(1 + sigma^2) preserves the variance, and D = a x - b v there (Salimans and Ho, 2022)."""
    x, sigma = normal(4, 3), double([0.1, 0.5, 2.0, 30.0])
    raw = lambda x, t, cond: torch.cos(x)  # noqa: E731
    model = Preconditioned(torch.nn.Module(), 1.0)
    model.network.forward = raw
    a = (1 + sigma**2).rsqrt()[:, None]
    b = sigma[:, None] * a
    torch.testing.assert_close(model(x, sigma), V.to_x0(-raw(a * x, None, None), a * x, a, b), **EXACT)


def test_edm_weight_makes_the_raw_networks_error_count_once() -> None:
    sigma = double([0.01, 0.4, 9.0])
    torch.testing.assert_close(weights.edm(0.6)(sigma) * coefficients(sigma, 0.6).out ** 2, torch.ones(3).double())


def test_edm_grid_is_that_of_karras() -> None:
    for steps in (2, 5, 18):
        torch.testing.assert_close(EDM().grid(steps), karras_grid(steps=steps), **EXACT)
    assert EDM(3.0).grid(1).tolist() == [3.0, 0.0]
    ends_above_0 = EDM(3.0).grid(4, end=0.1)
    torch.testing.assert_close((ends_above_0 ** (1 / 7)).diff().std(), double(0.0), rtol=0, atol=1e-12)
    assert math.isclose(ends_above_0[-1], 0.1, rel_tol=1e-12) and math.isclose(ends_above_0[0], 3, rel_tol=1e-12)
    with pytest.raises(ValueError, match="sigma_min and rho must be above 0; got -1 and 7"):
        EDM(sigma_min=-1)


# --- weights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS.keys())
@pytest.mark.parametrize("schedule", [VP(), EDM(), Straight()], ids=["vp", "edm", "straight"])
def test_a_weight_of_the_output_weighs_the_error_of_x0_as_wanted(prediction, schedule) -> None:
    x0, noise, t = normal(3, 4), normal(3, 4, seed=1), double([0.2, 0.5, 0.9])
    process, network = GaussianDiffusion(schedule), lambda x, t, cond: torch.sin(x)
    wanted = weights.min_snr(schedule, 5.0)
    weighted = denoising_loss(
        network, x0, t, noise, process, prediction, weight=weights.for_output(wanted, prediction, schedule)
    )
    guess = denoiser(network, prediction, schedule)(process.diffuse(x0, t, noise), t)
    torch.testing.assert_close(weighted, wanted(t) * (guess - x0).square().mean(1), **EXACT)


def test_min_snr_is_the_papers_for_eps_x0_and_v() -> None:
    schedule, t = linear(), torch.tensor([1, 50, 300, 900])
    ratio = schedule.alpha_bar[t] / (1 - schedule.alpha_bar[t])
    least = ratio.clamp(max=5)
    assert ratio.max() > 5 > ratio.min()
    for prediction, expected in ((EPS, least / ratio), (X0, least), (V, least / (ratio + 1))):
        found = weights.for_output(weights.min_snr(schedule), prediction, schedule)(t)
        torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("schedule", [VP(), EDM(), Straight()], ids=["vp", "edm", "straight"])
def test_the_likelihoods_weight_is_half_of_g_squared_for_the_score(schedule) -> None:
    exact, x, t = ExactDiffusion(MIXTURE, schedule), normal(4, 2), double(0.6)
    guess, right = 0.9 * exact.denoise(x, t), exact.denoise(x, t)
    scores = [to_score(x0, x, t, schedule) for x0 in (guess, right)]
    _, diffusion = drift_and_diffusion(schedule, t)
    left = diffusion / 2 * (scores[0] - scores[1]).square().sum(1)
    torch.testing.assert_close(left, weights.likelihood(schedule)(t) * (guess - right).square().sum(1), **EXACT)
    with pytest.raises(ValueError, match="schedule must be continuous"):
        weights.likelihood(cosine())(torch.tensor(3))


def test_to_eps_of_the_straight_line_at_pure_noise_is_the_state() -> None:
    x, t = normal(4, 2), double(1.0)
    torch.testing.assert_close(to_eps(LINE.denoise(x, t), x, t, Straight()), x, **EXACT)


# --- recipes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path, monkeypatch) -> None:
    """A stand-in for MNIST: 80 pictures of two grey levels."""
    pictures = (torch.rand(80, 1, 28, 28, generator=torch.Generator().manual_seed(0)) > 0.8).to(torch.uint8) * 255
    monkeypatch.setitem(rows.TRAINING, "mnist", lambda: (pictures,))


@pytest.mark.parametrize("name", ["mnist-flow", "mnist-edm"])
def test_recipes_of_flows_train_resume_and_draw(name, small, tmp_path, monkeypatch) -> None:
    options = {"steps": 4, "batch_size": 4, "bf16": False}
    monkeypatch.setattr(
        Denoise, "samples", lambda self, network, shape, seed: None
    )  # pictures take longer than the steps
    recipe = replace(RECIPES[name], config={**RECIPES[name].config, "width": 8})
    card = train(recipe, tmp_path / "whole", **options, save_every=2)
    with killed_at_second_save():
        train(recipe, tmp_path / "killed", **options, save_every=2)
    again = train(recipe, tmp_path / "killed", **options, save_every=2, resume=True)
    assert again.sha256 == card.sha256 and card.prediction == recipe.objective.prediction.name
    model, _ = store.load_denoising(tmp_path / "killed")
    for sampler in ("ddim", "heun", "dpm-solver", "ddpm"):
        drawn = draw(model, 2, 3, sampler, torch.Generator().manual_seed(0))
        assert drawn.shape == (2, 1, 28, 28) and bool(drawn.isfinite().all()) and float(drawn.abs().max()) < 3


@pytest.mark.parametrize("schedule", [Straight(), EDM(6.0)], ids=["straight", "edm"])
def test_draw_follows_the_schedules_own_clock(schedule) -> None:
    """The exact denoiser in the place of a network: what `draw` gives by Heun's method is the mixture's, up to its clip."""

    class Asked(torch.nn.Linear):
        takes = None

        def forward(self, x, t, cond=None):
            return ExactDiffusion(MIXTURE, schedule).denoise(x.double(), t.double()).float()

    model = Denoising(Asked(1, 1), X0, schedule, (2,))
    drawn = draw(model, 100, 8, "heun", torch.Generator().manual_seed(0))
    x = GaussianDiffusion(schedule).prior((100, 2), torch.Generator().manual_seed(0))
    clipped = lambda x, t: ExactDiffusion(MIXTURE, schedule).denoise(x.double(), t).float().clamp(-1, 1)  # noqa: E731
    wanted = last(sample(heun(velocity(clipped, schedule)), x, schedule.grid(8)))
    torch.testing.assert_close(drawn, wanted, rtol=0, atol=2e-2)


@pytest.mark.needs_data("mnist")
def test_the_recipes_sigma_data_is_the_standard_deviation_of_mnist() -> None:
    images = to_unit(sets.load("mnist", "train")[0])
    recipe = RECIPES["mnist-edm"]
    assert abs(float(images.std()) - recipe.config["sigma_data"]) < 0.005
    network = PreconditionedUNet(**recipe.config)
    assert network.config["sigma_data"] == recipe.config["sigma_data"] and network.takes is None
