"""Blocks of 28 x 28 x 28 densities `(B, y, x, z)` and their shadows from three sides; and blocks carved out of three pictures.

The front is seen along z, with rows y and columns x; the side along x, with rows y and columns z; the top along y, with rows z and
columns x.
"""

import torch
from torch import Tensor

SIDE = 28  # voxels along each axis
SIDES = ("front", "side", "top")


def shadows(density: Tensor) -> Tensor:
    """How much light `(B, 3, SIDE, SIDE)`, in [0, 1], blocks of densities `(B, SIDE, SIDE, SIDE)`, a voxel wide, take from three lamps.

    One minus exp of minus the density along the ray: the law of Beer and Lambert.
    """
    through = torch.stack([density.sum(3), density.sum(2), density.sum(1).mT], 1)
    return 1 - torch.exp(-through)


def carved(pictures: Tensor) -> Tensor:
    """The largest block `(B, SIDE, SIDE, SIDE)`, opaque where it is 1, that no side's picture `(B, 3, SIDE, SIDE)` in [0, 1] forbids.

    This is the visual hull (Laurentini, 1994) of three silhouettes: what all three extrusions have in common.
    """
    front, side, top = pictures.unbind(1)
    return torch.minimum(torch.minimum(front[:, :, :, None], side[:, :, None, :]), top.mT[:, None])


def outlines(block: Tensor) -> Tensor:
    """The shadows `(B, 3, SIDE, SIDE)` of blocks whose voxels `(B, SIDE, SIDE, SIDE)` in [0, 1] say how opaque the thickest on a ray is."""
    return torch.stack([block.amax(3), block.amax(2), block.amax(1).mT], 1)
