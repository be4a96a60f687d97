"""Wrong input to every command: one clear line, exit status 1 or 2, before any long work, and every file as it was."""

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from course.cli import app
from course_lib.models import store
from course_lib.models.cards import LATER, load_card
from course_lib.nets.unet import UNet
from course_lib.recipes.rows import RECIPES, TRAINING
from course_lib.training.runs import Run

RUNNER = CliRunner()
A01 = "a01_closed_form"
OPTIONS = {
    "recipe": "digits-ddpm",
    "steps": 2,
    "batch_size": 8,
    "seed": 0,
    "parts": 1,
    "compiled": False,
    "checkpointing": False,
    "bf16": False,
}
LONG = "x" * 300


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model with three classes, one without, a file, a folder, a submission, a run, and a result."""
    world = tmp_path_factory.mktemp("prepared")
    card = load_card(store.SHIPPED / "mnist-ddpm.json")
    for name, classes in (("with.safetensors", 3), ("without.safetensors", None)):
        torch.manual_seed(0)
        network = UNet(width=8, multipliers=(1,), attention=(), classes=classes)
        store.save(world / name, network, dataclasses.replace(card, config=network.config, image_shape=[1, 8, 8]))
    (world / "file").write_text("old")
    (world / "old.json").write_text("old")
    (world / "folder").mkdir()
    (world / "loop").symlink_to("loop")
    (world / "submitted" / "ana" / A01).mkdir(parents=True)
    (world / "submitted" / "ana" / A01 / "topic.ipynb").write_text("{}")
    Run.open(world / "run", False, OPTIONS).begin()
    (world / "results").mkdir()
    return world


@pytest.fixture
def world(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder as the working directory, in which nothing long may begin."""
    shutil.copytree(prepared, tmp_path / "world", symlinks=True)
    monkeypatch.chdir(tmp_path / "world")
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "world" / "data"))
    for work in (
        "course_lib.sampling.generate.draw",
        "course_lib.evaluation.evaluate.compare",
        "course_lib.training.loop.batch_rows",
        "course_lib.data.download.fetch",
        "autograder.grading.many.grade_all",
        "autograder.assignment.check.run",
    ):
        monkeypatch.setattr(work, begun)
    return tmp_path / "world"


def begun(*arguments: Any, **options: Any) -> None:
    pytest.fail("the work began")


def files(world: Path) -> dict[str, bytes]:
    """Every file below a folder, with what it holds."""
    return {str(file.relative_to(world)): file.read_bytes() for file in world.rglob("*") if file.is_file()}


def refused(world: Path, arguments: list[str], word: str) -> Result:
    """Run a command that must be refused with a line that holds `word`."""
    before = files(world)
    done = RUNNER.invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code in (1, 2), done.output
    assert "Traceback" not in done.output
    assert done.stdout.strip() == ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if done.exit_code == 1:
        assert len(lines) == 1 and lines[0].startswith("error: ") and lines[0] != "error: ", lines
    else:
        lines = [line for line in lines if line.startswith("│")]
        assert len(lines) == 1, done.stderr
    assert word in lines[0], lines[0]
    assert files(world) == before
    return done


# Where no file can be written, and what of it the line must say.
NO_FILES = {
    "file/x.png": "file/x.png",
    "file/x/y.png": "file/x/y.png",
    "/proc/x.png": "/proc/x.png",
    "/proc/x/y.png": "/proc/x/y.png",
    "/sys/x.png": "/sys/x.png",
    "/dev/full": "/dev/full",
    "/dev/null": "/dev/null",
    "folder": "folder",
    ".": " is a ",
    f"folder/{LONG}.png": LONG,
    f"{LONG}/x.png": LONG,
    "loop/x.png": "loop/x.png",
    "folder/nul\0byte.png": "NUL byte",
    "folder/\ud800.png": "cannot be encoded",
}
NO_FOLDERS = {
    "file": "file",
    "file/x": "file/x",
    "/proc/x": "/proc/x",
    "/sys/x": "/sys/x",
    "/dev/null": "/dev/null",
    f"folder/{LONG}": LONG,
    "loop": "loop",
    "nul\0byte": "NUL byte",
    "\ud800": "cannot be encoded",
}
GRADE = ["grade", "submitted", "--assignment", "a01"]
DRAW, DESIGN = ["draw", "a small red circle", "--out"], ["design", "--class", "dress", "--sheet"]
TO_FILES = {
    "draw": DRAW,
    "design": DESIGN,
    "sample": ["sample", "without.safetensors", "--out"],
    "evaluate": ["evaluate", "mnist-ddpm", "--out"],
    "grade": [*GRADE, "--json"],
}
TO_FOLDERS = {
    "train": ["train", "digits-ddpm", "--steps", "1", "--batch-size", "2", "--out"],
    "export": ["export", "without.safetensors", "--to", "diffusers", "--out"],
    "build": ["assignments", "build", "a01", "--out"],
    "grade": [*GRADE, "--out"],
    "feedback": [*GRADE, "--feedback"],
    "gradescope": [*GRADE, "--gradescope"],
}


@pytest.mark.parametrize("path", NO_FILES, ids=ascii)
@pytest.mark.parametrize("command", TO_FILES)
def test_a_place_for_no_file_is_refused_before_the_work(command: str, path: str, world: Path) -> None:
    refused(world, [*TO_FILES[command], path], NO_FILES[path])


@pytest.mark.parametrize("path", NO_FOLDERS, ids=ascii)
@pytest.mark.parametrize("command", TO_FOLDERS)
def test_a_place_for_no_folder_is_refused_before_the_work(command: str, path: str, world: Path) -> None:
    refused(world, [*TO_FOLDERS[command], path], NO_FOLDERS[path])


NO_MODELS = {
    "nowhere": "nowhere",
    "": "model.json",
    "file": "file.json, the model's card, does not exist",
    "folder": "folder/model.json, the model's card, does not exist",
    "/dev/full": "/dev/full.json",
    "/proc/self/mem": "/proc/self/mem.json",
    LONG: LONG,
    f"{LONG}/x": LONG,
    "[red]bold[/nothing]": "[red]bold[/nothing]",
    "loop": "loop",
    "nul\0byte": "NUL byte",
    "\ud800": "cannot be encoded",
}


@pytest.mark.parametrize("path", NO_MODELS, ids=ascii)
@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_what_is_no_model_is_refused(command: str, path: str, world: Path) -> None:
    refused(world, [command, path], NO_MODELS[path])


CARD = load_card(store.SHIPPED / "mnist-ddpm.json")
NO_CARDS: dict[str, tuple[Any, str]] = {
    "bracket": (b"{", "is damaged"),
    "list": (b"[]", "is damaged"),
    "null": (b"null", "is damaged"),
    "number": (b"1", "is damaged"),
    "empty": (b"", "is damaged"),
    "bytes": (b"\xff\xfe", "is damaged"),
    "deep": (b"[" * 200_000, "is damaged"),
    "huge number": (b'{"steps": ' + b"1" * 5000 + b"}", "is damaged"),
    "surprise": ({"surprise": 1}, "unknown entries surprise"),
    **{f"no {name}": ({name: ...}, f"has no {name}") for name in vars(CARD) if name not in LATER},
    **{f"{name} of no name": ({name: {"sha256": "0"}}, "has no model") for name in LATER},
    **{f"{name} of another kind": ({name: None}, f"its {name} must be of type") for name in vars(CARD)},
    "true for a number": ({"steps": True}, "its steps must be of type int; got True"),
    "architecture": ({"architecture": "Oracle"}, "says 'Oracle'"),
    "prediction": ({"prediction": "future"}, "its prediction must be one of eps, x0"),
    "no shape": ({"image_shape": []}, "its image_shape"),
    "shape of text": ({"image_shape": ["1", 8, 8]}, "its image_shape"),
    "shape of zeros": ({"image_shape": [1, 0, 8]}, "its image_shape"),
    "other channels": ({"image_shape": [3, 8, 8]}, "its network has 1 channels, and its images 3"),
    "config's names": ({"config": {"wdith": 8}}, "arguments of UNet are wrong"),
    "config's kinds": ({"config": {"width": "8"}}, "arguments of UNet are wrong"),
    "config below zero": ({"config": {"width": -8}}, "arguments of UNet are wrong"),
    "config of no list": ({"config": {"multipliers": 1}}, "arguments of UNet are wrong"),
    "config without levels": ({"config": {"multipliers": []}}, "arguments of UNet are wrong"),
    "config beyond memory": ({"config": {"width": 10**9}}, "arguments of UNet are wrong"),
    "another network": ({"config": {"width": 16, "multipliers": [1], "attention": []}}, "weights of another network"),
    "schedule": ({"schedule": {"name": "secret"}}, "schedule must be one of"),
    "schedule without name": ({"schedule": {}}, "schedule must be one of"),
    "schedule's names": ({"schedule": {"name": "cosine", "S": 1}}, "arguments of cosine are wrong"),
    "schedule's kinds": ({"schedule": {"name": "cosine", "T": "x"}}, "arguments of cosine are wrong"),
    "schedule of nothing": ({"schedule": {"name": "cosine", "T": 0}}, "arguments of cosine are wrong"),
    "checksum": ({"sha256": "0"}, "SHA-256 differs"),
}


@pytest.mark.parametrize("name", NO_CARDS)
def test_a_wrong_card_is_refused(name: str, world: Path) -> None:
    change, word = NO_CARDS[name]
    write_json(world / "without.json", change)
    refused(world, ["sample", "without.safetensors"], word)


def write_json(file: Path, change: Any) -> None:
    """Put bytes into a JSON file, or change its entries; `...` takes one away."""
    if isinstance(change, bytes):
        file.write_bytes(change)
    else:
        changed = json.loads(file.read_text()) | change
        file.write_text(json.dumps({name: value for name, value in changed.items() if value is not ...}))


NO_RUNS: dict[str, tuple[Any, str]] = {
    "bracket": (b"{", "is damaged"),
    "list": (b"[]", "is damaged"),
    "bytes": (b"\xff", "is damaged"),
    "no options": ({"options": ...}, "has no options"),
    "no minutes": ({"minutes": ...}, "has no minutes"),
    "minutes of text": ({"minutes": "1"}, "its minutes must be"),
    "options of a list": ({"options": []}, "its options must be"),
    "empty options": ({"options": {}}, "has no recipe"),
    "an unknown option": ({"options": {**OPTIONS, "surprise": 1}}, "unknown options surprise"),
    "steps of text": ({"options": {**OPTIONS, "steps": "2"}}, "its steps must be of type int"),
    "parts that do not divide": ({"options": {**OPTIONS, "parts": 3}}, "parts must be"),
    "steps below one": ({"options": {**OPTIONS, "steps": 0}}, "steps must be at least 1"),
    "another recipe": ({"options": {**OPTIONS, "recipe": "mnist-cfg"}}, "recipe was mnist-cfg and is now digits-ddpm"),
}


@pytest.mark.parametrize("name", NO_RUNS)
def test_a_wrong_run_is_refused(name: str, world: Path) -> None:
    change, word = NO_RUNS[name]
    write_json(world / "run" / "run.json", change)
    refused(world, ["train", "digits-ddpm", "--out", "run", "--resume"], word)


@pytest.mark.parametrize(
    ("option", "word"),
    [
        (["--parts", "2"], "parts was 1 and is now 2"),
        (["--compile"], "compiled was False and is now True"),
        (["--checkpointing"], "checkpointing was False and is now True"),
        (["--steps", "3"], "steps was 2 and is now 3"),
        (["--batch-size", "4", "--seed", "1"], "batch_size was 8 and is now 4, seed was 0 and is now 1"),
    ],
)
def test_a_run_is_not_resumed_with_another_option(option: list[str], word: str, world: Path) -> None:
    refused(world, ["train", "digits-ddpm", "--out", "run", "--resume", *option], word)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100, "without.safetensors"])
def test_a_wrong_state_is_refused(content: bytes | str, world: Path) -> None:
    state = (world / content).read_bytes() if isinstance(content, str) else content
    (world / "run" / "state.safetensors").write_bytes(state)
    refused(world, ["train", "digits-ddpm", "--out", "run", "--resume"], "state.safetensors")


ENTRY = {"model": "m", "options": {}, "metrics": {"a": {"value": 1.0, "low": 0.5, "high": 1.5}}}
NO_ENTRIES: dict[str, tuple[Any, str]] = {
    "bracket": (b"{", "is damaged"),
    "list": (b"[]", "is damaged"),
    "bytes": (b"\xff", "is damaged"),
    "deep": (b"[" * 200_000, "is damaged"),
    "no model": ({"model": ...}, "has no model"),
    "model of a number": ({"model": 1}, "its model must be"),
    "no options": ({"options": ...}, "has no options"),
    "options of a list": ({"options": []}, "its options must be"),
    "no metrics": ({"metrics": ...}, "has no metrics"),
    "metrics of text": ({"metrics": "a"}, "its metrics must be"),
    "a metric of a number": ({"metrics": {"a": 1}}, "of a, it holds a int"),
    "a metric without value": ({"metrics": {"a": {"low": 1}}}, "of a, it has no value"),
    "a value of text": ({"metrics": {"a": {"value": "1"}}}, "of a, its value must be"),
    "a value of nothing": ({"metrics": {"a": {"value": None}}}, "of a, its value must be"),
    "an end of text": ({"metrics": {"a": {"value": 1, "low": "0"}}}, "of a, its low must be"),
    "a floor of text": ({"metrics": {"a": {"value": 1, "floor": []}}}, "of a, its floor must be"),
}


@pytest.mark.parametrize("name", NO_ENTRIES)
def test_a_wrong_result_is_refused(name: str, world: Path) -> None:
    change, word = NO_ENTRIES[name]
    (world / "results" / "wrong.json").write_text(json.dumps(ENTRY))
    write_json(world / "results" / "wrong.json", change)
    assert "results/wrong.json" in refused(world, ["ledger", "results"], word).stderr


SAMPLE, EVALUATE = ["sample", "with.safetensors"], ["evaluate", "mnist-ddpm"]
TRAIN = ["train", "digits-ddpm", "--out", "new"]
WRONG: list[tuple[list[str], str]] = [
    *[
        ([*command, "--n", n], "--n")
        for command in (SAMPLE, EVALUATE)
        for n in ("0", "-1", "x", "1.5", "nan", "1e9", "")
    ],
    ([*SAMPLE, "--n", str(10**12)], "--n"),
    ([*EVALUATE, "--n", str(10**12)], "n must lie in [100, 5000]"),
    *[([*command, "--steps", n], "--steps") for command in (SAMPLE, EVALUATE, TRAIN) for n in ("0", "-3", "x", "2.5")],
    *[([*command, "--seed", n], "--seed") for command in (SAMPLE, EVALUATE, TRAIN) for n in ("-1", str(2**64), "x")],
    *[([*SAMPLE, "--scale", s], "scale must be finite") for s in ("nan", "inf", "-inf", "1e999")],
    *[([*EVALUATE, "--scale", s], "scale must be finite") for s in ("nan", "inf")],
    ([*SAMPLE, "--scale", "x"], "--scale"),
    (["sample", "without.safetensors", "--scale", "3"], "scale 3 would guide nothing"),
    ([*EVALUATE, "--scale", "0"], "scale 0 would guide nothing"),
    *[([*SAMPLE, "--label", label], "label must lie in [0, 2]") for label in ("-1", "3", "99", str(10**30))],
    ([*SAMPLE, "--label", "x"], "--label"),
    (["sample", "without.safetensors", "--label", "0"], "cannot draw label 0"),
    (["draw", "a tiny red circel", "--out", "new.png"], "unknown words: tiny, circel; known are a, above"),
    (["draw", "", "--out", "new.png"], "a caption must read"),
    (["draw", "red circle", "--out", "new.png"], "a caption must read"),
    ([*DRAW, "new.png", "--negative", "a small pink cross"], "unknown words: pink"),
    ([*DRAW, "new.png", "--negative", "a small white cross", "--scale", "1"], "at scales above 1; got 1"),
    ([*DRAW, "new.png", "--negative", "a small white cross", "--scale", "0"], "at scales above 1; got 0"),
    ([*DRAW, "new.png", "--negative", ""], "a caption must read"),
    *[([*command, "new.png", "--scale", "inf"], "scale must be finite") for command in (DRAW, DESIGN)],
    *[([*command, "new.png", "--scale", s], "--scale") for command in (DRAW, DESIGN) for s in ("-1", "nan")],
    *[([*command, "new.png", "--n", "0"], "--n") for command in (DRAW, DESIGN)],
    ([*DESIGN, "new.png", "--model", "fashion-cfg"], "not trained to hear wishes"),
    ([*DESIGN, "new.png", "--length", "1.5"], "length must lie in [0, 1]"),
    ([*DESIGN, "new.png", "--like", "nowhere.png"], "nowhere.png"),
    ([*DESIGN, "new.png", "--change", "0.3"], "give the picture with --like"),
    ([*DESIGN, "new.png", "--change", "2"], "--change"),
    (["design", "--class", "dres", "--sheet", "new.png"], "did you mean 'dress'"),
    (["design", "--class", "bag", "--sleeves", "0.5", "--sheet", "new.png"], "a bag has no sleeves"),
    ([*DRAW, "new.png", "--model", "mnist-cfg"], "mnist-cfg was not trained with captions"),
    ([*DRAW, "new.png", "--lora", "nowhere.safetensors"], "nowhere.safetensors"),
    ([*DRAW, "new.png", "--model", "scenes-clip"], "matches pictures and captions"),
    (["evaluate", "with.safetensors", "--n", "9999"], "n must lie in [100, 5000]"),
    (["evaluate", "digits-ddpm"], "digits-ddpm draws what none of the classifiers knows"),
    (["sample", "mnist-classifier"], "is a classifier"),
    (["evaluate", "mnist-classifier"], "mnist is not in"),
    ([*TRAIN, "--batch-size", "0"], "--batch-size"),
    ([*TRAIN, "--batch-size", "100000"], "batch_size must lie in [1, 1500]"),
    ([*TRAIN, "--parts", "0"], "--parts"),
    ([*TRAIN, "--parts", "7"], "parts must be a multiple"),
    (["train", "digits-ddpm"], "--out"),
    (["train", "minst-ddpm", "--out", "new"], "did you mean 'mnist-ddpm'"),
    (["train", "", "--out", "new"], "recipe must be one of"),
    (["train", "digits-ddpm", "--out", "run"], "already holds a run"),
    (["train", "mnist-ddpm", "--out", "new"], "mnist is not in"),
    (["ledger", "nowhere"], "nowhere is no folder of results"),
    (["ledger", "file"], "file is no folder of results"),
    (["ledger", "/dev/null"], "/dev/null is no folder of results"),
    (["ledger", LONG], LONG),
    (["ledger", "nul\0byte"], "NUL byte"),
    (["assignments", "build", "a99"], "'a99'"),
    (["assignments", "build", ""], "''"),
    (["assignments", "build", "a01", "../a01"], "'../a01'"),
    (["check", "a01", "nowhere.ipynb"], "nowhere.ipynb"),
    (["check", "a01", "folder"], "folder"),
    (["check", "a01", "file"], "not a Jupyter notebook"),
    (["check", "a01", "/dev/zero"], "zero is no ordinary file"),
    (["check", "a01", f"submitted/ana/{A01}/topic.ipynb"], "not a Jupyter notebook"),
    (["check", "a01", LONG], LONG),
    (["grade", "nowhere", "--assignment", "a01"], "nowhere/<student>"),
    (["grade", "file", "--assignment", "a01"], "file/<student>"),
    (["grade", "submitted", "--assignment", "a99"], "'a99'"),
    (["grade", "submitted", "--assignment", "a02"], "no submission of a02"),
    (["grade", LONG, "--assignment", "a01"], LONG),
    ([*GRADE, "--jobs", "0"], "--jobs"),
    ([*GRADE, "--jobs", "x"], "--jobs"),
    (["grade", "submitted"], "--assignment"),
    (["sample"], "model"),
    (["sampel"], "sampel"),
    (["sample", "with.safetensors", "--stesp", "3"], "--stesp"),
]


@pytest.mark.parametrize(("arguments", "word"), WRONG, ids=[ascii(" ".join(arguments)[:60]) for arguments, _ in WRONG])
def test_a_wrong_argument_is_refused(
    arguments: list[str], word: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*arguments: Any) -> str:
        from requests import ConnectionError

        raise ConnectionError("none")

    monkeypatch.setattr("course_lib.data.download.fetch", no_network)
    refused(world, arguments, word)


@pytest.mark.parametrize("arguments", [SAMPLE, EVALUATE])
@pytest.mark.parametrize(
    ("option", "word"), [(["--sampler", "dimm"], "did you mean 'ddim'"), (["--steps", "2000"], "1000")]
)
def test_what_the_sampler_refuses_is_a_line(
    arguments: list[str], option: list[str], word: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(world)
    refused(world, [*arguments, *option], word)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A disk without space: what is written cannot be kept."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    yield


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([*SAMPLE, "--out", "old.json"], "old.json"),
        ([*SAMPLE, "--out", "new.png"], "new.png"),
        ([*EVALUATE, "--out", "old.json"], "old.json"),
        ([*EVALUATE, "--out", "new/a.json"], "new/a.json"),
        ([*TRAIN, "--steps", "1", "--batch-size", "2"], "new/run.json"),
        (["train", "digits-ddpm", "--out", "run", "--resume"], "run/run.json"),
        (["assignments", "build", "a01", "--out", "folder"], "folder/release"),
        ([*GRADE, "--out", "folder"], "folder/secret"),
        ([*GRADE, "--json", "old.json", "--out", "folder"], "folder/secret"),
    ],
    ids=" ".join,
)
def test_a_full_disk_is_one_line_and_leaves_every_file_as_it_was(
    arguments: list[str], word: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("course_lib.sampling.generate.draw_batches", lambda *a, **k: torch.zeros(1, 1, 8, 8))
    monkeypatch.setattr("course_lib.evaluation.evaluate.evaluate", lambda *a: ENTRY)
    before = files(world)
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert f"{word}" in done.stderr and "No space left on device" in done.stderr
    assert done.stderr.count("error:") == 1
    assert files(world) == before


def test_an_interruption_is_one_line(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("course_lib.sampling.generate.draw_batches", interrupted)
    monkeypatch.setattr("course_lib.training.loop.batch_rows", interrupted)
    done = RUNNER.invoke(app, SAMPLE)
    assert done.exit_code == 130 and done.stderr == "error: stopped\n"
    done = RUNNER.invoke(app, [*TRAIN, "--batch-size", "2"])
    assert done.exit_code == 130 and "--resume goes on with the run in new" in done.stderr


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=lambda error: type(error).__name__,
)
def test_too_little_memory_says_what_to_ask_for(
    error: BaseException, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("course_lib.sampling.generate.draw_batches", full)
    refused(world, SAMPLE, "not enough memory")


def test_a_package_without_assignments_says_that_a_checkout_is_needed(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autograder.assignment.source.SOLUTIONS", world / "nowhere")
    for command in (GRADE, ["assignments", "build"]):
        refused(world, command, "needs a checkout of the course")


def test_every_recipe_is_of_a_known_set() -> None:
    assert {recipe.dataset for recipe in RECIPES.values()} <= TRAINING.keys()
