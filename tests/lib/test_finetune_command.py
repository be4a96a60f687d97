"""The command `course finetune`: what it learns is drawn by `course sample`, and wrong input is one clear line, before any work."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from course.cli import app
from course.finetuning import fitted
from course_lib.models import store
from course_lib.models.cards import load_card
from course_lib.models.tensors import load_tensors
from course_lib.nets.unet import UNet
from course_lib.recipes.pupils import meaning
from tests.lib.commands import RUNNER, finetune_command, refused

COMMAND = finetune_command("model.safetensors")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a small model of three classes, six pictures of many kinds, and what is said of them."""
    card = load_card(store.SHIPPED / "mnist-ddpm.json")
    for name, classes in (("model", 3), ("other", 3), ("plain", None)):
        torch.manual_seed(ord(name[0]))
        network = UNet(width=8, multipliers=(1,), attention=(), classes=classes)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.2 * torch.randn(parameter.shape)
        changed = dataclasses.replace(card, config=network.config, image_shape=[1, 8, 8])
        store.save(tmp_path / f"{name}.safetensors", network, changed)
    (tmp_path / "mine").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 14, 3), dtype=np.uint8)
    for number, mode in enumerate(("L", "RGB", "P", "L", "RGB", "1")):
        Image.fromarray(np.roll(pixels, number, 0)).convert(mode).save(tmp_path / "mine" / f"{number}.png")
    lines = ["0.png\theart", "1.png\theart", "", "2.png, star", "3.png,heart", "4.png , 1", "5.png , star"]
    (tmp_path / "said.txt").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    return tmp_path


@pytest.mark.parametrize("rank", [0, 2])
def test_what_was_taught_is_drawn(world: Path, rank: int) -> None:
    done = RUNNER.invoke(app, [*COMMAND, "--rank", str(rank), "--steps", "2", "--keep", "1", "--batch-size", "4"])
    assert done.exit_code == 0, done.output
    assert "6 pictures taught to model.safetensors" in done.output and "new words: heart, star" in done.output
    tensors, metadata = load_tensors(world / "out" / "lora.safetensors")
    assert metadata["words"] == '["heart", "star"]' and tensors["words"].shape[0] == 2
    assert (len(tensors) == 1) == (rank == 0)
    drawn = {}
    sample = ["sample", "model.safetensors", "--n", "2", "--steps", "2", "--scale", "2"]
    for name, options in {
        "old": ["--label", "1"],
        "with": ["--label", "1", "--lora", "out/lora.safetensors"],
        "heart": ["--word", "heart", "--lora", "out/lora.safetensors"],
        "star": ["--word", "star", "--lora", "out/lora.safetensors"],
        "number": ["--label", "4", "--lora", "out/lora.safetensors"],
    }.items():
        done = RUNNER.invoke(app, [*sample, *options, "--out", f"{name}.png"])
        assert done.exit_code == 0, done.output
        drawn[name] = (world / f"{name}.png").read_bytes()
    assert drawn["star"] == drawn["number"] != drawn["heart"]
    assert (drawn["old"] == drawn["with"]) == (rank == 0)  # a new word alone leaves the old classes as they were


def test_the_same_seed_learns_the_same(world: Path) -> None:
    files = []
    for seed in ("3", "3", "4"):
        assert RUNNER.invoke(app, [*COMMAND, "--steps", "2", "--keep", "0", "--seed", seed]).exit_code == 0
        files.append(load_tensors(world / "out" / "lora.safetensors")[1]["digest"])
    assert files[0] == files[1] != files[2]


def test_a_stopped_training_leaves_the_old_file(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "out").mkdir()
    (world / "out" / "lora.safetensors").write_text("old")

    def stop(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("course_lib.recipes.finetuning.fit", stop)
    done = RUNNER.invoke(app, [*COMMAND, "--keep", "0"])
    assert done.exit_code == 130 and "stopped" in done.stderr
    assert (world / "out" / "lora.safetensors").read_text() == "old"


def test_want_of_memory_is_one_line(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise torch.OutOfMemoryError("much")

    monkeypatch.setattr("course_lib.recipes.finetuning.fit", fail)
    refused([*COMMAND, "--keep", "0"], "not enough memory (a smaller --batch-size)")


WRONG: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "no separator": ("0.png heart", ("line 1 of said.txt must be a picture's name, a tab or a comma",)),
    "no caption": ("0.png,", ("line 1 of said.txt must be",)),
    "no name": (",heart", ("line 1 of said.txt must be",)),
    "twice": ("0.png,a\n0.png,b", ("line 2 of said.txt names 0.png again",)),
    "no text": (b"\xff\xfe\x00", ("said.txt is no text in UTF-8",)),
    "a picture that is not there": ("0.png,a\n7.png,a\n8.png,b", ("names 7.png, which is not in mine (2 such)",)),
    "a picture without a line": ("0.png,a\n1.png,a\n2.png,a\n3.png,a", ("says nothing of 4.png in mine (2 such)",)),
    "nothing": ("\n", ("says nothing of 0.png",)),
    "a class that is not there": (
        "0.png,3\n1.png,1\n2.png,1\n3.png,1\n4.png,1\n5.png,1",
        ("the caption of 0.png must be a class from 0 to 2, or a word; got 3",),
    ),
    "a class below zero": (
        "0.png,-1\n1.png,1\n2.png,1\n3.png,1\n4.png,1\n5.png,1",
        ("from 0 to 2, or a word; got -1",),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_captions_that_do_not_match_are_refused(world: Path, name: str) -> None:
    content, words = WRONG[name]
    (world / "said.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(COMMAND, *words)


def test_too_few_pictures_or_none_that_can_be_read_are_refused(world: Path) -> None:
    for number in (3, 4, 5):
        (world / "mine" / f"{number}.png").unlink()
    (world / "said.txt").write_text("0.png,a\n1.png,a\n2.png,a")
    refused(COMMAND, "must describe 4 to 1000 pictures", "it describes 3")
    (world / "mine" / "3.png").write_text("no picture")
    (world / "said.txt").write_text("0.png,a\n1.png,a\n2.png,a\n3.png,a")
    refused(COMMAND, "3.png holds no picture that can be read")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"model.safetensors": "plain.safetensors"},
            ("plain.safetensors is no model of pictures with classes or texts alone",),
        ),
        ({"model.safetensors": "mnist-classifier"}, ("is a classifier",)),
        ({"mine": "nowhere"}, ("nowhere is no folder",)),
        ({"said.txt": "nothing.txt"}, ("nothing.txt",)),
        ({"out/lora.safetensors": "said.txt/x.safetensors"}, ("said.txt/x.safetensors could not be written",)),
    ],
)
def test_wrong_arguments_are_refused(world: Path, change: dict[str, str], words: tuple[str, ...]) -> None:
    refused([change.get(argument, argument) for argument in COMMAND], *words)


def test_rank_0_without_a_new_word_is_refused(world: Path) -> None:
    (world / "said.txt").write_text("".join(f"{number}.png,1\n" for number in range(6)))
    refused([*COMMAND, "--rank", "0"], "rank 0 teaches new words alone")


def test_words_and_files_that_do_not_fit_are_refused(world: Path) -> None:
    assert RUNNER.invoke(app, [*COMMAND, "--steps", "1", "--keep", "0"]).exit_code == 0
    (world / "out" / "lora.safetensors").rename(world / "lora.safetensors")
    lora = ["--lora", "lora.safetensors"]
    refused(["sample", "model.safetensors", *lora, "--word", "horse"], "'horse' was not learned: it knows heart, star")
    refused(["sample", "model.safetensors", "--word", "heart"], "no --lora with new words is given")
    refused(
        ["sample", "model.safetensors", *lora, "--word", "heart", "--label", "1"],
        "--word and --label both name a class",
    )
    refused(["sample", "other.safetensors", *lora], "was fine-tuned from another model")
    refused(["sample", "model.safetensors", "--lora", "model.safetensors"], "is no file of `course finetune`")


def test_pictures_are_cut_to_the_middle_made_grey_and_brought_to_size() -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 30:50] = 255  # the middle square's right half is white
    image = Image.fromarray(pixels)
    found = fitted(image, (1, 8, 8), False)
    assert found.shape == (1, 8, 8) and found.dtype == torch.uint8
    assert int(found[..., :3].max()) < 30 and int(found[..., 5:].min()) > 225
    assert torch.equal(fitted(image, (1, 8, 8), True), 255 - found)
    assert torch.equal(fitted(image, (3, 8, 8), False), found.expand(3, 8, 8))


def test_numbers_are_classes_and_words_follow_them_in_order() -> None:
    labels, words = meaning({"a": "heart", "b": "2", "c": "star", "d": "heart"}, 5)
    assert (labels, words) == ([5, 2, 6, 5], ["heart", "star"])
    assert meaning({"a": "--5", "b": "1"}, 5) == ([5, 1], ["--5"])  # no number, so a word
