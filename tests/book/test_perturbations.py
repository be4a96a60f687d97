"""The perturbation test of the checks is itself tested: it must report a check that cannot fail."""

from pathlib import Path
from textwrap import dedent

import pytest

from equations import checks_in
from exercises import answer_problems, solutions_in
from perturbations import ENOUGH, Verdict, verdict

HEAD = """
import math
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, equivalent, proves

def area(r):
    return math.pi * r**2
"""


def verdict_of(tmp_path: Path, body: str, name: str = "chapter") -> Verdict:
    """The verdict on the one check in a module."""
    file = tmp_path / name / "checks.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(HEAD + dedent(body))
    (check,) = checks_in(file)
    return verdict(check, check.labels[0], most=10**6)


def test_a_check_by_another_way_kills_every_perturbation(tmp_path: Path) -> None:
    found = verdict_of(
        tmp_path,
        """
        @proves("eq-area")
        def polygon():
            for r in (0.7, 2.0):
                n = 10**6
                assert_close(n / 2 * r * r * math.sin(2 * math.pi / n), claim(math.pi * r**2), 1e-9)
        """,
    )
    texts = {perturbation.changed for perturbation in found.killed}
    assert {"math.pi", "r ** 2", "math.pi / r ** 2", "math.pi * r", "math.pi * r ** 3"} <= texts
    assert found.problem is None


@pytest.mark.parametrize(
    "body",
    [
        "assert_close(math.pi * r**2, claim(math.pi * r**2))",
        "assert_close(r**2 * math.pi, claim(math.pi * r**2))",
        "typed = math.pi * r**2\n    assert_close(typed, claim(math.pi * r**2))",
        "value = claim(math.pi * r**2)\n    assert_close(value, value)",
        "assert claim(math.pi * r**2) > 0",
    ],
    ids=["typed twice", "in another order", "through a name", "with itself", "a sign only"],
)
def test_a_tautology_survives_and_is_reported(tmp_path: Path, body: str) -> None:
    found = verdict_of(tmp_path, f'@proves("eq-area")\ndef tautology():\n    r = 0.7\n    {body}\n')
    assert found.survived
    assert found.problem is not None and "does not notice" in found.problem


def test_a_check_that_fails_by_itself_kills_nothing(tmp_path: Path) -> None:
    found = verdict_of(
        tmp_path, '@proves("eq-area")\ndef wrong():\n    r = 0.7\n    assert_close(area(r), claim(math.pi * r))\n'
    )
    assert found.killed == [] and found.problem is not None and "fails as it stands" in found.problem


def test_a_check_that_is_blind_to_signs_is_reported(tmp_path: Path) -> None:
    body = '@proves("eq-root")\ndef blind():\n    r, s = 0.7, 0.2\n    assert_close((s - r) ** 2, claim(r - s) ** 2)\n'
    found = verdict_of(tmp_path, body)
    assert {perturbation.kind for perturbation in found.killed} == {"sign", "term", "name"}
    blind = verdict_of(tmp_path, body.replace("claim(r - s)", "claim(-(r - s))"), "other")
    assert [perturbation.kind for perturbation in blind.survived] == ["sign"]


def test_a_claim_without_enough_to_change_is_reported(tmp_path: Path) -> None:
    found = verdict_of(tmp_path, '@proves("eq-area")\ndef bare():\n    assert claim(math.pi) > 3\n')
    assert found.killed == [] and found.problem is not None and str(ENOUGH) in found.problem


def test_what_makes_no_sense_is_no_kill(tmp_path: Path) -> None:
    found = verdict_of(
        tmp_path,
        """
        @proves("eq-inverse")
        def inverse():
            r, s = 2, -2
            assert claim(1 / (r - s)) == 0.25
        """,
    )
    assert found.problem is None
    assert "1 / (r + s)" not in {perturbation.changed for perturbation in found.killed}  # a division by zero


def test_an_equivalent_claim_is_left_out_with_its_reason(tmp_path: Path) -> None:
    body = """
        @equivalent("r * s + 0 * r", because="both products are zero")
        @proves("eq-sum")
        def spared():
            r, s = 2, 0
            assert claim(r * s + 0 * s) == 0 and claim(r + s) == 2
        """
    found = verdict_of(tmp_path, body)
    assert "r * s + 0 * r" not in {perturbation.changed for perturbation in found.killed + found.survived}
    with pytest.raises(ValueError, match="why"):
        verdict_of(tmp_path, body.replace("both products are zero", ""), "other")


def test_a_claim_in_a_helper_is_perturbed_and_the_helper_restored(tmp_path: Path) -> None:
    body = """
        def half(r):
            return claim(math.pi * r**2 / 2, "eq-half")

        @proves("eq-half")
        def halves():
            assert_close(2 * half(3.0), area(3.0))
        """
    found = verdict_of(tmp_path, body)
    assert found.problem is None and {perturbation.holder for perturbation in found.killed} == {"half"}
    found.killed[0].check.function()  # the module holds its own helper again


def test_a_check_of_two_equations_must_say_which_one_a_claim_belongs_to(tmp_path: Path) -> None:
    body = '@proves("eq-one", "eq-two")\ndef both():\n    r = 2\n    assert claim(r + 1) == 3\n'
    with pytest.raises(ValueError, match="must say which equation"):
        verdict_of(tmp_path, body)


PAGE = """
````{solution} ex-area
:class: dropdown
The area is $\\pi r^2 \\approx 3.14$, see {cite:t}`old2.50` and `x = 1.5`; half of it is 1.57.
```python
r = 0.25
```
````

```{solution-start} ex-code
```
```{code-cell}
print(2.75)
```
As many as 4.
```{solution-end}
```
"""


def test_numbers_in_solutions_need_a_check(tmp_path: Path) -> None:
    solutions = solutions_in(PAGE, "page")
    assert [(solution.label, solution.numbers) for solution in solutions] == [
        ("ex-area", ("3.14", "1.57")),
        ("ex-code", ()),
    ]
    file = tmp_path / "chapter" / "checks.py"
    file.parent.mkdir()
    file.write_text(HEAD + '@answers("ex-area")\ndef answer():\n    assert_printed(claim(area(1)), "3.14")\n')
    (check,) = checks_in(file)
    assert answer_problems([check], solutions) == ["page: no check computes 1.57 in the solution of ex-area"]
    check.function()
    file.write_text(HEAD + '@answers("ex-lost")\ndef answer():\n    assert_printed(area(1.001), "3.14")\n')
    (check,) = checks_in(file)
    assert answer_problems([check], solutions)[0] == "a check answers ex-lost, which has no solution"
    with pytest.raises(AssertionError, match=r"the page says 3\.14"):
        check.function()
