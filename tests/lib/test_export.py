"""Exported models draw what the course draws, where there is no course: with diffusers, and with numpy and onnxruntime alone."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from course.cli import app
from course_lib.files import new_folder
from course_lib.interop.bundle import self_contained
from course_lib.interop.description import exported
from course_lib.interop.export import export
from course_lib.models import store
from course_lib.models.asking import asked
from course_lib.models.cards import ModelCard, load_card
from course_lib.nets.autoencoders import GaussianAutoencoder
from course_lib.nets.dit import DiT
from course_lib.nets.hybrid import Hybrid
from course_lib.nets.latent import LatentUNet
from course_lib.nets.mlp import MLP
from course_lib.nets.pictures import PictureUNet
from course_lib.nets.preconditioned import PreconditionedUNet
from course_lib.nets.unet import BasicUNet, UNet
from course_lib.sampling.generate import draw, draw_batches

pytest.importorskip("diffusers")
ENOUGH = 1e-4  # the largest difference of two pixels in [-1, 1]
N = 4


class Case(NamedTuple):
    """A model, and what is asked of it."""

    model: str
    steps: int
    options: dict[str, Any] = {}  # noqa: RUF012 (nobody writes into it)

    @property
    def name(self) -> str:
        return "-".join([self.model, str(self.steps), *(str(value) for value in self.options.values())])


# Each shipped model that draws pictures; 12 and 30 steps do not divide the 1000 of the tables.
SHIPPED = [
    *(Case(name, 12) for name in ("mnist-ddpm", "mnist-flow", "mnist-iddpm", "mnist-multiscale", "leaves")),
    *(Case(name, 12) for name in ("mnist-cfg", "fashion-cfg", "fashion-dit", "cifar10-cfg", "cifar10-latent")),
    Case("digits-ddpm", 30),
    Case("digits-ddpm", 48),  # of which diffusers rounds one time otherwise
    Case("digits-ddpm", 1),
    Case("mnist-leaps", 4),
    Case("mnist-leaps", 1),
    Case("mnist-cfg", 10, {"label": 7, "scale": 3.0}),
    Case("mnist-cfg", 10, {"label": 7, "scale": 0.0}),
]
# Kinds of models that a run may leave, with random weights.
KINDS = [
    Case("edm", 9),
    Case("latent", 9),
    Case("dit-x0", 9),
    Case("hybrid-score", 9),
    Case("basic", 9, {"label": 1, "scale": 1.5}),
    Case("variance", 9),
]
IN_ONNX = [
    Case("mnist-flow", 12),
    Case("leaves", 12),
    Case("digits-ddpm", 30),
    Case("mnist-leaps", 4),
    Case("mnist-cfg", 12),
    Case("mnist-cfg", 10, {"label": 7, "scale": 3.0}),
    Case("latent", 9),
]
REFUSED = {
    "mnist-classifier": "is a classifier, which draws nothing",
    "heartbeat": "draws bits, not images",
    "swiss-roll": "draws no pictures",
}


@pytest.fixture(scope="module", autouse=True)
def in_float32() -> Iterator[None]:
    """What is exported runs in float32; some processors have units for bf16, which `course sample` takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", dict)
        yield


def filled(network: nn.Module) -> nn.Module:
    """The network with every parameter drawn anew, so that nothing is zero."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=random))
    return network.eval()


def saved(path: Path, network: nn.Module, **changes: Any) -> ModelCard:
    """A model with a card like that of mnist-ddpm, except for what is changed."""
    config: Any = network.config
    card = dataclasses.replace(
        load_card(store.SHIPPED / "mnist-ddpm.json"), architecture=type(network).__name__, config=config
    )
    return store.save(path, network, dataclasses.replace(card, name=path.stem, **changes))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models of many kinds, with random weights."""
    folder = tmp_path_factory.mktemp("runs")
    small = {"width": 8, "multipliers": (1, 2), "attention": (1,)}
    picture, straight = {"image_shape": [1, 8, 8]}, {"name": "straight"}

    def save(name: str, network: nn.Module, **changes: Any) -> ModelCard:
        return saved(folder / f"{name}.safetensors", filled(network), **{**picture, **changes})

    save("edm", PreconditionedUNet(**small), prediction="x0", schedule={"name": "edm"})
    save("dit-x0", DiT(width=16, depth=2, heads=2), prediction="x0", schedule={"name": "sigmoid", "T": 100})
    save("hybrid-score", Hybrid(width=8, depth=1, multipliers=(1, 2)), prediction="score", schedule={"name": "linear"})
    save("basic", BasicUNet(width=8, multipliers=(1, 2), classes=3))
    save("variance", UNet(**small, outputs=2), prediction="eps", schedule={"name": "linear"})
    coder = save(
        "coder", GaussianAutoencoder(latent=4, width=8), prediction="image", schedule={}, image_shape=[3, 16, 16]
    )
    known = {"model": str(folder / "coder.safetensors"), "sha256": coder.sha256}
    latent = DiT(channels=4, width=16, depth=1, heads=2, classes=3, positions="rotary", time_scale=1000.0)
    save("latent", latent, prediction="flow", schedule=straight, image_shape=[4, 4, 4], autoencoder=known)
    save("points", MLP(), image_shape=[2])
    save("gan", LatentUNet(latent=2, width=8, multipliers=(1, 2), attention=(1,)), prediction="x0")
    save("palette", PictureUNet(channels=1, shown=2, size=8, width=8, multipliers=(1, 2), attention=()))
    save("consistency", UNet(**small, leaps=()))
    save("interpolating", UNet(**small), schedule={"name": "erasing"})
    return folder


def located(model: str, runs: Path) -> Path | str:
    return model if model in store.shipped_models() else runs / f"{model}.safetensors"


def expected(case: Case, runs: Path, noise: Tensor | None = None, sampler: str = "ddim") -> np.ndarray:
    """What `course sample` draws of seed 0, or from this noise."""
    model, _ = store.load_denoising(located(case.model, runs))
    scale = case.options.get("scale", 1.0)
    cond = asked(model, N, case.options.get("label"), scale)
    if noise is None:
        return draw_batches(model, N, case.steps, sampler, 0, cond=cond, scale=scale).numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("course_lib.diffusion.gaussian.normal", lambda *args, **kwargs: noise)
        return draw(model, N, case.steps, sampler, None, cond, scale).numpy()


def without(*packages: str, folder: Path) -> dict[str, str]:
    """An environment in which these packages cannot be imported."""
    for package in packages:
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(
            f"raise ModuleNotFoundError('no {package} here', name='{package}')\n"
        )
    home = {"HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **home, "PYTHONPATH": str(folder)}


def run(folder: Path, environment: dict[str, str], *command: str) -> str:
    """What Python prints in a folder with an environment."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- diffusers -------------------------------------------------------------------------------------------------------

ELSEWHERE = """
import json, sys
import numpy as np, torch
import diffusers
from diffusers import DDIMScheduler, DiffusionPipeline, DPMSolverMultistepScheduler

try:
    import course_lib
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("this test proves nothing: course_lib can be imported")
torch.set_num_threads(1)
for name, model, steps, options in json.load(open("cases.json")):
    pipeline = DiffusionPipeline.from_pretrained(model, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    ask = {"batch_size": 4, "num_inference_steps": steps, "output_type": "pt"}
    ask |= {"class_labels": options.get("label"), "guidance_scale": options.get("scale", 1.0)}
    def drawn(**more):
        return pipeline(**ask, **more).images.numpy() * 2 - 1
    np.save(name, drawn(generator=torch.Generator().manual_seed(0)))
    if name == "digits-ddpm-30":
        np.save("from-latents", drawn(latents=torch.from_numpy(np.load("noise.npy"))))
        pictures = pipeline(**{**ask, "output_type": "pil"}, generator=torch.Generator().manual_seed(0)).images
        np.save("pil", np.stack([np.asarray(picture) for picture in pictures]))
        table = pipeline.scheduler.config
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(table, solver_order=2)
        np.save("second-order", drawn(generator=torch.Generator().manual_seed(0)))
        pipeline.scheduler = DDIMScheduler.from_config(table, clip_sample=False)
        ask["num_inference_steps"] = 20
        np.save("ddim", drawn(generator=torch.Generator().manual_seed(0)))
        half = DiffusionPipeline.from_pretrained(model, trust_remote_code=True, torch_dtype=torch.bfloat16)
        np.save("half", half(**ask, generator=torch.Generator().manual_seed(0)).images.numpy() * 2 - 1)
        for wrong in ({"class_labels": 1}, {"num_inference_steps": 0}, {"num_inference_steps": 1001}, {"latents": torch.zeros(1)}):
            try:
                pipeline(**{**ask, **wrong})
            except ValueError as error:
                print(error)
    if name == "mnist-cfg-12":
        for wrong in ({"class_labels": 10}, {"class_labels": [0, 1, 2, -1]}, {"class_labels": [0, 1]}):
            try:
                pipeline(**{**ask, **wrong})
            except ValueError as error:
                print(error)
"""


@pytest.fixture(scope="module")
def elsewhere(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what diffusers draws of every model, in a process without the course, and what it says of wrong wishes."""
    folder = tmp_path_factory.mktemp("diffusers")
    cases = [*SHIPPED, *KINDS]
    for model in {case.model for case in cases}:
        export(located(model, runs), "diffusers", folder / "models" / model)
    asked_for = [(case.name, f"models/{case.model}", case.steps, case.options) for case in cases]
    (folder / "cases.json").write_text(json.dumps(asked_for))
    np.save(folder / "noise.npy", np.random.default_rng(0).standard_normal((N, 1, 8, 8)).astype(np.float32))
    (folder / "elsewhere.py").write_text(ELSEWHERE)
    environment = without("course_lib", "course", folder=folder / "nothing")
    (folder / "said.txt").write_text(run(folder, environment, "-P", "elsewhere.py"))
    return folder


@pytest.mark.parametrize("case", [*SHIPPED, *KINDS], ids=lambda case: case.name)
def test_diffusers_draws_the_same_pictures_without_the_course(case: Case, elsewhere: Path, runs: Path) -> None:
    found, wanted = np.load(elsewhere / f"{case.name}.npy"), expected(case, runs)
    assert wanted.std() > 0.05
    assert np.abs(found - wanted).max() <= ENOUGH


def test_every_shipped_model_is_exported_or_refused() -> None:
    exports = {case.model for case in SHIPPED}
    for name in set(store.shipped_models()) - exports:
        with pytest.raises(ValueError, match=rf"^{name} (is|draws|is told|has|matches) "):
            exported(name)
    assert exports <= set(store.shipped_models())


def test_noise_may_be_given_and_pictures_come_as_pictures(elsewhere: Path, runs: Path) -> None:
    case = Case("digits-ddpm", 30)
    noise = torch.from_numpy(np.load(elsewhere / "noise.npy"))
    assert np.abs(np.load(elsewhere / "from-latents.npy") - expected(case, runs, noise)).max() <= ENOUGH
    pictures, wanted = np.load(elsewhere / "pil.npy"), (expected(case, runs)[:, 0] + 1) * 127.5
    assert pictures.shape == (N, 8, 8) and np.abs(pictures - wanted).max() <= 0.51


def test_other_schedulers_take_the_place_of_the_first(elsewhere: Path, runs: Path) -> None:
    second = expected(Case("digits-ddpm", 30), runs, sampler="dpm-solver")
    assert np.abs(np.load(elsewhere / "second-order.npy") - second).max() <= ENOUGH
    assert np.abs(second - expected(Case("digits-ddpm", 30), runs)).max() > 0.01
    assert np.abs(np.load(elsewhere / "ddim.npy") - expected(Case("digits-ddpm", 20), runs)).max() <= ENOUGH


def test_a_network_in_bf16_draws_nearly_the_same(elsewhere: Path, runs: Path) -> None:
    apart = np.load(elsewhere / "half.npy") - expected(Case("digits-ddpm", 20), runs)
    assert 1e-4 < np.sqrt((apart**2).mean()) < 0.05


def test_what_the_model_cannot_draw_is_refused_there(elsewhere: Path) -> None:
    assert (elsewhere / "said.txt").read_text().splitlines() == [
        "class_labels must lie in [0, 9]; got [10, 10, 10, 10]",
        "class_labels must lie in [0, 9]; got [0, 1, 2, -1]",
        "class_labels must be one class, or 4 of them; got the shape [2]",
        "the model was trained without classes: class_labels must be None and guidance_scale 1",
        "num_inference_steps must be at least 1; got 0",
        "num_inference_steps must be at most 1000, as many as the model has; got 1001",
        "latents must have shape (4, 1, 8, 8); got (1,)",
    ]


# --- ONNX ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_onnx(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with ONNX, one a model, and a world without torch and the course."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("onnx")
    for model in {case.model for case in IN_ONNX}:
        export(located(model, runs), "onnx", folder / "models" / model)
    without("torch", "course_lib", "course", folder=folder / "nothing")
    return folder


@pytest.mark.parametrize("case", IN_ONNX, ids=lambda case: case.name)
def test_numpy_and_onnxruntime_draw_the_same_pictures(case: Case, in_onnx: Path, runs: Path) -> None:
    model = in_onnx / "models" / case.model
    shape = json.loads((model / "model.json").read_text())["shape"]
    noise = np.random.default_rng(3).standard_normal((N, *shape)).astype(np.float32)
    np.save(in_onnx / "noise.npy", noise)
    options = [part for name, value in case.options.items() for part in (f"--{name}", str(value))]
    environment = {**os.environ, "PYTHONPATH": str(in_onnx / "nothing")}
    command = [
        str(model / "sample.py"),
        "--noise",
        "noise.npy",
        "--steps",
        str(case.steps),
        *options,
        "--out",
        "found.npy",
    ]
    run(in_onnx, environment, *command)
    found, wanted = np.load(in_onnx / "found.npy"), expected(case, runs, torch.from_numpy(noise))
    assert wanted.std() > 0.05
    assert np.abs(found - wanted).max() <= ENOUGH


def test_the_sampler_writes_a_picture_and_refuses_what_the_model_cannot_do(in_onnx: Path) -> None:
    from PIL import Image

    environment = {**os.environ, "PYTHONPATH": str(in_onnx / "nothing")}
    sampler = str(in_onnx / "models" / "latent" / "sample.py")
    for out in ("a.png", "a.npy"):
        run(in_onnx, environment, sampler, "--n", "3", "--steps", "2", "--label", "2", "--out", out)
    images = np.load(in_onnx / "a.npy")
    beside = np.concatenate(list(images), axis=2).transpose(1, 2, 0)
    assert np.abs(np.asarray(Image.open(in_onnx / "a.png")) - (beside + 1) * 127.5).max() <= 0.51
    for model, options, message in (
        ("latent", ["--label", "3"], "--label must lie in [0, 2]; got 3"),
        ("digits-ddpm", ["--scale", "2"], "trained without classes"),
        ("mnist-leaps", ["--steps", "3"], "--steps must be one of [1, 2, 4, 8]"),
        ("digits-ddpm", ["--steps", "1001"], "--steps must lie in [1, 1000]; got 1001"),
        ("digits-ddpm", ["--noise", "a.npy"], "--noise must have shape (n, 1, 8, 8)"),
    ):
        command = [sys.executable, str(in_onnx / "models" / model / "sample.py"), *options]
        done = subprocess.run(command, cwd=in_onnx, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_the_times_of_the_sampler_are_ours_for_any_number_of_steps() -> None:
    pytest.importorskip("onnxruntime")
    from course_lib.diffusion.schedules import cosine
    from course_lib.interop.exported_sample import falling

    schedule = cosine(1000)
    for steps in range(1, 1001):
        assert (falling(1000, steps).round().astype(int) == schedule.grid(steps).numpy()).all()


# --- what cannot be done ---------------------------------------------------------------------------------------------


def told(*arguments: str) -> tuple[int, str]:
    """The exit status of `course export`, and its words in one line."""
    result = CliRunner().invoke(app, ["export", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnist-dpm", "--to", "onnx", "--out", "new"], "mnist-dpm is neither a folder nor a file nor a shipped model"),
        (
            ["digits-ddpm", "--to", "onx", "--out", "new"],
            "target must be one of 'diffusers', 'onnx'; got 'onx'; did you mean 'onnx'?",
        ),
        (["digits-ddpm", "--to", "diffusers", "--out", "full"], "full is not empty: give the name of a new folder"),
        (["digits-ddpm", "--to", "diffusers", "--out", "file"], "file is a file: give the name of a new folder"),
        *(([name, "--to", "onnx", "--out", "new"], message) for name, message in REFUSED.items()),
    ],
)
def test_a_wrong_command_is_one_line_and_leaves_nothing(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    status, words = told(*arguments)
    assert status == 1 and words.startswith("error: ") and message in words
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "mine"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("coder", "is an autoencoder, which draws nothing"),
        ("points", "draws no pictures"),
        ("gan", "draws x_0 with fresh noise at every step"),
        ("palette", "is told more than a class"),
        ("consistency", "is a consistency model"),
        ("interpolating", "has no signal left at its last time"),
    ],
)
def test_models_that_draw_in_a_way_of_their_own_are_refused(
    model: str, message: str, runs: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        export(runs / f"{model}.safetensors", "diffusers", tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("target", "package"), [("diffusers", "diffusers"), ("onnx", "onnx"), ("onnx", "onnxscript")])
def test_a_missing_package_is_named_with_what_to_install(
    target: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    status, words = told("digits-ddpm", "--to", target, "--out", str(tmp_path / "out"))
    assert status == 1 and not list(tmp_path.iterdir())
    assert f"{package} is not installed" in words and "pip install 'learning-to-denoise[interop]'" in words


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out") as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()  # an empty folder may be filled
    with new_folder(tmp_path / "out") as folder:
        (folder / "all").touch()
        assert not list((tmp_path / "out").iterdir())
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "all"]
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    status, words = told("digits-ddpm", "--to", "diffusers", "--out", str(tmp_path / "out"))
    assert status == 0 and words.startswith("digits-ddpm for diffusers -> ")
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {
        *("README.md", "model_index.json", "pipeline.py", "scheduler/scheduler_config.json"),
        *(f"network/{name}" for name in ("config.json", "diffusion_pytorch_model.safetensors", "network.py")),
    }


# --- the copied code -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [UNet, DiT, Hybrid, PreconditionedUNet, GaussianAutoencoder])
def test_a_class_copied_with_what_it_uses_answers_as_the_class(network: type[nn.Module]) -> None:
    text = self_contained([(network.__module__, network.__name__)])
    assert "course_lib" not in text
    names: dict[str, Any] = {"__name__": "copied"}
    exec(compile(text, "copied", "exec"), names)
    ours = filled(network())
    theirs = names[network.__name__]().eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, *{GaussianAutoencoder: (3,)}.get(network, (1,)), 16, 16)
    rest = () if network is GaussianAutoencoder else (torch.tensor([3.0, 40.0]),)
    act = (lambda net: net.decode(net.encode(x))) if not rest else (lambda net: net(x, *rest))
    with torch.no_grad():
        assert torch.allclose(act(ours), act(theirs), atol=1e-6)


def test_two_definitions_of_one_name_are_not_copied() -> None:
    twice = [("course_lib.nets.lora", "merge"), ("course_lib.nets.lora", "adapters"), ("course_lib.nets.mlp", "MLP")]
    assert "class MLP" in self_contained(twice)
    with pytest.raises(ValueError, match=r"these are there twice: \['likelihood'\]"):
        self_contained(
            [("course_lib.diffusion.binomial", "likelihood"), ("course_lib.diffusion.weights", "likelihood")]
        )


def test_a_module_that_imports_whole_modules_is_not_copied() -> None:
    with pytest.raises(ValueError, match=r"course_lib\.training\.runs must import names from modules"):
        self_contained([("course_lib.training.runs", "save")])
