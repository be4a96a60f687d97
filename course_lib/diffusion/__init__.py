"""What noise does: schedules, the Gaussian process, what a network may predict, losses and bounds, and the exact oracle."""
