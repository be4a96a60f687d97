"""A model of Stable Diffusion's parts: they are the classes of others, and the exported pipeline draws the same without the course."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from course.cli import app
from course_lib.data import captions, scenes, tokens
from course_lib.data.images import to_bytes
from course_lib.diffusion.predictions import FLOW, V
from course_lib.diffusion.schedules import cosine
from course_lib.interop.export import export
from course_lib.interop.to_stable_diffusion import build_pipeline, build_tokenizer
from course_lib.models import store
from course_lib.models.cards import ModelCard
from course_lib.models.telling import teller
from course_lib.nets.autoencoders import GaussianAutoencoder
from course_lib.nets.conditions import Tokens, check_condition, dropped
from course_lib.nets.standard import NotInstalledError, StandardAutoencoder, StandardUNet
from course_lib.recipes.pipelines import READS
from course_lib.recipes.rows import RECIPES
from course_lib.sampling.generate import Denoising, draw
from tests.lib.commands import RUNNER, finetune_command
from tests.lib.test_export import run, without

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
ENOUGH = 1e-4  # the largest difference of two pixels in [-1, 1]
TEXTS = ["a small red circle", "a large white triangle left of a small blue cross", "a small yellow square"]
DRAWN = [(scale, steps) for scale in (1.0, 3.0) for steps in (10, 25)]
SMALL: dict[str, Any] = {"size": 4, "widths": (16, 24), "heads": 2, "text_width": 16, "text_depth": 1}
CODER: dict[str, Any] = {"widths": (8, 8, 16)}


@pytest.fixture(scope="module", autouse=True)
def in_float32() -> Iterator[None]:
    """What is exported runs in float32; some processors have units for bf16, which `draw` takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", dict)
        yield


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moved(network: nn.Module) -> Any:
    """The network with all weights moved, so that nothing is zero any more."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


def small_unet(**changes: Any) -> Any:
    torch.manual_seed(0)
    return moved(StandardUNet(**READS, **{**SMALL, **changes}))


def small_coder() -> Any:
    torch.manual_seed(0)
    network = moved(StandardAutoencoder(**CODER))
    network.mean_square.fill_(2.5)
    return network


def card_of(network: Any, **changes: Any) -> ModelCard:
    entries: dict[str, Any] = {
        "name": "scenes-pipeline",
        "architecture": type(network).__name__,
        "config": network.config,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "prediction": "v",
        "schedule": {"name": "cosine", "T": 1000},
        "image_shape": [4, 4, 4],
        "dataset": "scenes",
        "data": "scenes",
        "recipe": {},
        "steps": 0,
        "images_seen": 0,
        "seed": 0,
        "device": "cpu",
        "minutes": 0.0,
    }
    return ModelCard(**{**entries, **changes})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an autoencoder and a model of its latents, both small, that have learned nothing."""
    folder = tmp_path_factory.mktemp("runs")
    coder = small_coder()
    about = card_of(coder, prediction="image", schedule={}, image_shape=[3, 16, 16])
    known = store.save(folder / "coder.safetensors", coder, about)
    named = {"model": str(folder / "coder.safetensors"), "sha256": known.sha256}
    unet = small_unet()
    store.save(folder / "pipeline.safetensors", unet, card_of(unet, autoencoder=named))
    return folder


@pytest.fixture(scope="module")
def exported(runs: Path) -> Path:
    """The folder of the exported pipeline."""
    command = ["export", str(runs / "pipeline.safetensors"), "--to", "diffusers", "--out", str(runs / "exported")]
    done = RUNNER.invoke(app, command)
    assert done.exit_code == 0, done.output
    return runs / "exported"


# --- words -----------------------------------------------------------------------------------------------------------


def expected_rows(texts: list[str], length: int) -> Tensor:
    """Our numbers of captions after the one that begins a text, and padding, `(B, length)`."""
    rows = torch.full((len(texts), length), captions.PAD)
    rows[:, 0] = tokens.BEGIN
    rows[:, 1 : captions.LENGTH + 1] = captions.encode(texts)
    return rows


def read_by(tokenizer: Any, texts: list[str]) -> Tensor:
    most = tokenizer.model_max_length
    return tokenizer(texts, padding="max_length", max_length=most, truncation=True, return_tensors="pt").input_ids


def test_the_tokenizer_gives_our_numbers_for_every_caption_of_training_and_others() -> None:
    new = scenes.random_scenes(500, torch.Generator().manual_seed(0), held_out=True)
    texts = [*scenes.caption_chances(), *map(scenes.caption, new), "", "A Small  red circle"]
    assert len(texts) > 3000
    tokenizer = build_tokenizer(READS["length"])
    assert torch.equal(read_by(tokenizer, texts), expected_rows(texts, READS["length"]))
    assert READS["empty"] == tuple(captions.encode([""])[0].tolist())


def test_other_words_are_spelled_as_the_tokenizer_spells_them() -> None:
    tokenizer, numbers = build_tokenizer(READS["length"]), tokens.vocabulary()
    for word in ("heart", "pink", "abovebelow", "reddest", "left", "alarge", "o"):
        pieces = tokens.spelled(word, tokens.merges())
        assert tokenizer(word).input_ids[1:-1] == [numbers[piece] for piece in pieces]
        assert (len(pieces) == 1) == (word in (*scenes.WORDS, "o"))
    assert sorted(numbers.values()) == list(range(len(numbers)))


def test_the_files_of_older_tokenizers_say_the_same(exported: Path, tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tmp_path / name).write_text((exported / "tokenizer" / name).read_text())
    found = read_by(CLIPTokenizer.from_pretrained(tmp_path), TEXTS)
    assert torch.equal(found, expected_rows(TEXTS, READS["length"]))


def test_rows_of_tokens_are_checked_and_dropped_for_the_empty_text() -> None:
    takes, rows = Tokens(READS["tokens"], READS["empty"]), captions.encode(TEXTS)
    check_condition(takes, rows, 3)
    lost = dropped(takes, rows.repeat(200, 1), 0.5, torch.Generator().manual_seed(0))
    empty = captions.encode([""])
    same, none = (lost == rows.repeat(200, 1)).all(1), (lost == empty).all(1)
    assert bool((same ^ none).all()) and 200 < int(none.sum()) < 400
    for wrong, message in (
        (rows[:, :5], r"texts must be whole numbers of shape \(B, 12\); got torch.int64 of shape \(3, 5\)"),
        (rows.float(), "texts must be whole numbers"),
        (rows - 1, rf"tokens must lie in \[0, {READS['tokens'] - 1}\]; got values from -1"),
        (rows + 200, "tokens must lie in"),
    ):
        with pytest.raises(ValueError, match=message):
            takes.check(wrong)


# --- the parts -------------------------------------------------------------------------------------------------------


def test_the_unet_is_the_classes_of_others_told_times_from_1_and_rows_without_their_first() -> None:
    ours = small_unet()
    unet = type(ours.unet).from_config(ours.unet.config)
    text = type(ours.text)(ours.text.config)
    unet.load_state_dict(ours.unet.state_dict())
    text.load_state_dict(ours.text.state_dict())
    assert (type(unet).__name__, type(text).__name__) == ("UNet2DConditionModel", "CLIPTextModel")
    x, t = normal(3, 4, 4, 4), torch.tensor([1, 500, 1000])
    with torch.no_grad():
        vectors = text.eval()(expected_rows(TEXTS, READS["length"])).last_hidden_state
        wanted = unet.eval()(x, torch.tensor([0, 499, 999]), encoder_hidden_states=vectors).sample
        found = ours(x, t, captions.encode(TEXTS))
        assert torch.allclose(found, wanted, atol=1e-6)
        assert torch.equal(ours(x, t), ours(x, t, captions.encode([""] * 3)))
        assert (ours(x, t) - found).abs().max() > 1e-3
    with pytest.raises(ValueError, match="length must be above the 12 tokens of a row"):
        StandardUNet(**{**READS, "length": 12})
    with pytest.raises(ValueError, match="cond must be one tensor"):
        ours(x, t, {"text": captions.encode(TEXTS)})


def test_unet_and_text_encoder_learn_together() -> None:
    ours = small_unet()
    ours(normal(3, 4, 4, 4), torch.tensor([1, 500, 1000]), captions.encode(TEXTS)).square().sum().backward()
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_the_autoencoder_is_that_of_others_with_latents_of_mean_square_1() -> None:
    ours = small_coder()
    theirs = type(ours.vae).from_config(ours.vae.config).eval()
    theirs.load_state_dict(ours.vae.state_dict())
    assert type(theirs).__name__ == "AutoencoderKL" and ours.factor == 4
    x, z = normal(2, 3, 16, 16).clamp(-1, 1), normal(2, 4, 4, 4, seed=1)
    with torch.no_grad():
        found = theirs.encode(x).latent_dist
        assert torch.allclose(ours.encode(x), found.mean / 2.5**0.5, atol=1e-6)
        assert torch.allclose(ours.decode(z), theirs.decode(z * 2.5**0.5).sample.clamp(-1, 1), atol=1e-6)
        coded = ours(x, torch.Generator().manual_seed(3))
        drawn = found.mean + found.std * normal(2, 4, 4, 4, seed=3)
        assert torch.allclose(coded.images, theirs.decode(drawn).sample, atol=1e-6)
        target = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
        price = torch.distributions.kl_divergence(torch.distributions.Normal(found.mean, found.std), target)
        assert torch.allclose(coded.penalty, price.flatten(1).sum(1), rtol=1e-4)
        assert float(ours.mean_square) == 2.5
        ours.train()(x)
    assert float(ours.mean_square) == pytest.approx(0.99 * 2.5 + 0.01 * float(found.mean.square().mean()), rel=1e-5)
    with pytest.raises(ValueError, match=r"x must have shape \(B, 3, H, W\) with H and W multiples of 4"):
        ours.encode(x[..., :14])


def test_latents_begin_with_little_noise() -> None:
    """Else the noise drowns what the encoder says, the decoder learns to do without it, and it falls silent for good."""
    torch.manual_seed(0)
    found = StandardAutoencoder(**CODER).vae.encode(normal(2, 3, 16, 16)).latent_dist
    assert 0.02 < found.std.mean() < 0.1 < found.mean.std()


def test_weights_that_ship_will_be_small() -> None:
    with torch.device("meta"):
        for name in ("scenes-autoencoder", "scenes-pipeline"):
            network = RECIPES[name].architecture(**RECIPES[name].config)
            assert 2 * sum(parameter.numel() for parameter in network.parameters()) <= 4e6
    pipeline, coder = (RECIPES[name].config for name in ("scenes-pipeline", "scenes-autoencoder"))
    assert (pipeline["channels"], pipeline["size"]) == (coder["latent"], scenes.SIZE // 2 ** (len(coder["widths"]) - 1))


# --- the pipeline ----------------------------------------------------------------------------------------------------

ELSEWHERE = """
import json, numpy as np, torch
from diffusers import DDIMScheduler, DiffusionPipeline, StableDiffusionPipeline

try:
    import course_lib
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("this test proves nothing: course_lib can be imported")
torch.set_num_threads(1)
pipeline = DiffusionPipeline.from_pretrained("exported")
assert type(pipeline) is StableDiffusionPipeline
pipeline.set_progress_bar_config(disable=True)
asked, noise = json.load(open("asked.json")), torch.from_numpy(np.load("noise.npy"))

def drawn(scale, steps):
    found = pipeline(asked["texts"], latents=noise, guidance_scale=scale, num_inference_steps=steps, output_type="pt")
    return found.images.numpy() * 2 - 1

for scale, steps in asked["drawn"]:
    np.save(f"{scale}-{steps}", drawn(scale, steps))
plain = pipeline.scheduler
pipeline.scheduler = DDIMScheduler.from_config(plain.config, clip_sample=False)
np.save("ddim", drawn(3.0, 10))
pipeline.scheduler = plain
pipeline.load_lora_weights("untrained.safetensors", adapter_name="untrained")
np.save("untrained", drawn(3.0, 10))
pipeline.load_lora_weights("lora.safetensors", adapter_name="trained")
pipeline.set_adapters("trained")
np.save("taught", drawn(3.0, 10))
"""


@pytest.fixture(scope="module")
def elsewhere(exported: Path) -> Path:
    """What diffusers draws of the folder in a process without the course, also with what `course finetune` made for it."""
    pytest.importorskip("peft")
    folder = exported.parent
    (folder / "mine").mkdir()
    for number, picture in enumerate(to_bytes(normal(4, 16, 16, 3).clamp(-1, 1)).numpy()):
        Image.fromarray(picture).save(folder / "mine" / f"{number}.png")
    (folder / "said.txt").write_text("".join(f"{number}.png\ta small red heart\n" for number in range(4)))
    (folder / "asked.json").write_text(json.dumps({"texts": TEXTS, "drawn": DRAWN}))
    np.save(folder / "noise.npy", normal(len(TEXTS), 4, 4, 4, seed=5).numpy())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, steps, rate in (("untrained", "1", "1e-30"), ("lora", "5", "0.05")):
            done = RUNNER.invoke(app, finetune_command("exported", "--steps", steps, "--rate", rate, "--keep", "0"))
            assert done.exit_code == 0, done.output
            (folder / "out" / "lora.safetensors").rename(folder / f"{name}.safetensors")
    (folder / "elsewhere.py").write_text(ELSEWHERE)
    run(folder, without("course_lib", "course", folder=folder / "nothing"), "-P", "elsewhere.py")
    return folder


def ours(folder: Path, scale: float, steps: int) -> np.ndarray:
    """What the course draws of the same texts, from the same noise."""
    noise = torch.from_numpy(np.load(folder / "noise.npy"))
    return drawn(folder / "pipeline.safetensors", noise, scale, steps)


def drawn(where: str | Path, noise: Tensor, scale: float, steps: int) -> np.ndarray:
    """What the course draws of TEXTS by a model, from this noise."""
    model, card = store.load_denoising(where)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("course_lib.diffusion.gaussian.normal", lambda *args, **kwargs: noise)
        return draw(model, len(TEXTS), steps, cond=teller(card)(TEXTS), scale=scale).numpy()


@pytest.mark.parametrize(("scale", "steps"), DRAWN)
def test_diffusers_draws_the_same_pictures_without_the_course(scale: float, steps: int, elsewhere: Path) -> None:
    found, wanted = np.load(elsewhere / f"{scale}-{steps}.npy"), ours(elsewhere, scale, steps)
    assert wanted.shape == (3, 3, 16, 16) and wanted.std() > 0.05
    assert np.abs(found - wanted).max() <= ENOUGH


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers' own steps
def test_diffusers_draws_what_the_shipped_pipeline_draws(tmp_path: Path) -> None:
    """In this process; without the course it is done above, with small networks."""
    from diffusers import DiffusionPipeline, StableDiffusionPipeline

    export("scenes-pipeline", "diffusers", tmp_path / "folder")
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "folder")
    assert type(pipeline) is StableDiffusionPipeline
    pipeline.set_progress_bar_config(disable=True)
    noise = normal(len(TEXTS), 4, 8, 8, seed=6)
    options = {"guidance_scale": 3.0, "num_inference_steps": 20, "output_type": "pt"}
    found = pipeline(TEXTS, latents=noise, **options).images.numpy() * 2 - 1
    wanted = drawn("scenes-pipeline", noise, 3.0, 20)
    assert wanted.shape == (3, 3, 32, 32) and wanted.std() > 0.1
    assert np.abs(found - wanted).max() <= ENOUGH


def test_texts_and_their_guidance_are_heard(elsewhere: Path) -> None:
    assert np.abs(ours(elsewhere, 1.0, 10) - ours(elsewhere, 3.0, 10)).max() > 100 * ENOUGH


def test_ddim_takes_the_place_of_the_scheduler(elsewhere: Path) -> None:
    assert np.abs(np.load(elsewhere / "ddim.npy") - ours(elsewhere, 3.0, 10)).max() <= ENOUGH


def test_what_was_taught_loads_elsewhere_and_changes_the_pictures(elsewhere: Path) -> None:
    plain = np.load(elsewhere / "3.0-10.npy")
    assert np.abs(np.load(elsewhere / "untrained.npy") - plain).max() < 1e-6
    assert np.abs(np.load(elsewhere / "taught.npy") - plain).max() > 0.01
    assert all(name.startswith("unet.") for name in load_file(elsewhere / "lora.safetensors"))


def test_the_folder_holds_no_code_and_says_how_to_load_it(exported: Path) -> None:
    files = {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file()}
    assert not [name for name in files if name.endswith(".py")]
    assert {"model_index.json", "README.md", "scheduler/scheduler_config.json", "tokenizer/vocab.json"} <= files
    words = (exported / "README.md").read_text()
    assert 'DiffusionPipeline.from_pretrained("path/of/this/folder")' in words and "trust_remote_code" not in words
    assert json.loads((exported / "vae" / "config.json").read_text())["scaling_factor"] == pytest.approx(2.5**-0.5)


# --- the commands ----------------------------------------------------------------------------------------------------


def test_a_run_draws_texts_of_the_grammar_and_names_other_words(runs: Path, tmp_path: Path) -> None:
    model, card = store.load_denoising(runs / "pipeline.safetensors")
    assert torch.equal(teller(card)(TEXTS), captions.encode(TEXTS)) and model.autoencoder is not None
    with pytest.raises(ValueError, match="unknown words: pink, heart; known are"):
        teller(card)(["a small pink heart"])
    command = ["draw", "a small pink circle", "--model", str(runs / "pipeline.safetensors"), "--out", "x.png"]
    done = RUNNER.invoke(app, command)
    assert done.exit_code == 1 and "unknown words: pink; known are" in " ".join(done.stderr.split())


@pytest.mark.parametrize("package", ["diffusers", "transformers"])
def test_a_missing_package_is_one_line_that_says_what_to_install(
    package: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    if package == "diffusers":
        monkeypatch.setitem(sys.modules, "diffusers.models.autoencoders.autoencoder_kl", None)
        monkeypatch.setitem(sys.modules, "diffusers.models.unets.unet_2d_condition", None)
    with pytest.raises(NotInstalledError, match=rf"^{package}\S* is not installed, which StandardUNet is made of: pip"):
        store.load(runs / "pipeline.safetensors")
    command = ["export", str(runs / "pipeline.safetensors"), "--to", "diffusers", "--out", str(tmp_path / "out")]
    done = RUNNER.invoke(app, command, env={"COLUMNS": "1000"})
    lines = done.stderr.splitlines()
    assert done.exit_code == 1 and len(lines) == 1 and "pip install 'learning-to-denoise[interop]'" in lines[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"autoencoder": GaussianAutoencoder(latent=4, width=8)}, "of the latents of a StandardAutoencoder"),
        ({"autoencoder": None}, "got StandardUNet and NoneType"),
        ({"prediction": FLOW}, "must predict eps, v, x0 by a table of noise levels"),
        ({"network": "other tokens"}, f"reads 99 tokens, and the tokenizer has {READS['tokens']}"),
    ],
)
def test_parts_that_are_no_such_pipelines_are_refused(changes: dict[str, Any], message: str) -> None:
    network, coder = small_unet(), small_coder()
    if "network" in changes:
        changes = {"network": StandardUNet(**{**READS, **SMALL, "tokens": 99})}
    model = Denoising(network, V, cosine(1000), (4, 4, 4), None, coder)._replace(**changes)
    with pytest.raises(ValueError, match=message):
        build_pipeline(model, card_of(network))


def test_other_targets_refuse_it(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is told more than a class"):
        export(runs / "pipeline.safetensors", "onnx", tmp_path / "out")
    with pytest.raises(ValueError, match="is an autoencoder, which draws nothing"):
        export(runs / "coder.safetensors", "diffusers", tmp_path / "out")
