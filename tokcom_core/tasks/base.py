"""The contract of tasks: what is asked, about which media, and how answers are scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from ..config import Config, Named
from ..datasets.samples import Samples


class Reference(Config):
    """A lower or upper reference: the same receiver with some of a sample's texts, intact.

    Attributes:
        name: Name of the reference in tables.
        summary: Summary for lists and reports.
        texts: Columns of the samples that it reads.
        bound: Whether methods should be above it (``lower``) or below it (``upper``).
    """

    name: str
    summary: str
    texts: tuple[str, ...]
    bound: Literal["lower", "upper"]


class Task(Named, ABC):
    """A task, whose samples are tables of text, see :class:`Samples`.

    Attributes:
        splits: Names of all splits, including those that only other phases need.
        media: Names of the media that belong to a sample.
        texts: Columns of the samples that a device may send as text.
        groups: Kinds of questions, whose accuracies are reported as well.
        prior: Column whose most frequent training answer is the majority reference.
    """

    train_split: ClassVar[str] = "train"
    validation_split: ClassVar[str] = "val"
    test_split: ClassVar[str] = "test"

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    media: ClassVar[tuple[str, ...]] = ()
    texts: ClassVar[tuple[str, ...]] = ("question",)
    groups: ClassVar[tuple[str, ...]] = ()
    prior: ClassVar[str] = "group"

    @abstractmethod
    def samples(self, root: Path, split: str) -> Samples:
        """The samples of a split below the data folder ``root``.

        Raises:
            ValueError: if the split is missing or damaged.
        """

    @abstractmethod
    def identity(self, root: Path) -> str:
        """Names the data by their content, so that artifacts of other data are never reused.

        Raises:
            ValueError: if data are missing.
        """

    def dataset(self, split: str) -> str:
        """Folder below the data folder that holds a split's media."""
        return ""

    def media_file(self, root: Path, split: str, medium: str, media_id: str) -> Path:
        """File or folder of one medium of a sample, as an encoder reads it."""
        raise ValueError(f"task {self.name} has no medium {medium!r}")

    def upload_bits(self, root: Path, split: str, media_id: str) -> dict[str, int]:
        """Bits of each medium's own file, for streams that upload it."""
        raise ValueError(f"task {self.name} has no files to upload; transport analog or digital")

    def references(self, root: Path | None) -> tuple[Reference, ...]:
        """The references that the data allow; all of them if ``root`` is None."""
        return ()

    def correct(self, predicted: Sequence[str], samples: Samples) -> list[bool]:
        """Whether each predicted answer is the true one."""
        return [
            normalise_answer(a) == normalise_answer(b)
            for a, b in zip(predicted, samples.answer, strict=True)
        ]

    def majority_accuracy(self, train: Samples, test: Samples) -> float:
        """Accuracy of the most frequent training answer of each value of :attr:`prior`."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for key, answer in zip(train[self.prior], train.answer, strict=True):
            counts[key][answer] += 1
        right = sum(
            bool(counts[key]) and counts[key].most_common(1)[0][0] == answer
            for key, answer in zip(test[self.prior], test.answer, strict=True)
        )
        return right / len(test)


def normalise_answer(text: str) -> str:
    """The form of an answer that exact match compares."""
    return text.strip().lower()
