"""Block fading: one complex gain a sample, as realisation sources in Sionna's signature."""

from __future__ import annotations

import math

import torch
from sionna.phy.channel import ChannelModel, RayleighBlockFading
from torch import Tensor


class RicianBlockFading(ChannelModel):  # type: ignore[misc]
    """One line-of-sight path of uniform phase plus Sionna's Rayleigh block fading, E|h|^2 = 1.

    Args:
        k_factor_db: power of the line of sight over that of the scattered part, in dB.
        device: torch device of the realisations.
    """

    def __init__(self, k_factor_db: float, device: str) -> None:
        super().__init__(precision="single", device=device)
        k = 10.0 ** (k_factor_db / 10.0)
        self._line_of_sight = math.sqrt(k / (1.0 + k))
        self._scattered = math.sqrt(1.0 / (1.0 + k))
        self._rayleigh = RayleighBlockFading(1, 1, 1, 1, precision="single", device=device)

    def __call__(
        self, batch_size: int, num_time_steps: int, sampling_frequency: float
    ) -> tuple[Tensor, Tensor]:
        """Returns ``a`` ``[batch, 1, 1, 1, 1, 1, steps]`` and delays ``[batch, 1, 1, 1]``."""
        scattered, delays = self._rayleigh(batch_size, num_time_steps, sampling_frequency)
        shape = (batch_size, *[1] * (scattered.ndim - 1))
        phase = 2 * math.pi * torch.rand(shape, generator=self.torch_rng, device=self.device)
        line = torch.polar(torch.ones_like(phase), phase)
        return self._line_of_sight * line + self._scattered * scattered, delays
