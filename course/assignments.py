"""The commands for assignments: build, check, grade."""

import tempfile
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from course.tables import changes_table, console, grades_table, say

if TYPE_CHECKING:
    from autograder.grading.many import Grade
    from autograder.grading.result import Result

app = typer.Typer(no_args_is_help=True, help="Build the assignments.")


@app.command()
def build(
    names: Annotated[list[str] | None, typer.Argument(help="which, for example a01 (all by default)")] = None,
    out: Annotated[Path, typer.Option(help="the folder to write below; it is made where it is missing")] = Path(
        "build"
    ),
) -> None:
    """Write the students' notebooks below OUT/release and the instructors' below OUT/solved: the same bytes every time."""
    from autograder.assignment import source
    from course_lib.files import check_folder

    check_checkout()
    wanted = [source.read_assignment(name).name for name in names or source.assignment_names()]
    check_folder(out)
    for name in wanted:
        for file in source.build(name, out):
            say(str(file))


def check(
    assignment: Annotated[str, typer.Argument(help="its number, for example a01")],
    notebook: Annotated[Path, typer.Argument(help="your notebook")],
) -> None:
    """Run your notebook from top to bottom, and its public checks, before you hand it in (exit status 1 where one fails)."""
    from autograder.assignment.check import check as run_checks

    with console.status("running the notebook from top to bottom"):
        found = run_checks(assignment, notebook)
    for one in found:
        console.print("[green]ok[/]" if one.passed else "[red]!![/]", end="  ")
        say(one.name if one.passed else f"{one.name}: {one.message}")
    right = sum(one.passed for one in found)
    say(f"{right} of {len(found)} pass. The hidden tests use other numbers and look deeper.")
    if right < len(found):
        raise typer.Exit(1)


def grade(
    submitted: Annotated[Path, typer.Argument(help="the folder SUBMITTED/<student>/<assignment>/topic.ipynb")],
    assignment: Annotated[str, typer.Option(help="its number, for example a01")],
    jobs: Annotated[int, typer.Option(min=1, help="how many processes grade")] = 1,
    dask: Annotated[str, typer.Option(help="grade on the Dask cluster whose scheduler has this address")] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="where the course's secret and the grades known so far lie (default: term/grades)"),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write all grades to this file")] = None,
    feedback: Annotated[Path | None, typer.Option(help="write a page for each student below this folder")] = None,
    gradescope: Annotated[Path | None, typer.Option(help="write Gradescope's results.json below this folder")] = None,
    preview: Annotated[
        bool,
        typer.Option("--preview", help="say which grades would change if all were graded again now; store nothing"),
    ] = False,
) -> None:
    """Grade a folder of submissions; start again after an interruption, and it goes on (exit status 1 where one has no grade).

    Folders that are missing are made. After an update of the course, ask with --preview what it would change.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    check_checkout()

    from autograder.assignment.source import read_assignment
    from autograder.assignment.submission import submissions
    from autograder.exchange import reports
    from autograder.grading import many, pool
    from autograder.grading.store import TERM, Store, course_secret, private

    if jobs > 1 and not dask:
        pool.prepare(*many.WARM)  # which begins to import torch while the submissions are read
    found, out = read_assignment(assignment), out or private(TERM) / "grades"
    todo, places = submissions(submitted, found), reports.Places(json_file, feedback, gradescope)
    places.check()
    secret, kept = course_secret(out / "secret"), out / found.name
    scratch = tempfile.TemporaryDirectory() if preview else nullcontext(kept)
    with (
        scratch as store,
        Progress(
            TextColumn("grading"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        ) as bar,
    ):
        try:
            with closing(many.grade_all(todo, found.name, secret, Path(store), jobs, dask)) as going:
                grades = sorted(bar.track(going, total=len(todo)), key=lambda one: one.student)
        except KeyboardInterrupt:
            bar.console.print("stopped; the grades known so far are kept: run the same command again to go on")
            raise typer.Exit(130) from None
    title = str(found.course["title"])
    if preview:
        before = Store(kept, "").earlier()
        rows = [change for grade in grades for change in changes(grade, before)]
        console.print(changes_table(title, rows))
        say(f"{len(rows)} of {len(grades)} grades would change; nothing was stored")
    else:
        console.print(grades_table(title, map(row, grades)))
    reports.write_reports(grades, found, places)
    if any(one.result is None for one in grades):
        raise typer.Exit(1)


def row(one: "Grade") -> tuple[str, str, str]:
    """A student's name, points, and what an instructor should know."""
    from autograder.exchange.reports import plain

    if one.result is None:
        return plain(one.student), "none", plain(one.problem)
    review = sum(test.review for test in one.result.tests)
    points = f"{one.result.score():g} of {one.result.worth():g}"
    return plain(one.student), points, f"{review} tests need a look" if review else ""


def changes(one: "Grade", before: "dict[str, Result]") -> list[tuple[str, str, str, str]]:
    """A student's name, the points before and now, and the tests that judge otherwise, where something does."""
    from autograder.exchange.reports import plain

    old, new = (before.get(one.result.sha256), one.result) if one.result else (None, None)
    if old is None or new is None:
        return []
    passed = {test.name: (test.passed, test.worth) for test in old.tests}
    now = {test.name: (test.passed, test.worth) for test in new.tests}
    tests = [name for name in {**passed, **now} if passed.get(name) != now.get(name)]
    return [(plain(one.student), f"{old.score():g}", f"{new.score():g}", ", ".join(map(plain, tests)))] if tests else []


def check_checkout() -> None:
    """Raise a ValueError where the course was installed without its assignments."""
    from autograder.assignment.source import SOLUTIONS

    if not SOLUTIONS.is_dir():
        raise ValueError(
            "this command needs a checkout of the course: the installed package holds neither assignments nor hidden tests"
        )
