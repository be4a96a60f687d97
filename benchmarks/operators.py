"""What the small operations of a training step cost: python -m benchmarks.operators

Forward and backward passes on 128 images of 64 channels at 14 x 14, in bf16, in the memory order of fast convolutions; the optimiser
and the average of weights on the U-Net of `mnist-ddpm`. Rounds are interleaved. Written to results/bench-operators.json.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.record import machine, measured, write
from course_lib.data.images import to_unit
from course_lib.nets.blocks import attend
from course_lib.nets.norms import ChannelNorm, RMSNorm, group_norm
from course_lib.nets.unet import UNet
from course_lib.recipes.rows import SMALL
from course_lib.training.loop import averaged

IMAGES, CHANNELS, SIDE = 128, 64, 14
TOKENS, HEADS = 49, 4


def forward_and_backward(
    function: Callable[[Tensor], Tensor], *shape: int, dtype: torch.dtype = torch.bfloat16
) -> Callable[[], None]:
    """A function's forward and backward pass on normal numbers of a shape."""
    x = torch.randn(shape, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x
    x.requires_grad_()
    gradient = torch.randn_like(function(x))
    return lambda: function(x).backward(gradient)


def fused(query: Tensor) -> Tensor:
    """torch's own attention kernel."""
    return F.scaled_dot_product_attention(query, query, query)


def acts() -> dict[str, Callable[[], Any]]:
    """What is measured, by name."""
    image = (IMAGES, CHANNELS, SIDE, SIDE)
    heads = (IMAGES, HEADS, TOKENS, CHANNELS // HEADS)
    conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    scale = torch.randn(IMAGES, CHANNELS, 1, 1, dtype=torch.bfloat16)
    group = group_norm(CHANNELS)
    network = UNet(**SMALL).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    average = averaged(network, 0.999)
    pixels = torch.randint(0, 256, (60_000, 1, 28, 28), dtype=torch.uint8)
    return {
        "convolution 3 x 3, bf16": forward_and_backward(conv, *image),
        "convolution 3 x 3, float32": forward_and_backward(plain, *image, dtype=torch.float32),
        "channel norm": forward_and_backward(ChannelNorm(), *image),
        "RMS norm": forward_and_backward(RMSNorm(), *image),
        "group norm, bf16": forward_and_backward(group, *image),
        "group norm, float32": forward_and_backward(group, *image, dtype=torch.float32),
        "SiLU": forward_and_backward(F.silu, *image),
        "scale and shift": forward_and_backward(lambda x: torch.addcmul(scale, x, 1 + scale), *image),
        "attention by the formula": forward_and_backward(lambda q: attend(q, q, q), *heads),
        "attention by the fused kernel": forward_and_backward(fused, *heads),
        "AdamW, fused": torch.optim.AdamW(network.parameters(), fused=True).step,
        "AdamW, one weight after the other": torch.optim.AdamW(network.parameters(), foreach=False).step,
        "average of the weights": lambda: average.update_parameters(network),
        "a batch of pixels": lambda: to_unit(pixels[torch.randint(0, 60_000, (IMAGES,))]),
    }


def milliseconds(act: Callable[[], Any], seconds: float) -> float:
    """The mean time of one act, repeated for about so many seconds."""
    act()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        act()
        count += 1
    return 1e3 * (time.perf_counter() - start) / count


def main() -> None:
    """Measure every operation and write the table into the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all runs; writes nothing")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    rounds, seconds = (1, 0.01) if arguments.quick else (7, 0.3)
    started, todo = time.monotonic(), acts()
    found: dict[str, list[float]] = {name: [] for name in todo}
    for _ in range(rounds):
        for name, act in todo.items():
            found[name].append(milliseconds(act, seconds))
    metrics = {f"{name}, ms": measured(values) for name, values in found.items()}
    for name in metrics:
        print(name, metrics[name]["value"], flush=True)
    if not arguments.quick:
        options = {"images": IMAGES, "channels": CHANNELS, "side": SIDE, "rounds": rounds, **machine()}
        write(arguments.out / "bench-operators.json", "operators of a training step", options, metrics, started)


if __name__ == "__main__":
    main()
