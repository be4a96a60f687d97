"""Data: sets, where they are downloaded from, generated points, and images as tensors."""
