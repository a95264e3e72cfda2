"""Where a data set keeps its files: MUSIC-AVQA's and VALOR's own folders.

::

    ROOT/annotation/{avqa,desc}...json
    ROOT/video/ID.mp4
    ROOT/extraction/ast_audio/ID.wav
    ROOT/extraction/vivit_frames/ID/frame_0001.png
"""

from __future__ import annotations

from pathlib import Path

MUSIC_AVQA = "MUSIC-AVQA"
VALOR = "VALOR"

_SEPARATOR = {"avqa": "-", "desc": "_"}


def annotation_file(root: Path, kind: str, split: str) -> Path:
    """``kind`` is ``avqa`` (questions) or ``desc`` (captions)."""
    return root / "annotation" / f"{kind}{_SEPARATOR[kind]}{split}.json"


def video_file(root: Path, video_id: str) -> Path:
    return root / "video" / f"{video_id}.mp4"


def sound_file(root: Path, video_id: str) -> Path:
    return root / "extraction" / "ast_audio" / f"{video_id}.wav"


def frames_folder(root: Path, video_id: str) -> Path:
    return root / "extraction" / "vivit_frames" / video_id
