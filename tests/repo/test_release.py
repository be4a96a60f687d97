"""A release is refused unless its tag, its changelog and its weights are what they must be."""

import json
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from tools import release

CHANGELOG = """# Changelog

## [Unreleased]

- Not yet out.

## [1.2.0] - 2026-05-01

### Added

- A chapter.

## [1.1.0] - 2026-01-01

- Older.
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository at version 1.2.0 with one file of weights, and a folder of what is to be released."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    weights = tmp_path / release.WEIGHTS
    weights.parent.mkdir(parents=True)
    weights.write_text(json.dumps({"digits.safetensors": sha256(b"weights").hexdigest()}))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "digits.safetensors").write_bytes(b"weights")
    (tmp_path / "out" / "a-1.2.0.whl").write_bytes(b"wheel")
    return tmp_path


def refusal(root: Path, *arguments: str) -> str:
    """The message with which the tool ends."""
    with pytest.raises(SystemExit) as end:
        release.main(list(arguments), root)
    return str(end.value)


def test_the_notes_are_the_section_of_the_version(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release.main(["check", "v1.2.0"], root)
    assert capsys.readouterr().out == "### Added\n\n- A chapter.\n"


@pytest.mark.parametrize("tag", ["v1.2.1", "1.2.0", "v1.2.0rc1"])
def test_a_tag_that_is_not_the_version_is_refused(root: Path, tag: str) -> None:
    assert f"the tag {tag} is not v1.2.0" in refusal(root, "check", tag)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("## [1.2.0] - 2026-05-01\n", ""),
        ("[1.2.0] - 2026-05-01", "[1.2.0]"),
        ("### Added\n\n- A chapter.\n", ""),
        ("[1.2.0]", "[1x2y0]"),
    ],
    ids=["no heading", "no date", "nothing in it", "dots are dots"],
)
def test_a_version_that_the_changelog_does_not_tell_of_is_refused(root: Path, old: str, new: str) -> None:
    (root / "CHANGELOG.md").write_text(CHANGELOG.replace(old, new))
    assert "CHANGELOG.md has no section for 1.2.0" in refusal(root, "check", "v1.2.0")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="coreutils' sha256sum is not here")
def test_sha256sum_accepts_the_checksums_and_finds_a_changed_file(root: Path) -> None:
    folder = root / "out"
    for _ in range(2):  # a second run does not list the first one's file
        release.main(["checksums", str(folder)], root)
    assert (folder / "SHA256SUMS").read_text().count("\n") == 2
    verify = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(verify, cwd=folder, capture_output=True, check=False).returncode == 0
    (folder / "a-1.2.0.whl").write_bytes(b"another wheel")
    assert subprocess.run(verify, cwd=folder, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda file: file.write_bytes(b"other weights")], ids=["gone", "other"]
)
def test_weights_that_the_library_would_refuse_are_refused(root: Path, damage: Callable[[Path], object]) -> None:
    damage(root / "out" / "digits.safetensors")
    assert "digits.safetensors" in refusal(root, "checksums", str(root / "out"))
    assert not (root / "out" / "SHA256SUMS").exists()


def test_the_library_asks_for_the_files_that_the_tool_checks() -> None:
    """The weights' list, and the address, which holds the tag `v` and the version."""
    from course_lib.models import store

    assert store.checksums() == json.loads((release.ROOT / release.WEIGHTS).read_text())
    assert store.RELEASE.endswith("/releases/download/v{version}/")
