"""The console command `course`: its commands, and one line for each error. Heavy imports wait until a command needs them."""

import os
import sys
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from course import assignments, designing, drawing, exporting, finetuning, models, restoring
from course.tables import MARKS, console, findings_table, say, say_error


class OneLineErrors(TyperGroup):
    """Show what a user can mend, such as a ValueError of the library for bad input, as one line instead of a traceback."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Refuse what no name on this machine can hold, whatever command it is meant for."""
        for text in args:
            check_argument(text)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the command; turn such an error into one line and exit status 1, an interruption into one and 130."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a file's name may hold what a terminal cannot show
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say_error("stopped")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            raise  # who reads the output has seen enough: typer ends without a word
        except (ValueError, OSError, MemoryError, ModuleNotFoundError) as error:
            say_error(described(error))
            raise typer.Exit(1) from error


def check_argument(text: str) -> None:
    """Raise a usage error where an argument holds a NUL byte, or what the system's encoding cannot say."""
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError as error:
        raise typer.BadParameter(f"{text!a} cannot be encoded ({error.reason})") from error
    if b"\0" in encoded:
        raise typer.BadParameter(f"{text!a} holds a NUL byte")


def described(error: Exception) -> str:
    """What a user reads of an error."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed: pip install 'learning-to-denoise[book,dev,grade]'"
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}): ask for less" if str(error) else "not enough memory: ask for less"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train, sample and look after diffusion models.",
)


@app.command()
def doctor(
    grading: Annotated[bool, typer.Option("--grading", help="also start a sandbox, as grading does")] = False,
) -> None:
    """Show what this machine has, and what to do where something needed is missing (exit status 1)."""
    from course.doctor import examine

    findings = examine(grading)
    console.print(findings_table(findings))
    for finding in findings:
        if finding.remedy:
            console.print(MARKS[finding.state], end=" ")
            say(f"{finding.what}: {finding.remedy}")
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


for command in (
    *(
        models.train,
        models.sample,
        drawing.draw,
        designing.design,
        finetuning.finetune,
        restoring.restore,
        exporting.export,
    ),
    *(models.evaluate, models.ledger),
    *(assignments.check, assignments.grade),
):
    app.command()(command)
app.add_typer(assignments.app, name="assignments")


if __name__ == "__main__":
    app()
