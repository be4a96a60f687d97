"""The ledger: one JSON file a measured run, from which the book draws every number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from course_lib.files import read_json, wrong_entry

REMEDY = "restore it, or measure it again"
NUMBER = (int, float)


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


def verdict(less: Mapping[str, float], more: Mapping[str, float]) -> str:
    """Whether one metric lies below another in all that was seen of both, from "low" to "high": "yes", "no, the reverse", or "open"."""
    low, low_of_more = (found.get("low", found["value"]) for found in (less, more))
    high, high_of_more = (found.get("high", found["value"]) for found in (less, more))
    if high < low_of_more:
        return "yes"
    return "no, the reverse" if low > high_of_more else "open"


def ledger(folder: Path) -> list[dict[str, Any]]:
    """All entries of a folder of results, in the order of their files' names.

    Raises ValueError where there is no such folder, or an entry is damaged: each has a model's name, options, and metrics with a
    value, of which some have an interval (low, high) and what real images get (floor).
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder of results: give the one that `course evaluate --out` wrote into")
    return [read_entry(file) for file in sorted(folder.glob("*.json"))]


def read_entry(file: Path) -> dict[str, Any]:
    """One entry; raises ValueError where it is damaged."""
    entry = read_json(file, REMEDY, model=str, options=dict, metrics=dict)
    for name, metric in entry["metrics"].items():
        if problem := wrong_metric(metric):
            raise ValueError(f"{file} is damaged (of {name}, {problem}): {REMEDY}")
    return entry


def wrong_metric(metric: Any) -> str:
    """What is wrong with one metric of an entry; "" where nothing is."""
    parts = [part for part in ("low", "high", "floor") if isinstance(metric, dict) and part in metric]
    return wrong_entry(metric, **dict.fromkeys(["value", *parts], NUMBER))
