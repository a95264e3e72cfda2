"""Channel estimation from Kronecker pilots, with Sionna's estimators.

Shapes: ``B`` samples, ``U`` users, ``M`` antennas, ``S`` slots, ``K`` pilot symbols of a slot,
``F`` subcarriers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..numerology import SYMBOLS_PER_SLOT, Allocation, Link
from ..seeding import sionna_seeded
from ..sionna_api import (
    BaseChannelEstimator,
    LMMSEChannelEstimator,
    LSChannelEstimator,
    ResourceGrid,
)
from ..sources.source import Request, Source, draw
from .receiver import Interpolation
from .response import frequency_response, subcarrier_hz

_STATISTICS_BATCH = 400
_SEED = 38_211
_MIN_POWER = 1e-30


@dataclass(frozen=True)
class _Pilots:
    """Pilots of some users.

    Attributes:
        estimator: Sionna's estimator.
        sequences: pilot sequences ``[U, K, F]``, 0 at the pilots of others.
        noise_gain: variance of the estimate for unit noise ``[U, 14, F]``; None for ``lmmse``,
            which states its own error.
    """

    estimator: BaseChannelEstimator
    sequences: Tensor
    noise_gain: Tensor | None


class PilotEstimator:
    """Least squares at the pilots, then interpolation over each slot.

    The users of one allocation share its pilot symbols as combs (Sionna's Kronecker pattern), at
    the power of their data. ``lmmse`` interpolates with the source's own second-order statistics.

    Args:
        link: numerology and pilots.
        interpolation: ``nearest``, ``linear`` or ``lmmse``.
        source: channels whose statistics ``lmmse`` uses.
        device: torch device.
    """

    def __init__(
        self,
        link: Link,
        interpolation: Interpolation,
        source: Source | None,
        device: str,
    ) -> None:
        assert source is not None, "LinearAir refuses estimates without fading"
        self._link = link
        self._interpolation = interpolation
        self._source = source
        self._device = device
        self._made: dict[tuple[int, int], _Pilots] = {}

    def estimate(
        self, pilots: Sequence[Tensor], rows: int, noise_power: float, generator: torch.Generator
    ) -> list[tuple[Tensor, Tensor]]:
        """Estimates every user's channel from what the pilot symbols bring.

        Args:
            pilots: each user's true response at the pilot symbols ``[B, M, S, K, F]``.
            rows: OFDM symbols with data.
            noise_power: N0 per antenna.
            generator: draws the noise on the pilots.

        Returns:
            of each user, the response ``[B, M, rows, F]`` at the data symbols and the variance
            ``[B, rows, F]`` of its error: that of the noise, as the interpolation passes it on.
        """
        batch, antennas, slots, _, subcarriers = pilots[0].shape
        made = self._pilots(len(pilots), subcarriers)
        received = torch.stack(list(pilots)).mul(made.sequences[:, None, None, None]).sum(0)
        noise = torch.randn(
            received.shape, dtype=received.dtype, device=received.device, generator=generator
        )
        received = received + noise_power**0.5 * noise
        grids = torch.zeros(
            batch * slots, 1, antennas, SYMBOLS_PER_SLOT, subcarriers,
            dtype=received.dtype, device=received.device,
        )  # fmt: skip
        grids[:, 0, :, self._link.pilot_positions] = received.transpose(1, 2).flatten(0, 1)
        power = received.abs().square().mean((1, 2, 3, 4)).clamp(min=_MIN_POWER)
        own = power / len(pilots)  # a user's comb has the power of all subcarriers
        level = own.sqrt().repeat_interleave(slots)  # that of the statistics
        response, error = made.estimator(
            grids / level[:, None, None, None, None],
            noise_power / level.square(),
        )
        level = level.reshape(-1, *[1] * (response.ndim - 1))
        shape = (batch, slots, antennas, len(pilots), SYMBOLS_PER_SLOT, subcarriers)
        stated = (error * level.square()).expand(response.shape).reshape(shape)
        response = self._data_rows((response * level).reshape(shape), rows)
        if made.noise_gain is None:
            error = self._data_rows(stated, rows)
        else:
            noise = (noise_power * made.noise_gain).expand(shape)
            response, error = _shrunk(response, self._data_rows(noise, rows))
        return [(h, e.mean(1)) for h, e in zip(response, error, strict=True)]

    def _data_rows(self, grids: Tensor, rows: int) -> Tensor:
        """``[B, S, M, U, 14, F]`` to ``[U, B, M, rows, F]``."""
        positions = [i for i in range(SYMBOLS_PER_SLOT) if i not in self._link.pilot_positions]
        return grids[:, :, :, :, positions].permute(3, 0, 2, 1, 4, 5).flatten(3, 4)[:, :, :, :rows]

    def _pilots(self, users: int, subcarriers: int) -> _Pilots:
        """Pilots of so many users, and what estimates their channels from them."""
        key = (users, subcarriers)
        if key not in self._made:
            if subcarriers % users:
                raise ValueError(
                    f"pilots of {users} users do not share {subcarriers} subcarriers evenly; "
                    "take another bandwidth_hz or number of devices"
                )
            with sionna_seeded(_SEED):
                grid = ResourceGrid(
                    num_ofdm_symbols=SYMBOLS_PER_SLOT,
                    fft_size=subcarriers,
                    subcarrier_spacing=self._link.subcarrier_spacing_hz,
                    num_tx=users,
                    num_streams_per_tx=1,
                    pilot_pattern="kronecker",
                    pilot_ofdm_symbol_indices=list(self._link.pilot_positions),
                    precision="single",
                    device=self._device,
                )
            sequences = grid.pilot_pattern.pilots.reshape(users, -1, subcarriers)
            estimator = self._build(grid, subcarriers)
            stated = self._interpolation == "lmmse"
            gain = None if stated else self._noise_gain(estimator, sequences)
            self._made[key] = _Pilots(estimator, sequences, gain)
        return self._made[key]

    def _noise_gain(self, estimator: BaseChannelEstimator, sequences: Tensor) -> Tensor:
        """Variance ``[U, 14, F]`` that an interpolation with weights w makes of unit noise.

        That is the sum of w^2 over the pilots; Sionna states the sum of w, as if the noise of two
        pilots were the same. A value is interpolated from neighbouring pilots, so that impulses at
        every second pilot of one symbol do not overlap, and show each weight.
        """
        _, count, subcarriers = sequences.shape
        sends = sequences.abs() > 0
        odd = sends.cumsum(-1) % 2 == 1
        impulses = torch.zeros(
            2 * count, 1, 1, SYMBOLS_PER_SLOT, subcarriers,
            dtype=sequences.dtype, device=sequences.device,
        )  # fmt: skip
        for k, position in enumerate(self._link.pilot_positions):
            for i, chosen in enumerate((sends & odd, sends & ~odd)):
                impulses[2 * k + i, 0, 0, position] = chosen[:, k].any(0).to(impulses.dtype)
        weights, _ = estimator(impulses, torch.ones(len(impulses), device=sequences.device))
        gain: Tensor = weights.abs().square().sum(0)
        return gain.reshape(-1, SYMBOLS_PER_SLOT, subcarriers)

    def _build(self, grid: ResourceGrid, subcarriers: int) -> BaseChannelEstimator:
        if self._interpolation == "lmmse":
            in_time, in_frequency = self._statistics
            return LMMSEChannelEstimator(
                grid,
                in_time,
                in_frequency[:subcarriers, :subcarriers],
                order="f-t",
                precision="single",
                device=self._device,
            )
        kind = "nn" if self._interpolation == "nearest" else "lin"
        return LSChannelEstimator(
            grid, interpolation_type=kind, precision="single", device=self._device
        )

    @cached_property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Covariances of the normalised response over the symbols of a slot, and over the band."""
        band = Allocation(0, self._link.subcarriers)
        channel = draw(
            self._source,
            Request(
                batch=_STATISTICS_BATCH,
                steps=SYMBOLS_PER_SLOT,
                sampling_hz=1e3 / self._link.symbol_ms,
                subcarriers=band.subcarriers,
                seed=_SEED,
                sender="",
            ),
            self._link.antennas,
        )
        response = frequency_response(
            channel, subcarrier_hz(self._link, band, channel.gains.device)
        )
        level = response.abs().square().mean((1, 2, 3), keepdim=True).sqrt()
        response = response / level.clamp(min=_MIN_POWER)
        by_symbol = response.permute(2, 0, 1, 3).flatten(1)[:, :: self._link.subcarriers // 12]
        by_subcarrier = response.permute(3, 0, 1, 2)[..., :1].flatten(1)
        return _covariance(by_symbol), _covariance(by_subcarrier)


def _shrunk(response: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """What least squares says of a Gaussian channel: its mean and variance given the estimate.

    An estimate is its channel plus an error, and so too large on average; the channel's own power
    is what the estimate's power over the grid exceeds the error's by. ``[U, B, M, T, F]``.
    """
    observed = response.abs().square().mean((2, 3, 4), keepdim=True)
    own = (observed - error.mean((2, 3, 4), keepdim=True)).clamp(min=0.0)
    share = own / (own + error).clamp(min=_MIN_POWER)
    return share * response, share * error


def _covariance(observations: Tensor) -> Tensor:
    return observations @ observations.mH / observations.shape[1]
