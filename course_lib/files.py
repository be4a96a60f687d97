"""Files that are whole or not there: everything that the course writes goes through here, and the JSON that it reads."""

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


def check_folder(folder: Path) -> None:
    """Raise a ValueError unless files can be written into a folder; a missing one is made."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def check_destination(path: Path) -> None:
    """Raise a ValueError unless a file can be written at `path`, so that long work does not end in vain; a missing folder is made."""
    with partial_file(path):
        pass


def write_atomically(path: Path, data: bytes | memoryview, mode: int = 0o666) -> None:
    """Write a file so that a reader sees the old contents or the new, never half; a missing folder is made.

    `mode` are the permissions of the new file, before the user's mask. Raises ValueError where it cannot be written, which leaves
    the old file as it was.
    """
    with partial_file(path, mode) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        file.close()  # Windows renames no open file
        os.replace(file.name, real_file(path))


def write_once(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file unless there is one: of several processes that do so at once, one file stays, whole.

    `mode` and errors are as for `write_atomically`.
    """
    with partial_file(path, mode) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(file.name, path)


@contextmanager
def partial_file(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A new file beside `path`, on the same disk, which is gone after the block; errors are explained as those of `path`."""
    with explained(path):
        target = real_file(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Two processes, or two threads, may write the same file.
        partial = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}.partial")
        try:
            with open(partial, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
                yield file
        finally:
            with suppress(OSError):  # it may have its name by now, and a disk that failed may refuse this too
                partial.unlink()


def real_file(path: Path) -> Path:
    """The file that a path means, links followed; raises ValueError where something else than a file is there."""
    try:
        target = Path(os.path.realpath(path))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} cannot be the name of a file ({error})") from error
    if target.is_dir():
        raise ValueError(f"{path} is a folder: give the name of a file in it")
    if target.exists() and not target.is_file():
        raise ValueError(f"{path} is a device or a pipe: give the name of a file")
    return target


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Inside, raise an OSError as a ValueError that says what could not be written, why, and what to do."""
    try:
        yield
    except OSError as error:
        reason = "one of the folders above it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise ValueError(
            f"{path} could not be written ({reason or error}): free some disk space, or choose a folder that you may write to"
        ) from error


def read_json(path: Path, remedy: str, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """The object in a JSON file, which has at least the entries named in `kinds`, each of such a kind.

    Raises ValueError with what is wrong and the `remedy` where the file holds something else, FileNotFoundError where there is none.
    """
    try:
        found = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:  # no JSON, no text, or brackets without end
        raise ValueError(f"{path} is damaged ({error}): {remedy}") from error
    if problem := wrong_entry(found, **kinds):
        raise ValueError(f"{path} is damaged ({problem}): {remedy}")
    return found


def wrong_entry(found: Any, **kinds: type | tuple[type, ...]) -> str:
    """What is wrong with JSON that should be an object with such entries; "" where nothing is."""
    if not isinstance(found, dict):
        return f"it holds a {type(found).__name__} in the place of named entries"
    for name, kind in kinds.items():
        expected = kind if isinstance(kind, tuple) else (kind,)
        if name not in found:
            return f"it has no {name}"
        if type(found[name]) not in expected:  # in JSON, true is no number
            wanted = " or ".join(one.__name__ for one in expected)
            return f"its {name} must be of type {wanted}; got {found[name]!r:.60}"
    return ""


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder that becomes `path` after the block, all of it at once; where the block fails, nothing is left.

    Raises ValueError where something is at `path` already, except for an empty folder, and where it cannot be written.
    """
    with explained(path):
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            what = "is not empty" if path.is_dir() else "is a file"
            raise ValueError(f"{path} {what}: give the name of a new folder")
        target = Path(os.path.realpath(path))
        if target.is_symlink():
            raise ValueError(f"{path} is a link that leads nowhere: give the name of a new folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(suffix=".partial", dir=target.parent))
        try:
            yield partial
            partial.chmod(0o777 & ~user_mask())  # a temporary folder is its owner's alone
            if target.exists():
                target.rmdir()
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def user_mask() -> int:
    """The permissions that this process withholds from new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
