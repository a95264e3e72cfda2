"""Draws a scene. A metal solid is a checkerboard of single pixels, a rubber one is plain.

The mean of 2 x 2 pixels removes the checkerboard exactly, up to rounding: a tokenizer that sees the
picture at half its resolution cannot tell the material.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...storage import atomic_file
from .scene import IMAGE_PIXELS, MATERIALS, SHAPES, Scene, Solid

_COLORS = np.array(
    [
        (130, 130, 130),
        (205, 45, 45),
        (50, 80, 210),
        (40, 140, 50),
        (140, 90, 45),
        (145, 50, 190),
        (50, 205, 205),
        (215, 205, 60),
    ],
    dtype=np.float32,
)
_METAL_LEVELS = (24.0, 34.0)
"""Least and largest amplitude of the checkerboard, of 255 levels."""
_NOISE_LEVELS = 4.0
_BACKGROUND_LEVELS = (8.0, 28.0)

_Y, _X = np.mgrid[0:IMAGE_PIXELS, 0:IMAGE_PIXELS]
_CHECKERBOARD = ((_X + _Y) % 2 * 2 - 1).astype(np.float32)


def draw(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Returns ``[IMAGE_PIXELS, IMAGE_PIXELS, 3]``, uint8."""
    shape = (IMAGE_PIXELS, IMAGE_PIXELS)
    pixels = rng.normal(rng.uniform(*_BACKGROUND_LEVELS), _NOISE_LEVELS, (*shape, 3))
    pattern = np.zeros(shape, dtype=np.float32)
    for solid in scene.solids:
        covered = _silhouette(solid)
        _, color, material, _ = solid.values
        noise = rng.normal(0, _NOISE_LEVELS, (int(covered.sum()), 3))
        pixels[covered] = _COLORS[color] * rng.uniform(0.9, 1.0) + noise
        if MATERIALS[material] == "metal":
            pattern[_whole_blocks(covered)] = rng.uniform(*_METAL_LEVELS)
    pixels += (pattern * _CHECKERBOARD)[:, :, None]
    drawn: NDArray[np.uint8] = np.clip(pixels.round(), 0, 255).astype(np.uint8)
    return drawn


def write_image(
    file: Path, scene: Scene, rng: np.random.Generator, jpeg_quality: int | None = None
) -> None:
    """Draws a scene into a file, which is a PNG unless a JPEG quality is given."""
    image = Image.fromarray(draw(scene, rng))
    with atomic_file(file) as partial:
        if jpeg_quality is None:
            image.save(partial, format="png", compress_level=1)
        else:
            image.save(partial, format="jpeg", quality=jpeg_quality)


def _silhouette(solid: Solid) -> NDArray[np.bool_]:
    """Pixels of a solid: a square is a cube, a disk a sphere, an upright bar a cylinder."""
    x = np.abs(_X - solid.x_pixels) / solid.radius_pixels
    y = np.abs(_Y - solid.y_pixels) / solid.radius_pixels
    inside = {
        "cube": np.maximum(x, y) <= 0.86,
        "sphere": x**2 + y**2 <= 1,
        "cylinder": (x <= 0.5) & (y <= 1),
    }
    covered: NDArray[np.bool_] = inside[SHAPES[solid.values[3]]]
    return covered


def _whole_blocks(covered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels whose 2 x 2 block is fully covered: in others, a checkerboard has a mean."""
    half = IMAGE_PIXELS // 2
    whole = covered.reshape(half, 2, half, 2).all((1, 3))
    blocks: NDArray[np.bool_] = whole.repeat(2, 0).repeat(2, 1)
    return blocks
