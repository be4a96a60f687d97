"""What the tests of the library build their inputs from."""

import torch
from torch import Tensor

from course_lib.diffusion.continuous import EDM, VE, VP, SubVP
from course_lib.diffusion.exact import Mixture


def double(values) -> Tensor:
    """The values in float64."""
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal noise in float64, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MIXTURE = Mixture(
    double([0.5, 0.3, 0.2]),
    double([[1.0, 0.8], [-1.2, 0.6], [0.1, -1.3]]),
    double([[[0.06, 0.03], [0.03, 0.06]], [[0.04, 0.0], [0.0, 0.1]], [[0.08, -0.02], [-0.02, 0.03]]]),
)
CONTINUOUS = [VP(), SubVP(), VE(0.02, 6.0), EDM(6.0)]  # one schedule of each family
