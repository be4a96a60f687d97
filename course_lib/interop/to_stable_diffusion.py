"""Write a text-to-image model as a folder of a StableDiffusionPipeline, which is made of diffusers' and transformers' own classes alone."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from course_lib.data import tokens
from course_lib.data.scenes import PHRASE
from course_lib.interop.description import describe_schedule, facts
from course_lib.interop.to_diffusers import build_scheduler
from course_lib.models.cards import ModelCard
from course_lib.nets.standard import StandardAutoencoder, StandardUNet
from course_lib.sampling.generate import Denoising

PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}  # diffusers' names of ours
README = """# {name}, a pipeline of Stable Diffusion's parts

{facts}

```python
import torch
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("path/of/this/folder")
texts = ["a small red circle above a large blue square"] * 8
generator = torch.Generator().manual_seed(0)
images = pipeline(texts, guidance_scale=3.0, num_inference_steps=25, generator=generator).images
```

A text reads `{phrase}`.
Any other word is spelled letter by letter, and the model has not learned what it means.

At scales of 1 and above the pipeline draws what `course draw` draws in float32 from the same noise, but for rounding, if the number of
steps divides {T}. The scheduler is DPM-Solver++ of order 1, which is DDIM; another one for variance-preserving tables may take its place:

```python
from diffusers import DDIMScheduler

pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
```

`course finetune path/of/this/folder --pictures MINE --captions SAID.txt --out lora.safetensors` teaches the U-Net something new from a few
pictures, and `pipeline.load_lora_weights("lora.safetensors")` loads what it has learned.
"""


def write_stable_diffusion(folder: Path, model: Denoising, card: ModelCard) -> None:
    """Write the pipeline and a README into an empty folder; raises ValueError where the model's parts are no such pipeline's."""
    pipeline = build_pipeline(model, card)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that diffusers looks for
        pipeline.save_pretrained(folder)
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(tokens.vocabulary()))  # what older versions of
    lines = ["#version: 0.2", *map(" ".join, tokens.merges())]  # transformers read in the place of tokenizer.json
    (folder / "tokenizer" / "merges.txt").write_text("\n".join(lines) + "\n")
    words = README.format(name=card.name, facts=facts(card), phrase=PHRASE, T=f"{model.schedule.T:g}")
    (folder / "README.md").write_text(words)


def build_pipeline(model: Denoising, card: ModelCard) -> Any:
    """A StableDiffusionPipeline that shares its weights with the model.

    Raises ValueError where the model's parts are no such pipeline's, and where its scheduler could not draw as it does.
    """
    network, autoencoder = model.network, model.autoencoder
    if not isinstance(network, StandardUNet) or not isinstance(autoencoder, StandardAutoencoder):
        raise ValueError(
            f"{card.name} must be a StandardUNet of the latents of a StandardAutoencoder to become a StableDiffusionPipeline; "
            f"got {type(network).__name__} and {type(autoencoder).__name__}"
        )
    schedule = describe_schedule(card.name, model.schedule)
    if schedule["kind"] != "table" or model.prediction.name not in PREDICTIONS:
        raise ValueError(
            f"{card.name} must predict {', '.join(PREDICTIONS)} by a table of noise levels to become a StableDiffusionPipeline; "
            f"it predicts {model.prediction.name}, and its schedule is {card.schedule['name']}"
        )
    if network.takes.tokens != len(tokens.vocabulary()):
        raise ValueError(
            f"{card.name} reads {network.takes.tokens} tokens, and the tokenizer has {len(tokens.vocabulary())}: they must be the same"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    plain = build_scheduler(schedule)
    more = {"prediction_type": PREDICTIONS[model.prediction.name], "steps_offset": 1}  # which the pipeline asks for
    autoencoder.vae.register_to_config(scaling_factor=1 / float(autoencoder.scale))
    for part in (network, autoencoder):
        part.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return StableDiffusionPipeline(
        vae=autoencoder.vae,
        text_encoder=network.text,
        tokenizer=build_tokenizer(network.length),
        unet=network.unet,
        scheduler=type(plain).from_config(plain.config, **more),
        safety_checker=None,  # type: ignore[arg-type]
        feature_extractor=None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    )


def build_tokenizer(length: int) -> Any:
    """The CLIPTokenizer of captions: it gives the numbers of `captions.encode` after BEGIN, and pads to so many tokens."""
    from transformers import CLIPTokenizer

    end, pad, begin = (tokens.SPECIAL[number] for number in (tokens.END, tokens.PAD, tokens.BEGIN))
    names = {"bos_token": begin, "eos_token": end, "pad_token": pad, "unk_token": end}
    merges: Any = list(tokens.merges())  # pairs, which transformers takes and declares as words
    return CLIPTokenizer(vocab=tokens.vocabulary(), merges=merges, model_max_length=length, **names)
