"""What one MiniCLEVR picture shows: three to six solids, each in a cell of its own.

The solids have CLEVR's four attributes. Size, color and shape are visible at both resolutions,
the material at the high one alone (``render.py``). The picture has 6 x 6 cells; a place is named
by its column, from ``x1`` on the left to ``x6``, and its row, from ``y1`` at the top to ``y6``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZES = ("small", "large")
COLORS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")
MATERIALS = ("rubber", "metal")
SHAPES = ("cube", "sphere", "cylinder")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "size": SIZES,
    "color": COLORS,
    "material": MATERIALS,
    "shape": SHAPES,
}
"""CLEVR's attributes and their values, in the order in which its questions name them."""

IMAGE_PIXELS, CELL_PIXELS = 96, 16
CELLS = IMAGE_PIXELS // CELL_PIXELS
"""Columns, and rows, of cells."""
COLUMNS = tuple(f"x{i + 1}" for i in range(CELLS))
ROWS = tuple(f"y{i + 1}" for i in range(CELLS))
RADII_PIXELS = (7, 11)
"""Half the height of a small and of a large solid."""
MIN_OBJECTS, MAX_OBJECTS = 3, 6

_INSET_PIXELS = 4
"""Minimum distance of a solid's centre from the border of its cell."""


@dataclass(frozen=True)
class Solid:
    """One solid: indices of its attributes' values in :data:`ATTRIBUTES`, and its centre."""

    values: tuple[int, int, int, int]
    x_pixels: int
    y_pixels: int

    @property
    def column(self) -> int:
        return self.x_pixels // CELL_PIXELS

    @property
    def row(self) -> int:
        return self.y_pixels // CELL_PIXELS

    @property
    def radius_pixels(self) -> int:
        return RADII_PIXELS[self.values[0]]

    def value(self, attribute: str) -> str:
        """The word for the value of ``attribute``."""
        return ATTRIBUTES[attribute][self.values[list(ATTRIBUTES).index(attribute)]]

    @property
    def words(self) -> tuple[str, ...]:
        """Everything there is to say about it: attributes, column, row."""
        values = [names[i] for names, i in zip(ATTRIBUTES.values(), self.values, strict=True)]
        return (*values, COLUMNS[self.column], ROWS[self.row])


@dataclass(frozen=True)
class Scene:
    """The solids of a picture in reading order: row by row, each from left to right."""

    solids: tuple[Solid, ...]

    def related(self, relation: str, index: int) -> tuple[int, ...]:
        """Indices of the solids that stand in a relation to one: ``left``, ``right``, ``front`` ...

        Solids in the same column are neither left nor right of each other, and solids in the same
        row are neither in front nor behind. As in CLEVR, what is too close to tell is not related.
        """
        return tuple(i for i, s in enumerate(self.solids) if _IS[relation](s, self.solids[index]))


RELATIONS = ("left", "right", "front", "behind")
_IS = {
    "left": lambda one, other: one.column < other.column,
    "right": lambda one, other: one.column > other.column,
    "front": lambda one, other: one.row > other.row,
    "behind": lambda one, other: one.row < other.row,
}


def caption(scene: Scene) -> str:
    """The whole scene in words, such as ``large red metal cube at x1 y2 , small ... .``."""
    clauses = (f"{' '.join(s.words[:-2])} at {' '.join(s.words[-2:])}" for s in scene.solids)
    return " , ".join(clauses) + " ."


CAPTION_WORDS = frozenset({"at", ",", ".", *COLUMNS, *ROWS}).union(*ATTRIBUTES.values())
"""All words of captions."""


def sample_scene(
    rng: np.random.Generator,
    objects: tuple[int, int] = (MIN_OBJECTS, MAX_OBJECTS),
    cells: int = CELLS,
) -> Scene:
    """Draws a scene; no two solids touch.

    Args:
        rng: Source of all random draws.
        objects: Least and largest number of solids.
        cells: Number of columns and rows, from the upper left corner, in which they lie.
    """
    count = int(rng.integers(objects[0], objects[1] + 1))
    highs = [len(names) for names in ATTRIBUTES.values()]
    values = rng.integers(0, highs, size=(count, len(highs)))
    radii = np.array(RADII_PIXELS)[values[:, 0]]
    centres = None
    while centres is None:
        centres = _place(radii, cells, rng)
    solids = [
        Solid((int(v[0]), int(v[1]), int(v[2]), int(v[3])), int(x), int(y))
        for v, (x, y) in zip(values, centres, strict=True)
    ]
    return Scene(tuple(sorted(solids, key=lambda s: (s.row, s.column))))


def _place(
    radii: NDArray[np.int64], cells: int, rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """Draws centres ``[objects, 2]`` (x, y) in pixels; None if there was no room for a solid."""
    centres = np.zeros((len(radii), 2), dtype=np.int64)
    for i, radius in enumerate(radii):
        order = rng.permutation(cells * cells)
        corner = np.stack([order % cells, order // cells], axis=1) * CELL_PIXELS
        low = np.maximum(corner + _INSET_PIXELS, radius + 1)
        high = np.minimum(corner + CELL_PIXELS - _INSET_PIXELS, cells * CELL_PIXELS - 1 - radius)
        tried = rng.integers(low, high + 1)
        apart = np.abs(tried[:, None] - centres[None, :i]).max(-1)  # [cells, objects before]
        free = (apart > radius + radii[:i]).all(1)
        if not free.any():
            return None
        centres[i] = tried[free.argmax()]
    return centres
