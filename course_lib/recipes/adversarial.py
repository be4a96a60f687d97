"""How a denoising diffusion GAN learns: a generator of x_0 against a discriminator of steps (Xiao et al., 2022)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.data.images import to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import X0
from course_lib.draws import normal, normal_like, uniform
from course_lib.models.cards import build_schedule
from course_lib.nets.classifier import Classifier
from course_lib.nets.latent import LatentUNet
from course_lib.sampling.generate import Denoising, draw
from course_lib.training.adversarial import fooling_loss, gradient_penalty, telling_loss
from course_lib.training.state import Batch, Loss, Opponent
from course_lib.types import per_sample


def lazily(often: float, generator: torch.Generator, term: Callable[[], Tensor]) -> Tensor | float:
    """A costly term of a loss, taken in a share `often` of the steps and as much larger there, `()`: its mean is the term."""
    taken = float(uniform((), generator)) < often
    return term() / often if taken else 0.0


def duel(
    network: nn.Module,
    discriminator: nn.Module,
    latent: int,
    process: GaussianDiffusion,
    gamma: float,
    learning_rate: float,
    often: float,
) -> tuple[Loss, Opponent]:
    """What trains a denoising diffusion GAN: the generator's loss for a batch of data `(B, ...)`, and the discriminator with its own.

    A pair (x_s, x_t) of neighbouring times is real where it comes from the data, and generated where x_s was drawn from
    q(x_s | x_t, x_0) at x_0 = G(x_t, z, t). The discriminator sees both side by side, as channels, and is told t. The penalty R1 is
    taken in a share `often` of the steps, and weighs as much more there.
    """

    def real_pair(x0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        t = process.schedule.times(len(x0), generator, x0.device)
        x_s = process.diffuse(x0, t - 1, normal_like(x0, generator))
        return x_s, process.advance(x_s, t - 1, t, normal_like(x0, generator)), t

    def drawn(module: nn.Module, x_t: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
        z = normal((len(x_t), latent), generator, device=x_t.device) if latent else None
        mean, variance = process.posterior(module(x_t, t, z).float(), x_t, t, t - 1)
        return mean + per_sample(variance.sqrt(), x_t) * normal_like(x_t, generator)  # at time 0 there is no variance

    def judge(module: nn.Module, x_s: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return module(torch.cat([x_s, x_t], 1), t)[:, 0].float()

    def fool(module: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        _, x_t, t = real_pair(batch[0], generator)
        return fooling_loss(judge(discriminator, drawn(module, x_t, t, generator), x_t, t))

    def tell(module: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        x_s, x_t, t = real_pair(batch[0], generator)
        with torch.no_grad():
            fake = drawn(network, x_t, t, generator)
        loss = telling_loss(judge(module, x_s, x_t, t), judge(module, fake, x_t, t))
        penalty = lambda: gamma / 2 * gradient_penalty(lambda x: judge(module, x, x_t, t), x_s)  # noqa: E731
        return loss + lazily(often, generator, penalty)

    return fool, Opponent(discriminator, tell, learning_rate)


@dataclass(frozen=True)
class DenoiseAdversarially:
    """To leap to x_0 so that no discriminator can tell the step from a true one: what a denoising diffusion GAN's recipe trains for."""

    schedule: Mapping[str, Any]  # as a card has it; its steps are those that will be taken
    discriminator: Mapping[str, Any]  # the arguments of a `Classifier`, without channels and classes
    gamma: float = 0.1
    learning_rate: float = 5e-4  # of the discriminator
    often: float = 1 / 16

    def duel(self, network: nn.Module) -> tuple[Loss, Opponent]:
        """The generator's loss of a batch of uint8 images, and the discriminator with its own."""
        assert isinstance(network, LatentUNet)
        device = next(network.parameters()).device
        discriminator = Classifier(channels=2 * network.channels, classes=1, **self.discriminator).to(device)
        process = GaussianDiffusion(build_schedule(self.schedule))
        loss, opponent = duel(
            network, discriminator, network.latent, process, self.gamma, self.learning_rate, self.often
        )

        def in_unit(of: Loss) -> Loss:
            return lambda module, batch, generator: of(module, (to_unit(batch[0]),), generator)

        return in_unit(loss), Opponent(opponent.network, in_unit(opponent.loss), opponent.learning_rate)

    def loss(self, network: nn.Module) -> Loss:
        """The generator's loss against a fresh discriminator."""
        return self.duel(network)[0]

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor:
        """36 pictures that the network draws now, `(36, *shape)`."""
        model = Denoising(network, X0, build_schedule(self.schedule), shape)
        return draw(model, 36, int(model.schedule.T), "ddpm", torch.Generator().manual_seed(seed))

    def card(self, network: nn.Module, dataset: str) -> dict[str, Any]:
        """What the card says of the trained network."""
        return {"prediction": X0.name, "schedule": dict(self.schedule)}
