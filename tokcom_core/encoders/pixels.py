"""Raw patches of an image, for systems that learn their vision from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..datasets.images import read_image
from .base import MediaEncoder


class PixelEncoder(MediaEncoder):
    """Patches of an image, row by row, with colors from -1 to 1; nothing is learned.

    Args:
        size_px: Side that the image is resized to.
        patch_px: Side of a patch, which divides ``size_px``.
    """

    summary_tokens = 0

    def __init__(self, size_px: int, patch_px: int) -> None:
        self.name = "pixels"
        self._size_px, self._patch_px = size_px, patch_px
        self.length = (size_px // patch_px) ** 2
        self.width = 3 * patch_px**2

    def read(self, file: Path) -> Tensor:
        image = torch.from_numpy(read_image(file, (self._size_px, self._size_px)).copy())
        return image.permute(2, 0, 1)[None].float() / 127.5 - 1

    def encode(self, clips: Sequence[Tensor]) -> list[Tensor]:
        patch = self._patch_px
        return [F.unfold(clip, patch, stride=patch).transpose(1, 2) for clip in clips]
