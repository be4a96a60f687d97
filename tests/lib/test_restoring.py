"""Measurements, and steps and denoisers that keep to them, on mixtures whose posterior is known."""

import pytest
import torch
from torch import Tensor

from course_lib.diffusion.exact import ExactDiffusion, Mixture, three_bumps
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.measurements import Measurement, along, coarse, grey, known, posterior
from course_lib.diffusion.predictions import V
from course_lib.diffusion.schedules import cosine
from course_lib.draws import standard_normal
from course_lib.nets.mlp import MLP
from course_lib.sampling.generate import Denoising
from course_lib.sampling.restoring import METHODS, descended, edited, repeated, replacing, restored, steered
from course_lib.sampling.steps import ancestral, ddim, last, sample, unit_variance
from tests.lib.tensors import normal

SCHEDULE = cosine(50)
PROCESS = GaussianDiffusion(SCHEDULE)
MASK = torch.tensor([[1.0, 0.0, 1.0, 0.0]] * 4)
KINDS = {"known": known(MASK), "grey": grey(), "coarse": coarse(2)}


def correlated(rho: float) -> ExactDiffusion:
    """Two numbers of variance 1 with a correlation, of which the first will be known."""
    covariance = torch.tensor([[[1.0, rho], [rho, 1.0]]], dtype=torch.float64)
    return ExactDiffusion(Mixture(torch.ones(1).double(), torch.zeros(1, 2).double(), covariance), SCHEDULE)


FIRST = torch.tensor([1.0, 0.0], dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_a_measurement_has_the_adjoint_and_the_gain_that_it_says(kind: str) -> None:
    measured, x, other = KINDS[kind], normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    y = measured.apply(x)
    torch.testing.assert_close((measured.apply(other) * y).sum(), (other * measured.adjoint(y)).sum())
    torch.testing.assert_close(measured.apply(measured.adjoint(y)), measured.gain * y)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_replaced_measures_y_and_moves_no_further_than_it_must(kind: str) -> None:
    measured, x, y = KINDS[kind], normal(2, 3, 4, 4), KINDS[kind].apply(normal(2, 3, 4, 4, seed=1))
    found = measured.replaced(x, y)
    torch.testing.assert_close(measured.apply(found), y)
    free = normal(2, 3, 4, 4, seed=2)
    free = free - measured.inverse(measured.apply(free))  # what A does not see
    torch.testing.assert_close(((found - x) * free).sum(), torch.tensor(0.0, dtype=torch.float64))


def test_the_noise_of_a_measurement_has_its_size_where_a_measurement_can_reach() -> None:
    x = normal(1, 3, 4, 4).expand(20_000, 3, 4, 4)
    for clean in KINDS.values():
        noisy = Measurement(clean.apply, clean.adjoint, clean.gain, 0.3)
        off = noisy.observe(x, torch.Generator().manual_seed(0)) - clean.apply(x)
        torch.testing.assert_close(off, clean.apply(clean.inverse(off)))
        free = off[off != 0]
        assert abs(float(free.std()) - 0.3) < 0.005
    torch.testing.assert_close(grey().observe(x[:2]), grey().apply(x[:2]))


def test_the_posterior_is_bayes_rule() -> None:
    """At many points: prior times likelihood, up to one constant."""
    A, y = torch.tensor([[1.0, 0.5], [0.2, -1.0]], dtype=torch.float64), torch.tensor([0.3, -0.1], dtype=torch.float64)
    prior, after = three_bumps(), posterior(three_bumps(), A, y, 0.4)
    x, now = normal(30, 2), torch.tensor(0)
    joint = ExactDiffusion(prior, SCHEDULE).log_prob(x, now) - (y - x @ A.T).square().sum(1) / (2 * 0.4**2)
    ratio = ExactDiffusion(after, SCHEDULE).log_prob(x, now) - joint
    torch.testing.assert_close(ratio, ratio[:1].expand(30))
    with pytest.raises(ValueError, match="noise must be above 0; got 0"):
        posterior(prior, A, y, 0.0)
    with pytest.raises(ValueError, match=r"shapes \(M, 2\) and \(M,\); got \(2, 2\) and \(3,\)"):
        posterior(prior, A, torch.zeros(3), 0.1)


@pytest.mark.parametrize("t", [1, 20, 49])
def test_guidance_with_the_true_spread_is_exact_for_gaussian_data(t: int) -> None:
    exact, now, y = correlated(0.7), torch.tensor(t), torch.full((5, 1), 0.4, dtype=torch.float64)
    measured = along(2 * FIRST, 0.3)
    after = ExactDiffusion(posterior(exact.mixture, 2 * FIRST[None], y[0], 0.3), SCHEDULE)
    x = normal(5, 2)
    guided = steered(exact.denoise, SCHEDULE, measured, y, lambda x, t: exact.covariance(x, t)[:, 0, 0])
    torch.testing.assert_close(guided(x, now), after.denoise(x, now))
    without = steered(exact.denoise, SCHEDULE, measured, y)(x, now)
    past = (y - measured.apply(without)) / (y - measured.apply(exact.denoise(x, now)))
    c = 4 * exact.covariance(x, now)[:, :1, 0]
    torch.testing.assert_close(past, 1 - c / 0.3**2)  # it overshoots where c is above the noise's variance


def test_guidance_without_noise_or_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="spread must be given where the measurement has no noise"):
        steered(correlated(0.5).denoise, SCHEDULE, along(FIRST), torch.zeros(1, 1))


def test_guidance_works_inside_a_sampler_and_leaves_no_graph() -> None:
    exact, y = correlated(0.7), torch.full((4, 1), 0.4, dtype=torch.float64)
    guided = steered(exact.denoise, SCHEDULE, along(FIRST), y, unit_variance(SCHEDULE), clip=1.0)
    x = last(sample(ddim(guided, PROCESS), normal(4, 2), SCHEDULE.grid(10)))
    assert float(x.abs().max()) <= 1
    assert not guided(x, torch.tensor(20)).requires_grad


def test_the_descent_is_the_papers_formula() -> None:
    """For a linear denoiser the slope is known: x0-hat = x / 2."""
    x, y, t, s = normal(4, 2), torch.full((4, 1), 0.4, dtype=torch.float64), torch.tensor(20), torch.tensor(10)
    half = lambda x, t: x / 2  # noqa: E731
    off = y - x[:, :1] / 2
    slope = -off * FIRST  # of |y - A x0-hat|^2
    wanted = ddim(half, PROCESS)(x, t, s) - 0.3 / off.abs() * slope
    found = descended(lambda denoise: ddim(denoise, PROCESS), half, along(FIRST), y, 0.3)(x, t, s)
    torch.testing.assert_close(found, wanted)


def test_a_descent_that_has_arrived_stays_finite() -> None:
    x = torch.zeros(2, 2, dtype=torch.float64)
    step = descended(lambda denoise: ddim(denoise, PROCESS), lambda x, t: x, along(FIRST), torch.zeros(2, 1), 1.0)
    assert bool(step(x, torch.tensor(20), torch.tensor(10)).isfinite().all())


def unknown_mean(rho: float, repeats: int, n: int = 4000) -> float:
    """The mean of the unknown number, in units of the known one, after the whole chain of exact steps."""
    exact, noise = correlated(rho), standard_normal(torch.Generator().manual_seed(0))
    y = torch.full((n, 1), 2.0, dtype=torch.float64)
    step = repeated(
        replacing(ancestral(exact.denoise, PROCESS, noise=noise), PROCESS, along(FIRST), y, noise),
        PROCESS,
        repeats,
        noise,
    )
    x = last(sample(step, normal(n, 2), SCHEDULE.grid()))
    torch.testing.assert_close(x[:, :1], y)  # what is known is there in the end
    return float(x[:, 1].mean()) / 2


def test_what_is_put_in_has_the_noise_of_its_time_and_the_rest_stays() -> None:
    y, noise = torch.full((20_000, 1), 0.4, dtype=torch.float64), standard_normal(torch.Generator().manual_seed(0))
    x, s = normal(20_000, 2), torch.tensor(10)
    found = replacing(lambda x, t, s: x, PROCESS, along(FIRST), y, noise)(x, torch.tensor(20), s)
    assert torch.equal(found[:, 1], x[:, 1])
    assert abs(float(found[:, 0].mean()) - 0.4 * float(SCHEDULE.signal(s))) < 0.01
    assert abs(float(found[:, 0].std()) - float(SCHEDULE.noise(s))) < 0.01


def test_replacing_finds_half_of_a_weak_dependence_and_repainting_more() -> None:
    half = (1 - (1 - 0.4**2) ** 0.5) / 0.4
    assert abs(unknown_mean(0.4, 1) - half) < 0.03
    assert 0.4 - unknown_mean(0.4, 10) < 0.4 * (0.4 - half)


def test_a_step_is_repeated_with_noise_in_between_but_for_the_last() -> None:
    taken: list[tuple[int, int]] = []

    def step(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        taken.append((int(t), int(s)))
        return x

    again = repeated(step, PROCESS, 3, standard_normal(torch.Generator().manual_seed(0)))
    last(sample(again, normal(2, 2), torch.tensor([20, 10, 0])))
    assert taken == [(20, 10)] * 3 + [(10, 0)]
    x, one, (t, s) = normal(2, 2), torch.ones(2, 2, dtype=torch.float64), torch.tensor([20, 10])
    found = repeated(lambda x, t, s: x, PROCESS, 2, lambda x: one)(x, t, s)
    torch.testing.assert_close(found, PROCESS.advance(x, s, t, one))  # there and back again


def test_an_edit_lies_between_the_guide_and_the_data_as_derived() -> None:
    """Data N(0, 1): mean kappa g and variance 1 - kappa^2 with kappa = a^2, from the exact reverse chain."""
    exact, start = correlated(0.0), 20
    guide = torch.full((20_000, 2), 3.0, dtype=torch.float64)
    noise = standard_normal(torch.Generator().manual_seed(0))
    step = ancestral(exact.denoise, PROCESS, unit_variance(SCHEDULE), noise=noise)  # exact for such data
    found = edited(step, PROCESS, guide, torch.arange(start, -1, -1), noise)
    kappa = float(SCHEDULE.alpha_bar[start])
    torch.testing.assert_close(found.mean(0), torch.full((2,), 3 * kappa).double(), atol=0.03, rtol=0)
    torch.testing.assert_close(found.var(0), torch.full((2,), 1 - kappa**2).double(), atol=0.03, rtol=0)


def drawing(**config: object) -> Denoising:
    torch.manual_seed(0)
    return Denoising(MLP(width=8, depth=1, **config), V, SCHEDULE, (2,))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_a_restored_sample_is_fixed_by_its_seed_and_keeps_to_what_is_known(method: str) -> None:
    y, measured = torch.tensor([[0.3], [-0.2]]), along(FIRST)
    one, same, other = (
        restored(drawing(), measured, y, method, 10, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert float(one.abs().max()) <= 1
    if method in ("replacement", "repaint"):
        torch.testing.assert_close(one[:, :1], y, atol=1e-6, rtol=0)


def test_what_cannot_restore_is_refused() -> None:
    y, measured = torch.zeros(1, 1), along(FIRST)
    with pytest.raises(ValueError, match="did you mean 'pigdm'"):
        restored(drawing(), measured, y, "pigmd")
    with pytest.raises(ValueError, match="it cannot be asked for one"):
        restored(drawing(), measured, y, cond=torch.zeros(1, dtype=torch.long))
    for model in (drawing(leaps=(1, 2)), drawing(outputs=4)):
        with pytest.raises(ValueError, match="a picture is restored by a model that averages pictures"):
            restored(model, measured, y)
