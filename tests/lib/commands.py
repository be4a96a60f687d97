"""How tests ask the command `course`, and what a refusal must look like."""

from pathlib import Path

from typer.testing import CliRunner

from course.cli import app

RUNNER = CliRunner()
LORA = Path("out/lora.safetensors")


def finetune_command(model: str, *options: str) -> list[str]:
    """The arguments that teach a model from the pictures in `mine` and the captions in `said.txt`."""
    return ["finetune", model, "--pictures", "mine", "--captions", "said.txt", "--out", str(LORA), *options]


def refused(arguments: list[str], *words: str) -> None:
    """Run a command that must say these words in its one line of error, and write no LoRA."""
    done = RUNNER.invoke(app, arguments)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.exit_code == 1 and len(lines) == 1 and lines[0].startswith("error: "), done.output
    assert all(word in lines[0] for word in words), lines[0]
    assert not LORA.exists()
