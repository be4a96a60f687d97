"""Write a model as a folder that `DiffusionPipeline.from_pretrained` reads, with all the code that it needs."""

import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

from safetensors.torch import save as serialised
from torch import nn

from course_lib.files import write_atomically
from course_lib.interop.bundle import self_contained
from course_lib.interop.description import CODE, Exported, facts, write_json

PIPELINE = "LearningToDenoisePipeline"

README = """# {name} for diffusers

{facts}

```python
import torch
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("path/of/this/folder", trust_remote_code=True)  # it holds the network's code
images = pipeline(batch_size=8, num_inference_steps={steps}, generator=torch.Generator().manual_seed(0)).images
```

From the same noise it draws what `course sample` draws in float32, but for rounding.

{about}
"""
TABLE = """The scheduler is told x_0 and takes DDIM's steps. Another one for variance-preserving tables may take its place:

```python
from diffusers import DDIMScheduler

pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
```"""
CLASSES = (
    "`class_labels` chooses among the {classes} classes (all in turn by default), and `guidance_scale` guides to them."
)


def write_diffusers(folder: Path, model: Exported) -> None:
    """Write network, scheduler, pipeline and README into an empty folder; the network's code is copied, so that no course is needed."""
    description, schedule = dict(model.description), model.description["schedule"]
    description.pop("name")
    description["schedule"] = {key: value for key, value in schedule.items() if key not in ("signal", "noise")}
    scheduler = build_scheduler(schedule)
    parts = {"network": ("ExportedNetwork", model.network, description)}
    if model.autoencoder is not None:
        parts["autoencoder"] = ("ExportedAutoencoder", model.autoencoder, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that diffusers looks for
        import diffusers

        scheduler.save_pretrained(folder / "scheduler")
    for name, (wrapper, network, more) in parts.items():
        write_part(folder / name, name, wrapper, network, {**more, "_diffusers_version": diffusers.__version__})
    index: dict[str, Any] = {"_class_name": ["pipeline", PIPELINE], "_diffusers_version": diffusers.__version__}
    index |= {name: [name, wrapper] for name, (wrapper, _, _) in parts.items()}
    write_json(folder / "model_index.json", index | {"scheduler": ["diffusers", type(scheduler).__name__]})
    (folder / "pipeline.py").write_text((CODE / "exported_pipeline.py").read_text())
    (folder / "README.md").write_text(read_me(model))


def build_scheduler(schedule: dict[str, Any]) -> Any:
    """The scheduler of diffusers that takes the steps of our `ddim`.

    DPM-Solver++ of order 1 is DDIM, and keeps to whole times for any number of steps, where diffusers' own DDIM wants a divisor of T.
    """
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    if schedule["kind"] != "table":
        return FlowMatchEulerDiscreteScheduler()
    alpha_bar = [signal**2 for signal in schedule["signal"]]
    return DPMSolverMultistepScheduler(
        num_train_timesteps=len(alpha_bar) - 1,
        trained_betas=[1 - after / before for before, after in pairwise(alpha_bar)],  # type: ignore[arg-type]
        prediction_type="sample",
        algorithm_type="dpmsolver++",
        solver_order=1,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
    )


def write_part(folder: Path, name: str, wrapper: str, network: nn.Module, config: dict[str, Any]) -> None:
    """Write a network's weights, configuration and code."""
    folder.mkdir()
    weights = {f"network.{key}": value.contiguous().clone() for key, value in network.state_dict().items()}
    write_atomically(folder / "diffusion_pytorch_model.safetensors", serialised(weights, {"format": "pt"}))
    write_json(folder / "config.json", {"_class_name": wrapper, **config, "architecture": network.config})
    (folder / f"{name}.py").write_text(code_of(type(network), wrapper))


def code_of(network: type[nn.Module], wrapper: str) -> str:
    """The source of a network's class and of the model of diffusers around it, as one file."""
    roots = [(network.__module__, network.__name__), ("course_lib.interop.exported_network", wrapper)]
    words = f'"""{network.__name__} of the course Learning to Denoise (MIT licence): its source, and a model of diffusers around it."""'
    return f"{words}\n\n" + self_contained(roots, {"Network": network.__name__})


def read_me(model: Exported) -> str:
    """What the folder holds, and how to draw from it."""
    description = model.description
    about = [TABLE] if description["schedule"]["kind"] == "table" and not description["leaps"] else []
    if description["classes"]:
        about.append(CLASSES.format(**description))
    steps = (description["leaps"] or [50])[-1]
    return (
        README.format(name=model.card.name, facts=facts(model.card), steps=steps, about="\n\n".join(about)).rstrip()
        + "\n"
    )
