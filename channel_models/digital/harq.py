"""The packets of one frame: what is sent, what is still due, and what the receiver has.

Shapes: ``B`` samples, ``K`` packets of a sample, ``S`` symbols of a packet.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..air import Air, ChannelOutput
from ..frame import Frame
from .modem import packet_symbols
from .quantiser import token_bits, token_packet_bits

FILE_PACKET_BITS = 3824
"""Payload of the packets of a file; a smaller file is a single packet of its own size."""


class HarqTransmission:
    """One frame's packets: one per token, or the parts of a file.

    Args:
        frame: The frame that the packets carry.
        bits: Number of bits of each real value of a token.

    Attributes:
        is_file: Whether a sample's packets are a file, which is lost if one of them is.
        together: Number of packets of a sample that must all arrive, ``[B]``: those of a file, or
            one.
        packet_bits: Payload of each packet of a sample, ``[B]``.
        wanted: bool ``[B, K]``, packets that a sample really has.
        due: bool ``[B, K]``, packets that have not arrived yet.
        mcs: MCS of each packet, ``[B, K]``.
        soft_buffer: What the receiver has of each packet, summed over the attempts: effective SINR
            ``[B, K]``, or log-likelihood ratios ``[B, K, coded bits]``.
        sent: Number of symbols sent in each attempt so far, ``[B]`` each.
        attempt: How often the packets were sent before.
        first: Output of the linear air in the first attempt, which tells SNR and location.
    """

    def __init__(self, frame: Frame, bits: int) -> None:
        self.frame = frame
        self.is_file = frame.file_bits is not None
        self._bits = bits
        if frame.file_bits is not None:
            file_bits = frame.file_bits.to(frame.scale.device)
            packets = torch.ceil(file_bits / FILE_PACKET_BITS).long()
            whole_bytes = 8 * torch.ceil(file_bits / 8).long()
            self.together = packets.clamp(min=1)
            self.packet_bits = torch.where(packets <= 1, whole_bytes, FILE_PACKET_BITS)
            number = torch.arange(int(self.together.max()), device=packets.device)
            self.wanted = (number < packets[:, None]) & frame.valid.any(1, keepdim=True)
        else:
            self.together = torch.ones_like(frame.scale, dtype=torch.long)
            payload = token_packet_bits(frame.block or frame.symbols.shape[1], bits)
            self.packet_bits = torch.full_like(frame.scale, payload, dtype=torch.long)
            self.wanted = frame.valid[:, :: frame.block or frame.symbols.shape[1]]
        self.due = self.wanted
        self.mcs = torch.zeros_like(self.wanted, dtype=torch.long)
        self.soft_buffer: Tensor | None = None
        self.sent: list[Tensor] = []
        self.attempt = 0
        self.first: ChannelOutput | None = None

    def bler_targets(self, target: float) -> Tensor:
        """Block error rates of packets ``[B]`` at which a token or whole file meets the target."""
        return 1 - (1 - target) ** (1 / self.together.double())

    @property
    def payload_bits(self) -> float:
        """Information bits of all packets of a sample, as a mean over samples."""
        largest = self.packet_bits.max().clamp(min=1)
        in_largest = self.wanted.sum(1) * (self.packet_bits / largest)
        return float(in_largest.mean() * largest)

    @property
    def packet_symbols(self) -> Tensor:
        """Number of symbols of each packet, ``[B, K]``."""
        return packet_symbols(self.packet_bits[:, None], self.mcs)

    @property
    def due_symbols(self) -> Tensor:
        """Number of symbols of all packets that are due, ``[B]``."""
        return (self.due * self.packet_symbols).sum(1)

    @property
    def _starts(self) -> Tensor:
        """Position of the first symbol of each packet that is due, ``[B, K]``."""
        sizes = self.due * self.packet_symbols
        return sizes.cumsum(1) - sizes

    def symbol_positions(self) -> tuple[Tensor, Tensor]:
        """Positions of the due packets' symbols, and which of these are real, ``[B, K, S]``.

        Packets that are not due, and the ends of those shorter than the longest, are not real.
        """
        size = self.packet_symbols
        offset = torch.arange(int(size.max()), device=size.device)
        real = self.due[..., None] & (offset < size[..., None])
        return torch.where(real, self._starts[..., None] + offset, 0), real

    def spread(self, points: int, packets: slice) -> Tensor:
        """Positions of symbols spread evenly over each of some packets, ``[B, packets, points]``.

        The positions are 0 for packets that are not due.
        """
        size = self.packet_symbols[:, packets, None]
        offset = torch.arange(points, device=size.device) * size // points
        start = self._starts[:, packets, None]
        return torch.where(self.due[:, packets, None], start + offset, 0)

    def kinds_due(self) -> list[tuple[int, int]]:
        """The kinds of packets that are due: each pair of payload bits and MCS, once."""
        payload_bits = self.packet_bits[:, None].expand(self.mcs.shape)
        pairs = torch.stack([payload_bits, self.mcs], dim=-1)[self.due]
        return [(payload_bits, mcs) for payload_bits, mcs in pairs.unique(dim=0).tolist()]

    def due_of(self, payload_bits: int, mcs: int) -> Tensor:
        """Which packets of a kind are due, bool ``[B, K]``."""
        return self.due & (self.packet_bits == payload_bits)[:, None] & (self.mcs == mcs)

    def payload(self, seed: int) -> Tensor:
        """Bits of every packet ``[B, K, longest]``: quantised tokens, or random bits for a file."""
        if not self.is_file:
            return token_bits(self.frame, self._bits)
        device = self.frame.symbols.device
        generator = torch.Generator(device).manual_seed(Air.seed_of(self.frame, seed, "file"))
        shape = (*self.wanted.shape, int(self.packet_bits.max()))
        return torch.randint(0, 2, shape, generator=generator, device=device)

    def block_error_draws(self, seed: int) -> Tensor:
        """A uniform number for each packet ``[B, K]``.

        A file's numbers do not depend on the sizes of the other files of the batch: those of all
        first packets are drawn before those of the second ones.
        """
        device = self.frame.symbols.device
        generator = torch.Generator(device).manual_seed(Air.seed_of(self.frame, seed, "fate"))
        batch, packets = self.wanted.shape
        if not self.is_file:
            return torch.rand(batch, packets, generator=generator, device=device)
        drawn = [torch.rand(batch, generator=generator, device=device) for _ in range(packets)]
        return torch.stack(drawn, dim=1)

    def mark_arrived(self, arrived: Tensor) -> None:
        """Notes which packets have arrived, bool ``[B, K]``."""
        self.due = self.due & ~arrived


def silent_frame(frame: Frame, lengths: Tensor, attempt: int = 0, stride: int = 1) -> Frame:
    """A frame of silent symbols from the same sender.

    Args:
        frame: The frame whose sender, stream and members are taken.
        lengths: Number of silent symbols of each sample, ``[B]``.
        attempt, stride: See :class:`~channel_models.frame.Frame`.
    """
    longest = max(1, int(lengths.max()))
    valid = torch.arange(longest, device=lengths.device) < lengths[:, None]
    silence = torch.zeros(valid.shape, dtype=torch.complex64, device=lengths.device)
    ones = torch.ones_like(frame.scale)
    return Frame(
        frame.sender, frame.stream, silence, valid, ones,
        members=frame.members, attempt=attempt, stride=stride,
    )  # fmt: skip
