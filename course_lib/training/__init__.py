"""Weights from data: the loop, its progress, a run's folder, several processes together."""
