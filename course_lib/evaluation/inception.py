"""The standard measures of the papers, FID, KID and Inception Score in Inception-v3's features and the CLIP score, by torchmetrics.

Their networks are downloaded on first use; where that is impossible, `course_lib.evaluation` measures in features that ship with the
course. A network of your own can take their place, and then the result is not to be called FID or CLIP score.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_lib.data.images import to_bytes


class InceptionMetrics(NamedTuple):
    """Fréchet distance (lower is better), kernel distance (lower), and Inception Score (higher)."""

    fid: float
    kid: float
    inception_score: float


def inception_metrics(
    real: Tensor,
    generated: Tensor,
    features: nn.Module | None = None,
    logits: nn.Module | None = None,
    batch_size: int = 100,
) -> InceptionMetrics:
    """Compare images `(N, C, H, W)`, uint8 or in [-1, 1], grey or in colour, as torchmetrics does with the features of torch-fidelity.

    `features` and `logits` are networks from uint8 `(B, 3, H, W)` to `(B, d)` in the place of Inception-v3's. The Inception Score
    takes all images in one split. Raises ValueError where Inception-v3 or a package is missing, or a set has fewer than two images.
    """
    if min(len(real), len(generated)) < 2:
        raise ValueError(f"both sets need at least two images; got {len(real)} and {len(generated)}")
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.inception import InceptionScore
        from torchmetrics.image.kid import KernelInceptionDistance

        size = min(len(real), len(generated))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that features are kept in memory
            fid = FrechetInceptionDistance(features or 2048).to(real.device)
            kid = KernelInceptionDistance(features or 2048, subsets=1, subset_size=size).to(real.device)
            score = InceptionScore(logits or "logits_unbiased", splits=1).to(real.device)
    except (ImportError, OSError) as error:  # a missing package, or a download that failed
        raise ValueError(
            f"Inception-v3 is not at hand ({describe(error)}): pip install torchmetrics torch-fidelity, connect to the network once, "
            "or put pt_inception-2015-12-05-6726825d.pth into torch's hub/checkpoints folder; course_lib.evaluation needs none of this"
        ) from error
    for images, is_real in ((real, True), (generated, False)):
        for batch in in_colour(images.to(real.device), batch_size):
            fid.update(batch, real=is_real)
            kid.update(batch, real=is_real)
            if not is_real:
                score.update(batch)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"std\(\)")  # the spread over one subset and one split
        return InceptionMetrics(float(fid.compute()), float(kid.compute()[0]), float(score.compute()[0]))


def clip_score(
    images: Tensor,
    prompts: list[str],
    model: str | Callable[[], tuple[Any, Any]] = "openai/clip-vit-base-patch16",
    batch_size: int = 100,
) -> float:
    """100 times the mean cosine between the CLIP vectors of images `(N, C, H, W)` and of their prompts, at least 0 (Hessel et al., 2021).

    `model` names a CLIP network on the Hugging Face hub, or returns one with its processor. Raises ValueError where the numbers of
    images and prompts differ, or the network or a package is missing.
    """
    if len(images) != len(prompts):
        raise ValueError(f"each image needs one prompt; got {len(images)} images and {len(prompts)} prompts")
    try:
        from torchmetrics.multimodal.clip_score import CLIPScore

        metric = CLIPScore(model)  # type: ignore[arg-type]
    except (ImportError, OSError) as error:
        raise ValueError(
            f"the CLIP network {model} is not at hand ({describe(error)}): pip install torchmetrics transformers and connect to the "
            "network once; the accuracy of labels in course_lib.evaluation needs neither"
        ) from error
    start = 0
    for batch in in_colour(images, batch_size):
        metric.update(list(batch), prompts[start : start + len(batch)])
        start += len(batch)
    return float(metric.compute())


def in_colour(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Batches of uint8 images `(B, 3, H, W)`; grey ones get three equal channels."""
    for batch in images.split(batch_size):
        batch = batch if batch.dtype == torch.uint8 else to_bytes(batch)
        yield batch.expand(-1, 3, -1, -1) if batch.shape[1] == 1 else batch


def describe(error: Exception) -> str:
    """An error's kind and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no details'}"
