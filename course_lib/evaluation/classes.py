"""What a classifier says of a set of samples."""

import math

import torch
from torch import Tensor


def classifier_score(log_probs: Tensor, weights: Tensor | None = None) -> float:
    """exp of the mean KL(p(y|x) || p(y)), in [1, classes]: the Inception Score (Salimans et al., 2016) by another classifier."""
    w = torch.ones(len(log_probs), dtype=log_probs.dtype) if weights is None else weights
    probs = log_probs.exp()
    overall = (w @ probs / w.sum()).clamp(min=1e-300)
    divergence = (probs * (log_probs - overall.log())).sum(1)
    return math.exp(float(w @ divergence / w.sum()))


def effective_classes(log_probs: Tensor, weights: Tensor | None = None) -> float:
    """How many classes the set covers: exp of the entropy of the predicted classes' shares, in [1, classes]."""
    w = torch.ones(len(log_probs), dtype=log_probs.dtype) if weights is None else weights
    counts = torch.zeros(log_probs.shape[1], dtype=w.dtype).index_add_(0, log_probs.argmax(1), w)
    shares = counts / counts.sum()
    return math.exp(-float(torch.special.xlogy(shares, shares).sum()))


def label_accuracy(log_probs: Tensor, labels: Tensor, weights: Tensor | None = None) -> float:
    """The share of samples that the classifier sees as the class `(N,)` that was asked for."""
    right = (log_probs.argmax(1) == labels).to(log_probs)
    w = torch.ones_like(right) if weights is None else weights
    return float(w @ right / w.sum())
