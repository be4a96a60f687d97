"""Tensors on disk: safetensors only (never pickle), written atomically, with a digest of their contents."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor, nn

from course_lib.files import write_atomically


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to a safetensors file atomically, with a digest of their contents in its metadata.

    Raises ValueError where it cannot be written.
    """
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    write_atomically(path, serialised(tensors, {**(metadata or {}), "digest": digest(tensors)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata of a file that `save_tensors` wrote; raises ValueError where it is missing, damaged or foreign."""
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist: give the folder of a training run, or a .safetensors file with its .json card"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}): copy or download it again") from error
    if metadata.get("digest") != digest(tensors):
        raise ValueError(f"{path} is damaged: its contents do not match its own digest; copy or download it again")
    return tensors, metadata


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data)
    return total.hexdigest()


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put tensors into a network; raises ValueError where names or shapes differ."""
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ValueError(
            f"{path} holds the weights of another network: {str(error).splitlines()[-1].strip()}"
        ) from error
