"""New words for a trained network: a table of classes that grows by rows, of which alone the new ones learn."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.conditions import Labels
from course_lib.nets.embeddings import LabelEmbedding, or_null


class GrownTable(nn.Module):
    """A table of classes, which stays bit for bit, with `words` new rows between its classes and its null token.

    A new row starts as the null token's: an untrained word says nothing. To learn such a row and nothing else is textual inversion
    (Gal et al., 2023). Raises ValueError for fewer than one word.
    """

    def __init__(self, table: LabelEmbedding, words: int = 1) -> None:
        super().__init__()
        if words < 1:
            raise ValueError(f"words must be at least 1; got {words}")
        self.table = table.requires_grad_(False)
        self.rows = nn.Parameter(table.weight[table.null].detach().repeat(words, 1))
        self.null = table.null + words

    def forward(self, cond: Tensor | None, like: Tensor | None = None) -> Tensor:
        """Embed classes, words and nulls cond `(B,)` as `(B, width)`; None asks for the null token, as often as `like` `(B,)` is long.

        Raises ValueError where both are None.
        """
        old = self.table.weight
        rows = torch.cat([old[: self.table.null], self.rows, old[self.table.null :]])
        return F.embedding(or_null(cond, like, self.null), rows)


def add_words(network: nn.Module, words: int = 1) -> GrownTable:
    """Let a network know so many more classes, in place; returns the grown table, whose `rows` alone may learn.

    The new classes follow the old ones, and the null token comes after them. What else of the network learns stays as it is. Raises
    ValueError where the network is not one of classes alone, or has new words already.
    """
    takes = getattr(network, "takes", None)
    if any(isinstance(module, GrownTable) for module in network.modules()):
        raise ValueError("network has new words already: load it afresh, and add all words at once")
    tables = [name for name, module in network.named_modules() if isinstance(module, LabelEmbedding)]
    if not isinstance(takes, Labels) or len(tables) != 1:
        raise ValueError("network must take classes and nothing else: a new word is a new class")
    table = network.get_submodule(tables[0])
    assert isinstance(table, LabelEmbedding)
    grown = GrownTable(table, words)
    network.set_submodule(tables[0], grown)
    network.takes = Labels(takes.classes + words)  # type: ignore[assignment]
    return grown


def grown_table(network: nn.Module) -> GrownTable | None:
    """The table of a network that has new words, or None."""
    return next((module for module in network.modules() if isinstance(module, GrownTable)), None)
