"""The contract of frozen encoders E_m, eq. (2), and of their configs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..checkpoints import NamedCheckpoint
from ..config import Named
from ..devices import pick_dtype

ENCODER_BATCH = 32
"""Number of windows that an encoder processes at once."""


class MediaEncoder(ABC):
    """A frozen encoder of media files.

    It makes ``length`` tokens of ``width`` features from each window of a file (a sound may have
    several windows, pictures have one). The first ``summary_tokens`` of them (CLS and the like)
    stand for the whole window, the others for a place or a time in it.
    """

    name: str
    length: int
    width: int
    summary_tokens: int

    @abstractmethod
    def read(self, file: Path) -> Tensor:
        """The model's input for one file or folder, ``[windows, ...]``.

        Raises:
            ValueError: if there is no such file, or it is damaged.
        """

    @abstractmethod
    def encode(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """Tokens ``[windows, length, width]`` of each file, float32 on the CPU, eq. (2)."""

    def encode_attended(self, clips: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Tokens of each file, and how much its summary tokens attend to each.

        The attention ``[windows, length]`` is float32 on the CPU. Only encoders whose config has
        :attr:`EncoderConfig.ATTENDS` have this method.
        """
        raise NotImplementedError(f"{type(self).__name__} has no attention")


@dataclass(frozen=True)
class Stage:
    """Feature map of one stage of an encoder of images.

    Attributes:
        channels: Features at one place.
        ratio: Number of its places along one side of a token's cell.
    """

    channels: int
    ratio: int


@dataclass(frozen=True)
class Grid:
    """Places of an image that an encoder's tokens stand for, row by row.

    A token holds one cell of every stage: its ``ratio x ratio`` places, row by row, the channels
    of each place together; the stages one after the other.
    """

    rows: int
    columns: int
    stages: tuple[Stage, ...]

    @property
    def width(self) -> int:
        """Features of a token."""
        return sum(stage.channels * stage.ratio**2 for stage in self.stages)


@dataclass(frozen=True)
class EncoderShape:
    """Size of an encoder's output, read from its configuration alone.

    Attributes:
        length: Tokens of a window, summary tokens included.
        width: Features of a token, d_m.
        summary_tokens: Number of tokens at the front that stand for the whole window.
        macs: Multiplications by a weight for one window, from the layers' sizes.
        grid: Places that the tokens after the summary tokens stand for; None for other media.
    """

    length: int
    width: int
    summary_tokens: int
    macs: int
    grid: Grid | None = None

    def gflop(self, windows: float) -> float:
        """Floating-point operations of some windows in 1e9, two for each multiplication."""
        return 2e-9 * self.macs * windows


class EncoderConfig(Named, ABC):
    """Config of an encoder.

    Attributes:
        ATTENDS: Whether it has :meth:`MediaEncoder.encode_attended`.
    """

    ATTENDS: ClassVar[bool] = False

    @abstractmethod
    def shape(self) -> EncoderShape:
        """Sizes of the output, without loading the weights.

        Raises:
            ValueError: if there is no such checkpoint, or it is of another architecture.
        """

    @property
    def pretrained(self) -> NamedCheckpoint | None:
        """The checkpoint that it is loaded from; None if it has none, or one without a name."""
        return None

    @abstractmethod
    def build(self, device: str = "auto") -> MediaEncoder:
        """The encoder on a torch device."""


@torch.no_grad()
def encode_windows(model: nn.Module, clips: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tokens ``[windows, length, width]`` of each file, encoded in batches of windows."""
    tokens = [
        model(windows.to(device, pick_dtype(device))).last_hidden_state.float().cpu()
        for windows in torch.cat(list(clips)).split(ENCODER_BATCH)
    ]
    return list(torch.cat(tokens).split([len(clip) for clip in clips]))


def freeze(module: nn.Module, device: torch.device) -> nn.Module:
    """Moves a module to a device and freezes its weights."""
    return module.to(device).eval().requires_grad_(False)
