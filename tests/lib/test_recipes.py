"""Recipes: what the losses ask of a network, and that every command leaves weights that load, on a small stand-in data set."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib.data import images, sets
from course_lib.data.bits import phases
from course_lib.data.images import shifted, to_unit
from course_lib.diffusion.binomial import BinomialDiffusion, bit_denoiser
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import PREDICTIONS, V
from course_lib.diffusion.schedules import cosine
from course_lib.models import store
from course_lib.models.cards import load_card
from course_lib.nets.conditions import Labels
from course_lib.recipes import designs, diffusion, pipelines, rows, texts
from course_lib.recipes.classification import accuracy_score, classification_loss
from course_lib.recipes.diffusion import DenoiseLatents, diffusion_loss, drop_labels
from course_lib.recipes.rows import RECIPES
from course_lib.recipes.train import train
from course_lib.sampling.generate import balanced_classes, draw, draw_batches
from course_lib.sampling.steps import last, reverse, sample


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_tenth_of_the_labels_is_dropped_each_for_itself() -> None:
    labels = torch.arange(20_000) % 10
    dropped = drop_labels(labels, 10, 0.1, generator())
    lost = dropped == 10
    assert torch.equal(dropped[~lost], labels[~lost])
    assert abs(lost.double().mean() - 0.1) < 4 * (0.09 / 20_000) ** 0.5
    pairs = (lost[:-1] & lost[1:]).double().mean()  # neighbours are dropped together no more often than by chance
    assert abs(pairs - 0.01) < 4 * (0.01 / 20_000) ** 0.5


def test_shift_moves_each_image_for_itself_and_repeats_the_border() -> None:
    image = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    moved = shifted(image.expand(500, 1, 4, 4), 1, generator())
    padded = torch.nn.functional.pad(image.float(), (1, 1, 1, 1), mode="replicate").to(torch.uint8)
    windows = {padded[0, 0, i : i + 4, j : j + 4].flatten().tolist().__str__() for i in range(3) for j in range(3)}
    assert {str(x.flatten().tolist()) for x in moved} == windows


def test_flip_mirrors_half_of_the_images() -> None:
    image = torch.arange(8.0).reshape(1, 1, 2, 4)
    flipped = images.flipped(image.expand(2000, 1, 2, 4), generator())
    mirrored = (flipped == image.flip(-1)).all((1, 2, 3))
    assert torch.equal(mirrored, ~(flipped == image).all((1, 2, 3)))
    assert abs(mirrored.double().mean() - 0.5) < 4 * 0.5 / 2000**0.5


class Recorder(torch.nn.Module):
    """Answers with zeros, and remembers what it was asked."""

    def forward(self, x, t=None, cond=None):
        self.x, self.t, self.cond = x, t, cond
        return torch.zeros(len(x), 10) if cond is None and self.classifies else torch.zeros_like(x)


def recorder(classifies: bool) -> Recorder:
    network = Recorder()
    network.classifies = classifies
    return network


def test_diffusion_loss_of_a_network_that_says_zero_is_the_mean_square_of_v() -> None:
    process, images = (
        GaussianDiffusion(cosine(1000)),
        torch.randint(0, 256, (64, 1, 4, 4), generator=generator()).to(torch.uint8),
    )
    network = recorder(classifies=False)
    value = diffusion_loss(process, V, Labels(10))(network, (images, torch.arange(64) % 10), generator(1))
    x0 = to_unit(images)
    a, b = (f(network.t)[:, None, None, None] for f in (process.schedule.signal, process.schedule.noise))
    eps = (network.x - a * x0) / b
    assert torch.allclose(value.double(), (a * eps - b * x0).square().mean(), rtol=1e-5)
    assert network.t.min() >= 1 and network.t.max() <= 1000 and network.t.unique().numel() > 50
    assert (network.cond == 10).any() and ((network.cond == 10) | (network.cond == torch.arange(64) % 10)).all()


def test_noisy_classifier_sees_images_at_their_time_and_a_clean_one_does_not() -> None:
    process, images = GaussianDiffusion(cosine(1000)), torch.full((256, 1, 4, 4), 255, dtype=torch.uint8)
    network, batch = recorder(classifies=True), (images, torch.zeros(256).long())
    value = classification_loss(lambda x, generator: x, process)(network, batch, generator())
    assert torch.allclose(value, torch.tensor(10.0).log())  # zeros for logits: each class has a tenth
    a = process.schedule.signal(network.t)
    assert (
        torch.corrcoef(torch.stack([network.x.mean((1, 2, 3)).double(), a]))[0, 1] > 0.8
    )  # the mean pixel is a(t) plus noise
    classification_loss(lambda x, generator: x)(network, batch, generator())
    assert network.t is None and torch.equal(network.x, torch.ones(256, 1, 4, 4))


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives of the three data sets with a few random images each."""
    rng = np.random.default_rng(0)
    for name, shape in sets.SHAPES.items():
        arrays = {f"x_{s}": rng.integers(0, 256, (n, *shape), dtype=np.uint8) for s, n in (("train", 40), ("test", 20))}
        arrays |= {f"y_{s}": np.arange(n) % 10 for s, n in (("train", 40), ("test", 20))}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_leaves_a_model_that_loads_and_says_what_it_is(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick(model, n, steps, **options):
        return draw(model, n, 2, **options)

    for module in (diffusion, designs, pipelines, texts):
        monkeypatch.setattr(module, "draw", quick)
    monkeypatch.setitem(rows.TRAINING, "scenes", lambda: texts.captioned_scenes(40))
    chosen = RECIPES[recipe]
    if isinstance(chosen.objective, texts.DenoiseTold):
        train(RECIPES[chosen.objective.clip], tmp_path / "clip", steps=1, batch_size=8)
        chosen = replace(chosen, objective=replace(chosen.objective, clip=str(tmp_path / "clip")))
    if isinstance(chosen.objective, DenoiseLatents):
        train(RECIPES[chosen.objective.autoencoder], tmp_path / "autoencoder", steps=1, batch_size=8)
        chosen = replace(chosen, objective=replace(chosen.objective, autoencoder=str(tmp_path / "autoencoder")))
    card = train(chosen, tmp_path / "run", steps=1, batch_size=8)
    network, loaded = store.load(tmp_path / "run")
    assert loaded == card and card.name == recipe and card.images_seen == 8
    assert card.parameters == sum(p.numel() for p in network.parameters()) and 4 * card.parameters < 60e6
    assert json.loads((tmp_path / "run/run.json").read_text())["options"]["recipe"] == recipe
    if card.prediction in ("class", "pair"):
        assert all(0 <= share <= 1 for share in card.metrics.values()) and card.metrics
    else:
        assert (tmp_path / "run/samples-000001.png").exists()


def draws_by_itself(name: str) -> bool:
    """Whether a shipped model draws without being told a picture, as those that restore are."""
    card = load_card(store.SHIPPED / f"{name}.json")
    return card.prediction in PREDICTIONS and card.architecture != "PictureUNet"


@pytest.mark.parametrize("name", [n for n in store.shipped_models() if draws_by_itself(n)])
def test_every_shipped_model_draws_each_class_as_often(name: str) -> None:
    model, card = store.load_denoising(name)
    n = model.takes.classes if isinstance(model.takes, Labels) else 10
    cond = balanced_classes(model.takes, n)
    assert cond is None or cond.tolist() == list(range(n))
    images = draw_batches(model, n, steps=2, sampler="ddim", seed=0, cond=cond, scale=2.0)
    shape = card.image_shape if model.autoencoder is None else [3, 32, 32]
    assert images.shape == (n, *shape)
    assert (
        images.abs().max() <= 1 and images.std() > 0.05
    )  # no flat picture; scenes are mostly black, above all in two steps


def test_the_accuracy_score_is_that_of_a_classifier_which_saw_only_the_drawn_images() -> None:
    """Bars at two heights: told apart after learning from true bars, taken for each other after learning from swapped labels."""
    labels = torch.arange(200) % 2
    images = torch.randint(0, 60, (200, 1, 8, 8), generator=generator(), dtype=torch.uint8)
    images[labels == 0, :, 1:3] = 255
    images[labels == 1, :, 5:7] = 255
    learned = accuracy_score(images[:100], labels[:100], (images[100:], labels[100:]), steps=30, batch_size=20)
    assert learned.value == learned.high == 1 and learned.low == pytest.approx(100 / (100 + 1.96**2), abs=1e-4)
    swapped = accuracy_score(images[:100], 1 - labels[:100], (images[100:], labels[100:]), steps=30, batch_size=20)
    assert swapped.value == swapped.low == 0 and swapped.high == pytest.approx(1 - learned.low)
    with pytest.raises(ValueError, match="batch_size"):
        accuracy_score(images[:10], labels[:10], (images, labels), batch_size=20)


def test_a_model_of_bits_is_no_model_of_images_and_says_what_to_take() -> None:
    with pytest.raises(ValueError, match="draws bits, not images: take `sampling.steps.reverse`"):
        store.load_denoising("heartbeat")


def test_the_shipped_heartbeat_beats() -> None:
    network, card = store.load("heartbeat")
    process = BinomialDiffusion(card.build_schedule(), 0.2)
    step = reverse(bit_denoiser(network), process, generator())
    bits = last(sample(step, process.prior((200, 20), generator(1)), process.schedule.grid()))
    assert (phases(bits) >= 0).double().mean() > 0.97 and len(phases(bits).unique()) >= 5
