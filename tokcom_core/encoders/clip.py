"""CLIP's vision transformer, the encoder of low-resolution images: eqs. (1) to (3) of TaiChi."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPVisionModel

from ..checkpoints.loading import load_model, load_processor
from ..datasets.images import ImageCrop
from ..devices import pick_device, pick_dtype
from .attention import AttendingEncoder
from .base import freeze
from .pictures import read_for
from .sizes import clip_layers, clip_shape, read_clip, sides


class ClipEncoder(AttendingEncoder):
    """CLIP-ViT: patches of an image, row by row behind a class token, at one of its layers.

    Args:
        name: Name of the checkpoint, a whole CLIP or its image tower alone.
        device: Torch device or ``auto``.
        layer: Hidden state that is taken, as transformers counts them (0: before the first layer).
            The layers above it are not computed.
        crop: How an image becomes a square, see :func:`~tokcom_core.datasets.images.read_image`;
            ``center`` is what the checkpoint's own processor does.
    """

    summary_tokens = 1  # CLS

    def __init__(
        self, name: str, device: str = "auto", layer: int = -2, crop: ImageCrop = "none"
    ) -> None:
        self.name = name
        self._crop: ImageCrop = crop
        self._device = pick_device(device)
        self._processor = load_processor(CLIPImageProcessorPil, name, "clip")
        self._size = sides(read_clip(name).image_size)
        shape = clip_shape(name, layer)
        self.length, self.width = shape.length, shape.width
        model = load_model(CLIPVisionModel, name, "clip", pick_dtype(self._device))
        del model.encoder.layers[clip_layers(name, layer) :]
        self._model = freeze(model, self._device)

    def read(self, file: Path) -> Tensor:
        image = read_for(self._processor, file, self._size, self._crop)
        pixels: Tensor = self._processor(
            image, do_resize=False, do_center_crop=False, return_tensors="pt"
        )["pixel_values"]
        return pixels
