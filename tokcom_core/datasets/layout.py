"""Layout of a data set's files: MUSIC-AVQA's and VALOR's own folders.

::

    ROOT/annotation/{avqa,desc}...json
    ROOT/video/ID.mp4
    ROOT/extraction/ast_audio/ID.wav
    ROOT/extraction/vivit_frames/ID/frame_0001.png (or .jpg)
    ROOT/extraction/sampling.json (which frames they are, if tokcom has extracted them)
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

MUSIC_AVQA = "MUSIC-AVQA"
VALOR = "VALOR"
SAMPLE_RATE_HZ = 16_000
"""Sampling rate of the mono sound in the .wav files."""
MIN_SAMPLES = 400
"""Length of the shortest sound that can be encoded: one frame of AST's filter bank, 25 ms."""

FrameChoice = Literal["even", "first"]
"""Frames of a clip that an encoder sees: evenly spaced ones, or the first."""

_SEPARATOR = {"avqa": "-", "desc": "_"}


def annotation_file(root: Path, kind: str, split: str) -> Path:
    """The annotations of one kind: ``avqa`` (questions) or ``desc`` (captions)."""
    return root / "annotation" / f"{kind}{_SEPARATOR[kind]}{split}.json"


def video_file(root: Path, video_id: str) -> Path:
    return root / "video" / f"{video_id}.mp4"


def sound_file(root: Path, video_id: str) -> Path:
    return root / "extraction" / "ast_audio" / f"{video_id}.wav"


def frames_folder(root: Path, video_id: str) -> Path:
    return root / "extraction" / "vivit_frames" / video_id


def sampling_file(root: Path) -> Path:
    return root / "extraction" / "sampling.json"


def frame_files(folder: Path) -> list[Path]:
    """The frames of a clip in their order, ``.png`` or ``.jpg``; no two of the same number."""
    files = (file for kind in ("jpg", "png") for file in folder.glob(f"frame_*.{kind}"))
    by_number = {file.stem: file for file in files}
    return [by_number[stem] for stem in sorted(by_number, key=lambda stem: (len(stem), stem))]
