"""What may be asked of a model that draws: classes, and how strongly they guide."""

import math

import torch
from torch import Tensor

from course_lib.nets.conditions import Labels
from course_lib.sampling.generate import Denoising, balanced_classes


def asked(model: Denoising, n: int, label: int | None = None, scale: float = 1.0) -> Tensor | None:
    """The classes `(n,)` of n samples: the `label` that is asked for, or each as often; None for a model without classes.

    Raises ValueError for a label that the model does not know, and for a guidance scale that is no number or would guide nothing.
    """
    if not math.isfinite(scale):
        raise ValueError(f"scale must be finite; got {scale}")
    if not isinstance(model.takes, Labels):
        if label is not None or scale != 1:
            what = f"scale {scale:g} would guide nothing" if label is None else f"it cannot draw label {label}"
            raise ValueError(f"the model was trained without classes: {what}")
        return None
    if label is None:
        return balanced_classes(model.takes, n)
    if not 0 <= label < model.takes.classes:
        raise ValueError(f"label must lie in [0, {model.takes.classes - 1}]; got {label}")
    return torch.full((n,), label)
