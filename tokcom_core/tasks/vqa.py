"""Questions with ten human answers each: VQAv2 and TextVQA."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, Literal

from ..datasets.samples import Samples
from ..datasets.tables import entries, read_objects
from .instructions import Example, InstructionTask, Published
from .templates import Kind
from .vqa_score import textvqa_score, vqav2_score


class _TenAnswers(InstructionTask):
    """Scores by consensus; the column ``answers`` holds all answers as JSON."""

    kind: ClassVar[Kind] = "short-answer"
    graded: ClassVar[bool] = True
    consensus: ClassVar[Callable[[str, Sequence[str]], float]]

    def scores(
        self, predicted: Sequence[str], samples: Samples, corpus: Samples | None = None
    ) -> list[float]:
        return [
            type(self).consensus(text, json.loads(answers))
            for text, answers in zip(predicted, samples["answers"], strict=True)
        ]

    def has_captions(self, root: Path) -> bool:
        return False

    def submission(self, predicted: Sequence[str], samples: Samples) -> Any:
        """The official results file: ``[{"question_id": 1, "answer": "red"}]``.

        Ids of one's own data that are no numbers stay text.
        """
        return [
            {"question_id": int(name) if name.isdecimal() else name, "answer": text}
            for name, text in zip(samples.published_ids, predicted, strict=True)
        ]


class VqaV2(_TenAnswers):
    """VQAv2 (Goyal et al., CVPR 2017) about COCO's images of 2014.

    Attributes:
        folder: Folder below the data folder, with questions, annotations and images.
    """

    name: Literal["vqav2"] = "vqav2"
    folder: str = "VQAv2"

    groups: ClassVar[tuple[str, ...]] = ("vqav2_yes_no", "vqav2_number", "vqav2_other")
    metrics: ClassVar[tuple[str, ...]] = ("vqav2_accuracy",)
    consensus: ClassVar[Callable[[str, Sequence[str]], float]] = staticmethod(vqav2_score)

    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        split = _YEARS[part]
        questions, annotations = self._files(root, split)
        with entries(questions):
            by_id = {row["question_id"]: row for row in read_objects(questions, "questions")}
        with entries(annotations):
            rows = read_objects(annotations, "annotations")
            for row in rows:
                if row["question_id"] not in by_id:
                    raise ValueError(f"{annotations}: {questions.name} lacks {row['question_id']}")
            return [self._example(split, by_id[row["question_id"]], row) for row in rows]

    def _example(self, split: str, question: dict[str, Any], row: dict[str, Any]) -> Example:
        image = f"{split}/COCO_{split}_{int(row['image_id']):012d}.jpg"
        return Example(
            sample_id=str(row["question_id"]),
            media_id=f"{self.folder}/{image}",
            question=str(question["question"]),
            answer=str(row["multiple_choice_answer"]),
            group=f"vqav2_{str(row['answer_type']).replace('/', '_')}",
            more={"answers": json.dumps([str(answer["answer"]) for answer in row["answers"]])},
        )

    def annotation_files(self, root: Path) -> Sequence[Path]:
        return [file for split in _YEARS.values() for file in self._files(root, split)]

    def _files(self, root: Path, split: str) -> tuple[Path, Path]:
        folder = root / self.folder
        return (
            folder / f"v2_OpenEnded_mscoco_{split}_questions.json",
            folder / f"v2_mscoco_{split}_annotations.json",
        )

    def measure(
        self, predicted: Sequence[str], samples: Samples, scores: Sequence[float]
    ) -> dict[str, float]:
        return {"vqav2_accuracy": 100 * fmean(scores)}


_YEARS: dict[Published, str] = {"train": "train2014", "test": "val2014"}


class TextVqa(_TenAnswers):
    """TextVQA 0.5.1 (Singh et al., CVPR 2019): questions about text in images.

    Attributes:
        folder: Folder below the data folder, with annotations and ``train_images``.
        ocr_tokens: Whether the instruction lists what an OCR system read, from Rosetta's files,
            which are published beside the questions. It helps a lot: report scores with and
            without.
    """

    name: Literal["textvqa"] = "textvqa"
    folder: str = "TextVQA"
    ocr_tokens: bool = False

    groups: ClassVar[tuple[str, ...]] = ("textvqa",)
    metrics: ClassVar[tuple[str, ...]] = ("textvqa_accuracy",)
    consensus: ClassVar[Callable[[str, Sequence[str]], float]] = staticmethod(textvqa_score)

    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        split = _TEXTVQA[part]
        file = self._questions_file(root, split)
        read = self._read_tokens(root, split) if self.ocr_tokens else {}
        examples = []
        with entries(file):
            for row in read_objects(file, "data"):
                answers = [str(answer) for answer in row["answers"]]
                words = ", ".join(read.get(row["image_id"], ()))
                reference = f"\nReference OCR token: {words}" if self.ocr_tokens else ""
                examples.append(
                    Example(
                        sample_id=str(row["question_id"]),
                        media_id=f"{self.folder}/train_images/{row['image_id']}.jpg",
                        question=f"{row['question']}{reference}",
                        answer=Counter(answers).most_common(1)[0][0],
                        group="textvqa",
                        more={"answers": json.dumps(answers)},
                    )
                )
        return examples

    def annotation_files(self, root: Path) -> Sequence[Path]:
        splits = _TEXTVQA.values()
        files = [self._questions_file(root, split) for split in splits]
        return [*files, *(self._tokens_file(root, s) for s in splits if self.ocr_tokens)]

    def measure(
        self, predicted: Sequence[str], samples: Samples, scores: Sequence[float]
    ) -> dict[str, float]:
        return {"textvqa_accuracy": 100 * fmean(scores)}

    def _questions_file(self, root: Path, split: str) -> Path:
        return root / self.folder / f"TextVQA_0.5.1_{split}.json"

    def _tokens_file(self, root: Path, split: str) -> Path:
        return root / self.folder / f"TextVQA_Rosetta_OCR_v0.2_{split}.json"

    def _read_tokens(self, root: Path, split: str) -> dict[str, list[str]]:
        file = self._tokens_file(root, split)
        with entries(file):
            rows = read_objects(file, "data")
            return {row["image_id"]: [str(t) for t in row["ocr_tokens"]] for row in rows}


_TEXTVQA: dict[Published, str] = {"train": "train", "test": "val"}
