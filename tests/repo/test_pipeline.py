"""The benchmark of the pipeline: what it asks for, and how it tells hearts from what the model knew."""

import torch

from benchmarks import pipeline
from course_lib.data import scenes
from course_lib.data.images import to_unit
from course_lib.data.scenes import COLOURS, SHAPES, SIZES, Scene, Thing


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_every_heart_is_read_as_what_it_is() -> None:
    asked = [Thing(size, colour, "heart") for size in SIZES for colour in COLOURS]
    images = to_unit(pipeline.hearts(asked, generator()))
    assert pipeline.share_of_hearts(asked, images)["all"].tolist() == [1] * 12
    wrong = [Thing("large" if thing.size == "small" else "small", "red", "heart") for thing in asked]
    found = pipeline.share_of_hearts(wrong, images)
    assert found["size"].sum() == 0 and found["colour"].sum() == 2 and found["heart"].sum() == 12


def test_what_the_model_knew_is_no_heart() -> None:
    asked = [Thing(size, "red", shape) for size in SIZES for shape in SHAPES]
    images = to_unit(scenes.pictures([Scene((thing,)) for thing in asked], generator()))
    found = pipeline.share_of_hearts(asked, images)
    assert found["heart"].sum() == 0 and found["size"].sum() >= 6 and found["colour"].sum() == 8
    two = Scene((Thing("small", "red", "circle"), Thing("small", "blue", "cross")), "above")
    nothing = torch.cat([torch.full((1, 3, 32, 32), -1.0), to_unit(scenes.pictures([two], generator()))])
    assert pipeline.share_of_hearts(asked[:2], nothing)["count"].tolist() == [0, 0]


def test_a_heart_has_the_height_that_was_asked_for_and_lies_where_it_was() -> None:
    rows = (pipeline.heart(16, 16, 10).sum(1) > 0).nonzero()
    assert (int(rows.min()), int(rows.max())) == (6, 25)
    area, lower = pipeline.form()
    assert 2 < area < 3.2 and -0.3 < lower < 0.1


def test_each_group_asks_for_its_own() -> None:
    for group in pipeline.GROUPS:
        first, second = (pipeline.asked_of_part(group, number) for number in range(2))
        assert len(first) == pipeline.PICTURES and first == pipeline.asked_of_part(group, 0) != second
        if group in pipeline.HEARTS:
            assert {thing.colour for thing in first} == set(pipeline.HEARTS[group])
        else:
            assert [scenes.is_held_out(scene) for scene in first] == [group == "held out"] * pipeline.PICTURES
    assert pipeline.texts_of(first[:1])[0].endswith("heart")


def test_settings_have_names_of_their_own() -> None:
    names = [setting.name for setting in pipeline.settings()]
    assert len(set(names)) == len(names) == 2 * 4 + 2 + 4
