"""What students hand in through the exchange: collected by what the file system says, never by what the folder says of itself."""

import os
import pwd
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nbgrader.auth import Authenticator
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange.default import ExchangeCollect, ExchangeSubmit
from traitlets.config import Config

from autograder.exchange.hub import SHOWN_AS, Collect
from autograder.exchange.submit import Submit

NAME, COURSE = "a01_closed_form", "learning-to-denoise"
ME = pwd.getpwuid(os.getuid()).pw_name
LONG_AGO = "2020-01-01 00:00:00.000000 UTC"


class Exchange:
    """An exchange and a term in folders of their own."""

    def __init__(self, folder: Path, gradebook: Path) -> None:
        self.inbound, self.submitted = folder / "exchange" / COURSE / "inbound", folder / "submitted"
        self.inbound.mkdir(parents=True)
        self.config = Config()
        self.config.Exchange.root = str(folder / "exchange")
        self.config.Exchange.cache = str(folder / "cache")
        self.config.Exchange.assignment_dir = str(folder)
        self.config.CourseDirectory.course_id = COURSE
        self.config.CourseDirectory.assignment_id = NAME
        self.config.CourseDirectory.submitted_directory = str(self.submitted)
        self.config.CourseDirectory.db_url = f"sqlite:///{gradebook}"

    def started(self, kind: type) -> None:
        """Run a part of nbgrader's exchange."""
        course = CourseDirectory(config=self.config)
        kind(coursedir=course, authenticator=Authenticator(config=self.config), config=self.config).start()

    def hand_in(self, student: str = ME, time: str = LONG_AGO, **files: str) -> Path:
        """A folder as nbgrader's submit would make it, with what it says of itself."""
        folder = self.inbound / f"{student}+{NAME}+{time}+abc"
        folder.mkdir()
        for name, text in {"topic.ipynb": "{}", "timestamp.txt": time, **files}.items():
            (folder / name).write_text(text)
        return folder

    def collected(self, student: str = ME) -> Path:
        """Where what a student handed in lies afterwards."""
        return self.submitted / student / NAME


@pytest.fixture(scope="module")
def gradebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: nbgrader takes seconds to make one, and collecting only asks it for a due date."""
    return tmp_path_factory.mktemp("gradebook") / "gradebook.db"


@pytest.fixture
def exchange(tmp_path: Path, gradebook: Path, monkeypatch: pytest.MonkeyPatch) -> Exchange:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # for alembic
    return Exchange(tmp_path, gradebook)


def ago(**time: float) -> str:
    """A time as nbgrader writes it."""
    return (datetime.now(UTC) - timedelta(**time)).strftime(SHOWN_AS)


def test_what_an_assignment_takes_is_collected_with_the_secret_of_its_feedback(exchange: Exchange) -> None:
    time = ago(seconds=20)
    exchange.hand_in(time=time, **{"submission_secret.txt": "s3cret", "diary.txt": "private"})
    exchange.started(Collect)
    found = {file.name: file.read_text() for file in exchange.collected().iterdir()}
    assert found == {"topic.ipynb": "{}", "timestamp.txt": time, "submission_secret.txt": "s3cret"}


def test_no_link_and_no_pipe_is_followed(exchange: Exchange, tmp_path: Path) -> None:
    """nbgrader's own collect copies with the instructor's rights whatever a link leads to, and waits for a pipe for ever."""
    (tmp_path / "another_student").write_text("SECRET")
    folder = exchange.hand_in()
    (folder / "topic.ipynb").unlink()
    (folder / "topic.ipynb").symlink_to(tmp_path / "another_student")
    os.mkfifo(folder / "submission_secret.txt")
    exchange.started(Collect)
    assert {file.name for file in exchange.collected().iterdir()} == {"timestamp.txt"}


def test_a_folder_that_is_a_link_is_no_submission(exchange: Exchange, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "topic.ipynb").write_text("SECRET")
    (exchange.inbound / f"{ME}+{NAME}+{LONG_AGO}+abc").symlink_to(theirs)
    exchange.started(Collect)
    assert not exchange.collected().exists()


@pytest.mark.parametrize(("minutes", "counts"), [(600_000, 0), (-600_000, 0), (2, 2)])
def test_the_time_is_that_of_the_last_change_where_it_states_an_earlier_one(
    exchange: Exchange, minutes: int, counts: int
) -> None:
    """Minutes ago: a year, in the future, and just before, as nbgrader takes the time before it copies."""
    exchange.hand_in(time=ago(minutes=minutes))
    exchange.started(Collect)
    time = datetime.strptime((exchange.collected() / "timestamp.txt").read_text(), SHOWN_AS)
    assert abs(time - datetime.strptime(ago(minutes=counts), SHOWN_AS)) < timedelta(minutes=1)


def test_a_change_after_the_deadline_counts(exchange: Exchange) -> None:
    folder = exchange.hand_in()
    os.utime(folder / "topic.ipynb", (0, 0))  # which a student may set to any time
    exchange.started(Collect)
    assert (exchange.collected() / "timestamp.txt").read_text()[:10] == ago()[:10]


def test_a_submission_in_the_name_of_another_student_is_its_owner_s(exchange: Exchange) -> None:
    exchange.hand_in(student="ada", time=ago(days=-400))
    exchange.started(Collect)
    assert not exchange.collected("ada").exists() and exchange.collected(ME).exists()


def test_a_folder_without_a_time_stops_nobody(exchange: Exchange) -> None:
    (exchange.inbound / f"{ME}+{NAME}+yesterday+abc").mkdir()
    (exchange.inbound / f"{ME}+{NAME}").mkdir()
    exchange.hand_in()
    exchange.started(Collect)
    assert (exchange.collected() / "topic.ipynb").exists()


def test_one_that_cannot_be_copied_stops_nobody(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Collect._path_to_record
    monkeypatch.setattr(
        Collect, "_path_to_record", lambda self, path: {**usual(self, path), "username": Path(path).name[:3]}
    )
    monkeypatch.setattr(
        "autograder.exchange.hub.getpwuid", lambda uid: pwd.struct_passwd(("ben", "", 0, 0, "", "", ""))
    )
    exchange.hand_in(student="ada")
    exchange.hand_in(student="ben")
    exchange.started(Collect)
    assert not exchange.collected("ada").exists()
    assert (exchange.collected("ben") / "topic.ipynb").exists()


def test_collecting_again_takes_only_what_is_newer(exchange: Exchange) -> None:
    folder = exchange.hand_in(time=ago(minutes=1))
    exchange.config.ExchangeCollect.update = True
    exchange.started(Collect)
    before = exchange.collected().stat().st_ino
    exchange.started(Collect)
    assert exchange.collected().stat().st_ino == before
    exchange.hand_in(time=ago(), **{"topic.ipynb": '{"new": 1}'}).rename(folder.with_name(folder.name + "2"))
    exchange.started(Collect)
    assert (exchange.collected() / "topic.ipynb").read_text() == '{"new": 1}'


@pytest.mark.parametrize(("kind", "mode"), [(Submit, 0o750), (ExchangeSubmit, 0o777)])
def test_what_is_handed_in_is_closed_to_others(exchange: Exchange, tmp_path: Path, kind: type, mode: int) -> None:
    """The second line is nbgrader's own way, in which whoever knows the folder's name may change it."""
    for folder in (tmp_path / NAME, tmp_path / "exchange" / COURSE / "outbound" / NAME):
        folder.mkdir(parents=True)
        (folder / "topic.ipynb").write_text("{}")
    exchange.started(kind)
    (made,) = exchange.inbound.iterdir()
    assert made.stat().st_mode & 0o777 == mode


def test_nbgrader_s_own_collect_follows_links(exchange: Exchange, tmp_path: Path) -> None:
    """If this fails, nbgrader has mended it, and ours may go."""
    (tmp_path / "another_student").write_text("SECRET")
    folder = exchange.hand_in()
    (folder / "topic.ipynb").unlink()
    (folder / "topic.ipynb").symlink_to(tmp_path / "another_student")
    exchange.started(ExchangeCollect)
    assert (exchange.collected() / "topic.ipynb").read_text() == "SECRET"
