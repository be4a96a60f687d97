"""A drawing for dark pages: the same SVG, its inks light, the hue of each colour kept, its photographs untouched."""

import re
from functools import cache

import numpy as np

# What follows url( or href=" is the name of a part of the drawing, even where it reads like a colour.
COLOUR = re.compile(r"(?<!url\()(?<!href=\")#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b")
IMAGE = re.compile(r"<image\b.*?(?:/>|</image>)|<g class=\"pixels\">.*?</g>", re.DOTALL)
GREY = 0.035  # chroma below which a colour is an ink or a paper
READABLE = 0.68  # the lightness that a coloured line needs on a dark page, at least
# Oklab (Ottosson, 2020), a space in which lightness and hue are what they look like.
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def to_oklab(colour: str) -> np.ndarray:
    """Lightness and the two axes of hue of "rrggbb"."""
    rgb = np.array([int(colour[n : n + 2], 16) for n in (0, 2, 4)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return TO_LAB @ np.cbrt(TO_CONES @ linear)


def from_oklab(lab: np.ndarray) -> str:
    """The nearest "rrggbb"."""
    linear = np.linalg.solve(TO_CONES, np.linalg.solve(TO_LAB, lab) ** 3).clip(0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "".join(f"{round(float(one) * 255):02x}" for one in rgb)


@cache
def on_dark(colour: str) -> str:
    """What an ink, a paper or a coloured line becomes on a dark page."""
    lab = to_oklab(colour)
    lab[0] = min(0.93, 1.06 - 0.88 * lab[0]) if np.hypot(*lab[1:]) < GREY else max(lab[0], READABLE)
    return from_oklab(lab)


def darken(svg: str) -> str:
    """The drawing for dark pages. What has no colour of its own is black, and gets the ink of the page."""
    parts, last = [], 0
    for image in IMAGE.finditer(svg):
        parts += [recolour(svg[last : image.start()]), image[0]]
        last = image.end()
    parts.append(recolour(svg[last:]))
    return "".join(parts).replace("<svg ", f'<svg fill="#{on_dark("000000")}" ', 1)


def recolour(svg: str) -> str:
    """Every colour in a piece of SVG replaced."""
    return COLOUR.sub(lambda m: "#" + on_dark((m[1] if len(m[1]) == 6 else "".join(2 * c for c in m[1])).lower()), svg)
