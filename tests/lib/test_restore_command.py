"""`course restore`, as a reader types it: known pixels stay, and what does not fit is one clear line."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from course.cli import app
from course_lib.data.degradations import Degraded, cropped
from course_lib.models import store
from course_lib.models.cards import load_card
from course_lib.nets.pictures import PictureUNet
from course_lib.nets.unet import UNet

RUNNER = CliRunner()


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    image = Image.fromarray(pixels.astype(np.uint8))
    (image.convert(mode) if mode else image).save(path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small networks with random weights, of grey and of colour pictures of 8 x 8, and pictures of many kinds."""
    world = tmp_path_factory.mktemp("pictures")
    card = load_card(store.SHIPPED / "mnist-ddpm.json")
    for name, channels in (("grey", 1), ("colour", 3), ("trained", 3)):
        torch.manual_seed(0)
        network = (
            PictureUNet(size=8, width=8, multipliers=(1,), attention=())
            if name == "trained"
            else UNet(channels=channels, width=8, multipliers=(1,), attention=())
        )
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
        changes = {
            "architecture": type(network).__name__,
            "config": network.config,
            "image_shape": [channels, 8, 8],
        }
        store.save(world / f"{name}.safetensors", network, dataclasses.replace(card, **changes))
    random = np.random.default_rng(0)
    save(world / "grey.png", random.integers(0, 256, (8, 8)))
    save(world / "small.png", random.integers(0, 256, (6, 4)))
    save(world / "inner.png", random.integers(0, 256, (6, 6, 3)))
    save(world / "rgb.png", random.integers(0, 256, (8, 8, 3)))
    save(world / "rgb-small.png", random.integers(0, 256, (5, 4, 3)))
    save(world / "large-rgb.png", random.integers(0, 256, (9, 10, 3)))
    save(world / "alpha.png", random.integers(0, 256, (8, 8, 4)))
    save(world / "large.png", random.integers(0, 256, (9, 10)))
    save(world / "grey-as-rgb.png", random.integers(0, 256, (8, 8)), "RGB")
    half = np.zeros((8, 8))
    half[:, 4:] = 255
    save(world / "mask.png", half)
    save(world / "mask-1.png", half, "1")
    save(world / "mask-small.png", half[:4])
    save(world / "mask-soft.png", half / 2)
    save(world / "mask-black.png", 0 * half)
    save(world / "mask-white.png", 0 * half + 255)
    save(world / "mask-red.png", half[..., None] * np.array([1, 0, 0]))
    Image.open(world / "rgb.png").save(world / "rgb.jpg", quality=5)
    (world / "text.png").write_text("no picture")
    (world / "cut.png").write_bytes((world / "rgb.png").read_bytes()[:90])
    return world


@pytest.fixture
def world(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(prepared)
    return prepared


def restore(*arguments: str) -> Result:
    return RUNNER.invoke(app, ["restore", *arguments, "--steps", "3"])


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


@pytest.mark.parametrize("method", ["pigdm", "dps", "repaint", "replacement"])
@pytest.mark.parametrize("mask", ["mask.png", "mask-1.png"])
def test_what_is_known_stays_to_the_last_bit_and_the_rest_depends_on_the_seed(
    world: Path, tmp_path: Path, method: str, mask: str
) -> None:
    found = []
    for seed in ("0", "0", "1"):
        out = tmp_path / "new" / f"{len(found)}.png"
        options = ["--model", "grey.safetensors", "--method", method, "--seed", seed, "--out", str(out)]
        done = restore("grey.png", "--task", "inpaint", "--mask", mask, *options)
        assert done.exit_code == 0, done.output
        found.append(pixels(out))
    assert found[0].shape == (8, 8)
    for one in found:
        assert np.array_equal(one[:, :4], pixels(world / "grey.png")[:, :4])
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0][:, 4:], found[2][:, 4:])


def test_a_smaller_picture_is_extended_around_its_place_in_the_middle(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    done = restore("small.png", "--task", "uncrop", "--model", "grey.safetensors", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert np.array_equal(pixels(out)[1:7, 2:6], pixels(world / "small.png"))


@pytest.mark.parametrize("picture", ["grey.png", "grey-as-rgb.png"])
def test_a_coloured_picture_has_the_grey_values_it_was_given(world: Path, tmp_path: Path, picture: str) -> None:
    out = tmp_path / "out.png"
    done = restore(picture, "--task", "colour", "--model", "colour.safetensors", "--out", str(out))
    assert done.exit_code == 0, done.output
    found = Image.open(out)
    assert found.mode == "RGB"
    inside = (pixels(out) > 0).all(-1) & (pixels(out) < 255).all(-1)  # a channel at its end gives way
    given = pixels(world / picture).reshape(8, 8, -1)[..., 0].astype(int)
    assert inside.any() and np.abs(np.array(found.convert("L")).astype(int) - given)[inside].max() <= 1


TRAINED = ["--model", "trained.safetensors"]


def test_a_model_that_was_trained_for_it_keeps_what_is_known_and_fills_in_the_rest(world: Path, tmp_path: Path) -> None:
    """What a mask leaves, what lies within the frame, and the grey values; what is filled in depends on the seed."""
    kept = {
        "inpaint": lambda x: np.array_equal(x[:, :4], pixels(world / "rgb.png")[:, :4]),
        "uncrop": lambda x: np.array_equal(x[1:7, 1:7], pixels(world / "inner.png")),
        "colour": lambda x: same_grey(x, pixels(world / "grey.png")),
    }
    of = {"inpaint": "rgb.png", "uncrop": "inner.png", "colour": "grey.png", "jpeg": "rgb.jpg"}
    for task, picture in of.items():
        found = []
        for seed in ("0", "0", "1"):
            out = tmp_path / task / f"{len(found)}.png"
            mask = ["--mask", "mask.png"] if task == "inpaint" else []
            done = restore(picture, "--task", task, *mask, *TRAINED, "--seed", seed, "--out", str(out))
            assert done.exit_code == 0, done.output
            assert f"({task}) from trained.safetensors, 3 steps" in " ".join(done.output.split())
            found.append(pixels(out))
        assert found[0].shape == (8, 8, 3)
        assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])
        assert all(kept.get(task, lambda x: True)(x) for x in found), task


def same_grey(x: np.ndarray, given: np.ndarray) -> bool:
    inside = (x > 0).all(-1) & (x < 255).all(-1)  # a channel at its end gives way
    grey = np.array(Image.fromarray(x).convert("L")).astype(int)
    return inside.any() and np.abs(grey - given)[inside].max() <= 1


def test_what_a_trained_model_is_shown_is_what_it_was_trained_on(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Degraded] = {}
    of = {"inpaint": "rgb.png", "uncrop": "inner.png", "colour": "grey.png", "jpeg": "rgb.jpg"}
    for task, picture in of.items():

        def told(model: object, left: Degraded, *_: object, task: str = task, **__: object) -> torch.Tensor:
            seen[task] = left
            return torch.zeros_like(left.shown)

        monkeypatch.setattr("course_lib.sampling.restoring.mended", told)
        mask = ["--mask", "mask.png"] if task == "inpaint" else []
        done = restore(picture, "--task", task, *mask, *TRAINED, "--n", "3", "--out", str(tmp_path / f"{task}.png"))
        assert done.exit_code == 0, done.output
        assert seen[task].condition.shape == (3, 4, 8, 8)
    x = torch.from_numpy(pixels(world / "rgb.jpg")).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(seen["jpeg"].shown, x.expand(3, -1, -1, -1))
    assert bool((seen["jpeg"].unknown == 1).all()) and bool((seen["colour"].unknown == 1).all())
    x = torch.from_numpy(pixels(world / "grey.png")) / 127.5 - 1
    torch.testing.assert_close(seen["colour"].shown, x.expand(3, 3, -1, -1))
    unknown = torch.zeros(8, 8)
    unknown[:, 4:] = 1
    assert torch.equal(seen["inpaint"].unknown, unknown.expand(3, 1, -1, -1))
    assert torch.equal(seen["uncrop"].unknown, cropped(torch.zeros(3, 3, 8, 8)).unknown)
    for task in ("inpaint", "uncrop"):
        left = seen[task]
        noise = left.shown[(left.unknown > 0).expand_as(left.shown)]
        assert abs(float(noise.std()) - 1) < 0.2 and not torch.equal(left.shown[0], left.shown[1]), task


def test_several_answers_come_on_one_sheet(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    options = ["--mask", "mask.png", "--model", "grey.safetensors", "--n", "4", "--out", str(out)]
    done = restore("grey.png", "--task", "inpaint", *options)
    assert done.exit_code == 0, done.output
    assert pixels(out).shape == (3 * (2 * 9 + 1), 3 * (2 * 9 + 1))


INPAINT, GREY, COLOUR = ["--task", "inpaint"], ["--model", "grey.safetensors"], ["--model", "colour.safetensors"]
MASK = ["--mask", "mask.png"]
WRONG: list[tuple[list[str], str]] = [
    (["rgb.jpg", "--task", "jpeg", *COLOUR], "needs a model that was trained for it, such as cifar10-palette"),
    (["rgb.jpg", "--task", "jpeg", *TRAINED, *MASK], "a mask goes with --task inpaint alone; got mask.png for jpeg"),
    (
        ["rgb.jpg", "--task", "jpeg", *TRAINED, "--method", "dps"],
        "there is no method to choose: leave out --method dps",
    ),
    (["rgb.png", *INPAINT, *MASK, *TRAINED, "--method", "pigdm"], "leave out --method pigdm"),
    (["rgb.jpg", "--task", "jpeg", *TRAINED, "--method", "dsp"], "did you mean 'dps'"),
    (["grey.png", "--task", "jpeg", *TRAINED], "trained.safetensors mends colour pictures; this one is grey"),
    (["large-rgb.png", "--task", "jpeg", *TRAINED], "the picture must be 8 x 8"),
    (["alpha.png", "--task", "jpeg", *TRAINED], "without transparency; its mode is RGBA"),
    (["text.png", "--task", "jpeg", *TRAINED], "text.png holds no picture that can be read"),
    (["rgb-small.png", "--task", "uncrop", *TRAINED], "the picture must be 6 x 6; got 4 x 5"),
    (["small.png", "--task", "uncrop", *TRAINED], "the picture must be 6 x 6; got 4 x 6"),
    (["rgb.png", "--task", "colour", *TRAINED], "task colour needs a grey picture"),
    (["grey.png", *INPAINT, *MASK, *TRAINED], "draws colour pictures; this one is grey"),
    (["grey.png", "--task", "inpiant"], "did you mean 'inpaint'"),
    (["grey.png", *INPAINT, *GREY], "task inpaint needs --mask"),
    (["grey.png", "--task", "colour", *MASK, *COLOUR], "a mask goes with --task inpaint alone"),
    (["nowhere.png", *INPAINT, *MASK, *GREY], "nowhere.png: No such file"),
    (["grey.png", *INPAINT, "--mask", "nowhere.png", *GREY], "nowhere.png: No such file"),
    ([".", *INPAINT, *MASK, *GREY], "holds no picture that can be read"),
    (["text.png", *INPAINT, *MASK, *GREY], "text.png holds no picture that can be read"),
    (["cut.png", *INPAINT, *MASK, *COLOUR], "cut.png holds no picture that can be read"),
    (["alpha.png", *INPAINT, *MASK, *COLOUR], "without transparency; its mode is RGBA"),
    (
        ["large.png", *INPAINT, *MASK, *GREY],
        "the picture must be 8 x 8, the size of grey.safetensors's pictures; got 10 x 9",
    ),
    (["large.png", "--task", "uncrop", *GREY], "extends a picture that is smaller than 8 x 8"),
    (["grey.png", "--task", "uncrop", *GREY], "extends a picture that is smaller than 8 x 8"),
    (["grey.png", *INPAINT, *MASK, *COLOUR], "draws colour pictures; this one is grey: choose --task colour"),
    (["rgb.png", *INPAINT, *MASK, *GREY], "draws grey pictures; this one is colour"),
    (["rgb.png", "--task", "colour", *COLOUR], "task colour needs a grey picture; this one is in colour"),
    (["grey.png", "--task", "colour", *GREY], "task colour needs a model of colour pictures"),
    (["grey.png", *INPAINT, "--mask", "mask-small.png", *GREY], "must have the picture's size, 8 x 8; got 8 x 4"),
    (["grey.png", *INPAINT, "--mask", "mask-soft.png", *GREY], "must be black (kept) and white (filled in) alone"),
    (["grey.png", *INPAINT, "--mask", "mask-red.png", *GREY], "must be black (kept) and white (filled in) alone"),
    (["grey.png", *INPAINT, "--mask", "mask-black.png", *GREY], "nothing is to be filled in"),
    (["grey.png", *INPAINT, "--mask", "mask-white.png", *GREY], "everything is to be filled in"),
    (["grey.png", *INPAINT, *MASK, *GREY, "--method", "ddrm"], "method must be one of"),
    (["grey.png", *INPAINT, *MASK, "--model", "mnist-classifier"], "is a classifier, which draws nothing"),
    (["grey.png", *INPAINT, *MASK, *GREY, "--n", "0"], "--n"),
    (["grey.png", *INPAINT, *MASK, *GREY, "--seed", "-1"], "--seed"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(arguments)[:60] for arguments, _ in WRONG])
def test_what_does_not_fit_is_one_line_and_nothing_is_written(
    world: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    out = tmp_path / "out.png"
    done = restore(*arguments, "--out", str(out))
    assert done.exit_code in (1, 2)
    text = " ".join(done.output.replace("│", " ").split())
    assert message in text
    assert "Traceback" not in text and not out.exists()
