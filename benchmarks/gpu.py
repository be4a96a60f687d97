"""On a GPU: how much of its bf16 matrix rate a training step uses, ours and the peers': python -m benchmarks.gpu [--batch 512]

Model FLOPs utilisation (MFU) is three times the forward pass's floating-point operations, times images a second, divided by the
rate of a large bf16 matrix product measured just before on the same GPU. Written to results/bench-gpu.json.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contestants import diffusers_unet, gflop, lucid_unet
from benchmarks.record import machine, measured, write
from course_lib.diffusion import schedules
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import V
from course_lib.nets.dit import DiT
from course_lib.nets.unet import UNet
from course_lib.recipes.diffusion import diffusion_loss
from course_lib.training.loop import Loss, fit
from course_lib.types import Cond

SHAPE = (3, 32, 32)
NETWORKS: dict[str, Any] = {
    "course_lib, U-Net": partial(UNet, 3, width=256, multipliers=(1, 2), blocks=2, attention=(1,), patch=2),
    "course_lib, DiT": partial(DiT, 3, patch=2, width=768, depth=12, heads=12),
}
PEERS: dict[str, Any] = {
    "diffusers": partial(diffusers_unet, *SHAPE[:2]),
    "denoising-diffusion-pytorch": partial(lucid_unet, SHAPE[0]),
}


def matmul_rate(device: torch.device, side: int, repeats: int = 20) -> float:
    """bf16 floating-point operations a second of a product of two side x side matrices."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    seconds = timed(lambda: a @ a, device, repeats)
    return 2 * side**3 / seconds


def timed(act: Any, device: torch.device, repeats: int) -> float:
    """Seconds of one act, averaged over so many in a row, after three for warming up."""
    for _ in range(3):
        act()
    synchronise(device)
    start = time.perf_counter()
    for _ in range(repeats):
        act()
    synchronise(device)
    return (time.perf_counter() - start) / repeats


def synchronise(device: torch.device) -> None:
    """Wait for the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def predict(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    """The network's answer; diffusers wraps its own."""
    answer = network(x, t)
    return answer if isinstance(answer, Tensor) else answer.sample


def measure(name: str, device: torch.device, batch: int, repeats: int, rounds: int, compiled: bool) -> dict[str, Any]:
    """Images a second and TFLOP/s of training with `fit`, in bf16."""
    network = (NETWORKS | PEERS)[name]().to(device)
    work = gflop_on_cpu(name)
    images = torch.randint(0, 256, (4 * batch, *SHAPE), dtype=torch.uint8, device=device)
    wrapped = loss_of(name)
    states = fit(network, wrapped, (images,), 1_000_000, batch, bf16=True, compiled=compiled)
    rates = [batch / timed(lambda: next(states), device, repeats) for _ in range(rounds)]
    return {
        f"{name}, images/s": measured(rates),
        f"{name}, TFLOP/s": measured([3e-3 * work * rate for rate in rates]),
    }


def gflop_on_cpu(name: str) -> float:
    """GFLOP of a forward pass, counted on the CPU."""
    return gflop((NETWORKS | PEERS)[name](), predict, SHAPE)


class Asked(nn.Module):
    """A peer's network, asked as ours are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """The peer's answer; it takes no condition."""
        return predict(self.network, x, t)


def loss_of(name: str) -> Loss:
    """The same loss for all: the denoising loss with v, for the peers on top of their own networks."""
    loss = diffusion_loss(GaussianDiffusion(schedules.cosine()), V)
    if name in NETWORKS:
        return loss
    return lambda network, batch, generator: loss(Asked(network), batch, generator)


def main() -> None:
    """Measure, and write the table into the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument(
        "--quick", action="store_true", help="a few small steps on any device, to see that all runs; writes nothing"
    )
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and not arguments.quick:
        parser.error("no GPU was found: run it where torch sees one, or add --quick to try the code")
    device, started = torch.device("cuda" if torch.cuda.is_available() else "cpu"), time.monotonic()
    batch, repeats, rounds, side = (4, 1, 1, 256) if arguments.quick else (arguments.batch, 20, 5, 8192)
    names = [*PEERS] if arguments.quick else [*NETWORKS, *PEERS]
    peak = matmul_rate(device, side)
    metrics: dict[str, Any] = {"bf16 matrix product, TFLOP/s": {"value": round(peak / 1e12, 2)}}
    for name in names:
        metrics |= measure(name, device, batch, repeats, rounds, compiled=not (arguments.eager or arguments.quick))
        share = {key: round(v * 1e12 / peak, 4) for key, v in metrics[f"{name}, TFLOP/s"].items()}
        metrics[f"{name}, MFU"] = share
        print(name, metrics[f"{name}, images/s"], f"MFU {share['value']:.1%}", flush=True)
    if not arguments.quick:
        options = {"shape": "32x32x3", "batch": batch, "compiled": not arguments.eager, **machine()}
        write(arguments.out / "bench-gpu.json", "training on a GPU at 32x32x3", options, metrics, started)


if __name__ == "__main__":
    main()
