"""Write a model as a folder for others: checked first, then written whole or not at all."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from course_lib.files import new_folder
from course_lib.interop.description import Exported, exported
from course_lib.models.cards import ModelCard, load_card
from course_lib.models.store import denoising, load, locate
from course_lib.nets.standard import HOW, StandardUNet
from course_lib.types import check_name

NEEDS = {"diffusers": ("diffusers",), "onnx": ("onnx", "onnxscript")}  # the packages that write each kind of folder


def export(model: Path | str, target: str, out: Path) -> ModelCard:
    """Write a model, named as for `models.store.load`, into the folder `out` for a `target`, "diffusers" or "onnx"; returns its card.

    Raises ValueError for an unknown model or target, for a model that draws no pictures or in a way of its own, where `out` is there
    already and not empty, and where a package is missing, which the message names. Then nothing is written. For diffusers, a model of
    Stable Diffusion's parts becomes a StableDiffusionPipeline, and any other brings its code.
    """
    check_name("target", target, NEEDS)
    if target == "diffusers" and load_card(locate(model).with_suffix(".json")).architecture == StandardUNet.__name__:
        return export_pipeline(model, out)
    found = exported(model)
    writer = writer_for(target)
    with new_folder(out) as folder:
        writer(folder, found)
    return found.card


def export_pipeline(model: Path | str, out: Path) -> ModelCard:
    """Write a model of Stable Diffusion's parts as a StableDiffusionPipeline; returns and raises as `export` does."""
    from course_lib.interop.to_stable_diffusion import write_stable_diffusion

    network, card = load(model)
    drawing = denoising(network, card)
    with new_folder(out) as folder:
        write_stable_diffusion(folder, drawing, card)
    return card


def writer_for(target: str) -> Callable[[Path, Exported], None]:
    """The function that writes such a folder; raises ValueError where a package that it needs is missing."""
    for package in NEEDS[target]:
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise ValueError(f"{error.name} is not installed, which an export to {target} needs: {HOW}") from error
    if target == "diffusers":
        from course_lib.interop.to_diffusers import write_diffusers as writer
    else:
        from course_lib.interop.to_onnx import write_onnx as writer
    return writer
