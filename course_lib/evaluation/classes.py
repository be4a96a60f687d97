"""What a classifier says of a set of samples."""

import math

import torch
from torch import Tensor

from course_lib.evaluation.features import row_weights


def classifier_score(log_probs: Tensor, weights: Tensor | None = None) -> float:
    """exp of the mean KL(p(y|x) || p(y)) of log_probs `(N, classes)`, in [1, classes]: the Inception Score (Salimans et al., 2016).

    FID's sister by that name is measured by Inception-v3; this takes any classifier.
    """
    w = row_weights(log_probs, weights)
    probs = log_probs.exp()
    overall = (w @ probs / w.sum()).clamp(min=1e-300)
    divergence = (probs * (log_probs - overall.log())).sum(1)
    return math.exp(float(w @ divergence / w.sum()))


def effective_classes(log_probs: Tensor, weights: Tensor | None = None) -> float:
    """How many classes log_probs `(N, classes)` cover: exp of the entropy of the predicted classes' shares, in [1, classes]."""
    w = row_weights(log_probs, weights)
    counts = w.new_zeros(log_probs.shape[1]).index_add_(0, log_probs.argmax(1), w)
    shares = counts / counts.sum()
    return math.exp(-float(torch.special.xlogy(shares, shares).sum()))


def label_accuracy(log_probs: Tensor, labels: Tensor, weights: Tensor | None = None) -> float:
    """The share of samples that the classifier, by its log_probs `(N, classes)`, sees as the class `(N,)` that was asked for."""
    right = (log_probs.argmax(1) == labels.to(log_probs.device)).to(log_probs)
    w = row_weights(log_probs, weights)
    return float(w @ right / w.sum())
