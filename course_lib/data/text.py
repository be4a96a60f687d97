"""Plain text out of a page of the book, and text as symbols."""

import hashlib
import re
from collections.abc import Iterable

import torch
from torch import Tensor

ALPHABET = "abcdefghijklmnopqrstuvwxyz .,;:?()'-\n#"  # "#" stands for a formula, a number or a reference
FENCE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1 *$", re.MULTILINE | re.DOTALL)


def prose(page: str) -> str:
    """The running text of a page in Markdown: no front matter, code, headings, tables or display formulas, in the letters of ALPHABET.

    Inline formulas, references, inline code and numbers become "#", capitals small letters. A paragraph is one line.
    """
    text = re.sub(r"\A---\n.*?\n---\n", "", page, flags=re.DOTALL)
    text = FENCE.sub("", text)
    text = re.sub(r"\$\$.*?\$\$( *\(eq-[\w-]+\))?", "", text, flags=re.DOTALL)
    text = re.sub(r"^(#|\||<|!\[|:).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\{[\w:-]+\}`[^`]*`|`[^`]*`|\$[^$]*\$|\d[\d,.]*\d|\d", "#", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = text.lower().replace("—", "-").replace("–", "-").replace("’", "'")
    paragraphs = (" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text))
    kept = ("".join(letter for letter in paragraph if letter in ALPHABET) for paragraph in paragraphs)
    return "\n".join(re.sub(" +", " ", paragraph).strip() for paragraph in kept if len(paragraph) > 40) + "\n"


def encode(text: str) -> Tensor:
    """The number in ALPHABET of each letter, `(n,)`; raises ValueError for a letter that is not there."""
    unknown = sorted(set(text) - set(ALPHABET))
    if unknown:
        raise ValueError(f"text must be in the letters of ALPHABET; got {unknown[:5]}")
    return torch.tensor([ALPHABET.index(letter) for letter in text])


def decode(symbols: Tensor, mask: str = "_") -> str:
    """The text of symbols `(n,)`; the one after the last of ALPHABET is shown as `mask`."""
    return "".join((ALPHABET + mask)[number] for number in symbols.tolist())


def windows(symbols: Tensor, length: int) -> Tensor:
    """A long row of symbols `(n,)` cut into pieces without overlap, `(n // length, length)`."""
    return symbols[: len(symbols) // length * length].view(-1, length)


def fingerprint(texts: Iterable[str]) -> str:
    """The first 16 digits of the SHA-256 of texts, one after the other, by which to know them again."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
