"""Few steps: the exact flow map, leaps, and the three ways to learn them, each against the truth on the line."""

import math
from dataclasses import replace

import pytest
import torch

from course_lib.diffusion.continuous import EDM, VP, Interpolated, Straight
from course_lib.diffusion.exact import ExactDiffusion, Mixture, two_bumps
from course_lib.diffusion.flow_map import ExactFlowMap
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import FLOW, Prediction, V
from course_lib.diffusion.schedules import cosine
from course_lib.draws import standard_normal
from course_lib.models import store
from course_lib.nets.conditions import Until, check_condition
from course_lib.nets.embeddings import ConditionEmbedding
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.recipes import few_steps, rows
from course_lib.recipes.few_steps import consistency_loss, distillation_loss, halves, mean_flow_loss
from course_lib.recipes.rows import RECIPES
from course_lib.recipes.train import train
from course_lib.sampling.generate import Denoising, draw
from course_lib.sampling.leaps import leap, needed_x0, renoised, subdivided
from course_lib.sampling.ode import heun, velocity
from course_lib.sampling.steps import ddim, last, sample
from tests.lib.killed import killed_at_second_save
from tests.lib.tensors import MIXTURE, double, normal

EXACT = {"rtol": 1e-10, "atol": 1e-11}


# --- the exact flow map ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [Straight(), VP(), EDM(6.0)], ids=["straight", "vp", "edm"])
def test_the_flow_map_is_where_a_fine_solve_of_the_flow_arrives(schedule) -> None:
    """From pure noise half-way, and to the data; the solver's own error falls with the square of its step."""
    exact = ExactDiffusion(two_bumps(), schedule)
    step, true = heun(velocity(exact.denoise, schedule)), ExactFlowMap(two_bumps(), schedule)
    x = 1.3 * normal(60, 1) * float(schedule.noise(double(schedule.T)))
    for end in (0.4 * schedule.T, 0.02 * schedule.T):
        errors = []
        for steps in (250, 500):
            times = torch.linspace(schedule.T, end, steps + 1, dtype=torch.float64)
            errors.append(float((last(sample(step, x, times)) - true(x, times[0], times[-1])).abs().max()))
        assert errors[1] < 2e-3 and errors[0] / errors[1] > 3


def test_the_flow_map_keeps_the_share_below_and_goes_back_the_way_it_came() -> None:
    true, x = ExactFlowMap(two_bumps(), Straight()), 2 * normal(50, 1)
    t, s = torch.linspace(0.3, 1, 50, dtype=torch.float64), torch.linspace(0, 0.25, 50, dtype=torch.float64)
    there = true(x, t, s)
    torch.testing.assert_close(true.distribution(there, s), true.distribution(x, t), **EXACT)
    torch.testing.assert_close(true(there, s, t), x, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(true(true(x, t, t / 2 + s / 2), t / 2 + s / 2, s), there, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(true(x, t, t), x, **EXACT)


def test_the_flow_map_of_a_gaussian_is_a_line_even_far_out() -> None:
    """x_s = m a_s + (x - m a_t) sd_s / sd_t, where the distribution function of either is 0 or 1 in float64."""
    one = Mixture(torch.ones(1).double(), double([[0.7]]), double([[[0.09]]]))
    true, x = ExactFlowMap(one, Straight()), double([[-60.0], [-9.0], [0.3], [12.0], [60.0]])
    wanted = 0.5 * 0.7 + (x - 0.1 * 0.7) * math.hypot(0.5 * 0.3, 0.5) / math.hypot(0.1 * 0.3, 0.9)
    torch.testing.assert_close(true(x, double(0.9), double(0.5)), wanted, **EXACT)
    torch.testing.assert_close(true.mean_velocity(x, double(0.9), double(0.5)), (x - wanted) / 0.4, **EXACT)


def test_the_flow_map_far_out_on_the_right_is_that_of_the_mirrored_mixture_on_the_left() -> None:
    """Where the share below is 1 in float64, the share above still tells the places apart."""
    bumps = two_bumps()
    mirrored = ExactFlowMap(Mixture(bumps.weights, -bumps.means, bumps.covariances), Straight())
    x, t, s = double([[9.0], [10.0], [30.0]]), double(0.9), double(0.2)
    found = ExactFlowMap(bumps, Straight())(x, t, s)
    torch.testing.assert_close(found, -mirrored(-x, t, s), rtol=1e-9, atol=1e-9)
    assert bool((found.diff(dim=0) > 0.1).all())


def test_mean_velocity_becomes_the_velocity_as_the_leap_shrinks() -> None:
    true, x = ExactFlowMap(two_bumps(), Straight()), normal(9, 1)
    field = velocity(ExactDiffusion(two_bumps(), Straight()).denoise, Straight())
    for t in (0.2, 0.7):
        found = true.mean_velocity(x, double(t + 1e-4), double(t - 1e-4))
        nearby = true(x, double(t + 1e-4), double(t))
        torch.testing.assert_close(found, field(nearby, double(t)), rtol=1e-5, atol=1e-5)


def test_the_generator_of_the_mixture_draws_the_mixture() -> None:
    """One evaluation, and the moments of 40,000 samples are right to five standard errors."""
    drawn = ExactFlowMap(two_bumps(), Straight())(normal(40_000, 1), double(1.0), double(0.0))
    data, spread = two_bumps(), float(two_bumps().covariance().sqrt())
    assert abs(float(drawn.mean() - data.mean())) < 5 * spread / 200
    assert abs(float(drawn.var() - data.covariance())) < 5 * 2**0.5 * spread**2 / 200


def test_the_flow_map_refuses_what_it_cannot_follow() -> None:
    with pytest.raises(ValueError, match=r"must lie on the line \(D = 1\).*got D = 2"):
        ExactFlowMap(MIXTURE, Straight())
    with pytest.raises(ValueError, match="must have a variance above 0"):
        ExactFlowMap(Mixture(torch.ones(1), torch.zeros(1, 1), torch.zeros(1, 1, 1)), Straight())
    true = ExactFlowMap(two_bumps(), Straight())
    with pytest.raises(ValueError, match=r"x must have shape \(B, 1\)"):
        true(normal(3, 2), double(0.5), double(0.1))
    with pytest.raises(ValueError, match="s must differ from t"):
        true.mean_velocity(normal(3, 1), double(0.5), double(0.5))


# --- leaps -------------------------------------------------------------------------------------------------------------

SPREADS, CENTRE = double([0.3, 1.7, 0.8]), double([0.5, -1.0, 2.0])  # independent Gaussian data in three dimensions


def carried(x, t, s, schedule):
    """The flow of that data, in closed form: each coordinate keeps its number of standard deviations from the mean."""
    t, s = (time.reshape(-1, 1).to(x) if torch.as_tensor(time).ndim else torch.as_tensor(time) for time in (t, s))
    a, b, a_s, b_s = schedule.signal(t), schedule.noise(t), schedule.signal(s), schedule.noise(s)
    scale = ((a_s * SPREADS) ** 2 + b_s**2).sqrt() / ((a * SPREADS) ** 2 + b**2).sqrt()
    return a_s * CENTRE + scale * (x - a * CENTRE)


class Perfect(torch.nn.Module):
    """The answer whose leap ends where the flow ends; with an error, if one is asked for. Told s = t, it says the flow's own direction."""

    def __init__(self, prediction: Prediction, schedule, off: float = 0.0) -> None:
        super().__init__()
        self.prediction, self.schedule, self.off = prediction, schedule, off
        self.takes = Until((1, 2, 4))

    def forward(self, x, t, s):
        x = x.double()
        column, end = t.reshape(-1, 1).double(), s.reshape(-1, 1).double()
        end = torch.where(end == column, column * (1 - 1e-6), end)
        a, b = self.schedule.signal(column), self.schedule.noise(column)
        a_s, b_s = self.schedule.signal(end), self.schedule.noise(end)
        x0 = (carried(x, column, end, self.schedule) - b_s / b * x) / (a_s - b_s / b * a)
        return self.prediction.target(x0, (x - a * x0) / b, a, b) + self.off * torch.sin(3 * x)


WAYS = [(FLOW, Straight()), (V, VP()), (V, Interpolated(cosine(1000)))]
NAMES = ["straight", "vp", "cosine"]


@pytest.mark.parametrize(("prediction", "schedule"), WAYS, ids=NAMES)
@pytest.mark.parametrize("steps", [1, 3])
def test_leaps_of_a_perfect_network_end_where_the_flow_ends_in_any_number_of_steps(prediction, schedule, steps) -> None:
    step, times, x = (
        leap(Perfect(prediction, schedule), prediction, GaussianDiffusion(schedule)),
        schedule.grid(steps),
        normal(20, 3),
    )
    wanted = carried(x, times[0], double(0.0), schedule)
    torch.testing.assert_close(last(sample(step, x, times)), wanted, rtol=1e-8, atol=1e-8)


def test_a_leap_of_a_network_that_ignores_its_end_is_ddims() -> None:
    process, x, t, s = GaussianDiffusion(cosine(1000)), normal(4, 3), torch.tensor(700), torch.tensor(300)
    answer = lambda x, t, cond: torch.sin(x) + t[:, None] / 1000  # noqa: E731

    def denoise(x, t):
        return V.to_x0(answer(x, t.expand(4), None), x, process.schedule.signal(t), process.schedule.noise(t))

    torch.testing.assert_close(leap(answer, V, process)(x, t, s), ddim(denoise, process)(x, t, s), **EXACT)


def test_a_leap_tells_the_network_its_own_end_for_each_sample() -> None:
    asked = {}

    def answer(x, t, cond):
        asked.update(t=t, s=cond)
        return x

    t, s = torch.tensor([900, 300]), torch.tensor([100, 0])
    leap(answer, V, GaussianDiffusion(cosine(1000)))(normal(2, 3), t, s)
    assert torch.equal(asked["t"], t) and torch.equal(asked["s"], s.double())


def test_renoised_leaps_have_the_marginals_of_the_process() -> None:
    """Of a perfect network, in three steps; without the renoising they would be paths of the flow."""
    schedule, n = Straight(), 40_000
    process, draws = GaussianDiffusion(schedule), torch.Generator().manual_seed(5)
    step = renoised(leap(Perfect(FLOW, schedule), FLOW, process), process, standard_normal(draws))
    start, middle, late, end = sample(step, normal(n, 3), schedule.grid(3))
    for x, time in ((middle, double(2 / 3)), (late, double(1 / 3)), (end, double(0.0))):
        a, b = schedule.signal(time), schedule.noise(time)
        spread = ((a * SPREADS) ** 2 + b**2).sqrt()
        assert bool(((x.mean(0) - a * CENTRE).abs() < 5 * spread / n**0.5).all())
        assert bool(((x.std(0) - spread).abs() < 5 * spread / (2 * n) ** 0.5).all())
    given = (start - start.mean(0)) / start.std(0) * (end - end.mean(0)) / end.std(0)
    assert bool((given.mean(0) < 0.9).all())


@pytest.mark.parametrize("parts", [1, 3])
def test_a_subdivided_step_stops_at_equal_distances(parts) -> None:
    stops = []

    def step(x, t, s):
        stops.append((t, s))
        return x + 1

    assert float(subdivided(step, parts)(double(0.0), double(0.9), double(0.3))) == parts
    for k, (t, s) in enumerate(stops):
        assert math.isclose(t, 0.9 - 0.6 * k / parts) and math.isclose(s, 0.9 - 0.6 * (k + 1) / parts)
    stops.clear()
    subdivided(step, parts)(double(0.0), torch.tensor([1000, 62]), torch.tensor([937, 0]))
    assert stops[0][0].tolist() == [1000, 62] and stops[-1][1].tolist() == [937, 0]
    assert all(not t.is_floating_point() and bool((s < t).all()) for t, s in stops)


def test_needed_x0_leads_ddim_where_it_should() -> None:
    process, x_t, x_s = GaussianDiffusion(cosine(1000)), normal(3, 2, 2), normal(3, 2, 2, seed=1)
    t, s = torch.tensor([1000, 600, 31]), torch.tensor([500, 0, 15])
    x0 = needed_x0(x_s, x_t, t, s, process)
    torch.testing.assert_close(process.bridge(x0, x_t, t, s, eta=0.0)[0], x_s, rtol=1e-7, atol=1e-7)


# --- the three ways to learn them --------------------------------------------------------------------------------------


def data(n: int) -> torch.Tensor:
    return CENTRE + SPREADS * normal(n, 3, seed=3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("schedule", [cosine(1000), Straight()], ids=["table", "straight"])
def test_halves_are_the_grids_of_n_and_of_2n(schedule) -> None:
    counts = (32, 16, 8, 4, 2, 1)
    table = halves(schedule, counts)
    for rows_, count in zip(table, counts, strict=True):
        whole = schedule.grid(count)
        assert torch.equal(rows_[:count, 0], whole[:-1]) and torch.equal(rows_[:count, 2], whole[1:])
        assert torch.equal(torch.cat([rows_[:count, :2].flatten(), whole[-1:]]), schedule.grid(2 * count))
        assert not rows_[count:].any()


@pytest.mark.parametrize(("prediction", "schedule"), WAYS, ids=NAMES)
def test_a_perfect_network_has_nothing_to_learn_from_progressive_distillation(prediction, schedule) -> None:
    process, perfect = GaussianDiffusion(schedule), Perfect(prediction, schedule)
    true = lambda x, t, s: carried(x, t, s, schedule)  # noqa: E731
    loss = distillation_loss(true, process, prediction, (1, 2, 4))
    assert float(loss(perfect, data(30), generator())) < 1e-12
    assert float(loss(Perfect(prediction, schedule, 0.1), data(30), generator())) > 1e-3
    worse = distillation_loss(lambda x, t, s: true(x, t, s) + 0.1, process, prediction, (1, 2, 4))
    assert float(worse(perfect, data(30), generator())) > 1e-3


def test_progressive_distillation_asks_the_teacher_for_the_shortest_leaps_alone() -> None:
    """Twice, on the grid of twice as many steps; and the network for the rest, without a gradient."""
    asked, schedule = [], Straight()
    process, perfect = GaussianDiffusion(schedule), Perfect(FLOW, Straight())

    def teacher(x, t, s):
        asked.append((t, s))
        return carried(x, t, s, schedule)

    told = []
    perfect.register_forward_hook(
        lambda module, given, answer: told.append((given[1] - given[2], answer.requires_grad))
    )
    perfect.scale = torch.nn.Parameter(torch.ones(()))
    distillation_loss(teacher, process, FLOW, (1, 2, 4))(perfect, data(30), generator())
    assert [len(t) for t, _ in asked] == [10, 10]
    for t, s in asked:
        torch.testing.assert_close(t - s, torch.full_like(t, 1 / 8))
    torch.testing.assert_close(told[0][0], double([1 / 4] * 10 + [1 / 2] * 10))
    torch.testing.assert_close(told[2][0], double([1 / 4] * 10 + [1 / 2] * 10 + [1.0] * 10))


def best_guess(schedule):
    """E[x_0 | x_t] of that data."""

    def denoise(x, t):
        t = t.reshape(-1, 1).double()
        a, b = schedule.signal(t), schedule.noise(t)
        return CENTRE + a * SPREADS**2 / ((a * SPREADS) ** 2 + b**2) * (x - a * CENTRE)

    return denoise


@pytest.mark.parametrize(("prediction", "schedule"), WAYS, ids=NAMES)
def test_a_perfect_network_disagrees_with_its_neighbours_only_by_the_teachers_step(prediction, schedule) -> None:
    """DDIM's step errs less on a finer grid; data and noise in the place of the teacher are right on the mean alone."""
    process, perfect = GaussianDiffusion(schedule), Perfect(prediction, schedule)

    def value(steps, teacher, network=perfect):
        return float(consistency_loss(teacher, process, prediction, steps)(network, data(5000), generator()))

    guess = best_guess(schedule)
    coarse, fine = value(200, guess), value(400, guess)
    assert coarse < 1e-5 and coarse / fine > 2.5
    assert value(400, guess, Perfect(prediction, schedule, 0.1)) > 10 * fine
    assert value(400, None) > 100 * fine


@pytest.mark.parametrize(("prediction", "schedule"), WAYS, ids=NAMES)
def test_a_perfect_network_has_nothing_to_learn_from_the_mean_flow(prediction, schedule) -> None:
    process, perfect, guess = GaussianDiffusion(schedule), Perfect(prediction, schedule), best_guess(schedule)
    for equal in (0.0, 1.0):
        loss = mean_flow_loss(process, prediction, guess, equal)
        assert float(loss(perfect, data(200), generator())) < 1e-7
        assert float(loss(Perfect(prediction, schedule, 0.1), data(200), generator())) > 1e-4


def test_the_mean_flows_target_on_the_straight_line_is_the_papers() -> None:
    """v - (t - s) du/dt for a network that is no flow at all: the derivative by hand."""
    seen = {}

    def wave(x, t, s):
        if not torch._C._functorch.is_functorch_wrapped_tensor(x):
            seen.update(x=x, t=t[:, None].double(), s=s[:, None])
        return torch.sin(2 * x) * t[:, None] + s[:, None] + shift

    x0, shift = data(300), torch.zeros((), dtype=torch.float64, requires_grad=True)
    found = mean_flow_loss(GaussianDiffusion(Straight()), FLOW, equal=0.5)(wave, x0, generator())
    x, t, s = seen["x"], seen["t"], seen["s"]
    v = (x - (1 - t) * x0) / t - x0
    target = v - (t - s) * (2 * torch.cos(2 * x) * t * v + torch.sin(2 * x))
    off = wave(x, t[:, 0], s[:, 0]).detach() - target
    torch.testing.assert_close(found.item(), off.square().mean().item(), rtol=1e-4, atol=0)
    (slope,) = torch.autograd.grad(found, shift)
    torch.testing.assert_close(slope.item(), 2 * off.mean().item(), rtol=1e-4, atol=1e-6)


def test_without_a_leap_the_mean_flow_is_flow_matching() -> None:
    """s = t: the target is eps - x_0, whatever the network says."""
    seen = {}

    class Silent(torch.nn.Module):
        def forward(self, x, t, s):
            seen.update(x=x, t=t, s=s)
            return 0 * x

    x0 = data(400)
    found = mean_flow_loss(GaussianDiffusion(Straight()), FLOW, equal=1.0)(Silent(), x0, generator())
    t = seen["t"][:, None].double()
    noise = (seen["x"] - (1 - t) * x0) / t
    assert torch.equal(seen["s"], seen["t"].double())
    torch.testing.assert_close(float(found), float((noise - x0).square().mean()), rtol=1e-5, atol=0)


# --- networks that are told where a leap ends ---------------------------------------------------------------------------


def test_a_network_grown_to_leap_begins_as_the_one_it_was() -> None:
    old, card = store.load("mnist-ddpm")
    grown = few_steps.with_leaps("mnist-ddpm", (1, 2)).eval()
    grown.to(memory_format=torch.channels_last)  # as the old one, since another order rounds elsewhere
    x, t, s = normal(2, 1, 28, 28).float(), torch.tensor([1000, 400]), torch.tensor([0.0, 250.0])
    with torch.no_grad():
        for told in (s, s.flip(0), None):
            assert torch.equal(grown(x, t, told), old(x, t))
    assert grown.config == {**UNet(**card.config).config, "leaps": [1, 2]} and grown.takes == Until((1, 2))


POINTS = MLP(dim=3, width=16, depth=1, leaps=(1,))
PICTURES = UNet(width=8, multipliers=(1, 2), attention=(), leaps=(1,))


@pytest.mark.parametrize("network", [POINTS, PICTURES], ids=["mlp", "unet"])
def test_the_end_of_a_leap_changes_the_answer_and_none_stands_for_its_beginning(network) -> None:
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator())
    x = normal(2, 3).float() if isinstance(network, MLP) else normal(2, 1, 8, 8).float()
    t, s = torch.tensor([900.0, 400.0]), torch.tensor([0.0, 390.0])
    with torch.no_grad():
        assert not torch.allclose(network(x, t, s), network(x, t, t))
        assert torch.equal(network(x, t, None), network(x, t, t)) and torch.equal(
            network(x, t, Until((1,)).null(2)), network(x, t, t)
        )


def test_what_is_no_end_of_a_leap_is_refused() -> None:
    with pytest.raises(ValueError, match=r"floating point and shape \(B,\); got torch.int64"):
        check_condition(Until((1,)), torch.tensor([3, 4]), 2)
    with pytest.raises(ValueError, match="at least 0, or -1 for none; got -3"):
        check_condition(Until((1,)), torch.tensor([3.0, -3.0]), 2)
    with pytest.raises(ValueError, match="classes and leaps must not be given together"):
        ConditionEmbedding(8, classes=3, leaps=(1,))


def leaper(leaps: tuple[int, ...]) -> Denoising:
    network = UNet(width=8, multipliers=(1, 2), attention=(), leaps=leaps)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator())
    return Denoising(network.eval(), V, cosine(1000), (1, 8, 8))


def test_draw_leaps_along_the_grid_and_stays_in_range(monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # in float32
    model, process = leaper((1, 4)), GaussianDiffusion(cosine(1000))
    x = process.prior((3, 1, 8, 8), generator())
    wanted = last(sample(leap(model.network, V, process), x, model.schedule.grid(4))).clamp(-1, 1)
    torch.testing.assert_close(draw(model, 3, 4, generator=generator()), wanted)
    assert not torch.allclose(draw(model, 3, 1, generator=generator()), wanted)


def test_draw_of_a_consistency_model_adds_noise_again(monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    model, process, draws = leaper(()), GaussianDiffusion(cosine(1000)), generator()
    x = process.prior((3, 1, 8, 8), draws)
    home = lambda x, t: leap(model.network, V, process)(x, torch.tensor(t), torch.tensor(0))  # noqa: E731
    again = process.diffuse(home(x, 1000), torch.tensor(500), torch.randn(3, 1, 8, 8, generator=draws))
    torch.testing.assert_close(draw(model, 3, 2, "consistency", generator()), home(again, 500).clamp(-1, 1))


def test_draw_refuses_what_a_network_of_leaps_has_not_learned_and_the_other_way_round() -> None:
    with pytest.raises(ValueError, match="steps must be one of 1, 4, which the model has learned to take; got 3"):
        draw(leaper((1, 4)), 2, 3)
    for sampler in ("ddpm", "heun", "dpm-solver", "analytic-ddim", "consistency"):
        with pytest.raises(ValueError, match=f"its sampler must be 'ddim'; got '{sampler}'"):
            draw(leaper((1, 4)), 2, 4, sampler)
    with pytest.raises(ValueError, match="its sampler must be 'consistency'; got 'ddim'"):
        draw(leaper(()), 2, 4)
    with pytest.raises(ValueError, match="cond must be None"):
        draw(leaper((1, 4)), 2, 4, cond=torch.zeros(2))
    plain, _ = store.load_denoising("mnist-ddpm")
    with pytest.raises(ValueError, match="has not learned to leap to the data"):
        draw(plain, 2, 4, "consistency")


# --- recipes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(monkeypatch) -> None:
    """A stand-in for MNIST: 80 pictures of two grey levels. Pictures of samples take longer than the steps: there are none."""
    found = (torch.rand(80, 1, 28, 28, generator=generator()) > 0.8).to(torch.uint8) * 255
    monkeypatch.setitem(rows.TRAINING, "mnist", lambda: (found,))
    monkeypatch.setattr(few_steps.Leap, "samples", lambda self, network, shape, seed: None)


TABLE = {"name": "cosine", "T": 1000}
OBJECTIVES = {
    "distillation": few_steps.Distil(V, TABLE, teacher="mnist-ddpm", parts=1),
    "consistency": few_steps.Agree(V, TABLE, teacher="mnist-ddpm"),
    "consistency training": few_steps.Agree(V, TABLE),
    "mean flow": few_steps.MeanFlow(V, TABLE),
}


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_way_to_leap_trains_and_a_killed_run_resumes_bit_for_bit(name, tmp_path, monkeypatch) -> None:
    options = {"steps": 2, "batch_size": 4, "bf16": False}
    recipe = replace(RECIPES["mnist-leaps"], objective=OBJECTIVES[name])
    card = train(recipe, tmp_path / "whole", **options, save_every=1)
    with killed_at_second_save():
        train(recipe, tmp_path / "killed", **options, save_every=1)
    again = train(recipe, tmp_path / "killed", **options, save_every=1, resume=True)
    assert again.sha256 == card.sha256 and again.prediction == "v" and again.config["leaps"] == list(few_steps.LEAPS)


@pytest.mark.usefixtures("pictures")
def test_a_teacher_is_needed_to_distil() -> None:
    with pytest.raises(ValueError, match="a teacher must be named"):
        few_steps.Distil(V, TABLE).loss(UNet(leaps=(1,)))
    with pytest.raises(ValueError, match="network must be told where a leap ends"):
        few_steps.Distil(V, TABLE, teacher="mnist-ddpm").loss(UNet())
