"""The air contract: frames of all users in, receptions out.

Shapes: ``B`` samples of a batch, ``N`` complex symbols of a frame (they differ between frames).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .numerology import Link, Overhead
from .seeding import spawn_seed

SCALE_BITS = 32
"""Control bits of a frame's power scale, per sample."""


@dataclass(frozen=True)
class Frame:
    """What one device sends for a batch.

    Attributes:
        sender: name of the device.
        stream: what is sent, where a device has several streams.
        symbols: complex64 ``[B, N]`` with unit average power over the valid ones.
        valid: bool ``[B, N]``, False for padding, which is neither sent nor counted.
        scale: float32 ``[B]``, what the receiver multiplies the symbols by (side information).
    """

    sender: str
    stream: str
    symbols: Tensor
    valid: Tensor
    scale: Tensor

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


@dataclass(frozen=True)
class Reception:
    """What the base station has of one frame after equalisation.

    Attributes:
        symbols: complex64 ``[B, N]``, power scale restored, padding zero.
        noise_var: float32 ``[B]``, error variance per unit-power symbol after equalisation.
        realised_snr_db: float32 ``[B]``, receive SNR under the realised fading.
        erased: bool ``[B]``, True where nothing arrived.
        overhead: what the frame cost, per sample.
    """

    symbols: Tensor
    noise_var: Tensor
    realised_snr_db: Tensor
    erased: Tensor
    overhead: Overhead


class Air(ABC):
    """All users' way to the base station, for one transmission interval."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def transmit(self, frames: Sequence[Frame], seed: int) -> list[Reception]:
        """Carries the frames of one interval; differentiable in the symbols and the scale.

        ``seed`` fixes noise and fading; a frame's own follow from it, its sender and its stream,
        so that nobody's channel depends on who else is on the air.

        Raises:
            ValueError: for no frames, or two of the same sender and stream.
        """
        names = [(frame.sender, frame.stream) for frame in frames]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"frames of one interval need distinct senders and streams, got {names}"
            )
        carried = [
            self._carry(frame, spawn_seed(seed, frame.sender, frame.stream)) for frame in frames
        ]
        overheads = self.link.overheads(
            [frame.sender for frame in frames],
            [frame.valid.sum(1).double().mean().item() for frame in frames],
            control_bits=SCALE_BITS,
        )
        return [
            Reception(
                symbols=torch.where(frame.valid, equalised * frame.scale[:, None], 0),
                noise_var=noise_var,
                realised_snr_db=realised_snr_db,
                erased=torch.zeros_like(realised_snr_db, dtype=torch.bool),
                overhead=overhead,
            )
            for frame, (equalised, noise_var, realised_snr_db), overhead in zip(
                frames, carried, overheads, strict=True
            )
        ]

    @abstractmethod
    def _carry(self, frame: Frame, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns equalised symbols ``[B, N]``, noise variance and realised SNR in dB ``[B]``."""
