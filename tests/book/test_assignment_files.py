"""What a reader downloads from an assignment's page: everything that is needed, and no solution."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from autograder.assignment.source import assignment_names, read_assignment


@pytest.mark.parametrize("name", assignment_names())
def test_the_archive_holds_the_notebook_and_what_lies_beside_it(name: str, html: Path) -> None:
    content = (html / "assignments" / f"{name}.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {file: archive.read(file) for file in archive.namelist()}
    assert files.keys() == {"topic.ipynb", *(file.name for file in read_assignment(name).given)}
    assert all((html / "assignments" / name / file).read_bytes() == content for file, content in files.items())
    assert not any(b"SOLUTION" in content for content in files.values())
    notebook = json.loads(files["topic.ipynb"])
    first = notebook["cells"][0]["source"]
    assert f"gh-pages/assignments/{name}/" in first and 'find_spec("checks") is None' in first
    assert [cell["id"] for cell in notebook["cells"][1:]] == [
        cell.id for cell in read_assignment(name).released().cells
    ]


@pytest.mark.parametrize("name", assignment_names())
def test_the_page_lists_every_task_and_all_points(name: str, html: Path) -> None:
    page = (html / "solutions" / name / "page.html").read_text()
    assert f'href="../../assignments/{name}.zip"' in page and "colab.research.google.com" in page
    rows = page.split("<tbody>")[1].split("</tbody>")[0].split("<tr")[1:]
    points = [float(row.rsplit("<p>", 1)[1].split("<")[0]) for row in rows]
    assert sum(points) == 100
