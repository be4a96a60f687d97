"""The repository keeps its promises: commands that the documents name exist, versions agree, licences are there."""

import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://github.com/learning-to-denoise/learning-to-denoise"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
TEXTS_WITH_COMMANDS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / ".ci/run", *WORKFLOWS]


def tracked_files() -> list[Path]:
    """Paths of the tracked files that exist in the work tree."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).exists()]


def pins() -> dict[str, str]:
    """The version of each package in constraints.txt, by canonical name; each line must be `name==version  # why`."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [re.fullmatch(r"([\w.-]+)==([\w.]+)(  # .+)?", line) or line for line in lines if not line.startswith("#")]
    malformed = [pair for pair in pairs if isinstance(pair, str)]
    assert not malformed, f"not of the form name==version: {malformed}"
    return {canonicalize_name(pair[1]): pair[2] for pair in pairs}


def test_no_notebook_is_tracked() -> None:
    assert [path for path in tracked_files() if path.suffix == ".ipynb"] == []


def test_every_tracked_file_is_under_16_megabytes() -> None:
    assert [path for path in tracked_files() if path.stat().st_size >= 16e6] == []


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    pinned = pins()
    declared = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    for requirement in map(Requirement, declared):
        pin = pinned.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} has no pin in constraints.txt"
        assert pin in requirement.specifier, f"{requirement.name}: the pin {pin} is outside {requirement.specifier}"


def test_the_tests_run_with_the_pinned_versions() -> None:
    different = {}
    for name, pin in pins().items():
        try:
            installed = version(name).split("+")[0]
        except PackageNotFoundError:
            continue  # it belongs to an extra that is not installed, or to another platform
        if installed != pin:
            different[name] = f"installed {installed}, pinned {pin}"
    assert different == {}


def test_pins_are_sorted_and_none_is_repeated() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines == sorted(lines, key=lambda line: line.split("==")[0].lower())
    assert len(lines) == len(pins())


@pytest.mark.parametrize("text", TEXTS_WITH_COMMANDS, ids=lambda path: path.name)
def test_every_make_command_in_the_documents_is_a_target(text: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = set(re.findall(r"(?:^|run: |[A-Z_]+=\S+ |`)make ([a-z-]+)", text.read_text(), re.MULTILINE))
    assert used, f"no make command found in {text.name}"
    assert used <= targets


def test_every_target_is_phony() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert targets == set(phony[1].split())


def test_licences_are_present_and_named() -> None:
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    text_licence = (ROOT / "LICENSE-TEXT").read_text()
    assert "Attribution 4.0 International" in text_licence
    assert "Section 8 -- Interpretation." in text_licence, "the legal code is not complete"
    assert PROJECT["license"] == "MIT AND CC-BY-4.0"


def test_the_installed_package_has_the_version_of_the_project() -> None:
    assert version(PROJECT["name"]) == PROJECT["version"], (
        "pyproject.toml was edited after the installation: make setup"
    )


def test_no_other_text_states_another_version() -> None:
    """Neither as a constant in code, nor beside the project's name or in a release's address."""
    name = re.sub(r"[-_ ]", "[-_ ]", PROJECT["name"])
    stated = re.compile(
        rf"__version__ *= *|{name}(?: |-|==|@| version )v?(\d[\w.]*\w)|releases/(?:tag|download)/v(\d[\w.]*\w)"
    )
    for path in tracked_files():
        if path.suffix in {".py", ".md", ".toml", ".yml", ".cff", ".txt"} and path != Path(__file__):
            found = {match[1] or match[2] for match in stated.finditer(path.read_text())}
            assert found <= {PROJECT["version"]}, f"{path.relative_to(ROOT)} states a version: {found}"


def test_citation_agrees_with_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["repository-code"] == PROJECT["urls"]["Homepage"] == REPOSITORY
    assert citation["license"] == PROJECT["license"].split(" AND ")
