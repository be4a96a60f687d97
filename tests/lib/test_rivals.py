"""The rivals of chapter 12: what each knows in closed form, on small sets in seconds; and the exact reverse step of a mixture."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from course_lib.data import sets
from course_lib.diffusion.exact import ExactDiffusion, five_by_five
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import X0
from course_lib.diffusion.schedules import cosine
from course_lib.evaluation.modes import Modes, modes_of_classes, modes_of_points
from course_lib.models.tensors import load_tensors
from course_lib.nets.embeddings import sinusoidal_embedding, with_octaves
from course_lib.nets.flows import CouplingFlow
from course_lib.nets.latent import LatentUNet, Perceptron, TimedPerceptron
from course_lib.nets.unet import UNet
from course_lib.recipes.adversarial import duel, lazily
from course_lib.recipes.rivals import Ddpm, DenoisingGan, Flow, Gan, Vae, density
from course_lib.recipes.rows import RECIPES
from course_lib.recipes.train import train
from course_lib.sampling.generate import Denoising, draw
from course_lib.sampling.implicit import implicit
from course_lib.sampling.steps import ancestral, last, sample
from course_lib.training.adversarial import fooling_loss, gradient_penalty, telling_loss
from course_lib.training.loop import fit
from tests.lib.tensors import MIXTURE, normal

RIVALS = {"GAN": Gan(3), "VAE": Vae(3), "flow": Flow(3), "DDPM": Ddpm(3, T=5), "DD-GAN": DenoisingGan(3, T=2)}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shaken(network: torch.nn.Module) -> torch.nn.Module:
    """The network with all weights drawn anew, so that nothing is 0."""
    draws = generator(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draws))
    return network


# --- the exact reverse step ----------------------------------------------------------------------------------------------


def test_the_exact_reverse_step_is_bayes_rule_point_by_point() -> None:
    """q(x_s | x_t) q(x_t) = q(x_t | x_s) q(x_s) at random points, for components that lie askew."""
    schedule = cosine(4)
    exact, process = ExactDiffusion(MIXTURE, schedule), GaussianDiffusion(schedule)
    x_t, t, s = normal(2, seed=1), torch.tensor(3), torch.tensor(1)
    reverse = exact.reverse(x_t, t, s)
    for x_s in normal(6, 2, seed=2):
        ratio, variance = process.transition(s, t)
        forward = -((x_t - ratio * x_s).square().sum() / variance + 2 * torch.log(2 * math.pi * variance)) / 2
        here = torch.distributions.MultivariateNormal(reverse.means, reverse.covariances).log_prob(x_s)
        found = (reverse.weights.log() + here).logsumexp(0) + exact.log_prob(x_t[None], t)[0]
        assert found == pytest.approx(float(forward + exact.log_prob(x_s[None], s)[0]), abs=1e-9)


def test_exact_draws_of_x0_have_the_exact_mean_and_covariance() -> None:
    exact, t = ExactDiffusion(MIXTURE, cosine(4)), torch.tensor(2)
    x = normal(1, 2, seed=3)
    drawn = exact.draw(x.expand(100_000, 2), t, generator())
    assert torch.allclose(drawn.mean(0), exact.denoise(x, t)[0], atol=0.02)
    assert torch.allclose(drawn.T.cov(), exact.covariance(x, t)[0], atol=0.02)


@pytest.mark.parametrize("T", [1, 2, 4])
def test_drawing_x0_exactly_makes_every_number_of_steps_exact(T: int) -> None:
    """25 modes in any number of steps, where a Gaussian step blurs them."""
    bumps = five_by_five()
    exact, process = ExactDiffusion(bumps, cosine(T)), GaussianDiffusion(cosine(T))
    noise = process.prior((4000, 2), generator(), dtype=torch.float64)
    source = generator(1)
    draws = {
        "exact": lambda x, t: exact.draw(x, t, source),
        "mean": exact.denoise,
    }
    found = {}
    for name, denoise in draws.items():
        x = last(sample(ancestral(denoise, process, generator=generator(2)), noise, process.schedule.grid()))
        found[name] = modes_of_points(x, bumps.means, 0.05 * 0.5**0.5)
    assert found["exact"].covered == 25 and found["exact"].hits > 0.98 and found["exact"].divergence < 0.01
    if T == 1:  # the mean of all the data, where one of the bumps happens to be
        assert found["mean"].covered == 1 and found["mean"].divergence == pytest.approx(math.log(25), abs=0.01)
    else:
        assert found["mean"].hits < 0.3


def test_the_25_gaussians_have_about_unit_variance_and_lie_on_a_grid() -> None:
    bumps = five_by_five()
    assert torch.allclose(bumps.covariance(), 1.00125 * torch.eye(2, dtype=torch.float64))
    assert bumps.means.unique(dim=0).shape == (25, 2) and bumps.means.abs().max() == pytest.approx(2 * 0.5**0.5)


# --- modes ---------------------------------------------------------------------------------------------------------------


def test_modes_are_counted_within_reach_and_covered_from_a_quarter_of_their_share() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    x = torch.cat([centres[[0]].expand(20, 2), centres[[1]].expand(3, 2) + 0.29, torch.full((1, 2), 5.0)])
    found = modes_of_points(x, centres, 0.1, reach=4.2)
    assert found.counts.tolist() == [20, 3, 0, 0] and found.n == 24
    assert found.covered == 2  # 3 of 24 is more than a quarter of 24 / 4; a quarter of that is 1.5
    assert modes_of_points(x, centres, 0.1, reach=4.0).covered == 1
    assert found.hits == pytest.approx(23 / 24)


def test_the_divergence_of_the_modes_is_zero_for_even_ones_and_log_k_for_a_single_one() -> None:
    assert Modes(torch.full((10,), 7), 70).divergence == pytest.approx(0)
    assert modes_of_classes(torch.full((50,), 3), 10).divergence == pytest.approx(math.log(10))
    assert Modes(torch.zeros(10), 5).divergence == pytest.approx(math.log(10))
    shares = torch.tensor([0.5, 0.25, 0.25])
    assert Modes(shares * 100, 100).divergence == pytest.approx(float((shares * (3 * shares).log()).sum()), rel=1e-6)


def test_stacked_digits_are_three_digits_and_their_number() -> None:
    images, labels = sets.digits()
    pictures, numbers = sets.stacked_digits(500, images, labels, generator())
    assert pictures.shape == (500, 3, 8, 8) and numbers.min() >= 0 and numbers.max() <= 999 and numbers.max() > 900
    flat = images.flatten(1)
    for picture, number in zip(pictures[:5], numbers[:5], strict=True):
        rows = [(flat == channel.flatten()).all(1).nonzero()[0, 0] for channel in picture]
        assert [int(labels[row]) for row in rows] == [int(number) // 100, int(number) // 10 % 10, int(number) % 10]


# --- networks ------------------------------------------------------------------------------------------------------------


def test_members_are_networks_of_their_own() -> None:
    """Each member answers its own part as a single network with its weights would, and gets a gradient from its own part alone."""
    network, x = shaken(Perceptron(3, 2, width=8, depth=1, members=3)), normal(12, 3).float()
    single = Perceptron(3, 2, width=8, depth=1)
    single.load_state_dict({name: weight[1:2] for name, weight in network.state_dict().items()})
    assert torch.allclose(network(x)[4:8], single(x[4:8]), atol=1e-6)
    network(x)[4:8].sum().backward()
    slopes = network.first.weight.grad.flatten(1).norm(dim=1)
    assert slopes[1] > 0 and slopes[0] == slopes[2] == 0
    with pytest.raises(ValueError, match="rows must be a multiple of 3, the number of members; got 10"):
        network(normal(10, 3).float())


def test_octaves_are_sines_and_cosines_of_doubled_multiples_of_each_coordinate() -> None:
    x = normal(4, 2)
    found, columns = with_octaves(x, 3), [(i, 2.0**k) for i in range(2) for k in range(3)]
    assert found.shape == (4, 14) and torch.equal(found[:, :2], x) and torch.equal(with_octaves(x, 0), x)
    for number, (i, multiple) in enumerate(columns):
        assert torch.allclose(found[:, 2 + number], (multiple * x[:, i]).sin())
        assert torch.allclose(found[:, 8 + number], (multiple * x[:, i]).cos())


def test_a_network_with_octaves_sees_those_of_data_and_latent_vector_and_not_of_the_time() -> None:
    x, t, z = normal(6, 2).float(), torch.ones(6), normal(6, 3, seed=1).float()
    network, plain = shaken(Perceptron(2, 2, width=8, octaves=2)), Perceptron(10, 2, width=8)
    plain.load_state_dict(network.state_dict())
    assert torch.equal(network(x), plain(with_octaves(x, 2)))
    timed, plain = shaken(TimedPerceptron(2, 2, latent=3, width=8, octaves=2)), Perceptron(25 + 16, 2, width=8)
    plain.load_state_dict(timed.body.state_dict())
    rows = with_octaves(torch.cat([x, z], 1), 2)
    assert torch.equal(timed(x, t, z), plain(torch.cat([rows, sinusoidal_embedding(t, 16)], 1)))


@pytest.mark.parametrize(
    ("name", "read"),
    [("GAN", [4, 3]), ("VAE", [3, 4]), ("flow", [1, 2] * 4), ("DDPM", [3]), ("DD-GAN", [3 + 4, 3 + 3])],
)
def test_octaves_reach_every_network_of_a_rival(name: str, read: list[int]) -> None:
    """Each first layer grows by two columns for each octave of each number that it reads, of x or of z; not of the time."""

    def first_layers(octaves: int) -> list[int]:
        rival = replace(RIVALS[name], octaves=octaves)
        network = rival.build()
        _, opponent = rival.task(network)
        modules = [part for whole in (network, opponent and opponent.network) if whole for part in whole.modules()]
        return [part.first.weight.shape[1] for part in modules if isinstance(part, Perceptron)]

    grown = [b - a for a, b in zip(first_layers(0), first_layers(2), strict=True)]
    assert grown == [2 * 2 * columns for columns in read]


def test_a_latent_vector_changes_the_answer_and_none_is_the_vector_zero() -> None:
    network, x, t = shaken(TimedPerceptron(2, 2, latent=3, width=8)), normal(5, 2).float(), torch.ones(5)
    assert torch.equal(network(x, t), network(x, t, torch.zeros(5, 3)))
    assert not torch.allclose(network(x, t), network(x, t, torch.ones(5, 3)))
    with pytest.raises(ValueError, match=r"latent vectors must have shape \(5, 3\); got \(5, 2\)"):
        network(x, t, torch.zeros(5, 2))


def test_an_untrained_latent_unet_is_a_unet_that_does_not_listen() -> None:
    torch.manual_seed(0)
    network = LatentUNet(latent=4, width=8, multipliers=(1, 2), attention=())
    x, t = normal(2, 1, 8, 8).float(), torch.tensor([1, 2])
    assert isinstance(network, UNet) and network.config["latent"] == 4
    last = copy.deepcopy(network.condition.mapping[-1].state_dict())
    shaken(network).condition.mapping[-1].load_state_dict(last)
    assert torch.equal(network(x, t, torch.randn(2, 4)), network(x, t))
    shaken(network.condition.mapping)
    assert not torch.allclose(network(x, t, torch.randn(2, 4)), network(x, t))


@pytest.mark.parametrize("octaves", [0, 2])
def test_a_flow_comes_back_and_its_volume_is_that_of_the_jacobian(octaves: int) -> None:
    flow, x = shaken(CouplingFlow(dim=5, layers=4, width=8, octaves=octaves)).double(), normal(6, 5)
    z, volume = (tensor.detach() for tensor in flow(x))
    assert torch.allclose(flow.inverse(z).detach(), x, atol=1e-9)
    for row, found in zip(x, volume, strict=True):
        jacobian = torch.func.jacfwd(lambda y: flow(y[None])[0][0])(row).detach()
        assert float(torch.linalg.slogdet(jacobian)[1]) == pytest.approx(float(found), abs=1e-9)


# --- losses --------------------------------------------------------------------------------------------------------------


def test_the_losses_are_the_logarithms_of_the_discriminators_probabilities() -> None:
    real, fake = normal(7), normal(7, seed=1)
    D = torch.sigmoid
    assert torch.allclose(telling_loss(real, fake), -(D(real).log().mean() + (1 - D(fake)).log().mean()))
    assert torch.allclose(fooling_loss(fake), -D(fake).log().mean())


def test_the_penalty_is_the_squared_slope_and_trains_the_discriminator() -> None:
    weight = torch.tensor([3.0, -4.0], requires_grad=True)
    value = gradient_penalty(lambda x: x @ weight, normal(5, 2).float())
    assert float(value.detach()) == pytest.approx(25)
    value.backward()
    assert torch.allclose(weight.grad, 2 * weight.detach())


def test_a_lazy_term_has_the_mean_of_the_term() -> None:
    found = [float(lazily(0.25, generator(seed), lambda: torch.tensor(3.0))) for seed in range(4000)]
    assert set(found) == {0.0, 12.0}
    assert sum(found) / 4000 == pytest.approx(3, abs=4 * 12 * (0.25 * 0.75 / 4000) ** 0.5)


@pytest.mark.parametrize("name", RIVALS)
def test_members_of_a_rival_learn_and_draw_apart(name: str) -> None:
    """Two members draw other samples, a step of training moves both, and what has a density says it for every row."""
    rival = replace(RIVALS[name], members=2)
    torch.manual_seed(0)
    network = rival.build()
    before = torch.cat([p.detach().flatten() for p in network.parameters()]).clone()
    loss, opponent = rival.task(network)
    data = (normal(64, 3).float(),)
    *_, state = fit(network, loss, data, 2, batch_size=16, opponent=opponent, bf16=False, warmup=0)
    assert (torch.cat([p.detach().flatten() for p in network.parameters()]) - before).abs().max() > 1e-4
    with torch.no_grad():
        drawn = rival.draw(state.network, 8, generator())
        logs = rival.log_prob(state.network, normal(6, 3).float(), generator())
    assert drawn.shape == (8, 3) and drawn.isfinite().all() and (drawn[:4] - drawn[4:]).abs().min() > 0
    assert (logs is None) == (name in ("GAN", "DD-GAN"))
    assert logs is None or (logs.shape == (6,) and bool(logs.isfinite().all()))


def test_a_flow_that_is_the_identity_knows_the_normal_density_and_draws_it() -> None:
    flow = CouplingFlow(dim=3, layers=2, width=8)
    x = normal(5, 3).float()
    truth = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)
    assert torch.allclose(density(flow, x), truth, atol=1e-6)


def test_the_bound_of_a_vae_is_below_the_likelihood_that_sampling_finds() -> None:
    rival = Vae(2, latent=2, width=8, depth=1)
    network = shaken(rival.build())
    x = normal(6, 2).float()
    with torch.no_grad():
        bound = torch.stack([rival.log_prob(network, x, generator(seed)) for seed in range(40)]).mean(0)
        z = torch.randn(50_000, 2, generator=generator(7))
        spread = (network.log_variances / 2).exp()
        means = network.decoder(z)
        logs = [torch.distributions.Normal(means, spread).log_prob(row).sum(1) for row in x]
    truth = torch.stack([each.double().logsumexp(0) - math.log(len(z)) for each in logs])
    assert (bound.double() < truth + 0.05).all()


# --- steps of a denoising diffusion GAN ----------------------------------------------------------------------------------


def test_a_pair_is_real_where_it_comes_from_the_data_and_generated_through_the_posterior() -> None:
    """At data in one point c and a generator that says c, the pairs have one distribution: no discriminator can tell them apart."""
    c, process = torch.tensor([0.5, -1.0, 2.0]), GaussianDiffusion(cosine(4))
    seen: list[Tensor] = []

    class Judge(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            seen.append(torch.cat([x, t[:, None].to(x)], 1).detach())
            return 0 * x[:, :1]

    class Oracle(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            return c.expand_as(x)

    _, opponent = duel(Oracle(), Judge(), 2, process, 0.1, 1e-3, 0.0)
    opponent.loss(opponent.network, (c.expand(40_000, 3),), generator())
    real, fake = seen
    for t in (1, 2, 3, 4):
        one, other = (rows[rows[:, -1] == t][:, :-1].double() for rows in (real, fake))
        assert torch.allclose(one.mean(0), other.mean(0), atol=0.04)
        assert torch.allclose(one.T.cov(), other.T.cov(), atol=0.04)
        assert t > 1 or torch.allclose(other[:, :3], c.double().expand_as(other[:, :3]), atol=1e-5)


def test_a_denoiser_that_draws_is_asked_with_fresh_latent_vectors_and_clipped() -> None:
    def network(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return x + cond

    denoise = implicit(network, 2, generator(), clip=1.0)
    x, t = torch.zeros(1000, 2), torch.tensor(3)
    first, second = denoise(x, t), denoise(x, t)
    assert first.abs().max() == 1 and not torch.equal(first, second)
    inside = first[first.abs() < 1]
    assert abs(float(inside.mean())) < 0.1 and 0.4 < float(inside.std()) < 0.65  # a normal one between -1 and 1: 0.54


def test_a_model_that_draws_x0_is_sampled_in_its_own_steps_alone() -> None:
    torch.manual_seed(0)
    network = LatentUNet(latent=4, width=8, multipliers=(1, 2), attention=(1,)).eval()
    model = Denoising(network, X0, cosine(4), (1, 8, 8))
    assert model.latent == 4 and draw(model, 3, 4, "ddpm", generator()).shape == (3, 1, 8, 8)
    for sampler, steps in (("ddim", 4), ("ddpm", 3), ("dpm-solver", 2)):
        with pytest.raises(ValueError, match=f"goes with sampler ddpm and steps 4 alone; got '{sampler}' and {steps}"):
            draw(model, 3, steps, sampler, generator())
    with pytest.raises(ValueError, match="trained without conditions"):
        draw(model, 3, 4, "ddpm", generator(), cond=torch.zeros(3, 4))


def test_the_recipe_of_a_denoising_gan_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small one on the 8 x 8 digits, stopped after its third step: generator, averages, discriminator and both optimisers go on."""
    small = {"width": 8, "multipliers": (1, 2)}
    recipe = RECIPES["mnist-ddgan"]
    recipe = replace(
        recipe,
        dataset="digits",
        config={"channels": 1, "latent": 4, **small, "attention": (1,), "time_scale": 250.0},
        objective=replace(recipe.objective, discriminator={**small, "blocks": 1}, often=0.5),
    )
    card = train(recipe, tmp_path / "whole", steps=6, batch_size=8, bf16=False, save_every=2)
    assert card.prediction == "x0" and card.schedule == {"name": "cosine", "T": 4}

    def stopped(states, total):
        for state in states:
            if state.step == 3:
                raise KeyboardInterrupt
            yield state

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("course_lib.recipes.train.progress", stopped)
        train(recipe, tmp_path / "cut", steps=6, batch_size=8, bf16=False, save_every=2)
    train(recipe, tmp_path / "cut", resume=True, save_every=2)
    for name in ("model", "state"):
        whole, again = (load_tensors(tmp_path / folder / f"{name}.safetensors")[0] for folder in ("whole", "cut"))
        assert whole.keys() == again.keys() and all(torch.equal(whole[key], again[key]) for key in whole)
    assert any(key.startswith("opponent.") for key in whole)
