"""The player of animations keeps every frame, says what it shows, and plays by itself in a page with nothing else on it."""

import base64
import io
import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from course_lib.pages.player import player_html

FRAMES = np.stack([np.full((4, 6), 40 * n, np.uint8) for n in range(5)])


def test_each_frame_lies_in_its_place_of_the_sheet() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 4, 6, 3), np.uint8)
    page = player_html(frames, "five frames of noise")
    columns = int(re.search(r'data-columns="(\d+)"', page)[1])
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", page)[1]))))
    for n, frame in enumerate(frames):
        top, left = n // columns * 4, n % columns * 6
        np.testing.assert_array_equal(sheet[top : top + 4, left : left + 6], frame)


def test_words_survive_their_way_into_html() -> None:
    words = ['a "quoted" <b>', "t = 1 & 2", "", "d", "e"]
    page = player_html(FRAMES, 'an "alt" <text>', words)
    assert json.loads(unescape(re.search(r'data-captions="([^"]*)"', page)[1])) == words
    assert 'alt="an &quot;alt&quot; &lt;text&gt;"' in page


@pytest.mark.parametrize(
    ("frames", "alt", "captions", "message"),
    [
        (FRAMES.astype(float), "alt", (), "frames must be uint8"),
        (FRAMES[0], "alt", (), "frames must be uint8"),
        (FRAMES[:0], "alt", (), "N >= 1"),
        (FRAMES, " ", (), "alt must say"),
        (FRAMES, "alt", ("one",), "one a frame"),
    ],
)
def test_refusals_name_the_argument(frames: np.ndarray, alt: str, captions: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        player_html(frames, alt, captions)


def test_slider_buttons_and_keys_move_through_the_frames(browser_path: str, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><body>{player_html(FRAMES, 'grey frames', 'abcde', fps=50)}</body>")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(file.as_uri())
        caption, slider, play = (page.locator(name) for name in (".now", "input", ".play"))

        def shade() -> int:
            """The grey that the reader sees."""
            shot = Image.open(io.BytesIO(page.locator(".screen").screenshot())).convert("L")
            return shot.getpixel((shot.width // 2, shot.height // 2))

        assert (caption.inner_text(), shade()) == ("e", 160)  # it opens on the last frame, and does not move by itself
        page.locator(".back").click()
        assert (caption.inner_text(), shade()) == ("d", 120)
        slider.press("Home")
        assert (caption.inner_text(), shade(), slider.get_attribute("aria-valuetext")) == ("a", 0, "a")
        play.click()
        page.wait_for_function("document.querySelector('.now').textContent === 'e'")
        page.wait_for_function("document.querySelector('.play').textContent === 'Play'")
        browser.close()
    assert errors == []
