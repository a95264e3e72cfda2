"""From paths to subcarriers: the frequency response of a realisation.

Shapes: ``B`` samples, ``M`` antennas, ``P`` paths, ``T`` time steps, ``F`` subcarriers.
"""

from __future__ import annotations

import torch
from sionna.phy import PI
from torch import Tensor

from .numerology import Allocation, Link
from .source import Realisation


def subcarrier_hz(link: Link, allocation: Allocation, device: torch.device) -> Tensor:
    """Baseband frequencies ``[F]`` of an allocation, the band's middle subcarrier at zero."""
    first = allocation.first - link.subcarriers // 2
    index = torch.arange(first, first + allocation.subcarriers, device=device)
    return index * link.subcarrier_spacing_hz


def frequency_response(channel: Realisation, frequencies_hz: Tensor) -> Tensor:
    """``H(t, f) = sum_p a_p(t) exp(-j 2 pi f tau_p)``: ``[B, M, T, F]``.

    One matrix product a sample, or a single one where all samples share their delays.
    """
    gains = channel.gains.transpose(2, 3)
    phase = -2 * PI * channel.delays_s[:, :, None] * frequencies_hz
    rotation = torch.polar(torch.ones_like(phase), phase)
    batch, antennas, steps, paths = gains.shape
    rows = (1, batch * antennas * steps) if len(rotation) == 1 else (batch, antennas * steps)
    response = torch.matmul(gains.reshape(*rows, paths), rotation)
    return response.reshape(batch, antennas, steps, len(frequencies_hz))
