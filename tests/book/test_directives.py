"""The book's own directives and what it writes beside the pages, on pages made for the test."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pages import page_names
from pictures import size
from quiz import shuffled
from tex_words import tex_words

EXTENSIONS = Path(__file__).resolve().parents[2] / "book" / "_ext"


def build(folder: Path, text: str) -> tuple[int, str, str]:
    """Build a page with the quiz directive; exit status, messages and the HTML."""
    (folder / "index.md").write_text("# Page\n\n" + text)
    (folder / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(EXTENSIONS)!r})\nextensions = ['myst_parser', 'quiz']\n"
        "myst_enable_extensions = ['dollarmath']\nhtml_static_path = []\n"
    )
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        str(folder),
        str(folder / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=False)
    html = folder / "out" / "index.html"
    return done.returncode, done.stderr, html.read_text() if html.exists() else ""


def test_quiz_becomes_a_form_with_parsed_content(tmp_path: Path) -> None:
    status, messages, html = build(
        tmp_path, "```{quiz} What is $x$?\n- [ ] one :: no, see *this*\n- [x] two :: yes\n```\n"
    )
    assert status == 0, messages
    assert html.count('type="radio"') == 2
    assert html.count("quiz-answer right") == 1
    assert "<em>this</em>" in html
    assert "<legend>What is <span" in html


def test_a_word_of_another_sense_must_be_in_the_glossary(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(EXTENSIONS)!r})\nextensions = ['myst_parser', 'glossary_links']\n"
        "root_doc = 'book/glossary'\n"
    )
    (tmp_path / "book").mkdir()
    (tmp_path / "chapters").mkdir()
    (tmp_path / "book/glossary.md").write_text(
        "# Glossary\n\n```{toctree}\n/chapters/page\n```\n\n```{glossary}\nevidence\n  $p(x)$.\n\nscore\n  A gradient.\n```\n"
    )
    command = [sys.executable, "-m", "sphinx", "-E", "-q", "-b", "html", str(tmp_path), str(tmp_path / "out")]
    found = {}
    for words in ("evidence", "evidence, bridge"):
        (tmp_path / "chapters/page.md").write_text(
            f"---\nunlinked: {words}\n---\n\n# Page\n\nWeak evidence; its score.\n"
        )
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=True)
        html = (tmp_path / "out/chapters/page.html").read_text()
        assert "#term-score" in html and "#term-evidence" not in html
        found[words] = "no words of the glossary, in `unlinked`: bridge" in done.stderr
    assert found == {"evidence": False, "evidence, bridge": True}


def test_quiz_with_two_right_answers_has_check_boxes(tmp_path: Path) -> None:
    status, messages, html = build(
        tmp_path, "```{quiz} Which?\n- [x] one :: yes\n- [x] two :: yes\n- [ ] three :: no\n```\n"
    )
    assert status == 0, messages
    assert html.count('type="checkbox"') == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- [ ] one :: no\n- [ ] two :: no", "one of them right"),
        ("- [x] one :: yes", "at least two answers"),
        ("- [x] one :: yes\n- [ ] two", "needs a reason"),
        ("one\n- [x] two :: yes", "a quiz holds lines"),
    ],
)
def test_quiz_refuses_what_a_reader_could_not_use(tmp_path: Path, content: str, message: str) -> None:
    status, messages, _ = build(tmp_path, f"```{{quiz}} Which?\n{content}\n```\n")
    assert status != 0
    assert message in messages


def test_answers_are_shuffled_in_the_same_way_each_time() -> None:
    answers = [(n == 1, f"answer {n}", "why") for n in range(3)]
    questions = [f"question {n}" for n in range(300)]
    orders = [shuffled(answers, question) for question in questions]
    assert orders == [shuffled(answers, question) for question in questions]
    assert all(sorted(order, key=lambda one: one[1]) == answers for order in orders)
    places = [[right for right, *_ in order].index(True) for order in orders]
    assert all(70 <= places.count(place) <= 130 for place in range(3))  # 100 expected, standard deviation 8


def test_the_right_answer_has_no_favourite_place_in_the_book(html: Path) -> None:
    places: list[tuple[int, int]] = []
    for page in page_names():
        for quiz in re.findall(r'data-kind="radio".*?</fieldset>', (html / f"{page}.html").read_text(), re.DOTALL):
            marks = re.findall(r'class="quiz-answer (right|wrong)"', quiz)
            places.append((marks.index("right"), len(marks)))
    assert len(places) >= 30
    for place in range(3):
        found = sum(at == place for at, _ in places)
        assert found <= 0.52 * len(places), f"{found} of {len(places)} right answers stand at place {place + 1}"


def test_an_answer_that_is_a_formula_has_a_name_for_those_who_listen(tmp_path: Path) -> None:
    status, messages, html = build(
        tmp_path, "```{quiz} Which?\n- [x] $\\sqrt{\\beta_t}$ :: yes\n- [ ] the root $x$ :: no\n```\n"
    )
    assert status == 0, messages
    assert re.findall(r'aria-label="([^"]*)"> <span class="quiz-text"', html) == ["square root of beta t"]


@pytest.mark.parametrize(
    ("tex", "words"),
    [
        (r"\bar\alpha_t", "alpha bar t"),
        (r"\sqrt{1-\bar\alpha_t}", "square root of 1 minus alpha bar t"),
        (r"\tfrac12\,p_x(y/2)", "1 over 2 p x y over 2"),
        (r"\nabla_x \log p(y \mid x)", "gradient x log p y given x"),
        (r"\hat x_0^2", "x hat 0 squared"),
        (r"\mathcal{N}(0, I)", "normal 0 I"),
    ],
)
def test_formulas_are_said_in_words(tex: str, words: str) -> None:
    assert tex_words(tex) == words


def test_a_picture_tells_its_size(tmp_path: Path) -> None:
    (tmp_path / "plot.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" width="72pt" height="36pt"/>'
    )
    (tmp_path / "vague.svg").write_text("<svg><path d='M0 0'/></svg>")
    Image.new("L", (5, 7)).save(tmp_path / "photo.png")
    assert [size(tmp_path / name) for name in ("plot.svg", "vague.svg", "photo.png")] == [(96, 48), None, (5, 7)]


@pytest.mark.parametrize("page", page_names())
def test_no_title_holds_the_character_of_its_fence(page: str) -> None:
    """A backtick on the line that opens a fence of backticks makes it none, and the directive is shown as text, without a warning."""
    text = (EXTENSIONS.parents[1] / f"{page}.md").read_text()
    assert re.findall(r"^ *`{3,}\{[^`\n]*`.*$", text, re.MULTILINE) == []
