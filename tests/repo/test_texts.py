"""The benchmark of text to image: what it asks for, and what it counts."""

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
