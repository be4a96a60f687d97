"""Captions of scenes as rows of numbers, one for each word."""

from collections.abc import Sequence

import torch
from torch import Tensor

from course_lib.data.scenes import WORDS, parse

END, PAD = len(WORDS), len(WORDS) + 1
SYMBOLS = len(WORDS) + 2
LENGTH = 12  # words of the longest caption, its end, and one to spare


def encode(texts: Sequence[str]) -> Tensor:
    """Captions as numbers of words, END and PADs, `(B, LENGTH)` int64; an empty caption, "", is END and PADs.

    Raises ValueError for words that are not in the grammar of scenes, or a caption that it does not allow.
    """
    rows = torch.full((len(texts), LENGTH), PAD)
    for row, text in zip(rows, texts, strict=True):
        words = text.lower().split()
        if words:
            parse(text)
        numbers = [WORDS.index("a" if word == "an" else word) for word in words]
        row[: len(numbers) + 1] = torch.tensor([*numbers, END])
    return rows


def decode(rows: Tensor) -> list[str]:
    """The captions of rows `(B, N)`, up to END."""
    return [" ".join(WORDS[number] for number in row[: row.index(END)]) for row in rows.tolist()]
