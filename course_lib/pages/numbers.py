"""How numbers are set in the text of a page and in its tables: alike, and never parted from what belongs to them."""

import re

TIED = "\u00a0"  # a space at which no line ends
RULES = [
    (re.compile(r"(?<![\w.)\]}-])-(?=\.?\d)"), "\u2212"),  # a minus, where a program wrote a hyphen
    (re.compile(r"(?<=\d) ?%"), f"{TIED}%"),
    (re.compile(r"(?<=\d) \u00d7 (?=\d)"), f"{TIED}\u00d7{TIED}"),
    (re.compile(r"(?<!\w)(\w) = (?=[\d\u2212])"), rf"\1{TIED}={TIED}"),
]
INTERVALS = [  # whose ends stay in one line, where there is room
    (re.compile(r"(?<=\d) \u00b1 (?=\d)"), f"{TIED}\u00b1{TIED}"),
    (re.compile(r"(?<=[\d%]), (?=[+\u2212]?[\d.,]+(?:\u00a0%)?\])"), f",{TIED}"),
    (re.compile(r"(?<=[\d%]) to (?=[+\u2212]?[\d.,]+(?:\u00a0%)?\))"), f"{TIED}to{TIED}"),
    (re.compile(r"(?<=[\d%])\u2013(?=[+\u2212]?[\d.,]+(?:\u00a0%)?\))"), "\u2060\u2013\u2060"),
]


def typeset(text: str, narrow: bool = False) -> str:
    """The text with each minus sign as such, and with numbers tied to what belongs to them.

    So no line ends within 95 %, 28 \u00d7 28, 3.1 \u00b1 0.2, n = 500, nor between the ends of an interval,
    [0.1, 0.2] or (1 to 2), but in the `narrow` columns of a table.
    """
    for found, wanted in RULES if narrow else RULES + INTERVALS:
        text = found.sub(wanted, text)
    return text
