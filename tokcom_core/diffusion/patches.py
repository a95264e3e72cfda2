"""The pocket pipeline's autoencoder: principal components of patches, in closed form.

It takes the place of Stable Diffusion's variational autoencoder in a pipeline of ``diffusers``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from torch.nn import functional as F


class Decoded(NamedTuple):
    """Pixels ``[B, 3, H, W]``, as the autoencoders of ``diffusers`` return them."""

    sample: Tensor


class PatchAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Maps pictures ``[B, 3, H, W]`` in [-1, 1] to latents ``[B, latent_channels, H / p, W / p]``.

    Args:
        latent_channels: Number of components that are kept of a patch.
        block_out_channels: Named as in the other autoencoders of ``diffusers``. Only their number
            matters: a pipeline takes the side of a patch from it, p = 2 ** (number - 1).
        scaling_factor: Factor that gives the latents unit variance.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 24,
        block_out_channels: tuple[int, ...] = (24, 24, 24, 24),
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.side = 2 ** (len(block_out_channels) - 1)
        values = 3 * self.side**2
        self.mean = torch.nn.Parameter(torch.zeros(values), requires_grad=False)
        self.analysis = torch.nn.Parameter(
            torch.zeros(latent_channels, values), requires_grad=False
        )
        self.synthesis = torch.nn.Parameter(
            torch.zeros(values, latent_channels), requires_grad=False
        )

    def fit(self, pictures: Tensor) -> None:
        """Finds the components of the pictures' patches.

        Each component is divided by the square root of its standard deviation. Otherwise what is
        rare, such as the texture of metal, would drown in noise long before the rest.
        """
        patches = self._patches(pictures).transpose(1, 2).flatten(0, 1).double()
        mean = patches.mean(0)
        variance, axes = torch.linalg.eigh(torch.cov(patches.T))
        kept = slice(-self.config.latent_channels, None)
        scale = variance[kept].pow(0.25)
        with torch.no_grad():
            self.mean.copy_(mean)
            self.analysis.copy_((axes[:, kept] / scale).T)
            self.synthesis.copy_(axes[:, kept] * scale)
        self.register_to_config(scaling_factor=1 / float(self.encode(pictures).std()))

    def encode(self, pictures: Tensor) -> Tensor:
        """The unscaled latents of pictures."""
        height, width = (side // self.side for side in pictures.shape[-2:])
        centred = self._patches(pictures) - self.mean[:, None]
        latents: Tensor = (self.analysis @ centred).unflatten(2, (height, width))
        return latents

    def decode(
        self, latents: Tensor, return_dict: bool = True, generator: object = None
    ) -> Decoded:
        """The pictures of unscaled latents, as ``Decoded`` in any case: it is also a tuple."""
        patches = self.synthesis @ latents.flatten(2) + self.mean[:, None]
        height, width = (side * self.side for side in latents.shape[-2:])
        return Decoded(F.fold(patches, (height, width), self.side, stride=self.side))

    def _patches(self, pictures: Tensor) -> Tensor:
        """The patches of pictures, ``[B, values, patches]``."""
        return F.unfold(pictures, self.side, stride=self.side)
