"""From complex symbols to airtime: 5G NR resource blocks, shared by the devices.

``bandwidth_hz`` is the band that the resource blocks fill; guard bands lie outside it. A slot of
14 OFDM symbols, cyclic prefixes included, lasts 1 ms / 2^mu; ``dmrs_symbols`` of its symbols carry
pilots only (TS 38.211, sections 4.3.2 and 6.4.1.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from .power import energy_mj, from_db

SUBCARRIERS_PER_BLOCK = 12
SYMBOLS_PER_SLOT = 14
SPEED_OF_LIGHT_MPS = 299_792_458.0
ROUND_TRIP_MS = 8.0
"""Time from one attempt to the next, as in LTE's HARQ."""

_PILOT_POSITIONS: dict[int, tuple[int, ...]] = {
    0: (),
    1: (2,),
    2: (2, 11),
    3: (2, 7, 11),
    4: (2, 5, 8, 11),
}
"""OFDM symbols of a slot that carry DMRS, TS 38.211 table 6.4.1.1.3-3."""

Access = Literal["ofdma", "tdma", "sdma"]


class InfeasibleBudgetError(ValueError):
    """A bandwidth, number of devices or deadline is infeasible on a link; others may work."""


@dataclass(frozen=True)
class Overhead:
    """What a transmission costs, per sample.

    Channel uses count complex symbols; ``airtime_ms`` and ``energy_mj`` are those of the sender.
    """

    data_channel_uses: float = 0.0
    pilot_channel_uses: float = 0.0
    control_bits: float = 0.0
    airtime_ms: float = 0.0
    energy_mj: float = 0.0
    payload_bits: float = 0.0


@dataclass(frozen=True)
class Allocation:
    """Adjacent subcarriers of the band."""

    first: int
    subcarriers: int


@dataclass(frozen=True)
class Grid:
    """Where the symbols of one transmission go: data symbols are filled frequency first.

    Attributes:
        subcarriers: Number of the sender's subcarriers.
        slots: Number of slots; the last one may be partly filled.
        data_steps: Indices of the steps with data. A step is one OFDM symbol, counted from the
            transmission's start.
        pilot_steps: Indices of the steps with pilots.
        stride: OFDM symbols from one step to the next. Above 1, each row of data symbols has a slot
            of its own, during which the channel stands still; each such slot is one step.
    """

    subcarriers: int
    slots: int
    data_steps: tuple[int, ...]
    pilot_steps: tuple[int, ...]
    stride: int = 1

    @property
    def steps(self) -> int:
        """Number of instants at which the channel is needed.

        There is one for each OFDM symbol of the slots, or one for each slot of a strided grid.
        """
        return self.slots if self.stride > 1 else SYMBOLS_PER_SLOT * self.slots

    @property
    def rows(self) -> list[int]:
        """Index of each row of data symbols among all data positions of all slots.

        In a strided grid each slot has a single row, which takes the data positions of a slot in
        turn: the first in the first slot, the second in the second, and so on.
        """
        if self.stride == 1:
            return list(range(len(self.data_steps)))
        in_slot = SYMBOLS_PER_SLOT - len(self.pilot_steps) // self.slots
        return [in_slot * slot + slot % in_slot for slot in self.data_steps]


class LinkSettings(BaseModel):
    """How devices share a band, and the base station's antennas, for any bandwidth and power.

    With ``ofdma`` the devices split the resource blocks evenly and all send at once. With ``tdma``
    each has the whole band in turn. With ``sdma`` all send at once on the whole band, and the base
    station tells them apart with its antennas.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    subcarrier_spacing_khz: Literal[15, 30, 60, 120] = 30
    dmrs_symbols: Literal[0, 1, 2, 3, 4] = 2
    access: Access = "ofdma"
    antennas: int = Field(default=1, ge=1, le=256)


class Link(LinkSettings):
    """A band, its devices' transmit power and access, and the base station's antennas."""

    bandwidth_hz: float = Field(default=5e6, gt=0, allow_inf_nan=False)
    tx_power_dbm: float = Field(default=23.0, ge=-100, le=60)

    @model_validator(mode="after")
    def _has_a_block(self) -> Link:
        if self.resource_blocks < 1:
            raise ValueError(
                f"bandwidth_hz {self.bandwidth_hz:g} is narrower than one resource block; "
                f"take {self.block_hz:g} or more"
            )
        return self

    @property
    def block_hz(self) -> float:
        """Bandwidth of a resource block."""
        return SUBCARRIERS_PER_BLOCK * self.subcarrier_spacing_khz * 1e3

    @property
    def resource_blocks(self) -> int:
        return int(self.bandwidth_hz // self.block_hz)

    @property
    def symbol_ms(self) -> float:
        """Duration of an OFDM symbol with its cyclic prefix, averaged over a slot."""
        return 15.0 / self.subcarrier_spacing_khz / SYMBOLS_PER_SLOT

    @property
    def pilot_positions(self) -> tuple[int, ...]:
        """OFDM symbols of a slot that carry pilots."""
        return _PILOT_POSITIONS[self.dmrs_symbols]

    @property
    def data_positions(self) -> tuple[int, ...]:
        """OFDM symbols of a slot that carry data."""
        return tuple(i for i in range(SYMBOLS_PER_SLOT) if i not in self.pilot_positions)

    @property
    def subcarrier_spacing_hz(self) -> float:
        return self.subcarrier_spacing_khz * 1e3

    @property
    def subcarriers(self) -> int:
        """Number of subcarriers of the whole band."""
        return SUBCARRIERS_PER_BLOCK * self.resource_blocks

    def blocks_per_device(self, devices: int) -> int:
        """Resource blocks that one of ``devices`` devices sends on.

        Raises:
            InfeasibleBudgetError: if there are fewer blocks than devices that split them.
        """
        split = devices if self.access == "ofdma" else 1
        if self.resource_blocks < split:
            other = ", or access tdma" if self.resource_blocks else ""
            raise InfeasibleBudgetError(
                f"bandwidth_hz {self.bandwidth_hz:g} has {self.resource_blocks} resource blocks "
                f"for {devices} devices; take {split * self.block_hz:g} or more{other}"
            )
        return self.resource_blocks // split

    def allocations(self, senders: Sequence[str]) -> dict[str, Allocation]:
        """The subcarriers of each sender."""
        distinct = list(dict.fromkeys(senders))
        count = SUBCARRIERS_PER_BLOCK * self.blocks_per_device(len(distinct))
        split = self.access == "ofdma"
        return {s: Allocation(i * count if split else 0, count) for i, s in enumerate(distinct)}

    def grid(self, symbols: int, subcarriers: int) -> Grid:
        """The grid that carries ``symbols`` data symbols on ``subcarriers`` subcarriers."""
        pilots = self.pilot_positions
        in_slot = self.data_positions
        rows = math.ceil(symbols / subcarriers)
        slots = math.ceil(rows / len(in_slot))
        starts = [SYMBOLS_PER_SLOT * slot for slot in range(slots)]
        return Grid(
            subcarriers=subcarriers,
            slots=slots,
            data_steps=tuple(start + i for start in starts for i in in_slot)[:rows],
            pilot_steps=tuple(start + i for start in starts for i in pilots),
        )

    def strided_grid(self, symbols: int, subcarriers: int, stride: int) -> Grid:
        """The grid of a probe whose rows of symbols are ``stride`` OFDM symbols apart."""
        instants = tuple(range(math.ceil(symbols / subcarriers)))
        pilots = tuple(i for i in instants for _ in self.pilot_positions)
        return Grid(subcarriers, len(instants), instants, pilots, stride)

    def cost(self, data_channel_uses: float, blocks: int) -> Overhead:
        """The cost of one device's data symbols, sent on ``blocks`` resource blocks."""
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

    def costs(self, data_channel_uses: Sequence[float], devices: int) -> list[Overhead]:
        """The cost of each of many samples or frames, where ``devices`` devices share the band."""
        blocks = self.blocks_per_device(devices)
        known = {uses: self.cost(uses, blocks) for uses in set(data_channel_uses)}
        return [known[uses] for uses in data_channel_uses]

    def power_fraction(self, location: Mapping[str, Tensor]) -> Tensor:
        """The fraction of ``tx_power_dbm`` that each sample was sent at, float64 ``[B]``.

        The energies of :meth:`cost` are at full power: multiply them by this fraction. If
        the location holds no transmit power, the result is a single 1.
        """
        if "tx_power_dbm" not in location:
            return torch.ones(1, dtype=torch.float64)
        return from_db(location["tx_power_dbm"].double() - self.tx_power_dbm)

    def joint_airtime_ms(self, senders: Sequence[str], costs: Sequence[Overhead]) -> float:
        """Airtime of all frames: of the slowest device, or of all devices in turn (TDMA)."""
        airtimes_ms = [torch.tensor(cost.airtime_ms, dtype=torch.float64) for cost in costs]
        return float(self.joint_airtimes_ms(senders, airtimes_ms))

    def joint_airtimes_ms(self, senders: Sequence[str], airtimes_ms: Sequence[Tensor]) -> Tensor:
        """Airtime of all frames, as :meth:`joint_airtime_ms`, of each of many samples ``[B]``.

        Args:
            senders: The sender of each frame; frames of one sender follow each other.
            airtimes_ms: Airtimes ``[B]`` of each frame's samples.
        """
        totals: dict[str, Tensor] = {}
        for sender, airtime_ms in zip(senders, airtimes_ms, strict=True):
            totals[sender] = totals[sender] + airtime_ms if sender in totals else airtime_ms
        by_device = torch.stack(list(totals.values()))
        return by_device.sum(0) if self.access == "tdma" else by_device.amax(0)

    def waits_ms(
        self, senders: Sequence[str], airtimes_ms: Sequence[Tensor], waiting_ms: Sequence[Tensor]
    ) -> Tensor:
        """How much longer than its airtime each sample takes, ``[B]``.

        Frames that are sent in turn wait for their next attempts at the same time: only the longest
        of these waits counts.

        Args:
            senders: The sender of each frame.
            airtimes_ms: Airtimes ``[B]`` of each frame's samples.
            waiting_ms: Waiting times ``[B]`` between their attempts.
        """
        airtime: dict[str, Tensor] = {}
        waiting: dict[str, Tensor] = {}
        for sender, sent_ms, waited_ms in zip(senders, airtimes_ms, waiting_ms, strict=True):
            turn = "" if self.access == "tdma" else sender
            airtime[turn] = airtime[turn] + sent_ms if turn in airtime else sent_ms
            waiting[turn] = torch.maximum(waiting.get(turn, waited_ms), waited_ms)
        sent, waited = (torch.stack(list(times.values())) for times in (airtime, waiting))
        return (sent + waited).amax(0) - sent.amax(0)
