"""Feature maps of all stages of a ConvNeXt as tokens of its coarsest grid, and back.

Nothing is lost or repeated: a token holds all places of the finer stages within its cell.
B images, C channels, H x W places; R places along a side of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Grid


def fold_stages(maps: Sequence[Tensor]) -> Tensor:
    """Tokens ``[B, H * W, width]`` of feature maps, the last of which is the coarsest (H x W)."""
    rows, columns = maps[-1].shape[2:]
    cells = []
    for features in maps:
        batch, channels, height, width = features.shape
        ratio = height // rows
        assert (height, width) == (rows * ratio, columns * ratio)
        places = features.reshape(batch, channels, rows, ratio, columns, ratio)
        cells.append(places.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1))
    return torch.cat(cells, dim=-1)


def unfold_stages(tokens: Tensor, grid: Grid) -> list[Tensor]:
    """Feature maps ``[B, C, H * R, W * R]`` of the stages, out of tokens on a grid of H x W."""
    widths = [stage.channels * stage.ratio**2 for stage in grid.stages]
    maps = []
    for stage, cells in zip(grid.stages, tokens.split(widths, dim=-1), strict=True):
        ratio = stage.ratio
        places = cells.reshape(-1, grid.rows, grid.columns, ratio, ratio, stage.channels)
        height, width = grid.rows * ratio, grid.columns * ratio
        maps.append(places.permute(0, 5, 1, 3, 2, 4).reshape(-1, stage.channels, height, width))
    return maps
