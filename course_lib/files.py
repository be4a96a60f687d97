"""Files that are whole or not there: everything that the course writes goes through here."""

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old contents or the new, never half; a failure leaves the old file as it was."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # two processes may write the same file
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ValueError(
            f"{path} could not be written ({error.strerror}): free some disk space, or choose a folder that you may write to"
        ) from error
