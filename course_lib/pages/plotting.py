"""Figures: one style, grids of images, tables, and animations that a static page can play."""

import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from course_lib.data.images import to_bytes
from course_lib.pages.numbers import typeset
from course_lib.pages.player import player_html

STYLE = Path(__file__).with_name("course.mplstyle")


def use_style() -> None:
    """Use the course's style for every figure from here on; in a notebook, draw line plots as SVG."""
    plt.style.use(STYLE)
    try:
        from IPython.core.getipython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:  # outside a notebook there is no display to set up
        return
    if get_ipython() is not None:
        set_matplotlib_formats("svg")


def as_pictures(images: Tensor) -> np.ndarray:
    """Images `(N, C, H, W)` in [-1, 1], C = 1 or 3, as uint8 `(N, H, W)` or `(N, H, W, 3)`.

    Raises ValueError for any other shape.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must have shape (N, 1 or 3, H, W); got {tuple(images.shape)}")
    pictures = to_bytes(images).permute(0, 2, 3, 1).cpu().numpy()
    return pictures[..., 0] if pictures.shape[-1] == 1 else pictures


def grid(images: Tensor, columns: int | None = None, gap: int = 1, paper: int = 255) -> np.ndarray:
    """One picture `(H', W'[, 3])` uint8 of N images in rows of `columns`, `gap` pixels of `paper` grey between them."""
    pictures = as_pictures(images)
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    _, height, width, *rest = pictures.shape
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, *rest), paper, np.uint8)
    for n, picture in enumerate(pictures):
        top, left = gap + n // columns * (height + gap), gap + n % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def grid_png(images: Tensor, columns: int | None = None, scale: int = 3) -> bytes:
    """A grid of images `(N, C, H, W)` in [-1, 1] as a PNG file, each pixel `scale` pixels wide."""
    sheet, file = Image.fromarray(grid(images, columns)), io.BytesIO()
    sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def show_image(axes: Axes, picture: np.ndarray, title: str = "") -> None:
    """Draw one uint8 picture into axes without ticks or frame, its pixels sharp."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()


def show_rows(
    rows: Sequence[Tensor], labels: Sequence[str] = (), titles: Sequence[str] = (), size: float = 0.7
) -> Figure:
    """A figure with one row for each tensor `(N, C, H, W)`, named at its left, and a title over each column."""
    columns = max(len(row) for row in rows)
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(size * columns + (1.2 if labels else 0), size * len(rows) + 0.3), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for line, row in zip(axes, rows, strict=True):
        for axis, picture in zip(line, as_pictures(row), strict=False):
            show_image(axis, picture)
    for axis, label in zip(axes[:, 0], labels, strict=False):
        axis.text(-0.15, 0.5, label, transform=axis.transAxes, ha="right", va="center")
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title)
    return figure


def rows(groups: Mapping[str, Tensor], titles: Sequence[str] = (), size: float = 0.5) -> Figure:
    """A closed figure with one row of images `(N, C, H, W)` for each named group; `size` is an image's width in inches."""
    return closed(show_rows(list(groups.values()), list(groups), titles, size))


def closed(figure: Figure) -> Figure:
    """The figure, closed, so that a notebook shows it once, as a cell's value."""
    plt.close(figure)
    return figure


def curves(xlabel: str, ylabel: str, columns: int = 1, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    """A figure as wide as the page with axes side by side for line plots, their labels set."""
    figure, axes = plt.subplots(1, columns, figsize=(6.8, height), squeeze=False)
    for axis in axes[0]:
        axis.set(xlabel=xlabel, ylabel=ylabel)
    return figure, list(axes[0])


def shades(color: str = "0.5", most: float = 1.0) -> LinearSegmentedColormap:
    """A colour map from nothing to `most` of one colour: where a value is small the page shows through, be it light or dark."""
    return LinearSegmentedColormap.from_list(f"shades of {color}", [(*to_rgb(color), 0.0), (*to_rgb(color), most)])


def trajectories(axes: Axes, paths: Tensor, color: str = "C0", width: float = 0.6) -> None:
    """Draw the paths `(steps, N, 2)` of N points through time as thin lines, with a dot at each end."""
    lines = paths.detach().cpu().numpy()
    axes.plot(lines[:, :, 0], lines[:, :, 1], color=color, linewidth=width, alpha=0.5)
    axes.scatter(lines[-1, :, 0], lines[-1, :, 1], s=4, color=color, zorder=3)


class Animation:
    """Frames that play on a static page; as the last value of a cell it shows a player with a slider and buttons.

    `frames` are uint8 pictures `(N, H, W[, 3])` or matplotlib figures, which are drawn and closed one by one.
    """

    def __init__(
        self,
        frames: np.ndarray | Iterable[Figure],
        alt: str,
        captions: Sequence[str] = (),
        fps: float = 8,
        width: int = 480,
    ) -> None:
        self.frames = frames if isinstance(frames, np.ndarray) else np.stack([rendered(figure) for figure in frames])
        self.html = player_html(self.frames, alt, captions, fps, width, drawn=not isinstance(frames, np.ndarray))

    def _repr_html_(self) -> str:
        return self.html


def box(axes: Axes, x: float, y: float, text: str, color: str, width: float = 1.5) -> None:
    """A box of a diagram, with its middle at (x, y) and its text inside."""
    axes.add_patch(Rectangle((x - width / 2, y - 0.3), width, 0.6, facecolor="white", edgecolor=color, linewidth=1.5))
    axes.text(x, y, text, ha="center", va="center", fontsize=9, color="black")


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    """An arrow of a diagram, with a word above its middle."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "0.45", "linewidth": 1.2})
    if text:
        axes.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.12, text, ha="center", fontsize=8, color="0.45")


def rendered(figure: Figure, dpi: int = 100) -> np.ndarray:
    """A figure as a picture `(H, W, 3)` uint8 on white paper; the figure is closed."""
    figure.set_dpi(dpi)
    figure.set_facecolor("white")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    plt.close(figure)
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def table(header: Sequence[str], rows: Iterable[Sequence[str]], letters: Sequence[int] = ()) -> str:
    """An HTML table of texts; where it is wider than the page, it scrolls.

    Numbers are set as in the text, but in the columns `letters` each letter stands as it is, below that of the row above.
    """

    def line(cells: Sequence[str]) -> str:
        found = [
            f'<td class="letters">{html.escape(cell)}</td>'
            if number in letters
            else f"<td>{html.escape(typeset(cell, narrow=True))}</td>"
            for number, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(found)}</tr>"

    head = "".join(f"<th>{html.escape(typeset(cell, narrow=True))}</th>" for cell in header)
    body = "".join(map(line, rows))
    rows_ = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scrolls" style="overflow-x: auto"><table class="table">{rows_}</table></div>'
