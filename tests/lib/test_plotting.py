"""Figures hold what they were given: pixels, names, titles."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from course_lib.pages import plotting
from course_lib.pages.numbers import typeset

RAMP = torch.linspace(-1, 1, 5 * 12).reshape(5, 1, 3, 4)


def test_pictures_keep_the_order_of_pixels_and_refuse_other_shapes():
    pictures = plotting.as_pictures(RAMP)
    assert pictures.shape == (5, 3, 4) and pictures.min() == 0 and pictures.max() == 255
    assert (np.diff(pictures.reshape(-1).astype(int)) > 0).all()
    assert plotting.as_pictures(torch.zeros(2, 3, 4, 4)).shape == (2, 4, 4, 3)
    with pytest.raises(ValueError, match="N, 1 or 3, H, W"):
        plotting.as_pictures(torch.zeros(2, 2, 4, 4))


def test_a_grid_puts_images_from_left_to_right_and_leaves_the_rest_paper():
    sheet = plotting.grid(RAMP, columns=3, gap=2, paper=7)
    assert sheet.shape == (2 * (3 + 2) + 2, 3 * (4 + 2) + 2)
    assert (sheet[7:10, 8:12] == plotting.as_pictures(RAMP)[4]).all()
    assert (sheet[7:10, 14:] == 7).all() and (sheet[:2] == 7).all()


def test_rows_of_images_are_named_titled_and_closed():
    opened = plt.get_fignums()
    figure = plotting.rows({"first": RAMP[:3], "second": RAMP[3:]}, titles=("a", "b"))
    assert plt.get_fignums() == opened
    axes = np.array(figure.axes).reshape(2, 3)
    assert [axis.texts[0].get_text() for axis in axes[:, 0]] == ["first", "second"]
    assert [axis.get_title() for axis in axes[0]] == ["a", "b", ""]
    assert (np.asarray(axes[1, 1].images[0].get_array()) == plotting.as_pictures(RAMP)[4]).all()
    assert not axes[1, 2].images


def test_a_table_shows_markup_as_text():
    found = plotting.table(("<b>",), [("a & b",)])
    assert "&lt;b&gt;" in found and "a &amp; b" in found and "<b>" not in found


def test_a_table_keeps_letters_in_their_places_and_sets_numbers_elsewhere():
    found = plotting.table(("n = 5", "text"), [("-1 %", "a  -1 %")], letters=(1,))
    assert "<th>n\u00a0=\u00a05</th>" in found and "<td>\u22121\u00a0%</td>" in found
    assert '<td class="letters">a  -1 %</td>' in found


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("84.8% and 95 %", "84.8~% and 95~%"),
        ("28 × 28, 3.1 ± 0.2", "28~×~28, 3.1~±~0.2"),
        ("scale 1, n = 5,000", "scale 1, n~=~5,000"),
        ("-0.5 [-0.6, -0.4]", "−0.5 [−0.6,~−0.4]"),
        ("100 % [90, 100], 6 (4.0 to 9.0)", "100~% [90,~100], 6 (4.0~to~9.0)"),
        ("0.1 (0.1–0.2)", "0.1 (0.1|–|0.2)"),
        ("GPT-2, 2.5e-05, 1-3, 2015-2020, x - y", None),
        ("from 2 to 3, [a, 2], pages 1–3, max = 2", None),
    ],
)
def test_numbers_are_tied_to_what_belongs_to_them(written: str, wanted: str | None):
    found = typeset(written)
    assert found == (written if wanted is None else wanted.replace("~", "\u00a0").replace("|", "\u2060"))
    assert typeset(found) == found


def test_an_interval_may_be_parted_in_a_narrow_column():
    assert typeset("-1 [-2, 0] %", narrow=True) == "\u22121 [\u22122, 0] %"


def test_an_animation_draws_its_figures_and_closes_them():
    def frames():
        for height in (0.0, 1.0):
            figure, axes = plt.subplots(figsize=(1, 1))
            axes.axhline(height)
            yield figure

    opened = plt.get_fignums()
    animation = plotting.Animation(frames(), alt="a line that rises", captions=("low", "high"))
    assert plt.get_fignums() == opened and animation.frames.shape == (2, 100, 100, 3)
    assert (animation.frames[0] != animation.frames[1]).any()
    assert "a line that rises" in animation._repr_html_()
