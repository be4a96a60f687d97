"""Benchmarks that draw in parts: what is there is not drawn again, and a number of pictures is one of whole parts."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from benchmarks import parts


@dataclass(frozen=True)
class Setting:
    name: str


SETTINGS = [Setting("seen, scale 1"), Setting("held out, scale 1")]


def test_a_part_that_is_there_is_not_drawn_again(tmp_path: Path) -> None:
    drawn: list[tuple[str, int]] = []

    def draw(setting: Setting, number: int) -> dict[str, torch.Tensor]:
        drawn.append((setting.name, number))
        return {"images": torch.zeros(1)}

    lines = list(parts.draw_all(tmp_path, SETTINGS, draw, 2, "seen"))
    assert drawn == [("seen, scale 1", 0), ("seen, scale 1", 1)] and len(lines) == 2
    assert [parts.parts_of(tmp_path, setting) for setting in SETTINGS] == [2, 0]
    list(parts.draw_all(tmp_path, SETTINGS, draw, 2, ""))
    assert drawn[2:] == [("held out, scale 1", 0), ("held out, scale 1", 1)]
    parts.place(tmp_path, SETTINGS[0], 0).unlink()
    assert parts.parts_of(tmp_path, SETTINGS[0]) == 0, "parts are counted without a gap"


@pytest.mark.parametrize(("options", "found"), [([], 3), (["--n", "20"], 2), (["--quick"], 1)])
def test_pictures_come_in_whole_parts(options: list[str], found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "draw", *options])
    assert parts.arguments_of("", "name", 30, 10).parts == found


@pytest.mark.parametrize("n", ["5", "0", "25"])
def test_another_number_is_refused(n: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "draw", "--n", n])
    with pytest.raises(SystemExit):
        parts.arguments_of("", "name", 30, 10)
    assert f"--n must be a multiple of 10; got {n}" in capsys.readouterr().err
