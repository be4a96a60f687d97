"""Measures of clothes, the network that is told wishes, and the command that draws what a designer asks for."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from course import designing
from course_lib.data import clothes
from course_lib.diffusion.predictions import V
from course_lib.diffusion.schedules import cosine
from course_lib.models.asking import asked
from course_lib.nets.conditions import Wishes, null_of
from course_lib.nets.designs import HARMONICS, DesignUNet, wish_features
from course_lib.nets.unet import UNet
from course_lib.recipes.designs import Design
from course_lib.sampling.generate import Denoising, draw
from course_lib.sampling.restoring import variations
from tests.lib.tensors import normal

COSINE = {"name": "cosine", "T": 20}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def box(top: int, bottom: int, left: int, right: int, grey: float = 1.0) -> Tensor:
    """A bright box on black, `(1, 1, 28, 28)`; bottom and right are the first row and column below and beyond it."""
    picture = torch.full((1, 1, 28, 28), -1.0)
    picture[..., top:bottom, left:right] = grey
    return picture


def network(wishes: tuple[str, ...] = clothes.MEASURES) -> DesignUNet:
    torch.manual_seed(0)
    return DesignUNet(width=8, multipliers=(1, 2), attention=(), patch=2, wishes=wishes, knots=clothes.KNOTS)


def model(takes_wishes: bool = True) -> Denoising:
    torch.manual_seed(0)
    plain = UNet(width=8, multipliers=(1, 2), attention=(), patch=2, classes=10)
    return Denoising(network() if takes_wishes else plain, V, cosine(20), (1, 28, 28))


def test_a_box_has_the_measures_of_its_sides() -> None:
    values = clothes.measures(torch.cat([box(4, 24, 9, 19), box(4, 24, 9, 19, 0.0), box(9, 19, 4, 24)]))
    deviation = lambda side: math.sqrt((side**2 - 1) / 12)  # noqa: E731 - of the numbers 1..side, evenly
    assert values[:, 0].tolist() == pytest.approx(
        [math.log(deviation(20) / deviation(10))] * 2 + [math.log(deviation(10) / deviation(20))]
    )
    assert values[:, 2].tolist() == pytest.approx([1, 0.5, 1])
    assert values[:, 3].tolist() == pytest.approx([1, 1, 1])
    # Beyond the middle twelve columns the second box reaches from 4 to 7 and from 20 to 23, and in ten of the fourteen rows.
    assert values[0, 1] == 0 and float(values[2, 1]) == pytest.approx(2 * (1 + 2 + 3 + 4 + 0) * 10 / 14, rel=1e-6)


def test_a_shape_off_the_middle_is_no_mirror_image() -> None:
    assert clothes.measures(box(4, 24, 9, 17))[0, 3] == pytest.approx(1 - 2 * 2 / (2 * 8))
    assert clothes.measures(box(4, 24, 0, 5))[0, 3] == pytest.approx(0)


def test_a_black_picture_is_measured_without_a_nan() -> None:
    assert clothes.measures(torch.full((1, 1, 28, 28), -1.0))[0].tolist() == [0, 0, 0, 1]
    with pytest.raises(ValueError, match="28"):
        clothes.measures(torch.zeros(1, 3, 28, 28))


def crowd(kinds: int = 10, each: int = 1000) -> tuple[Tensor, Tensor, Tensor]:
    """Values with ties, labels, and their table."""
    labels = torch.arange(kinds).repeat_interleave(each)
    values = normal(kinds * each, 4).float() * (1 + labels[:, None]) + labels[:, None]
    values[:, 1] = values[:, 1].clamp(min=float(values[:, 1].median()))
    return values, labels, clothes.distributions(values, labels)


def test_ranks_are_shares_of_the_same_kind() -> None:
    values, labels, table = crowd()
    found = clothes.ranks(values, labels, table)
    for kind in (0, 3, 9):
        own = values[labels == kind]
        for row in (0, 17, 500):
            share = (own[:, 0] < own[row, 0]).float().mean()
            assert abs(float(found[labels == kind][row, 0] - share)) < 0.01


def test_what_many_have_has_the_middle_of_their_ranks_and_stands_for_them_all() -> None:
    values, labels, table = crowd()
    low, high = clothes.rank_bounds(values, labels, table)
    own = values[labels == 3]
    lowest = own[:, 1] == own[:, 1].min()
    share = float(lowest.float().mean())
    assert share > 0.1
    row = int(lowest.nonzero()[0, 0]) + 3000
    assert float(low[row, 1]) == 0 and abs(float(high[row, 1]) - share) < 0.01
    assert abs(float(clothes.ranks(values, labels, table)[row, 1]) - share / 2) < 0.01
    wish = torch.full((1, 4), clothes.NOT_ASKED)
    for asked_for, met in ((share - 0.01, True), (share + 0.15, True), (share + 0.19, False)):
        wish[0, 1] = asked_for
        assert bool(clothes.as_asked(values[row : row + 1], labels[row : row + 1], wish, table)[0, 1]) is met
    assert bool(clothes.as_asked(values, labels, torch.full((len(values), 4), clothes.NOT_ASKED), table).all())


def test_kinds_without_sleeves_are_not_ranked_by_them() -> None:
    values, labels, table = crowd()
    sleeves = clothes.ranks(values, labels, table)[:, clothes.MEASURES.index("sleeves")]
    assert torch.equal(sleeves >= 0, clothes.sleeved(labels))
    assert [clothes.KINDS[kind] for kind in range(10) if clothes.sleeved(torch.tensor(kind))] == list(clothes.SLEEVED)


def test_values_beyond_the_training_set_have_the_ranks_of_its_ends() -> None:
    values, labels, table = crowd()
    beyond = clothes.ranks(torch.tensor([[-1e6] * 4, [1e6] * 4]), torch.tensor([0, 0]), table)
    assert beyond.tolist() == [[0] * 4, [1] * 4]
    with pytest.raises(ValueError, match="no ankle boot"):
        clothes.distributions(values[labels < 9], labels[labels < 9])


def test_each_kind_lacks_one_corner_and_each_corner_is_shown_by_another_kind() -> None:
    _, labels, _ = crowd()
    ranks = torch.rand(len(labels), 4, generator=generator())
    out = clothes.held_out(ranks, labels)
    assert 0.09 < float(out.float().mean()) < 0.13
    for kind in range(10):
        corner = clothes.corner_of(kind)
        inside = ranks[(labels == kind) & out]
        for measure, high in zip(corner.measures, corner.high, strict=True):
            assert bool((inside[:, measure] > 2 / 3).all() if high else (inside[:, measure] < 1 / 3).all())
    assert {clothes.corner_of(kind).high for kind in range(10)} == {
        (a, b) for a in (True, False) for b in (True, False)
    }


def test_features_of_a_wish_vanish_where_it_is_open_and_nowhere_else() -> None:
    wishes = torch.tensor([[0.5, -1.0], [-1.0, 0.25]])
    found = wish_features(wishes).reshape(2, 2, 2 + HARMONICS)
    assert bool((found[0, 1] == 0).all()) and bool((found[1, 0] == 0).all())
    assert found[1, 1].tolist() == pytest.approx([1, -0.25, *(math.cos(k * math.pi / 4) for k in (1, 2, 3))], abs=1e-6)
    assert found[0, 0, 0] == 1, "a wish of one half must not look like none"


def test_an_untrained_network_hears_no_wish_and_a_trained_one_hears_each() -> None:
    net, x, t = network(), normal(2, 1, 28, 28).float(), torch.full((2,), 5)
    for parameter in (net.body.last.weight, net.body.input_gain.weight):
        torch.nn.init.normal_(parameter)  # so that it says something
    cond = {"class": torch.tensor([1, 3]), "wishes": torch.full((2, 4), -1.0)}
    silent = net(x, t, cond)
    assert torch.equal(silent, net(x, t, {**cond, "wishes": torch.full((2, 4), 0.7)}))
    for parameter in net.body.condition.wishes.parameters():  # type: ignore[union-attr]
        torch.nn.init.normal_(parameter)
    for k in range(4):
        wishes = torch.full((2, 4), -1.0)
        wishes[0, k] = 0.7
        answer = net(x, t, {**cond, "wishes": wishes})
        assert not torch.allclose(answer[0], silent[0]) and torch.equal(answer[1], net(x, t, cond)[1])
    assert torch.equal(net(x, t, null_of(net.takes, 2)), net(x, t))


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (torch.full((2, 3), 0.5), r"shape \(B, 4\)"),
        (torch.full((2, 4), 1.5), "-1 for none"),
        (torch.full((2, 4), -0.5), "-1 for none"),
    ],
)
def test_wishes_of_another_form_are_refused(wishes: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Wishes(clothes.MEASURES).check(wishes)
    with pytest.raises(ValueError, match=message):
        draw(model(), 2, 2, generator=generator(), cond={"class": torch.tensor([1, 3]), "wishes": wishes})


def test_in_training_wishes_are_left_open_one_by_one() -> None:
    seen: list[Tensor] = []
    net = network()
    net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[2]["wishes"]))
    loss = Design(V, COSINE).loss(net)
    images = torch.zeros(2000, 1, 28, 28, dtype=torch.uint8)
    loss(net, (images, torch.zeros(2000, dtype=torch.long), torch.full((2000, 4), 0.5)), generator())
    left = seen[0] < 0
    all_open = left.all(1).float().mean()
    assert abs(float(left.float().mean()) - (0.1 + 0.9 * 0.4)) < 0.03
    assert abs(float(all_open) - (0.1 + 0.9 * 0.4**4)) < 0.03


def named(model: Denoising, n: int, label: int | None = None) -> Mapping[str, Tensor]:
    """What may be asked of a model that takes more than a class."""
    cond = asked(model, n, label)
    assert isinstance(cond, Mapping)
    return cond


def test_a_model_of_wishes_is_asked_for_classes_like_any_other() -> None:
    cond = named(model(), 20)
    assert cond["class"].tolist() == [k // 2 for k in range(20)] and bool((cond["wishes"] == -1).all())
    assert named(model(), 3, 4)["class"].tolist() == [4, 4, 4]
    with pytest.raises(ValueError, match=r"\[0, 9\]"):
        asked(model(), 3, 10)
    assert draw(model(), 20, 2, generator=generator(), cond=cond, scale=2.0).shape == (20, 1, 28, 28)


def test_variations_go_from_the_picture_itself_to_anything() -> None:
    pictures, cond = box(4, 24, 9, 19).expand(6, -1, -1, -1), asked(model(), 6, 3)

    def apart(change: float) -> float:
        return float((variations(model(), pictures, change, 20, generator(), cond, 2.0) - pictures).square().mean())

    assert apart(0.0) == 0
    assert 0 < apart(0.1) < apart(0.5) < apart(1.0)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        variations(model(), pictures, 1.5)
    with pytest.raises(ValueError, match="shape"):
        variations(model(), pictures[..., 1:], 0.5)


def test_the_full_variation_is_what_the_sampler_draws_but_for_the_guide() -> None:
    cond, times = asked(model(), 6, 3), cosine(20).grid(20)
    drawn = variations(model(), torch.zeros(6, 1, 28, 28), 1.0, 20, generator(), cond)
    assert len(times) == 21 and drawn.shape == (6, 1, 28, 28)
    assert torch.allclose(drawn, draw(model(), 6, 20, "ddpm", generator(), cond), atol=1e-3), "at T no signal is left"


@pytest.mark.parametrize(
    ("kind", "name", "wish", "message"),
    [
        ("dress", "length", 1.2, r"\[0, 1\]"),
        ("dress", "length", math.nan, r"\[0, 1\]"),
        ("bag", "sleeves", 0.5, "no sleeves"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(kind: str, name: str, wish: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        designing.wish_of(kind, name, wish)


def test_the_sheet_has_designs_and_below_them_their_nearest_pictures() -> None:
    drawn, near = torch.arange(5.0).reshape(5, 1, 1, 1), torch.arange(10.0, 15).reshape(5, 1, 1, 1)
    assert designing.in_turns([drawn, near], 3).flatten().tolist() == [0, 1, 2, 10, 11, 12, 3, 4, -1, 13, 14, -1]
    train = normal(50, 1, 28, 28).float()
    assert torch.equal(designing.nearest_of(train[[7, 3]] + 0.01, train), train[[7, 3]])
    with pytest.raises(ValueError, match="wishes"):
        designing.check_designs(model(takes_wishes=False), "fashion-cfg")


def test_a_picture_of_clothes_has_the_size_of_the_models(tmp_path: Path) -> None:
    from PIL import Image

    for size, mode in (((28, 27), "L"), ((28, 28), "RGB")):
        Image.new(mode, size).save(tmp_path / "a.png")
        with pytest.raises(ValueError, match="28 x 28"):
            designing.picture_of_clothes(tmp_path / "a.png")
    Image.new("L", (28, 28), 255).save(tmp_path / "a.png")
    assert torch.equal(designing.picture_of_clothes(tmp_path / "a.png"), torch.ones(1, 1, 28, 28))
