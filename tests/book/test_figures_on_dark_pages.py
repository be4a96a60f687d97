"""Drawings change their inks on dark pages and keep their hues; pictures have their size, and load when they are needed."""

import re
from pathlib import Path

import numpy as np
import pytest

from dark_figures import darken, on_dark, to_oklab
from pages import page_names

PALETTE = ["0072b2", "d55e00", "009e73", "cc79a7", "e69f00", "56b4e9"]  # course.mplstyle


def hue(colour: str) -> float:
    return float(np.degrees(np.arctan2(*to_oklab(colour)[:0:-1])))


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    rgb = np.array([int(colour[n : n + 2], 16) for n in (0, 2, 4)]) / 255
    return float(
        np.array([0.2126, 0.7152, 0.0722]) @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    )


def contrast(one: str, other: str) -> float:
    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", PALETTE)
def test_a_coloured_line_keeps_its_hue_and_can_be_seen(colour: str) -> None:
    assert abs(hue(on_dark(colour)) - hue(colour)) < 8
    assert contrast(on_dark(colour), "121212") >= 4.5


def test_inks_and_papers_change_places() -> None:
    assert contrast(on_dark("222222"), "121212") > 10
    assert contrast(on_dark("ffffff"), "121212") < 1.3
    greys = [to_oklab(on_dark(2 * n + 2 * n + 2 * n))[0] for n in "0369cf"]
    assert greys == sorted(greys, reverse=True)


def test_what_is_made_of_pixels_is_untouched() -> None:
    image = '<image href="data:image/png;base64,#222222"/>'
    tile = '<g class="pixels"><rect fill="#222222"/></g>'
    found = darken(f'<svg width="1"><path style="stroke: #222222"/>{image}{tile}<text fill="#fff">x</text></svg>')
    assert image in found and tile in found
    assert f"stroke: #{on_dark('222222')}" in found
    assert f'fill="#{on_dark("ffffff")}"' in found
    assert found.startswith(f'<svg fill="#{on_dark("000000")}" '), "what has no colour is black, and turns light"


def test_the_names_of_parts_are_no_colours() -> None:
    arrow = '<marker id="0072B2"><path fill="#0072B2"/></marker><path stroke="#0072B2" marker-end="url(#0072B2)"/><use xlink:href="#abc"/>'
    found = darken(f'<svg width="1">{arrow}</svg>')
    assert 'marker-end="url(#0072B2)"' in found and 'href="#abc"' in found, "the arrow keeps its head"
    assert found.count(f"#{on_dark('0072b2')}") == 2


@pytest.mark.parametrize("page", page_names())
def test_pictures_have_their_size_and_drawings_a_version_for_the_dark(html: Path, page: str) -> None:
    file = html / f"{page}.html"
    article = file.read_text().partition("<article")[2].partition("</article>")[0]
    tags = re.findall(r"<img\b[^>]*>", article)
    assert not [tag[:150] for tag in tags if 'src="data:image/png' in tag], "a picture is loaded with the words"
    for tag in tags:
        assert re.search(r'\s(?:width|style)="', tag), f"the text will jump when this loads: {tag[:150]}"
    late = [tag for tag in tags if 'loading="lazy"' in tag]
    assert len(late) >= len(tags) - 2, "a picture far down the page is loaded at once"
    sources = [re.search(r'src="([^"]*)"', tag)[1] for tag in tags]
    for source, tag in zip(sources, tags):
        if source.endswith(".svg") and "only-light" in tag:
            dark = source.replace("_static", "_images").removesuffix(".svg") + "-dark.svg"
            assert any(other.endswith(Path(dark).name) for other in sources)
            assert (file.parent / dark).resolve().exists() or (html / "_images" / Path(dark).name).exists()
        assert not source.endswith(".svg") or "only-" in tag or "dark-light" in tag
