"""What this machine computes on: the device of this process, and whether it is fast in bf16."""

import os

import torch


def bf16_is_fast(device: torch.device) -> bool:
    """Whether bf16 matrix products run on units of their own: a GPU that has them, or a CPU with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def device() -> torch.device:
    """Where this process computes: a GPU of its own where there is one."""
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if torch.cuda.is_available()
        else torch.device("cpu")
    )
