"""`make check` finds what a change reaches, nearest first, keeps to its time, and says what it leaves out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import check, reach
from tools.check_pages import Outcome, import_error
from tools.durations import RECORD, write_seconds

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "lib/__init__.py": "",
    "lib/low.py": "value = 1\n",
    "lib/middle.py": "def late():\n    from lib.low import value\n    return value\n",
    "lib/other.py": "",
    "lib/store.py": "FOLDER = 'weights'\n",
    "weights/a.bin": "1",
    "tests/lib/test_low.py": "from lib.low import value\n\n\ndef test_value() -> None:\n    assert value == 1\n",
    "tests/lib/test_middle.py": "import lib.middle\n\n\ndef test_late() -> None:\n    assert lib.middle.late() == 1\n",
    "tests/lib/test_far.py": "from tests.lib import test_middle\n",
    "tests/lib/test_other.py": "import lib.other\n",
    "tests/lib/test_command.py": "COMMAND = ['-m', 'lib.middle']\n",
    "tests/lib/test_store.py": "from lib import store\n",
    "tests/fast/conftest.py": "from lib import other\n",
    "tests/fast/test_alone.py": "",
    "pages/a.md": "---\ndepends: [weights/*.bin]\n---\n# A\n\n```{code-cell} ipython3\nimport figures\n```\n",
    "pages/figures.py": "from lib import middle\n",
    "_toc.yml": "format: jb-book\nroot: pages/a\n",
    "pyproject.toml": "[tool.pyright]\ninclude = []\n",
}


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree, committed."""
    for name, text in FILES.items():
        write(tmp_path, name, text)
    person = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "--quiet"), ("add", "."), (*person, "commit", "--quiet", "-m", "a")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def reached_tests(root: Path) -> dict[str, int]:
    """The tests that the change at hand reaches, by short name, with their distances."""
    changed, _ = check.changed_files(root, "HEAD")
    return {Path(name).stem: d for name, d in reach.test_files(reach.distances(root, changed)).items()}


def test_a_change_reaches_what_imports_it_directly_or_not_and_nothing_else(tree: Path) -> None:
    assert reached_tests(tree) == {}
    write(tree, "lib/low.py", "value = 2\n")
    assert reached_tests(tree) == {"test_low": 1, "test_middle": 2, "test_command": 2, "test_far": 3}


def test_a_conftest_counts_for_the_tests_of_its_folder(tree: Path) -> None:
    write(tree, "lib/other.py", "value = 2\n")
    assert reached_tests(tree) == {"test_other": 1, "test_alone": 2}


def test_a_file_of_data_reaches_the_tests_of_the_code_that_names_its_folder(tree: Path) -> None:
    write(tree, "weights/a.bin", "2")
    assert reached_tests(tree) == {"test_store": 2}


def test_a_page_is_reached_through_the_module_beside_it_and_through_its_data(tree: Path) -> None:
    write(tree, "lib/middle.py", "")
    assert reach.distances(tree, ["lib/middle.py"])["pages/a.md"] == 2
    assert reach.distances(tree, ["weights/a.bin"])["pages/a.md"] == 1  # its front matter names them


def test_new_files_count_and_files_that_are_gone_are_named(tree: Path) -> None:
    write(tree, "lib/new.py", "")
    write(tree, "tests/lib/test_new.py", "from lib.new import nothing\n")
    (tree / "lib/other.py").unlink()
    assert check.changed_files(tree, "HEAD") == (["lib/new.py", "tests/lib/test_new.py"], ["lib/other.py"])
    assert reached_tests(tree) == {"test_new": 0}


def test_another_commit_can_be_the_base(tree: Path) -> None:
    write(tree, "lib/low.py", "value = 2\n")
    person = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *person, "commit", "--quiet", "-am", "b"], cwd=tree, check=True)
    assert check.base_commit(tree) == "HEAD"  # main has no upstream here
    assert check.changed_files(tree, "HEAD") == ([], [])
    assert check.changed_files(tree, "HEAD~1") == (["lib/low.py"], [])


NEAR, FAR, NEW = "tests/test_near.py", "tests/test_far.py", "tests/test_new.py"
SECONDS = {
    f"{NEAR}::slow": 50.0,
    f"{NEAR}::quick": 1.0,
    f"{FAR}::one": 2.0,
    f"{FAR}::two": 3.0,
    "tests/test_no.py::x": 1.0,
}


def test_the_budget_leaves_out_the_farthest_and_then_the_slowest_and_says_so() -> None:
    files = {FAR: 3, NEAR: 1}
    assert reach.choose(files, SECONDS, 100) == reach.Choice([NEAR, FAR], {})
    assert reach.choose(files, SECONDS, 53) == reach.Choice([NEAR], {f"{FAR}::one": 3, f"{FAR}::two": 3})
    choice = reach.choose(files, SECONDS, 10)
    assert choice == reach.Choice([NEAR, FAR], {f"{NEAR}::slow": 1})
    assert str(choice) == "1 test of 1 file, all 1 import away"
    choice = reach.choose(files, SECONDS, 0.5)
    assert choice.files == [] and str(choice) == "4 tests of 2 files, 1 to 3 imports away"


def test_a_file_without_a_record_is_run_whole_or_named() -> None:
    assert reach.choose({NEW: 0}, SECONDS, 20) == reach.Choice([NEW], {})
    choice = reach.choose({NEW: 0, FAR: 2}, SECONDS, 7)
    assert choice == reach.Choice([FAR], {NEW: 0})
    assert str(choice) == f"1 file without a record ({NEW}), all 0 imports away"


def test_a_change_of_one_assignment_leaves_out_the_others_tests(tmp_path: Path) -> None:
    for name in ("a01_closed_form", "a02_mnist"):
        write(tmp_path, f"solutions/{name}/topic.py", "")
    assert reach.untouched_assignments(tmp_path, ["autograder/suites/a02_mnist/mutants.toml"]) == ["a01"]
    assert reach.untouched_assignments(tmp_path, ["solutions/a01_closed_form/topic.py", "lib/low.py"]) == []
    write(tmp_path, "tests/grader/test_assignments.py", "")
    mine, other = (
        "tests/grader/test_assignments.py::test_mutant[a02]",
        "tests/grader/test_assignments.py::test_mutant[a01]",
    )
    write_seconds(tmp_path, {mine: 1.0, other: 1.0})
    outcome = Outcome()
    choice = check.choose_tests(tmp_path, ["a01"], {"tests/grader/test_assignments.py": 1}, 0.0, outcome)
    assert choice.left_out == {mine: 1} and outcome.left == ["1 test of 1 file, all 1 import away"]


def test_tests_that_read_the_built_book_are_left_and_named(tmp_path: Path) -> None:
    write(tmp_path, NEAR, "def test_links(html) -> None:\n    pass\n")
    outcome = Outcome()
    assert check.choose_tests(tmp_path, [], {NEAR: 1}, 100.0, outcome) == reach.Choice([], {})
    assert outcome.left == [f"{NEAR} (which read the built book)"]


def test_a_syntax_error_fails_with_one_line(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tree, "lib/low.py", "x = 1\nvalue = = 2\n")
    assert check.main([], tree) == 1
    assert capsys.readouterr().err == "error: lib/low.py:2: invalid syntax\n"


def test_a_module_beside_a_page_that_cannot_be_imported_is_reported(tree: Path) -> None:
    write(tree, "pages/figures.py", "1 / 0\n")
    assert import_error(tree / "pages" / "figures.py") == ["pages/figures.py: ZeroDivisionError: division by zero"]
    write(tree, "pages/figures.py", "x = 1\n")
    assert import_error(tree / "pages" / "figures.py") == [] and "figures" not in sys.modules


def test_the_plugin_records_the_seconds_and_leaves_out_what_it_is_told_to(tmp_path: Path) -> None:
    write(tmp_path, "tests/test_a.py", "def test_foo():\n    pass\n\n\ndef test_foo_bar():\n    pass\n")
    write(tmp_path, "pytest.ini", "[pytest]\ntestpaths = tests\n")
    write_seconds(tmp_path, {"tests/test_a.py::test_old": 1.0, "tests/test_gone.py::test_x": 1.0})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tools.durations"]

    plan = tmp_path / "plan.json"

    def recorded(*arguments: str) -> set[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        subprocess.run([*command, *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)
        return {test.partition("::")[2] for test in json.loads((tmp_path / RECORD).read_text())}

    plan.write_text(json.dumps({"left_out": ["tests/test_a.py::test_foo"], "seconds": 100}))
    assert recorded("--plan", str(plan), "tests/test_a.py") == {"test_foo_bar", "test_old"}
    plan.write_text(json.dumps({"left_out": [], "seconds": 0}))
    assert recorded("--plan", str(plan), "tests/test_a.py") == {"test_foo_bar", "test_old"}
    done = json.loads(plan.read_text())
    assert done["ran"] == 0 and done["late"] == ["tests/test_a.py::test_foo", "tests/test_a.py::test_foo_bar"]
    assert recorded() == {"test_foo", "test_foo_bar"}
