"""What the wheel packs: every package of code, with the data beside it, and no hidden test."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
TOP = ["autograder", "course", "course_lib"]


def packed(root: Path) -> set[Path]:
    """The folders that setuptools packs from a checkout."""
    return {Path(*name.split(".")) for name in find_packages(str(root), **SETUPTOOLS["packages"]["find"])}


def kept_out(folder: Path) -> bool:
    """Whether a folder is one that students must not get."""
    return any(
        folder.is_relative_to(hidden.rstrip("*").replace(".", "/"))
        for hidden in SETUPTOOLS["packages"]["find"]["exclude"]
    )


def test_every_folder_with_code_is_packed() -> None:
    with_code = {file.parent.relative_to(ROOT) for top in TOP for file in (ROOT / top).rglob("*.py")}
    assert {folder for folder in with_code if not kept_out(folder)} == packed(ROOT)


def test_only_these_packages_are_packed() -> None:
    assert sorted({folder.parts[0] for folder in packed(ROOT)}) == TOP


def test_a_folder_without_init_would_be_missed_and_is_found_out(tmp_path: Path) -> None:
    for file in (
        "course_lib/__init__.py",
        "course_lib/new/__init__.py",
        "course_lib/new/code.py",
        "course_lib/forgotten/code.py",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert packed(tmp_path) == {Path("course_lib"), Path("course_lib/new")}


def test_no_hidden_test_is_packed() -> None:
    assert (ROOT / "autograder" / "suites").is_dir()
    assert not [folder for folder in packed(ROOT) if "suites" in folder.parts]


@pytest.mark.parametrize("top", TOP)
def test_data_beside_the_code_is_packed_with_it(top: str) -> None:
    data = SETUPTOOLS["package-data"]
    for file in (ROOT / top).rglob("*"):
        folder = file.parent.relative_to(ROOT)
        if file.is_file() and file.suffix not in (".py", ".pyc") and not kept_out(folder):
            patterns = data.get(".".join(folder.parts), [])
            assert any(file.match(pattern) for pattern in patterns), f"{file.relative_to(ROOT)} is not in the wheel"


def contents() -> set[str]:
    """The files that students get, as paths in the wheel."""
    files = {file.relative_to(ROOT) for top in TOP for file in (ROOT / top).rglob("*") if file.is_file()}
    return {str(file) for file in files if file.suffix != ".pyc" and not kept_out(file.parent)}


def python(folder: Path, *arguments: str, path: Path | None = None) -> str:
    """What this Python prints, run in a folder, with a path before all others."""
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_wheel_holds_all_that_students_get_and_works_where_it_is_installed(tmp_path: Path) -> None:
    """Built as a release builds it, from its source archive, in a copy; one test, so that it is built once."""
    copy, installed = tmp_path / "copy", tmp_path / "installed"
    for top in TOP:
        shutil.copytree(ROOT / top, copy / top, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / file, copy)
    python(copy, "-m", "build", "--no-isolation", "--outdir", str(tmp_path))
    (wheel,), (archive,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")

    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == contents()
    assert {f"{top}/py.typed" for top in TOP} <= names
    with tarfile.open(archive) as source:
        assert not [name for name in source.getnames() if "suites" in Path(name).parts]

    python(
        tmp_path, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed), str(wheel)
    )
    ask = "import importlib.metadata as m, course, course_lib as c; print(m.version('learning-to-denoise'), course.__file__, c.__file__)"
    version, *files = python(tmp_path, "-c", ask, path=installed).split()
    assert version == PYPROJECT["project"]["version"]
    assert all(Path(file).is_relative_to(installed) for file in files)
    assert "Commands" in python(tmp_path, "-m", "course.cli", "--help", path=installed)
