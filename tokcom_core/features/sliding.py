"""Which tokens of a clip are selected, and in which precision they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..encoders import MediaEncoder
from ..selection import FrozenSelection, select
from ..slide import Rounding, slide

FeatureDtype = Literal["float16", "float32"]


@dataclass(frozen=True)
class Sliding:
    """How tokens of clips are selected, by the slide of eq. (3) or otherwise, and stored.

    Attributes:
        counts: Token lengths s, ascending.
        with_summary: Whether the summary tokens of each window are among those to select from.
        rounding: Rounding of the slide's positions.
        dtype: Data type of the stored tokens.
        selection: How tokens are selected.
    """

    counts: tuple[int, ...]
    with_summary: bool = False
    rounding: Rounding = "nearest"
    dtype: FeatureDtype = "float16"
    selection: FrozenSelection = "slide"

    def encode(
        self, encoder: MediaEncoder, clips: Sequence[Tensor]
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Tokens of clips, and the attention to each token if the selection needs it."""
        if self.selection == "attention":
            yield from encoder.encode_attended(clips)
        else:
            yield from ((tokens, None) for tokens in encoder.encode(clips))

    def selected(self, tokens: Tensor, attention: Tensor | None, summary_tokens: int) -> Tensor:
        """Selects ``[sum(counts), width]`` of all windows' tokens ``[windows, length, width]``.

        Args:
            tokens: Tokens of a clip.
            attention: Attention ``[windows, length]`` to each of them, see :meth:`encode`.
            summary_tokens: Number of tokens at the front of each window that stand for all of it.

        Raises:
            ValueError: if a clip has fewer tokens than one of the counts.
        """
        skipped = 0 if self.with_summary else summary_tokens
        pool = tokens[:, skipped:].flatten(0, 1)
        attended = None if attention is None else attention[:, skipped:].flatten()
        return torch.cat([self._select(pool, attended, count) for count in self.counts])

    def _select(self, pool: Tensor, attention: Tensor | None, count: int) -> Tensor:
        if self.selection == "slide":
            return pool[torch.from_numpy(slide(len(pool), count, self.rounding))]
        return select(self.selection, pool, attention, count)
