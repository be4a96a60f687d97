"""Each page says what it is to engines and to those who share or cite it."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from offline import without
from page_facts import CARD, LONGEST, version
from pages import page_names

BASE = "https://learning-to-denoise.github.io/learning-to-denoise"


@pytest.mark.parametrize("page", page_names())
def test_page_describes_itself(html: Path, page: str) -> None:
    head = (html / f"{page}.html").read_text().partition("</head>")[0]
    tags = dict(re.findall(r'<meta (?:name|property)="([\w:]+)" content="([^"]*)"', head))
    assert 30 <= len(tags["description"].replace("&quot;", '"')) <= LONGEST + 40
    assert "\\" not in tags["description"], "a description shows no TeX"
    assert tags["og:url"] == f"{BASE}/{page}.html" and tags["og:title"]
    assert tags["og:image"] == f"{BASE}/{CARD}" and (html / CARD).exists()
    assert tags["og:site_name"] == "Learning to Denoise"
    assert f'rel="canonical" href="{BASE}/{page}.html"' in head


def test_map_names_every_page(html: Path) -> None:
    places = [place.text for place in ElementTree.parse(html / "sitemap.xml").iter() if place.tag.endswith("loc")]
    assert places == [f"{BASE}/{page}.html" for page in page_names()]


def test_a_lost_reader_is_led_back_from_any_depth(html: Path) -> None:
    page = (html / "404.html").read_text()
    assert page.index('<base href="/learning-to-denoise/">') < page.index("<link")
    assert 'href="search.html"' in page and "Page not found" in page


def test_a_chapter_can_be_cited_and_says_its_version(html: Path) -> None:
    page = (html / "chapters/03_ddim/index.html").read_text()
    entry = re.sub("<[^>]*>", "", page.partition('class="cite"')[2].partition("</details>")[0])
    assert f"version {version()}" in entry and f"{BASE}/chapters/03_ddim/index.html" in entry
    assert "Denoising diffusion implicit models" in entry
    assert f"Version {version()}" in page.partition("<footer")[2]


def test_a_page_says_where_it_stands_and_when_it_was_built(html: Path) -> None:
    page = (html / "chapters/03_ddim/index.html").read_text()
    place = re.sub("<[^>]*>", "", page.partition('class="page-part"')[2].partition("</nav>")[0])
    assert place.endswith("Learning to Denoise › The core")
    assert re.search(rf"Version {re.escape(version())}, built on \d{{4}}-\d\d-\d\d\.", page.partition("<footer")[2])


@pytest.mark.parametrize("page", ["book/index", "chapters/03_ddim/index", "search", "404"])
def test_no_page_loads_a_script_that_the_book_does_not_use(html: Path, page: str) -> None:
    scripts = re.findall(r'<script\b[^>]*\ssrc="([^"]*)"', (html / f"{page}.html").read_text())
    unused = re.compile("fontawesome|searchtools|searchindex|language_data")
    assert scripts and [name for name in scripts if unused.search(name)] == []


def test_scripts_are_left_out_by_name() -> None:
    page = '<script src="a/one.js?v=1"></script>\n  <script defer src="two.js"></script><script src="a/other_one.js"></script>'
    assert without(page, "one.js", "two.js") == '<script src="a/other_one.js"></script>'


def test_chapters_link_the_first_mention_of_a_word_with_the_glossary(html: Path) -> None:
    page = (html / "chapters/03_ddim/index.html").read_text()
    links = re.findall(r'class="glossary-link[^"]*" href="\.\./\.\./book/glossary\.html#(term-[^"]+)"', page)
    assert len(links) >= 5 and len(links) == len(set(links))


def test_a_word_that_a_page_uses_in_another_sense_is_not_linked(html: Path) -> None:
    chapters = html / "chapters"
    assert "#term-score" in (chapters / "05_classifier_guidance/index.html").read_text()
    for page, term in (("07_evaluation", "score"), ("08_thermodynamics", "evidence"), ("12_showdown", "bridge")):
        assert f'glossary.html#term-{term}"' not in (chapters / page / "index.html").read_text(), page
