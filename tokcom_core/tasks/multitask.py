"""A mixture of instruction tasks, which one system learns and answers at once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..datasets.samples import Samples
from .base import Reference, Task
from .captioning import Captioning
from .catalogue import NamedInstructionTask
from .clevr import Clevr
from .instructions import (
    PRETRAINING,
    TEST,
    TRAIN,
    TUNING,
    VAL,
    InstructionTask,
    picture_bits,
    picture_file,
)
from .reviews import Sst2

_IMAGE_NUMBER = re.compile(r"(?<!\d)\d{12}(?=\.\w+$)|(?<![0-9a-f])[0-9a-f]{16}(?=\.\w+$)")
"""The 12 digits of COCO, or the 16 hexadecimal ones of OpenImages, whose images TextVQA has."""


class Multitask(Task):
    """Several tasks below one data folder; each sample is scored by its own task.

    Groups, official scores and references are those of all tasks. A task may lack a split: MME is
    only tested on, LLaVA's conversations are only trained on. No task trains on an image that
    another one validates or tests on. Samples of all tasks alternate in every split, so that the
    first hundred questions, too, are from all tasks.

    Attributes:
        tasks: The tasks, no two of the same name.
        weights: Weight of each task in ``tuning`` and ``train``, by name; the sizes of these splits
            stay. By default each task weighs as much as it has samples. If weights are given, a
            task without one has no samples in these splits.
    """

    name: Literal["multitask"] = "multitask"
    tasks: tuple[NamedInstructionTask, ...] = Field(
        default=(Clevr(), Sst2(), Captioning()), min_length=1
    )
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default={})

    alignment_split: ClassVar[str | None] = InstructionTask.alignment_split
    splits: ClassVar[tuple[str, ...]] = InstructionTask.splits
    media: ClassVar[tuple[str, ...]] = InstructionTask.media
    texts: ClassVar[tuple[str, ...]] = InstructionTask.texts

    @model_validator(mode="after")
    def _checked(self) -> Self:
        names = [task.name for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"tasks are repeated: {', '.join(names)}; name each once")
        owners: dict[str, str] = {}
        for task in self.tasks:
            if shared := [group for group in task.groups if group in owners]:
                raise ValueError(
                    f"tasks {owners[shared[0]]} and {task.name} share the groups "
                    f"{', '.join(shared)}, so that their scores could not be told apart; give one "
                    "of them groups of its own"
                )
            owners |= dict.fromkeys(task.groups, task.name)
        unknown = set(self.weights) - set(names)
        if unknown:
            raise ValueError(
                f"weights of unknown tasks {', '.join(sorted(unknown))}; take {', '.join(names)}"
            )
        if self.weights and not any(self.weights.values()):
            raise ValueError("weights are all 0; give one task more")
        return self

    @property
    def groups(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(group for task in self.tasks for group in task.groups)

    @property
    def parts(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        return {task.name: task.groups for task in self.tasks}

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(metric for task in self.tasks for metric in task.metrics)

    @property
    def graded(self) -> bool:  # type: ignore[override]
        return any(task.graded for task in self.tasks)

    def samples(self, root: Path, split: str) -> Samples:
        parts = {task.name: task.rows(root, split) for task in self.tasks}
        if split in (PRETRAINING, TUNING, TRAIN):
            held_out = {
                _image_key(name)
                for task in self.tasks
                for other in (VAL, TEST)
                for name in task.rows(root, other).media_id
            }
            parts = {name: _without_images(part, held_out) for name, part in parts.items()}
        if split == PRETRAINING:
            if not any(map(len, parts.values())):
                return self.samples(root, TUNING)
            parts = _without_repeated_images(parts)
        if split in (TUNING, TRAIN) and self.weights:
            parts = _weighted(parts, self.weights)
        if not any(map(len, parts.values())):
            raise ValueError(
                f"no task of {', '.join(parts)} has samples of split {split!r} in {root}; add one "
                "that has some"
            )
        return _joined(parts)

    def identity(self, root: Path) -> str:
        """Hash of the identities of all tasks."""
        identities = "+".join(task.identity(root) for task in self.tasks)
        return f"folder-{hashlib.blake2b(identities.encode(), digest_size=8).hexdigest()}"

    def media_file(self, root: Path, split: str, medium: str, media_id: str) -> Path | None:
        return picture_file(root, media_id)

    def upload_bits(self, root: Path, split: str, media_id: str) -> dict[str, int]:
        return {"image": picture_bits(root, media_id)}

    def references(self, root: Path | None) -> tuple[Reference, ...]:
        return tuple(dict.fromkeys(r for task in self.tasks for r in task.references(root)))

    def scores(
        self, predicted: Sequence[str], samples: Samples, corpus: Samples | None = None
    ) -> list[float]:
        graded = [0.0] * len(samples)
        known = {task.name: task for task in self.tasks}
        for name, rows in _rows_by_task(samples).items():
            whole = None if corpus is None else corpus.take(_rows_by_task(corpus)[name])
            texts = [predicted[row] for row in rows]
            scores = known[name].scores(texts, samples.take(rows), whole)
            for row, score in zip(rows, scores, strict=True):
                graded[row] = score
        return graded

    def measure(
        self, predicted: Sequence[str], samples: Samples, scores: Sequence[float]
    ) -> dict[str, float]:
        measured: dict[str, float] = {}
        for task, rows in self._asked(samples):
            texts, graded = [predicted[row] for row in rows], [scores[row] for row in rows]
            measured |= task.measure(texts, samples.take(rows), graded)
        return measured

    def submission(self, predicted: Sequence[str], samples: Samples) -> Any:
        """The official results files of those tasks that have one, by task."""
        files = {
            task.name: task.submission([predicted[row] for row in rows], samples.take(rows))
            for task, rows in self._asked(samples)
        }
        return {name: file for name, file in files.items() if file is not None} or None

    def _asked(self, samples: Samples) -> list[tuple[InstructionTask, list[int]]]:
        """Each task that was asked, with the rows of its samples."""
        rows_of = _rows_by_task(samples)
        return [(task, rows_of[task.name]) for task in self.tasks if task.name in rows_of]


def _rows_by_task(samples: Samples) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(samples["task"]):
        rows.setdefault(name, []).append(row)
    return rows


def _image_key(media_id: str) -> str:
    """An image's number in COCO or OpenImages, which several paths may have; otherwise its path."""
    number = _IMAGE_NUMBER.search(media_id)
    return media_id if number is None else number[0]


def _without_images(samples: Samples, held_out: Collection[str]) -> Samples:
    names = samples.media_id
    return samples.take([i for i, name in enumerate(names) if _image_key(name) not in held_out])


def _without_repeated_images(parts: Mapping[str, Samples]) -> dict[str, Samples]:
    """Keeps each image in the first task that has it, so that it is described once."""
    seen: set[str] = set()
    kept = {}
    for name, part in parts.items():
        kept[name] = _without_images(part, seen)
        seen.update(map(_image_key, part.media_id))
    return kept


def _weighted(parts: Mapping[str, Samples], weights: Mapping[str, float]) -> dict[str, Samples]:
    """The same number of samples in other proportions; samples are evenly repeated or left out."""
    weight = {name: weights.get(name, 0.0) if len(part) else 0.0 for name, part in parts.items()}
    total, size = sum(weight.values()), sum(map(len, parts.values()))
    weighted = {}
    for name, part in parts.items():
        count = round(size * weight[name] / total) if total else 0
        weighted[name] = part.take([i * len(part) // count for i in range(count)])
    return weighted


def _joined(parts: Mapping[str, Samples]) -> Samples:
    """One table in which the samples of all tasks alternate evenly; ``task`` names their tasks."""
    names = list(dict.fromkeys(column for part in parts.values() for column in part.columns))
    places = [
        ((row + 0.5) / len(part), name, row)
        for name, part in parts.items()
        for row in range(len(part))
    ]
    order = [(name, row) for _, name, row in sorted(places, key=lambda place: place[0])]
    empty = {name: ("",) * len(part) for name, part in parts.items()}
    columns = {c: {n: part.columns.get(c, empty[n]) for n, part in parts.items()} for c in names}
    table = {c: tuple(values[name][row] for name, row in order) for c, values in columns.items()}
    return Samples({**table, "task": tuple(name for name, _ in order)})
