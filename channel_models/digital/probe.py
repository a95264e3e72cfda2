"""Silent probes: find the SINR along a long transmission without sending all its symbols."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..air import ChannelOutput
from ..frame import Frame
from ..numerology import SYMBOLS_PER_SLOT, Link
from ..reception.linear import LinearAir
from .harq import HarqTransmission

_MAX_GAINS = 2**23
"""Most channel gains of a probe: samples x antennas x OFDM symbols x subcarriers."""
_MIN_ROWS = 32


@dataclass(frozen=True)
class Probe:
    """A probe over the whole duration and band of a transmission.

    With ``stride`` 1 it has the transmission's own symbols. Otherwise its rows are every
    ``stride``-th OFDM symbol, and each row stands for the OFDM symbols up to the next one.

    Attributes:
        link: Numerology and pilots.
        subcarriers: Number of the sender's subcarriers.
        stride: OFDM symbols from one row of the probe to the next.
    """

    link: Link
    subcarriers: int
    stride: int = 1

    def lengths(self, symbols: Tensor) -> Tensor:
        """How long a probe must be to cover the first ``symbols`` symbols of a transmission."""
        if self.stride == 1:
            return symbols
        last = self._row((symbols - 1).clamp(min=0) // self.subcarriers)
        return torch.where(symbols > 0, (last + 1) * self.subcarriers, 0)

    def positions(self, symbols: Tensor) -> Tensor:
        """Positions in the probe that stand for symbols at these positions of a transmission."""
        if self.stride == 1:
            return symbols
        return self._row(symbols // self.subcarriers) * self.subcarriers + (
            symbols % self.subcarriers
        )

    def _row(self, data_row: Tensor) -> Tensor:
        """Rows of the probe that stand for rows of data symbols, counted without pilots."""
        in_slot = torch.tensor(self.link.data_positions, device=data_row.device)
        slot = data_row // len(in_slot)
        step = SYMBOLS_PER_SLOT * slot + in_slot[data_row % len(in_slot)]
        return step // self.stride


def probe_of(air: LinearAir, transmissions: Sequence[HarqTransmission]) -> Probe:
    """The finest probe within the memory limit that covers all due packets of an interval."""
    subcarriers = subcarriers_per_sender(air, transmissions)
    if air.static:
        return Probe(air.link, subcarriers)
    longest = max(int(s.due_symbols.max()) for s in transmissions)
    steps = air.link.grid(longest, subcarriers).steps
    if steps * _gains_of_row(air, transmissions) <= _MAX_GAINS:
        return Probe(air.link, subcarriers)
    return Probe(air.link, subcarriers, math.ceil(steps / max_rows(air, transmissions)))


def subcarriers_per_sender(air: LinearAir, transmissions: Sequence[HarqTransmission]) -> int:
    """Number of subcarriers of each sender of an interval."""
    shares = air.link.allocations([s.frame.sender for s in transmissions])
    return next(iter(shares.values())).subcarriers


def max_rows(air: LinearAir, transmissions: Sequence[HarqTransmission]) -> int:
    """Largest number of rows of a strided probe.

    If the channel is estimated, each row takes the memory of a whole slot.
    """
    in_row = SYMBOLS_PER_SLOT if air.csi == "estimated" else 1
    return max(_MIN_ROWS, _MAX_GAINS // (in_row * _gains_of_row(air, transmissions)))


def _gains_of_row(air: LinearAir, transmissions: Sequence[HarqTransmission]) -> int:
    batch = max(len(s.frame.scale) for s in transmissions)
    return batch * air.link.antennas * subcarriers_per_sender(air, transmissions)


def sinr_of(output: ChannelOutput, frame: Frame) -> Tensor:
    """SINR ``[B, N]`` of each symbol of a probe's frame, after LMMSE estimation."""
    noise_var = output.noise_var.expand(frame.symbols.shape)
    return 1.0 / noise_var.clamp(min=1e-9) - 1.0
