"""Reads the annotation files of MUSIC-AVQA and VALOR; MiniMUSIC writes the same formats."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .tables import read_objects

_PLACEHOLDER = re.compile(r"<[A-Za-z]+>")
_NOT_DELETED = (None, 0, "0", "")

QUESTION_TYPES: tuple[tuple[str, str], ...] = (
    ("Audio", "Counting"),
    ("Audio", "Comparative"),
    ("Visual", "Counting"),
    ("Visual", "Location"),
    ("Audio-Visual", "Existential"),
    ("Audio-Visual", "Counting"),
    ("Audio-Visual", "Location"),
    ("Audio-Visual", "Comparative"),
    ("Audio-Visual", "Temporal"),
)
"""The nine question types of MUSIC-AVQA."""


@dataclass(frozen=True)
class Question:
    """One question with its placeholders filled; ``template`` keeps them unfilled."""

    video_id: str
    question_id: int
    type: tuple[str, str]
    template: str
    text: str
    answer: str


def fill(template: str, values: list[str]) -> str:
    """Fills the placeholders of ``template`` from left to right.

    Raises:
        ValueError: if the number of values differs from the number of placeholders.
    """
    placeholders = len(_PLACEHOLDER.findall(template))
    if placeholders != len(values):
        raise ValueError(
            f"{template!r} has {placeholders} placeholders, but {len(values)} values {values}"
        )
    remaining = iter(values)
    return _PLACEHOLDER.sub(lambda _: next(remaining).replace("_", " "), template).strip()


def read_music_avqa(file: Path) -> list[Question]:
    """Reads one ``avqa-*.json``; questions marked as deleted are left out.

    Raises:
        ValueError: if the file is missing, damaged or not of this form.
    """
    return [
        _question(file, row)
        for row in _read_rows(file)
        if row.get("question_deleted") in _NOT_DELETED
    ]


def read_valor(file: Path) -> dict[str, str]:
    """Reads one ``desc_*.json``: caption by video id.

    Raises:
        ValueError: if the file is missing, damaged or not of this form.
    """
    rows = _read_rows(file)
    try:
        captions = {str(row["video_id"]): str(row["desc"]) for row in rows}
    except KeyError as error:
        raise ValueError(f"{file}: an entry lacks the field {error}") from None
    if len(captions) < len(rows):
        ids = Counter(str(row["video_id"]) for row in rows)
        repeated = next(name for name, count in ids.items() if count > 1)
        raise ValueError(f"{file}: clip {repeated} has {ids[repeated]} captions; keep one of them")
    return captions


def _read_rows(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        raise ValueError(f"no annotation file {file}; docs/minimusic.md shows the folder")
    return read_objects(file)


def _question(file: Path, row: dict[str, Any]) -> Question:
    try:
        first, second = json.loads(row["type"])
        if (first, second) not in QUESTION_TYPES:
            raise ValueError(f"type {row['type']} is not one of {list(QUESTION_TYPES)}")
        template = str(row["question_content"])
        return Question(
            video_id=str(row["video_id"]),
            question_id=int(row["question_id"]),
            type=(first, second),
            template=template.strip(),
            text=fill(template, [str(value) for value in json.loads(row["templ_values"])]),
            answer=str(row["anser"]).replace("_", " ").strip(),  # sic: the data set's own spelling
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: question {row.get('question_id')}: {error!r}") from None
