"""What the wheel packs: every package of code, with the data beside it, and no hidden test."""

import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
TOP = sorted({name.split("*")[0] for name in SETUPTOOLS["packages"]["find"]["include"]})


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
