"""Silent probes: what the symbols of a long transmission meet, without sending all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..numerology import SYMBOLS_PER_SLOT, Link
from ..reception.linear import LinearAir
from .harq import HarqTransmission

_MAX_GAINS = 2**23
"""Channel gains of a probe: samples x antennas x OFDM symbols x subcarriers."""
_MIN_ROWS = 32


@dataclass(frozen=True)
class Probe:
    """A probe of the whole time and band of a transmission.

    It has every OFDM symbol, or every ``stride``-th one, which stands for those that follow it.

    Attributes:
        link: numerology and pilots.
        subcarriers: those of the sender.
        stride: OFDM symbols from one row of the probe to the next.
    """

    link: Link
    subcarriers: int
    stride: int = 1

    def lengths(self, symbols: Tensor) -> Tensor:
        """Symbols of the probe that meet what so many first symbols of a transmission do."""
        if self.stride == 1:
            return symbols
        last = self._row((symbols - 1).clamp(min=0) // self.subcarriers)
        return torch.where(symbols > 0, (last + 1) * self.subcarriers, 0)

    def positions(self, symbols: Tensor) -> Tensor:
        """Positions in the probe of what is met by symbols at these positions."""
        if self.stride == 1:
            return symbols
        return self._row(symbols // self.subcarriers) * self.subcarriers + (
            symbols % self.subcarriers
        )

    def _row(self, data_row: Tensor) -> Tensor:
        """Rows of the probe that stand for rows of data symbols, which leave out the pilots."""
        in_slot = torch.tensor(self.link.data_positions, device=data_row.device)
        slot = data_row // len(in_slot)
        step = SYMBOLS_PER_SLOT * slot + in_slot[data_row % len(in_slot)]
        return step // self.stride


def probe_of(air: LinearAir, transmissions: Sequence[HarqTransmission]) -> Probe:
    """The finest probe of bounded memory of all due packets of an interval."""
    link = air.link
    shares = link.allocations([s.frame.sender for s in transmissions])
    subcarriers = next(iter(shares.values())).subcarriers
    if air.static:
        return Probe(link, subcarriers)
    longest = max(int(s.due_symbols.max()) for s in transmissions)
    steps = link.grid(longest, subcarriers).steps
    gains = max(len(s.frame.scale) for s in transmissions) * link.antennas * subcarriers
    if steps * gains <= _MAX_GAINS:
        return Probe(link, subcarriers)
    if air.csi == "estimated":  # the estimator has a slot for every row
        gains *= SYMBOLS_PER_SLOT
    rows = max(_MIN_ROWS, _MAX_GAINS // gains)
    return Probe(link, subcarriers, math.ceil(steps / rows))
