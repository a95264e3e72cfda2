"""Reads image files, ``.png`` or ``.jpg``, as the encoders of images take them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import first_line

ImageCrop = Literal["none", "center", "pad"]
Color = tuple[int, int, int]

PICTURE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError),
    *(struct.error, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError),
)
"""What PIL raises for a damaged picture; those of the second line come from its metadata."""


def read_image(
    file: Path,
    size: tuple[int, int],
    crop: ImageCrop = "none",
    resample: Image.Resampling = Image.Resampling.BICUBIC,
    background: Color = (0, 0, 0),
) -> NDArray[np.uint8]:
    """Reads an image and resizes it, ``[height, width, 3]``, upright as its EXIF data say.

    Args:
        file: The image file.
        size: Height and width to resize to.
        crop: ``none`` resizes the whole image, whatever its proportions. ``center`` resizes it so
            that it just covers the size, and cuts off the excess at both sides. ``pad`` first adds
            borders at both sides, until the image has the proportions of the size, as LLaVA does.
        resample: Filter of the resizing; it averages pixels where the image becomes smaller.
        background: Red, green and blue of the borders, 0 to 255.

    Raises:
        ValueError: if there is no such file, it is damaged or of another format.
    """
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as opened:
            image = to_rgb(ImageOps.exif_transpose(opened))
    except PICTURE_ERRORS as error:
        raise ValueError(f"image {file} cannot be read: {first_line(error)}") from None
    if crop == "pad":
        image = _padded(image, size, background)
    if crop != "center":
        return np.asarray(image.resize(size[::-1], resample))
    covering = _covering(size, image.height, image.width)
    left, top = (covering[0] - size[1]) // 2, (covering[1] - size[0]) // 2
    resized = image.resize(covering, resample)
    return np.asarray(resized.crop((left, top, left + size[1], top + size[0])))


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture in 8 bits a color: of 16 bits of grey the upper ones, as PIL has it of colors."""
    if image.mode.startswith("I"):  # PIL's own conversion makes all above 255 white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _padded(image: Image.Image, size: tuple[int, int], background: Color) -> Image.Image:
    """An image in the middle of the smallest canvas around it with the proportions of a size."""
    width = max(image.width, image.height * size[1] // size[0])
    height = max(image.height, image.width * size[0] // size[1])
    canvas = Image.new("RGB", (width, height), background)
    canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return canvas


def _covering(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Width and height at which an image just covers a size, rounded down as Hugging Face does."""
    if size[0] * width >= size[1] * height:  # the height is the short side
        return max(size[1], size[0] * width // height), size[0]
    return size[1], max(size[0], size[1] * height // width)
