"""Adapters of low rank on disk: a file of their weights alone, which goes with the network that they were trained around."""

import json
from pathlib import Path

from torch import nn

from course_lib.models.tensors import load_tensors, save_tensors
from course_lib.nets.lora import LoRA, adapters, put_in

PREFIX = "base_model.model."  # with which the library peft begins the names in an adapter's file
PARTS = ("lora_A", "lora_B")


def save_lora(path: Path, network: nn.Module) -> None:
    """Write a network's adapters alone to a safetensors file, under peft's names, with their scales in its metadata.

    Raises ValueError where there are none, or where the file cannot be written.
    """
    found = adapters(network)
    if not found:
        raise ValueError("network has no adapters to save: add_lora puts some into it")
    tensors = {
        f"{PREFIX}{name}.{part}.weight": getattr(adapter, part).weight
        for name, adapter in found.items()
        for part in PARTS
    }
    save_tensors(path, tensors, {"scales": json.dumps({name: adapter.scale for name, adapter in found.items()})})


def load_lora(path: Path, network: nn.Module) -> dict[str, LoRA]:
    """Put the adapters of a file into a network that has none, in place; returns them by name.

    Raises ValueError where the file is missing, damaged, or made for another network, which then stays as it is.
    """
    tensors, metadata = load_tensors(path)
    found = {}
    try:
        for name, scale in json.loads(metadata["scales"]).items():
            weights = {part: tensors[f"{PREFIX}{name}.{part}.weight"] for part in PARTS}
            rank = len(weights["lora_A"])
            found[name] = LoRA(network.get_submodule(name), rank, scale * rank)
            for part, weight in weights.items():
                getattr(found[name], part).load_state_dict({"weight": weight})
    except (KeyError, AttributeError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"{path} does not hold adapters of this network ({reason}): choose the file made for it"
        ) from error
    return put_in(network, found)
