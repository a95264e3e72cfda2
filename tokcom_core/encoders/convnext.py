"""ConvNeXt, the encoder of high-resolution images: eq. (4) of TaiChi.

B images, C channels, H x W places; S tokens of D features; R places along a side of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.loading import load_model
from ..datasets.images import ImageCrop
from ..devices import pick_device, pick_dtype
from .base import ENCODER_BATCH, MediaEncoder, freeze
from .pictures import read_for
from .sizes import convnext_shape
from .stages import fold_stages
from .timm import convnext_class, convnext_processor, image_size, read_convnext

_USUAL_PIXELS = 224 * 224  # of the images that ENCODER_BATCH is meant for


class ConvnextEncoder(MediaEncoder):
    """ConvNeXt: the feature maps of its stages, folded without loss into the coarsest one's tokens.

    A token is one cell of the coarsest kept map; the finer maps are folded into it
    (space-to-depth), see :class:`.base.Grid`. :func:`unfold_stages` is the way back.

    Args:
        name: Name of the checkpoint, see :mod:`.timm`.
        device: Torch device or ``auto``.
        size_px: Side of the images; None takes the checkpoint's own.
        stages: Stages that are kept, from 1, ascending; None keeps all. Those above the last one
            are not computed.
        crop: How an image becomes a square, see :func:`~tokcom_core.datasets.images.read_image`.
    """

    summary_tokens = 0

    def __init__(
        self,
        name: str,
        device: str = "auto",
        size_px: int | None = None,
        stages: tuple[int, ...] | None = None,
        crop: ImageCrop = "none",
    ) -> None:
        self.name = name
        self._crop: ImageCrop = crop
        self._device = pick_device(device)
        config = read_convnext(name)
        self._size = image_size(config, size_px)
        shape = convnext_shape(config, self._size, stages)
        self._kept = stages or tuple(range(1, config.num_stages + 1))
        self.length, self.width = shape.length, shape.width
        self._processor = convnext_processor(name)
        self._dtype = pick_dtype(self._device)
        model = load_model(convnext_class(name), name, "convnext", self._dtype)
        del model.encoder.stages[self._kept[-1] :]
        self._model: Any = freeze(model, self._device)

    def read(self, file: Path) -> Tensor:
        image = read_for(self._processor, file, self._size, self._crop)
        pixels: Tensor = self._processor(image, do_resize=False, return_tensors="pt")[
            "pixel_values"
        ]
        return pixels

    @torch.no_grad()
    def encode(self, clips: Sequence[Tensor]) -> list[Tensor]:
        pixels = self._size[0] * self._size[1]
        batch = max(1, ENCODER_BATCH * _USUAL_PIXELS // max(pixels, _USUAL_PIXELS))
        images = torch.cat(list(clips)).split(batch)
        tokens = torch.cat([fold_stages(self._maps(pixels)) for pixels in images])
        return list(tokens.split([len(clip) for clip in clips]))

    def _maps(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps ``[B, C, H, W]`` of the kept stages, float32 on the CPU."""
        features: Tensor = self._model.embeddings(pixels.to(self._device, self._dtype))
        kept = []
        for number, stage in enumerate(self._model.encoder.stages, start=1):
            features = stage(features)
            if number in self._kept:
                kept.append(features.float().cpu())
        return kept
