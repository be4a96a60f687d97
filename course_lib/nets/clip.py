"""Two towers, one for pictures and one for captions, that learn which belong together (CLIP; Radford et al., 2021), in small."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.dit import InContext, check_sizes
from course_lib.nets.recorded import recorded
from course_lib.nets.transformers import TokenAttention, perceptron

LARGEST = 100.0  # of the scale by which cosines are multiplied, as in the paper


class TextTower(nn.Module):
    """Words `(B, N)`, whole numbers, to a vector for each word in its context: a transformer that looks both ways.

    The captions are padded to N = `length` words with a word of its own. Raises ValueError for sizes below 1.
    """

    def __init__(self, words: int, length: int, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        check_sizes(words=words, length=length, width=width, depth=depth, heads=heads)
        self.embedding = nn.Embedding(words, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(
            InContext(width, width, TokenAttention(width, heads), perceptron(width, 4 * width)) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, words: Tensor) -> Tensor:
        """Words `(B, length)` to vectors `(B, length, width)`."""
        h = self.embedding(words) + self.places
        for block in self.blocks:
            h = block(h, h[:, :0])
        return self.norm(h)


class PictureTower(nn.Sequential):
    """Pictures `(B, 3, size, size)`, size a multiple of 8, to vectors `(B, width)`: convolutions that halve the size three times.

    What is left of the picture is read place by place, since a caption may say where things are.
    """

    def __init__(self, size: int, features: int = 32, width: int = 64) -> None:
        steps: list[nn.Module] = []
        for before, after in ((3, features), (features, 2 * features), (2 * features, 2 * features)):
            steps += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.SiLU()]
        super().__init__(*steps, nn.Flatten(), nn.Linear(2 * features * (size // 8) ** 2, width))


class Clip(nn.Module):
    """A tower for pictures of size x size and one for captions of `length` words; both end on the unit sphere of `joint` dimensions.

    Raises ValueError where the size is no multiple of 8 or another size is below 1.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        words: int,
        length: int,
        size: int = 32,
        width: int = 64,
        depth: int = 2,
        features: int = 32,
        joint: int = 64,
    ) -> None:
        super().__init__()
        if size % 8:
            raise ValueError(f"size must be a multiple of 8; got {size}")
        check_sizes(size=size, features=features, joint=joint)
        self.text = TextTower(words, length, width, depth)
        self.picture = PictureTower(size, features, width)
        self.from_text, self.from_picture = (nn.Linear(width, joint, bias=False) for _ in range(2))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # the paper's beginning

    @property
    def scale(self) -> Tensor:
        """By what cosines are multiplied before the softmax: 1 / temperature, at most LARGEST, `()`."""
        return self.log_scale.exp().clamp(max=LARGEST)

    def of_pictures(self, x: Tensor) -> Tensor:
        """Pictures `(B, 3, size, size)` in [-1, 1] on the sphere, `(B, joint)`."""
        return F.normalize(self.from_picture(self.picture(x)).float(), dim=1)

    def of_texts(self, words: Tensor) -> Tensor:
        """Captions `(B, length)` on the sphere, `(B, joint)`: the mean of their words' vectors."""
        return F.normalize(self.from_text(self.text(words).mean(1)).float(), dim=1)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """The scaled cosines of all pictures `(B, 3, size, size)` with all captions `(C, length)`, `(B, C)`."""
        return self.scale * self.of_pictures(x) @ self.of_texts(words).mT


def contrastive_loss(logits: Tensor) -> Tensor:
    """The mean of two cross-entropies `()` of logits `(B, B)`: each picture is to choose its caption, each caption its picture.

    log B minus it is, in the mean, at most the mutual information of the two (van den Oord et al., 2018).
    """
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.mT, own)) / 2
