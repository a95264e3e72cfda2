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
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import Config
from ...encoders import Grid
from ..grids import StageProjection, pool

FusionKind = Literal["ban", "mining", "addition", "low", "high"]


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
        size, queries = key.shape[1:3], tokens.shape[1:3]
        spans = [covering(places, count) for places, count in zip(size, queries, strict=True)]
        rows, columns = ((index.to(key.device), valid) for index, valid in spans)
        keys, values = (windows(features, rows[0], columns[0]) for features in (key, value))
        mask = _both(rows[1], columns[1]).to(key.device)
        query = self.query_low(tokens).flatten(1, 2).unsqueeze(2)
        attended = F.scaled_dot_product_attention(query, keys, values, mask.unsqueeze(1))
        return attended.reshape(tokens.shape)

    def _top_down(self, query: Tensor, low: Tensor) -> Tensor:
        """V'_h ``[B, H, W, width]``, eq. (5): each place attends to its neighbourhood in V_l.

        Places that lie in one cell of V_l have the same keys, so their queries are put together.
        """
        assert self._neighbourhood is not None
        cells = (self.low.rows, self.low.columns)
        key_value = self.key_value_low(low).reshape(len(low), *cells, -1)
        near = [neighbours(count, self._neighbourhood) for count in cells]
        keys, values = windows(key_value, *(index.to(low.device) for index, _ in near)).chunk(
            2, dim=-1
        )
        mask = _both(near[0][1], near[1][1]).to(low.device)
        groups = [
            grouped(places, count) for places, count in zip(query.shape[1:3], cells, strict=True)
        ]
        members = [members.to(low.device) for members, _, _ in groups]
        asked = windows(query, *members)
        attended = F.scaled_dot_product_attention(asked, keys, values, mask.unsqueeze(1))
        (_, row_cell, row_slot), (_, column_cell, column_slot) = groups
        cell = row_cell[:, None] * cells[1] + column_cell
        slot = row_slot[:, None] * members[1].shape[1] + column_slot
        found = (cell * attended.shape[2] + slot).to(low.device)
        return attended.flatten(1, 2).index_select(1, found.flatten()).reshape(query.shape)


def windows(features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Windows ``[B, R * C, r * c, D]`` of ``[B, H, W, D]``, by rows ``[R, r]``, columns ``[C, c]``.

    Rows and columns are places along the two sides.
    """
    places = (rows[:, None, :, None] * features.shape[2] + columns[None, :, None, :]).flatten(2)
    # Selecting whole feature vectors by one index is several times as fast as indexing both sides,
    # above all in the backward pass.
    taken = features.flatten(1, 2).index_select(1, places.flatten())
    return taken.reshape(len(features), -1, places.shape[2], features.shape[3])


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


def grouped(places: int, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """The places of a side, grouped by the cell that their middle lies in.

    Returns:
        Places ``[cells, most]`` of each cell, padded; the cell ``[places]`` of each place; its
        position ``[places]`` within that cell.
    """
    cell = (2 * torch.arange(places) + 1) * cells // (2 * places)
    first = torch.searchsorted(cell, torch.arange(cells))
    last = torch.searchsorted(cell, torch.arange(cells), right=True)
    index, _ = _spans(first, last, places)
    return index, cell, torch.arange(places) - first[cell]


def _spans(first: Tensor, last: Tensor, places: int) -> tuple[Tensor, Tensor]:
    index = first[:, None] + torch.arange(int((last - first).max()))
    return index.clamp(max=places - 1), index < last[:, None]


def _both(rows: Tensor, columns: Tensor) -> Tensor:
    """Which places of each window are real, ``[R * C, r * c]``, given those of its two sides."""
    both = rows[:, None, :, None] & columns[None, :, None, :]
    return both.flatten(2, 3).flatten(0, 1)
