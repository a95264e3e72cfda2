"""Audio-visual question answering on MUSIC-AVQA, with VALOR's captions to align on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from ..datasets.annotations import QUESTION_TYPES, read_music_avqa, read_valor
from ..datasets.layout import (
    MUSIC_AVQA,
    VALOR,
    annotation_file,
    frames_folder,
    sampling_file,
    sound_file,
    video_file,
)
from ..datasets.samples import Samples
from .base import Reference, Task

ALIGN = "align"
"""The split of captioned clips."""

_MEDIA_FILE = {"audio": sound_file, "vision": frames_folder}

BLIND = Reference(
    name="blind",
    summary="the question alone, intact",
    texts=("question",),
    bound="lower",
)
TEXT_ORACLE = Reference(
    name="text-oracle",
    summary="caption and question as words, intact",
    texts=("caption", "question"),
    bound="upper",
)


def type_name(kind: tuple[str, str]) -> str:
    """Column name of a type: ``audio_visual_counting`` of ``("Audio-Visual", "Counting")``."""
    return "_".join(kind).replace("-", "_").lower()


class Avqa(Task):
    """Questions about clips with sound; ``align`` holds captioned clips of another data set."""

    name: Literal["avqa"] = "avqa"

    alignment_split: ClassVar[str | None] = ALIGN
    splits: ClassVar[tuple[str, ...]] = (ALIGN, "train", "val", "test")
    media: ClassVar[tuple[str, ...]] = ("audio", "vision")
    texts: ClassVar[tuple[str, ...]] = ("caption", "question")
    groups: ClassVar[tuple[str, ...]] = tuple(type_name(kind) for kind in QUESTION_TYPES)
    prior: ClassVar[str] = "template"

    def dataset(self, split: str) -> str:
        return VALOR if split == ALIGN else MUSIC_AVQA

    def samples(self, root: Path, split: str) -> Samples:
        return _captions(root) if split == ALIGN else _questions(root, split)

    def annotation_files(self, root: Path) -> Sequence[Path]:
        questions = [annotation_file(root / MUSIC_AVQA, "avqa", s) for s in self.splits[1:]]
        return [annotation_file(root / VALOR, "desc", "train"), *questions]

    def identity(self, root: Path) -> str:
        """Hash of the annotations, of captions if there are any, and of how frames were sampled."""
        if not root.is_dir():
            raise ValueError(
                f"no data folder {root}; make one with MUSIC-AVQA and VALOR in it "
                f"(docs/own_data.md), or a MiniMUSIC: tokcom data minimusic {root}"
            )
        hashed = hashlib.blake2b(digest_size=8)
        for file in self.annotation_files(root):
            if not file.is_file():
                raise ValueError(f"no annotation file {file}")
            hashed.update(file.read_bytes())
        for split in self.splits[1:]:
            captions = annotation_file(root / MUSIC_AVQA, "desc", split)
            hashed.update(captions.read_bytes() if captions.is_file() else b"")
        for mark in (sampling_file(root / name) for name in (VALOR, MUSIC_AVQA)):
            hashed.update(mark.read_bytes() if mark.is_file() else b"")
        return f"folder-{hashed.hexdigest()}"

    def media_file(self, root: Path, split: str, medium: str, media_id: str) -> Path:
        return _MEDIA_FILE[medium](root / self.dataset(split), media_id)

    def recording_file(self, root: Path, split: str, media_id: str) -> Path:
        return video_file(root / self.dataset(split), media_id)

    def upload_bits(self, root: Path, split: str, media_id: str) -> dict[str, int]:
        from ..datasets.video import track_bits

        return track_bits(self.recording_file(root, split, media_id))

    def references(self, root: Path | None) -> tuple[Reference, ...]:
        """The references; no text oracle if the task's clips have no captions."""
        if root is None or all(
            annotation_file(root / MUSIC_AVQA, "desc", split).is_file() for split in self.splits[1:]
        ):
            return (BLIND, TEXT_ORACLE)
        return (BLIND,)


def _captions(root: Path) -> Samples:
    """The captioned clips of VALOR."""
    captions = read_valor(annotation_file(root / VALOR, "desc", "train"))
    empty = ("",) * len(captions)
    return Samples(
        {
            "media_id": tuple(captions),
            "sample_id": empty,
            "caption": tuple(captions.values()),
            **dict.fromkeys(("question", "answer", "group", "template"), empty),
        }
    )


def _questions(root: Path, split: str) -> Samples:
    """The questions of MUSIC-AVQA, with captions if there are any."""
    questions = read_music_avqa(annotation_file(root / MUSIC_AVQA, "avqa", split))
    described = annotation_file(root / MUSIC_AVQA, "desc", split)
    captions = read_valor(described) if described.exists() else {}
    return Samples(
        {
            "media_id": tuple(q.video_id for q in questions),
            "sample_id": tuple(str(q.question_id) for q in questions),
            "caption": tuple(captions.get(q.video_id, "") for q in questions),
            "question": tuple(q.text for q in questions),
            "answer": tuple(q.answer for q in questions),
            "group": tuple(type_name(q.type) for q in questions),
            "template": tuple(q.template for q in questions),
        }
    )
