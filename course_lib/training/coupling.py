"""Which noise goes with which sample: the cheapest matching of a batch (Pooladian et al., 2023; Tong et al., 2024)."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from course_lib.types import check_same_shape


def matched(x0: Tensor, noise: Tensor) -> Tensor:
    """The rows of the noise `(B, ...)` in the order that makes the sum of squared distances to x_0 `(B, ...)` smallest.

    Each row of both is used once, so that neither distribution changes; the work grows as B^3. Raises ValueError where the shapes differ.
    """
    check_same_shape(x0=x0, noise=noise)
    costs = torch.cdist(x0.flatten(1).double(), noise.flatten(1).double()) ** 2
    _, columns = linear_sum_assignment(costs.cpu().numpy())
    return noise[torch.from_numpy(columns).to(noise.device)]
