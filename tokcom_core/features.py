"""The feature store: slid tokens of a data set, computed once, memory-mapped by every trial."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from .encoders import ENCODER_BATCH, MediaEncoder
from .slide import Rounding, slide

FeatureDtype = Literal["float16", "float32"]


@dataclass(frozen=True)
class FeatureStore:
    """Slid tokens of one encoder, memory-mapped.

    Attributes:
        tokens: ``[clips, sum(counts), width]``: of each clip the tokens of every token length, one
            length after the other.
        counts: the token lengths s that were slid to, ascending.
        row: row by video id; damaged clips have none.
        windows: of the encoder, by row.
        damaged: what was skipped, and why, by video id.
    """

    tokens: NDArray[np.floating]
    counts: tuple[int, ...]
    row: dict[str, int]
    windows: tuple[int, ...]
    damaged: dict[str, str]

    @property
    def width(self) -> int:
        return int(self.tokens.shape[2])

    def select(self, video_ids: Sequence[str], count: int) -> Tensor:
        """The ``count`` slid tokens of clips, ``[B, count, width]``, float32.

        Raises:
            ValueError: if the store was not slid to this many.
        """
        if count not in self.counts:
            raise ValueError(
                f"the feature store has no {count} tokens of a clip, it has those of "
                f"{', '.join(str(c) for c in self.counts)}"
            )
        start = sum(self.counts[: self.counts.index(count)])
        rows = [self.row[video_id] for video_id in video_ids]
        return torch.from_numpy(self.tokens[rows, start : start + count].astype(np.float32))

    def mean_windows(self, video_ids: Sequence[str]) -> float:
        """Windows of the encoder in a clip, the mean over these."""
        return float(np.mean([self.windows[self.row[video_id]] for video_id in video_ids]))


@dataclass(frozen=True)
class Sliding:
    """How clips are slid, eq. (3), and stored.

    Attributes:
        counts: token lengths s, ascending.
        with_summary: whether the summary tokens of each window take part.
        rounding: of the positions.
        dtype: of the stored tokens.
    """

    counts: tuple[int, ...]
    with_summary: bool = False
    rounding: Rounding = "nearest"
    dtype: FeatureDtype = "float16"

    def slid(self, tokens: Tensor, summary_tokens: int) -> Tensor:
        """Of all windows' tokens ``[windows, length, width]``, ``[sum(counts), width]``.

        Raises:
            ValueError: if a clip has fewer tokens than one of the counts.
        """
        skipped = 0 if self.with_summary else summary_tokens
        pool = tokens[:, skipped:].flatten(0, 1)
        chosen = [slide(len(pool), count, self.rounding) for count in self.counts]
        return pool[torch.from_numpy(np.concatenate(chosen))]


def write_features(
    folder: Path, encoder: MediaEncoder, root: Path, video_ids: Sequence[str], sliding: Sliding
) -> dict[str, str]:
    """Encodes clips into ``folder``; returns the damaged ones, which are skipped, with reasons.

    Raises:
        ValueError: if no clip can be read, or a token is too large for the store's precision.
    """
    windows: dict[str, int] = {}
    damaged: dict[str, str] = {}
    stored = np.lib.format.open_memmap(
        folder / "tokens.npy",
        mode="w+",
        dtype=np.dtype(sliding.dtype),
        shape=(len(video_ids), sum(sliding.counts), encoder.width),
    )
    with (folder / "tokens.npy").open("r+b") as file:  # on a full disk a map would end the process
        os.posix_fallocate(file.fileno(), 0, stored.offset + stored.nbytes)
    for batch in _batches(encoder, root, video_ids, damaged):
        for video_id, tokens in zip(batch, encoder.encode(list(batch.values())), strict=True):
            try:
                slid = sliding.slid(_finite(tokens), encoder.summary_tokens)
            except ValueError as error:
                damaged[video_id] = str(error)
                continue
            stored[len(windows)] = _rounded(slid, stored.dtype, video_id)
            windows[video_id] = len(tokens)
    if not windows:
        name, reason = next(iter(damaged.items()), ("it", "there is no clip"))
        raise ValueError(
            f"none of the {len(video_ids)} clips below {root} can be encoded: {name}: {reason}; "
            "'tokcom data prepare' extracts them"
        )
    stored.flush()
    meta = {"counts": sliding.counts, "windows": windows, "damaged": damaged}
    (folder / "meta.json").write_text(json.dumps(meta))
    return damaged


def _batches(
    encoder: MediaEncoder, root: Path, video_ids: Sequence[str], damaged: dict[str, str]
) -> Iterator[dict[str, Tensor]]:
    """What can be read, by video id, as much as the encoder takes at once; notes the damaged."""
    batch: dict[str, Tensor] = {}
    for video_id in video_ids:
        try:
            batch[video_id] = encoder.read(root, video_id)
        except ValueError as error:
            damaged[video_id] = str(error)
        if sum(len(clip) for clip in batch.values()) >= ENCODER_BATCH:
            yield batch
            batch = {}
    if batch:
        yield batch


def _finite(tokens: Tensor) -> Tensor:
    if not bool(torch.isfinite(tokens).all()):
        raise ValueError("the encoder makes tokens of it that are not finite")
    return tokens


def _rounded(tokens: Tensor, dtype: DTypeLike, video_id: str) -> NDArray[np.floating]:
    with np.errstate(over="ignore"):
        rounded = tokens.numpy().astype(dtype)
    if not np.isfinite(rounded).all():
        raise ValueError(
            f"clip {video_id}: a token's feature of {float(tokens.abs().max()):.3g} is beyond "
            "float16; take models.feature_dtype: float32"
        )
    return rounded


def open_features(folder: Path) -> FeatureStore:
    """Maps what :func:`write_features` wrote."""
    meta = json.loads((folder / "meta.json").read_text())
    return FeatureStore(
        tokens=np.load(folder / "tokens.npy", mmap_mode="r"),
        counts=tuple(meta["counts"]),
        row={video_id: i for i, video_id in enumerate(meta["windows"])},
        windows=tuple(meta["windows"].values()),
        damaged=meta["damaged"],
    )
