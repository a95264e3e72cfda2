"""ViViT, the encoder of clips: the same code for real checkpoints and pocket ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import VivitImageProcessor, VivitModel

from ..checkpoints.loading import load_model, load_processor
from ..datasets import media
from ..datasets.layout import FrameChoice
from ..devices import pick_device, pick_dtype
from .attention import AttendingEncoder
from .base import freeze
from .named import Crop
from .sizes import sides


class VisionEncoder(AttendingEncoder):
    """ViViT: tubelets of a clip's frames.

    Args:
        name: Name of the checkpoint.
        device: Torch device or ``auto``.
        crop: Crop of the pictures: ``none`` resizes the whole picture to the encoder's size,
            ``center`` leaves it to the checkpoint's own processor (which may cut its edges off).
        take: Choice of frames, see :func:`media.read_frames`.

    Raises:
        ValueError: if the processor makes pictures that the model does not take.
    """

    summary_tokens = 1  # CLS

    def __init__(
        self, name: str, device: str = "auto", crop: Crop = "none", take: FrameChoice = "even"
    ) -> None:
        self.name = name
        self._take: FrameChoice = take
        self._steps = {"do_resize": False, "do_center_crop": False} if crop == "none" else {}
        self._device = pick_device(device)
        self._processor = load_processor(VivitImageProcessor, name, "vision")
        model = load_model(
            VivitModel, name, "vision", pick_dtype(self._device), add_pooling_layer=False
        )
        self._frames = int(model.config.num_frames)
        self._size = sides(model.config.image_size)
        self.width = int(model.config.hidden_size)
        self.length = int(model.embeddings.position_embeddings.shape[1])
        self._model = freeze(model, self._device)
        self._check_size()

    def read(self, file: Path) -> Tensor:
        return self.preprocess(media.read_frames(file, self._frames, self._take, self._size))

    def preprocess(self, frames: NDArray[np.uint8]) -> Tensor:
        """Pixels ``[1, frames, 3, height, width]`` of pictures ``[frames, height, width, 3]``."""
        values: Tensor = self._processor([list(frames)], return_tensors="pt", **self._steps)[
            "pixel_values"
        ]
        return values

    def _check_size(self) -> None:
        made = tuple(self.preprocess(np.zeros((1, *self._size, 3), np.uint8)).shape[-2:])
        if made != self._size:
            raise ValueError(
                f"the processor of {self.name} makes pictures of {made[0]}x{made[1]}, its model "
                f"takes {self._size[0]}x{self._size[1]}; take systems.mlms.models.vision_crop: none"
            )
