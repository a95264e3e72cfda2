"""From complex symbols to airtime: 5G NR resource blocks, shared by the devices.

``bandwidth_hz`` is what the resource blocks themselves fill (guard bands lie outside). A slot of
14 OFDM symbols, cyclic prefixes included, lasts 1 ms / 2^mu; ``dmrs_symbols`` of its symbols carry
pilots only (TS 38.211, sections 4.3.2 and 6.4.1.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .power import energy_mj

SUBCARRIERS_PER_BLOCK = 12
SYMBOLS_PER_SLOT = 14

Access = Literal["ofdma", "tdma"]


@dataclass(frozen=True)
class Overhead:
    """What a transmission cost, per sample.

    Channel uses count complex symbols; ``airtime_ms`` and ``energy_mj`` are the sender's own.
    """

    data_channel_uses: float = 0.0
    pilot_channel_uses: float = 0.0
    control_bits: float = 0.0
    airtime_ms: float = 0.0
    energy_mj: float = 0.0


class Link(BaseModel):
    """The band and how the devices share it.

    ``ofdma`` splits the resource blocks evenly and all send at once; with ``tdma`` each has the
    whole band in turn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bandwidth_hz: float = Field(default=5e6, gt=0, allow_inf_nan=False)
    subcarrier_spacing_khz: Literal[15, 30, 60, 120] = 30
    dmrs_symbols: int = Field(default=2, ge=0, lt=SYMBOLS_PER_SLOT)
    tx_power_dbm: float = Field(default=23.0, allow_inf_nan=False)
    access: Access = "ofdma"

    @model_validator(mode="after")
    def _has_a_block(self) -> Link:
        if self.resource_blocks < 1:
            raise ValueError(
                f"bandwidth_hz {self.bandwidth_hz:g} is narrower than one resource block; "
                f"take {self._block_hz:g} or more"
            )
        return self

    @property
    def _block_hz(self) -> float:
        return SUBCARRIERS_PER_BLOCK * self.subcarrier_spacing_khz * 1e3

    @property
    def resource_blocks(self) -> int:
        return int(self.bandwidth_hz // self._block_hz)

    @property
    def symbol_ms(self) -> float:
        """Duration of an OFDM symbol with its cyclic prefix, averaged over a slot."""
        return 15.0 / self.subcarrier_spacing_khz / SYMBOLS_PER_SLOT

    @property
    def channel_uses_per_ms(self) -> float:
        """Complex data symbols per millisecond over the whole band, pilots excluded."""
        data = SUBCARRIERS_PER_BLOCK * self.resource_blocks * (SYMBOLS_PER_SLOT - self.dmrs_symbols)
        return data / (SYMBOLS_PER_SLOT * self.symbol_ms)

    def blocks_per_device(self, devices: int) -> int:
        """Resource blocks that one of ``devices`` devices sends on.

        Raises:
            ValueError: if there are fewer blocks than devices to split them.
        """
        own = self.resource_blocks // devices if self.access == "ofdma" else self.resource_blocks
        if own < 1:
            raise ValueError(
                f"bandwidth_hz {self.bandwidth_hz:g} has {self.resource_blocks} resource blocks "
                f"for {devices} devices; take {devices * self._block_hz:g} or more, or access tdma"
            )
        return own

    def transmission(self, data_channel_uses: float, blocks: int) -> Overhead:
        """One device's transmission of so many data symbols on ``blocks`` resource blocks."""
        subcarriers = SUBCARRIERS_PER_BLOCK * blocks
        data_symbols = math.ceil(data_channel_uses / subcarriers)
        slots = math.ceil(data_symbols / (SYMBOLS_PER_SLOT - self.dmrs_symbols))
        pilots = slots * self.dmrs_symbols
        airtime_ms = (data_symbols + pilots) * self.symbol_ms
        return Overhead(
            data_channel_uses=data_channel_uses,
            pilot_channel_uses=float(pilots * subcarriers),
            airtime_ms=airtime_ms,
            energy_mj=energy_mj(self.tx_power_dbm, airtime_ms),
        )

    def overheads(
        self, senders: Sequence[str], data_channel_uses: Sequence[float], control_bits: float
    ) -> list[Overhead]:
        """The overhead of each frame of one interval; frames of one sender follow each other.

        Args:
            senders: the sender of each frame.
            data_channel_uses: of each frame, per sample.
            control_bits: of each frame, per sample.
        """
        blocks = self.blocks_per_device(len(set(senders)))
        return [
            replace(self.transmission(uses, blocks), control_bits=float(control_bits))
            for uses in data_channel_uses
        ]

    def interval_ms(self, senders: Sequence[str], overheads: Sequence[Overhead]) -> float:
        """Airtime of the whole interval: the slowest device (OFDMA), or all in turn (TDMA)."""
        own: dict[str, float] = {}
        for sender, overhead in zip(senders, overheads, strict=True):
            own[sender] = own.get(sender, 0.0) + overhead.airtime_ms
        return max(own.values()) if self.access == "ofdma" else sum(own.values())
