"""The slide, eq. (3): picks evenly spaced tokens."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rounding = Literal["nearest", "floor"]


def slide(length: int, count: int, rounding: Rounding = "nearest") -> NDArray[np.int64]:
    """The positions of ``count`` evenly spaced tokens out of ``length``, first and last included.

    ``floor`` rounds down in single precision, as the paper's code does.

    Raises:
        ValueError: unless 1 <= count <= length.
    """
    if not 1 <= count <= length:
        raise ValueError(f"cannot slide to {count} of {length} tokens; choose 1 to {length}")
    if rounding == "floor":
        import torch  # only here: the processes that extract clips do without it

        floored: NDArray[np.int64] = torch.linspace(0, length - 1, count).long().numpy()
        return floored
    return np.round(np.linspace(0, length - 1, count)).astype(np.int64)
