"""The bilateral attention network (BAN), eqs. (5) to (7) of TaiChi, and what it is compared with.

V_h are the high-resolution features (ConvNeXt's stages, resized to the finest of them and
concatenated), V_l the low-resolution ones (CLIP's tokens). One section of the paper calls V_h
'high-level', but only in this reading does the pooling of eq. (7), which brings V'_h to the
resolution of V_l, make sense.

Both are layer-normalised first, and V_l enters the sum of eq. (7) normalised as well. Otherwise a
tokenizer's own scale, which is arbitrary, would decide how much the attended details weigh when
training begins.

Places of two grids correspond by where they lie in the image, whatever the ratio of the grids.
No token attends beyond its window, and nothing of the size of all pairs is computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import Config
from ...encoders import Grid
from ..grids import StageProjection, pool

FusionKind = Literal["ban", "mining", "addition", "low", "high"]

_KEPT_TABLES = 64
"""Maximum number of index tables of each kind that are kept, by sizes and device."""


class FusionConfig(Config):
    """How the tokens of both encoders become visual tokens.

    Attributes:
        kind: ``ban``: eqs. (5) to (7). ``mining``: Mini-Gemini's patch mining, BAN without its
            top-down branch (5). ``addition``: V_l + Pooling(W V_h), no attention. ``low`` and
            ``high``: one encoder alone.
        neighbourhood: Side of the window of V_l in eq. (5), odd. As printed, (5) has one key, whose
            softmax is 1; a neighbourhood of 3 x 3 gives the attention something to choose from.
    """

    kind: FusionKind = "ban"
    neighbourhood: int = Field(default=3, ge=1)

    @property
    def reads(self) -> tuple[str, ...]:
        """The resolutions that are fused: ``low``, ``high`` or both."""
        return (self.kind,) if self.kind in ("low", "high") else ("low", "high")

    @field_validator("neighbourhood")
    @classmethod
    def _is_odd(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError(f"neighbourhood {side} has no middle; take an odd number such as 3")
        return side


def build_fusion(config: FusionConfig, low_grid: Grid, high_grid: Grid) -> Fusion:
    """The fusion of tokens on two grids, see :class:`.encoders.base.Grid`."""
    if config.kind in ("ban", "mining"):
        side = config.neighbourhood if config.kind == "ban" else None
        return BilateralAttention(low_grid, high_grid, side)
    return Pooled(low_grid, high_grid, config.kind)


class Fusion(nn.Module, ABC):
    """Fuses low- and high-resolution tokens.

    Every kind makes tokens of the width of V_l, so that the same projector fits behind each.
    """

    def __init__(self, low: Grid, high: Grid) -> None:
        super().__init__()
        self.low, self.high, self.width = low, high, low.width

    @abstractmethod
    def forward(self, low: Tensor, high: Tensor, queries: tuple[int, int]) -> Tensor:
        """Visual tokens ``[B, rows * columns, width]`` on a grid of queries, row by row.

        Args:
            low: Tokens ``[B, S_l, D_l]`` of the low-resolution encoder.
            high: Tokens ``[B, S_h, D_h]`` of the high-resolution encoder.
            queries: Rows and columns of the visual tokens; V_l is pooled to them (TokenPacker).
        """

    @abstractmethod
    def macs(self, queries: int) -> int:
        """Multiplications by a weight for an image; each map counts at every place it acts on.

        Args:
            queries: Number of visual tokens.
        """

    def pooled_low(self, low: Tensor, queries: tuple[int, int]) -> Tensor:
        """Normalised V_l ``[B, rows, columns, width]`` on the grid of the queries."""
        return pool(low.reshape(len(low), self.low.rows, self.low.columns, -1), queries)


class Pooled(Fusion):
    """Without attention: V_l, Pooling(W V_h), or the sum of both."""

    def __init__(self, low: Grid, high: Grid, kind: FusionKind) -> None:
        super().__init__(low, high)
        self.norm = None if kind == "high" else nn.LayerNorm(self.width)
        self.project = None if kind == "low" else StageProjection(high, self.width)

    def forward(self, low: Tensor, high: Tensor, queries: tuple[int, int]) -> Tensor:
        tokens = 0.0 if self.norm is None else self.pooled_low(self.norm(low), queries)
        if self.project is not None:
            tokens = tokens + pool(self.project(high), queries)
        assert isinstance(tokens, Tensor)
        return tokens.flatten(1, 2)

    def macs(self, queries: int) -> int:
        return 0 if self.project is None else StageProjection.macs(self.high, self.width)


class BilateralAttention(Fusion):
    """BAN; without its top-down branch Mini-Gemini's patch mining.

    Queries, keys and values are linear in the normalised features.

    Args:
        low: Grid of V_l.
        high: Grid of V_h.
        neighbourhood: Side of the top-down branch's window; None leaves the branch out.
    """

    def __init__(self, low: Grid, high: Grid, neighbourhood: int | None) -> None:
        super().__init__(low, high)
        self._neighbourhood = neighbourhood
        self.norm = nn.LayerNorm(self.width)
        self.query_low = nn.Linear(self.width, self.width)  # W_Q,l
        if neighbourhood is not None:
            self.key_value_low = nn.Linear(self.width, 2 * self.width)  # W_K,h and W_V,h
        self._parts = 2 if neighbourhood is None else 3  # W_K,l, W_V,l and W_Q,h
        self.project_high = StageProjection(high, self._parts * self.width)

    def forward(self, low: Tensor, high: Tensor, queries: tuple[int, int]) -> Tensor:
        low = self.norm(low)
        tokens = self.pooled_low(low, queries)
        key, value, *query_high = self.project_high(high).split(self.width, dim=-1)
        fused = tokens + self._bottom_up(tokens, key, value)
        if self._neighbourhood is not None:
            fused = fused + pool(self._top_down(query_high[0], low), queries)
        return fused.flatten(1, 2)

    def macs(self, queries: int) -> int:
        """Multiplications by a weight for an image; attention's own products are not by weights."""
        high = StageProjection.macs(self.high, self._parts * self.width)
        places = 0 if self._neighbourhood is None else self.low.rows * self.low.columns
        return high + self.width**2 * (queries + 2 * places)

    def _bottom_up(self, tokens: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """V'_l, eq. (6): each query attends to the window of V_h that it covers."""
        places, real = covered(key.shape[1:3], tokens.shape[1:3], key.device)
        keys, values = (windows(features, places) for features in (key, value))
        query = self.query_low(tokens).flatten(1, 2).unsqueeze(2)
        attended = F.scaled_dot_product_attention(query, keys, values, real)
        return attended.reshape(tokens.shape)

    def _top_down(self, query: Tensor, low: Tensor) -> Tensor:
        """V'_h ``[B, H, W, width]``, eq. (5): each place attends to its neighbourhood in V_l.

        Places that lie in one cell of V_l have the same keys, so their queries are put together.
        """
        assert self._neighbourhood is not None
        cells = (self.low.rows, self.low.columns)
        key_value = self.key_value_low(low).reshape(len(low), *cells, -1)
        places, real = surrounding(cells, self._neighbourhood, low.device)
        keys, values = windows(key_value, places).chunk(2, dim=-1)
        members, slots = grouped(query.shape[1:3], cells, low.device)
        grouped_query = windows(query, members)
        attended = F.scaled_dot_product_attention(grouped_query, keys, values, real)
        return attended.flatten(1, 2).index_select(1, slots).reshape(query.shape)


def windows(features: Tensor, places: Tensor) -> Tensor:
    """Windows ``[B, R * C, r * c, D]`` of ``[B, H, W, D]``, by places ``[R * C, r * c]``."""
    # Selecting whole feature vectors by one index is several times as fast as indexing both sides,
    # above all in the backward pass.
    taken = features.flatten(1, 2).index_select(1, places.flatten())
    return taken.reshape(len(features), *places.shape, features.shape[3])


@lru_cache(maxsize=_KEPT_TABLES)
def covered(
    grid: tuple[int, int], cells: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The window of a grid that each of ``cells`` covers, wholly or in part, see :func:`_both`."""
    rows, columns = (covering(*sides) for sides in zip(grid, cells, strict=True))
    return _both(rows, columns, grid[1], device)


@lru_cache(maxsize=_KEPT_TABLES)
def surrounding(cells: tuple[int, int], side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The window of ``side`` by ``side`` cells around each of ``cells``, see :func:`_both`."""
    rows, columns = (neighbours(count, side) for count in cells)
    return _both(rows, columns, cells[1], device)


@lru_cache(maxsize=_KEPT_TABLES)
def grouped(
    grid: tuple[int, int], cells: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The places of a grid, grouped by the cell that their middle lies in.

    Returns:
        Places ``[R * C, most]`` of each cell, padded; the position ``[H * W]`` of each place among
        them, row by row.
    """
    rows, columns = (members(*sides) for sides in zip(grid, cells, strict=True))
    places, _ = _both(rows[0], columns[0], grid[1], device)
    cell = rows[1][:, None] * cells[1] + columns[1]
    slot = rows[2][:, None] * columns[0][0].shape[1] + columns[2]
    return places, (cell * places.shape[1] + slot).flatten().to(device)


def covering(places: int, cells: int) -> tuple[Tensor, Tensor]:
    """The places that each of ``cells`` equal parts of a side covers, wholly or in part.

    Returns:
        Places ``[cells, longest]``, and which of them are real (the others are padding).
    """
    first = torch.arange(cells) * places // cells
    last = -(-(torch.arange(cells) + 1) * places // cells)
    return _spans(first, last, places)


def neighbours(cells: int, side: int) -> tuple[Tensor, Tensor]:
    """The places ``[cells, side]`` around each of ``cells``, and which of them are inside."""
    first = torch.arange(cells) - side // 2
    index = first[:, None] + torch.arange(side)
    return index.clamp(0, cells - 1), (index >= 0) & (index < cells)


def members(places: int, cells: int) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """The places of a side, grouped by the cell that their middle lies in.

    Returns:
        Places ``[cells, most]`` of each cell, and which of them are real; the cell ``[places]`` of
        each place; its position ``[places]`` within that cell.
    """
    cell = (2 * torch.arange(places) + 1) * cells // (2 * places)
    first = torch.searchsorted(cell, torch.arange(cells))
    last = torch.searchsorted(cell, torch.arange(cells), right=True)
    return _spans(first, last, places), cell, torch.arange(places) - first[cell]


def _spans(first: Tensor, last: Tensor, places: int) -> tuple[Tensor, Tensor]:
    index = first[:, None] + torch.arange(int((last - first).max()))
    return index.clamp(max=places - 1), index < last[:, None]


def _both(
    rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Windows of a grid with ``width`` columns, given those of its two sides.

    Returns:
        Places ``[R * C, r * c]`` in the grid, counted row by row; which of them are real, bool
        ``[R * C, 1, r * c]``.
    """
    places = rows[0][:, None, :, None] * width + columns[0][None, :, None, :]
    real = rows[1][:, None, :, None] & columns[1][None, :, None, :]
    flat = places.flatten(2).flatten(0, 1), real.flatten(2).flatten(0, 1)
    return flat[0].to(device), flat[1].unsqueeze(1).to(device)
