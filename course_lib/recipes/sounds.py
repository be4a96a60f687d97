"""How the model of short sounds learns: loudness in a spectrum's columns, told which note."""

import torch
from torch import Tensor, nn

from course_lib.data.sounds import NOTES, sounds
from course_lib.data.spectra import from_loudness, griffin_lim, spectrum, to_loudness
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.models.cards import build_schedule
from course_lib.recipes.diffusion import Denoise, diffusion_loss
from course_lib.sampling.generate import draw
from course_lib.training.state import Batch, Loss

LOUDEST = 130.0  # about the largest magnitude that a sound of ours has


def heard(loudness: Tensor, steps: int = 60, seed: int = 0) -> Tensor:
    """The waves `(n, LENGTH)` of spectra on the scale of loudness `(n, frames, bins)`, with phases by Griffin and Lim."""
    return griffin_lim(from_loudness(loudness, LOUDEST), steps, torch.Generator().manual_seed(seed))


def seen(waves: Tensor) -> Tensor:
    """Waves `(n, LENGTH)` as spectra on the scale of loudness, in [-1, 1], `(n, frames, bins)`."""
    return to_loudness(spectrum(waves).abs(), LOUDEST)


def many_sounds(n: int = 2000) -> Batch:
    """The loudness of n sounds, `(n, 16, 257)`, and what each is: a note or the drum, `(n,)`."""
    made = sounds(n, torch.Generator().manual_seed(0))
    return seen(made.waves), made.notes


class DenoiseSounds(Denoise):
    """To undo noise in the loudness of sounds: told a note or the drum, now and then told nothing."""

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise; a batch brings loudness and notes."""
        process = GaussianDiffusion(build_schedule(self.schedule))
        return diffusion_loss(process, self.prediction, network.takes, read=Tensor.float)  # type: ignore[arg-type]

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """The lower half of a spectrum of each kind of sound as a picture, `(13, 1, 128, 16)`: time to the right, pitch upwards."""
        model = self.drawing(network, shape)
        asked = torch.arange(NOTES + 1)
        drawn = draw(model, len(asked), 30, generator=torch.Generator().manual_seed(seed), cond=asked)
        return drawn[:, :, :128].mT.flip(1)[:, None]
