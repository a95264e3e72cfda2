"""Why token length matters: what s evenly spaced tokens cover, and what can be read from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...datasets.layout import MUSIC_AVQA, frames_folder, sound_file
from ...datasets.minimusic.labels import (
    MEL_BINS,
    PATCH,
    SPECTROGRAM_FRAMES,
    Labels,
    audio_labels,
    vision_labels,
)
from ...datasets.minimusic.scene import BEATS, COLUMNS, INSTANTS, ROWS
from ...datasets.minimusic.write import plan_clips
from ...encoders import Ast, MediaEncoder, Vivit
from ...slide import slide

TOKEN_COUNTS = (2, 4, 8, 16, 24, 32, 48)
_PLACES = len(ROWS) * len(COLUMNS)
_BANDS, _TIMES = MEL_BINS // PATCH, SPECTROGRAM_FRAMES // PATCH
_RIDGE = 1.0
_BATCH = 64
_PROBE_CLIPS = 400


@dataclass(frozen=True)
class Coverage:
    """What ``tokens`` evenly spaced tokens of an encoder cover.

    Attributes:
        places: Share of the nine places that some vision token looks at.
        appearances: Share of the possible appearances of an instrument for just half of the clip
            that some vision token sees.
        beats: Share of the eight beats that some audio token hears.
    """

    tokens: int
    places: float
    appearances: float
    beats: float


def coverage(counts: Sequence[int] = TOKEN_COUNTS) -> list[Coverage]:
    """Coverage of the pocket encoders' grids, from geometry alone."""
    window = (INSTANTS + 1) // 2
    found = []
    for count in counts:
        vision = torch.from_numpy(slide(_PLACES * INSTANTS, count))
        seen = torch.zeros(_PLACES, INSTANTS, dtype=torch.bool)
        seen[vision % _PLACES, vision // _PLACES] = True
        met = seen.unfold(1, window, 1).any(-1).float().mean()
        received = slide(_BANDS * _TIMES, min(count, _BANDS * _TIMES)) % _TIMES
        beats = set(((received + 0.5) / _TIMES * BEATS).astype(int).tolist())
        found.append(
            Coverage(count, float(seen.any(1).float().mean()), float(met), len(beats) / BEATS)
        )
    return found


def readout(root: Path, counts: Sequence[int] = TOKEN_COUNTS) -> dict[str, list[float]]:
    """The share of test sources that linear probes read from s tokens that the slide picks.

    The probes map one token to the instrument that it shows and to an attribute of it (ridge
    regression on training clips). A source counts as read if some picked token tells both
    correctly.

    Args:
        root: A prepared MiniMUSIC folder.
        counts: Token lengths s.

    Returns:
        By attribute, the share for each of ``counts``.

    Raises:
        ValueError: if ``root`` is not a prepared MiniMUSIC.
    """
    mark = root / "minimusic.json"
    if not mark.is_file():
        raise ValueError(f"no MiniMUSIC in {root}; 'tokcom data minimusic {root}' makes one")
    plans = [p for p in plan_clips(**json.loads(mark.read_text())) if p.dataset == MUSIC_AVQA]
    train = [p for p in plans if p.split == "train"][:_PROBE_CLIPS]
    test = [p for p in plans if p.split == "test"]
    found: dict[str, list[float]] = {}
    for encoder, file, label in (
        (Vivit().build(), frames_folder, vision_labels),
        (Ast().build(), sound_file, audio_labels),
    ):
        files = [[file(root / p.dataset, p.video_id) for p in part] for part in (train, test)]
        fit_on, read_from = (_patches(encoder, part) for part in files)
        truth_train, truth = (label([p.scene for p in part]) for part in (train, test))
        read = {name: _probe(fit_on, truth_train.dense[name], read_from) for name in truth.dense}
        for name in truth.dense:
            if name != "instrument":
                found[name] = [_share_read(read, truth, name, count) for count in counts]
    return found


def _patches(encoder: MediaEncoder, files: list[Path]) -> Tensor:
    """Tokens ``[clips, patches, width]`` without the summary tokens."""
    blocks = []
    for start in range(0, len(files), _BATCH):
        clips = [encoder.read(file) for file in files[start : start + _BATCH]]
        blocks += [tokens[:, encoder.summary_tokens :] for tokens in encoder.encode(clips)]
    return torch.cat(blocks)


def _probe(fit_on: Tensor, labels: Tensor, read_from: Tensor) -> Tensor:
    """Classes ``[clips, patches]`` of ``read_from`` by one-hot ridge regression."""
    x = F.pad(fit_on.flatten(0, 1), (0, 1), value=1.0).double()
    y = F.one_hot(labels.flatten()).double()
    gram = x.T @ x + _RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, x.T @ y)
    scores: Tensor = F.pad(read_from, (0, 1), value=1.0).double() @ weights
    return scores.argmax(-1)


def _share_read(read: dict[str, Tensor], truth: Labels, name: str, count: int) -> float:
    length = truth.dense[name].shape[1]
    chosen = torch.from_numpy(slide(length, min(count, length)))
    right = (read["instrument"] == truth.dense["instrument"]) & (read[name] == truth.dense[name])
    sources = told = 0
    for instrument in range(1, truth.tags.shape[1] + 1):
        present = truth.dense["instrument"] == instrument
        sources += int(present.any(1).sum())
        told += int((present & right)[:, chosen].any(1).sum())
    return told / sources
