"""Real packets: coded, modulated, carried by a linear air, demodulated and decoded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..air import Air
from ..frame import Frame
from .harq import HarqTransmission, silent_frame
from .modem import modem, packet


def transmit_bits(transmissions: Sequence[HarqTransmission], air: Air, seed: int) -> None:
    """Sends every due packet once.

    Args:
        transmissions: Packets of all frames of one interval.
        air: Carries their symbols.
        seed: Seed of the interval, which also determines the files' bits.
    """
    frames = [_modulated(s, seed) for s in transmissions]
    for s, frame, output in zip(transmissions, frames, air.propagate(frames, seed), strict=True):
        # The frame's power scale is 1, so that the symbols are still of unit power.
        _decode(s, output.symbols, output.noise_var.expand(frame.symbols.shape))
        s.first = s.first or output


def _modulated(transmission: HarqTransmission, seed: int) -> Frame:
    """A frame of the modulated symbols of all due packets, one packet after the other."""
    lengths = transmission.due_symbols
    transmission.sent.append(lengths)
    frame = silent_frame(transmission.frame, lengths, transmission.attempt)
    positions, real = transmission.symbol_positions()
    bits = transmission.payload(seed)
    for payload_bits, mcs in transmission.kinds_due():
        chosen = transmission.due_of(payload_bits, mcs)
        radio = modem(packet(payload_bits, mcs), str(frame.symbols.device))
        symbols = torch.zeros(real.shape, dtype=torch.complex64, device=real.device)
        modulated = radio.modulate(bits[chosen][:, :payload_bits])
        symbols[..., : radio.packet.symbols][chosen] = modulated
        placed = torch.where(real & chosen[..., None], symbols, 0).flatten(1)
        frame.symbols.scatter_add_(1, positions.flatten(1), placed)
    return frame


def _decode(transmission: HarqTransmission, symbols: Tensor, noise_var: Tensor) -> None:
    """Adds the received soft bits to the packets' buffers, and marks packets whose CRC holds."""
    positions, _ = transmission.symbol_positions()
    arrived = torch.zeros_like(transmission.due)
    for payload_bits, mcs in transmission.kinds_due():
        chosen = transmission.due_of(payload_bits, mcs)
        radio = modem(packet(payload_bits, mcs), str(symbols.device))
        sample = chosen.nonzero()[:, :1]
        spots = positions[chosen][:, : radio.packet.symbols]
        llr = radio.soft_bits(symbols[sample, spots], noise_var[sample, spots])
        if transmission.soft_buffer is None:
            longest = 8 * int(transmission.packet_symbols.max())
            transmission.soft_buffer = torch.zeros(*chosen.shape, longest, device=llr.device)
        transmission.soft_buffer[..., : llr.shape[1]][chosen] += llr
        _, intact = radio.decode(transmission.soft_buffer[..., : llr.shape[1]][chosen])
        arrived[chosen] = intact
    transmission.mark_arrived(arrived)
