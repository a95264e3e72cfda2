"""What each token of an encoder should tell about a scene: the truth at its place or time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import scene
from .scene import Scene

MEL_BINS, SPECTROGRAM_FRAMES, PATCH = 32, 400, 16
"""The pocket AST's spectrogram, and the side of its square patches."""
SPECTROGRAM_FRAMES_PER_SECOND = 100


@dataclass(frozen=True)
class Labels:
    """What the tokens of a clip should tell.

    ``dense``: by attribute, ``[clips, patches]`` with 0 for nothing there; ``tags``:
    ``[clips, instruments]``, 1.0 for those in the clip.
    """

    dense: dict[str, Tensor]
    tags: Tensor

    def rows(self, index: Tensor) -> Labels:
        return Labels({k: v[index] for k, v in self.dense.items()}, self.tags[index])


def vision_labels(scenes: list[Scene]) -> Labels:
    """Instrument, row and column of what each tubelet shows."""
    places = len(scene.ROWS) * len(scene.COLUMNS)
    shape = (len(scenes), scene.INSTANTS, places)
    dense = {name: np.zeros(shape, dtype=np.int64) for name in ("instrument", "row", "column")}
    tags = np.zeros((len(scenes), len(scene.INSTRUMENTS)), dtype=np.float32)
    for i, drawn in enumerate(scenes):
        for source in drawn.visible:
            assert source.row is not None and source.column is not None
            at = (
                i,
                slice(source.visible_from, source.visible_until),
                source.row * len(scene.COLUMNS) + source.column,
            )
            dense["instrument"][at] = 1 + source.instrument
            dense["row"][at] = 1 + source.row
            dense["column"][at] = 1 + source.column
            tags[i, source.instrument] = 1
    return _labels(dense, tags)


def audio_labels(scenes: list[Scene]) -> Labels:
    """Instrument, loudness and order of what sounds in the middle of each spectrogram patch."""
    bands, times = MEL_BINS // PATCH, SPECTROGRAM_FRAMES // PATCH
    seconds = (np.arange(times) + 0.5) * PATCH / SPECTROGRAM_FRAMES_PER_SECOND
    beat_of = np.minimum(seconds / scene.CLIP_SECONDS * scene.BEATS, scene.BEATS - 1).astype(int)
    shape = (len(scenes), bands, times)
    dense = {name: np.zeros(shape, dtype=np.int64) for name in ("instrument", "loudness", "order")}
    tags = np.zeros((len(scenes), len(scene.INSTRUMENTS)), dtype=np.float32)
    for i, drawn in enumerate(scenes):
        for order, source in enumerate(drawn.sounding):
            assert source.loudness is not None
            at = (i, slice(None), beat_of == source.beat)
            dense["instrument"][at] = 1 + source.instrument
            dense["loudness"][at] = 1 + source.loudness
            dense["order"][at] = 1 + order
            tags[i, source.instrument] = 1
    return _labels(dense, tags)


def _labels(dense: dict[str, NDArray[np.int64]], tags: NDArray[np.float32]) -> Labels:
    flat = {k: torch.from_numpy(v.reshape(len(v), -1)) for k, v in dense.items()}
    return Labels(flat, torch.from_numpy(tags))
