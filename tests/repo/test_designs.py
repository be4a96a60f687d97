"""The benchmark of designs: what it asks for, and how it asks."""

from pathlib import Path

import torch

from benchmarks import designs
from course_lib.data import clothes
from course_lib.models.tensors import save_tensors


def test_wishes_of_a_corner_lie_in_the_corner_of_their_kind_and_those_that_were_seen_do_not() -> None:
    labels = designs.labels_of_part()
    assert labels.bincount().tolist() == [designs.DESIGNS // 10] * 10
    out, seen = (designs.wishes_of_part(group, 0) for group in ("held out", "seen"))
    assert bool(clothes.held_out(out, labels).all()) and not bool(clothes.held_out(seen, labels).any())
    for wishes in (out, seen):
        there = [clothes.MEASURES[k] for k in range(4) if bool((wishes[:, k] >= 0).all())]
        assert sorted(there) == sorted(designs.ASKED)
        assert int((wishes == clothes.NOT_ASKED).sum()) == 2 * designs.DESIGNS


def test_parts_have_pictures_of_their_own_and_of_the_kinds_that_are_asked_for() -> None:
    first, second = (set(designs.rows_of_part(number).tolist()) for number in (0, 1))
    assert len(first) == len(second) == designs.DESIGNS and not first & second
    _, labels, _, _ = designs.clothes_of("test")
    assert torch.equal(labels[designs.rows_of_part(1)], designs.labels_of_part())


def test_each_setting_has_a_name_and_a_file_of_its_own() -> None:
    found = designs.settings()
    assert len({one.name for one in found}) == len({designs.place(Path(), one, 0) for one in found}) == len(found)
    assert all(first in found and second in found and first.group == second.group for first, second in designs.pairs())


def test_only_the_named_wishes_are_kept_and_the_exchange_is_at_its_time() -> None:
    wishes = torch.arange(8.0).reshape(2, 4) / 8
    kept = designs.alone(wishes, "brightness")
    assert kept[:, clothes.MEASURES.index("brightness")].tolist() == [0.25, 0.75]
    assert int((kept == clothes.NOT_ASKED).sum()) == 6 and bool((designs.alone(wishes) == clothes.NOT_ASKED).all())
    both = designs.exchanged(lambda x, t: x, lambda x, t: -x, 5.0)
    assert [float(both(torch.ones(()), torch.tensor(t))) for t in (6, 5, 4)] == [1, -1, -1]


def test_a_design_is_inside_where_it_lies_in_the_corner_itself(tmp_path: Path) -> None:
    images, labels, ranks, _ = designs.clothes_of("train")
    out, setting, each = (
        clothes.held_out(ranks, labels),
        designs.Setting("held out", "together", 1.0),
        designs.DESIGNS // 10,
    )
    rows = [
        ((labels == kind) & here).nonzero()[:n, 0] for kind in range(10) for here, n in ((out, each - 1), (~out, 1))
    ]
    save_tensors(designs.place(tmp_path, setting, 0), {"images": images[torch.cat(rows)]}, {})
    found = designs.gathered(tmp_path, setting, 1)
    assert found["inside"].tolist() == [*[1.0] * (each - 1), 0.0] * 10
    assert set(found) == {*designs.ASKED, "both", "inside"}
