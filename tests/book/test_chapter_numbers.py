"""Equations, figures and exercises are numbered by chapter, and the menu and the titles show the chapter's number."""

import re
from pathlib import Path

from chapter_numbers import numbers
from pages import page_names


def test_folders_give_the_numbers() -> None:
    pages = ["book/index", "book/refresher", "chapters/01_a/index", "chapters/02_b/index", "chapters/02_b_more/index"]
    pages += ["chapters/10_c/index", "book/appendices/x", "book/appendices/y"]
    assert numbers(pages) == {
        "book/refresher": ("R", "R"),
        "chapters/01_a/index": ("1", "1"),
        "chapters/02_b/index": ("2", "2a"),
        "chapters/02_b_more/index": ("2", "2b"),
        "chapters/10_c/index": ("10", "10"),
        "book/appendices/x": ("A", "A"),
        "book/appendices/y": ("B", "B"),
    }


def test_every_number_begins_with_that_of_its_chapter_and_none_is_left_out(html: Path) -> None:
    found: dict[str, dict[str, list[int]]] = {}
    for page, (number, _) in numbers(page_names()).items():
        text = (html / f"{page}.html").read_text()
        for kind in ("eqno", "Fig.", "Exercise", "Algorithm"):
            pattern = r'class="eqno">\(' if kind == "eqno" else rf'class="caption-number">{re.escape(kind)} '
            for chapter, place in re.findall(pattern + r"(\w+)\.(\d+)", text):
                assert chapter == number, f"{page} has {kind} {chapter}.{place}"
                found.setdefault(chapter, {}).setdefault(kind, []).append(int(place))
    assert set("1234567R") <= set(found)
    for chapter, kinds in found.items():
        for kind, places in kinds.items():
            assert places == list(range(1, len(places) + 1)), f"{kind} of chapter {chapter}: {places}"


def test_titles_and_menu_show_the_number(html: Path) -> None:
    for page, (_, shown) in numbers(page_names()).items():
        text = (html / f"{page}.html").read_text()
        title = re.search(r"<article.*?<h1>(.*?)</h1>", text, re.DOTALL)
        assert title is not None and re.sub("<[^>]*>", "", title[1]).startswith(f"{shown}. ")
    menu = re.search(r'<nav class="bd-links.*?</nav>', (html / "book/history.html").read_text(), re.DOTALL)
    assert menu is not None
    words = re.sub(r"<[^>]*>", "\n", menu[0])
    assert re.findall(r"^\s*(\d+[a-z]?)\. \w", words, re.MULTILINE) == [
        shown for page, (_, shown) in numbers(page_names()).items() if page.startswith("chapters/")
    ]
