"""Draw the three drawings that open the book, as SVG, into book/_static/: the same bytes each time.

.venv/bin/python tools/draw_pictures.py
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from course_lib.data import sets
from course_lib.diffusion.schedules import cosine, linear, sigmoid

FOLDER = ROOT / "book" / "_static"
INK, SOFT, BLUE, ORANGE, GREEN = "#22303c", "#6b7a88", "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito's colours
FONT = 'font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif"'
DIGITS = (30, 50, 33)  # clear examples of a 0, a 2 and a 5 among scikit-learn's digits


def svg(width: int, height: int, parts: list[str], title: str) -> str:
    """A whole picture."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">\n'
        f"<title>{title}</title>\n{body}\n</svg>\n"
    )


def text(
    x: float, y: float, words: str, size: int = 16, color: str = INK, anchor: str = "middle", style: str = ""
) -> str:
    """One line of text; `words` may hold tspans."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{color}" text-anchor="{anchor}" {FONT} {style}>{words}</text>'


def sub(letter: str, index: str) -> str:
    """A letter with an index, in italics."""
    return f'<tspan font-style="italic">{letter}</tspan><tspan dy="5" font-size="70%">{index}</tspan><tspan dy="-5"> </tspan>'


def tile(image: Tensor, x: float, y: float, size: float) -> str:
    """An 8 x 8 image in [-1, 1] as one square for each pixel, on a card with round corners; it keeps its colours on dark pages."""
    pixel = size / 8
    levels = ((image.clamp(-1, 1) + 1) / 2 * 15).round().long()  # sixteen shades keep the file small
    card = f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}" rx="{pixel:g}" fill="{shade(0)}"/>'
    parts = ['<g class="pixels">', card]
    for row, line in enumerate(levels):
        for column, level in enumerate(map(int, line)):
            if level:  # a little larger than a pixel, so that no seam shows between neighbours
                corner = f'x="{x + column * pixel:.1f}" y="{y + row * pixel:.1f}"'
                parts.append(
                    f'<rect {corner} width="{pixel + 0.3:.1f}" height="{pixel + 0.3:.1f}" fill="{shade(level)}"/>'
                )
    return "".join([*parts, "</g>"])


def shade(level: int) -> str:
    """One of sixteen colours from night blue to near white."""
    dark, light = (13, 33, 55), (244, 248, 251)
    return "#" + "".join(f"{round(a + (b - a) * level / 15):02x}" for a, b in zip(dark, light, strict=True))


def digit(number: int) -> Tensor:
    """One of scikit-learn's digits, `(8, 8)` in [-1, 1]."""
    return sets.digits()[0][number, 0]


def noisy(x0: Tensor, alpha_bar: float, seed: int) -> Tensor:
    """The digit at a given alpha-bar, with noise that the seed fixes."""
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed))
    return alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * noise


def arrow(x1: float, y1: float, x2: float, y2: float, bend: float, color: str, dashed: bool = False) -> str:
    """A curved arrow; `bend` is how far its middle is pushed down."""
    middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2 + bend
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    return (
        f'<path d="M{x1:g} {y1:g} Q{middle_x:g} {middle_y:g} {x2:g} {y2:g}" fill="none" stroke="{color}" stroke-width="2.5"{dash} '
        f'marker-end="url(#{color[1:]})"/>'
    )


def arrow_head(color: str) -> str:
    """The head of all arrows of one colour."""
    return (
        f'<marker id="{color[1:]}" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L10 5L0 10z" fill="{color}"/></marker>'
    )


def forward_reverse() -> str:
    """The chain of latent variables with q above and p_theta below."""
    size, gap, top = 96, 84, 120
    alphas, names = (1.0, 0.72, 0.36, 0.1, 0.0), ("0", "t−1", "t", "T−1", "T")
    parts = ["<defs>", arrow_head(BLUE), arrow_head(ORANGE), "</defs>"]
    for column, (alpha_bar, name) in enumerate(zip(alphas, names, strict=True)):
        x = 30 + column * (size + gap)
        parts += [
            tile(noisy(digit(DIGITS[2]), alpha_bar, 2), x, top, size),
            text(x + size / 2, top + size + 28, sub("x", name), 19),
        ]
        if column:
            left, right = x - gap - size / 2, x + size / 2
            parts += [
                arrow(left + 20, top - 8, right - 24, top - 8, -62, BLUE),
                arrow(right - 20, top + size + 40, left + 24, top + size + 40, 62, ORANGE, True),
            ]
    width = 60 + 5 * size + 4 * gap
    middle = 30 + 1.5 * (size + gap) + size / 2
    forward = f"{sub('q(x', 't')}| {sub('x', 't−1')})"
    reverse = f"{sub('p', 'θ')}({sub('x', 't−1')}| {sub('x', 't')})"
    parts += [
        text(middle, top - 56, forward, 18, BLUE),
        text(middle, top + size + 104, reverse, 18, ORANGE),
        text(30, 28, "forward: add a little noise, fixed", 16, BLUE, "start"),
        text(width - 30, top + size + 130, "reverse: take a little noise away, learned", 16, ORANGE, "end"),
    ]
    return svg(width, top + size + 146, parts, "The forward and the reverse process")


def noise_schedule() -> str:
    """Three curves of alpha-bar, and below each other what each schedule does to a digit."""
    schedules = {"linear": (linear(), BLUE), "cosine": (cosine(), ORANGE), "sigmoid": (sigmoid(), GREEN)}
    left, width, height, size, count = 120, 760, 240, 66, 11
    parts = [f'<path d="M{left} 30V{30 + height}H{left + width}" fill="none" stroke="{SOFT}" stroke-width="1.5"/>']
    parts += [text(left - 14, 36, "1", 15, SOFT, "end"), text(left - 14, 34 + height, "0", 15, SOFT, "end")]
    parts += [text(left - 44, 30 + height / 2, f"ᾱ{sub('', 't')}", 20)]
    for row, (name, (schedule, color)) in enumerate(schedules.items()):
        times = torch.linspace(0, schedule.T, 101).round().long()
        curve = [
            f"{left + width * i / 100:.1f} {30 + height * (1 - float(a)):.1f}" for i, a in enumerate(schedule.at(times))
        ]
        parts.append(f'<path d="M{"L".join(curve)}" fill="none" stroke="{color}" stroke-width="3"/>')
        top = 60 + height + row * (size + 12)
        parts.append(text(left - 14, top + size / 2 + 6, name, 17, color, "end", 'font-weight="600"'))
        for column in range(count):
            alpha_bar = float(schedule.at(round(schedule.T * column / (count - 1))))
            x = left + (width - size) * column / (count - 1)
            parts.append(tile(noisy(digit(DIGITS[1]), alpha_bar, 7), x, top, size))
    bottom = 60 + height + 3 * (size + 12)
    parts += [
        text(left, bottom + 16, '<tspan font-style="italic">t</tspan> = 0', 16, SOFT, "start"),
        text(
            left + width,
            bottom + 16,
            '<tspan font-style="italic">t</tspan> = <tspan font-style="italic">T</tspan>',
            16,
            SOFT,
            "end",
        ),
    ]
    return svg(left + width + 20, bottom + 32, parts, "Three noise schedules")


PATH = (
    "Refresher",
    "1 Fundamentals",
    "2 DDPM",
    "3 DDIM",
    "4 Scores and SDEs",
    "5 Classifier guidance",
    "6 Classifier-free guidance",
    "7 Evaluation",
    "8 Thermodynamics",
    "9 The variance",
    "10 Flow matching",
    "11 Few steps",
    "12 GANs, VAEs, flows",
    "13 Latent diffusion",
    "14 Transformers",
    "15 Palette, restoring",
    "16 Designs",
    "17 Text to image",
    "18 Fine-tuning",
    "19 Symbols",
    "20 Sound and motion",
    "20 Shapes, molecules",
)


def learning_path() -> str:
    """The curriculum as a winding road."""
    width, step_x, step_y = 960, 300, 96
    height = 24 + step_y * -(-len(PATH) // 3)
    places = [
        (180 + step_x * (i % 3 if (i // 3) % 2 == 0 else 2 - i % 3), 60 + step_y * (i // 3)) for i in range(len(PATH))
    ]
    road = "M" + "L".join(f"{x} {y}" for x, y in places)
    parts = [
        f'<path d="{road}" fill="none" stroke="{SOFT}" stroke-width="5" stroke-linejoin="round" stroke-linecap="round" opacity="0.45"/>'
    ]
    for name, (x, y) in zip(PATH, places, strict=True):
        parts.append(f'<rect x="{x - 132}" y="{y - 26}" width="264" height="52" rx="26" fill="{BLUE}"/>')
        parts.append(text(x, y + 6, name, 17, "#ffffff", style='font-weight="600"'))
    return svg(width, height, parts, "The learning path")


PICTURES = {
    "forward-reverse": forward_reverse,
    "noise-schedule": noise_schedule,
    "learning-path": learning_path,
}


def main() -> None:
    """Write all three."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw())


if __name__ == "__main__":
    main()
