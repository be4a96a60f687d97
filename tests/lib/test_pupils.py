"""Texts and pipelines are taught by the same command as classes: what was learned is drawn, and nothing else has changed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from course.cli import app
from course_lib.data import scenes
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.draws import normal_like
from course_lib.recipes import stable_diffusion
from course_lib.recipes.pupils import PipelinePupil, TextPupil, pupil_of
from course_lib.recipes.stable_diffusion import Told
from tests.lib.commands import RUNNER, finetune_command, refused

STEPS = 3


def write_pictures(folder: Path, captions: list[str], size: int) -> None:
    """Pictures in a folder `mine`, and a file `said.txt` with what is said of each."""
    (folder / "mine").mkdir()
    random = np.random.default_rng(0)
    for number in range(len(captions)):
        pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "mine" / f"{number}.png")
    (folder / "said.txt").write_text("".join(f"{k}.png\t{said}\n" for k, said in enumerate(captions)))


@pytest.fixture
def captioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with four pictures that scenes-text may learn from."""
    write_pictures(tmp_path, ["a small red circle", "a Large blue square"] * 2, 32)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    return tmp_path


def test_a_model_of_texts_draws_what_it_was_taught(captioned: Path) -> None:
    options = ("--rank", "2", "--steps", "2", "--batch-size", "2", "--remind", "a small white cross", "--keep", "1")
    done = RUNNER.invoke(app, finetune_command("scenes-text", *options))
    assert done.exit_code == 0 and "4 pictures taught to scenes-text, rank 2, 2 steps" in done.output, done.output
    assert "reminded of nothing" not in done.output
    drawn = []
    for more in ([], ["--lora", "out/lora.safetensors"], []):
        draw = ["draw", "a small red circle", "--n", "1", "--steps", "2", "--out", "a.png", *more]
        assert RUNNER.invoke(app, draw).exit_code == 0
        drawn.append((captioned / "a.png").read_bytes())
    assert drawn[0] == drawn[2] != drawn[1]
    done = RUNNER.invoke(app, ["sample", "mnist-cfg", "--lora", "out/lora.safetensors", "--n", "1"])
    assert done.exit_code == 1 and "was fine-tuned from another model" in done.stderr


def test_a_model_of_texts_is_reminded_of_what_it_draws(captioned: Path) -> None:
    pupil = pupil_of("scenes-text", 2)
    assert isinstance(pupil, TextPupil)
    kept = pupil.kept(["a large red circle", "a small green cross"], 3, seed=0)
    assert kept is not None and kept[0].shape == (6, 3, 32, 32) and kept[0].dtype == torch.uint8
    assert torch.equal(kept[1][0], kept[1][2]) and not torch.equal(kept[1][2], kept[1][3])
    assert torch.equal(kept[1][:1], pupil.tell(["a large red circle"]))
    shown = [scenes.parse(text) for text in ["a large red circle"] * 3 + ["a small green cross"] * 3]
    assert scenes.share_shown(shown, kept[0] / 127.5 - 1)["all"].mean() >= 0.5
    assert pupil.kept([], 3, seed=0) is None and pupil.kept(["a large red circle"], 0, seed=0) is None


@pytest.mark.parametrize(
    ("captions", "options", "words"),
    [
        (["a small red heart"] * 4, [], ("the caption of 0.png is not understood: unknown words: heart",)),
        (["a small red circle"] * 3 + ["red"], [], ("the caption of 3.png is not understood: a caption must read",)),
        (["a small red circle"] * 4, ["--remind", "a dog"], ("unknown words: dog",)),
        (["a small red circle"] * 4, ["--remind", "a dog", "--keep", "0"], ("unknown words: dog",)),
        (["a small red circle"] * 4, ["--rank", "0"], ("rank 0 teaches new words alone, and scenes-text learns none",)),
        (["a small red circle"] * 4, ["--rate", "nan"], ("learning_rate must be finite and above 0; got nan",)),
        (["a small red circle"] * 3, [], ("must describe 4 to 1000 pictures",)),
    ],
)
def test_texts_that_are_not_understood_are_refused(
    captions: list[str], options: list[str], words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path, captions, 32)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    refused(finetune_command("scenes-text", *options), *words)


def test_classes_are_reminded_of_their_classes_alone(captioned: Path) -> None:
    refused(finetune_command("mnist-cfg", "--remind", "a dog"), "a model of classes is reminded of its classes")


# --- pipelines of diffusers ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Stable Diffusion pipeline with all its parts, of 52,000 weights, that has learned nothing."""
    pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    diffusers = pytest.importorskip("diffusers")
    at = tmp_path_factory.mktemp("pipeline")
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (at / "vocab.json").write_text(json.dumps(vocabulary))
    (at / "merges.txt").write_text("#version: 0.2\n")
    end = vocabulary["<|endoftext|>"]
    torch.manual_seed(0)
    encoder = transformers.CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=end,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=16,
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=16,
        norm_num_groups=4,
        attention_head_dim=4,
    )
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=transformers.CLIPTextModel(encoder),
        tokenizer=transformers.CLIPTokenizer(
            str(at / "vocab.json"), str(at / "merges.txt"), model_max_length=16, pad_token="<|endoftext|>"
        ),
        unet=unet,
        scheduler=diffusers.DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(at / "tiny")
    return at / "tiny"


@pytest.fixture
def pipeline(folder: Path) -> Iterator[Any]:
    yield stable_diffusion.load_pipeline(str(folder))


def drawn(pipeline: Any, text: str = "red cat") -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    return pipeline(text, num_inference_steps=STEPS, output_type="np", generator=generator).images


def test_untrained_adapters_change_nothing_and_trained_ones_load_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diffusers = pytest.importorskip("diffusers")
    write_pictures(tmp_path, ["red cat"] * 4, 20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    options = ("--rank", "2", "--batch-size", "4", "--remind", "a cat", "--keep", "1", "--steps")
    pictures = {}
    for name, steps, rate in (("none", "1", "1e-30"), ("some", "5", "0.05")):
        done = RUNNER.invoke(app, finetune_command(str(folder), *options, steps, "--rate", rate))
        assert done.exit_code == 0, done.output
        pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        plain = drawn(pipeline)
        pipeline.load_lora_weights(tmp_path / "out" / "lora.safetensors")
        pictures[name] = np.abs(drawn(pipeline) - plain).max()
    assert pictures["none"] < 1e-6 and pictures["some"] > 0.01
    tensors = load_file(tmp_path / "out" / "lora.safetensors")
    layers = {name.rsplit(".lora_", 1)[0] for name in tensors}
    assert all(re.fullmatch(r"unet\..*\.attn[12]\.(to_[qkv]|to_out\.0)", layer) for layer in layers)
    assert len(layers) == 8 * 4 and len(tensors) == 2 * len(layers)  # four layers in each of eight attentions


def test_teaching_lowers_the_loss_on_what_was_shown_and_leaves_the_rest_alone(pipeline: Any) -> None:
    pictures = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pupil = PipelinePupil(pipeline)
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    assert not any(parameter.requires_grad for part in parts for parameter in part.parameters())
    before = {name: value.clone() for name, value in pipeline.unet.state_dict().items()}
    cond = pupil.conditions(dict.fromkeys("abcd", "red cat"))
    latents = stable_diffusion.latents_of(pipeline, pictures)
    loss = stable_diffusion.told_loss(pipeline)

    def error(network: torch.nn.Module) -> float:
        batch = latents.repeat(16, 1, 1, 1), cond.repeat(16, 1, 1)
        with torch.no_grad():
            return loss(network, batch, torch.Generator().manual_seed(7)).item()

    first = error(Told(pipeline.unet))
    *_, state = pupil.learn((pictures, cond), None, 4, 40, 4, 0.03, 0)
    assert error(state.ema.module) < 0.97 * first
    after = {name.replace(".base_layer", ""): value for name, value in pipeline.unet.state_dict().items()}
    assert {name for name in after if ".lora_" not in name} == before.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_pipelines_times_and_noise_are_those_of_its_scheduler(pipeline: Any) -> None:
    process = GaussianDiffusion(stable_diffusion.schedule_of(pipeline))
    x0, noise = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    timesteps = torch.tensor([0, 500, 999])
    theirs = pipeline.scheduler.add_noise(x0, noise, timesteps)
    assert torch.allclose(process.diffuse(x0, timesteps + 1, noise), theirs, atol=1e-5)
    cond, x_t = torch.randn(3, 16, 16), torch.randn(3, 4, 8, 8)
    with torch.no_grad():
        expected = pipeline.unet(x_t, timesteps, encoder_hidden_states=cond).sample
        assert torch.equal(Told(pipeline.unet)(x_t, timesteps + 1, cond), expected)


def test_one_caption_in_ten_is_told_as_nothing(pipeline: Any) -> None:
    heard = []

    def listening(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        heard.append(cond)
        return x

    cond = stable_diffusion.told(pipeline, ["red cat"]).expand(2000, -1, -1)
    generator = torch.Generator().manual_seed(0)
    x0 = normal_like(torch.zeros(2000, 4, 1, 1), generator)
    stable_diffusion.told_loss(pipeline)(listening, (x0, cond), generator)  # type: ignore[arg-type]
    nothing = (heard[0] == stable_diffusion.told(pipeline, [""])).flatten(1).all(1)
    assert torch.equal(heard[0][~nothing], cond[~nothing]) and abs(nothing.float().mean() - 0.1) < 0.03


def test_latents_are_what_the_decoder_expects(pipeline: Any) -> None:
    pictures = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8)
    found = stable_diffusion.latents_of(pipeline, pictures)
    with torch.no_grad():
        expected = pipeline.vae.encode(pictures[5:] / 127.5 - 1).latent_dist.mean * pipeline.vae.config.scaling_factor
    assert found.shape == (6, 4, 8, 8) and torch.allclose(found[5:], expected, atol=1e-5)


def test_reminders_are_what_the_pipeline_draws(pipeline: Any) -> None:
    latents, cond = stable_diffusion.own_latents(pipeline, ["red", "cat"], 2, steps=STEPS, seed=5)
    generator = torch.Generator().manual_seed(5)
    expected = pipeline(["red"], num_inference_steps=STEPS, generator=generator, output_type="latent").images
    assert torch.allclose(latents[:1], expected, atol=1e-5) and latents.shape == (4, 4, 8, 8)
    assert torch.equal(cond, stable_diffusion.told(pipeline, ["red", "red", "cat", "cat"]))


def test_a_pipeline_is_told_from_a_model_by_its_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    pipelines = {str(folder), "runwayml/stable-diffusion-v1-5", "a/b_V5.1_c"}
    others = {"mnist-cfg", "runs/mine", "runs/nothing", "models/x.safetensors", "a/b/c", "/b", "a/"}
    assert {name for name in pipelines | others if stable_diffusion.names_pipeline(name)} == pipelines


def test_pipelines_and_captions_that_do_not_fit_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path, ["red cat"] * 3 + ["a cat with a very long tail"], 20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    refused(
        finetune_command(str(folder)),
        "'a cat with a very long tail' has",
        "tokens, and the encoder reads 16: make it shorter",
    )
    refused(finetune_command(str(folder), "--rank", "0"), "rank 0 teaches new words alone")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model_index.json").write_text("{}")
    refused(
        finetune_command("broken"), "broken could not be loaded as a pipeline", "give a folder that diffusers wrote"
    )
    diffusers = pytest.importorskip("diffusers")
    unet = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
    )
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "other")
    refused(finetune_command("other"), "other is a DDPMPipeline", "StableDiffusionPipeline")


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ValueError, match=r"peft is not installed, which a pipeline of diffusers needs: pip install"):
        stable_diffusion.load_pipeline(str(folder))
