"""Every equation of the book is labelled and checked, every check holds, and it fails where its claim is changed."""

import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.pages.proofs import defines, proves
from equations import Check, Equation, book_checks, book_equations, equations_in, report
from exercises import answer_problems
from perturbations import verdict

EXTENSIONS = Path(__file__).resolve().parents[2] / "book" / "_ext"
CHECKS = book_checks()
CLAIMS = [(label, check) for check in CHECKS if check.runs for label in check.labels]


@pytest.mark.parametrize("check", [check for _, check in CLAIMS], ids=[label for label, _ in CLAIMS])
def test_check_holds(check: Check) -> None:
    check.function()


@pytest.mark.parametrize(("label", "check"), CLAIMS, ids=[label for label, _ in CLAIMS])
def test_check_fails_where_its_claim_is_changed(label: str, check: Check) -> None:
    assert verdict(check, label).problem is None


def test_every_number_in_a_solution_is_checked() -> None:
    assert answer_problems(CHECKS) == []


def test_every_equation_is_labelled_and_checked() -> None:
    found = report(book_equations(), CHECKS)
    assert found.errors == []
    assert [f"{e.page}: {e.label}" for e in found.unchecked] == []
    assert len(found.proved) > len(found.defined), "most equations of a book that proves things are proved"


PAGE = """---
kernelspec: {name: python3}
---
# Title

Text with $a$ and $$b$$ inside.

$$
x = 1
$$ (eq-one)

$$ y = 2 $$

```{math}
:label: eq-three
z = 3
```

````{admonition} A note
```{math}
w = 4
```
$$ u = 5 $$ (eq-five)
````

```{code-cell}
print("$$ no equation $$")
```

:::{note}
\\begin{align}
v &= 6
\\end{align}
:::
"""


def test_parser_finds_every_display_equation_wherever_it_stands() -> None:
    found = [(e.label, e.tex) for e in equations_in(PAGE)]
    assert [label for label, _ in found] == ["", "eq-one", "", "eq-three", "", "eq-five", ""]
    assert found[1] == ("eq-one", "x = 1")
    assert found[3] == ("eq-three", "z = 3")


def marked(mark, *labels: str) -> Check:
    function = mark(*labels)(lambda: None)
    kind = "proves" if mark is proves else "defines"
    return Check(kind, labels, function, Path(__file__), 1, "def check(): ...")


def test_report_names_what_is_wrong() -> None:
    equations = [
        Equation("p", "eq-a", ""),
        Equation("p", "eq-b", ""),
        Equation("q", "eq-b", ""),
        Equation("q", "", "x=1"),
        Equation("q", "eq-c", ""),
    ]
    found = report(equations, [marked(proves, "eq-a", "eq-lost"), marked(defines, "eq-b"), marked(proves, "eq-b")])
    text = "\n".join(found.errors)
    for expected in (
        "has no label: x=1",
        "eq-b is given to 2 equations",
        "names eq-lost, which no page has",
        "eq-b is both proved",
    ):
        assert expected in text
    assert [e.label for e in found.unchecked] == ["eq-c"]
    assert str(found) == "4 labelled: 3 proved, 0 definitions (0 compared with the library), 1 unchecked"


def test_a_check_needs_labels() -> None:
    with pytest.raises(ValueError, match="start with 'eq-'"):
        proves("closed-form")
    with pytest.raises(ValueError, match="one or more"):
        defines()


def test_pages_count_and_list_the_equations(tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text(
        "# Page\n\n{equation-count}`labelled` are {equation-count}`proved` and {equation-count}`definitions`.\n\n"
        "$$\nx = 1\n$$ (eq-one)\n"
    )
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path[:0] = [{str(EXTENSIONS)!r}]\nextensions = ['myst_parser', 'checked_equations']\n"
        "myst_enable_extensions = ['dollarmath']\n"
    )
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "text", str(tmp_path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = report(book_equations(), CHECKS)
    proved, defined = len(found.proved), len(found.defined)
    assert f"{proved + defined} are {proved} and {defined}." in (tmp_path / "out" / "index.txt").read_text()
