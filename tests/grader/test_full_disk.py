"""A full disk ends nbgrader's commands with one line that says so, and leaves nothing half made."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autograder.exchange import finished


@pytest.fixture
def converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a converter of nbgrader's is to us, in the middle of a folder."""
    monkeypatch.setattr(finished, "TERM", tmp_path)
    made = tmp_path / "autograded" / "ada" / "a01"
    made.mkdir(parents=True)
    (made / "topic.ipynb").write_text("half")

    def below(step: str) -> Any:
        return lambda assignment, student: str(tmp_path / step / student / assignment)

    return SimpleNamespace(
        under_way=("a01", "ada"), _format_source=below("submitted"), _format_dest=below("autograded")
    )


def fails(self: Any, *args: str) -> None:
    raise ValueError("(sqlite3.OperationalError) database or disk is full")


def test_where_the_disk_is_full_one_line_says_so_and_the_half_made_folder_goes(
    converter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finished, "ROOM", 1 << 60)  # as if there were no room
    with pytest.raises(SystemExit, match=r"the disk of .* is full, so .*autograded/ada/a01 was not made") as ended:
        finished.stopped_where_full(fails)(converter, "topic.ipynb")
    assert "\n" not in str(ended.value)
    assert not (tmp_path / "autograded" / "ada" / "a01").exists()


def test_any_other_failure_is_nbgraders(converter: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="disk is full"):
        finished.stopped_where_full(fails)(converter, "topic.ipynb")
    assert (tmp_path / "autograded" / "ada" / "a01" / "topic.ipynb").exists()


STEPS = ("init_assignment", "convert_single_notebook", "set_permissions")


def test_every_step_that_writes_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (finished.Autograde, finished.GenerateFeedback):
        for step in (*STEPS, "init_destination"):
            monkeypatch.setattr(command, step, getattr(command, step))  # as they are now, when the test is over
    finished.finish_what_was_interrupted()
    for command in (finished.Autograde, finished.GenerateFeedback):
        assert [getattr(command, step).__code__.co_name for step in STEPS] == ["step"] * 3
