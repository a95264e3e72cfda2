"""Streams: what devices send, and what the base station receives.

Shapes: ``B`` samples of a batch, ``N`` complex symbols of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Transport = Literal["analog", "digital", "file"]
"""How a stream is sent: as its symbols (``analog``), as its tokens in coded packets (``digital``),
or as the source's own ``file`` (a coded media file, a text's UTF-8 bytes), which the base station
encodes."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream that a device sends for every sample.

    Attributes:
        name: Name of the stream, unique in the network.
        device: Name of the device that sends it.
        modality: Modality of the source, for tables.
        max_tokens: Maximum number of tokens.
        symbols_per_token: Number of complex symbols of one token.
        medium: Medium that the source is or contains, see :attr:`Task.media`; None for none.
        text: Column of the samples that the source is or contains; None for none.
        required: Whether a sample without it cannot be answered.
        sends_scale: Whether control bits tell the base station the power that each sample had
            before it was scaled to unit power. Tokens need this to arrive as they are. For a codec
            that is trained over the air, it would be a second channel, without noise.
        padding: Side on which samples with fewer symbols are padded. A frame may be as long as the
            longest of its samples; where frames of several lengths meet, in an emulation or with
            users who train together, the shorter ones are padded on this side.
    """

    name: str
    device: str
    modality: str
    max_tokens: int
    symbols_per_token: int
    medium: str | None = None
    text: str | None = None
    required: bool = False
    sends_scale: bool = True
    padding: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class Received:
    """One received stream of a batch.

    Attributes:
        symbols: Equalised symbols, complex64 ``[B, N]``; zero if lost. Their power scale is
            restored if the stream sends it, see :attr:`Stream.sends_scale`.
        noise_var: Error variance of a unit-power symbol, float32 ``[B, N]``.
        valid: Whether a symbol was sent, bool ``[B, N]``; False for padding.
        erased: Whether a symbol was sent, but not received, bool ``[B, N]``.
        sent: Symbols as they left the device, complex64 ``[B, N]``; only for training targets.
        arrived: Whether a sample's stream was sent and not lost as a whole, bool ``[B]``.
    """

    symbols: Tensor
    noise_var: Tensor
    valid: Tensor
    erased: Tensor
    sent: Tensor
    arrived: Tensor

    @property
    def delivered(self) -> Tensor:
        """Whether a symbol was sent and received, bool ``[B, N]``."""
        return self.valid & ~self.erased


@dataclass(frozen=True)
class Feedback:
    """What the base station returns to a device in the middle of an answer.

    The device replies with a further frame of the same stream, and only for the samples that go on.

    Attributes:
        stream: Name of the stream.
        rows: Samples that go on, int64 ``[A]``: their places in the stream's last frame.
        values: What each of them gets, int64 ``[A]``, such as the id of a generated token.
        bits: Downlink bits of one value.
    """

    stream: str
    rows: Tensor
    values: Tensor
    bits: float


def devices_of(streams: Sequence[Stream]) -> tuple[str, ...]:
    """Names of the devices that send some streams, in order."""
    return tuple(dict.fromkeys(stream.device for stream in streams))
