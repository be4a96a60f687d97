"""What a release needs beside its tests: a tag that is the version, the text of its page, and the checksums of its files.

python tools/release.py check TAG           print the changelog's section for the tag; fail where the tag is not the version
python tools/release.py checksums FOLDER    write FOLDER/SHA256SUMS; fail where weights are missing, or are not those of weights.json

It needs nothing but Python, so that a wrong tag is found out before anything is installed.
"""

import argparse
import hashlib
import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = Path("course_lib") / "models" / "weights.json"
SUMS = "SHA256SUMS"


def version(root: Path) -> str:
    """The version that pyproject.toml states, the only place that does."""
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]


def notes(root: Path, number: str) -> str:
    """What the changelog says of a version; raises ValueError where it has no dated section for it, or an empty one."""
    heading = rf"^## \[{re.escape(number)}\] - \d{{4}}-\d\d-\d\d\n"
    section = re.search(rf"{heading}(.*?)(?=^## |\Z)", (root / "CHANGELOG.md").read_text(), re.MULTILINE | re.DOTALL)
    if section is None or not section[1].strip():
        raise ValueError(
            f"CHANGELOG.md has no section for {number}: put `## [{number}] - YYYY-MM-DD` above what has changed, below `## [Unreleased]`"
        )
    return section[1].strip() + "\n"


def check(root: Path, tag: str) -> str:
    """The notes of the release that the tag names; raises ValueError where the tag is not `v` and the version."""
    number = version(root)
    if tag != f"v{number}":
        raise ValueError(
            f"the tag {tag} is not v{number}, the version in pyproject.toml: change the version, or delete the tag and make it again"
        )
    return notes(root, number)


def checksums(root: Path, folder: Path) -> str:
    """The lines of SHA256SUMS for every file of the folder.

    Raises ValueError where a file of weights that the library would download is missing, or is another one.
    """
    sums = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
        if file.name != SUMS
    }
    known: dict[str, str] = json.loads((root / WEIGHTS).read_text())
    wrong = [name for name, expected in known.items() if sums.get(name) != expected]
    if wrong:
        raise ValueError(
            f"missing in {folder}, or not as {WEIGHTS} knows them: {', '.join(wrong)}; copy checkpoints/ there, or run tools/ship.py"
        )
    return "".join(f"{value}  {name}\n" for name, value in sums.items())


def main(arguments: list[str] | None = None, root: Path = ROOT) -> None:
    """Do what the command line asks; end with a message where the release must not go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("tag", metavar="TAG")
    commands.add_parser("checksums").add_argument("folder", metavar="FOLDER", type=Path)
    options = parser.parse_args(arguments)
    try:
        if options.command == "check":
            print(check(root, options.tag), end="")
        else:
            (options.folder / SUMS).write_text(checksums(root, options.folder))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
