"""Grading a folder: every submission once, whatever is handed in and whenever the grader is killed."""

import dataclasses
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest
from rich.progress import Progress
from typer.testing import CliRunner

from autograder.assignment.source import read_assignment, to_bytes
from autograder.assignment.submission import Job, submissions
from autograder.exchange import reports
from autograder.grading import many, store
from autograder.grading.mutants import cell_named
from autograder.grading.one import Result, TestResult
from autograder.grading.store import Store, course_secret, fingerprint
from course.cli import app

ASSIGNMENT = read_assignment("a01")


def hand_in(submitted: Path, student: str, **changed: str) -> Path:
    """The solved notebook, with the sources of some cells changed, handed in by a student."""
    notebook = ASSIGNMENT.solved()
    for cell, source in changed.items():
        cell_named(notebook, cell).source = source
    folder = submitted / student / ASSIGNMENT.name
    folder.mkdir(parents=True)
    (folder / "topic.ipynb").write_bytes(to_bytes(notebook))
    return folder / "topic.ipynb"


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("submitted")
    hand_in(folder, "ada")
    hand_in(folder, "ben", one_step="def one_step(x_prev, alpha, eps):\n    return alpha * x_prev + (1 - alpha) * eps")
    hand_in(folder, "eve\x1b[2J<script>", walk="import os\nos._exit(0)")
    hand_in(folder, "zoe", one_step="raise ValueError('\x1b[31m<b>bold</b>')").write_text("{")
    (folder / "empty" / ASSIGNMENT.name).mkdir(parents=True)
    (folder / "linked").symlink_to(folder / "ada")
    (folder / "links").mkdir()
    (folder / "links" / ASSIGNMENT.name).symlink_to(f"../ada/{ASSIGNMENT.name}")
    (folder / "other" / "a99_none").mkdir(parents=True)
    return folder


def grades(submitted: Path, store: Path, workers: int = 1, secret: bytes = b"s") -> dict[str, many.Grade]:
    jobs = submissions(submitted, ASSIGNMENT)
    return {grade.student: grade for grade in many.grade_all(jobs, ASSIGNMENT.name, secret, store, workers)}


@pytest.fixture(scope="module")
def graded(submitted: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, many.Grade], Path]:
    store = tmp_path_factory.mktemp("store")
    return grades(submitted, store, workers=2), store


def test_every_submission_is_graded_or_its_problem_named(graded) -> None:
    found, _ = graded
    assert set(found) == {"ada", "ben", "eve\x1b[2J<script>", "zoe", "empty", "linked", "links"}
    assert found["ada"].result.score() == found["ada"].result.worth() == 90  # the proof is read by a person
    assert 50 < found["ben"].result.score() < 90
    assert found["eve\x1b[2J<script>"].result.score() < 90
    assert "not a Jupyter notebook" in found["zoe"].problem and "cannot be read" in found["empty"].problem


def test_the_sandbox_can_start_before_anything_slow_is_imported() -> None:
    slow = ("torch", "numpy", "pytest", "jupytext", "nbformat")
    code = f"""
import sys
import course.cli, autograder.assignment.source, autograder.assignment.submission, autograder.exchange.reports
import autograder.grading.many
assert not (found := [name for name in {slow} if name in sys.modules]), found
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_link_to_another_student_s_folder_earns_no_grade(graded) -> None:
    found, _ = graded
    assert found["ada"].result.score() == 90
    for student, folder in (("linked", "linked"), ("links", ASSIGNMENT.name)):
        assert found[student].result is None
        assert found[student].problem == f"not graded: the folder {folder} is a link: hand in the folder itself"


def test_a_second_run_finds_the_same_grades_without_grading(
    submitted: Path, graded, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, store = graded
    for way in (
        "autograder.grading.many.in_processes",
        "autograder.grading.many.Sandbox",
        "autograder.grading.one.grade",
    ):
        monkeypatch.setattr(way, lambda *arguments, **options: pytest.fail("it graded again"))
    assert grades(submitted, store) == found


def test_what_cannot_be_graded_is_named_and_the_others_go_on(
    submitted: Path, graded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = graded
    failures = [OSError("no sandbox today")]

    def grade(*arguments):
        if failures:
            raise failures.pop()
        return found["ada"].result

    monkeypatch.setattr("autograder.grading.one.grade", grade)
    monkeypatch.setattr(many, "Sandbox", lambda *arguments, **options: Mock())
    jobs = [job for job in submissions(submitted, ASSIGNMENT) if job.student in ("ada", "ben")]
    with many.Grader(ASSIGNMENT, b"secret") as grader:
        first, second = many.here(jobs, grader, Store(tmp_path, grader.inputs))
    assert first.problem == "not graded: OSError: no sandbox today" and first.result is None
    assert second.result == found["ada"].result


def test_a_course_that_changes_while_it_grades_stores_nothing(
    submitted: Path, graded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = graded
    job = next(job for job in submissions(submitted, ASSIGNMENT) if job.student == "ada")
    monkeypatch.setattr("autograder.grading.one.grade", lambda *arguments: found["ada"].result)
    monkeypatch.setattr(many, "Sandbox", lambda *arguments, **options: Mock())
    with many.Grader(ASSIGNMENT, b"secret") as grader:
        monkeypatch.setattr(many, "fingerprint", lambda *arguments: "that of an edited suite")
        (one,) = many.here([job], grader, Store(tmp_path, grader.inputs))
    assert one.result is None and "the course was changed while this was graded" in one.problem
    assert list(tmp_path.iterdir()) == []


def test_graders_that_start_at_once_share_one_secret(tmp_path: Path) -> None:
    file, ready = tmp_path / "term" / "secret", threading.Barrier(8)

    def start(_: int) -> bytes:
        ready.wait()
        return course_secret(file)

    for _ in range(20):
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(start, range(8)))) == 1
        file.unlink()


def test_a_regrade_from_nothing_is_bit_identical(submitted: Path, graded, tmp_path: Path) -> None:
    found, _ = graded
    again = grades(submitted, tmp_path)

    def strip(grade: many.Grade) -> object:
        return grade.problem or {**grade.result.as_dict(), "seconds": 0}

    assert {student: strip(grade) for student, grade in again.items()} == {s: strip(g) for s, g in found.items()}


def test_damaged_results_are_graded_anew_and_another_secret_knows_none(submitted: Path, graded, tmp_path: Path) -> None:
    found, _ = graded
    digest = found["ada"].result.sha256
    results = Store(tmp_path, "inputs")
    results.put(found["ada"].result)
    assert results.get(digest) == found["ada"].result
    assert Store(tmp_path, "other inputs").get(digest) is None
    results.file(digest).write_text('{"half')
    assert results.get(digest) is None


def test_what_a_grade_depends_on_changes_its_fingerprint(tmp_path: Path) -> None:
    course = tmp_path / "course"
    course.mkdir()
    (course / "a.py").write_text("1")
    first = fingerprint(ASSIGNMENT, course, b"s")
    assert first == fingerprint(ASSIGNMENT, course, b"s") != fingerprint(ASSIGNMENT, course, b"t")
    (course / "a.py").write_text("2")
    assert fingerprint(ASSIGNMENT, course, b"s") != first


def test_other_versions_of_what_computes_change_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fingerprint(ASSIGNMENT, tmp_path, b"s")
    monkeypatch.setattr(store, "version", lambda name: "2.99.0" if name == "torch" else version(name))
    assert fingerprint(ASSIGNMENT, tmp_path, b"s") != first


def test_a_new_folder_of_the_grader_belongs_to_the_fingerprint_and_reports_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, course = tmp_path / "autograder", tmp_path / "course"
    shutil.copytree(store.PACKAGE, package, ignore=shutil.ignore_patterns("suites", "__pycache__"))
    course.mkdir()
    monkeypatch.setattr(store, "PACKAGE", package)
    first = fingerprint(ASSIGNMENT, course, b"s")
    for name in store.NOT_GRADING:
        changed = package / name if name.endswith(".py") else package / name / "new.py"
        changed.parent.mkdir(exist_ok=True)
        changed.write_text("changed = 1\n")
    assert fingerprint(ASSIGNMENT, course, b"s") == first
    (package / "new_room" / "deeper").mkdir(parents=True)
    (package / "new_room" / "deeper" / "code.py").write_text("new = 1\n")
    assert fingerprint(ASSIGNMENT, course, b"s") != first


def test_the_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    first = course_secret(tmp_path / "new" / "secret")
    assert len(first) == 32 and course_secret(tmp_path / "new" / "secret") == first
    assert (tmp_path / "new" / "secret").stat().st_mode & 0o077 == 0
    assert course_secret(tmp_path / "other") != first
    for damaged in ("", "abc", "x" * 64):
        (tmp_path / "other").write_text(damaged)
        with pytest.raises(ValueError, match="is damaged: restore it"):
            course_secret(tmp_path / "other")


def test_a_killed_grader_goes_on_and_loses_nothing(tmp_path: Path) -> None:
    folder, out = tmp_path / "submitted", tmp_path / "out"
    for number in range(6):
        hand_in(folder, f"student{number}", limit=f"# {number}\n" + cell_named(ASSIGNMENT.solved(), "limit").source)
    command = [sys.executable, "-m", "course.cli", "grade", str(folder), "--assignment", "a01", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    store, deadline = out / ASSIGNMENT.name, time.monotonic() + 120
    while len(list(store.glob("*.json"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    early = {file: file.read_bytes() for file in store.glob("*.json")}
    assert 2 <= len(early) < 6
    done = subprocess.run([*command, "--json", str(tmp_path / "all.json")], capture_output=True, text=True, check=True)
    assert all(file.read_bytes() == content for file, content in early.items())
    entries = json.loads((tmp_path / "all.json").read_text())
    assert [entry["student"] for entry in entries] == [f"student{number}" for number in range(6)]
    assert all(entry["score"] == 90 for entry in entries) and "90 of 90" in done.stdout


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_grader_that_is_ended_takes_its_workers_with_it(how: int, tmp_path: Path) -> None:
    folder, out = tmp_path / "submitted", tmp_path / "out"
    slow = "import time\ntime.sleep(2)\n" + cell_named(ASSIGNMENT.solved(), "limit").source
    for number in range(8):
        hand_in(folder, f"student{number}", limit=f"# {number}\n{slow}")
    command = [sys.executable, "-m", "course.cli", "grade", str(folder), "--assignment", "a01", "--out", str(out)]
    with subprocess.Popen(
        [*command, "--jobs", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who tests in the background ignores it
    ) as grader:
        deadline = time.monotonic() + 120
        while not list((out / ASSIGNMENT.name).glob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        below = psutil.Process(grader.pid).children(recursive=True)
        os.kill(grader.pid, how)
        said = grader.communicate(timeout=20)[1].decode()
    gone, left = psutil.wait_procs(below, timeout=10)
    assert len(gone) >= 6 and not left  # two workers, each with a sandbox
    if how == signal.SIGINT:
        assert grader.returncode == 130 and "run the same command again to go on" in said
        assert "Traceback" not in said


def test_an_interruption_between_two_grades_ends_the_grading(
    submitted: Path, graded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    def going(*_: object) -> Iterator[many.Grade]:
        try:
            yield from graded[0].values()
        finally:
            ended.append(True)

    def interrupted(self: Progress, grades: Iterator[many.Grade], **_: object) -> None:
        next(grades)
        raise KeyboardInterrupt

    monkeypatch.setattr(many, "grade_all", going)
    monkeypatch.setattr(Progress, "track", interrupted)
    done = CliRunner().invoke(app, ["grade", str(submitted), "--assignment", "a01", "--out", str(tmp_path)])
    assert done.exit_code == 130 and ended == [True]


def test_a_folder_that_may_not_be_read_costs_nobody_else_a_grade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(tmp_path, "ada")
    hand_in(tmp_path, "ben")
    look = Path.is_symlink

    def refuse(path: Path) -> bool:  # root may read everything, so the kernel's answer is played
        if "ada" in path.parts and path.name != "ada":
            raise PermissionError(13, "Permission denied")
        return look(path)

    monkeypatch.setattr(Path, "is_symlink", refuse)
    monkeypatch.setattr(Path, "is_dir", lambda path: refuse(path) or os.path.isdir(path))
    found = grades(tmp_path, tmp_path / "store")
    assert "cannot be read (Permission denied)" in found["ada"].problem and found["ben"].result.score() == 90


def test_the_command_writes_reports_that_cannot_be_scripted(
    submitted: Path, graded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = graded
    monkeypatch.setattr(many, "grade_all", lambda *arguments: (one for one in found.values()))
    options = [
        "--json",
        str(tmp_path / "g.json"),
        "--feedback",
        str(tmp_path / "f"),
        "--gradescope",
        str(tmp_path / "s"),
        "--out",
        str(tmp_path),
    ]
    done = CliRunner().invoke(app, ["grade", str(submitted), "--assignment", "a01", *options])
    assert done.exit_code == 1 and "90 of 90" in done.output  # four submissions have no grade
    assert "\x1b[2J" not in done.output
    page = (tmp_path / "f" / "eve\x1b[2J<script>" / ASSIGNMENT.name / "feedback.html").read_text()
    assert "<script>" not in page and "\x1b" not in page and "of 90 points" in page
    assert (
        "could not be graded: topic.ipynb cannot be read"
        in (tmp_path / "f" / "empty" / ASSIGNMENT.name / "feedback.html").read_text()
    )
    sheet = json.loads((tmp_path / "s" / "ben" / ASSIGNMENT.name / "results.json").read_text())
    assert sheet["score"] == found["ben"].result.score() == sum(test["score"] for test in sheet["tests"])
    assert {test["visibility"] for test in sheet["tests"]} == {"visible"}
    assert sum(test["max_score"] for test in sheet["tests"]) == 90
    assert not (tmp_path / "s" / "empty").exists()


def test_an_update_says_which_grades_it_would_change_and_changes_none(
    submitted: Path, graded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = graded
    kept = Store(tmp_path / ASSIGNMENT.name, "the course before its update")
    for student in ("ada", "ben"):
        kept.put(found[student].result)
    ada = found["ada"].result
    tests = [dataclasses.replace(test, passed=test.name != "test_snr") for test in ada.tests]
    kept.put(dataclasses.replace(ada, tests=tests))
    before = {file.name: file.read_bytes() for file in kept.folder.iterdir()}
    monkeypatch.setattr(many, "grade_all", lambda *arguments: (one for one in found.values()))
    command = ["grade", str(submitted), "--assignment", "a01", "--out", str(tmp_path), "--preview"]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert f"1 of {len(found)} grades would change; nothing was stored" in done.output, done.output
    line = next(line for line in done.output.splitlines() if "ada" in line)
    assert "test_snr" in line and f"{ada.score():g}" in line and "ben" not in done.output
    assert {file.name: file.read_bytes() for file in kept.folder.iterdir()} == before


def test_messages_are_escaped_in_every_report() -> None:
    nasty = "<img src=x onerror=alert(1)>\x1b]0;title\x07"
    result = Result("a01", "0", [TestResult(nasty, nasty, 1, False, nasty)], [nasty])
    page = reports.feedback(many.Grade(nasty, result), ASSIGNMENT)
    assert "<img" not in page and "\x1b" not in page and "\x07" not in page and "&lt;img" in page
    assert "\x1b" not in json.dumps(reports.gradescope(result), ensure_ascii=False)


def test_folders_without_submissions_say_what_is_expected(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            ValueError,
            match=r"no submission of a01_closed_form was found: they lie in .*/<student>/a01_closed_form/topic.ipynb",
        ):
            submissions(folder, ASSIGNMENT)


def test_a_submission_that_ends_its_worker_costs_nobody_else_a_grade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of a stand-in module, without a sandbox: the third of eight students kills whoever grades her."""
    (tmp_path / "standin.py").write_text(
        "import os, signal\nfrom autograder.grading.one import Result\n"
        "def start(name, secret):\n    pass\n"
        "def grade(job):\n    if job.student == 'c':\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return Result('a01', job.student, [])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    standin = importlib.import_module("standin")
    monkeypatch.setattr(many, "start_worker", standin.start)
    monkeypatch.setattr(many, "grade_job", standin.grade)
    kept = []
    monkeypatch.setattr(Store, "put", lambda self, result: kept.append(result.sha256))
    jobs = [Job(student, tmp_path) for student in "abcdefgh"]
    found = {grade.student: grade for grade in many.in_processes(jobs, "a01", b"", object.__new__(Store), 2)}
    assert sorted(found) == list("abcdefgh") and sorted(kept) == list("abdefgh")
    assert "ended the process that graded it" in found["c"].problem
    assert all(found[student].result is not None for student in "abdefgh")
