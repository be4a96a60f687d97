"""How a benchmark enters the ledger: the same fields as `course evaluate` writes."""

import json
import platform
import statistics
import time
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import torch

from course_lib.files import write_atomically


def machine() -> dict[str, Any]:
    """What ran: processor, threads, versions."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    found = {distribution.name: distribution.version for distribution in distributions()}
    packages = {name: found[name] for name in ("torch", "diffusers", "denoising-diffusion-pytorch") if name in found}
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else model.partition(":")[2].strip()
    return {"machine": name or platform.processor(), "threads": torch.get_num_threads()} | {
        p: version(p) for p in packages
    }


def measured(values: list[float]) -> dict[str, float]:
    """The median of repeated measurements, with the lowest and the highest."""
    return {"value": round(statistics.median(values), 3), "low": round(min(values), 3), "high": round(max(values), 3)}


def write(
    path: Path, name: str, options: dict[str, Any], metrics: dict[str, Any], started: float, **more: dict[str, Any]
) -> None:
    """Write one entry of the ledger; `started` is the time.monotonic() of its beginning, `more` what else it holds."""
    entry = {
        "model": name,
        "options": options,
        "metrics": metrics,
        **more,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "minutes": round((time.monotonic() - started) / 60, 2),
        "version": version("learning-to-denoise"),
    }
    write_atomically(path, json.dumps(entry, indent=2).encode() + b"\n")
    print(f"written to {path}", flush=True)
