"""What the tests of the library build their inputs from."""

import torch
from torch import Tensor


def double(values) -> Tensor:
    """The values in float64."""
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal noise in float64, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
