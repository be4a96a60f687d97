"""The diagram of a U-Net, drawn from the shapes that the network itself produces."""

from typing import NamedTuple

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from course_lib.nets.blocks import Downsample, SelfAttention, Upsample
from course_lib.nets.unet import UNet

ROW, WIDTH, HEIGHT = 1.0, 2.7, 0.62
LEFT, CENTRE, RIGHT = 1.5, 4.0, 6.5
COLORS = {"convolution": "C5", "residual": "C0", "resize": "C4"}


class Box(NamedTuple):
    """One layer: what it is, the shape `(C, H, W)` that it produces, whether attention follows it."""

    text: str
    kind: str
    shape: tuple[int, ...]
    attention: bool = False


def shapes_of(network: UNet, image_shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """Run the network once and note the shape of every submodule's output."""
    shapes: dict[str, tuple[int, ...]] = {}

    def remember(name: str):  # type: ignore[no-untyped-def]
        def hook(module: torch.nn.Module, inputs: object, output: Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return hook

    handles = [module.register_forward_hook(remember(name)) for name, module in network.named_modules() if name]
    with torch.no_grad():
        network(torch.zeros(1, *image_shape), torch.ones(1))
    for handle in handles:
        handle.remove()
    return shapes


def columns_of(network: UNet, image_shape: tuple[int, int, int]) -> tuple[list[Box], Box, list[Box], set[int]]:
    """The way down, the middle, the way up, and the numbers of the boxes on the way up after which the image is enlarged."""
    shapes = shapes_of(network, image_shape)

    def box(name: str, layer: torch.nn.Module) -> Box:
        if isinstance(layer, Downsample):
            return Box("convolution, stride 2", "resize", shapes[name])
        return Box("residual block", "residual", shapes[name], isinstance(layer.attention, SelfAttention))

    first = Box("3×3 convolution", "convolution", shapes["first"])
    down = [first] + [box(f"down.{n}", layer) for n, layer in enumerate(network.down)]
    up: list[Box] = []
    enlarged: set[int] = set()
    for n, layer in enumerate(network.up):
        if isinstance(layer, Upsample):
            enlarged.add(len(up) - 1)
        else:
            up.append(box(f"up.{n}", layer))
    return down, box("middle", network.middle), up, enlarged


def draw_box(axes: Axes, x: float, y: float, box: Box) -> None:
    """One rounded box with its name and shape; a dot where the time enters, a diamond where pixels attend."""
    color = COLORS[box.kind]
    style = {"boxstyle": "round,pad=0.02,rounding_size=0.08", "linewidth": 1.3}
    axes.add_patch(
        FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, edgecolor=color, facecolor=color, alpha=0.18, **style
        )
    )
    axes.add_patch(
        FancyBboxPatch((x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, edgecolor=color, facecolor="none", **style)
    )
    size = " × ".join(map(str, box.shape))
    axes.text(x, y, f"{box.text}\n{size}", ha="center", va="center", fontsize=8, linespacing=1.25)
    if box.kind == "residual":
        axes.plot(x - WIDTH / 2 + 0.18, y, "o", color="C1", markersize=5)
    if box.attention:
        axes.plot(x + WIDTH / 2 - 0.2, y, "D", color="C3", markersize=5)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], skip: bool = False) -> None:
    """A flow of features; a skip is dashed."""
    look = {
        "arrowstyle": "-|>",
        "color": "0.45" if skip else "0.2",
        "linestyle": "--" if skip else "-",
        "shrinkA": 0,
        "shrinkB": 0,
    }
    axes.annotate("", end, start, arrowprops=look)


def unet(network: UNet, image_shape: tuple[int, int, int]) -> Figure:
    """The whole network as a U: each box gives channels × height × width of what leaves it."""
    down, middle, up, enlarged = columns_of(network, image_shape)
    figure, axes = plt.subplots(figsize=(6.8, 7.0))
    axes.set(xlim=(0, 8), ylim=(-ROW * (len(down) + 1.9), 1.5))
    axes.set_axis_off()
    for n, box in enumerate(down):
        y = -ROW * n
        draw_box(axes, LEFT, y, box)
        arrow(axes, (LEFT, y + ROW - HEIGHT / 2 if n else 0.85), (LEFT, y + HEIGHT / 2))
        arrow(axes, (LEFT + WIDTH / 2, y), (RIGHT - WIDTH / 2, y), skip=True)
    bottom = -ROW * len(down)
    draw_box(axes, CENTRE, bottom, middle)
    arrow(axes, (LEFT, bottom + ROW - HEIGHT / 2), (CENTRE - WIDTH / 2, bottom))
    arrow(axes, (CENTRE + WIDTH / 2, bottom), (RIGHT, bottom + ROW - HEIGHT / 2))
    for n, box in enumerate(up):
        y = bottom + ROW * (n + 1)
        draw_box(axes, RIGHT, y, box)
        arrow(axes, (RIGHT, y + HEIGHT / 2), (RIGHT, y + ROW - HEIGHT / 2))
        if n in enlarged:
            axes.text(RIGHT - 0.15, y + ROW / 2, "repeat, convolve", ha="right", va="center", fontsize=7, color="0.3")
    channels, height, width = image_shape
    patch = network.config["patch"]
    axes.text(LEFT, 1.05, f"input: {channels} × {height} × {width}", ha="center", va="center")
    axes.text(RIGHT, 1.05, f"output: {channels} × {height} × {width}", ha="center", va="center")
    arrow(axes, (LEFT + 1.1, 1.05), (RIGHT - 1.15, 1.05), skip=True)
    axes.text(CENTRE, 1.1, "times a gain $g(t)$", ha="center", va="bottom", fontsize=7, color="0.3")
    last = "norm, convolve" if patch == 1 else f"norm, convolve, join {patch}×{patch} patches"
    axes.text(RIGHT + 0.15, 0.5, last, ha="left", va="center", fontsize=7, color="0.3")
    if patch > 1:
        axes.text(
            LEFT + 0.15, 0.5, f"cut into {patch}×{patch} patches", ha="left", va="center", fontsize=7, color="0.3"
        )
    axes.text(CENTRE, 0.1, "skip: joined along channels", ha="center", va="bottom", fontsize=7, color="0.3")
    condition = network.condition
    y = bottom - 0.95
    axes.plot(0.35, y, "o", color="C1", markersize=5)
    told = f"told the time: $t$ → {condition.time.sinusoids} sinusoids → MLP → {condition.time[-1].out_features} numbers → scale and shift"
    axes.text(0.55, y, told, va="center", fontsize=8)
    axes.plot(0.35, y - 0.5, "D", color="C3", markersize=5)
    axes.text(0.55, y - 0.5, "followed by self-attention among all pixels", va="center", fontsize=8)
    plt.close(figure)
    return figure
