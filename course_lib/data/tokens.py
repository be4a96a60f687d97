"""Captions of scenes as CLIP's tokenizer reads them: a vocabulary and merges with which each of our words is one token.

Byte-pair encoding (Sennrich et al., 2016) joins letters to words by a list of merges. The tokens of our words, END and PAD have the numbers
of `captions`; one that begins a text, letters and what is between letters and words come after them, so that any other word can be spelled.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from string import ascii_lowercase

from course_lib.data.captions import END, LENGTH, PAD, SYMBOLS
from course_lib.data.scenes import WORDS

BEGIN = SYMBOLS
SPECIAL = {END: "<|endoftext|>", PAD: "<|pad|>", BEGIN: "<|startoftext|>"}
LAST = "</w>"  # marks a word's last letter
EMPTY = (END, *[PAD] * (LENGTH - 1))  # the row of the empty caption
Merge = tuple[str, str]


def spelled(word: str, merges: Sequence[Merge]) -> list[str]:
    """The pieces of a word: its letters, of which the pair that stands first in `merges` is joined until there is none."""
    pieces = [*word[:-1], word[-1] + LAST]
    while pairs := set(pairwise(pieces)).intersection(merges):
        first = min(pairs, key=merges.index)
        joined: list[str] = []
        for piece in pieces:
            if joined and (joined[-1], piece) == first:
                joined[-1] += piece
            else:
                joined.append(piece)
        pieces = joined
    return pieces


@cache
def merges() -> tuple[Merge, ...]:
    """Merges that make one token of each word: the later ones come into play only where the earlier ones have nothing to join."""
    found: list[Merge] = []
    for word in WORDS:
        while len(pieces := spelled(word, found)) > 1:
            found.append((pieces[0], pieces[1]))
    return tuple(found)


@cache
def vocabulary() -> dict[str, int]:
    """The number of every token: our words, END, PAD and BEGIN, the letters within and at the end of a word, and what merges make."""
    words = [word + LAST for word in WORDS]
    letters = [letter + end for end in ("", LAST) for letter in ascii_lowercase]
    tokens = [*words, *(SPECIAL[number] for number in sorted(SPECIAL)), *letters, *(a + b for a, b in merges())]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}
