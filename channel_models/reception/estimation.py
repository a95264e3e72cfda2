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

from ..numerology import SYMBOLS_PER_SLOT, Link
from ..seeding import sionna_seeded
from ..sionna_api import (
    BaseChannelEstimator,
    LMMSEChannelEstimator,
    LSChannelEstimator,
    ResourceGrid,
)
from ..sources.source import Source
from .csi import Interpolation
from .interpolation import Interpolated, interpolated
from .statistics import ESTIMATION_SEED, MIN_POWER, covariances

_MIN_SNR = 1e-3


@dataclass(frozen=True)
class _Pilots:
    """Pilots of some users.

    Attributes:
        estimator: Sionna's estimator.
        sequences: Pilot sequences ``[U, K, F]``, 0 at the pilots of other users.
        interpolated: Statistics of the estimate; None for ``lmmse``, which states its own error.
    """

    estimator: BaseChannelEstimator
    sequences: Tensor
    interpolated: Interpolated | None


class PilotEstimator:
    """Least squares at the pilots, then interpolation over each slot.

    The users of one allocation share its pilot symbols as combs (Sionna's Kronecker pattern), at
    the power of their data. ``lmmse`` interpolates with the source's own second-order statistics.
    ``nearest`` and ``linear`` interpolate without them; the same statistics then turn each estimate
    into the channel's mean given the estimate, and yield the variance of its error.

    Args:
        link: Numerology and pilots.
        interpolation: ``nearest``, ``linear`` or ``lmmse``.
        source: Channels of one user, from which the statistics are taken.
        device: Torch device.
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
        self,
        pilots: Sequence[Tensor],
        rows: Sequence[int],
        noise_power: float,
        generator: torch.Generator,
    ) -> list[tuple[Tensor, Tensor]]:
        """Estimates every user's channel from the pilot symbols as the base station receives them.

        Args:
            pilots: Each user's true response at the pilot symbols ``[B, M, S, K, F]``.
            rows: Index of each row of data symbols among all data positions of all slots.
            noise_power: N0 per antenna.
            generator: Draws the noise on the pilots.

        Returns:
            for each user, the response ``[B, M, rows, F]`` at the data symbols and the variance
            ``[B, rows, F]`` of its error. The error has two parts: the noise on the pilots as
            interpolated, and what interpolation misses of the channel between the pilots.
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
        power = received.abs().square().mean((1, 2, 3, 4)) - noise_power
        least = max(MIN_POWER, _MIN_SNR * noise_power)  # noise alone may have less than its mean
        power = power.clamp(min=least) / len(pilots)  # on its comb a user sends all of its power
        level = power.sqrt().repeat_interleave(slots)  # scales to the statistics' unit power
        response, error = made.estimator(
            grids / level[:, None, None, None, None],
            noise_power / level.square(),
        )
        level = level.reshape(-1, *[1] * (response.ndim - 1))
        shape = (batch, slots, antennas, len(pilots), SYMBOLS_PER_SLOT, subcarriers)
        scaled = response * level
        response = self._data_rows(scaled.reshape(shape), rows)
        if made.interpolated is None:
            stated = (error * level.square()).expand(scaled.shape)
            error = self._data_rows(stated.reshape(shape), rows)
        else:
            of_rows = made.interpolated.mapped(
                lambda slot: self._data_rows(slot.expand(1, slots, 1, *slot.shape), rows)
            )
            response, error = of_rows.shrunk(response, noise_power)
        return [(h, e.mean(1)) for h, e in zip(response, error, strict=True)]

    def _data_rows(self, grids: Tensor, rows: Sequence[int]) -> Tensor:
        """``[B, S, M, U, 14, F]`` to ``[U, B, M, rows, F]``."""
        positions = self._link.data_positions
        of_slots = grids[:, :, :, :, positions].permute(3, 0, 2, 1, 4, 5).flatten(3, 4)
        return of_slots[:, :, :, list(rows)]

    def _pilots(self, users: int, subcarriers: int) -> _Pilots:
        """The pilots of ``users`` users, and the estimator of channels from these pilots."""
        key = (users, subcarriers)
        if key not in self._made:
            if subcarriers % users:
                raise ValueError(
                    f"pilots of {users} users do not share {subcarriers} subcarriers evenly; "
                    "take another bandwidth_hz or number of devices"
                )
            with sionna_seeded(ESTIMATION_SEED):
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
            of_estimate = (
                None
                if self._interpolation == "lmmse"
                else interpolated(estimator, sequences, self._link, self._source)
            )
            self._made[key] = _Pilots(estimator, sequences, of_estimate)
        return self._made[key]

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
        """Covariances of the response over the symbols of a slot, and over the band."""
        return covariances(self._link, self._source)
