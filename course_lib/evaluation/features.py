"""Features of images by a classifier, in which samples are measured."""

from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.data.images import to_bytes, to_unit
from course_lib.nets.classifier import Classifier, ConvClassifier


class Features(NamedTuple):
    """What a classifier makes of N images: its feature vectors and the logarithms of its class probabilities, in float64."""

    vectors: Tensor  # (N, d)
    log_probs: Tensor  # (N, classes)

    def __getitem__(self, rows: object) -> "Features":  # type: ignore[override]
        return Features(self.vectors[rows], self.log_probs[rows])  # type: ignore[index]


def row_weights(rows: Tensor, weights: Tensor | None) -> Tensor:
    """The weights `(N,)` of rows `(N, d)`, in their dtype and on their device; None is 1 for each."""
    return rows.new_ones(len(rows)) if weights is None else weights.to(rows)


@torch.no_grad()
def features(classifier: Classifier | ConvClassifier, images: Tensor, batch_size: int = 500) -> Features:
    """The features of images `(N, C, H, W)`, uint8 or in [-1, 1]; the latter are rounded to 8 bits first, as real images are.

    The classifier runs in float32 whatever the hardware, so that a metric means the same everywhere.
    """
    device = next(classifier.parameters()).device
    images = images if images.dtype == torch.uint8 else to_bytes(images)
    vectors, logs = [], []
    for batch in images.split(batch_size):
        h = classifier.features(to_unit(batch.to(device)).contiguous(memory_format=torch.channels_last))
        vectors.append(h.double().cpu())
        logs.append(classifier.last(h).log_softmax(-1).double().cpu())
    return Features(torch.cat(vectors), torch.cat(logs))
