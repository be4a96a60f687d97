"""The benchmarks of restoring: what is measured of each picture, and that all settings see the same ones."""

from pathlib import Path

import pytest
import torch

from benchmarks import palette, restoring
from course_lib.data.degradations import DEGRADATIONS
from course_lib.recipes.palette import Regress


def test_what_is_measured_of_a_picture_is_right_for_a_known_error() -> None:
    setting = restoring.Setting("mnist", "lower half", "pigdm")
    x0 = torch.zeros(3, 1, 28, 28)
    off = torch.zeros(6, 1, 28, 28)
    off[:3, :, :14], off[3:, :, 14:] = (
        0.2,
        -0.2,
    )  # the first draw errs in the upper half, which is known, the second in the lower
    right = torch.tensor([True, False, True, True, True, False])
    found = restoring.of_pictures(setting, x0.repeat(2, 1, 1, 1) + off, x0, right)
    torch.testing.assert_close(found["error"], torch.full((3,), 0.2 / 2**0.5))
    torch.testing.assert_close(found["residual"], torch.full((3,), 0.1))
    torch.testing.assert_close(found["spread"], torch.full((3,), 0.2 / 2**0.5))
    assert found["accuracy"].tolist() == [1, 0.5, 0.5]


def test_draws_of_the_truths_own_distribution_are_as_far_from_it_as_from_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    middle = torch.randn(300, 1, 20, 20, generator=generator)
    truth, first, second = (middle + 0.7 * torch.randn(300, 1, 20, 20, generator=generator) for _ in range(3))
    rms = lambda x: x.square().flatten(1).mean(1).sqrt()  # noqa: E731
    error, spread = (
        (rms(first - truth).square() + rms(second - truth).square()).div(2).sqrt(),
        rms(first - second) / 2**0.5,
    )
    exact = restoring.ratio_of(error, spread)
    assert abs(exact.value - 1) < 0.01 and exact.interval().low < 1 < exact.interval().high
    assert restoring.ratio_of(error, spread / 2).value == pytest.approx(2 * exact.value)
    assert restoring.ratio_of(rms(middle - truth), spread).value == pytest.approx(0.5**0.5, abs=0.01), (
        "the mean is nearer"
    )


def test_masks_hide_what_they_should() -> None:
    hole, frame = restoring.framed(32, 8, 24, 0.0), restoring.framed(32, 4, 28, 1.0)
    assert float(hole.sum()) == 32**2 - 16**2 and float(hole[0, 0, 16, 16]) == 0
    assert float(frame.sum()) == 24**2 and float(frame[0, 0, 0, 0]) == 0
    assert float(restoring.upper_half(28)[0, 0, 13].min()) == 1 and float(restoring.upper_half(28)[0, 0, 14].max()) == 0


def test_every_setting_is_compared_with_one_that_is_drawn_from_the_same_pictures() -> None:
    found = {setting.name: setting for setting in restoring.settings()}
    assert len(found) == len(restoring.settings())
    for setting in found.values():
        other = found[restoring.baseline(setting)]
        assert (other.data, other.task, other.rows) == (setting.data, setting.task, setting.rows)


def test_parts_are_counted_by_the_poorest_setting_of_a_task(tmp_path: Path) -> None:
    for setting in restoring.settings():
        for number in range(1 if setting.method == "dps" else 2):
            file = restoring.place(tmp_path, setting, number)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    found = restoring.complete(tmp_path)
    assert found["mnist, lower half"] == 1 and found["mnist, edit"] == 2


def test_decibels_and_spread_of_draws() -> None:
    assert palette.decibels(torch.tensor([0.04, 0.0])).tolist() == pytest.approx([20, 100])
    x0 = torch.zeros(2, 3, 4, 4)
    x = torch.stack([x0 + 0.2, x0 - 0.2])
    found = palette.of_pictures(x, x0, torch.tensor([[True, True], [False, True]]))
    torch.testing.assert_close(found["psnr"], torch.full((2,), 20.0))
    assert found["psnr of the mean"].tolist() == pytest.approx([100, 100])
    torch.testing.assert_close(found["spread"], torch.full((2,), 0.08**0.5))
    assert found["accuracy"].tolist() == [0.5, 1]
    one = palette.of_pictures(x[:1], x0, torch.tensor([[True, False]]))
    torch.testing.assert_close(one["psnr of the mean"], one["psnr"])
    assert "spread" not in one


def test_what_is_left_untouched_is_grey_where_it_is_hidden_and_else_as_shown() -> None:
    x = torch.linspace(-1, 1, 2 * 3 * 64).view(2, 3, 8, 8)
    for task, degrade in DEGRADATIONS.items():
        left = degrade(x, torch.Generator().manual_seed(0))
        found = palette.drawn(palette.UNTOUCHED, "", left, 0)[0]
        hidden = (left.unknown > 0).expand_as(x)
        assert torch.equal(found[~hidden], x[~hidden])
        assert torch.equal(
            found[hidden], left.shown[hidden] if task in ("colour", "jpeg") else torch.zeros_like(x[hidden])
        )


def test_what_palette_is_compared_with_differs_in_one_thing() -> None:
    found = palette.recipes(7)
    shipped = found[palette.MODEL]
    for name, recipe in found.items():
        same_network, same_loss = recipe.config == shipped.config, recipe.objective == shipped.objective
        assert (
            recipe.steps == 7
            and (same_network or same_loss)
            and (name == palette.MODEL) == (same_network and same_loss)
        )
        assert isinstance(recipe.objective, Regress) == name.startswith("regression")
