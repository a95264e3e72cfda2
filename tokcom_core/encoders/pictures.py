"""Images in the size, proportions and colors that an encoder's processor expects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.images import ImageCrop, read_image


def read_for(
    processor: Any, file: Path, size: tuple[int, int], crop: ImageCrop
) -> NDArray[np.uint8]:
    """Reads an image ``[height, width, 3]``, resized by the filter of a Hugging Face processor.

    The borders of ``crop: pad`` have the processor's mean color, which it normalises to zero.
    """
    red, green, blue = (int(255 * mean) for mean in processor.image_mean)
    return read_image(file, size, crop, processor.resample, (red, green, blue))
