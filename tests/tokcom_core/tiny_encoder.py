"""An encoder of one's own, as somebody outside the package would write it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from tokcom_core.datasets.layout import SAMPLE_RATE_HZ
from tokcom_core.datasets.media import read_sound
from tokcom_core.encoders import EncoderConfig, EncoderShape, MediaEncoder


class Loudness(EncoderConfig):
    """Loudness of short pieces of a sound, in bands of its samples."""

    name: Literal["custom"] = "custom"
    bands: int = 4

    def shape(self) -> EncoderShape:
        return EncoderShape(length=20, width=self.bands, summary_tokens=0, macs=0)

    def build(self, device: str = "auto") -> MediaEncoder:
        return LoudnessEncoder(self.shape())


class LoudnessEncoder(MediaEncoder):
    """Root mean square of each tenth of a second of two."""

    name, summary_tokens = "loudness", 0

    def __init__(self, shape: EncoderShape) -> None:
        self.length, self.width = shape.length, shape.width

    def read(self, file: Path) -> Tensor:
        sound = torch.from_numpy(read_sound(file))[: 2 * SAMPLE_RATE_HZ]
        return sound.reshape(1, self.length, self.width, -1)

    def encode(self, clips: Sequence[Tensor]) -> list[Tensor]:
        return [clip.square().mean(-1).sqrt() for clip in clips]


class Mistaken(Loudness):
    """Says that its tokens are wider than they are."""

    def build(self, device: str = "auto") -> MediaEncoder:
        return Loudness(bands=self.bands - 1).build()


class NoEncoder:
    """Something else."""
