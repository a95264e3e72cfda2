"""What each token of an image tokenizer should tell about a scene: the truth in its cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .scene import ATTRIBUTES, CELLS, Scene


def cell_labels(scenes: Sequence[Scene], finer: int = 1, cells: int = CELLS) -> dict[str, Tensor]:
    """Labels ``[scenes, tokens]`` of each attribute, row by row: 0 for nothing, else 1 + the value.

    Args:
        scenes: What the images show.
        finer: Number of tokens along one side of a cell; all tokens of a cell have the same label.
        cells: Number of columns and rows of cells that the images show.
    """
    labels = np.zeros((len(ATTRIBUTES), len(scenes), cells, cells), dtype=np.int64)
    for i, scene in enumerate(scenes):
        for solid in scene.solids:
            labels[:, i, solid.row, solid.column] = 1 + np.array(solid.values)
    fine = labels.repeat(finer, 2).repeat(finer, 3).reshape(len(ATTRIBUTES), len(scenes), -1)
    return dict(zip(ATTRIBUTES, torch.from_numpy(fine), strict=True))
