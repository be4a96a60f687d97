"""What nbgrader has finished: a folder that a killed command left half made is made again, and not taken for a finished one.

nbgrader skips a submission whose output folder exists. So each finished folder gets a mark, with the hash of what went in and what
came out, after everything else; a folder without its mark goes before nbgrader looks for it.
"""

import functools
import hashlib
import logging
from pathlib import Path
from shutil import disk_usage, rmtree
from typing import Any

from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.converters.base import BaseConverter

from autograder.exchange.collect import irregular
from autograder.grading.store import TERM
from course_lib.files import write_atomically

logger = logging.getLogger("nbgrader")
MARKS = TERM / "finished"
ROOM = 1 << 20  # bytes: a disk with less is full


def finish_what_was_interrupted() -> None:
    """Let nbgrader's commands that write folders, autograde and generate_feedback, make an unfinished one again."""
    for converter in (Autograde, GenerateFeedback):
        converter.init_destination = watched(converter.init_destination)
        converter.set_permissions = marked(converter.set_permissions)
        for name in ("init_assignment", "convert_single_notebook", "set_permissions"):
            setattr(converter, name, stopped_where_full(getattr(converter, name)))


def stopped_where_full(usual: Any) -> Any:
    """A step of nbgrader's that ends the command, with one line and nothing half made, where the disk is full."""

    @functools.wraps(usual)
    def step(self: Any, *args: str) -> Any:
        try:
            return usual(self, *args)
        except Exception:
            if disk_usage(TERM).free >= ROOM:
                raise
            made = places(self, *self.under_way)[1]
            rmtree(made, ignore_errors=True)
            raise SystemExit(full(made)) from None

    return step


def full(made: Path) -> str:
    """What to read where the disk is full."""
    return (
        f"the disk of {TERM} is full, so {made} was not made, nor what comes after it: make room and run the command again, "
        "and it goes on"
    )


def watched(usual: Any) -> Any:
    """nbgrader's decision whether to make a folder, where one that is there is finished."""

    def init_destination(self: Any, assignment_id: str, student_id: str) -> bool:
        self.under_way = assignment_id, student_id
        source, made, mark = places(self, assignment_id, student_id)
        if made.exists() and not (mark.exists() and mark.read_text() == digest(source, made) != ""):
            logger.warning("made again, since it was interrupted, or what it came from has changed: %s", made)
            rmtree(made)
        return usual(self, assignment_id, student_id)

    return init_destination


def marked(usual: Any) -> Any:
    """nbgrader's last act on a folder, and then its mark."""

    def set_permissions(self: BaseConverter, assignment_id: str, student_id: str) -> None:
        usual(self, assignment_id, student_id)
        source, made, mark = places(self, assignment_id, student_id)
        write_atomically(mark, digest(source, made).encode())

    return set_permissions


def places(converter: BaseConverter, assignment: str, student: str) -> tuple[Path, Path, Path]:
    """The folder that a command reads, the one that it makes, and where the mark of the latter lies."""
    source, made = (
        Path(converter._format_source(assignment, student)),
        Path(converter._format_dest(assignment, student)),
    )
    return source, made, MARKS / type(converter).__name__ / student / assignment


def digest(*folders: Path) -> str:
    """The hash of all files in some folders; "" where one holds what is no ordinary file, or an enormous one."""
    total = hashlib.sha256()
    for folder in folders:
        if not folder.is_dir() or next(irregular(folder), None) is not None:
            return ""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = file.read_bytes()
            total.update(f"{file.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return total.hexdigest()
