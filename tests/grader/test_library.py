"""The students' course_lib: what an assignment asks for is not in it, anywhere, and all else is as it was."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from autograder.assignment.library import SOURCE, build_course, named_functions, without

WITHHELD = ["diffusion.schedules.linear", "diffusion.gaussian.GaussianDiffusion.diffuse", "nets.blocks.attend"]


def python(folder: Path, code: str) -> subprocess.CompletedProcess:
    """Run code that sees the folder's course_lib and no other."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_withheld_functions_say_why_and_others_work(tmp_path: Path) -> None:
    build_course(WITHHELD, tmp_path)
    assert not list(tmp_path.rglob("__pycache__"))
    found = python(
        tmp_path, "from course_lib.diffusion import schedules; print(schedules.cosine(10).T); schedules.linear(10)"
    )
    assert found.stdout == "10\n"
    message = (
        "course_lib.diffusion.schedules.linear is what this assignment asks you to write, "
        "so it is not there to be called: write it yourself"
    )
    assert f"NotImplementedError: {message}" in found.stderr
    found = python(tmp_path, "import course_lib.recipes.diffusion, course_lib.nets.blocks as b; b.attend(1, 2, 3)")
    assert "course_lib.nets.blocks.attend is what this assignment asks" in found.stderr


def test_the_code_itself_is_gone_and_the_rest_is_unchanged(tmp_path: Path) -> None:
    build_course(WITHHELD, tmp_path)
    for file in SOURCE.rglob("*.py"):
        ours, theirs = (
            dict(named_functions(ast.parse(path.read_text())))
            for path in (file, tmp_path / "course_lib" / file.relative_to(SOURCE))
        )
        module = ".".join(file.relative_to(SOURCE).with_suffix("").parts)
        for name, function in ours.items():
            same = ast.dump(function) == ast.dump(theirs[name])
            assert same != (f"{module}.{name}" in WITHHELD), name
            if not same:
                assert [type(line) for line in theirs[name].body] == [ast.Raise]


def test_of_a_withheld_room_everything_imports_and_nothing_answers(tmp_path: Path) -> None:
    build_course(["diffusion", "sampling.steps"], tmp_path)
    for file in (tmp_path / "course_lib" / "diffusion").glob("*.py"):
        for name, function in named_functions(ast.parse(file.read_text())):
            assert [type(line) for line in function.body] == [ast.Raise], name
    code = (
        "from course_lib.diffusion.predictions import EPS, PREDICTIONS, V\nfrom course_lib.sampling import guidance, steps\n"
        "from course_lib.models import store\nfrom course_lib.diffusion.schedules import TableSchedule\n"
        "for call in (EPS.to_x0, V.target, lambda *a: TableSchedule(a[0]), lambda *a: steps.ddim(a[0], a[1])):\n"
        "    try: call(1, 2, 3, 4)\n"
        "    except NotImplementedError as error: assert 'what this assignment asks you to write' in str(error)\n"
        "    else: raise SystemExit('it answered')"
    )
    found = python(tmp_path, f"exec({code!r})")
    assert found.returncode == 0, found.stderr


def test_neighbours_keep_their_lines() -> None:
    source = (
        "def a():\n    '''Doc.'''\n    return 1\n\n\nclass C:\n    def b(self):\n        if 1:\n            return 2\n\n"
        "    def c(self): return 3\n"
    )
    found = without(source, ["a", "C.b"], "m")
    space: dict = {}
    exec(found, space)
    assert space["C"]().c() == 3 and "Doc" not in found and "return 2" not in found
    for call in (space["a"], space["C"]().b):
        with pytest.raises(NotImplementedError, match="what this assignment asks you to write"):
            call()


@pytest.mark.parametrize(
    "name", ["schedules.quadratic", "nowhere.linear", "linear", "gaussian.GaussianDiffusion.vanish"]
)
def test_names_that_do_not_exist_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="does not exist: course_lib"):
        build_course([name], tmp_path)
