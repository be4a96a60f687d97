"""Captioned scenes: what is drawn is what is said, and what is read is what was drawn."""

import math

import pytest
import torch

from course_lib.data import scenes
from course_lib.data.images import to_unit
from course_lib.data.scenes import Scene, Thing
from tests.lib.tensors import normal


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SOME = scenes.random_scenes(150, generator())
PICTURES = scenes.pictures(SOME, generator(1))


def test_a_caption_is_parsed_to_its_scene() -> None:
    for scene in SOME + scenes.random_scenes(50, generator(2), held_out=True):
        assert scenes.parse(scenes.caption(scene)) == scene
    assert scenes.parse("A  small RED circle") == Scene((Thing("small", "red", "circle"),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a tiny red circle on a blue star", "unknown words: tiny, on, star"),
        ("a red small circle", "must read"),
        ("a small red circle above", "must read"),
        ("a small red circle above a large", "must read"),
        ("", "must read"),
        ("a small red circle a large blue cross", "must read"),
        ("a small red circle above a small blue cross above a small green cross", "must read"),
    ],
)
def test_a_caption_that_nobody_could_draw_is_refused_with_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scenes.parse(text)


def test_every_word_of_the_grammar_is_used_and_known() -> None:
    said = {word for scene in SOME for word in scenes.caption(scene).split()}
    assert said == set(scenes.WORDS)
    assert len(scenes.all_things()) == len(set(scenes.all_things())) == 48


def test_what_is_drawn_is_read_back_also_under_some_noise() -> None:
    for noise in (0.0, 0.15):
        found = scenes.share_shown(SOME, to_unit(PICTURES) + noise * normal(*PICTURES.shape).float())
        assert all(float(values.nanmean()) == 1 for values in found.values())
    assert bool(found["relation"].isnan().any()) and not bool(found["all"].isnan().any())


def test_a_thing_is_where_and_as_large_as_it_was_drawn() -> None:
    for shape, half in ((shape, half) for shape in scenes.SHAPES for half in scenes.SIZES.values()):
        covered = scenes.coverage(shape, torch.tensor([14.3]), torch.tensor([17.1]), torch.tensor([half]))[0]
        seen = scenes.described(covered, "red")
        assert abs(seen.row - 14.3) < 0.25 and abs(seen.column - 17.1) < 0.05
        assert seen.thing == Thing("small" if half < 4 else "large", "red", shape)


@pytest.mark.parametrize("shape", scenes.SHAPES)
def test_the_areas_of_shapes_are_those_of_a_count_of_points(shape: str) -> None:
    at = torch.linspace(-1.2, 1.2, 1201, dtype=torch.float64)
    y, x = torch.meshgrid(at, at, indexing="ij")
    inside = scenes.distance(shape, x, y, torch.ones(())) < 0
    area, row = float(inside.double().sum()) * 0.002**2, float(y[inside].mean())
    assert area == pytest.approx(scenes.AREA[shape], rel=0.005) and row == pytest.approx(scenes.LOWER[shape], abs=0.01)
    assert float(x[inside].mean()) == pytest.approx(0, abs=1e-9)


def test_each_mistake_is_seen_in_its_own_aspect() -> None:
    scene = Scene((Thing("small", "red", "circle"), Thing("large", "blue", "square")), "above")
    image = to_unit(scenes.pictures([scene], generator(3)))[0]
    seen = scenes.read(image)

    def wrong(**changes: str) -> list[str]:
        relation = changes.pop("relation", scene.relation)
        other = Scene((scene.things[0]._replace(**changes), scene.things[1]), relation)
        return [aspect for aspect, right in scenes.shows(other, seen).items() if not right]

    assert wrong() == []
    for aspect, value in (("size", "large"), ("colour", "green"), ("shape", "cross"), ("relation", "below")):
        assert wrong(**{aspect: value}) == [aspect]
    assert scenes.shows(Scene(scene.things[:1]), seen) == {"count": False, "colour": True, "shape": True, "size": True}
    assert not any(scenes.shows(scene, []).values())
    assert not scenes.shows(scene, seen[:1])["count"]


def test_things_are_matched_to_what_is_said_in_either_order() -> None:
    scene = Scene((Thing("large", "red", "circle"), Thing("large", "blue", "square")), "right of")
    image = to_unit(scenes.pictures([scene], generator(4)))[0]
    turned = Scene(scene.things[::-1], "left of")
    assert all(scenes.shows(scene, scenes.read(image)).values()) and all(
        scenes.shows(turned, scenes.read(image)).values()
    )


@pytest.mark.parametrize("relation", scenes.RELATIONS)
def test_things_keep_their_distance_and_stay_in_the_picture(relation: str) -> None:
    for share in torch.rand(200, 2, 2, generator=generator()).tolist():
        pair = Scene((Thing("large", "red", "square"), Thing("large", "blue", "cross")), relation)
        first, second = scenes.places(pair, share)
        apart = [abs(first[axis] - second[axis]) for axis in (0, 1)]
        assert max(apart) >= 12 + scenes.GAP - 1e-9
        assert all(7 <= coordinate <= scenes.SIZE - 7 for place in (first, second) for coordinate in place)


def test_held_out_combinations_are_missing_in_training_and_there_when_asked_for() -> None:
    assert not any(scenes.is_held_out(scene) for scene in SOME)
    new = scenes.random_scenes(100, generator(5), held_out=True)
    assert all((scene.things[0].colour, scene.things[0].shape) in scenes.HELD_OUT for scene in new)
    assert {len(scene.things) for scene in new} == {1, 2}
    shown = {
        (thing.colour, thing.shape) for scene in scenes.random_scenes(2000, generator(6)) for thing in scene.things
    }
    assert len(shown) == 24 - len(scenes.HELD_OUT)
    for colour, shape in scenes.HELD_OUT:
        assert {c for c, _ in shown} >= {colour} and {s for _, s in shown} >= {shape}
    assert all(len({thing.colour for thing in scene.things}) == len(scene.things) for scene in SOME + new)


def test_an_empty_or_a_grey_picture_shows_nothing() -> None:
    assert scenes.read(torch.full((3, 32, 32), -1.0)) == [] and scenes.read(torch.full((3, 32, 32), -0.5)) == []
    dot = torch.full((3, 32, 32), -1.0)
    dot[0, 5:7, 5:8] = 0.8  # six pixels
    assert scenes.read(dot) == []
    assert math.isfinite(sum(float(v.nansum()) for v in scenes.share_shown(SOME[:1], dot[None]).values()))


def test_the_chances_of_captions_are_those_of_drawn_scenes() -> None:
    chances = scenes.caption_chances()
    assert sum(chances.values()) == pytest.approx(1) and len(chances) == 40 + 4 * (4 * 6 * 34 + 2 * 8 * 32)
    drawn = [scenes.caption(scene) for scene in scenes.random_scenes(20_000, generator(5))]
    assert set(drawn) <= chances.keys()
    for text in ("a small red circle", "a large blue triangle"):
        assert drawn.count(text) / 20_000 == pytest.approx(chances[text], rel=0.25)
    first = "a small red circle above"
    share = sum(p for text, p in chances.items() if text.startswith(first))
    assert sum(text.startswith(first) for text in drawn) / 20_000 == pytest.approx(share, rel=0.35)
