"""The pictures that open the book are what the program draws."""

import pytest

from tools.draw_pictures import FOLDER, PICTURES


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_what_the_program_draws(name: str) -> None:
    assert (FOLDER / f"{name}.svg").read_text() == PICTURES[name](), "run tools/draw_pictures.py and look at the result"
