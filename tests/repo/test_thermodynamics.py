"""What chapter 8 asks of its models, in the ledger."""

import math
from itertools import pairwise
from pathlib import Path

from benchmarks import thermodynamics
from course_lib.data.leaves import SENSOR
from course_lib.evaluation.ledger import by_setting, ledger

ENTRIES = {entry["model"]: entry for entry in ledger(Path(__file__).resolve().parents[2] / "results")}


def test_the_models_of_2015_reach_what_chapter_8_asks_of_them() -> None:
    beats = by_setting(ENTRIES["thermodynamics: heartbeat"]["metrics"])
    truth = math.log2(1 / 5)
    for seed in thermodynamics.SEEDS:
        found = beats[f"seed {seed}"]
        assert found["K"]["value"] >= -2.45 and found["valid"]["value"] >= 0.99
        for place in range(5):
            share = found[f"phase {place}"]["value"]
            assert abs(share - 0.2) < 3 * (0.2 * 0.8 / 2000) ** 0.5
    steps = sorted(int(name.split()[1]) for name in beats if name.startswith("exact"))
    bounds = [beats[f"exact, {count} steps"]["K"] for count in steps]
    assert all(one["low"] < other["high"] for one, other in pairwise(bounds)) and bounds[-1]["low"] < truth
    assert all(found["low"] <= truth for found in bounds)  # a bound, up to the luck of its draws
    leaves = by_setting(ENTRIES["thermodynamics: leaves"]["metrics"])["seed 0"]
    sensor = math.log2(2 * math.pi * math.e * (SENSOR * 127.5) ** 2) / 2
    assert leaves["below gaussian"]["low"] > 0 and leaves["bits"]["low"] > sensor
    digits = by_setting(ENTRIES["thermodynamics: mnist"]["metrics"])
    for seed in thermodynamics.SEEDS:
        change = digits[f"2015 - today, seed {seed}"]  # the paired intervals of which the chapter speaks
        assert change["loss"]["high"] < 0 and change["loss, little noise"]["high"] < 0
        assert change["loss, middle"]["low"] > 0 and change["loss, much noise"]["low"] > 0
    old, new = (
        [digits[f"{year}, seed {seed}"]["frechet distance"] for seed in thermodynamics.SEEDS]
        for year in ("2015", "today")
    )
    assert min(found["low"] for found in old) > max(found["high"] for found in new)
