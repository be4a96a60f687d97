"""The book's own directives and what it writes beside the pages, on pages made for the test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from notebooks import to_notebook
from pictures import holds_pixels

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
    assert '<legend><span class="' in html or "<legend><span" in html


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


def test_notebook_is_the_same_bytes_each_time_and_keeps_the_cells() -> None:
    text = (Path(__file__).resolve().parents[2] / "book" / "refresher.md").read_text()
    first, second = (to_notebook(text, "book/refresher", "https://example.org/x/y") for _ in range(2))
    assert first == second
    notebook = json.loads(first)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert "git" in "".join(code[0]["source"])
    assert len(code) == text.count("```{code-cell}") + 1
    assert all(cell["outputs"] == [] for cell in code)


def test_pictures_are_told_from_drawings(tmp_path: Path) -> None:
    (tmp_path / "plot.svg").write_text("<svg><path d='M0 0'/></svg>")
    (tmp_path / "digits.svg").write_text("<svg><image href='data:'/></svg>")
    (tmp_path / "photo.png").write_bytes(b"")
    assert [holds_pixels(tmp_path / name) for name in ("plot.svg", "digits.svg", "photo.png")] == [False, True, True]
