"""Samples of one split, in one table that every device and the base station read alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .annotations import QUESTION_TYPES, read_music_avqa, read_valor
from .layout import MUSIC_AVQA, VALOR, annotation_file

_COLUMNS = ("video_id", "question_id", "caption", "question", "answer", "question_type", "template")


def type_name(kind: tuple[str, str]) -> str:
    """``("Audio-Visual", "Counting")`` as it stands in column names: ``audio_visual_counting``."""
    return "_".join(kind).replace("-", "_").lower()


QUESTION_TYPE_NAMES = tuple(type_name(kind) for kind in QUESTION_TYPES)


@dataclass(frozen=True)
class Samples:
    """Columns of equal length; texts that a data set lacks are empty.

    A sample of the alignment stage is a clip with its caption; one of the task stage is a question
    about a clip, whose caption is known in MiniMUSIC only. ``question_id`` is the data set's own.
    """

    video_id: tuple[str, ...]
    question_id: tuple[str, ...]
    caption: tuple[str, ...]
    question: tuple[str, ...]
    answer: tuple[str, ...]
    question_type: tuple[str, ...]
    template: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.video_id)

    def keep(self, video_ids: Iterable[str]) -> Samples:
        """Only the samples of these clips."""
        frame = self._frame()
        return _from_frame(frame[frame["video_id"].isin(set(video_ids))])

    def take(self, rows: Sequence[int]) -> Samples:
        """The samples of these rows, in this order."""
        return _from_frame(self._frame().iloc[list(rows)])

    def write(self, file: Path) -> None:
        self._frame().to_parquet(file)

    def _frame(self) -> pd.DataFrame:
        return pd.DataFrame({name: list(getattr(self, name)) for name in _COLUMNS}, dtype=str)


def read_samples(file: Path) -> Samples:
    """Reads what :meth:`Samples.write` wrote."""
    return _from_frame(pd.read_parquet(file))


def _from_frame(frame: pd.DataFrame) -> Samples:
    return Samples(*(tuple(frame[name].astype(str)) for name in _COLUMNS))


def load_alignment_samples(root: Path, split: str) -> Samples:
    """The captioned clips of VALOR below ``root``.

    Raises:
        ValueError: if the annotation file is missing or damaged.
    """
    captions = read_valor(annotation_file(root / VALOR, "desc", split))
    empty = ("",) * len(captions)
    return Samples(tuple(captions), empty, tuple(captions.values()), empty, empty, empty, empty)


def load_task_samples(root: Path, split: str) -> Samples:
    """The questions of MUSIC-AVQA below ``root``, with captions where there are any.

    Raises:
        ValueError: if the annotation file is missing or damaged.
    """
    questions = read_music_avqa(annotation_file(root / MUSIC_AVQA, "avqa", split))
    described = annotation_file(root / MUSIC_AVQA, "desc", split)
    captions = read_valor(described) if described.exists() else {}
    return Samples(
        video_id=tuple(q.video_id for q in questions),
        question_id=tuple(str(q.question_id) for q in questions),
        caption=tuple(captions.get(q.video_id, "") for q in questions),
        question=tuple(q.text for q in questions),
        answer=tuple(q.answer for q in questions),
        question_type=tuple(type_name(q.type) for q in questions),
        template=tuple(q.template for q in questions),
    )


def majority_accuracy(train: Samples, test: Samples) -> float:
    """Accuracy of answering each template with its most frequent training answer."""
    answers = pd.DataFrame({"template": train.template, "answer": train.answer})
    best = answers.groupby("template")["answer"].agg(lambda a: a.value_counts().index[0])
    guesses = pd.Series(test.template).map(best)
    return float((guesses == pd.Series(test.answer)).mean())
