"""The ledger: one JSON file a measured run, from which the book draws every number."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def by_setting(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics of an entry that measured several settings, by setting and name: its keys are "setting: name"."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in metrics.items():
        setting, _, name = key.rpartition(": ")
        found.setdefault(setting, {})[name] = value
    return found


def by_scale(metrics: Mapping[str, Any]) -> dict[float, dict[str, Any]]:
    """`by_setting` of a sweep over guidance scales, whose settings are called "scale 2"."""
    return {float(setting.removeprefix("scale ")): found for setting, found in by_setting(metrics).items()}


def ledger(folder: Path) -> list[dict[str, Any]]:
    """All entries of a folder of results, in the order of their files' names; raises ValueError where one is damaged."""
    entries = []
    for file in sorted(folder.glob("*.json")):
        try:
            entries.append(json.loads(file.read_text()))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is damaged ({error}): restore it, or measure it again") from error
    return entries
