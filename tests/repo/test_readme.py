"""What the README shows works as it is printed."""

import re
import shlex
from pathlib import Path

import torch
import typer.main

from course.cli import app
from course_lib.models import store

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs_and_finds_the_weight_of_the_right_bump() -> None:
    """1000 draws from an exact mixture: the share on the right is 0.7 within 4 standard errors, 4 sqrt(0.7 0.3 / 1000) = 0.058."""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    torch.manual_seed(0)
    names: dict[str, torch.Tensor] = {}
    exec(example, names)
    assert abs((names["samples"][:, 0] > 0).double().mean() - 0.7) < 0.058


def test_the_course_commands_parse() -> None:
    """Each `course ...` line names a command and options that exist; parsing does not run it."""
    lines = re.findall(r"^course ([^#\n]+)", README, re.MULTILINE)
    assert lines
    commands = typer.main.get_command(app)
    for line in lines:
        name, *arguments = shlex.split(line)
        command = commands.get_command(commands.make_context("course", [name]), name)
        assert command is not None, f"no command course {name}"
        command.make_context(name, arguments)


def test_links_to_files_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_page_on_using_the_book_names_every_model() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \|", (ROOT / "book" / "how-to-use.md").read_text(), re.MULTILINE)
    assert sorted(re.findall(r"`([^`]+)`", " ".join(rows))) == store.shipped_models()
