"""A denoiser whose network sees inputs and gives outputs of unit variance at every noise level (Karras et al., 2022, section 5)."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from course_lib.nets.unet import UNet
from course_lib.types import Cond, per_sample


class Coefficients(NamedTuple):
    """D(x; sigma) = skip x + out F(in x; noise), each of the shape of sigma."""

    skip: Tensor
    out: Tensor
    into: Tensor  # the paper's c_in; `in` is a word of Python
    noise: Tensor


def coefficients(sigma: Tensor, sigma_data: float) -> Coefficients:
    """The coefficients of the preconditioning at noise levels sigma > 0, of any shape (Karras et al., 2022, table 1)."""
    total = (sigma**2 + sigma_data**2).sqrt()
    return Coefficients(sigma_data**2 / total**2, sigma * sigma_data / total, 1 / total, sigma.log() / 4)


class Preconditioned(nn.Module):
    """The denoiser D(x; sigma) around a network F, for x_t = x_0 + sigma eps with data of standard deviation sigma_data.

    It answers with x_0-hat, so its prediction is `X0` and its schedule `EDM`. Raises ValueError unless sigma_data is above 0.
    """

    def __init__(self, network: nn.Module, sigma_data: float = 0.5) -> None:
        super().__init__()
        if sigma_data <= 0:
            raise ValueError(f"sigma_data, the data's standard deviation, must be above 0; got {sigma_data}")
        self.network, self.sigma_data = network, sigma_data

    @property
    def takes(self) -> Any:
        """The conditions that the network can be given, or None."""
        return self.network.takes

    def forward(self, x: Tensor, sigma: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, ...)` at levels sigma `(B,)`, with cond or None, to x_0-hat of the shape of x."""
        c = coefficients(sigma, self.sigma_data)
        raw = self.network(per_sample(c.into, x) * x, c.noise, cond)
        return per_sample(c.skip, x) * x + per_sample(c.out, x) * raw.to(x.dtype)


class PreconditionedUNet(Preconditioned):
    """A `Preconditioned` U-Net; `config` holds the U-Net's arguments.

    The U-Net's sinusoids see ln(sigma) / 4, stretched by its `time_scale`.
    """

    config: dict[str, Any]

    def __init__(self, sigma_data: float = 0.5, **config: Any) -> None:
        network = UNet(**config)
        super().__init__(network, sigma_data)
        self.config = {"sigma_data": sigma_data, **network.config}
