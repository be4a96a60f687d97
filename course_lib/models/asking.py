"""What may be asked of a model that draws: classes, and how strongly they guide."""

import math
from collections.abc import Mapping

import torch

from course_lib.nets.conditions import Labels
from course_lib.sampling.generate import Denoising, balanced_classes
from course_lib.types import Cond


def asked(model: Denoising, n: int, label: int | None = None, scale: float = 1.0) -> Cond:
    """The classes `(n,)` of n samples: the `label` that is asked for, or each as often; None for a model without classes.

    Where a model takes more than a class, the rest is left open.
    Raises ValueError for a label that the model does not know, and for a guidance scale that is no number or would guide nothing.
    """
    if not math.isfinite(scale):
        raise ValueError(f"scale must be finite; got {scale}")
    takes = model.takes
    kinds = takes.get("class") if isinstance(takes, Mapping) else takes
    if not isinstance(kinds, Labels):
        if label is not None or scale != 1:
            what = f"scale {scale:g} would guide nothing" if label is None else f"it cannot draw label {label}"
            raise ValueError(f"the model was trained without classes: {what}")
        return None
    if label is not None and not 0 <= label < kinds.classes:
        raise ValueError(f"label must lie in [0, {kinds.classes - 1}]; got {label}")
    labels = balanced_classes(kinds, n) if label is None else torch.full((n,), label)
    if labels is None or not isinstance(takes, Mapping):
        return labels
    return {name: kind.null(n) for name, kind in takes.items()} | {"class": labels}
