"""The parts of Stable Diffusion (Rombach et al., 2022), as diffusers and transformers build them, behind the faces of this library.

Both packages belong to the extra `interop`, and are imported where a network is built.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.autoencoders import GaussianAutoencoder
from course_lib.nets.conditions import Tokens
from course_lib.nets.recorded import recorded
from course_lib.types import Cond

# The logarithm of the variance with which an autoencoder's latents begin. At 0, where diffusers leaves it, the noise drowns what the
# encoder says at first, the decoder learns to do without it, and its price then keeps it silent.
QUIET = -6.0
HOW = "pip install 'learning-to-denoise[interop]'"


class NotInstalledError(ValueError):
    """A package that a network is made of is missing."""


@contextmanager
def others_networks(network: type[nn.Module]) -> Iterator[None]:
    """Inside, a missing package becomes a NotInstalledError that says what to install, and others' warnings are silent."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        raise NotInstalledError(f"{error.name} is not installed, which {network.__name__} is made of: {HOW}") from error


class StandardAutoencoder(GaussianAutoencoder):
    """An `AutoencoderKL` of diffusers: latents that are Gaussian given the image, with little noise at first.

    `widths` gives the channels at each resolution, multiples of `groups`; each but the first halves the sides. Raises NotInstalledError
    where diffusers is missing.
    """

    @recorded
    def __init__(
        self,
        channels: int = 3,
        latent: int = 4,
        widths: tuple[int, ...] = (32, 64),
        blocks: int = 1,
        groups: int = 8,
    ) -> None:
        nn.Module.__init__(self)  # the coders of `Autoencoder` are not its own
        with others_networks(StandardAutoencoder):
            from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        self.channels, self.latent, self.factor = channels, latent, 2 ** (len(widths) - 1)
        resolutions: dict[str, Any] = {  # diffusers declares these as tuples of one entry
            "block_out_channels": tuple(widths),
            "down_block_types": ("DownEncoderBlock2D",) * len(widths),
            "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        }
        self.vae: Any = AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            latent_channels=latent,
            layers_per_block=blocks,
            norm_num_groups=groups,
            **resolutions,
        )
        nn.init.constant_(self.vae.quant_conv.bias[latent:], QUIET)
        self.register_buffer("mean_square", torch.ones(()))

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the logarithm of the variance of the latents of images x `(B, C, H, W)`, before they are scaled."""
        mean, log_variance = self.vae.quant_conv(self.vae.encoder(x)).float().chunk(2, 1)
        return mean, log_variance.clamp(-30, 20)  # as diffusers does

    def decoder(self, z: Tensor) -> Tensor:
        """Images `(B, C, H, W)` of latents z `(B, latent, H / factor, W / factor)` that are not scaled."""
        found: Tensor = self.vae.decoder(self.vae.post_quant_conv(z))
        return found


class StandardUNet(nn.Module):
    """A `UNet2DConditionModel` of diffusers, told texts by a `CLIPTextModel` of transformers, which learns with it.

    Its condition are texts as rows of tokens, all below `tokens`, each as long as `empty`, the row of the empty text. The encoder reads
    `length` tokens: the one that begins a text, the row, and the last of `empty` again and again, which pads. `widths` gives the channels
    at each resolution, multiples of `groups`; all resolutions ask the text. Raises NotInstalledError where a package is missing, and
    ValueError where the rows are too long for the encoder.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        tokens: int,
        begin: int,
        empty: tuple[int, ...],
        length: int,
        channels: int = 4,
        size: int = 16,
        widths: tuple[int, ...] = (32, 64),
        blocks: int = 1,
        heads: int = 4,
        groups: int = 8,
        text_width: int = 64,
        text_depth: int = 2,
    ) -> None:
        super().__init__()
        if len(empty) >= length:
            raise ValueError(f"length must be above the {len(empty)} tokens of a row, for the first; got {length}")
        with others_networks(StandardUNet):
            from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
            from transformers import CLIPTextConfig, CLIPTextModel

        self.takes, self.begin, self.length = Tokens(tokens, tuple(empty)), begin, length
        self.unet = UNet2DConditionModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(widths),
            down_block_types=("CrossAttnDownBlock2D",) * len(widths),
            up_block_types=("CrossAttnUpBlock2D",) * len(widths),
            layers_per_block=blocks,
            attention_head_dim=heads,  # diffusers' name for the number of heads
            norm_num_groups=groups,
            cross_attention_dim=text_width,
        )
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=tokens,
                hidden_size=text_width,
                intermediate_size=4 * text_width,
                projection_dim=text_width,
                num_hidden_layers=text_depth,
                num_attention_heads=heads,
                max_position_embeddings=length,
                bos_token_id=begin,
                eos_token_id=empty[0],
                pad_token_id=empty[-1],
            )
        )

    def told(self, rows: Tensor) -> Tensor:
        """The vectors `(B, length, text_width)` of texts as rows `(B, N)`."""
        whole = F.pad(
            F.pad(rows, (1, 0), value=self.begin), (0, self.length - 1 - rows.shape[1]), value=self.takes.empty[-1]
        )
        return self.text(whole).last_hidden_state

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """Latents x `(B, channels, H, W)`, times t `(B,)` from 1 and texts `(B, N)` (None: the empty one) to the shape of x.

        Raises ValueError where the condition is no such rows.
        """
        rows = self.takes.null(len(t)).to(t.device) if cond is None else cond
        if not isinstance(rows, Tensor):
            raise ValueError("cond must be one tensor, the rows of the texts' tokens; got a mapping")
        self.takes.check(rows)
        return self.unet(x, t - 1, encoder_hidden_states=self.told(rows)).sample  # diffusers counts times from 0
