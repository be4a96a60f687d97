"""The benchmark of text to image: what it asks for, and what it counts."""

import pytest
import torch

from benchmarks import texts
from course_lib.data import scenes
from course_lib.data.images import to_unit
from course_lib.data.scenes import Scene, Thing

ASKED = Scene((Thing("small", "red", "circle"), Thing("large", "blue", "square")), "above")
ALONE = Scene((Thing("small", "red", "circle"),))


def drawn(*shown: Scene) -> torch.Tensor:
    return to_unit(scenes.pictures(shown, torch.Generator().manual_seed(0)))


def test_words_may_be_right_where_things_are_not() -> None:
    one, other = ASKED.things
    colours = Scene((one._replace(colour="blue"), other._replace(colour="red")), "above")
    wrong = Scene((one._replace(colour="green"), other), "above")
    more = drawn(ASKED, colours, wrong, ALONE, Scene(ASKED.things, "below"))
    found = texts.of_pairs([ASKED] * 5, more)
    assert found["two things"].tolist() == [1, 0, 0, 0, 0]
    assert found["their things"].tolist() == [1, 0, 0, 0, 1], "where they stand is not asked here"
    assert found["their words"].tolist() == [1, 1, 0, 0, 1]
    assert found["one thing"].tolist() == []
    assert [found[name].tolist() for name in texts.BOUND] == [[1, 0, 1], [1, 0, 0]]


def test_words_alone_leave_their_readings_as_often_as_each_occurs() -> None:
    one, other = ASKED.things
    colours = [(one, other), (one._replace(colour="blue"), other._replace(colour="red"))]
    sizes = [(a._replace(size=b.size), b._replace(size=a.size)) for a, b in colours]
    pairs = [pair for two in colours + sizes for pair in (two, two[::-1])]
    found = [texts.by_words_alone(Scene(pair, "above")) for pair in pairs]
    assert sum(right for _, right in found) == pytest.approx(1)
    for k in range(0, 8, 2):
        assert found[k][0] == pytest.approx(found[k][1] + found[k + 1][1]) and found[k][0] == found[k + 1][0]
    alike = (one, one._replace(colour="blue"))
    things, whole = texts.by_words_alone(Scene(alike, "above"))
    assert things == 1 and 0.3 < whole < 0.7
    words = torch.tensor([1.0, 0.0])
    shares = texts.floors("seen", [ALONE, Scene(alike, "above"), ASKED], words)
    assert shares == dict(zip(texts.BOUND, (things, whole), strict=True))
    assert texts.floors("held out", [ASKED], torch.ones(1)) == {}


def test_the_grain_of_a_clean_picture_is_none_and_bounds_the_distance_from_what_was_copied() -> None:
    clean = drawn(ASKED, ALONE)
    assert texts.grain(clean).tolist() == [0, 0]
    noisy = (clean + 0.1 * torch.rand(clean.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    apart = (noisy - clean).square().mean((1, 2, 3)).sqrt()
    assert bool((texts.grain(noisy) <= apart).all()) and bool((texts.grain(noisy) > 0.7 * apart).all())


def test_a_single_thing_is_right_or_not() -> None:
    black = torch.full((1, 3, 32, 32), -1.0)
    found = texts.of_pairs([ALONE] * 3, torch.cat([drawn(ALONE, ASKED), black]))
    assert found["one thing"].tolist() == [1, 0, 0] and len(found["two things"]) == 0


def test_a_part_asks_for_its_group_and_each_part_for_something_else() -> None:
    for group, new in (("seen", False), ("held out", True)):
        first, second = (texts.scenes_of_part(group, number) for number in range(2))
        assert [scenes.is_held_out(scene) for scene in first] == [new] * texts.PICTURES
        assert first == texts.scenes_of_part(group, 0) != second


def test_settings_have_names_of_their_own() -> None:
    names = [setting.name for setting in texts.settings()]
    assert len(set(names)) == len(names) == len(texts.GROUPS) * (len(texts.SCALES) + 1)
