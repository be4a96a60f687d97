"""Weights on disk: tensors, model cards, and the store of shipped models."""
