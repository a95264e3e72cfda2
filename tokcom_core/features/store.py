"""The feature store: selected tokens of a data set, memory-mapped by every trial."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..storage import reading

META, TOKENS = "meta.json", "tokens.npy"
"""Files of a store."""


@dataclass(frozen=True)
class FeatureStore:
    """Selected tokens of one encoder, memory-mapped.

    Attributes:
        tokens: ``[clips, sum(counts), width]``: for each clip, the tokens of every token length,
            one length after the other.
        counts: Token lengths s that were selected, ascending.
        row: Row of each media id; damaged and absent clips have none.
        windows: Number of the encoder's windows, by row.
        damaged: Reason for each skipped clip, by media id.
        refused: Those of them whose files can be read: the encoder does not take what they hold.
        absent: Media ids of samples that have no such medium, such as a question without a picture.
    """

    tokens: NDArray[np.floating]
    counts: tuple[int, ...]
    row: dict[str, int]
    windows: tuple[int, ...]
    damaged: dict[str, str]
    refused: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()

    @property
    def width(self) -> int:
        return int(self.tokens.shape[2])

    def select(self, media_ids: Sequence[str], count: int) -> Tensor:
        """The ``count`` tokens of clips, ``[B, count, width]``, float32; zeros for absent ones.

        Raises:
            ValueError: if the store does not hold this token length.
        """
        if count not in self.counts:
            raise ValueError(
                f"the feature store has no {count} tokens of a clip, it has those of "
                f"{', '.join(str(c) for c in self.counts)}"
            )
        start = sum(self.counts[: self.counts.index(count)])
        present = self.present(media_ids)
        rows = [self.row[media_id] for media_id in media_ids if media_id not in self.absent]
        tokens = torch.zeros(len(media_ids), count, self.width)
        tokens[present] = torch.from_numpy(
            self.tokens[rows, start : start + count].astype(np.float32)
        )
        return tokens

    def present(self, media_ids: Sequence[str]) -> Tensor:
        """Which of these samples have the medium at all, bool ``[B]``."""
        return torch.tensor([media_id not in self.absent for media_id in media_ids])

    def mean_windows(self, media_ids: Sequence[str]) -> float:
        """Mean number of the encoder's windows in these clips; an absent one has none."""
        windows = [
            0 if media_id in self.absent else self.windows[self.row[media_id]]
            for media_id in media_ids
        ]
        return float(np.mean(windows))


def open_features(folder: Path) -> FeatureStore:
    """Maps what :func:`.write_features` wrote.

    Raises:
        ValueError: for a damaged folder.
    """
    with reading(folder):
        meta = json.loads((folder / META).read_text())
        tokens = np.load(folder / TOKENS, mmap_mode="r")
    return FeatureStore(
        tokens=tokens,
        counts=tuple(meta["counts"]),
        row={media_id: i for i, media_id in enumerate(meta["windows"])},
        windows=tuple(meta["windows"].values()),
        damaged=meta["damaged"],
        refused=frozenset(meta.get("refused", ())),  # of an earlier version
        absent=frozenset(meta["absent"]),
    )
