"""Files are whole or not there, whatever fails."""

import errno
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from course_lib.files import check_destination, check_folder, read_json, write_atomically


@pytest.mark.parametrize("function", [check_destination, lambda path: write_atomically(path, b"new")])
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file/x", "one of the folders above it is a file"),
        ("file/x/y", "Not a directory"),
        ("folder", "is a folder: give the name of a file in it"),
        ("pipe", "is a device or a pipe"),
        ("/proc/x/y", "No such file or directory"),
        ("x" * 300, "File name too long"),
        ("a\0b", "cannot be the name of a file"),
    ],
)
def test_what_cannot_be_written_is_one_clear_error_before_the_work_and_after_it(
    function: Callable[[Path], None], path: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=reason):
        function(tmp_path / path)
    assert (tmp_path / "file").read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder", "pipe"]


def test_a_check_leaves_nothing_but_the_folder(tmp_path: Path) -> None:
    check_destination(tmp_path / "new" / "deep" / "file")
    check_folder(tmp_path / "other")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["new", "new/deep", "other"]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file could not be written"):
        check_folder(tmp_path / "file")


def test_a_link_stays_a_link_to_the_new_contents(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "new"


def test_permissions_are_those_that_were_asked_for(tmp_path: Path) -> None:
    write_atomically(tmp_path / "secret", b"x", mode=0o600)
    write_atomically(tmp_path / "shown", b"x")
    mask = os.umask(0)
    os.umask(mask)
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == {"secret": 0o600 & ~mask, "shown": 0o666 & ~mask}


def test_a_disk_that_fills_while_a_file_is_written_leaves_the_old_one(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"old")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        with pytest.raises(ValueError, match=r"file could not be written \(File too large\): free some disk space"):
            write_atomically(tmp_path / "file", b"n" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file", b"old")]


def test_a_clean_up_that_fails_too_does_not_hide_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(ValueError, match=r"file could not be written \(Read-only file system\)"):
        write_atomically(tmp_path / "file", b"new")


def test_an_interruption_leaves_no_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "Expecting property name"),
        ("[" * 200_000, "recursion"),
        ("[]", "it holds a list in the place of named entries"),
        ('{"a": 1}', "it has no b"),
        ('{"a": 1, "b": 1}', "its b must be of type str; got 1"),
        ('{"a": true, "b": ""}', "its a must be of type int or float; got True"),
    ],
)
def test_json_of_another_form_is_refused_with_what_to_do(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=rf"x\.json is damaged \(.*{problem}.*\): restore it"):
        read_json(tmp_path / "x.json", "restore it", a=(int, float), b=str)
