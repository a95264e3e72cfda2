"""Digital links: tokens or files as coded packets over any linear air.

They are the conventional alternative to sending token symbols.

Shapes: ``B`` samples, ``K`` packets of a sample (one per token, or those of a file), ``S`` symbols
of a packet, ``N`` symbols of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..air import Air, ChannelOutput
from ..frame import TRANSPORTS, Frame, Members
from ..reception.linear import LinearAir
from .abstraction import adapt_mcs, block_error_rate, effective_sinr, usable_mcs
from .adaptation import Choice, adapt_by_slot
from .config import DigitalConfig
from .harq import HarqTransmission, silent_frame
from .link import transmit_bits
from .modem import MCS_COUNT, codable, encodable
from .probe import Probe, probe_of, sinr_of
from .quantiser import quantised_symbols

_MIN_PROFILE_SYMBOLS = 1024
_PROFILE_POINTS = 128
_PACKET_POINTS = 64
_PACKETS_AT_ONCE = 256


class DigitalAir(Air):
    """Sends packets over a linear air; frames of token symbols pass as on an air without packets.

    A token arrives quantised, or is erased. A file arrives as a whole or not at all. Gradients pass
    straight through the quantiser; erased symbols get none.

    Args:
        inner: The air that carries the packets' modulated symbols.
        analog: The air that carries frames of token symbols.
        config: How tokens become packets.
        device: Torch device.

    Raises:
        ValueError: for an MCS without a table.
    """

    transports = TRANSPORTS

    def __init__(
        self, inner: LinearAir, analog: Air, config: DigitalConfig, device: str = "cpu"
    ) -> None:
        super().__init__(inner.link)
        if config.mcs != "adaptive":
            known = usable_mcs(device) if config.fidelity == "abstract" else range(MCS_COUNT)
            if config.mcs not in known:
                raise ValueError(
                    f"digital.mcs {config.mcs} has no table; take {known[0]} to {known[-1]} "
                    "or adaptive"
                )
        self._inner = inner
        self._analog = analog
        self._config = config
        self._device = device

    def propagate(self, frames: Sequence[Frame], seed: int) -> list[ChannelOutput]:
        analog = [frame.transport == "analog" for frame in frames]
        if all(analog):
            return self._analog.propagate(frames, seed)
        if not any(analog):
            return self._send_packets(frames, seed)
        if self.link.access == "sdma":
            raise ValueError(
                "users that share resources (access sdma) should all send symbols or all packets"
            )
        # Frames of each kind leave the other kind's share of the band empty.
        symbols = [f if a else _emptied(f) for f, a in zip(frames, analog, strict=True)]
        packets = [_emptied(f) if a else f for f, a in zip(frames, analog, strict=True)]
        by_kind = zip(
            analog,
            self._analog.propagate(symbols, seed),
            self._send_packets(packets, seed),
            strict=True,
        )
        return [of_symbols if a else of_packets for a, of_symbols, of_packets in by_kind]

    def predict_snr(self, senders: Sequence[str], members: Members) -> Tensor:
        return self._inner.predict_snr(senders, members)

    def _send_packets(self, frames: Sequence[Frame], seed: int) -> list[ChannelOutput]:
        transmissions = [HarqTransmission(frame, self._config.bits) for frame in frames]
        with torch.no_grad():
            self._choose_mcs(transmissions, seed)
            for number in range(1 + self._config.retransmissions):
                for transmission in transmissions:
                    transmission.attempt = number
                if self._config.fidelity == "link":
                    transmit_bits(transmissions, self._inner, seed)
                else:
                    self._transmit_in_abstract(transmissions, seed)
        return [self._hand_over(transmission) for transmission in transmissions]

    def _choose_mcs(self, transmissions: Sequence[HarqTransmission], seed: int) -> None:
        """Sets the configured MCS, or the highest that meets the target on the channel.

        The latter is one for all packets of a sample or, on a moving channel, one for each slot.
        """
        possible = encodable if self._config.fidelity == "link" else codable
        if self._config.mcs != "adaptive":
            for s in transmissions:
                largest = int(s.packet_bits.max())
                if not possible(largest, self._config.mcs):
                    raise ValueError(
                        f"digital.mcs {self._config.mcs} cannot code packets of {largest} bits; "
                        "take 3 or more"
                    )
                s.mcs = torch.full_like(s.mcs, self._config.mcs)
            return
        choices = [self._adaptation(s, possible) for s in transmissions]
        if not self._inner.static:
            adapt_by_slot(self._inner, transmissions, choices, seed)
            return
        profiles = self._profiles(transmissions, seed)
        for s, sinr, choose in zip(transmissions, profiles, choices, strict=True):
            s.mcs = choose(sinr[:, None]).expand(s.mcs.shape)

    def _adaptation(
        self, transmission: HarqTransmission, possible: Callable[[int, int], bool]
    ) -> Choice:
        """Makes the function that chooses a transmission's MCS from SINRs.

        Args:
            transmission: The transmission whose packets are coded.
            possible: Tells whether a payload of so many bits can be coded at an MCS.
        """
        choices = usable_mcs(self._device)
        payload_bits = transmission.packet_bits
        sizes, which = payload_bits.unique(return_inverse=True)
        table = [[possible(bits, mcs) for mcs in choices] for bits in sizes.tolist()]
        fits = torch.tensor(table, device=sizes.device)[which]
        targets = transmission.bler_targets(self._config.bler_target)

        def choose(sinr: Tensor) -> Tensor:
            looks = sinr.shape[1]
            of_samples = (t.repeat_interleave(looks, 0) for t in (payload_bits, targets, fits))
            payloads, aims, possible_mcs = of_samples
            mcs = adapt_mcs(sinr.flatten(0, 1), payloads, aims, choices, possible_mcs)
            return mcs.reshape(-1, looks)

        return choose

    def _profiles(self, transmissions: Sequence[HarqTransmission], seed: int) -> list[Tensor]:
        """SINR ``[B, points]`` of each sample over its share of the band, from silent probes."""
        counts = self._profile_symbols(transmissions)
        probes = [
            silent_frame(s.frame, torch.full_like(s.packet_bits, count))
            for s, count in zip(transmissions, counts, strict=True)
        ]
        outputs = self._inner.propagate(probes, seed)
        sinrs = []
        for probe, output, count in zip(probes, outputs, counts, strict=True):
            points = torch.linspace(0, count - 1, _PROFILE_POINTS).long()
            sinrs.append(sinr_of(output, probe)[:, points])
        return sinrs

    def _profile_symbols(self, transmissions: Sequence[HarqTransmission]) -> list[int]:
        """For each transmission, enough symbols for its sender's whole share of the band.

        They cover the share for one OFDM symbol, or for a slot if its symbols err differently.
        """
        senders, rows = [s.frame.sender for s in transmissions], self._inner.unlike_rows
        shares = self.link.allocations(senders)
        return [max(_MIN_PROFILE_SYMBOLS, rows * shares[name].subcarriers) for name in senders]

    def _transmit_in_abstract(self, transmissions: Sequence[HarqTransmission], seed: int) -> None:
        """Draws whether each packet arrives, by the block error rate at its effective SINR.

        The same uniform number decides after every attempt, so that a further attempt never hurts.
        """
        static, probe = self._inner.static, probe_of(self._inner, transmissions)
        frames = []
        for s, count in zip(transmissions, self._profile_symbols(transmissions), strict=True):
            lengths = probe.lengths(s.due_symbols)
            s.sent.append(s.due_symbols)
            if s.is_file and static:  # packets span the band: a stretch stands for all
                lengths = lengths.clamp(max=count)
            frames.append(silent_frame(s.frame, lengths, s.attempt, probe.stride))
        outputs = self._inner.propagate(frames, seed)
        for s, frame, output in zip(transmissions, frames, outputs, strict=True):
            sinr = sinr_of(output, frame) * frame.valid
            if not s.is_file:
                effective = _of_tokens(s, sinr, probe)
            elif static:
                effective = effective_sinr(sinr, s.mcs[:, 0])[:, None].expand(s.due.shape)
            else:
                effective = _of_file(s, sinr, probe)
            s.soft_buffer = effective if s.soft_buffer is None else s.soft_buffer + effective
            rate = block_error_rate(s.soft_buffer, s.mcs, s.packet_symbols)
            s.mark_arrived(s.block_error_draws(seed) >= rate)
            s.first = s.first or output

    def _hand_over(self, transmission: HarqTransmission) -> ChannelOutput:
        """What has arrived after the last attempt."""
        frame, lost = transmission.frame, transmission.due
        assert transmission.first is not None
        if transmission.is_file:
            symbols = frame.symbols
            erased = lost.any(1, keepdim=True).expand(frame.valid.shape)
            error = torch.zeros_like(frame.scale)[:, None]
        else:
            symbols, error = quantised_symbols(frame, self._config.bits)
            erased = lost.repeat_interleave(frame.symbols.shape[1] // lost.shape[1], dim=1)
        return ChannelOutput(
            symbols * frame.scale[:, None],
            error,
            transmission.first.realised_snr_db,
            erased,
            channel_uses=torch.stack(transmission.sent, dim=1),
            payload_bits=transmission.payload_bits,
            location=transmission.first.location,
            biased=False,
        )


def _emptied(frame: Frame) -> Frame:
    """A frame that leaves the sender's share of the band empty."""
    return silent_frame(frame, torch.zeros_like(frame.scale, dtype=torch.long))


def _of_tokens(transmission: HarqTransmission, sinr: Tensor, probe: Probe) -> Tensor:
    """Effective SINR of each token's packet ``[B, K]``, over all its symbols.

    Args:
        transmission: Tokens, one packet each.
        sinr: SINR of each symbol of the probe, ``[B, N]``.
        probe: The probe, which tells where the packets' symbols are in it.
    """
    at, real = transmission.symbol_positions()
    of_packet = sinr.gather(1, probe.positions(at).flatten(1)).reshape(at.shape) * real
    return effective_sinr(of_packet, transmission.mcs)


def _of_file(transmission: HarqTransmission, sinr: Tensor, probe: Probe) -> Tensor:
    """Effective SINR of a file's packets ``[B, K]``, over a few symbols spread over each packet."""
    due, parts = transmission.due, []
    for first in range(0, due.shape[1], _PACKETS_AT_ONCE):
        packets = slice(first, first + _PACKETS_AT_ONCE)
        at = probe.positions(transmission.spread(_PACKET_POINTS, packets))
        of_packet = sinr.gather(1, at.flatten(1)).reshape(at.shape) * due[:, packets, None]
        parts.append(effective_sinr(of_packet, transmission.mcs[:, packets]))
    return torch.cat(parts, dim=1)
