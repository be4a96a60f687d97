"""Autoencoders of images: an encoder to few numbers, the latents, and a decoder back; and the discriminator that judges patches.

The latents are Gaussian (Kingma and Welling, 2014) or words of a codebook (van den Oord et al., 2017), as in latent diffusion (Rombach
et al., 2022).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.draws import normal_like
from course_lib.nets.blocks import Downsample, Upsample, check_image, zero_initialised
from course_lib.nets.norms import ChannelNorm
from course_lib.nets.recorded import recorded


class PlainBlock(nn.Module):
    """Two convolutions around a skip, as in `blocks.ResidualBlock`, with no condition; it starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm()
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_out = zero_initialised(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """x `(B, channels, H, W)` to the same shape."""
        h = self.conv_in(F.silu(self.norm(x)))
        return x + self.conv_out(F.silu(self.norm(h)))


class Encoder(nn.Module):
    """Images to `outputs` channels at the lowest of the resolutions, which have `sizes` channels from the finest to the coarsest."""

    def __init__(self, channels: int, sizes: Sequence[int], outputs: int, blocks: int, patch: int) -> None:
        super().__init__()
        self.split = nn.PixelUnshuffle(patch)
        self.first = nn.Conv2d(channels * patch**2, sizes[0], 3, padding=1)
        self.layers = nn.ModuleList(PlainBlock(sizes[0]) for _ in range(blocks))
        for above, size in pairwise(sizes):
            self.layers.append(Downsample(above, size))
            self.layers.extend(PlainBlock(size) for _ in range(blocks))
        self.norm = ChannelNorm()
        self.last = nn.Conv2d(sizes[-1], outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x `(B, channels, H, W)` to `(B, outputs, H / f, W / f)`, with f the patch times 2 for each further resolution."""
        h = self.first(self.split(x))
        for layer in self.layers:
            h = layer(h)
        return self.last(F.silu(self.norm(h)))


class Decoder(nn.Module):
    """The way back: `latent` channels at the lowest resolution to images; the arguments are those of `Encoder`."""

    def __init__(self, channels: int, sizes: Sequence[int], latent: int, blocks: int, patch: int) -> None:
        super().__init__()
        upwards = list(reversed(sizes))
        self.first = nn.Conv2d(latent, upwards[0], 3, padding=1)
        self.layers = nn.ModuleList(PlainBlock(upwards[0]) for _ in range(blocks))
        for below, size in pairwise(upwards):
            self.layers.append(Upsample(below, size))
            self.layers.extend(PlainBlock(size) for _ in range(blocks))
        self.norm = ChannelNorm()
        self.last = nn.Conv2d(sizes[0], channels * patch**2, 3, padding=1)
        self.join = nn.PixelShuffle(patch)

    def forward(self, z: Tensor) -> Tensor:
        """z `(B, latent, H / f, W / f)` to `(B, channels, H, W)`."""
        h = self.first(z)
        for layer in self.layers:
            h = layer(h)
        return self.join(self.last(F.silu(self.norm(h))))


class Coded(NamedTuple):
    """What an autoencoder makes of images `(B, C, H, W)` while it is trained."""

    images: Tensor  # the reconstructions, of the shape of the images
    penalty: Tensor  # (B,), what its latents cost


class Autoencoder(nn.Module):
    """What both kinds of autoencoders share: encoder, decoder, and the scale of the latents.

    `encode` divides the latents by their root mean square over the training set and `decode` multiplies by it, so that who works with
    them finds numbers of size 1. The mean square is a running mean over batches, kept in training as batch norm keeps its statistics.
    """

    config: dict[str, Any]
    mean_square: Tensor

    def __init__(
        self, channels: int, latent: int, outputs: int, width: int, multipliers: Sequence[int], blocks: int, patch: int
    ) -> None:
        super().__init__()
        sizes = [width * multiplier for multiplier in multipliers]
        self.channels, self.latent, self.factor = channels, latent, patch * 2 ** (len(sizes) - 1)
        self.encoder = Encoder(channels, sizes, outputs, blocks, patch)
        self.decoder = Decoder(channels, sizes, latent, blocks, patch)
        self.register_buffer("mean_square", torch.ones(()))

    @property
    def scale(self) -> Tensor:
        """The root mean square of the latents, `()`."""
        return self.mean_square.sqrt()

    def raw(self, x: Tensor) -> Tensor:
        """The latents of images x `(B, C, H, W)` in [-1, 1] before they are scaled, `(B, latent, H / factor, W / factor)`."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """The latents of images x `(B, C, H, W)` in [-1, 1], of mean square 1: `(B, latent, H / factor, W / factor)`.

        Raises ValueError for images of another number of channels, or whose sides the factor does not divide.
        """
        check_image(x, self.channels, self.factor)
        return self.raw(x) / self.scale

    def decode(self, z: Tensor) -> Tensor:
        """Images `(B, C, H, W)`, clipped to [-1, 1], of latents z `(B, latent, H / factor, W / factor)` of mean square 1."""
        return self.decoder(z * self.scale).clamp(-1, 1)

    @torch.no_grad()
    def remember(self, latents: Tensor, share: float = 0.01) -> None:
        """Take a batch's latents `(B, ...)` into the running mean square, with this share."""
        self.mean_square.lerp_(latents.detach().float().square().mean(), share)


class GaussianAutoencoder(Autoencoder):
    """An autoencoder whose latents are Gaussian given the image, and cost their divergence from a standard normal distribution.

    The sides of images are multiples of patch * 2^(resolutions - 1), the factor by which each side shrinks; `multipliers` gives the
    channels at each resolution in units of `width`.
    """

    @recorded
    def __init__(
        self,
        channels: int = 3,
        latent: int = 8,
        width: int = 64,
        multipliers: tuple[int, ...] = (1, 2),
        blocks: int = 1,
        patch: int = 2,
    ) -> None:
        super().__init__(channels, latent, 2 * latent, width, multipliers, blocks, patch)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the logarithm of the variance of the latents of images x `(B, C, H, W)`, before they are scaled."""
        mean, log_variance = self.encoder(x).float().chunk(2, 1)
        return mean, log_variance.clamp(-20, 10)

    def raw(self, x: Tensor) -> Tensor:
        """The mean of the latents of images x `(B, C, H, W)`."""
        return self.moments(x)[0]

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Coded:
        """The reconstructions of images x `(B, C, H, W)` from a draw of their latents, and KL(q(z | x) || N(0, I)) in nats, `(B,)`."""
        check_image(x, self.channels, self.factor)
        mean, log_variance = self.moments(x)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1) / 2
        z = mean + (log_variance / 2).exp() * normal_like(mean, generator)  # the reparameterisation
        if self.training:
            self.remember(mean)
        return Coded(self.decoder(z), divergence)


class QuantisedAutoencoder(Autoencoder):
    """An autoencoder whose latents are words of a codebook (van den Oord et al., 2017): at each place, the nearest of `codes` vectors.

    The other arguments are those of `GaussianAutoencoder`. As in latent diffusion, `encode` gives what the encoder says, and the
    choice of words is the first thing that `decode` does.
    """

    @recorded
    def __init__(
        self,
        channels: int = 3,
        latent: int = 8,
        codes: int = 1024,
        commitment: float = 0.25,
        width: int = 64,
        multipliers: tuple[int, ...] = (1, 2),
        blocks: int = 1,
        patch: int = 2,
    ) -> None:
        super().__init__(channels, latent, latent, width, multipliers, blocks, patch)
        self.codebook, self.commitment = nn.Embedding(codes, latent), commitment

    def raw(self, x: Tensor) -> Tensor:
        """What the encoder says of images x `(B, C, H, W)`."""
        return self.encoder(x).float()

    def words(self, z: Tensor) -> Tensor:
        """The number of the word that is nearest to z `(B, latent, h, w)` at each place, `(B, h, w)`."""
        return nearest(z.movedim(1, -1), self.codebook.weight)

    def quantise(self, z: Tensor) -> Tensor:
        """The word that is nearest to z `(B, latent, h, w)` at each place, in the shape of z."""
        return self.codebook(self.words(z)).movedim(-1, 1)

    def decode(self, z: Tensor) -> Tensor:
        """Images `(B, C, H, W)`, clipped to [-1, 1], of the words that are nearest to latents z `(B, latent, h, w)` of mean square 1."""
        return self.decoder(self.quantise(z * self.scale)).clamp(-1, 1)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Coded:
        """The reconstructions of images x `(B, C, H, W)`, and what is lost between the encoder's vectors and their words, `(B,)`."""
        check_image(x, self.channels, self.factor)
        z = self.raw(x)
        word = self.quantise(z)
        lost = lambda a, b: (a - b.detach()).square().flatten(1).sum(1)  # noqa: E731
        if self.training:
            self.remember(z)
        return Coded(self.decoder(straight_through(z, word)), lost(word, z) + self.commitment * lost(z, word))


def nearest(z: Tensor, codes: Tensor) -> Tensor:
    """The number of the nearest of the codes `(K, C)` to each vector of z `(..., C)`, of the shape `(...)`."""
    distances = codes.square().sum(1) - 2 * z @ codes.mT.to(z)  # up to |z|^2, which all codes share
    return distances.argmin(-1)


def straight_through(z: Tensor, word: Tensor) -> Tensor:
    """The word, of the shape of z `(B, ...)`, whose gradient goes to z as if nothing had been rounded (Bengio et al., 2013)."""
    return z + (word - z).detach()


class PatchDiscriminator(nn.Module):
    """Judges an image patch by patch (Isola et al., 2017): a map of logits, each of which sees a square of 18 pixels."""

    config: dict[str, Any]

    @recorded
    def __init__(self, channels: int = 3, width: int = 48) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x `(B, channels, H, W)` to logits `(B, H / 4 * W / 4)`."""
        return self.layers(x).flatten(1)
