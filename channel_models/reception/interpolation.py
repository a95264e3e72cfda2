"""What interpolation between pilots makes of a channel and of the noise on the pilots.

Shapes: ``U`` users, ``B`` samples, ``M`` antennas, ``K`` pilot symbols of a slot, ``T`` OFDM
symbols with data, ``F`` subcarriers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..numerology import SYMBOLS_PER_SLOT, Link
from ..sionna_api import BaseChannelEstimator
from ..sources.source import Source
from .statistics import normalised_responses

_VALUES_AT_ONCE = 2**23
_MIN_POWER = 1e-30


@dataclass(frozen=True)
class Interpolated:
    """An estimate c h + e of a channel h of unit power; e is uncorrelated with h.

    Attributes:
        kept: c, complex64 ``[U, 14, F]``; 1 where the channel is that at the pilots.
        missed: variance ``[U, 14, F]`` of e without noise: how far the channel strays from the
            pilots'.
        noise_gain: variance ``[U, 14, F]`` that unit noise adds to it.
    """

    kept: Tensor
    missed: Tensor
    noise_gain: Tensor

    def mapped(self, each: Callable[[Tensor], Tensor]) -> Interpolated:
        """The same of another part of the grid."""
        return Interpolated(each(self.kept), each(self.missed), each(self.noise_gain))

    def shrunk(self, response: Tensor, noise_power: float) -> tuple[Tensor, Tensor]:
        """What the estimate says of a Gaussian channel: mean and variance given the estimate.

        The channel's own power is what the estimate's power over the grid exceeds the noise's by.

        Args:
            response: estimates ``[U, B, M, T, F]``; these statistics broadcast to them.
            noise_power: N0 on the pilots.
        """
        over_grid = (2, 3, 4)
        noise = noise_power * self.noise_gain
        observed = response.abs().square().mean(over_grid, keepdim=True)
        kept = self.kept.abs().square()
        passed = (kept + self.missed).mean(over_grid, keepdim=True)
        own = (observed - noise.mean(over_grid, keepdim=True)).clamp(min=0.0) / passed
        error = noise + own * self.missed
        total = (own * kept + error).clamp(min=_MIN_POWER)
        return own / total * self.kept.conj() * response, own * error / total


def interpolated(
    estimator: BaseChannelEstimator, sequences: Tensor, link: Link, source: Source
) -> Interpolated:
    """The statistics of an estimator that interpolates, over a slot.

    Each user has the source's channels, seen through pilots of its own.

    Args:
        estimator: Sionna's, linear in what is received.
        sequences: pilot sequences ``[U, K, F]``, 0 at the pilots of others.
        link: numerology and pilots.
        source: channels of one user.
    """
    users, _, subcarriers = sequences.shape
    pilots, sent = list(link.pilot_positions), sequences.sum(0)
    shape = (users, SYMBOLS_PER_SLOT, subcarriers)
    power, square = torch.zeros(2, *shape, dtype=torch.float64, device=sequences.device)
    along = torch.zeros(shape, dtype=torch.complex128, device=sequences.device)
    at_once = max(1, _VALUES_AT_ONCE // (max(users, link.antennas) * math.prod(shape[1:])))
    for responses in normalised_responses(link, source, subcarriers, at_once):
        true = responses[:, 0]  # all antennas are alike
        received = torch.zeros_like(true)
        received[:, pilots] = true[:, pilots] * sent
        off = _estimate(estimator, received).reshape(-1, *shape) - true[:, None]
        power += true.abs().square().sum(0)
        along += (off * true[:, None].conj()).sum(0)
        square += off.abs().square().sum(0)
    power = power.clamp(min=_MIN_POWER)
    excess = along / power  # c - 1
    missed = (square / power - excess.abs().square()).clamp(min=0.0).float()
    noise_gain = _noise_gain(estimator, sequences, link)
    return Interpolated((1 + excess).to(torch.complex64), missed, noise_gain)


def _noise_gain(estimator: BaseChannelEstimator, sequences: Tensor, link: Link) -> Tensor:
    """Variance ``[U, 14, F]`` that an interpolation with weights w makes of unit noise.

    That is the sum of w^2 over the pilots; Sionna states the sum of w, as if the noise of two
    pilots were the same. A value is interpolated from neighbouring pilots, so that impulses at
    every second pilot of one symbol do not overlap, and show each weight.
    """
    _, count, subcarriers = sequences.shape
    sends = sequences.abs() > 0
    odd = sends.cumsum(-1) % 2 == 1
    impulses = torch.zeros(
        2 * count, SYMBOLS_PER_SLOT, subcarriers, dtype=sequences.dtype, device=sequences.device
    )
    for k, position in enumerate(link.pilot_positions):
        for i, chosen in enumerate((sends & odd, sends & ~odd)):
            impulses[2 * k + i, position] = chosen[:, k].any(0).to(impulses.dtype)
    gain: Tensor = _estimate(estimator, impulses).abs().square().sum(0)
    return gain.reshape(-1, SYMBOLS_PER_SLOT, subcarriers)


def _estimate(estimator: BaseChannelEstimator, received: Tensor) -> Tensor:
    """What it makes of grids ``[..., 14, F]`` that one antenna receives."""
    found: Tensor
    found, _ = estimator(received[:, None, None], torch.ones(len(received), device=received.device))
    return found
