"""Digital links: tokens quantised, coded (CRC, 5G LDPC), modulated, and sent over any linear air.

What a user would otherwise use. Shapes: ``B`` samples, ``K`` packets of a sample (one a token),
``S`` symbols of a packet, ``N`` symbols of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from ..air import Air, ChannelOutput, Frame
from ..reception.linear import LinearAir
from ..seeding import spawn_seed
from ..sources.source import Members
from .abstraction import adapt_mcs, block_error_rate, effective_sinr, usable_mcs
from .modem import MCS_COUNT, codable, modem, packet

SCALE_BITS = 16
"""Bits of a token's quantiser scale (bfloat16), sent with its values."""
FILE_PACKET_BITS = 3824
"""Payload of the packets that a file is cut into."""
_PROFILE_SYMBOLS = 1024
_PROFILE_POINTS = 128


class DigitalConfig(BaseModel):
    """How tokens become packets.

    Attributes:
        bits: of each real value.
        mcs: index into TS 38.214 table 5.1.3.1-2, or ``adaptive``: the highest that meets
            ``bler_target`` under the channel of the moment.
        bler_target: of link adaptation, for a token or a whole file.
        retransmissions: a packet whose CRC fails is sent again so often, a round trip later under
            fading of its own, and combined with what came before (chase combining).
        fidelity: ``link`` decodes every packet; ``abstract`` draws its fate from the block error
            rate at its effective SINR. Sionna's decoder does about 0.3 Mbit/s on one CPU thread.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bits: Literal[4, 8, 16] = 8
    mcs: int | Literal["adaptive"] = "adaptive"
    bler_target: float = Field(default=0.1, gt=0, lt=1)
    retransmissions: Literal[0, 1] = 0
    fidelity: Literal["abstract", "link"] = "abstract"


def quantise(values: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Uniform symmetric quantiser with a scale for each row.

    Args:
        values: real ``[..., V]``.
        bits: of each value.

    Returns:
        whole numbers in 0 to 2^bits - 2, of ``values``' shape and integer type, and the step
        ``[..., 1]`` between them.
    """
    half = 2 ** (bits - 1) - 1
    step = values.abs().amax(-1, keepdim=True).bfloat16().float().clamp(min=1e-12) / half
    level = torch.round(values / step).clamp(-half, half).long() + half
    return level, step


def dequantise(level: Tensor, step: Tensor, bits: int) -> Tensor:
    """Undoes :func:`quantise` but for the rounding."""
    half = 2 ** (bits - 1) - 1
    values: Tensor = (level - half) * step
    return values


class _HarqTransmission:
    """One frame's packets on their way.

    Attributes:
        frame: whose.
        packet_bits: payload of each packet.
        is_file: whether the packets of a sample stand or fall together.
        due: bool ``[B, K]``, packets that have not arrived yet.
        mcs: ``[B]``, of each sample's packets.
        evidence: what the receiver has of each packet, summed over its transmissions: effective
            SINR ``[B, K]``, or log-likelihood ratios ``[B, K, coded bits]``.
        sent: symbols sent so far, ``[B]``.
        last: what the linear air said of the last transmission.
    """

    def __init__(self, frame: Frame, bits: int) -> None:
        self.frame = frame
        self.is_file = frame.file_bits is not None
        if frame.file_bits is not None:
            self.packet_bits = FILE_PACKET_BITS
            count = torch.ceil(frame.file_bits / FILE_PACKET_BITS)
            number = torch.arange(int(count.max()), device=count.device)
            self.wanted = number < count[:, None]
        else:
            block = frame.block or frame.symbols.shape[1]
            self.packet_bits = 2 * block * bits + SCALE_BITS
            self.wanted = frame.valid[:, ::block]
        self.due = self.wanted
        self.mcs = torch.zeros_like(frame.scale, dtype=torch.long)
        self.soft_buffer: Tensor | None = None
        self.sent = torch.zeros_like(frame.scale)
        self.last: ChannelOutput | None = None

    def packet_target(self, target: float) -> float:
        """The block error rate to aim at: a file meets the target only if all its packets do."""
        packets = int(self.wanted.sum(1).max()) if self.is_file else 1
        return float(1 - (1 - target) ** (1 / max(1, packets)))

    @property
    def packet_symbols(self) -> Tensor:
        """Symbols of a packet, ``[B]``."""
        sizes = [packet(self.packet_bits, int(m)).symbols for m in self.mcs]
        return torch.tensor(sizes, device=self.mcs.device)

    def slots(self) -> tuple[Tensor, Tensor]:
        """Where the symbols of the due packets go: positions and which are real, ``[B, K, S]``."""
        size = self.packet_symbols
        start = (self.due.cumsum(1) - 1) * size[:, None]
        offset = torch.arange(int(size.max()), device=size.device)
        real = self.due[..., None] & (offset < size[:, None, None])
        return torch.where(real, start[..., None] + offset, 0), real

    def judge(self, arrived: Tensor) -> None:
        """Takes note of what has arrived, bool ``[B, K]``."""
        self.due = self.due & ~arrived


class DigitalAir(Air):
    """Packets over a linear air. A token arrives as its quantiser left it, or is erased.

    Gradients pass the quantiser straight through; what is erased learns nothing.

    Args:
        inner: the air that carries the modulated symbols.
        config: how tokens become packets.
        device: torch device.

    Raises:
        ValueError: for an MCS that there is no table for.
    """

    def __init__(self, inner: LinearAir, config: DigitalConfig, device: str = "cpu") -> None:
        super().__init__(inner.link)
        if config.mcs != "adaptive":
            known = usable_mcs(device) if config.fidelity == "abstract" else range(MCS_COUNT)
            if config.mcs not in known:
                raise ValueError(
                    f"digital.mcs {config.mcs} has no table; take {known[0]} to {known[-1]} "
                    "or adaptive"
                )
        self._inner = inner
        self._config = config
        self._device = device

    def propagate(self, frames: Sequence[Frame], seed: int) -> list[ChannelOutput]:
        transmissions = [_HarqTransmission(frame, self._config.bits) for frame in frames]
        with torch.no_grad():
            self._choose_mcs(transmissions, seed)
            for number in range(1 + self._config.retransmissions):
                own = spawn_seed(seed, "transmission", number) if number else seed
                if self._config.fidelity == "link":
                    self._transmit_bits(transmissions, own, payload_seed=seed)
                else:
                    self._transmit_in_abstract(transmissions, own, draw_seed=seed)
        return [self._hand_over(transmission) for transmission in transmissions]

    def predict_snr(self, senders: Sequence[str], members: Members) -> Tensor:
        return self._inner.predict_snr(senders, members)

    def _choose_mcs(self, transmissions: Sequence[_HarqTransmission], seed: int) -> None:
        if self._config.mcs != "adaptive":
            for transmission in transmissions:
                if not codable(transmission.packet_bits, self._config.mcs):
                    raise ValueError(
                        f"digital.mcs {self._config.mcs} cannot code packets of "
                        f"{transmission.packet_bits} bits; take 3 or more"
                    )
                transmission.mcs = torch.full_like(transmission.mcs, self._config.mcs)
            return
        for transmission, sinr in zip(
            transmissions, self._profiles(transmissions, seed), strict=True
        ):
            target = transmission.packet_target(self._config.bler_target)
            transmission.mcs = adapt_mcs(sinr, transmission.packet_bits, target)

    def _profiles(self, transmissions: Sequence[_HarqTransmission], seed: int) -> list[Tensor]:
        """SINR ``[B, points]`` of each sample over its share of the band, nothing being sent."""
        probes = [
            self._empty(s.frame, torch.full_like(s.mcs, _PROFILE_SYMBOLS)) for s in transmissions
        ]
        points = torch.linspace(0, _PROFILE_SYMBOLS - 1, _PROFILE_POINTS).long()
        return [
            _sinr(output.noise_var.expand(probe.symbols.shape)[:, points])
            for probe, output in zip(probes, self._inner.propagate(probes, seed), strict=True)
        ]

    def _empty(self, frame: Frame, lengths: Tensor) -> Frame:
        """A frame of so many silent symbols, ``[B]``."""
        longest = max(1, int(lengths.max()))
        valid = torch.arange(longest, device=lengths.device) < lengths[:, None]
        silence = torch.zeros(valid.shape, dtype=torch.complex64, device=lengths.device)
        ones = torch.ones_like(frame.scale)
        return Frame(frame.sender, frame.stream, silence, valid, ones, members=frame.members)

    def _transmit_in_abstract(
        self, transmissions: Sequence[_HarqTransmission], seed: int, draw_seed: int
    ) -> None:
        """Draws each packet's fate from the block error rate at its effective SINR.

        The same uniform number decides after every transmission, so that more never hurts.
        """
        frames = []
        for s in transmissions:
            lengths = s.due.sum(1) * s.packet_symbols
            if s.is_file:  # interleaved over the band: a stretch of it speaks for all
                lengths = lengths.clamp(max=_PROFILE_SYMBOLS)
            s.sent += s.due.sum(1) * s.packet_symbols
            frames.append(self._empty(s.frame, lengths))
        for s, frame, output in zip(
            transmissions, frames, self._inner.propagate(frames, seed), strict=True
        ):
            sinr = _sinr(output.noise_var.expand(frame.symbols.shape)) * frame.valid
            mcs = s.mcs[:, None].expand(s.due.shape)
            if s.is_file:
                effective = effective_sinr(sinr, s.mcs)[:, None].expand(s.due.shape)
            else:
                at, real = s.slots()
                of_packet = sinr.gather(1, at.flatten(1)).reshape(at.shape) * real
                effective = effective_sinr(of_packet, mcs)
            s.soft_buffer = effective if s.soft_buffer is None else s.soft_buffer + effective
            size = s.packet_symbols[:, None].expand(s.due.shape)
            rate = block_error_rate(s.soft_buffer, mcs, size)
            generator = torch.Generator(rate.device).manual_seed(
                Air.seed_of(s.frame, draw_seed, "fate")
            )
            s.judge(torch.rand(rate.shape, device=rate.device, generator=generator) >= rate)
            s.last = s.last or output

    def _transmit_bits(
        self, transmissions: Sequence[_HarqTransmission], seed: int, payload_seed: int
    ) -> None:
        """Codes, modulates, sends, demodulates and decodes every due packet."""
        frames = []
        for s in transmissions:
            lengths = s.due.sum(1) * s.packet_symbols
            s.sent += lengths
            frame = self._empty(s.frame, lengths)
            at, real = s.slots()
            bits = self._payload(s, payload_seed)
            for mcs in s.mcs[s.due.any(1)].unique().tolist():
                chosen = s.due & (s.mcs == mcs)[:, None]
                radio = modem(packet(s.packet_bits, mcs), self._device)
                symbols = torch.zeros(real.shape, dtype=torch.complex64, device=real.device)
                symbols[..., : radio.packet.symbols][chosen] = radio.modulate(bits[chosen])
                placed = torch.where(real & chosen[..., None], symbols, 0).flatten(1)
                frame.symbols.scatter_add_(1, at.flatten(1), placed)
            frames.append(frame)
        for s, frame, output in zip(
            transmissions, frames, self._inner.propagate(frames, seed), strict=True
        ):
            self._decode(s, output, output.noise_var.expand(frame.symbols.shape), payload_seed)
            s.last = s.last or output

    def _decode(
        self,
        transmission: _HarqTransmission,
        output: ChannelOutput,
        noise_var: Tensor,
        payload_seed: int,
    ) -> None:
        at, _ = transmission.slots()
        arrived = torch.zeros_like(transmission.due)
        for mcs in transmission.mcs[transmission.due.any(1)].unique().tolist():
            chosen = transmission.due & (transmission.mcs == mcs)[:, None]
            radio = modem(packet(transmission.packet_bits, mcs), self._device)
            sample = chosen.nonzero()[:, :1]
            spots = at[chosen][:, : radio.packet.symbols]
            llr = radio.soft_bits(output.symbols[sample, spots], noise_var[sample, spots])
            if transmission.soft_buffer is None:
                longest = 8 * int(transmission.packet_symbols.max())
                transmission.soft_buffer = torch.zeros(*chosen.shape, longest, device=llr.device)
            transmission.soft_buffer[..., : llr.shape[1]][chosen] += llr
            _, intact = radio.decode(transmission.soft_buffer[..., : llr.shape[1]][chosen])
            arrived[chosen] = intact
        transmission.judge(arrived)

    def _payload(self, transmission: _HarqTransmission, seed: int) -> Tensor:
        """The bits of every packet ``[B, K, packet_bits]``: quantised tokens, or a file's."""
        if not transmission.is_file:
            return _token_bits(transmission.frame, self._config.bits)
        generator = torch.Generator(self._device).manual_seed(
            Air.seed_of(transmission.frame, seed, "file")
        )
        shape = (*transmission.wanted.shape, transmission.packet_bits)
        return torch.randint(0, 2, shape, generator=generator, device=self._device)

    def _hand_over(self, transmission: _HarqTransmission) -> ChannelOutput:
        frame, lost = transmission.frame, transmission.due
        assert transmission.last is not None
        if transmission.is_file:
            symbols = frame.symbols
            erased = lost.any(1, keepdim=True).expand(frame.valid.shape)
            error = torch.zeros_like(frame.scale)[:, None]
        else:
            symbols, error = _rounded(frame, self._config.bits)
            erased = lost.repeat_interleave(frame.symbols.shape[1] // lost.shape[1], dim=1)
        return ChannelOutput(
            symbols * frame.scale[:, None],
            error,
            transmission.last.realised_snr_db,
            erased,
            channel_uses=float(transmission.sent.mean()),
            payload_bits=float(
                transmission.wanted.sum(1).float().mean() * transmission.packet_bits
            ),
            site=transmission.last.site,
        )


def _sinr(noise_var: Tensor) -> Tensor:
    """Of an LMMSE estimate with that error variance."""
    return 1.0 / noise_var.clamp(min=1e-9) - 1.0


def _values(frame: Frame) -> Tensor:
    """Real values of each block, ``[B, K, 2 block]``."""
    block = frame.block or frame.symbols.shape[1]
    return torch.view_as_real(frame.symbols).reshape(len(frame.symbols), -1, 2 * block)


def _token_bits(frame: Frame, bits: int) -> Tensor:
    """What a token's packet holds: its values, most significant bit first, and its scale."""
    level, step = quantise(_values(frame), bits)
    shifts = torch.arange(bits - 1, -1, -1, device=level.device)
    values = ((level[..., None] >> shifts) & 1).flatten(2)
    scale = (step * (2 ** (bits - 1) - 1)).squeeze(-1).bfloat16().view(torch.int16).long()
    shifts = torch.arange(SCALE_BITS - 1, -1, -1, device=level.device)
    return torch.cat([values, (scale[..., None] >> shifts) & 1], dim=-1)


def _rounded(frame: Frame, bits: int) -> tuple[Tensor, Tensor]:
    """Symbols after the quantiser, straight through for gradients, and their error variance."""
    values = _values(frame)
    level, step = quantise(values.detach(), bits)
    through = values + (dequantise(level, step, bits) - values).detach()
    symbols = torch.view_as_complex(through.reshape(*frame.symbols.shape, 2).contiguous())
    error = (step.square() / 6).expand(values.shape)[..., ::2].flatten(1)
    return symbols, error
