"""Captions of images in COCO's format, scored by CIDEr-D."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import ClassVar, Literal

from pydantic import field_validator

from ..datasets.coco import read_captions
from ..datasets.samples import Samples
from .cider import cider_d, corpus_of
from .instructions import Example, InstructionTask, Published, SplitPath
from .templates import Kind


class Captioning(InstructionTask):
    """Describe the image; a sample scores CIDEr-D / 10, a split the mean CIDEr-D in percent.

    Each caption of an image is a training sample; each image is one test sample. The column
    ``references`` holds all captions of an image as JSON. The text oracle reads the first of them.
    The defaults are MiniCLEVR's files; for COCO itself take
    ``annotations: COCO/annotations/captions_{split}2017.json`` and ``images: COCO/{split}2017``.

    Attributes:
        annotations: Annotation file below the data folder, by published split.
        images: Folder of the images below the data folder, by published split.
    """

    name: Literal["captioning"] = "captioning"
    annotations: SplitPath = "captions/captions_{split}.json"
    images: SplitPath = "CLEVR_v1.0/images/{split}"

    kind: ClassVar[Kind] = "caption"
    groups: ClassVar[tuple[str, ...]] = ("captioning",)
    metrics: ClassVar[tuple[str, ...]] = ("captioning_cider",)
    graded: ClassVar[bool] = True

    @field_validator("annotations")
    @classmethod
    def _one_for_each_split(cls, annotations: str) -> str:
        if len({annotations.format(split=split) for split in _SPLITS.values()}) == 1:
            raise ValueError(
                f"{annotations!r} would be trained and tested on; put {{split}} in it, which "
                f"stands for {' and '.join(_SPLITS.values())}"
            )
        return annotations

    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        folder = self.images.format(split=_SPLITS[part])
        examples = []
        for name, captions in read_captions(self._file(root, part)).items():
            for number, caption in enumerate(captions if part == "train" else captions[:1]):
                examples.append(
                    Example(
                        sample_id=f"{name}-{number}",
                        media_id=f"{folder}/{name}",
                        question="",
                        answer=caption,
                        group="captioning",
                        caption=captions[0],
                        more={"references": json.dumps(captions)},
                    )
                )
        return examples

    def annotation_files(self, root: Path) -> Sequence[Path]:
        return [self._file(root, "train"), self._file(root, "test")]

    def scores(
        self, predicted: Sequence[str], samples: Samples, corpus: Samples | None = None
    ) -> list[float]:
        known = corpus_of(_references(samples if corpus is None else corpus))
        return [
            min(1.0, cider_d(text, references, known) / 10)  # rounding may exceed 1
            for text, references in zip(predicted, _references(samples), strict=True)
        ]

    def measure(
        self, predicted: Sequence[str], samples: Samples, scores: Sequence[float]
    ) -> dict[str, float]:
        return {"captioning_cider": 1000 * fmean(scores)}

    def _file(self, root: Path, part: Published) -> Path:
        return root / self.annotations.format(split=_SPLITS[part])


_SPLITS: dict[Published, str] = {"train": "train", "test": "val"}


def _references(samples: Samples) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(json.loads(captions)) for captions in samples["references"])
