"""A temporary folder of a grader: it goes when its grader ends, and where that was killed, when the next one begins."""

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

try:
    import fcntl
except ImportError:  # Windows has none, and no sandbox either
    fcntl = None

PREFIX = "learning-to-denoise-"
YOUNG = 60  # seconds: a folder may not have its lock yet


class Workplace:
    """An empty folder, locked as long as its process lives; folders that killed graders of this user left are removed first."""

    def __init__(self) -> None:
        tidy(Path(tempfile.gettempdir()))
        self.folder = tempfile.TemporaryDirectory(prefix=PREFIX)
        self.path = Path(self.folder.name)
        self.lock = locked(self.path)

    def close(self) -> None:
        """Remove it."""
        self.folder.cleanup()
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


def locked(folder: Path) -> int | None:
    """A descriptor that holds a folder's lock; None where another process has it, or the folder is not this user's."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def tidy(place: Path) -> None:
    """Remove the folders in a place that graders left behind which were killed."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another grader may remove it at the same time, or another user owns it
            if time.time() - folder.lstat().st_mtime > YOUNG and (lock := locked(folder)) is not None:
                rmtree(folder, ignore_errors=True)
                os.close(lock)
