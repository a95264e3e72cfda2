"""Slide, eq. (3): picks tokens evenly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def slide(length: int, count: int) -> NDArray[np.int64]:
    """The positions of ``count`` evenly spaced tokens out of ``length``, first and last included.

    Raises:
        ValueError: unless 1 <= count <= length.
    """
    if not 1 <= count <= length:
        raise ValueError(f"cannot slide to {count} of {length} tokens; choose 1 to {length}")
    return np.round(np.linspace(0, length - 1, count)).astype(np.int64)
