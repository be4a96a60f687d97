"""The benchmarks: contestants of equal size, and entries of the ledger that say what was measured."""

import importlib
import json
import shutil
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
import torch

from autograder.assignment.source import read_assignment
from benchmarks import accuracy_score, cluster, speed, sweeps
from benchmarks.contestants import contestants, gflop, parameters
from benchmarks.grading import A01, named, plain, submission
from benchmarks.record import machine, measured
from course_lib.evaluation.ledger import by_scale, by_setting, ledger
from course_lib.models.tensors import load_tensors

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = {entry["model"]: entry for entry in ledger(ROOT / "results")}


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_contestants_are_equal_within_a_tenth(channels: int, size: int) -> None:
    ours, diffusers, _ = contestants(channels, size)  # the third is measured in the ledger's own entry, below
    networks = [contestant.build() for contestant in (ours, diffusers)]
    weights = [parameters(network) for network in networks]
    work = [gflop(n, c.forward, (channels, size, size)) for n, c in zip(networks, (ours, diffusers), strict=True)]
    assert max(weights) < 1.1 * min(weights) and max(work) < 1.1 * min(work)


@pytest.mark.parametrize("name", [name for name in ENTRIES if name.startswith("speed at ")])
def test_measured_contestants_were_equal_within_a_tenth_and_took_turns(name: str) -> None:
    entry = ENTRIES[name]
    for what in ("parameters", "GFLOP an image"):
        values = [found["value"] for key, found in entry["metrics"].items() if key.endswith(f", {what}")]
        assert len(values) == 3 and max(values) < 1.1 * min(values), (what, values)
    assert entry["options"]["rounds"] >= 5
    for key, found in entry["metrics"].items():
        if "images/s" in key or "ratio" in key:
            assert 0 < found["low"] <= found["value"] <= found["high"] and found["mode"]


def test_speed_was_measured_at_both_sizes_of_image_on_processors_with_short_names() -> None:
    measured_at = {tuple(name.split(", ")) for name in ENTRIES if name.startswith("speed at ")}
    assert {size for size, _ in measured_at} == {f"speed at {shape}" for shape in speed.SHAPES}
    assert speed.short("Intel(R) Xeon(R) Processor") == "Intel Xeon" and speed.short("AMD EPYC") == "AMD EPYC"


def test_every_part_of_make_bench_exists_and_has_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = (ROOT / "Makefile").read_text().partition("for part in ")[2].partition(";")[0].split()
    assert {"operators", "networks", "keywords", "speed", "sampling", "quality"} == set(recipe)
    graders = set((ROOT / "Makefile").read_text().partition("for part in assignments")[2].partition(";")[0].split())
    assert graders == {"grading", "cluster"}
    for part in (
        *recipe,
        "gpu",
        "assignments",
        "grading",
        "cluster",
        "accuracy_score",
        "intervals",
        "thermodynamics",
        "latent",
        "flows",
        "showdown",
        "few_steps",
        "dit",
        "restoring",
        "palette",
        "designs",
        "discrete",
        "beyond",
        "shapes",
        "molecules",
        "texts",
        "finetuning",
    ):
        monkeypatch.setattr(sys, "argv", [f"benchmarks.{part}", "--help"])
        with pytest.raises(SystemExit, match="^0$"):
            importlib.import_module(f"benchmarks.{part}").main()
        assert "--quick" in capsys.readouterr().out


def test_a_cluster_that_loses_or_misjudges_a_submission_is_found_out() -> None:
    students = len(cluster.KINDS) + 1  # the last does what the first did
    grades = [{"student": named(student), "score": float(student % len(cluster.KINDS))} for student in range(students)]
    cluster.check(grades, students)
    with pytest.raises(RuntimeError, match=f"1 submissions were not graded, the first is {named(students - 1)}'s"):
        cluster.check(grades[:-1], students)
    with pytest.raises(RuntimeError, match=r"the same work as student0000's got different scores: \[0.0, 5.0\]"):
        cluster.check([*grades[:-1], {"student": named(students - 1), "score": 5.0}], students)
    assert cluster.submission(A01, 0) != cluster.submission(
        A01, len(cluster.KINDS)
    )  # or the second would have its grade already


def test_every_sweep_is_made_and_its_results_are_whole() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("for sweep in ")[2].partition(";")[0].split()
    assert set(recipe) == set(sweeps.SWEEPS)
    for name in recipe:
        entry, sweep = ENTRIES[f"sweep: {name}"], sweeps.SWEEPS[name]()
        settings = {key.rpartition(": ")[0] for key in entry["metrics"]}
        if "differences" not in entry:  # measured by an earlier version, and not drawn again yet
            assert settings <= set(sweep.settings)
            continue
        compared = {key.rpartition(": ")[0] for key in entry["differences"]}
        assert compared == {f"{one} - {other}" for one, other in sweep.pairs}
        assert settings <= set(sweep.settings) and entry["options"]["n"] >= 200
        # what was drawn less often than the others stands in differences alone
        assert all(any(name in pair.split(" - ") for pair in compared) for name in set(sweep.settings) - settings)
        for setting in settings:
            found = entry["metrics"][f"{setting}: frechet distance"]
            assert 0 < found["low"] <= found["value"] <= found["high"] and found["floor_low"] < found["floor_high"]
            assert entry["metrics"][f"{setting}: recall"]["low"] >= 0
        for found in entry["differences"].values():
            assert found["low"] <= found["value"] <= found["high"] and found["n"] >= 100


def shown(entry: dict, pair: str, metric: str) -> int:
    """What a paired difference shows: 1 a rise, -1 a fall, 0 neither."""
    found = entry["differences"][f"{pair}: {metric}"]
    return (found["low"] > 0) - (found["high"] < 0)


def test_what_chapter_3_says_of_its_samplers_is_what_was_measured() -> None:
    entry = ENTRIES["sweep: samplers"]

    def beside(sampler: str, evaluations: int) -> int:
        return shown(
            entry, f"{sampler}, {evaluations} evaluations - ddim, {evaluations} evaluations", "frechet distance"
        )

    assert all(beside("dpm-solver", n) == -1 for n in (5, 10, 20, 50, 100))
    assert [beside("heun", n) for n in (5, 10, 20, 50, 100)] == [1, 1, -1, -1, -1]
    assert all(beside("ddpm", n) == 0 for n in (5, 10, 20, 50, 100, 1000))
    precision = entry["differences"]["ddim in float32, 50 evaluations - ddim, 50 evaluations: frechet distance"]
    assert -0.01 < precision["low"] < 0 < precision["high"] < 0.01
    arrived = entry["differences"]["dpm-solver, 100 evaluations - ddim, 1000 evaluations: frechet distance"]
    assert -0.01 < arrived["low"] < arrived["high"] < 0.01 and arrived["n"] == entry["options"]["n"]

    def lost(sampler: str, evaluations: int) -> int:
        return shown(entry, f"{sampler}, {evaluations} evaluations - ddim, 1000 evaluations", "frechet distance")

    assert all(lost(sampler, n) == 1 for sampler in ("ddim", "heun", "dpm-solver") for n in (5, 10, 20, 50))
    assert lost("ddim", 100) == 1 and lost("heun", 100) == lost("dpm-solver", 100) == 0
    assert shown(entry, "ddpm, 50 evaluations - ddpm, 1000 evaluations", "frechet distance") == 1
    falling = {sampler: [] for sampler in ("ddpm", "ddim", "heun", "dpm-solver")}
    for sampler, values in falling.items():
        for n in (5, 10, 20, 50, 100):
            found = entry["metrics"][f"{sampler}, {n} evaluations: frechet distance"]
            values.append(found["value"])
        assert values == sorted(values, reverse=True) and values[2] < 0.25 * values[0], sampler
        assert (
            found["low"] > found["floor_high"]
        )  # the network's own error: real digits are nearer than any solver comes
    thousand = [entry["metrics"][f"{sampler}, 1000 evaluations: frechet distance"] for sampler in ("ddpm", "ddim")]
    assert all(found["low"] > found["floor_high"] for found in thousand)
    of_noise = {"precision": [1] * 5, "density": [1] * 5, "coverage": [1] * 5, "recall": [-1, -1, 0, 0, -1]}
    for metric, expected in of_noise.items():
        pairs = [f"ddpm, {n} evaluations - ddim, {n} evaluations" for n in (5, 10, 20, 50, 1000)]
        assert [shown(entry, pair, metric) for pair in pairs] == expected, metric


def test_what_chapter_6_says_of_its_scales_and_remedies_is_what_was_measured() -> None:
    scales = (1, 1.1, 1.2, 1.3, 1.5, 2, 3, 5, 8)
    pairs = [f"scale {after:g} - scale {before:g}" for before, after in pairwise(scales)]
    assert [shown(ENTRIES["sweep: cifar10-cfg"], pair, "frechet distance") for pair in pairs] == [-1] * 6 + [1] * 2
    assert [shown(ENTRIES["sweep: mnist-cfg"], pair, "frechet distance") for pair in pairs][4:] == [1] * 4
    assert shown(ENTRIES["sweep: mnist-cfg"], "scale 1.2 - scale 1", "frechet distance") == 0
    entry = ENTRIES["sweep: remedies"]
    for way in ("dynamic threshold", "rescaled"):
        pair = f"{way} - scale 8, clipped"
        assert shown(entry, pair, "saturated") == -1 and shown(entry, pair, "recall") == 0
        assert shown(entry, pair, "frechet distance") >= 0
    interval = partial(shown, entry, "interval 200 to 800 - scale 8, clipped")
    assert (
        interval("recall") == interval("precision") == 1 and interval("frechet distance") == interval("accuracy") == -1
    )
    found = by_setting(entry["metrics"])
    middle, three = found["interval 200 to 800"], found["scale 3"]
    assert middle["frechet distance"]["value"] <= three["frechet distance"]["value"]
    assert middle["accuracy"]["value"] >= three["accuracy"]["value"]


def test_what_chapter_7_says_of_the_luck_of_training_is_what_was_measured() -> None:
    found = by_setting(ENTRIES["training seeds"]["metrics"])
    spread, error = found["between seeds"], found["standard error of a draw"]
    assert spread["frechet distance"]["value"] > 1.3 * error["frechet distance"]["value"]
    assert all(spread[metric]["value"] <= error[metric]["value"] for metric in ("precision", "recall"))
    assert sum(setting.startswith("seed ") for setting in found) == ENTRIES["training seeds"]["options"]["seeds"] == 5
    values = torch.tensor(
        [found[f"seed {seed}"]["frechet distance"]["value"] for seed in range(5)], dtype=torch.float64
    )
    assert spread["frechet distance"]["value"] == pytest.approx(float(values.std()), abs=1e-4)
    # a table of chi-square: the interval of a spread of five values ends at 2.874 times itself
    assert spread["frechet distance"]["high"] == pytest.approx(2.8736 * float(values.std()), rel=1e-3)


def test_what_chapter_5_says_of_its_scales_is_what_was_measured() -> None:
    entry = ENTRIES["sweep: classifier"]
    steps = {"1": "0.5", "2": "1", "4": "2", "8": "4", "16": "8"}
    found = {after: partial(shown, entry, f"scale {after} - scale {before}") for after, before in steps.items()}
    assert found["2"]("accuracy") == found["2"]("precision") == 1 and found["2"]("frechet distance") == -1
    assert found["2"]("recall") == 0 and found["4"]("frechet distance") == 0
    assert found["8"]("frechet distance") == found["16"]("frechet distance") == 1 and found["8"]("recall") == -1
    half = partial(shown, entry, "scale 0.5 - scale 0")
    assert half("accuracy") == half("frechet distance") == 1 and half("precision") == -1
    swept = by_scale(entry["metrics"])
    assert min(swept, key=lambda scale: swept[scale]["frechet distance"]["value"]) in (2, 4)


def test_the_accuracy_score_was_measured_at_every_scale_and_real_digits_are_the_best_teachers() -> None:
    metrics = by_setting(ENTRIES["classification accuracy score"]["metrics"])
    scores = {setting: found["classification accuracy score"]["value"] for setting, found in metrics.items()}
    assert set(scores) == {"real digits", *(f"scale {scale:g}" for scale in accuracy_score.SCALES)}
    assert max(scores, key=lambda setting: scores[setting]) == "real digits" and min(scores.values()) > 0.5


def small_sweep(asked: list[str], stop_once: str = "") -> sweeps.Sweep:
    """Two settings of noise images: the second is the first, a little darker."""

    def setting(name: str) -> sweeps.Draw:
        def draw(labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            asked.append(name)
            if name == stop_once and asked.count(name) == 1:
                raise KeyboardInterrupt
            return torch.rand(len(labels), 1, 28, 28, generator=generator) * 2 - (1 if name == "one" else 1.05)

        return draw

    return sweeps.Sweep({}, "mnist", True, {name: setting(name) for name in ("one", "two")}, [("two", "one")])


def test_a_sweep_goes_on_where_it_was_stopped_and_draws_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    monkeypatch.setitem(sweeps.SWEEPS, "samplers", lambda: small_sweep(asked, stop_once="two"))

    def run(task: str, n: int, drawn: str = "drawn") -> None:
        options = ["--n", str(n), "--drawn", str(tmp_path / drawn), "--out", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", ["sweeps", task, "samplers", *options])
        sweeps.main()

    with pytest.raises(KeyboardInterrupt):
        run("draw", 200)
    run("draw", 200)
    assert asked == ["one", "two", "two", "one", "two"]
    run("draw", 200, "unbroken")
    for file in sorted((tmp_path / "unbroken").rglob("*.safetensors")):
        again = tmp_path / "drawn" / file.relative_to(tmp_path / "unbroken")
        assert torch.equal(load_tensors(file)[0]["images"], load_tensors(again)[0]["images"])
    run("measure", 200)
    entry = json.loads((tmp_path / "sweep-samplers.json").read_text())
    assert {"one: frechet distance", "two: frechet distance", "two: saturated"} <= set(entry["metrics"])
    one, two = (entry["metrics"][f"{name}: frechet distance"] for name in ("one", "two"))
    difference = entry["differences"]["two - one: frechet distance"]
    assert difference["value"] == pytest.approx(two["value"] - one["value"], abs=2e-5) and difference["n"] == 200
    # the noise is the same, so the difference is known better than either
    assert difference["high"] - difference["low"] < 0.7 * (two["high"] - two["low"])


def test_a_setting_that_was_drawn_less_often_is_compared_at_its_own_number(tmp_path: Path) -> None:
    sweep = small_sweep([])
    list(sweeps.draw_sweep(sweep, tmp_path, 100))
    kept = sweeps.measure_settings(sweep, tmp_path, 100, {})
    list(sweeps.draw_sweep(sweep, tmp_path, 200, only="one"))
    found = sweeps.ledger_of(sweep, sweeps.measure_settings(sweep, tmp_path, 200, {}), 200)
    assert {key.partition(":")[0] for key in found["metrics"]} == {"one"}
    assert found["differences"]["two - one: frechet distance"]["n"] == 100
    # also where the other setting was drawn on another machine, and only what was measured of it is here
    shutil.rmtree(sweeps.batch_file(tmp_path, "two", 0).parent)
    again = sweeps.ledger_of(sweep, sweeps.measure_settings(sweep, tmp_path, 200, kept), 200)
    assert again["differences"]["two - one: frechet distance"] == found["differences"]["two - one: frechet distance"]


def test_a_sweep_is_put_together_from_the_settings_of_several_machines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sweeps.SWEEPS, "samplers", lambda: small_sweep([]))

    def run(task: str, drawer: str, *more: str, n: int = 100) -> dict:
        options = ["--n", str(n), "--drawn", str(tmp_path / drawer), "--out", str(tmp_path), *more]
        monkeypatch.setattr(sys, "argv", ["sweeps", task, "samplers", *options])
        sweeps.main()
        return json.loads((tmp_path / "sweep-samplers.json").read_text()) if task == "measure" else {}

    for drawer in ("first", "second", "both"):
        run("draw", drawer, "--only", {"first": "one", "second": "two", "both": ""}[drawer])
    alone = run("measure", "first")
    assert {key.partition(":")[0] for key in alone["metrics"]} == {"one"} and not alone["differences"]
    together, parts = run("measure", "second"), tmp_path / "parts" / "sweep-samplers.json"
    parts.rename(tmp_path / "of two machines.json")
    whole = run("measure", "both")
    for what in ("metrics", "differences"):
        assert together[what].keys() == whole[what].keys()
        for key, found in whole[what].items():
            assert together[what][key] == pytest.approx(found, abs=1.1e-5), key
    # fewer images than were measured before change nothing; other weights make all of it void
    (tmp_path / "of two machines.json").rename(parts)
    run("draw", "third", n=200), run("measure", "third", n=200)
    kept = json.loads(parts.read_text())
    assert {*kept["settings"]["one"]["metrics"]} == {"100", "200"}  # as many as the other was measured at, too
    run("measure", "both")
    assert json.loads(parts.read_text()) == kept
    parts.write_text(json.dumps(kept | {"weights": {"another": "0"}}))
    assert {key.partition(":")[0] for key in run("measure", "first")["metrics"]} == {"one"}


def test_measurements_are_medians_with_their_ends() -> None:
    assert measured([3.0, 1.0, 10.0]) == {"value": 3.0, "low": 1.0, "high": 10.0}
    assert machine()["threads"] >= 1 and "torch" in machine()


def test_what_other_graders_execute_trains_nothing_and_is_otherwise_what_is_handed_in() -> None:
    for name in ("a02", "a03", "a05"):
        assignment = read_assignment(name)
        handed_in = nbformat.reads(submission(assignment, 1).decode(), as_version=4).cells
        executed = plain(assignment, 1).cells
        home = [bool(cell.metadata.get("course", {}).get("home")) for cell in handed_in]
        assert any(home) and submission(assignment, 1) != submission(assignment, 2)
        for one, other, trains in zip(handed_in, executed, home, strict=True):
            assert other.source == ("" if trains else one.source)
