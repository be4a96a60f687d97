"""What students handed in, on its way to nbgrader: unpacked from archives, with nothing in it that is dangerous to handle.

`Extractor` takes from the archive of an LMS the files that the assignment asks for. `set_aside` moves out of a submission what
nbgrader would follow or read without a limit: links, devices, pipes and enormous files. `read_times_safely` keeps a student's
timestamp from ending nbgrader.
"""

import logging
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins import ExtractorPlugin
from nbgrader.utils import parse_utc

from autograder.assignment.source import read_assignment
from autograder.assignment.submission import NOTEBOOK_BYTES, SubmissionError, read_file
from autograder.grading.store import TERM

logger = logging.getLogger("nbgrader")
OTHER_BYTES = 20 << 20  # of a file that no assignment asks for
OTHER_FILES, OTHERS_BYTES = 500, 200 << 20  # of all such files of a submission, which nbgrader copies twice
TIMESTAMP, TIMESTAMP_BYTES = "timestamp.txt", 100
NOT_CLEAN = "not graded, since it holds what cannot be moved to a safe place: move it yourself, then grade again"
WARNINGS = 20  # for each folder of an archive, and each submission
# A file of more than so many bytes that is packed into less than a hundredth of them is a bomb: no notebook is so empty.
PLAIN_BYTES, PACKED = 1 << 20, 100
# What LMSs write. Python's zipfile limits what it unpacks at once for these two only.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Extractor(ExtractorPlugin):
    """Unpack <student>/<file> from zip archives, where the assignment takes such a file; warn of all else, and go on.

    The student is the folder at the archive's top, which the LMS names: whatever lies deeper was named by the student.
    """

    def extract(self, archive_path: str, extracted_path: str) -> None:
        """Unpack every archive that lies in a folder into EXTRACTED/<student>/<file>."""
        takes = taken(self.parent.coursedir.assignment_id)  # type: ignore[union-attr]
        for file in sorted(Path(archive_path).iterdir()):
            try:
                archive = zipfile.ZipFile(file)
            except Exception as error:  # zipfile raises many kinds
                logger.warning("left out: %s is no zip archive: %s", file, error)
                continue
            with archive:
                unpack(archive, takes, Path(extracted_path))


def unpack(archive: zipfile.ZipFile, takes: dict[str, int], destination: Path) -> None:
    """Unpack the files whose names `takes` lists with their largest sizes."""
    warnings: Counter[str] = Counter()
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        student, _, name = entry.filename.partition("/")
        try:
            content = unpacked(archive, entry, takes)
            target = destination / student / name
            if target.exists():
                raise SubmissionError("it was there already, in this archive or in another one")
        except Exception as error:  # zipfile raises many kinds
            warnings[student] += 1
            if warnings[student] <= WARNINGS:
                more = "; no more is said of this folder" if warnings[student] == WARNINGS else ""
                logger.warning("left out: %r of student %r in %s: %s%s", name, student, archive.filename, error, more)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, takes: dict[str, int]) -> bytes:
    """The content of a file in an archive. Raises SubmissionError where it may not be taken, and what zipfile raises."""
    student, _, name = entry.filename.partition("/")
    if student[:1] in ("", ".", "-") or "\\" in student or not student.isprintable() or len(student.encode()) > 200:
        raise SubmissionError("the archive should hold a folder for each student, whose name is a plain one")
    if name not in takes:
        raise SubmissionError(f"only {', '.join(takes)} in the student's folder itself is taken")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG) or entry.compress_type not in COMPRESSIONS:
        raise SubmissionError("it is no ordinary file, or packed in an unusual way")
    if takes[name] >= entry.file_size > max(PLAIN_BYTES, PACKED * entry.compress_size):
        raise SubmissionError(f"it unpacks to more than {PACKED} times its size")
    with archive.open(entry) as stream:
        content = b"" if entry.file_size > takes[name] else stream.read(takes[name] + 1)
    if max(entry.file_size, len(content)) > takes[name]:
        raise SubmissionError(f"it is larger than {takes[name] / 1e6:.3g} MB")
    return content


def read_times_safely() -> None:
    """Let nbgrader read a timestamp only where it is one: it reads them before it calls any hook, and ends for one that is none."""

    def existing(self: CourseDirectory, dest_path: str) -> datetime | None:
        return handed_in_at(Path(dest_path))

    def submitted(self: NbGraderAPI, assignment_id: str, student_id: str) -> datetime | None:
        course: Any = self.coursedir
        return handed_in_at(Path(course.format_path(course.submitted_directory, student_id, assignment_id)))

    CourseDirectory.get_existing_timestamp = existing
    NbGraderAPI.get_submitted_timestamp = submitted


def handed_in_at(folder: Path) -> datetime | None:
    """The time (UTC) that a folder's timestamp says, or None where there is none, or what it says is no time."""
    file = folder / TIMESTAMP
    if not os.path.lexists(file):
        return None
    try:
        time = parse_utc(read_file(file, TIMESTAMP_BYTES).decode().strip())
        if not datetime.min + timedelta(2) < time < datetime.max - timedelta(2):
            raise ValueError("nbgrader cannot show it in another time zone")
    except Exception as error:  # dateutil raises many kinds
        logger.warning("not read, since it is no time: %s: %s", file, str(error)[:200])
        return None
    return time


def set_aside(assignment: str, student: str, notebooks: list[str]) -> None:
    """nbgrader's hook before it copies a submission: move what is dangerous to handle into TERM/set_aside."""
    for notebook in notebooks:
        folder = Path(notebook).parent
        try:
            clean(folder)
        except Exception as error:  # nbgrader would go on after any of them
            raise SystemExit(f"{NOT_CLEAN}: {folder}: {str(error)[:200]}") from error


def clean_all() -> list[str]:
    """`set_aside` for every submission: nbgrader looks at some files before it calls its hook. Returns the students to leave out."""
    refused = []
    for folder in sorted((TERM / "submitted").glob("*/*")):
        try:
            if os.path.lexists(folder):  # no longer, where the student's folder was a link
                clean(folder)
        except Exception as error:  # whatever it is, the others are graded
            logger.error("%s: %s: %s", NOT_CLEAN, folder, str(error)[:200])
            refused.append(folder.parent.name)
    return refused


def clean(folder: Path) -> None:
    """Move out of one submission what `irregular` finds; nothing is followed, and nothing is deleted."""
    aside = TERM / "set_aside" / Path(*folder.parts[-2:])
    number = len(list(aside.iterdir())) if aside.is_dir() else 0
    for warned, path in enumerate(irregular(folder), 1):
        aside.mkdir(parents=True, exist_ok=True)
        # Cut, since a file system takes names of 255 bytes, and the student's may have them all.
        while os.path.lexists(target := aside / f"{path.name[:40]}.{number}"):
            number += 1
        path.rename(target)
        number += 1
        if warned <= WARNINGS:
            logger.warning(
                "set aside, since it is no ordinary file, too large, one of too many, or not the time it should be: %s, now %s%s",
                *(path, target, "; no more is said of this folder" if warned == WARNINGS else ""),
            )


def irregular(folder: Path) -> Iterator[Path]:
    """Every link, special file and enormous file in a submission, what is too much of others, and a timestamp that is none.

    The folder, or the student's, where that is itself a link.
    """
    if folder.parent.is_symlink():
        yield folder.parent
        return
    sizes = taken(folder.name)
    found, others, size_of_others = [folder], 0, 0
    for path in found:  # which grows; a function that calls itself would end at a thousand folders in each other
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            found += sorted(path.iterdir())
            continue
        unread = path == folder / TIMESTAMP and handed_in_at(folder) is None
        if unread or not stat.S_ISREG(status.st_mode) or status.st_size > sizes.get(path.name, OTHER_BYTES):
            yield path
        elif path.parent != folder or path.name not in {*sizes, TIMESTAMP}:
            others, size_of_others = others + 1, size_of_others + status.st_size
            if others > OTHER_FILES or size_of_others > OTHERS_BYTES:
                yield path


def taken(name: str) -> dict[str, int]:
    """The files that an assignment takes, with their largest sizes: the notebook alone for an assignment that is not ours."""
    try:
        return {"topic.ipynb": NOTEBOOK_BYTES, **read_assignment(name).files}
    except ValueError:
        return {"topic.ipynb": NOTEBOOK_BYTES}
