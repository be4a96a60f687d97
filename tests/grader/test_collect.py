"""What students hand in reaches nbgrader whole, under their own names, and nobody's files stop or change another's."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from datetime import datetime
from pathlib import Path
from unittest.mock import Mock

import pytest
from traitlets.config import LoggingConfigurable

from autograder.assignment.source import read_assignment
from autograder.assignment.submission import NOTEBOOK_BYTES
from autograder.exchange.collect import Extractor, handed_in_at

ROOT = Path(__file__).resolve().parents[2]
NAME = read_assignment("a02").name
HONEST = {
    "ada/topic.ipynb": b"ada",
    "bob/topic.ipynb": b"bob",
    "bob/weights.safetensors": b"w",
    "Eve Q/topic.ipynb": b"e",
}


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of files by their paths."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(name: str) -> bytes:
    """A tar archive with one file of that name."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()


TRAPS = {
    "bob.zip": zipped(
        {"topic.ipynb": b"x", "model.safetensors": b"x"}
    ),  # nbgrader would unpack it, and take it for bob's
    "bob/weights.safetensors": b"x",
    "bob/topic.ipynb": b"x",
    "../bob/topic.ipynb": b"x",
    "/topic.ipynb": b"x",
    "x.zip": b"no archive",
    "notes.gz": gzip.compress(b"notes"),
    "t.tar.gz": tarred("../../../../planted.csv"),
    "curve.safetensors": b"x",  # another assignment's
    "weights.safetensors": bytes(20_000_001),
    "timestamp.txt": b"2020-01-01",
}


def collected(folder: Path) -> dict[str, bytes]:
    """The files below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


class Collecting(LoggingConfigurable):
    """What the extractor asks nbgrader's command."""

    coursedir = Mock(assignment_id=NAME)


def extracted(tmp_path: Path, **archives: bytes) -> dict[str, bytes]:
    """What is taken from archives."""
    (tmp_path / "archive").mkdir()
    for name, content in archives.items():
        (tmp_path / "archive" / f"{name}.zip").write_bytes(content)
    extractor = Extractor(parent=Collecting())
    extractor.extract(str(tmp_path / "archive"), str(tmp_path / "extracted"))
    return collected(tmp_path / "extracted")


def test_zip_collect_gives_each_student_what_is_theirs_whatever_lies_in_the_archive(tmp_path: Path) -> None:
    archive = tmp_path / "downloaded" / NAME / "archive" / "class.zip"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(zipped({**HONEST, **{f"Eve Q/{name}": content for name, content in TRAPS.items()}}))
    command = [str(Path(sys.executable).parent / "nbgrader"), "zip_collect", NAME]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "COURSE_TERM": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = {
        f"{student}/{NAME}/{name}": HONEST[f"{student}/{name}"] for student, name in (key.split("/") for key in HONEST)
    }
    assert collected(tmp_path / "submitted") == expected
    for name in TRAPS:
        assert f"left out: {name!r} of student 'Eve Q'" in done.stderr
    assert not [*tmp_path.rglob("planted*"), *tmp_path.parent.glob("planted*")]


@pytest.mark.parametrize("student", ["..", ".", "", "-rf", ".hidden", "a\\b", "a\nb", "a" * 201, "/tmp"])
def test_a_student_s_name_is_that_of_a_plain_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, student: str
) -> None:
    assert extracted(tmp_path, a=zipped({f"{student}/topic.ipynb": b"x", **HONEST})) == HONEST
    assert caplog.text.count("left out") == 1 and "plain" in caplog.text


def test_links_unusual_packing_and_false_sizes_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    link = zipfile.ZipInfo("eve/topic.ipynb")
    link.external_attr = 0o120777 << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    big = zipped({"fay/topic.ipynb": bytes(NOTEBOOK_BYTES + 1)})
    false = big.replace((NOTEBOOK_BYTES + 1).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert false != big
    packed = zipped({"gus/topic.ipynb": bytes(1000)}, zipfile.ZIP_LZMA)
    assert extracted(tmp_path, a=file.getvalue(), b=big, c=false, d=packed, e=zipped(HONEST)) == HONEST
    assert "larger than 21 MB" in caplog.text and "no ordinary file" in caplog.text and "Bad CRC-32" in caplog.text


def test_what_is_no_archive_and_what_comes_twice_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = zipped({"ada/topic.ipynb": b"another", "cat/topic.ipynb": b"cat"})
    assert extracted(tmp_path, a=zipped(HONEST), b=b"no archive", c=other) == {**HONEST, "cat/topic.ipynb": b"cat"}
    assert "b.zip is no zip archive" in caplog.text and "there already" in caplog.text


def test_of_a_folder_with_many_files_little_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert extracted(tmp_path, a=zipped({f"eve/{number}": b"" for number in range(1000)} | HONEST)) == HONEST
    assert caplog.text.count("left out") == 20 and caplog.text.count("no more is said") == 1


TIMES = {
    b"2027-03-02 10:15:00 CET\n": datetime(2027, 3, 2, 9, 15),
    b"2027-03-02 10:15:00": datetime(2027, 3, 2, 10, 15),
    **dict.fromkeys(
        [b"0001-01-01 00:00:00 +1400", b"0001-01-01 00:00:00", b"9999-12-31 23:59:59", b"99999999999999999999", b"\xff\xfe",
         b"", b"soon", b"2027-03-02 10:15:00" + b" " * 100, b"2027-03-02 10:15:00 -99999999999"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", TIMES)
def test_a_time_is_read_and_what_is_none_counts_as_absent(tmp_path: Path, text: bytes) -> None:
    assert handed_in_at(tmp_path) is None
    (tmp_path / "timestamp.txt").write_bytes(text)
    assert handed_in_at(tmp_path) == TIMES[text]


def test_the_formgrader_lists_submissions_whatever_their_timestamps(tmp_path: Path) -> None:
    for number, text in enumerate(TIMES):
        folder = tmp_path / "submitted" / f"student{number:02}" / NAME
        folder.mkdir(parents=True)
        (folder / "topic.ipynb").write_text("{}")
        (folder / "timestamp.txt").write_bytes(text)
    pipe = tmp_path / "submitted" / "student01" / NAME / "timestamp.txt"
    pipe.unlink()
    os.mkfifo(pipe)
    command = f"""
from nbgrader.apps import NbGrader, NbGraderAPI
app = NbGrader()
app.load_config_file()
for one in sorted(NbGraderAPI(config=app.config).get_submissions("{NAME}"), key=lambda one: one["student"]):
    print(one["display_timestamp"])"""
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, env={**os.environ, "COURSE_TERM": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == ["2027-03-02 09:15:00 UTC", *["None"] * (len(TIMES) - 1)]
