"""What students hand in through nbgrader's exchange, where they write into a folder of the server themselves.

nbgrader believes what such a folder says of itself: whose it is, when it was handed in, and that what lies in it are files. `Collect`
asks the file system instead. The owner of the folder handed it in, whatever its name says; the time is that of the last change,
where that is later than the one that it states; and only the files that the assignment takes are copied, none through a link.
"""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pwd import getpwuid
from typing import Any

from nbgrader.exchange.default import ExchangeCollect

from autograder.assignment.submission import SubmissionError, read_file
from autograder.exchange.collect import TIMESTAMP, TIMESTAMP_BYTES, handed_in_at, taken

SECRET, SECRET_BYTES = "submission_secret.txt", 1000  # by which its feedback is found
GRACE = timedelta(minutes=5)  # nbgrader takes the time first, then copies
SHOWN_AS = "%Y-%m-%d %H:%M:%S.%f UTC"  # nbgrader's own format
BESIDE = {TIMESTAMP: TIMESTAMP_BYTES, SECRET: SECRET_BYTES}


class Collect(ExchangeCollect):
    """nbgrader's `collect`, which takes a submission's word for nothing."""

    coursedir: Any

    def _path_to_record(self, path: str) -> dict[str, Any]:
        """Whose a submission is, and when it was handed in. What is no submission counts as the oldest of its owner."""
        folder = Path(path)
        claimed, _, _ = folder.name.partition("+")
        try:
            owner = getpwuid(folder.lstat().st_uid).pw_name
        except (KeyError, OSError):  # no user of this machine, or gone since it was found
            owner = ""
        try:
            time = handed_in(folder, super()._path_to_record(path)["timestamp"])
        except Exception as error:  # a name without a time, or what dateutil raises of one
            self.log.warning("left out: %s: %s", folder.name, str(error)[:200])
            return {"username": owner, "filename": folder.name, "timestamp": datetime.min}
        if owner != claimed:
            self.log.warning(
                "%s was handed in by %s, whatever it says: it counts as theirs", folder.name, owner or "nobody"
            )
        return {"username": owner, "filename": folder.name, "timestamp": time}

    def copy_files(self) -> None:
        """Collect the newest submission of each student; one that cannot be copied is left out, and the others are collected."""
        found = [record for record in self.src_records if record["username"] and record["timestamp"] > datetime.min]
        for record in found:
            self.src_records = [record]
            try:
                super().copy_files()
            except Exception as error:  # whatever it is, it is one student's
                course = self.coursedir
                folder = course.format_path(course.submitted_directory, record["username"], course.assignment_id)
                shutil.rmtree(folder, ignore_errors=True)
                self.log.error("not collected: %s: %s", record["filename"], str(error)[:200])
        if not found:
            self.log.warning("No submissions of '%s' to collect", self.coursedir.assignment_id)

    def do_copy(self, src: str, dest: str, log: Any = None) -> None:
        """Copy the files that the assignment takes, up to their largest sizes, and the time at which they were handed in.

        Raises OSError where the folder is none, and SubmissionError where it is another's by now.
        """
        record, target = self.src_records[0], Path(dest)
        opened = os.open(src, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if getpwuid(os.fstat(opened).st_uid).pw_name != record["username"]:
                raise SubmissionError("it was put in the place of another one")
            source = Path(f"/proc/self/fd/{opened}")  # this very folder, wherever it goes
            target.mkdir(mode=0o700, parents=True)
            for name, most in {**taken(self.coursedir.assignment_id), **BESIDE}.items():
                if os.path.lexists(source / name):
                    try:
                        (target / name).write_bytes(read_file(source / name, most))
                    except SubmissionError as error:
                        self.log.warning("left out: %s of %s: %s", name, record["filename"], error)
        finally:
            os.close(opened)
        (target / TIMESTAMP).write_text(record["timestamp"].strftime(SHOWN_AS))


def handed_in(folder: Path, claimed: datetime) -> datetime:
    """When a submission was handed in (UTC): at the time that it states, or at its last change, where that was later.

    Raises SubmissionError where the folder is none. Nobody but root sets the time at which a file system changed a file.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise SubmissionError("no folder")
    times = [entry.stat(follow_symlinks=False).st_ctime for entry in os.scandir(folder)]
    changed = datetime.fromtimestamp(max(times, default=folder.stat().st_ctime), UTC).replace(tzinfo=None)
    stated = min((handed_in_at(folder) or claimed), changed)
    return stated if changed - stated <= GRACE else changed
