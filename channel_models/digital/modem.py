"""5G NR's transport-block chain for a packet (CRC, LDPC, rate matching, QAM), by Sionna."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from ..sionna_api import (
    Demapper,
    Mapper,
    TBDecoder,
    TBEncoder,
    calculate_tb_size,
    decode_mcs_index,
)

MCS_TABLE = 2
"""TS 38.214 table 5.1.3.1-2: QPSK (0-4), 16-QAM (5-10), 64-QAM (11-19), 256-QAM (20-27)."""
MCS_COUNT = 28
PDSCH = 1
"""Sionna's category of that table: Sionna's PUSCH table 2 is the transform-precoded one."""
_SMALL_BLOCK_BITS = 3824
_MIN_BLOCK_BITS = 24
"""The smallest transport block, TS 38.214 table 5.1.3.2-1."""
_ITERATIONS = 20
_CERTAIN = 1e-6


@dataclass(frozen=True)
class Packet:
    """One transport block of at least ``payload_bits`` bits at an MCS.

    Attributes:
        payload_bits: Size of its payload; the rest of the transport block is zeros.
        mcs: Index into :data:`MCS_TABLE`.
        symbols: Number of complex symbols that it takes.
        block_bits: Size of its transport block.
    """

    payload_bits: int
    mcs: int
    symbols: int
    block_bits: int

    @property
    def order(self) -> int:
        """Bits of a constellation symbol."""
        return modulation(self.mcs)[0]


@lru_cache(maxsize=1024)
def modulation(mcs: int) -> tuple[int, float]:
    """Bits of a constellation symbol, and code rate, of an MCS."""
    order, rate = decode_mcs_index(
        torch.tensor([mcs], dtype=torch.int32), table_index=MCS_TABLE, is_pusch=False
    )
    return int(order), float(rate)


@lru_cache(maxsize=1024)
def packet(payload_bits: int, mcs: int) -> Packet:
    """The smallest packet that holds a payload and its CRC at the MCS's code rate."""
    order, rate = modulation(mcs)
    symbols = int(packet_symbols(torch.tensor(payload_bits), torch.tensor(mcs)))
    block_bits, wanted = 0, payload_bits
    while block_bits < payload_bits:  # standard sizes split into equal code blocks of whole bytes
        block_bits = int(
            calculate_tb_size(
                modulation_order=order,
                target_coderate=rate,
                target_tb_size=wanted,
                num_coded_bits=symbols * order,
                num_layers=1,
            )[0]
        )
        wanted += 8
    return Packet(payload_bits, mcs, symbols, block_bits)


def packet_symbols(payload_bits: Tensor, mcs: Tensor) -> Tensor:
    """Number of complex symbols of packets with given payloads and MCSs, broadcast.

    They carry payload and CRC (TS 38.212 section 7.2.1) at the code rate of the MCS.
    """
    crc_bits = torch.where(payload_bits <= _SMALL_BLOCK_BITS, 16, 24)
    coded_bits = payload_bits.clamp(min=_MIN_BLOCK_BITS) + crc_bits
    return torch.ceil(coded_bits / _bits_per_symbol(mcs.device)[mcs]).long()


@lru_cache(maxsize=4)
def _bits_per_symbol(device: torch.device) -> Tensor:
    """Information bits per symbol of each MCS, float64."""
    kinds = [modulation(mcs) for mcs in range(MCS_COUNT)]
    return torch.tensor([rate * order for order, rate in kinds], dtype=torch.float64).to(device)


def codable(payload_bits: int, mcs: int) -> bool:
    """Whether the standard's BG1 or BG2 can code such packets without repetition."""
    return payload_bits <= _SMALL_BLOCK_BITS or modulation(mcs)[1] > 1 / 3


def encodable(payload_bits: int, mcs: int) -> bool:
    """Whether Sionna's encoder can, too: it counts the CRC towards the limit of BG2's payload."""
    block_bits = packet(payload_bits, mcs).block_bits
    return codable(block_bits + 16, mcs)


class Modem:
    """Encodes and decodes packets of one kind.

    Args:
        packet: The kind of packets.
        device: Torch device.
    """

    def __init__(self, packet: Packet, device: str) -> None:
        self.packet = packet
        self._device = device

    @cached_property
    def _encoder(self) -> TBEncoder:
        order, rate = modulation(self.packet.mcs)
        return TBEncoder(
            target_tb_size=self.packet.block_bits,
            num_coded_bits=self.packet.symbols * order,
            target_coderate=rate,
            num_bits_per_symbol=order,
            precision="single",
            device=self._device,
        )

    @cached_property
    def _decoder(self) -> TBDecoder:
        return TBDecoder(
            self._encoder, num_bp_iter=_ITERATIONS, precision="single", device=self._device
        )

    @cached_property
    def _mapper(self) -> Mapper:
        return Mapper("qam", self.packet.order, precision="single", device=self._device)

    @cached_property
    def _demapper(self) -> Demapper:
        return Demapper("app", "qam", self.packet.order, precision="single", device=self._device)

    def modulate(self, bits: Tensor) -> Tensor:
        """Payload bits ``[packets, payload_bits]`` to unit-power symbols ``[packets, symbols]``."""
        missing = self.packet.block_bits - bits.shape[1]
        blocks = torch.nn.functional.pad(bits.float(), (0, missing))
        symbols: Tensor = self._mapper(self._encoder(blocks))
        return symbols

    def soft_bits(self, symbols: Tensor, noise_var: Tensor) -> Tensor:
        """Log-likelihood ratios of LMMSE estimates and their error variances, ``[packets, S]``.

        The estimates are first made unbiased: the demapper expects x + noise.
        """
        error = noise_var.clamp(_CERTAIN, 1 - _CERTAIN)
        llr: Tensor = self._demapper(symbols / (1 - error), error / (1 - error))
        return llr

    def decode(self, llr: Tensor) -> tuple[Tensor, Tensor]:
        """Bits ``[packets, payload_bits]`` and whether the CRC holds ``[packets]``."""
        bits, intact = self._decoder(llr)
        return bits[:, : self.packet.payload_bits], intact.reshape(-1)


@lru_cache(maxsize=256)
def modem(packet: Packet, device: str) -> Modem:
    """A modem, cached because building its code takes a while."""
    return Modem(packet, device)
