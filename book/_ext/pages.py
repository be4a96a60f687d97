"""What the extensions share: the pages of the book, in order, and where things are."""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def page_names(root: Path = ROOT) -> list[str]:
    """The pages in the table of contents, in reading order, as paths without suffix."""
    contents = yaml.safe_load((root / "_toc.yml").read_text())
    names = [contents["root"]]
    for part in contents.get("parts", [contents]):
        names += [entry["file"] for entry in part.get("chapters", []) if "file" in entry]
    return names


def part_names(root: Path = ROOT) -> dict[str, str]:
    """Of each page but the first, the part of the table of contents in which it stands."""
    contents = yaml.safe_load((root / "_toc.yml").read_text())
    return {entry["file"]: part["caption"] for part in contents["parts"] for entry in part["chapters"]}


def page_file(name: str, root: Path = ROOT) -> Path:
    """The source of a page."""
    return root / f"{name}.md"
