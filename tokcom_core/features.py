"""The feature store: frozen tokens of a data set, computed once, memory-mapped by every trial."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .encoders import MediaEncoder

_BATCH = 32


@dataclass(frozen=True)
class FeatureStore:
    """Tokens ``[clips, kept positions, width]`` (float16, memory-mapped) of one encoder.

    Attributes:
        tokens: the memory-mapped array.
        positions: which of the encoder's token positions were kept, ascending.
        row: row by video id; damaged clips have none.
        damaged: what was skipped, with reasons.
    """

    tokens: NDArray[np.float16]
    positions: NDArray[np.int64]
    row: dict[str, int]
    damaged: tuple[str, ...]

    @property
    def width(self) -> int:
        return int(self.tokens.shape[2])

    def select(self, video_ids: Sequence[str], positions: NDArray[np.int64]) -> Tensor:
        """Tokens ``[B, len(positions), width]``, float32, of clips at encoder positions.

        Raises:
            ValueError: if a position was not kept.
        """
        columns = np.searchsorted(self.positions, positions)
        kept = columns < len(self.positions)
        if not kept.all() or not np.array_equal(self.positions[columns], positions):
            raise ValueError(f"the feature store lacks some of the positions {positions.tolist()}")
        rows = [self.row[video_id] for video_id in video_ids]
        return torch.from_numpy(self.tokens[rows][:, columns].astype(np.float32))


def write_features(
    folder: Path,
    encoder: MediaEncoder,
    root: Path,
    video_ids: Sequence[str],
    positions: NDArray[np.int64],
) -> list[str]:
    """Encodes clips into ``folder``; returns the damaged ones, which are skipped, with reasons.

    Raises:
        ValueError: if no clip can be read.
    """
    kept: list[str] = []
    damaged: list[str] = []
    tokens = np.lib.format.open_memmap(
        folder / "tokens.npy",
        mode="w+",
        dtype=np.float16,
        shape=(len(video_ids), len(positions), encoder.width),
    )
    with (folder / "tokens.npy").open("r+b") as file:  # on a full disk a map would end the process
        os.posix_fallocate(file.fileno(), 0, tokens.offset + tokens.nbytes)
    for start in range(0, len(video_ids), _BATCH):
        clips = []
        names = []
        for video_id in video_ids[start : start + _BATCH]:
            try:
                clips.append(encoder.read(root, video_id))
                names.append(video_id)
            except ValueError as error:
                damaged.append(f"{video_id}: {error}")
        if clips:
            encoded = encoder.encode(clips)[:, torch.from_numpy(positions)]
            tokens[len(kept) : len(kept) + len(names)] = encoded.numpy().astype(np.float16)
            kept += names
    if not kept:
        raise ValueError(
            f"none of the {len(video_ids)} clips below {root} can be read: "
            f"{damaged[0]}; 'tokcom data prepare' extracts them"
        )
    tokens.flush()
    meta = {"positions": positions.tolist(), "video_ids": kept, "damaged": damaged}
    (folder / "meta.json").write_text(json.dumps(meta))
    return damaged


def open_features(folder: Path) -> FeatureStore:
    """Maps what :func:`write_features` wrote."""
    meta = json.loads((folder / "meta.json").read_text())
    return FeatureStore(
        tokens=np.load(folder / "tokens.npy", mmap_mode="r"),
        positions=np.asarray(meta["positions"], dtype=np.int64),
        row={video_id: i for i, video_id in enumerate(meta["video_ids"])},
        damaged=tuple(meta["damaged"]),
    )
