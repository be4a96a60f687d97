"""Variances computed from a trained network (Bao et al., 2022), and how a network learns them, against formulas written out."""

import itertools
import math

import pytest
import torch

from course_lib.diffusion.bound import discretised_log_prob, variational_bound
from course_lib.diffusion.exact import ExactDiffusion
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import EPS, X0
from course_lib.diffusion.schedules import cosine, linear
from course_lib.models import store
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.recipes.variance import ImportantTimes, bound_loss, bound_terms, hybrid_loss, with_variance
from course_lib.sampling.generate import Denoising, draw
from course_lib.sampling.steps import ancestral, ddim, last, sample
from course_lib.sampling.times import cheapest_grid
from course_lib.sampling.variance import analytic_variance, learned_variance, score_norms, split_output, step_costs
from tests.lib.tensors import MIXTURE, double, normal

SCHEDULE = linear(20, 0.01, 0.3)
PROCESS = GaussianDiffusion(SCHEDULE)
EXACT = ExactDiffusion(MIXTURE, SCHEDULE)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def gamma() -> torch.Tensor:
    data, _ = MIXTURE.sample(20_000, generator())
    return score_norms(EXACT.denoise, data, PROCESS, 20_000, generator(1))


def test_the_analytic_variance_of_an_exact_score_is_the_mean_of_the_true_one(gamma):
    """Two ways: from the score's norm, and the trace of Cov[x_0 | x_t] averaged over draws."""
    data, _ = MIXTURE.sample(20_000, generator(2))
    ours = analytic_variance(gamma, SCHEDULE, reach=3.0)
    for t in map(torch.tensor, (1, 5, 12, 20)):
        spread = EXACT.covariance(PROCESS.forward(data, t, generator(3)), t).diagonal(dim1=1, dim2=2).mean()
        assert abs(float(ours(data, t) / spread) - 1) < 0.06
    assert gamma[0] == 0 and ours(data, torch.tensor(0)) == 0


def test_the_analytic_variance_stays_within_the_bounds_of_theorem_2():
    t = torch.arange(1, 21)
    b2, a2 = SCHEDULE.noise(t) ** 2, SCHEDULE.signal(t) ** 2
    none = analytic_variance(torch.zeros(21).double(), SCHEDULE)(t, t)
    torch.testing.assert_close(none, torch.minimum(b2 / a2, torch.ones(20).double()))
    far = analytic_variance(torch.zeros(21).double(), SCHEDULE, reach=0.5)(t, t)
    assert far.max() == 0.25
    too_much = analytic_variance(torch.full((21,), 1e3).double(), SCHEDULE)(t, t)
    assert (too_much == 0).all()


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_with_a_variance_of_x0_has_the_variance_of_theorem_1(eta):
    """sigma^2 = lambda^2 + (sqrt(b_t^2 / alpha) - sqrt(b_s^2 - lambda^2))^2 V a_t^2 / b_t^2, drawn 40,000 times."""
    t, s, spread = torch.tensor(12), torch.tensor(5), 0.2
    x = torch.zeros(40_000, 1, dtype=torch.float64)
    step = ddim(lambda x, t: 0 * x, PROCESS, eta, generator(), x0_variance=lambda x, t: double(spread))
    bar_t, bar_s = SCHEDULE.alpha_bar[12], SCHEDULE.alpha_bar[5]
    lam2 = eta**2 * (1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)
    shift = ((1 - bar_t) / (bar_t / bar_s)).sqrt() - (1 - bar_s - lam2).sqrt()
    written = lam2 + shift**2 * spread * bar_t / (1 - bar_t)
    assert abs(float(step(x, t, s).var() / written) - 1) < 5 * (2 / 40_000) ** 0.5


def test_at_eta_1_it_is_ddpms_step_with_that_variance():
    x, z, spread = normal(5, 2), normal(5, 2, seed=1), lambda x, t: double(0.3)
    one = ddim(EXACT.denoise, PROCESS, 1.0, noise=lambda x: z, x0_variance=spread)
    other = ancestral(EXACT.denoise, PROCESS, spread, noise=lambda x: z)
    for t, s in ((20, 11), (7, 6), (3, 0)):
        here = torch.tensor(t), torch.tensor(s)
        torch.testing.assert_close(one(x, *here), other(x, *here), rtol=1e-10, atol=1e-12)


def test_the_analytic_variance_beats_both_fixed_ones_in_the_bound(gamma):
    """On the exact mixture, over few steps: paired over the same data and noise, by more than five standard errors."""
    from course_lib.diffusion.bound import gaussian_log_prob
    from course_lib.sampling.steps import unit_variance

    data, _ = MIXTURE.sample(4000, generator(4))
    times = SCHEDULE.grid(5)
    totals = {
        name: variational_bound(EXACT.denoise, data, PROCESS, gaussian_log_prob, spread, generator(5), times).total
        for name, spread in (
            ("analytic", analytic_variance(gamma, SCHEDULE, reach=3.0)),
            ("beta-tilde", None),
            ("beta", unit_variance(SCHEDULE)),
        )
    }
    for fixed in ("beta-tilde", "beta"):
        excess = totals[fixed] - totals["analytic"]
        assert excess.mean() > 5 * excess.std() / 4000**0.5


def saying(share, halves=0.5):
    """A network that predicts a part of x as noise, and says this share everywhere."""
    return lambda x, t, cond=None: torch.cat([halves * x, torch.full_like(x, 2 * share - 1)], 1)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_with_the_times_of_a_shorter_chain_the_ends_are_computed_anew(share):
    """beta and beta-tilde of the step from 20 to 9, then of 9 to 4, and of the last step with the lower end of the one before."""
    times = torch.tensor([20, 9, 4, 0])
    _, spread = learned_variance(saying(share), EPS, PROCESS, times=times)
    x, bar = normal(3, 2), SCHEDULE.alpha_bar
    for (t, s), (upper, lower) in zip(((20, 9), (9, 4), (4, 0)), ((20, 9), (9, 4), (9, 4)), strict=True):
        beta = 1 - bar[t] / bar[s]
        tilde = (1 - bar[lower]) / (1 - bar[upper]) * (1 - bar[upper] / bar[lower])
        weight, _, exact = PROCESS.posterior_weights(torch.tensor(t), torch.tensor(s))
        ours = exact + weight**2 * spread(x, torch.tensor(t))
        written = max(float(beta**share * tilde ** (1 - share)), float(exact))
        torch.testing.assert_close(ours.double(), torch.full_like(x, written), rtol=1e-5, atol=1e-9)


def test_a_learned_variance_needs_two_steps():
    with pytest.raises(ValueError, match="at least two steps"):
        learned_variance(saying(0.5), EPS, PROCESS, times=torch.tensor([20, 0]))


# --- the trajectory -----------------------------------------------------------------------------------------------------


def test_the_cheapest_grid_is_the_best_of_all():
    costs = step_costs(lambda x, t: double(0.5) / t, GaussianDiffusion(linear(9, 0.05, 0.4)))
    for steps in (2, 3, 5, 9):
        paths = [(9, *reversed(middle), 1) for middle in itertools.combinations(range(2, 9), steps - 2)]
        best = min(paths, key=lambda path: sum(float(costs[s, t]) for t, s in itertools.pairwise(path)))
        assert cheapest_grid(costs, steps).tolist() == [*best, 0]
    assert costs[3, 3] == math.inf and costs[0, 3] == math.inf


@pytest.mark.parametrize("steps", [1, 10])
def test_a_grid_of_too_few_or_too_many_steps_is_refused(steps):
    with pytest.raises(ValueError, match=r"steps must lie in \[2, 9\]"):
        cheapest_grid(step_costs(lambda x, t: double(0.5), GaussianDiffusion(linear(9))), steps)


# --- learning it --------------------------------------------------------------------------------------------------------


def test_the_terms_of_the_loss_are_those_of_the_bound():
    """Every time in turn, the same noise drawn again: the bound is computed by another function, in nats."""
    levels, network = 17, saying(0.4, halves=0.8)
    x0 = ((normal(6, 4) * 4).round().clamp(-8, 8) / 8).float()
    denoise, spread = learned_variance(network, EPS, PROCESS)
    bound = variational_bound(
        denoise, x0, PROCESS, lambda *given: discretised_log_prob(*given, levels), spread, generator(6)
    )
    source = generator(6)
    for t in (*range(2, 21), 1):  # the order in which the noise is drawn
        x_t = PROCESS.forward(x0, torch.tensor(t), source)
        predicted, logits = split_output(network(x_t, torch.full((6,), t)), x_t)
        ours = bound_terms(predicted, logits, x0, x_t, torch.full((6,), t), PROCESS, EPS, levels)
        wanted = bound.reconstruction if t == 1 else bound.steps[t - 2]
        torch.testing.assert_close(ours * 4 * math.log(2), wanted, rtol=2e-3, atol=2e-5)
    mixed = torch.tensor([1, 2, 1, 20, 5, 1])
    x_t = PROCESS.forward(x0, mixed, generator(7))
    predicted, logits = split_output(network(x_t, mixed), x_t)
    together = bound_terms(predicted, logits, x0, x_t, mixed, PROCESS, EPS, levels)
    for row in range(6):
        one = slice(row, row + 1)
        alone = bound_terms(predicted[one], logits[one], x0[one], x_t[one], mixed[one], PROCESS, EPS, levels)
        torch.testing.assert_close(together[one], alone)


def test_the_bound_in_the_hybrid_loss_teaches_the_variance_alone():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 6))
    asked = lambda x, t: network(x)  # noqa: E731
    data = (torch.randint(0, 256, (64, 3), generator=generator()).float(),)
    gradients = []
    for weight in (0.0, 0.5):
        network.zero_grad()
        hybrid_loss(PROCESS, EPS, weight)(asked, data, generator(1)).backward()
        gradients.append(network[0].weight.grad.clone())
    assert torch.equal(gradients[0][:3], gradients[1][:3]) and gradients[0][:3].norm() > 0.1
    assert gradients[0][3:].norm() == 0 and gradients[1][3:].norm() > 1e-4


def test_the_bound_itself_teaches_both_and_reaches_the_true_variance():
    """Data N(0, I) in one coordinate: the best variance is beta, which is share 1, and the best prediction of x_0 is a x_t."""
    schedule = linear(20, 0.02, 0.3)
    process = GaussianDiffusion(schedule)
    share = torch.zeros((), requires_grad=True)
    slope = torch.ones((), requires_grad=True)

    def network(x, t):
        signal = schedule.signal(t).float()[:, None]
        return torch.cat([slope * signal * x, share.expand_as(x)], 1)

    data = ((normal(4000, 1).float() + 1) * 127.5,)
    optimizer = torch.optim.Adam([share, slope], lr=0.05)
    loss = bound_loss(process, X0, ImportantTimes(20), levels=256)
    for step in range(150):
        optimizer.zero_grad()
        loss(network, data, generator(step)).backward()
        optimizer.step()
    assert abs(float(slope.detach()) - 1) < 0.1 and float(share.detach()) > 0.8


def test_times_are_even_until_all_are_known_and_then_follow_the_size_of_the_terms():
    times = ImportantTimes(3, memory=2, even=0.0)
    for t, term in ((1, 9.0), (1, 3.0), (2, 1.0), (2, 1.0), (3, 4.0)):
        times.remember(torch.tensor([t]), torch.tensor([term]))
    assert times.probabilities.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    times.remember(torch.tensor([3, 1]), torch.tensor([4.0, 4.0]))  # the 9 is forgotten
    sizes = [math.sqrt((9 + 16) / 2), 1, 4]
    assert times.probabilities[1:].tolist() == pytest.approx([size / sum(sizes) for size in sizes])
    assert ImportantTimes(3).probabilities.sum() == 1


def test_the_factors_undo_the_choice_of_times():
    times, truth = ImportantTimes(4, memory=1), double([0.0, 8.0, 1.0, 0.5, 0.1])
    times.remember(torch.arange(1, 5), truth[1:])
    t, factor = times.draw(40_000, generator())
    assert (t >= 1).all() and float((t == 1).double().mean()) == pytest.approx(8 / 9.6, abs=0.01)
    assert float((factor * truth[t]).mean()) == pytest.approx(float(truth[1:].mean()), rel=0.01)


def test_a_grown_network_predicts_as_before_and_begins_half_way(monkeypatch):
    torch.manual_seed(0)
    old = UNet(channels=1, width=8, multipliers=(1, 2), attention=(), patch=2)
    for parameter in old.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    monkeypatch.setattr(store, "load", lambda name: (old, type("Card", (), {"config": old.config})))
    new = with_variance("old")
    x, t = normal(3, 1, 8, 8).float(), torch.tensor([1, 10, 20])
    predicted, logits = split_output(new(x, t), x)
    torch.testing.assert_close(predicted, old(x, t))
    assert (logits == 0).all() and new.outputs == 2 and new.config["outputs"] == 2


# --- drawing ------------------------------------------------------------------------------------------------------------


def small(outputs: int | None = None, classes: int | None = None) -> MLP:
    torch.manual_seed(0)
    network = MLP(width=8, depth=1, classes=classes, outputs=outputs)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.mark.parametrize("sampler", ["analytic-ddim", "analytic-ddpm"])
def test_an_analytic_sampler_asks_for_gamma(sampler):
    model = Denoising(small(), EPS, cosine(10), (2,))
    with pytest.raises(ValueError, match=r"comes without the norms of its score \(gamma\)"):
        draw(model, 3, 5, sampler, generator())
    known = model._replace(gamma=torch.zeros(11).double())
    assert draw(known, 3, 5, sampler, generator()).shape == (3, 2)


def test_with_the_largest_gamma_analytic_ddim_is_ddim(monkeypatch):
    """Nothing unexplained of the noise: the variance is 0."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    model = Denoising(small(), EPS, cosine(10), (2,), torch.full((11,), 1e6).double())
    one, other = (draw(model, 4, 5, sampler, generator()) for sampler in ("analytic-ddim", "ddim"))
    torch.testing.assert_close(one, other)


def test_a_network_that_learns_its_variance_is_drawn_from_with_it(monkeypatch):
    """DDPM's steps have it, of the shorter chain; DDIM's have none; scales are refused."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    schedule, network = cosine(10), small(4)
    process, model = GaussianDiffusion(schedule), Denoising(network, EPS, schedule, (2,))
    assert model.learns_variance and not Denoising(small(), EPS, schedule, (2,)).learns_variance
    source = generator()
    x = process.prior((4, 2), source)
    denoise, spread = learned_variance(network, EPS, process, None, 1.0, schedule.grid(5))
    with torch.no_grad():
        written = last(sample(ancestral(denoise, process, spread, source), x, schedule.grid(5)))
    torch.testing.assert_close(draw(model, 4, 5, "ddpm", generator()), written)
    assert draw(model, 4, 5, "ddim", generator()).shape == (4, 2)
    told, labels = model._replace(network=small(4, classes=3)), torch.tensor([0, 1, 2, 0])
    assert draw(told, 4, 5, "ddpm", generator(), labels).shape == (4, 2)
    with pytest.raises(ValueError, match="scale must be 1"):
        draw(told, 4, 5, "ddpm", generator(), labels, scale=2.0)


def test_gamma_lies_beside_the_weights_and_belongs_to_them(tmp_path):
    from tests.lib.test_checkpoints import card

    network = MLP(width=8, depth=1)
    path = tmp_path / "model.safetensors"
    stored = store.save(path, network, card(network))
    assert store.load_gamma(path, stored) is None and store.load_denoising(path)[0].gamma is None
    gamma = normal(11).square()
    assert store.save_gamma(tmp_path, gamma) == tmp_path / "model-gamma.safetensors"
    torch.testing.assert_close(store.load_denoising(tmp_path)[0].gamma, gamma)
    torch.nn.init.ones_(network.last.weight)
    other = store.save(path, network, card(network))
    with pytest.raises(ValueError, match="was measured with other weights"):
        store.load_gamma(path, other)
