"""What a device sends for a batch, and how it travels.

Shapes: ``B`` samples of a batch, ``N`` complex symbols of a frame (they differ between frames).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Transport = Literal["analog", "digital", "file"]
"""How a stream travels: as its token symbols; as coded packets of quantised tokens; or as the coded
file that the tokens come from, a media file or a text's UTF-8 bytes."""

TRANSPORTS: tuple[Transport, ...] = get_args(Transport)


POWER_SCALE_BITS = 32
"""Control bits of a sample's power scale."""


@dataclass(frozen=True)
class Members:
    """The users of a population who send the samples of a batch, and when.

    Attributes:
        users: int64 ``[B]``, number of each sample's user within the population.
        intervals: int64 ``[B]``, number of its scheduling interval.
        starts_s: float64 ``[B]``, when that interval begins.
    """

    users: Tensor
    intervals: Tensor
    starts_s: Tensor


@dataclass(frozen=True)
class Frame:
    """What one device sends for a batch.

    Attributes:
        sender: Name of the device.
        stream: What is sent, where a device has several streams.
        symbols: complex64 ``[B, N]`` with unit average power over the valid ones.
        valid: bool ``[B, N]``, False for padding, which is neither sent nor counted.
        scale: float32 ``[B]``, what the receiver multiplies the symbols by (side information).
        sends_scale: Whether the receiver has to be told the scale; otherwise it is 1.
        block: Number of symbols that belong together (a token). A digital link quantises a block as
            a whole, and loses it as a whole. 0 takes all symbols as one block.
        transport: How the stream travels; packets and files need an air with a digital link.
        file_bits: float ``[B]``, size of the file behind each sample, for transport ``file``. That
            many bits are sent and, if they arrive, the symbols are handed over unchanged.
        members: The users of a population who send the samples; None without a population.
        attempt: How often the frame was sent before in its interval. For every attempt the sender
            stands at the same place, but the fading is another.
        stride: OFDM symbols from one row of subcarriers to the next. Above 1 the frame is a silent
            probe of a long transmission: each row has a slot of its own, during which the channel
            is taken to stand still.
    """

    sender: str
    stream: str
    symbols: Tensor
    valid: Tensor
    scale: Tensor
    block: int = 0
    transport: Transport = "analog"
    file_bits: Tensor | None = None
    members: Members | None = None
    attempt: int = 0
    sends_scale: bool = True
    stride: int = 1

    @property
    def control_bits(self) -> int:
        """Control bits of each sample that is sent: those of its power scale, if that is sent.

        A file needs none: the base station makes its tokens itself.
        """
        return POWER_SCALE_BITS if self.sends_scale and self.transport != "file" else 0

    def __post_init__(self) -> None:
        if self.symbols.ndim != 2 or not self.symbols.is_complex():
            raise ValueError(
                f"{self.sender}: symbols should be complex [batch, symbols], got "
                f"{self.symbols.dtype} {list(self.symbols.shape)}"
            )
        if self.valid.shape != self.symbols.shape or self.valid.dtype != torch.bool:
            raise ValueError(f"{self.sender}: 'valid' should be bool of the symbols' shape")
        if self.scale.shape != self.symbols.shape[:1]:
            raise ValueError(f"{self.sender}: 'scale' should hold one value a sample")
        if self.block and self.symbols.shape[1] % self.block:
            raise ValueError(
                f"{self.sender}: {self.symbols.shape[1]} symbols are not blocks of {self.block}"
            )
        if self.members is not None and self.members.users.shape != self.scale.shape:
            raise ValueError(f"{self.sender}: 'members' should name one user a sample")
        if self.transport not in TRANSPORTS:
            raise ValueError(
                f"{self.sender}: no transport {self.transport!r}; take one of "
                f"{', '.join(TRANSPORTS)}"
            )
        if (self.file_bits is not None) != (self.transport == "file"):
            raise ValueError(
                f"{self.sender}: transport {self.transport!r} "
                f"{'needs' if self.file_bits is None else 'takes no'} 'file_bits'"
            )
        if self.file_bits is not None and self.file_bits.shape != self.scale.shape:
            raise ValueError(f"{self.sender}: 'file_bits' should hold one value a sample")
