"""How a network learns molecules, told which atoms there are: diffusion among points whose centre is 0."""

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.data.molecules import rotations
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import V, denoiser
from course_lib.diffusion.schedules import cosine
from course_lib.draws import NoiseSource, normal_like
from course_lib.nets.equivariant import centred
from course_lib.sampling.steps import ancestral, last, sample
from course_lib.training.state import Batch, Loss

UNIT = 0.7  # ångström; about the standard deviation of a coordinate of our molecules
PROCESS = GaussianDiffusion(cosine(1000))


def centred_noise(atoms: Tensor, generator: torch.Generator | None = None) -> NoiseSource:
    """A source of standard normal noise whose centre is 0, for molecules of atoms `(B, N)`."""
    return lambda x: centred(normal_like(x, generator), atoms)


def molecule_loss(turned: bool = False, unit: float = UNIT) -> Loss:
    """The denoising loss of v for batches of places `(B, N, 3)` in ångström, of which `unit` make 1, and atoms `(B, N)`.

    With `turned`, every molecule is turned anew each time: augmentation, for networks that do not know that this changes nothing.
    """

    def loss(network: Any, batch: Batch, generator: torch.Generator) -> Tensor:
        places, atoms = batch
        if turned:
            places = places @ rotations(len(places), generator).to(places).mT
        t = PROCESS.schedule.times(len(atoms), generator)
        noise = centred_noise(atoms, generator)(places)
        return denoising_loss(network, centred(places / unit, atoms), t, noise, PROCESS, V, atoms).mean()

    return loss


def draw_molecules(
    network: nn.Module, atoms: Tensor, steps: int = 60, generator: torch.Generator | None = None, unit: float = UNIT
) -> Tensor:
    """Places `(n, N, 3)` in ångström for the atoms `(n, N)`, by the ancestral sampler with centred noise."""
    noise = centred_noise(atoms, generator)
    empty = torch.zeros(*atoms.shape, 3, device=atoms.device)
    step = ancestral(denoiser(network, V, PROCESS.schedule, atoms), PROCESS, noise=noise)
    return unit * last(sample(step, noise(empty), PROCESS.schedule.grid(steps)))
