"""How interpolation between pilots distorts a channel, and what noise it adds.

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
from .statistics import MIN_POWER, normalised_responses

_VALUES_AT_ONCE = 2**23


@dataclass(frozen=True)
class Interpolated:
    """Statistics of an estimate c h + e of a channel h of unit power; e is uncorrelated with h.

    Attributes:
        kept: c, complex64 ``[U, 14, F]``; 1 where interpolation recovers the channel.
        missed: Variance ``[U, 14, F]`` of e without noise: how far the channel departs from what is
            interpolated between the pilots.
        noise_gain: Variance ``[U, 14, F]`` that noise of unit power on the pilots adds to e.
    """

    kept: Tensor
    missed: Tensor
    noise_gain: Tensor

    def mapped(self, each: Callable[[Tensor], Tensor]) -> Interpolated:
        """The statistics of another part of the grid: ``each`` is applied to every attribute."""
        return Interpolated(each(self.kept), each(self.missed), each(self.noise_gain))

    def shrunk(self, response: Tensor, noise_power: float) -> tuple[Tensor, Tensor]:
        """Mean and variance of a Gaussian channel given its estimate.

        The channel's power is measured over the grid: it is the power of the estimate less that of
        the noise, divided by what interpolation makes of a channel of unit power.

        Args:
            response: Estimates ``[U, B, M, T, F]``, to which these statistics are broadcast.
            noise_power: N0 on the pilots.
        """
        over_grid = (2, 3, 4)
        noise = noise_power * self.noise_gain
        observed = response.abs().square().mean(over_grid, keepdim=True)
        kept = self.kept.abs().square()
        passed = (kept + self.missed).mean(over_grid, keepdim=True)
        power = (observed - noise.mean(over_grid, keepdim=True)).clamp(min=0.0) / passed
        error = noise + power * self.missed
        total = (power * kept + error).clamp(min=MIN_POWER)
        return power / total * self.kept.conj() * response, power * error / total


def interpolated(
    estimator: BaseChannelEstimator, sequences: Tensor, link: Link, source: Source
) -> Interpolated:
    """The statistics over a slot of an estimator that interpolates.

    All users have channels of the same source; each is estimated from its own pilots.

    Args:
        estimator: Sionna's estimator, which must be linear in the received signal.
        sequences: Pilot sequences ``[U, K, F]``, 0 at the pilots of other users.
        link: Numerology and pilots.
        source: Channels of one user.
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
    power = power.clamp(min=MIN_POWER)
    excess = along / power  # c - 1
    missed = (square / power - excess.abs().square()).clamp(min=0.0).float()
    noise_gain = _noise_gain(estimator, sequences, link)
    return Interpolated((1 + excess).to(torch.complex64), missed, noise_gain)


def _noise_gain(estimator: BaseChannelEstimator, sequences: Tensor, link: Link) -> Tensor:
    """Variance ``[U, 14, F]`` of noise of unit power after interpolation with weights w.

    It is the sum of w^2 over the pilots. Sionna states the sum of w instead, as if two pilots had
    the same noise. The weights are measured as responses to impulses: a value is interpolated from
    neighbouring pilots only, so that impulses at every second pilot of one symbol do not overlap.
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
    """The estimate from grids ``[..., 14, F]`` that one antenna receives."""
    noise_var = torch.ones(len(received), device=received.device)
    estimate: Tensor = estimator(received[:, None, None], noise_var)[0]
    return estimate
