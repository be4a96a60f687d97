"""Write a model as a folder for others: checked first, then written whole or not at all."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from course_lib.files import new_folder
from course_lib.interop.description import Exported, exported
from course_lib.models.cards import ModelCard
from course_lib.types import check_name

NEEDS = {"diffusers": ("diffusers",), "onnx": ("onnx", "onnxscript")}  # the packages that write each kind of folder
HOW = "pip install 'learning-to-denoise[interop]'"


def export(model: Path | str, target: str, out: Path) -> ModelCard:
    """Write a model, named as for `models.store.load`, into the folder `out` for a `target`, "diffusers" or "onnx"; returns its card.

    Raises ValueError for an unknown model or target, for a model that draws no pictures or in a way of its own, where `out` is there
    already and not empty, and where a package is missing, which the message names. Then nothing is written.
    """
    check_name("target", target, NEEDS)
    found = exported(model)
    writer = writer_for(target)
    with new_folder(out) as folder:
        writer(folder, found)
    return found.card


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
