"""Stable Diffusion pipelines of the library diffusers, fine-tuned with adapters of low rank by this library's training loop."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import hardware
from course_lib.data.images import to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import EPS, X0, Prediction, V
from course_lib.diffusion.schedules import TableSchedule
from course_lib.draws import normal_like, uniform
from course_lib.files import check_destination
from course_lib.interop.export import HOW
from course_lib.recipes.diffusion import UNCONDITIONAL
from course_lib.recipes.finetuning import lessons, mixed
from course_lib.training.state import Batch, Loss, TrainState

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")  # diffusers' layers of attention
PREDICTIONS: Mapping[str, Prediction] = {"epsilon": EPS, "v_prediction": V, "sample": X0}  # by diffusers' names
RATE = 1e-4


class Told(nn.Module):
    """A pipeline's U-Net as this library asks one: its times count from 1, and its condition are the vectors of a text's tokens."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """Latents x `(B, C, h, w)`, times t `(B,)` from 1 to T, cond `(B, tokens, width)`, to the shape of x."""
        return self.unet(x, t - 1, encoder_hidden_states=cond).sample


def names_pipeline(name: str) -> bool:
    """Whether a name is that of a folder that diffusers wrote, or that of a model on the Hugging Face hub, OWNER/NAME."""
    path = Path(name)
    if path.is_dir():
        return (path / "model_index.json").is_file()
    return name.count("/") == 1 and all(name.split("/")) and path.suffix != ".safetensors" and not path.parent.exists()


def load_pipeline(name: str) -> Any:
    """A Stable Diffusion pipeline from a folder or from the hub, on the fastest device, with nothing in it that learns.

    Raises ValueError where a package is missing, where nothing can be loaded by this name, and for a pipeline of another kind.
    """
    try:
        import diffusers.utils.logging
        import peft  # noqa: F401
        import transformers.utils.logging
        from diffusers.pipelines.pipeline_utils import DiffusionPipeline
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed, which a pipeline of diffusers needs: {HOW}") from error
    bars = diffusers.utils.logging, transformers.utils.logging
    for library in bars:
        library.disable_progress_bar()  # of the loading; a download from the hub has its own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline = DiffusionPipeline.from_pretrained(name)
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{name} could not be loaded as a pipeline ({reason}): give a folder that diffusers wrote, or OWNER/NAME of the hub"
        ) from error
    finally:
        for library in bars:
            library.enable_progress_bar()
    if not isinstance(pipeline, StableDiffusionPipeline):
        raise ValueError(
            f"{name} is a {type(pipeline).__name__}; what can be fine-tuned is a StableDiffusionPipeline, such as version 1.5 or 2.1"
        )
    kind = pipeline.scheduler.config.prediction_type
    if kind not in PREDICTIONS:
        raise ValueError(f"{name} predicts {kind!r}; what can be fine-tuned predicts {', '.join(PREDICTIONS)}")
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False).eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(hardware.device())


def picture_shape(pipeline: Any) -> tuple[int, int, int]:
    """The shape `(C, H, W)` of the pictures that a pipeline draws."""
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    return 3, side, side


@torch.no_grad()
def told(pipeline: Any, texts: Sequence[str]) -> Tensor:
    """The vectors of the tokens of B texts, `(B, tokens, width)` float32 on the CPU, as the pipeline's own encoder says them.

    Raises ValueError for a text with more tokens than the encoder reads: the pipeline would leave out the last.
    """
    most = pipeline.tokenizer.model_max_length
    for text in texts:
        count = len(pipeline.tokenizer(text, verbose=False).input_ids)
        if count > most:
            raise ValueError(f"the text {text!a:.80} has {count} tokens, and the encoder reads {most}: make it shorter")
    device = pipeline.unet.device
    vectors = [pipeline.encode_prompt([text], device, 1, do_classifier_free_guidance=False)[0] for text in texts]
    return torch.cat(vectors).float().cpu()


@torch.no_grad()
def latents_of(pipeline: Any, pictures: Tensor) -> Tensor:
    """The latents `(B, C, h, w)` of uint8 pictures `(B, 3, H, W)`, scaled as the U-Net knows them, in float32 on the CPU."""
    vae = pipeline.vae
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    x = to_unit(pictures).to(vae.device, vae.dtype)
    parts = [vae.encode(part).latent_dist.mode() for part in x.split(4)]
    return ((torch.cat(parts) - shift) * vae.config.scaling_factor).float().cpu()


@torch.no_grad()
def own_latents(pipeline: Any, texts: Sequence[str], each: int, steps: int = 25, seed: int = 0) -> Batch:
    """What the pipeline itself draws of texts, `each` times: latents `(n, C, h, w)` and the vectors of the texts `(n, tokens, width)`.

    They are what a fine-tuned copy is to keep in mind: the prior preservation of Ruiz et al. (2023).
    """
    many = [text for text in texts for _ in range(each)]
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        pipeline([text], num_inference_steps=steps, generator=generator, output_type="latent").images for text in many
    ]
    return torch.cat(drawn).float().cpu(), told(pipeline, many)


def add_adapters(pipeline: Any, rank: int, seed: int = 0) -> None:
    """Put peft's adapters around the U-Net's attention, in place; as ours, an untrained one changes nothing."""
    from peft import LoraConfig

    torch.manual_seed(seed)
    pipeline.unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS)))


def schedule_of(pipeline: Any) -> TableSchedule:
    """The schedule of a pipeline as a table from t = 0, which diffusers leaves out."""
    table = pipeline.scheduler.alphas_cumprod.double().cpu()
    return TableSchedule(torch.cat([torch.ones(1, dtype=torch.float64), table]))


def told_loss(pipeline: Any) -> Loss:
    """The denoising loss `()` of a batch of latents and vectors of texts; a share UNCONDITIONAL is told the empty text."""
    process = GaussianDiffusion(schedule_of(pipeline))
    prediction, nothing = PREDICTIONS[pipeline.scheduler.config.prediction_type], told(pipeline, [""])

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        x0, cond = batch
        lost = uniform((len(x0),), generator, device=x0.device) < UNCONDITIONAL
        cond = torch.where(lost[:, None, None], nothing.to(cond), cond)
        t, noise = process.schedule.times(len(x0), generator, x0.device), normal_like(x0, generator)
        return denoising_loss(network, x0, t, noise, process, prediction, cond).mean()

    return loss


def finetune(
    pipeline: Any,
    new: Batch,
    steps: int,
    batch_size: int = 4,
    learning_rate: float | None = None,
    kept: Batch | None = None,
    seed: int = 0,
    **options: Any,
) -> Iterator[TrainState]:
    """Teach a pipeline's adapters with latents `(n, C, h, w)` and the vectors of their texts, with `kept` ones mixed in.

    One state a step, as `training.loop.fit` yields them, which takes the other options. The learning rate is RATE where it is None.
    Raises ValueError where `fit` does.
    """
    rate, network = RATE if learning_rate is None else learning_rate, Told(pipeline.unet)
    return lessons(network, told_loss(pipeline), mixed(new, kept), steps, batch_size, rate, seed=seed, **options)


def save_adapters(path: Path, taught: Told) -> None:
    """Write the adapters of a taught network alone, as `load_lora_weights` of a pipeline reads them.

    Raises ValueError where the file cannot be written.
    """
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    from peft import get_peft_model_state_dict

    check_destination(path)
    layers: dict[str, nn.Module | Tensor] = dict(get_peft_model_state_dict(taught.unet))
    StableDiffusionPipeline.save_lora_weights(str(path.parent), unet_lora_layers=layers, weight_name=path.name)
