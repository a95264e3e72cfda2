"""The contract of tasks: what is asked, about which media, and how answers are scored."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, Literal

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
        splits: Names of all splits, including those that only some phases need.
        media: Names of the media that belong to a sample.
        texts: Columns of the samples that a device may send as text.
        groups: Kinds of questions, whose accuracies are reported as well.
        parts: Groups of each part of a mixture of tasks, by the part's name; none of a single task.
        alignment_split: Split of captioned media, each of which occurs once, that systems may align
            their tokens on; None if there is none.
        prior: Column whose most frequent training answer is the majority reference.
        metrics: Names of the official scores of a whole split, see :meth:`measure`.
        graded: Whether :meth:`scores` may lie between 0 and 1, rather than be either.
    """

    train_split: ClassVar[str] = "train"
    validation_split: ClassVar[str] = "val"
    test_split: ClassVar[str] = "test"
    alignment_split: ClassVar[str | None] = None

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    media: ClassVar[tuple[str, ...]] = ()
    texts: ClassVar[tuple[str, ...]] = ("question",)
    groups: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    prior: ClassVar[str] = "group"
    metrics: ClassVar[tuple[str, ...]] = ()
    graded: ClassVar[bool] = False

    @abstractmethod
    def samples(self, root: Path, split: str) -> Samples:
        """The samples of a split below the data folder ``root``.

        Raises:
            ValueError: if the split is missing or damaged.
        """

    def rows(self, root: Path, split: str) -> Samples:
        """The samples of a split, which may have none: a benchmark has nothing to train on."""
        return self.samples(root, split)

    def annotation_files(self, root: Path) -> Sequence[Path]:
        """The files that the samples are read from, if the task names them."""
        return ()

    def is_in(self, root: Path) -> bool:
        """Whether a data folder has some of this task's data."""
        return any(map(Path.is_file, self.annotation_files(root)))

    @abstractmethod
    def identity(self, root: Path) -> str:
        """Names the data by their content, so that artifacts of other data are never reused.

        Raises:
            ValueError: if data are missing.
        """

    def dataset(self, split: str) -> str:
        """Folder below the data folder that holds a split's media."""
        return ""

    def media_file(self, root: Path, split: str, medium: str, media_id: str) -> Path | None:
        """File or folder of one medium of a sample, as an encoder reads it.

        None if the sample has no such medium: there is nothing to encode, and nothing is damaged.
        """
        raise ValueError(f"task {self.name} has no medium {medium!r}")

    def recording_file(self, root: Path, split: str, media_id: str) -> Path | None:
        """File that ``tokcom data prepare`` extracts a sample's media from.

        None if the media are read as they are.
        """
        return None

    def upload_bits(self, root: Path, split: str, media_id: str) -> dict[str, int]:
        """Bits of each medium's own file, for streams that upload it; 0 for a missing medium."""
        raise ValueError(f"task {self.name} has no files to upload; transport analog or digital")

    def references(self, root: Path | None) -> tuple[Reference, ...]:
        """The references that the data allow; all of them if ``root`` is None."""
        return ()

    def scores(
        self, predicted: Sequence[str], samples: Samples, corpus: Samples | None = None
    ) -> list[float]:
        """Score of each predicted answer, from 0 to 1; exact match by default.

        NaN marks an answer that nothing here can score.

        Args:
            predicted: Texts of the answers.
            samples: What was asked.
            corpus: All samples of the split, for scores that weigh words by how rare they are;
                ``samples`` themselves by default.
        """
        return [
            float(normalise_answer(a) == normalise_answer(b))
            for a, b in zip(predicted, samples.answer, strict=True)
        ]

    def measure(
        self, predicted: Sequence[str], samples: Samples, scores: Sequence[float]
    ) -> dict[str, float]:
        """Official scores of a whole split, by name; :attr:`metrics` has all names.

        A score that these samples do not allow, such as one of a group that they lack, is left out.

        Args:
            predicted: Texts of the answers.
            samples: What was asked.
            scores: Score of each answer, by :meth:`scores`.
        """
        return {}

    def submission(self, predicted: Sequence[str], samples: Samples) -> Any:
        """The official results file for a judge or a server, as a JSON value; None for none."""
        return None

    def majority_accuracy(
        self, train: Samples, test: Samples, corpus: Samples | None = None
    ) -> float:
        """Mean score of the most frequent training answer of each value of :attr:`prior`.

        Args:
            train: Training samples.
            test: What was asked.
            corpus: All samples of the test split, see :meth:`scores`.

        Returns:
            NaN if nothing here can score any of them.
        """
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for key, answer in zip(train[self.prior], train.answer, strict=True):
            counts[key][answer] += 1
        usual = {key: answers.most_common(1)[0][0] for key, answers in counts.items()}
        scores = self.scores([usual.get(key, "") for key in test[self.prior]], test, corpus)
        known = [score for score in scores if not math.isnan(score)]
        return fmean(known) if known else math.nan


def normalise_answer(text: str) -> str:
    """The form of an answer that exact match compares."""
    return text.strip().lower()
