"""Autoencoders and diffusion in their latents: prices and gradients as the formulas say, an exact world, and samplers that decode."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from course_lib.data import sets
from course_lib.diffusion.compression import water_filling
from course_lib.diffusion.predictions import EPS, V
from course_lib.diffusion.schedules import cosine
from course_lib.evaluation import evaluate
from course_lib.evaluation.reconstruction import mean_interval, psnr, reconstructed
from course_lib.models import store
from course_lib.models.cards import load_card, save_card
from course_lib.nets.autoencoders import (
    Autoencoder,
    Coded,
    Decoder,
    Encoder,
    GaussianAutoencoder,
    PatchDiscriminator,
    QuantisedAutoencoder,
    nearest,
    straight_through,
)
from course_lib.nets.blocks import CrossAttention
from course_lib.nets.classifier import ConvClassifier
from course_lib.nets.unet import UNet
from course_lib.recipes.autoencoding import ReconstructAdversarially, perceptual_distance, reconstruction_loss
from course_lib.recipes.diffusion import DenoiseLatents
from course_lib.recipes.rows import RECIPES
from course_lib.recipes.train import train
from course_lib.sampling.generate import SAMPLERS, Denoising, draw


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def moved(network: nn.Module) -> nn.Module:
    """The network with all weights moved, so that nothing is zero any more."""
    draws = generator(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draws)
    return network


KINDS = {
    "Gaussian": lambda **config: GaussianAutoencoder(latent=4, width=8, **config),
    "quantised": lambda **config: QuantisedAutoencoder(latent=4, codes=16, width=8, **config),
}


@pytest.fixture(params=KINDS)
def autoencoder(request: pytest.FixtureRequest) -> Autoencoder:
    torch.manual_seed(0)
    return moved(KINDS[request.param]()).eval()  # type: ignore[return-value]


@pytest.mark.parametrize("multipliers", [(1,), (1, 2), (1, 2, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_each_side_shrinks_by_the_factor_and_comes_back(kind: str, multipliers: tuple[int, ...]) -> None:
    network = KINDS[kind](multipliers=multipliers).eval()
    assert network.factor == 2 ** len(multipliers)
    z = network.encode(normal(2, 3, 16, 16))
    assert z.shape == (2, 4, 16 // network.factor, 16 // network.factor)
    assert network.decode(z).shape == (2, 3, 16, 16) and network.decode(9 * z).abs().max() <= 1
    with pytest.raises(ValueError, match=r"x must have shape \(B, 3, H, W\) with H and W multiples of"):
        network.encode(normal(2, 3, 15, 16))
    with pytest.raises(ValueError, match=r"x must have shape \(B, 3, H, W\)"):
        network(normal(2, 1, 16, 16))


def test_the_scale_of_the_latents_is_a_matter_between_encoder_and_decoder(autoencoder: Autoencoder) -> None:
    x = normal(3, 3, 8, 8)
    z, again = autoencoder.encode(x), autoencoder.decode(autoencoder.encode(x))
    autoencoder.mean_square.fill_(9.0)
    assert torch.allclose(3 * autoencoder.encode(x), z, atol=1e-6)
    assert torch.allclose(autoencoder.decode(autoencoder.encode(x)), again, atol=1e-5)


def test_training_learns_the_scale_and_afterwards_it_stays(autoencoder: Autoencoder) -> None:
    x = normal(20, 3, 8, 8)
    before = autoencoder.mean_square.clone()
    autoencoder(x, generator())
    assert torch.equal(autoencoder.mean_square, before), "in evaluation mode nothing is learned"
    autoencoder.train()
    autoencoder(x, generator())
    moving = 0.99 * before + 0.01 * autoencoder.raw(x).square().mean()
    assert torch.allclose(autoencoder.mean_square, moving), "in training mode a hundredth of the way"
    latents = autoencoder.raw(x)
    for _ in range(1000):
        autoencoder.remember(latents)
    assert float(autoencoder.eval().encode(x).detach().square().mean()) == pytest.approx(1.0, abs=1e-3)


def test_gaussian_latents_cost_their_divergence_and_are_drawn() -> None:
    torch.manual_seed(0)
    network, x = moved(GaussianAutoencoder(latent=4, width=8)), normal(3, 3, 8, 8)
    mean, log_variance = network.moments(x)
    own = torch.distributions.Normal(mean, (log_variance / 2).exp())
    divergence = torch.distributions.kl_divergence(own, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1)
    coded = network(x, generator(3))
    assert torch.allclose(coded.penalty, divergence, rtol=1e-5)
    noise = torch.randn(mean.shape, generator=generator(3))
    assert torch.allclose(coded.images, network.decoder(mean + own.stddev * noise), atol=1e-6)
    assert not torch.equal(coded.images, network(x, generator(4)).images)


def test_the_nearest_word_is_the_nearest() -> None:
    z, codes = normal(5, 3, 4), normal(7, 4, seed=1)
    assert torch.equal(nearest(z, codes), torch.cdist(z, codes).argmin(-1))


def test_quantised_latents_are_words_and_pay_for_the_way_to_them() -> None:
    torch.manual_seed(0)
    network, x = moved(QuantisedAutoencoder(latent=4, codes=16, width=8)).eval(), normal(3, 3, 8, 8)
    z = network.raw(x)
    words = network.quantise(z)
    rows = words.movedim(1, -1).reshape(-1, 4)
    assert (torch.cdist(rows, network.codebook.weight).min(1).values < 1e-6).all()
    assert torch.equal(network.quantise(words), words)
    coded = network(x)
    assert torch.allclose(coded.penalty, 1.25 * (z - words).square().flatten(1).sum(1), rtol=1e-5)
    assert torch.allclose(network.decode(network.encode(x)), coded.images.clamp(-1, 1), atol=1e-5)


def test_the_gradient_goes_straight_through_and_each_half_of_the_price_to_its_own_side() -> None:
    z, word = normal(2, 3).requires_grad_(), normal(2, 3, seed=1).requires_grad_()
    out = straight_through(z, word)
    assert torch.equal(out, word) or torch.allclose(out, word)
    (out * normal(2, 3, seed=2)).sum().backward()
    assert torch.equal(z.grad, normal(2, 3, seed=2)) and word.grad is None  # type: ignore[arg-type]
    torch.manual_seed(0)
    network = moved(QuantisedAutoencoder(latent=4, codes=16, width=8))
    x = normal(3, 3, 8, 8)
    z, word = network.raw(x).detach(), network.quantise(network.raw(x)).detach()
    network(x).penalty.sum().backward()
    chosen = network.words(z).flatten()
    wanted = torch.zeros_like(network.codebook.weight).index_add(
        0, chosen, (2 * (word - z)).movedim(1, -1).reshape(-1, 4)
    )
    assert torch.allclose(network.codebook.weight.grad, wanted, atol=1e-4)  # type: ignore[arg-type]
    bias = network.encoder.last.bias.grad  # what reaches the encoder's output, added up over images and places
    assert torch.allclose(bias, (0.25 * 2 * (z - word)).sum((0, 2, 3)), atol=1e-4)  # type: ignore[arg-type]


class LinearGaussian(nn.Module):
    """The best linear autoencoder of independent Gaussians for a level of water: one latent for each direction above it."""

    def __init__(self, variances: Tensor, level: float, change: float = 0.0) -> None:
        super().__init__()
        above = variances > level
        self.out = torch.where(above, (variances - level).clamp(min=0).sqrt(), 0.0) * (1 + change)
        self.into = torch.where(above, (variances - level).clamp(min=0).sqrt() / variances, 0.0)
        self.spread = torch.where(above, (level / variances).sqrt(), 1.0)

    def forward(self, x: Tensor, generator: torch.Generator) -> Coded:
        mean = self.into * x
        z = mean + self.spread * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        divergence = (mean.square() + self.spread**2 - 1 - 2 * self.spread.log()).sum(1) / 2
        return Coded(self.out * z, divergence)


def test_the_weight_of_the_divergence_is_twice_the_water_level() -> None:
    """In the exact world of independent Gaussians the loss has the optimum that information theory knows, in pixels or in sums."""
    variances, level = torch.tensor([4.0, 1.0, 0.3, 0.05, 0.01]).double(), 0.1
    x = normal(100_000, 5).double() * variances.sqrt()
    found = water_filling(variances, level)
    best = (found.distortion + 2 * level * found.rate).sum() / 5
    loss = lambda network: float(reconstruction_loss(network(x, generator(1)), x, penalty=2 * level))  # noqa: E731
    assert loss(LinearGaussian(variances, level)) == pytest.approx(float(best), rel=6e-3)
    for change in (-0.1, 0.1):
        assert loss(LinearGaussian(variances, level, change)) > float(best) * 1.01
    for other in (0.03, 0.5):  # the best for another weight is not the best for this one
        assert loss(LinearGaussian(variances, other)) > float(best) * 1.01


def test_water_fills_from_below() -> None:
    variances = torch.tensor([4.0, 1.0, 0.25]).double()
    rate, distortion = water_filling(variances, 0.5)
    assert torch.allclose(distortion, torch.tensor([0.5, 0.5, 0.25]).double())
    assert torch.allclose(rate, torch.tensor([math.log(8) / 2, math.log(2) / 2, 0.0]).double())
    slope = torch.autograd.functional.jacobian(
        lambda d: (variances / d).log() / 2, torch.tensor([0.5, 0.5, 0.25]).double()
    )
    assert torch.allclose(slope.diagonal()[:2], torch.tensor([-1.0, -1.0]).double()), (
        "equal returns where something is spent"
    )
    with pytest.raises(ValueError, match="level must be above 0"):
        water_filling(variances, 0.0)


def test_principal_components_lose_the_variances_that_they_leave_out() -> None:
    """The linear autoencoder with k numbers and no price: its error is the sum of the smallest eigenvalues, and no other is better."""
    root = normal(6, 6).double()
    values, vectors = torch.linalg.eigh(root @ root.T)
    kept = vectors[:, -2:]
    x = normal(200_000, 6, seed=1).double() @ root.T
    error = (x - x @ kept @ kept.T).square().sum(1).mean()
    assert float(error) == pytest.approx(float(values[:-2].sum()), rel=0.01)
    other = torch.linalg.qr(normal(6, 2, seed=2).double())[0]
    assert (x - x @ other @ other.T).square().sum(1).mean() > error


def reader() -> ConvClassifier:
    torch.manual_seed(0)
    return ConvClassifier(widths=(8, 8, 8)).eval().requires_grad_(False)


def test_perceptual_distance_is_one_of_directions() -> None:
    network = reader()
    x, y = normal(3, 3, 20, 20).clamp(-1, 1), normal(3, 3, 20, 20, seed=1).clamp(-1, 1)
    found = perceptual_distance(network, x, y)
    assert torch.equal(perceptual_distance(network, x, x), torch.zeros(3))
    assert torch.allclose(found, perceptual_distance(network, y, x)) and (found > 0).all() and (found < 4).all()
    one, two = network.pyramid(x), network.pyramid(y)
    assert len(one) == 2, "the last stage is the metrics'"
    by_hand = sum(2 - 2 * torch.cosine_similarity(a, b, dim=1).mean((1, 2)) for a, b in zip(one, two, strict=True)) / 2
    assert torch.allclose(found, by_hand, atol=1e-5)


def test_the_perceptual_gradient_reaches_the_image_and_no_weight_of_the_reader() -> None:
    network, y = reader(), normal(2, 3, 20, 20)
    x = normal(2, 3, 20, 20, seed=1).requires_grad_()
    perceptual_distance(network, x, y).sum().backward()
    assert x.grad is not None and x.grad.abs().max() > 0
    assert all(p.grad is None for p in network.parameters())


def test_the_loss_adds_up_and_refuses_to_compare_without_a_reader() -> None:
    x, images = normal(2, 3, 20, 20).clamp(-1, 1), normal(2, 3, 20, 20, seed=1)
    coded = Coded(images, torch.tensor([3.0, 5.0]))
    error = (images - x).square().mean()
    assert torch.allclose(reconstruction_loss(coded, x, 0.5), error + 0.5 * 4 / 1200)
    network = reader()
    with_it = reconstruction_loss(coded, x, 0.0, 0.1, network)
    assert torch.allclose(with_it, error + 0.1 * perceptual_distance(network, images, x).mean())
    with pytest.raises(ValueError, match="reader must be given"):
        reconstruction_loss(coded, x, 0.0, 0.1)


def test_a_patch_discriminator_sees_squares_of_18_pixels() -> None:
    torch.manual_seed(0)
    network, x = moved(PatchDiscriminator(width=8)).double(), normal(1, 3, 32, 32).double()
    assert network(x).shape == (1, 64)
    seen = torch.zeros(32, 32, dtype=torch.bool)
    place = 3 * 8 + 3  # the logit in row 3, column 3
    for i in range(32):
        for j in (13,):
            other = x.clone()
            other[..., i, j] += 1
            seen[i, j] = bool((network(other) - network(x)).abs()[0, place] > 1e-12)
    assert int(seen.sum()) == 18


def test_the_duel_holds_the_other_side_and_adds_what_the_discriminator_thinks() -> None:
    torch.manual_seed(0)
    network = moved(GaussianAutoencoder(latent=4, width=8))
    batch = (torch.randint(0, 256, (6, 3, 8, 8), generator=generator(), dtype=torch.uint8),)
    objective = ReconstructAdversarially(1e-3, 0.0, "", adversarial=0.5, discriminator={"width": 8}, often=1.0)
    loss, opponent = objective.duel(network)
    plain = objective.loss(network)(network, batch, generator(1))
    found = loss(network, batch, generator(1))
    x = objective.images(batch, generator(1))
    logits = opponent.network(network(x, generator(1)).images)
    assert torch.allclose(found, plain + 0.5 * nn.functional.softplus(-logits).mean(), atol=1e-5)
    opponent.loss(opponent.network, batch, generator(1)).backward()
    assert all(p.grad is None for p in network.parameters())
    assert all(p.grad is not None for p in opponent.network.parameters())


# --- drawing ---------------------------------------------------------------------------------------------------------


class Exact(nn.Module):
    """The best v for latents that are standard normal: 0, since x_t is then independent of a eps - b x_0."""

    takes = None

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.weight * x


def test_every_sampler_draws_latents_unclipped_and_decodes_them() -> None:
    torch.manual_seed(0)
    decoding = moved(GaussianAutoencoder(latent=4, width=8)).eval().requires_grad_(False)
    decoding.mean_square.fill_(4.0)
    seen: list[Tensor] = []
    decoding.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    gamma = torch.ones(101, dtype=torch.float64)
    model = Denoising(Exact(), V, cosine(100), (4, 4, 4), gamma, decoding)
    for sampler in set(SAMPLERS) - {"consistency"}:
        seen.clear()
        images = draw(model, 40, 10, sampler, generator())
        (latents,) = seen
        assert images.shape == (40, 3, 16, 16) and images.abs().max() <= 1 and images.dtype == torch.float32
        assert float((images - decoding.decode(latents.float() / 2)).abs().mean()) < 0.01
        if not sampler.startswith("analytic"):
            assert float(latents.std()) == pytest.approx(2.0, rel=0.2) and latents.abs().max() > 4, sampler
    assert model.clip is None and model._replace(autoencoder=None).clip == 1.0


def test_a_model_of_latents_is_a_model_of_latents_plus_a_decoder() -> None:
    torch.manual_seed(0)
    decoding = moved(GaussianAutoencoder(latent=4, width=8)).eval().requires_grad_(False)
    network = moved(UNet(channels=4, width=8, multipliers=(1, 2), attention=(1,), classes=3)).eval()
    model = Denoising(network, EPS, cosine(20), (4, 4, 4), None, decoding)
    cond = torch.tensor([0, 1, 2])
    images = draw(model, 3, 4, "ddpm", generator(), cond, scale=2.0)
    assert images.shape == (3, 3, 16, 16) and not torch.equal(images[0], images[1])
    assert not torch.allclose(images, draw(model, 3, 4, "ddpm", generator(), cond), atol=1e-3)


# --- on disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of CIFAR-10 with a few random images."""
    rng = np.random.default_rng(0)
    arrays = {f"x_{s}": rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for s, n in (("train", 40), ("test", 20))}
    arrays |= {f"y_{s}": np.arange(n) % 10 for s, n in (("train", 40), ("test", 20))}
    np.savez(tmp_path / "cifar10.npz", **arrays)
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))


@pytest.fixture
def both(small_data: None, tmp_path: Path) -> tuple[Path, Path]:
    """Runs of one step: an autoencoder, and a model of its latents."""
    first, second = tmp_path / "autoencoder", tmp_path / "latent"
    train(RECIPES["cifar10-autoencoder"], first, steps=1, batch_size=8)
    train(latents_of(first), second, steps=1, batch_size=8)
    return first, second


def latents_of(autoencoder: Path):
    """The recipe of the latent model, for another autoencoder, without its pictures."""
    recipe = RECIPES["cifar10-latent"]
    objective = replace(recipe.objective, autoencoder=str(autoencoder))
    object.__setattr__(objective, "samples", lambda *_: None)
    return replace(recipe, objective=objective)


def test_a_latent_model_brings_its_autoencoder_and_refuses_another(both: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = both
    card = load_card(second / "model.json")
    assert card.image_shape == [8, 8, 8] and card.autoencoder["model"] == str(first)
    model, _ = store.load_denoising(second)
    assert isinstance(model.autoencoder, GaussianAutoencoder) and not model.autoencoder.training
    assert not any(p.requires_grad for p in model.autoencoder.parameters())
    assert draw(model, 2, 2, generator=generator()).shape == (2, 3, 32, 32)
    with pytest.raises(ValueError, match="is an autoencoder, which draws nothing"):
        store.load_denoising(first)
    save_card(second / "model.json", replace(card, autoencoder={**card.autoencoder, "sha256": "0"}))
    with pytest.raises(ValueError, match="is not the one that the model's latents come from"):
        store.load_denoising(second)
    save_card(second / "model.json", replace(card, autoencoder={"model": "mnist-classifier", "sha256": "0"}))
    with pytest.raises(ValueError, match="mnist-classifier is no autoencoder, but Classifier"):
        store.load_denoising(second)
    save_card(second / "model.json", replace(card, autoencoder={"model": str(first)}))
    with pytest.raises(ValueError, match="it has no sha256"):
        store.load_denoising(second)


def test_cards_of_before_have_no_autoencoder_and_still_load(tmp_path: Path) -> None:
    file = store.SHIPPED / "mnist-ddpm.json"
    assert "autoencoder" not in file.read_text() and load_card(file).autoencoder == {}


@pytest.mark.usefixtures("small_data")
def test_latents_are_those_of_the_images_and_of_their_mirror_images(tmp_path: Path) -> None:
    train(RECIPES["cifar10-autoencoder"], tmp_path / "run", steps=1, batch_size=8)
    network = store.load_autoencoder(tmp_path / "run")
    images, labels = sets.load("cifar10", "train")
    objective = DenoiseLatents(V, {"name": "cosine", "T": 10}, autoencoder=str(tmp_path / "run"), mirrored=True)
    latents, classes = objective.encoded((images, labels))
    assert latents.shape == (80, 8, 8, 8) and latents.dtype == torch.float16
    assert torch.equal(classes, torch.cat([labels, labels]))
    x = images[:5].flip(-1).float() / 127.5 - 1
    assert torch.allclose(latents[40:45].float(), network.encode(x), atol=0.05)
    plain = replace(objective, mirrored=False).encoded((images, labels))
    assert torch.equal(plain[0], latents[:40])


def test_the_loss_reads_latents_as_they_are() -> None:
    """A network that says 0 has the mean square of v for its loss: half of the noise's variance and half of the latents'."""

    class Zero(nn.Module):
        takes = None

        def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            return torch.zeros_like(x)

    objective = DenoiseLatents(V, {"name": "cosine", "T": 1000}, autoencoder="")
    value = objective.loss(Zero())(Zero(), (2 * normal(4000, 2, 4, 4).half(),), generator(1))
    assert float(value) == pytest.approx((1 + 4) / 2, abs=0.06)


# --- measuring -------------------------------------------------------------------------------------------------------


def test_psnr_of_a_known_error() -> None:
    images = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    others = images.clone()
    others[0] += 51  # a fifth of the range
    assert psnr(images, others).tolist() == pytest.approx([20 * math.log10(5), 100.0])
    with pytest.raises(ValueError, match="must have the same shape"):
        psnr(images, others[:1])


def test_the_interval_of_a_mean_covers() -> None:
    inside = 0
    for seed in range(400):
        found = mean_interval(normal(50, seed=seed).double() + 3)
        inside += found.low <= 3 <= found.high
    assert 0.9 < inside / 400 < 0.98


def test_an_autoencoder_is_evaluated_by_what_is_left_of_the_test_images(
    both: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = both
    seen = {}
    monkeypatch.setattr(evaluate, "compare", lambda name, images: seen.update(name=name, images=images) or {})
    entry = evaluate.evaluate(str(first))
    images = sets.load("cifar10", "test")[0]
    again = reconstructed(store.load_autoencoder(first), images)
    assert seen["name"] == "cifar10" and torch.equal(seen["images"], again)
    assert entry["metrics"]["psnr"]["value"] == pytest.approx(float(psnr(images, again).mean()), abs=1e-4)
    with pytest.raises(ValueError, match="is an autoencoder, which draws nothing: leave out steps"):
        evaluate.evaluate(str(first), steps=3)


# --- cross-attention -------------------------------------------------------------------------------------------------


@pytest.fixture
def asking() -> CrossAttention:
    torch.manual_seed(0)
    return moved(CrossAttention(8, 5, heads=2)).double()  # type: ignore[return-value]


def test_cross_attention_is_the_formula(asking: CrossAttention) -> None:
    x, tokens = normal(2, 8, 3, 3).double(), normal(2, 4, 5, seed=1).double()
    query = torch.einsum("oc,bchw->bhwo", asking.to_query.weight[:, :, 0, 0], asking.norm(x))
    key, value = (tokens @ asking.to_key_value.weight.T).chunk(2, -1)
    parts = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = torch.einsum("bhwd,bnd->bhwn", query[..., head], key[..., head]).div(2.0).softmax(-1)
        parts.append(torch.einsum("bhwn,bnd->bhwd", weights, value[..., head]))
    wanted = x + asking.out(torch.cat(parts, -1).movedim(-1, 1))
    assert torch.allclose(asking(x, tokens), wanted, atol=1e-10)


def test_tokens_have_no_order_and_a_single_one_is_heard_by_all_pixels_alike(asking: CrossAttention) -> None:
    x, tokens = normal(2, 8, 3, 3).double(), normal(2, 4, 5, seed=1).double()
    assert torch.allclose(asking(x, tokens), asking(x, tokens[:, [2, 0, 3, 1]]), atol=1e-12)
    added = asking(x, tokens[:, :1]) - x
    assert torch.allclose(added, added[:, :, :1, :1].expand_as(added), atol=1e-12)
    other = asking(normal(2, 8, 3, 3, seed=5).double(), tokens[:, :1]) - normal(2, 8, 3, 3, seed=5).double()
    assert torch.allclose(added, other, atol=1e-12), "it is a bias: what the pixel holds makes no difference"


def test_cross_attention_starts_as_the_identity_and_its_heads_divide_the_channels() -> None:
    x = normal(2, 8, 3, 3)
    assert torch.equal(CrossAttention(8, 5)(x, normal(2, 4, 5)), x)
    with pytest.raises(ValueError, match="channels must be a multiple of heads; got 8 and 3"):
        CrossAttention(8, 5, heads=3)


def test_encoder_and_decoder_halve_and_double() -> None:
    encoder, decoder = Encoder(3, (8, 8, 8), 5, 1, 2), Decoder(3, (8, 8, 8), 5, 1, 2)
    z = encoder(normal(1, 3, 16, 24))
    assert z.shape == (1, 5, 2, 3) and decoder(z).shape == (1, 3, 16, 24)
