"""Captions as numbers, the two towers that match them with pictures, and the U-Net that is told them."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from course.cli import app
from course_lib.data import captions, scenes
from course_lib.diffusion.predictions import V
from course_lib.diffusion.schedules import cosine
from course_lib.models import store
from course_lib.models.cards import load_card
from course_lib.models.telling import teller
from course_lib.nets.clip import LARGEST, Clip, contrastive_loss
from course_lib.nets.conditions import null_of
from course_lib.nets.texts import TextUNet
from course_lib.recipes import rows, texts
from course_lib.recipes.train import train
from course_lib.sampling.generate import Denoising, draw, draw_batches
from tests.lib.tensors import normal

COSINE = {"name": "cosine", "T": 30}
SOME = [scenes.caption(scene) for scene in scenes.random_scenes(60, torch.Generator().manual_seed(0))]


def test_captions_come_back_from_their_numbers() -> None:
    rows_ = captions.encode(SOME)
    assert rows_.shape == (60, captions.LENGTH) and captions.decode(rows_) == SOME
    assert int(rows_.max()) < captions.SYMBOLS
    assert captions.encode([""])[0].tolist() == [captions.END, *[captions.PAD] * (captions.LENGTH - 1)]
    longest = max((f"a {' '.join(thing)}" for thing in scenes.all_things()), key=lambda text: len(text.split()))
    assert captions.decode(captions.encode([f"{longest} left of {longest}"])) == [f"{longest} left of {longest}"]
    with pytest.raises(ValueError, match="unknown words: star"):
        captions.encode(["a small red star"])


def test_no_two_captions_have_the_same_numbers() -> None:
    assert len({tuple(row) for row in captions.encode(SOME).tolist()}) == len(set(SOME))


def test_the_contrastive_loss_is_none_for_certainty_and_log_b_for_ignorance() -> None:
    assert float(contrastive_loss(100 * torch.eye(8))) == pytest.approx(0, abs=1e-6)
    assert float(contrastive_loss(torch.zeros(8, 8))) == pytest.approx(math.log(8))
    shifted = 100 * torch.eye(8).roll(1, 1)
    assert float(contrastive_loss(shifted)) == pytest.approx(100, rel=1e-3)
    # Both directions count: these rows are sure and right, while all columns are drawn to the first row.
    logits = torch.diag(torch.full((4,), 10.0))
    logits[0] += 1000
    pictures, words = (nn.functional.cross_entropy(one, torch.arange(4)) for one in (logits, logits.mT))
    assert float(pictures) < 1e-3 < 100 < float(words)
    assert float(contrastive_loss(logits)) == pytest.approx(float(pictures + words) / 2)


def test_with_the_best_logits_the_loss_bounds_the_mutual_information_and_nearly_reaches_it() -> None:
    joint = torch.rand(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 6
    joint /= joint.sum()
    ratio = (joint / joint.sum(1, keepdim=True) / joint.sum(0)).log()
    information = float((joint * ratio).sum())
    generator = torch.Generator().manual_seed(1)
    bounds = {}
    for size in (8, 64, 512):
        found = []
        for _ in range(40_000 // size):
            drawn = torch.multinomial(joint.flatten(), size, True, generator=generator)
            x, y = drawn // 7, drawn % 7
            found.append(math.log(size) - float(contrastive_loss(ratio[x][:, y])))
        bounds[size] = sum(found) / len(found)
    assert bounds[8] < bounds[64] < bounds[512] < information + 0.01
    assert bounds[512] > 0.98 * information


def clip() -> Clip:
    torch.manual_seed(0)
    return Clip(captions.SYMBOLS, captions.LENGTH, width=16, depth=1, features=8, joint=8)


def test_both_towers_end_on_the_sphere_and_the_scale_has_a_bound() -> None:
    net, words = clip(), captions.encode(SOME[:6])
    x = normal(4, 3, 32, 32).float()
    pictures, said = net.of_pictures(x), net.of_texts(words)
    assert torch.allclose(pictures.norm(dim=1), torch.ones(4)) and torch.allclose(said.norm(dim=1), torch.ones(6))
    assert net(x, words).shape == (4, 6)
    assert torch.allclose(net(x, words), pictures @ said.mT / 0.07, atol=1e-4)
    net.log_scale.data.fill_(10.0)
    assert float(net.scale.detach()) == LARGEST
    with pytest.raises(ValueError, match="multiple of 8"):
        Clip(10, 10, size=20)


def test_a_tower_hears_the_order_of_words() -> None:
    net = clip()
    one, other = "a small red circle above a large blue cross", "a large blue cross above a small red circle"
    first, second = net.of_texts(captions.encode([one, other]))
    assert not torch.allclose(first, second)


def test_retrieval_counts_what_is_found_and_takes_the_same_caption_for_right() -> None:
    class Sure(Clip):
        off: int

        def forward(self, x: Tensor, words: Tensor) -> Tensor:
            return torch.eye(len(x)).roll(self.off, 1)

    images, words = texts.captioned_scenes(8)
    net = Sure(captions.SYMBOLS, captions.LENGTH, width=16, depth=1, features=8)
    for off, share in ((0, 1.0), (1, 0.0)):
        Sure.off = off
        assert texts.retrieval(net, images, words, 8) == {"captions found": share, "pictures found": share}
    assert texts.retrieval(net, images, words[:1].expand(8, -1), 8)["captions found"] == 1


def network(asking: tuple[int, ...] = (1,)) -> TextUNet:
    torch.manual_seed(0)
    found = TextUNet(captions.LENGTH, 16, asking, width=8, multipliers=(1, 2), attention=(), patch=2)
    for parameter in found.parameters():  # so that it says something, and hears
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)
    return found.eval()


@torch.no_grad()
def test_the_u_net_hears_words_by_attention_and_else_only_their_mean() -> None:
    x, t, told = normal(2, 3, 16, 16).float(), torch.full((2,), 5), normal(2, captions.LENGTH, 16).float()
    for asking, hears in (((), False), ((1,), True), ((0, 1), True)):
        net = network(asking)
        other = told.clone()
        other[0, 0], other[0, 1] = told[0, 0] + 1, told[0, 1] - 1  # the mean stays
        changed, plain = net(x, t, other), net(x, t, told)
        assert (not torch.allclose(changed[0], plain[0], atol=1e-5)) is hears
        assert torch.allclose(changed[1], plain[1], atol=1e-6)
        assert not torch.allclose(net(x, t, told.roll(1, -1)), plain, atol=1e-4)
        assert torch.equal(net(x, t, null_of(net.takes, 2)), net(x, t))


def test_only_the_blocks_that_should_ask_do() -> None:
    count = lambda asking: sum(getattr(module, "asking", None) is not None for module in network(asking).modules())  # noqa: E731
    assert (count(()), count((0,)), count((1,)), count((0, 1))) == (0, 3, 4, 7)
    with pytest.raises(ValueError, match="asking"):
        network((2,))
    with pytest.raises(ValueError, match="shape"):
        network()(normal(2, 3, 16, 16).float(), torch.full((2,), 5), torch.zeros(2, 3, 16))


def test_guidance_leads_away_from_another_text_in_the_place_of_none() -> None:
    model = Denoising(network(), V, cosine(20), (3, 16, 16))
    one, other = (normal(2, captions.LENGTH, 16, seed=seed).float() for seed in (1, 2))

    def drawn(cond: Tensor = one, **how: Any) -> Tensor:
        return draw(model, 2, 3, generator=torch.Generator().manual_seed(0), cond=cond, **how)

    usual = drawn(scale=3.0)
    assert torch.equal(usual, drawn(scale=3.0, away=null_of(model.takes, 2)))
    assert not torch.allclose(usual, drawn(scale=3.0, away=other), atol=1e-3)
    assert torch.allclose(drawn(), drawn(scale=3.0, away=one), atol=1e-5), "away from itself is nowhere"
    assert torch.allclose(drawn(scale=0.0, away=other), drawn(other), atol=1e-5)
    batches = draw_batches(model, 2, 3, batch_size=1, cond=one, scale=3.0, away=other)
    generator = torch.Generator().manual_seed(0)
    each = [draw(model, 1, 3, "ddim", generator, one[k : k + 1], 3.0, other[k : k + 1]) for k in range(2)]
    assert torch.allclose(batches, torch.cat(each), atol=1e-5)
    for wrong in (other[:1], other[..., 1:]):
        with pytest.raises(ValueError, match="shape|row"):
            drawn(scale=3.0, away=wrong)


def test_a_model_is_trained_on_what_a_trained_tower_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rows.TRAINING, "scenes", lambda: texts.captioned_scenes(40))
    card = train(rows.RECIPES["scenes-clip"], tmp_path / "clip", steps=1, batch_size=8)
    assert 0 <= card.metrics["captions found"] <= 1
    with pytest.raises(ValueError, match="draws nothing"):
        store.load_denoising(tmp_path / "clip")
    objective = texts.DenoiseTold(V, COSINE, clip=str(tmp_path / "clip"))
    images, told = objective.encoded(texts.captioned_scenes(40))
    assert told.shape == (40, captions.LENGTH, 64) and told.dtype == torch.float16
    net = TextUNet(captions.LENGTH, 64, width=8, multipliers=(1, 2), attention=(), patch=2)
    loss = objective.loss(net)(net, (images[:4], told[:4]), torch.Generator().manual_seed(0))
    loss.backward()
    assert float(loss.detach()) > 0 and objective.samples(net, (3, 32, 32), 0).shape == (30, 3, 32, 32)


def test_one_hot_words_say_which_word_stands_where() -> None:
    words = captions.encode(SOME[:3])
    assert torch.equal(texts.of_words(words).argmax(-1), words)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Towers, and a model that they tell captions to, each trained for a step."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(rows.TRAINING, "scenes", lambda: texts.captioned_scenes(40))
        patch.setattr(texts, "draw", lambda *arguments, **options: torch.zeros(6, 3, 32, 32))
        train(rows.RECIPES["scenes-clip"], folder / "clip", steps=1, batch_size=8)
        recipe = rows.RECIPES["scenes-text"]
        told = replace(recipe, objective=replace(recipe.objective, clip=str(folder / "clip")))  # type: ignore[type-var]
        train(told, folder / "text", steps=1, batch_size=2)
        yield folder


def test_a_card_names_the_towers_that_its_model_has_heard(runs: Path) -> None:
    drawing, card = store.load_denoising(runs / "text")
    towers, clip_card = store.load(runs / "clip")
    assert card.towers == {"model": str(runs / "clip"), "sha256": clip_card.sha256}
    found = teller(card)(["a small red circle", ""])
    words = captions.encode(["a small red circle", ""])
    assert isinstance(towers, Clip)
    assert torch.allclose(found, towers.text(words), atol=1e-6) and found.shape == (2, captions.LENGTH, 64)
    assert draw(drawing, 2, 2, cond=found, scale=2.0).shape == (2, 3, 32, 32)


def test_other_towers_than_those_of_the_training_are_refused(runs: Path) -> None:
    card = load_card(runs / "text" / "model.json")
    with pytest.raises(ValueError, match="SHA-256 differs"):
        teller(replace(card, towers={**card.towers, "sha256": "0"}))
    with pytest.raises(ValueError, match="no tower for texts"):
        teller(replace(card, towers={"model": "mnist-cfg", "sha256": ""}))
    with pytest.raises(ValueError, match="without|not trained with captions"):
        teller(load_card(runs / "clip" / "model.json"))


def test_the_command_draws_a_text_and_says_what_can_be_seen(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, asked = tmp_path / "new" / "out.png", []

    def watched(*arguments: Any, **options: Any) -> Tensor:
        asked.append(options)
        return draw_batches(*arguments, **options)

    monkeypatch.setattr("course_lib.sampling.generate.draw_batches", watched)
    text = "a small red circle above a large blue square"
    arguments = ["draw", text, "--out", str(out), "--n", "3", "--steps", "2", "--model", str(runs / "text")]
    found = CliRunner().invoke(app, [*arguments, "--negative", "a small green cross"])
    assert found.exit_code == 0, found.output
    assert out.exists() and "3 pictures" in found.stdout
    for aspect in scenes.ASPECTS:
        assert aspect in found.stdout
    alone = CliRunner().invoke(app, ["draw", "a small red circle", *arguments[2:]])
    assert alone.exit_code == 0 and "relation" not in alone.stdout
    tell = teller(load_card(runs / "text" / "model.json"))
    assert torch.equal(asked[0]["cond"], tell([text] * 3))
    assert torch.equal(asked[0]["away"], tell(["a small green cross"] * 3)) and asked[1]["away"] is None
