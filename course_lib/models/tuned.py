"""What a fine-tuning learned, on disk: adapters and new words in one file, which goes with the model that it was trained for."""

import json
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from course_lib.models.adapters import PARTS, PREFIX, load_lora
from course_lib.models.tensors import load_tensors, save_tensors
from course_lib.nets.lora import adapters, check_bare
from course_lib.nets.words import add_words, grown_table

ROWS = "words"  # the tensor of the new words' rows


def save_tuned(path: Path, network: nn.Module, words: Sequence[str], model: str) -> None:
    """Write a network's adapters, under peft's names, and its new words' rows to a safetensors file.

    `words` are the names of the rows in their order, and `model` is the SHA-256 of the weights that were fine-tuned. Raises ValueError
    where there is nothing to save, where names and rows differ in number, or where the file cannot be written.
    """
    found, table = adapters(network), grown_table(network)
    if not found and table is None:
        raise ValueError("network has neither adapters nor new words to save: add_lora and add_words put them into it")
    rows = 0 if table is None else len(table.rows)
    if len(words) != rows:
        raise ValueError(f"words must name the network's {rows} new words; got {len(words)} names")
    tensors = {
        f"{PREFIX}{name}.{part}.weight": getattr(adapter, part).weight
        for name, adapter in found.items()
        for part in PARTS
    }
    if table is not None:
        tensors[ROWS] = table.rows
    scales = {name: adapter.scale for name, adapter in found.items()}
    save_tensors(path, tensors, {"scales": json.dumps(scales), "words": json.dumps(list(words)), "model": model})


def load_tuned(path: Path, network: nn.Module, model: str) -> list[str]:
    """Put the adapters and words of a file into the network that it was trained for, in place; returns the words.

    `model` is the SHA-256 of that network's weights. Raises ValueError where the network has adapters or words already, and where the file
    is missing, damaged, of another kind, or made for another model; then the network stays as it is.
    """
    check_bare(network)
    tensors, metadata = load_tensors(path)
    words = json.loads(metadata.get("words", "null"))
    if words is None:
        raise ValueError(f"{path} is no file of `course finetune`: it names no words")
    if metadata.get("model") != model:
        raise ValueError(
            f"{path} was fine-tuned from another model (SHA-256 differs): choose the model that it was made for"
        )
    if bool(words) != (ROWS in tensors):
        raise ValueError(f"{path} is no file of `course finetune`: its words and its rows differ")
    load_lora(path, network)
    if words:
        add_words(network, len(words)).rows.data.copy_(tensors[ROWS])
    return words
