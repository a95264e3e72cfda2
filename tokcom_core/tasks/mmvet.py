"""MM-Vet (Yu et al., ICML 2024): free answers, which GPT-4 grades. There is no score of our own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..datasets.samples import Samples
from ..datasets.tables import entries, read_json
from .instructions import Example, InstructionTask, Published


class MmVet(InstructionTask):
    """Questions, and a file of answers for the judge.

    The published score is a language model's grade of each answer. It cannot be had offline, and
    nothing else is comparable with it, so accuracies of this task are empty. The answers are in the
    study's ``submissions``, in the form that the official evaluation reads.

    Attributes:
        folder: Folder below the data folder, with ``mm-vet.json`` and ``images``.
    """

    name: Literal["mmvet"] = "mmvet"
    folder: str = "mm-vet"

    groups: ClassVar[tuple[str, ...]] = ("mmvet",)
    graded: ClassVar[bool] = True

    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        if part == "train":
            return []
        (file,) = self.annotation_files(root)
        with entries(file):
            return [
                Example(
                    sample_id=str(name),
                    media_id=f"{self.folder}/images/{row['imagename']}",
                    question=str(row["question"]),
                    answer=str(row["answer"]),
                    group="mmvet",
                )
                for name, row in read_json(file).items()
            ]

    def has_captions(self, root: Path) -> bool:
        return False

    def annotation_files(self, root: Path) -> Sequence[Path]:
        return [root / self.folder / "mm-vet.json"]

    def scores(
        self, predicted: Sequence[str], samples: Samples, corpus: Samples | None = None
    ) -> list[float]:
        return [math.nan] * len(samples)

    def submission(self, predicted: Sequence[str], samples: Samples) -> Any:
        """The official results file: ``{"v1_0": "text", ...}``."""
        return dict(zip(samples.published_ids, predicted, strict=True))
