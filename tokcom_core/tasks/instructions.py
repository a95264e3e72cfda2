"""The base of all tasks that are told in words: images, texts, questions, instructions.

A data set has published training and test examples (:meth:`InstructionTask.examples`), from which
the splits follow. Answers of published test sets are not public, so ``test`` is the published
validation set, ``val`` the last tenth of the training images, and ``train`` all others. The two
splits of instruction tuning come from ``train``. Their samples are conversations: ``pretraining``
has an image and its caption, ``tuning`` several questions about one image, as turns.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from ..datasets.kept import KeptRows
from ..datasets.samples import Samples
from .base import Reference, Task
from .templates import Kind, Templates, instruct

PRETRAINING, TUNING, TRAIN, VAL, TEST = "pretraining", "tuning", "train", "val", "test"
Published = Literal["train", "test"]
"""Part of a data set as it is published: the one to train on, or the one to test on."""


def _only_split(pattern: str) -> str:
    try:
        pattern.format(split=TRAIN)
    except (ValueError, LookupError, AttributeError):
        raise ValueError(
            f"{pattern!r} should be a path whose only placeholder is {{split}}"
        ) from None
    return pattern


SplitPath = Annotated[str, AfterValidator(_only_split)]
"""A path below the data folder in which ``{split}`` stands for the published split."""

COLUMNS = (
    *("sample_id", "media_id", "group", "answer"),
    *("question", "instruction", "caption", "conversation"),
)
_TEXT_ONLY = "text:"

BLIND = Reference(
    name="blind",
    summary="the instruction alone, intact",
    texts=("instruction",),
    bound="lower",
)
TEXT_ORACLE = Reference(
    name="text-oracle",
    summary="caption and instruction as words, intact",
    texts=("caption", "instruction"),
    bound="upper",
)


def text_only(name: str) -> str:
    """The ``media_id`` of a sample that has no image."""
    return f"{_TEXT_ONLY}{name}"


def picture_file(root: Path, media_id: str) -> Path | None:
    """The picture of a sample, whichever task it is of; None if it has none."""
    return None if media_id.startswith(_TEXT_ONLY) else root / media_id


def picture_bits(root: Path, media_id: str) -> int:
    """Bits of a picture's file; 0 if there is none.

    Raises:
        ValueError: if it cannot be read.
    """
    file = picture_file(root, media_id)
    try:
        return 0 if file is None else 8 * file.stat().st_size
    except OSError as error:
        raise ValueError(f"{file} cannot be uploaded as a file: {error}") from None


@dataclass(frozen=True)
class Example:
    """One question about an image or a text, as a data set has it.

    Attributes:
        sample_id: Number or name that the data set gives it.
        media_id: Path of the picture below the data folder, or what :func:`text_only` returns.
        question: What is asked.
        answer: The true answer, or the most frequent one.
        group: Kind of question.
        caption: Description of the image, if there is one.
        turns: Later questions and answers of a conversation that is published as one.
        more: Further columns of the samples, which the score needs.
    """

    sample_id: str
    media_id: str
    question: str
    answer: str
    group: str
    caption: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)


_KEPT: KeptRows[Example] = KeptRows(max_rows=1_000_000)
"""Examples of the tasks that were read last; a million take about 1 GB."""


class InstructionTask(Task):
    """A task whose device holds an image (or none) and an instruction.

    Attributes:
        templates: Words around a question: ``short``, or those of the TaiChi paper, Section V-A.
        turns: Maximum number of questions about one image that a conversation has.
    """

    templates: Templates = "short"
    turns: int = Field(default=4, ge=1)

    kind: ClassVar[Kind] = "question"
    alignment_split: ClassVar[str | None] = PRETRAINING
    splits: ClassVar[tuple[str, ...]] = (PRETRAINING, TUNING, TRAIN, VAL, TEST)
    media: ClassVar[tuple[str, ...]] = ("image",)
    texts: ClassVar[tuple[str, ...]] = ("caption", "instruction")

    @abstractmethod
    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        """The examples of a part of the data below ``root``; none if it is not published.

        They are kept, and read again if one of :meth:`annotation_files` has changed.

        Raises:
            ValueError: for a file that is missing or damaged.
        """

    @abstractmethod
    def annotation_files(self, root: Path) -> Sequence[Path]:
        """The files that the samples are read from."""

    def samples(self, root: Path, split: str) -> Samples:
        """The samples of a split; without captions, ``pretraining`` is the same as ``tuning``."""
        samples = self.rows(root, split)
        if split == PRETRAINING and not len(samples):
            samples = self.rows(root, TUNING)
        if not len(samples):
            raise ValueError(
                f"task {self.name} has no samples of split {split!r} in {root}; put it into task "
                "multitask, beside a task that has some"
            )
        return samples

    def rows(self, root: Path, split: str) -> Samples:
        """The samples of a split, of which there may be none."""
        if split == TEST:
            return self._questions(self._examples(root, "test"))
        train, validation = _last_tenth(self._examples(root, "train"))
        if split == PRETRAINING:
            return self._captions(train)
        if split == TUNING:
            return self._conversations(train)
        return self._questions(train if split == TRAIN else validation)

    def identity(self, root: Path) -> str:
        """Hash of the annotations' names and contents."""
        if not root.is_dir():
            raise ValueError(f"no data folder {root}; put the published files of {self.name} there")
        hashed = hashlib.blake2b(digest_size=8)
        for file in self.annotation_files(root):
            if not file.is_relative_to(root):
                raise ValueError(
                    f"{file} is not in {root}; task {self.name} takes paths below its data folder"
                )
            if not file.is_file():
                raise ValueError(
                    f"no annotation file {file}; task {self.name} reads the published layout"
                )
            hashed.update(file.relative_to(root).as_posix().encode() + b"\0")
            with file.open("rb") as opened:
                hashed.update(hashlib.file_digest(opened, "blake2b").digest())
        return f"folder-{hashed.hexdigest()}"

    def media_file(self, root: Path, split: str, medium: str, media_id: str) -> Path | None:
        return picture_file(root, media_id)

    def upload_bits(self, root: Path, split: str, media_id: str) -> dict[str, int]:
        return {"image": picture_bits(root, media_id)}

    def references(self, root: Path | None) -> tuple[Reference, ...]:
        """The references; no text oracle if no test image has a caption."""
        if root is None or self.has_captions(root):
            return (BLIND, TEXT_ORACLE)
        return (BLIND,)

    def has_captions(self, root: Path) -> bool:
        """Whether a test image has a caption.

        The plan of a study calls this often, so a task with many questions should know the answer
        without reading them.
        """
        return any(example.caption for example in self._examples(root, "test"))

    def instruction(self, question: str) -> str:
        """What the model is told: the question within its template."""
        return instruct(self.kind, question, self.templates)

    def _examples(self, root: Path, part: Published) -> Sequence[Example]:
        """The examples of a part, kept for as long as the annotations stay as they are."""
        read = partial(self.examples, root, part)
        try:
            files = self.annotation_files(root)
        except ValueError:  # none are found, of this part or of the other
            return read()
        return _KEPT.rows((type(self), self.model_dump_json(), root, part), files, read)

    def _questions(self, examples: Sequence[Example]) -> Samples:
        return _table([self._row(e, self.instruction(e.question), []) for e in examples])

    def _captions(self, train: Sequence[Example]) -> Samples:
        """The description of each image that has one."""
        ask = instruct("caption", "", self.templates)
        described = {e.media_id: e for e in train if e.caption}.values()
        captions = [replace(e, question="", answer=e.caption) for e in described]
        return _table([self._row(e, ask, [(ask, e.caption)]) for e in captions])

    def _conversations(self, train: Sequence[Example]) -> Samples:
        """Conversations whose turns are questions about one image."""
        rows = []
        for examples in self._grouped(train):
            first = examples[0]
            turns = [(e.question, e.answer) for e in examples] + list(first.turns)
            conversation = [(self.instruction(question), answer) for question, answer in turns]
            rows.append(self._row(first, conversation[0][0], conversation))
        return _table(rows)

    def _grouped(self, examples: Iterable[Example]) -> list[list[Example]]:
        """Groups of at most ``turns`` questions about one image, none of them twice in a group.

        Conversations stay as they are.
        """
        by_image: dict[str, list[Example]] = {}
        groups = []
        for example in examples:
            if example.turns:
                groups.append([example])
            else:
                by_image.setdefault(example.media_id, []).append(example)
        for same_image in by_image.values():
            group: list[Example] = []
            for example in same_image:
                repeated = any(example.question == other.question for other in group)
                if not group or repeated or len(group) == self.turns:
                    groups.append(group := [])
                group.append(example)
        return groups

    def _row(
        self, example: Example, instruction: str, conversation: Sequence[tuple[str, str]]
    ) -> dict[str, str]:
        return {
            "sample_id": example.sample_id,
            "media_id": example.media_id,
            "group": example.group,
            "answer": example.answer,
            "question": example.question,
            "instruction": instruction,
            "caption": example.caption,
            "conversation": json.dumps(conversation),
            **example.more,
        }


def _last_tenth(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Examples of all but the last tenth of the images, and those of that tenth.

    At least one image is held out, unless there is only one.
    """
    images = list(dict.fromkeys(example.media_id for example in examples))
    held_out = set(images[len(images) - max(1, len(images) // 10) :]) if len(images) > 1 else set()
    kept = [example for example in examples if example.media_id not in held_out]
    return kept, [example for example in examples if example.media_id in held_out]


def _table(rows: Sequence[Mapping[str, str]]) -> Samples:
    """Rows as columns; a column that a row lacks is empty there."""
    names = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    return Samples({name: tuple(row.get(name, "") for row in rows) for name in names})
