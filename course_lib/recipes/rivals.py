"""Five ways to learn a distribution from rows `(N, D)`, each as its small self: GAN, VAE, normalising flow, DDPM, denoising diffusion GAN.

Each says how it is built, what it is trained for (with `fit`), how it draws, and what it knows of a sample's density, in nats.
Their `octaves` are those of the data and the latent vectors that their networks read (`embeddings.with_octaves`).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from course_lib.diffusion.bound import gaussian_log_prob, variational_bound
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import V, denoiser
from course_lib.diffusion.schedules import cosine
from course_lib.draws import normal, normal_like
from course_lib.nets.flows import CouplingFlow
from course_lib.nets.latent import Perceptron, TimedPerceptron
from course_lib.recipes.adversarial import duel, lazily
from course_lib.sampling.implicit import implicit
from course_lib.sampling.steps import ancestral, last, sample
from course_lib.training.adversarial import fooling_loss, gradient_penalty, telling_loss
from course_lib.training.state import Batch, Loss, Opponent
from course_lib.types import Denoiser

LOG_2PI = math.log(2 * math.pi)


class Rival(Protocol):
    """What the showdown asks of a model of rows `(N, dim)`."""

    evaluations: int  # of the network that draws, for one sample

    def build(self) -> nn.Module:
        """The network that draws, with fresh weights from torch's seed."""
        ...

    def task(self, network: nn.Module) -> tuple[Loss, Opponent | None]:
        """What `fit` needs: the loss, and the second network where there is one."""
        ...

    def draw(self, network: nn.Module, n: int, generator: torch.Generator) -> Tensor:
        """n samples `(n, dim)`."""
        ...

    def log_prob(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor | None:
        """log p(x) of rows, `(N,)`, in nats, or a lower bound; None where the model has none."""
        ...


def logits_of(discriminator: nn.Module, *rows: Tensor) -> Tensor:
    """The discriminator's logits `(B,)` of rows that lie side by side."""
    return discriminator(torch.cat(rows, 1))[:, 0]


@dataclass(frozen=True)
class Gan:
    """x = G(z), judged by a discriminator with R1 (Goodfellow et al., 2014; Mescheder et al., 2018)."""

    dim: int
    latent: int = 4
    width: int = 96
    depth: int = 2
    gamma: float = 0.1
    learning_rate: float = 1e-3
    often: float = 0.25  # the share of steps with the penalty; 0 leaves it out
    members: int = 1
    octaves: int = 0
    evaluations: int = 1

    def build(self) -> nn.Module:
        """The generator."""
        return Perceptron(self.latent, self.dim, self.width, self.depth, self.members, self.octaves)

    def task(self, network: nn.Module) -> tuple[Loss, Opponent | None]:
        """The generator's loss, and the discriminator."""
        discriminator = Perceptron(self.dim, 1, self.width, self.depth, self.members, self.octaves)

        def drawn(generator_network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            return generator_network(normal((len(batch[0]), self.latent), generator, device=batch[0].device))

        def fool(module: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            return fooling_loss(logits_of(discriminator, drawn(module, batch, generator)))

        def tell(module: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            fake = drawn(network, batch, generator).detach()
            loss = telling_loss(logits_of(module, batch[0]), logits_of(module, fake))
            return loss + lazily(self.often, generator, lambda: self.gamma / 2 * gradient_penalty(module, batch[0]))

        return fool, Opponent(discriminator, tell, self.learning_rate)

    def draw(self, network: nn.Module, n: int, generator: torch.Generator) -> Tensor:
        """n samples `(n, dim)`."""
        return network(normal((n, self.latent), generator))

    def log_prob(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> None:
        """None for any x `(N, dim)`: a GAN has no density."""


class Autoencoder(nn.Module):
    """The networks of a VAE: an encoder to mean and log-variance of z `(B, 2 latent)`, a decoder to the mean of x, and its spread."""

    def __init__(self, dim: int, latent: int, width: int, depth: int, members: int = 1, octaves: int = 0) -> None:
        super().__init__()
        self.encoder = Perceptron(dim, 2 * latent, width, depth, members, octaves)
        self.decoder = Perceptron(latent, dim, width, depth, members, octaves)
        # from the data's own variance, 0, the encoder need say nothing, and may never begin
        self.log_variances = nn.Parameter(torch.full((members,), -4.0))

    def spread(self, n: int) -> Tensor:
        """The logarithm of the decoder's variance for n rows, `(n, 1)`."""
        return self.log_variances.repeat_interleave(n // len(self.log_variances))[:, None]

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """For rows x `(B, D)` and noise `(B, latent)`: log p(x | z) at the z that the noise makes, and KL(q(z | x) | p(z)), both `(B,)`."""
        mean, log_variance = self.encoder(x).chunk(2, 1)
        z = mean + (log_variance / 2).exp() * noise  # the reparameterisation
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        spread = self.spread(len(x))
        error = (x - self.decoder(z)).square() * (-spread).exp()
        return -(error + spread + LOG_2PI).sum(1) / 2, divergence


@dataclass(frozen=True)
class Vae:
    """z -> N(x; mean(z), spread^2 I) with a learned spread (Kingma and Welling, 2014)."""

    dim: int
    latent: int = 4
    width: int = 96
    depth: int = 2
    learning_rate: float = 1e-3
    grain: bool = True  # whether a sample has the decoder's noise, or is its mean
    members: int = 1
    octaves: int = 0
    evaluations: int = 1

    def build(self) -> nn.Module:
        """Encoder and decoder."""
        return Autoencoder(self.dim, self.latent, self.width, self.depth, self.members, self.octaves)

    def task(self, network: nn.Module) -> tuple[Loss, Opponent | None]:
        """The bound on -log p(x), for each dimension."""

        def loss(module: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            noise = normal((len(batch[0]), self.latent), generator, device=batch[0].device)
            fit, divergence = module(batch[0], noise)
            return (divergence - fit).mean() / self.dim

        return loss, None

    def draw(self, network: nn.Module, n: int, generator: torch.Generator) -> Tensor:
        """n samples `(n, dim)`."""
        mean = network.decoder(normal((n, self.latent), generator))  # type: ignore[operator]
        spread = (network.spread(n) / 2).exp()  # type: ignore[operator]
        return mean + spread * normal_like(mean, generator) if self.grain else mean

    def log_prob(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        """The bound (ELBO) of each row, `(N,)`, the mean of eight draws of z."""
        parts = [network(x, normal((len(x), self.latent), generator)) for _ in range(8)]
        return torch.stack([fit - divergence for fit, divergence in parts]).mean(0)


@dataclass(frozen=True)
class Flow:
    """An invertible map to noise (Dinh et al., 2017)."""

    dim: int
    layers: int = 8
    width: int = 64
    depth: int = 1
    learning_rate: float = 1e-3
    members: int = 1
    octaves: int = 0
    evaluations: int = 1

    def build(self) -> nn.Module:
        """The couplings."""
        return CouplingFlow(self.dim, self.layers, self.width, self.depth, self.members, self.octaves)

    def task(self, network: nn.Module) -> tuple[Loss, Opponent | None]:
        """-log p(x), for each dimension."""

        def loss(module: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            return -density(module, batch[0]).mean() / self.dim

        return loss, None

    def draw(self, network: nn.Module, n: int, generator: torch.Generator) -> Tensor:
        """n samples `(n, dim)`."""
        return network.inverse(normal((n, self.dim), generator))  # type: ignore[operator]

    def log_prob(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        """The log-density itself of each row, `(N,)`."""
        return density(network, x)


def density(flow: nn.Module, x: Tensor) -> Tensor:
    """log p(x) `(B,)` of a flow, by the change of variables: that of the noise, plus the logarithm of the volume."""
    z, volume = flow(x)
    return -(z.square() + LOG_2PI).sum(1) / 2 + volume


@dataclass(frozen=True)
class Stepwise:
    """What models that walk back from noise in T steps share: the process, the network's shape, and the walk."""

    dim: int
    latent: int
    width: int
    depth: int = 2
    T: int = 4
    learning_rate: float = 1e-3
    members: int = 1
    octaves: int = 0

    @property
    def evaluations(self) -> int:
        """Of the network that draws, for one sample."""
        return self.T

    @property
    def process(self) -> GaussianDiffusion:
        """How noise is added."""
        return GaussianDiffusion(cosine(self.T))

    def timed(self, inputs: int, outputs: int, latent: int) -> TimedPerceptron:
        """A network from rows `(B, inputs)`, the time and a latent vector to rows `(B, outputs)`."""
        shape = {"width": self.width, "depth": self.depth, "members": self.members, "octaves": self.octaves}
        return TimedPerceptron(inputs, outputs, latent, time_scale=1000 / self.T, **shape)

    def build(self) -> nn.Module:
        """The network that draws."""
        return self.timed(self.dim, self.dim, self.latent)

    def denoise(self, network: nn.Module, generator: torch.Generator) -> Denoiser:
        """What the network says of x_0."""
        raise NotImplementedError

    def draw(self, network: nn.Module, n: int, generator: torch.Generator) -> Tensor:
        """n samples `(n, dim)` in T steps."""
        step = ancestral(self.denoise(network, generator), self.process, generator=generator)
        return last(sample(step, self.process.prior((n, self.dim), generator), self.process.schedule.grid()))


@dataclass(frozen=True)
class Ddpm(Stepwise):
    """The denoiser of chapter 2, with v for its prediction and a cosine schedule."""

    latent: int = 0
    width: int = 112
    T: int = 100

    def task(self, network: nn.Module) -> tuple[Loss, Opponent | None]:
        """The denoising loss."""
        process = self.process

        def loss(module: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
            (x0,) = batch
            t, noise = process.schedule.times(len(x0), generator, x0.device), normal_like(x0, generator)
            return denoising_loss(module, x0, t, noise, process, V).mean()

        return loss, None

    def denoise(self, network: nn.Module, generator: torch.Generator) -> Denoiser:
        """The mean of x_0."""
        return denoiser(network, V, self.process.schedule)

    def log_prob(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        """The variational bound of each row, `(N,)`, with the variance of x_1 given x_0 at the last step."""
        denoise = self.denoise(network, generator)
        return -variational_bound(denoise, x, self.process, gaussian_log_prob, generator=generator).total


@dataclass(frozen=True)
class DenoisingGan(Stepwise):
    """x_0 = G(x_t, z, t), a step of the posterior, and a discriminator of steps (Xiao et al., 2022)."""

    latent: int = 4
    width: int = 80
    gamma: float = 0.1
    often: float = 0.25

    def task(self, network: nn.Module) -> tuple[Loss, Opponent | None]:
        """The generator's loss, and the discriminator of (x_s, x_t, t)."""
        discriminator = self.timed(2 * self.dim, 1, 0)
        return duel(network, discriminator, self.latent, self.process, self.gamma, self.learning_rate, self.often)

    def denoise(self, network: nn.Module, generator: torch.Generator) -> Denoiser:
        """A draw of x_0."""
        return implicit(network, self.latent, generator)

    def log_prob(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> None:
        """None for any x `(N, dim)`: its steps have no density."""
