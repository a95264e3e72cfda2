"""From paths to subcarriers: the frequency response of a realisation.

Shapes: ``B`` samples, ``M`` antennas, ``P`` paths, ``T`` time steps, ``F`` subcarriers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..numerology import Allocation, Link
from ..sources.source import Realisation


def subcarrier_hz(link: Link, allocation: Allocation, device: torch.device) -> Tensor:
    """Baseband frequencies ``[F]`` of an allocation; the band's middle subcarrier is at zero."""
    first = allocation.first - link.subcarriers // 2
    index = torch.arange(first, first + allocation.subcarriers, device=device)
    return index * link.subcarrier_spacing_hz


_STRIDE = 32


def _rotation(delays_s: Tensor, frequencies_hz: Tensor) -> Tensor:
    """``exp(-j 2 pi f tau)`` ``[B, P, F]`` at evenly spaced frequencies.

    Each is the product of two factors: one of every 32nd frequency, and one of the offset from it.
    A thousand subcarriers thus take some sixty exponentials per path.
    """
    step = frequencies_hz[:_STRIDE] - frequencies_hz[0]
    fine, coarse = (
        torch.polar(torch.ones_like(phase), phase)
        for phase in (
            -2 * math.pi * delays_s[:, :, None] * part for part in (step, frequencies_hz[::_STRIDE])
        )
    )
    product = coarse[..., :, None] * fine[..., None, :]
    return product.flatten(2)[..., : len(frequencies_hz)]


def frequency_response(channel: Realisation, frequencies_hz: Tensor) -> Tensor:
    """``H(t, f) = sum_p a_p(t) exp(-j 2 pi f tau_p)``: ``[B, M, T, F]``.

    Takes one matrix product per sample, or a single one if all samples share their delays.
    """
    gains = channel.gains.transpose(2, 3)
    rotation = _rotation(channel.delays_s, frequencies_hz)
    batch, antennas, steps, paths = gains.shape
    rows = (1, batch * antennas * steps) if len(rotation) == 1 else (batch, antennas * steps)
    response = torch.matmul(gains.reshape(*rows, paths), rotation)
    return response.reshape(batch, antennas, steps, len(frequencies_hz))
