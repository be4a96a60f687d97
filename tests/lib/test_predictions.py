"""Predictions: each target determines x_0 and eps, whatever the schedule, and a denoiser undoes the target."""

import math

import pytest
import torch

from course_lib.diffusion.continuous import EDM, VE, VP, SubVP
from course_lib.diffusion.predictions import EPS, FLOW, PREDICTIONS, SCORE, X0, V, denoiser, to_eps, to_score
from course_lib.diffusion.schedules import TableSchedule, cosine, linear
from tests.lib.tensors import normal

SCHEDULES = [linear(100), cosine(100), VP(), SubVP(), VE(), EDM()]
EXACT = {"rtol": 1e-10, "atol": 1e-11}


def batch_of_times(schedule):
    fractions = torch.tensor([0.02, 0.3, 0.6, 0.95], dtype=torch.float64)
    return (fractions * schedule.T).long() if isinstance(schedule, TableSchedule) else fractions * schedule.T


def noisy(schedule):
    """x_0, eps, t and x_t of four samples, and the coefficients as columns."""
    x0, eps, t = normal(4, 3), normal(4, 3, seed=1), batch_of_times(schedule)
    a, b = schedule.signal(t)[:, None], schedule.noise(t)[:, None]
    return x0, eps, t, a * x0 + b * eps, a, b


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS.keys())
class TestEveryPrediction:
    def test_target_gives_back_the_data(self, schedule, prediction):
        x0, eps, _, x_t, a, b = noisy(schedule)
        torch.testing.assert_close(prediction.to_x0(prediction.target(x0, eps, a, b), x_t, a, b), x0, **EXACT)

    def test_denoiser_of_a_perfect_network_returns_the_data(self, schedule, prediction):
        x0, eps, t, x_t, a, b = noisy(schedule)
        network = denoiser(lambda x, t, cond: prediction.target(x0, eps, a, b), prediction, schedule)
        torch.testing.assert_close(network(x_t, t), x0, **EXACT)

    def test_any_output_round_trips_through_x0_and_eps(self, schedule, prediction):
        """output -> x_0-hat -> eps-hat -> output: x_0-hat and eps-hat describe the same x_t."""
        _, _, t, x_t, a, b = noisy(schedule)
        output = normal(4, 3, seed=2)
        x0 = prediction.to_x0(output, x_t, a, b)
        again = prediction.target(x0, to_eps(x0, x_t, t, schedule), a, b)
        torch.testing.assert_close(again, output, rtol=1e-8, atol=1e-8)


def test_the_names_find_the_predictions():
    assert PREDICTIONS == {"eps": EPS, "x0": X0, "v": V, "score": SCORE, "flow": FLOW}


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (EPS, lambda x0, eps, a, b: eps),
        (X0, lambda x0, eps, a, b: x0),
        (V, lambda x0, eps, a, b: a * eps - b * x0),
        (FLOW, lambda x0, eps, a, b: eps - x0),
    ],
    ids=["eps", "x0", "v", "flow"],
)
def test_target_is_the_papers(prediction, expected):
    x0, eps, _, _, a, b = noisy(VP())
    torch.testing.assert_close(prediction.target(x0, eps, a, b), expected(x0, eps, a, b))


def test_score_target_is_the_gradient_of_the_kernel():
    x0, eps, _, x_t, a, b = noisy(VP())
    x = x_t.clone().requires_grad_()
    (-((x - a * x0) ** 2) / (2 * b**2)).sum().backward()
    torch.testing.assert_close(SCORE.target(x0, eps, a, b), x.grad, **EXACT)


def test_v_is_the_velocity_on_the_circle():
    """Salimans and Ho (2022): with a = cos(phi), b = sin(phi), v = dx_t / dphi."""
    x0, eps, phi = normal(1, 3), normal(1, 3, seed=1), torch.tensor(0.6, dtype=torch.float64)
    _, rate = torch.func.jvp(lambda phi: phi.cos() * x0 + phi.sin() * eps, (phi,), (torch.ones_like(phi),))[:2]
    torch.testing.assert_close(V.target(x0, eps, phi.cos(), phi.sin()), rate, **EXACT)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_to_eps_solves_for_the_noise(schedule):
    x0, eps, t, x_t, _, _ = noisy(schedule)
    torch.testing.assert_close(to_eps(x0, x_t, t, schedule), eps, **EXACT)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_to_score_is_minus_eps_over_noise(schedule):
    x0, eps, t, x_t, _, b = noisy(schedule)
    torch.testing.assert_close(to_score(x0, x_t, t, schedule), -eps / b, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_to_eps_takes_one_time_for_all(schedule):
    t = batch_of_times(schedule)[1]
    x0, eps = normal(4, 1, 2, 2), normal(4, 1, 2, 2, seed=1)
    x_t = schedule.signal(t) * x0 + schedule.noise(t) * eps
    torch.testing.assert_close(to_eps(x0, x_t, t, schedule), eps, **EXACT)


def test_denoiser_gives_the_network_one_time_for_each_sample_and_the_condition():
    seen = {}

    def network(x, t, cond):
        seen.update(t=t, cond=cond)
        return x

    cond = torch.tensor([1, 0, 2])
    denoiser(network, X0, linear(), cond)(normal(3, 2), torch.tensor(7))
    assert seen["t"].tolist() == [7, 7, 7]
    assert seen["cond"] is cond


def test_clip_bounds_the_prediction_of_the_data():
    clipped = denoiser(lambda x, t, cond: 3 * x, X0, linear(), clip=0.5)
    x = torch.tensor([[0.1, 1.0, -2.0]])
    torch.testing.assert_close(clipped(x, torch.tensor(5)), torch.tensor([[0.3, 0.5, -0.5]]))


NO_SIGNAL = TableSchedule(torch.tensor([1.0, 0.5, 0.0]))


@pytest.mark.parametrize("prediction", [EPS, SCORE], ids=["eps", "score"])
def test_pure_noise_is_refused_where_the_data_cannot_be_solved_for(prediction):
    network = denoiser(lambda x, t, cond: x, prediction, NO_SIGNAL)
    message = rf"t must have signal\(t\) > 0 for a network that predicts {prediction.name}: .* predict x0 or v there"
    with pytest.raises(ValueError, match=message):
        network(normal(2, 2), torch.tensor([1, 2]))


@pytest.mark.parametrize("prediction", [X0, V, FLOW], ids=["x0", "v", "flow"])
def test_pure_noise_is_fine_for_the_others(prediction):
    x0, eps = normal(2, 2), normal(2, 2, seed=1)
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    network = denoiser(lambda x, t, cond: prediction.target(x0, eps, zero, one), prediction, NO_SIGNAL)
    torch.testing.assert_close(network(eps, torch.tensor(2)), x0)


@pytest.mark.parametrize("convert", [to_eps, to_score])
@pytest.mark.parametrize("t", [torch.tensor(0), torch.tensor([3, 0])])
def test_no_noise_is_refused(convert, t):
    with pytest.raises(ValueError, match=r"t must have noise\(t\) > 0: at t = 0 there is no noise to solve for"):
        convert(normal(2, 2), normal(2, 2), t, linear())


@pytest.mark.parametrize("t", [-1, 101, math.inf])
def test_a_time_outside_the_schedule_is_refused(t):
    with pytest.raises(ValueError, match="t must"):
        denoiser(lambda x, t, cond: x, X0, linear(100))(normal(2, 2), torch.tensor(t))
