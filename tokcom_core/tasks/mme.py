"""MME (Fu et al., arXiv 2306.13394): two yes/no questions about each image, 14 subtasks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import ClassVar, Literal

from ..datasets.samples import Samples
from .instructions import Example, InstructionTask, Published
from .siblings import complete, with_siblings
from .templates import Kind

PERCEPTION = (
    *("existence", "count", "position", "color", "posters"),
    *("celebrity", "scene", "landmark", "artwork", "OCR"),
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
_SUMS = {"mme_perception": PERCEPTION, "mme_cognition": COGNITION}
_IMAGES = (".jpg", ".png", ".jpeg")


def _group(subtask: str) -> str:
    return f"mme_{subtask.lower()}"


class Mme(InstructionTask):
    """A subtask scores 100 (acc + acc+); acc+ is the fraction of images with both answers right.

    There is nothing to train on. The score of a subtask has the name of its group. The sums over
    perception (at most 2,000) and cognition (at most 800) are reported if all of their subtasks are
    there. If only some questions are asked, scores cover the images of which both were asked; the
    subtasks' images alternate, so that the first hundred questions are from all of them.

    Attributes:
        folder: Folder below the data folder, with a folder for each subtask. That folder holds
            ``NAME.txt`` (two lines, question and answer separated by a tab) beside ``NAME.jpg``, or
            has them in ``questions_answers_YN`` and ``images``.
    """

    name: Literal["mme"] = "mme"
    folder: str = "MME_Benchmark_release_version"

    kind: ClassVar[Kind] = "short-answer"
    groups: ClassVar[tuple[str, ...]] = tuple(map(_group, (*PERCEPTION, *COGNITION)))
    metrics: ClassVar[tuple[str, ...]] = (*groups, *_SUMS)

    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        if part == "train":
            return []
        by_subtask: dict[str, list[list[Example]]] = {}
        for file in self.annotation_files(root):
            subtask = file.relative_to(root / self.folder).parts[0]
            image = _image_of(file).relative_to(root).as_posix()
            pair = []
            for number, (question, answer) in enumerate(_questions(file)):
                name = f"{subtask}/{file.stem}-{number}"
                pair.append(Example(name, image, question, answer.lower(), _group(subtask)))
            by_subtask.setdefault(subtask, []).append(pair)
        alternating = chain.from_iterable(zip_longest(*by_subtask.values(), fillvalue=()))
        examples = list(chain.from_iterable(alternating))
        return with_siblings(examples, [example.media_id for example in examples])

    def has_captions(self, root: Path) -> bool:
        return False

    def annotation_files(self, root: Path) -> Sequence[Path]:
        folders = [root / self.folder / subtask for subtask in (*PERCEPTION, *COGNITION)]
        files = [
            file
            for folder in folders
            for place in (folder / "questions_answers_YN", folder)
            for file in sorted(place.glob("*.txt"))
        ]
        if not files:
            raise ValueError(
                f"no questions of MME in {root / self.folder}; it should have folders such as "
                "existence, with a .txt file for each image"
            )
        return files

    def is_in(self, root: Path) -> bool:
        return (root / self.folder).is_dir()

    def scores(
        self, predicted: Sequence[str], samples: Samples, corpus: Samples | None = None
    ) -> list[float]:
        """Whether each text says the answer, as the official script reads it: see :func:`_said`."""
        return [
            float(_said(text) == answer)
            for text, answer in zip(predicted, samples.answer, strict=True)
        ]

    def measure(
        self, predicted: Sequence[str], samples: Samples, scores: Sequence[float]
    ) -> dict[str, float]:
        measured = {}
        for group, rows in complete(samples, samples.media_id, scores).groupby("group"):
            both = rows.groupby("whole")["right"].min()
            measured[str(group)] = 100 * float(rows["right"].mean() + both.mean())
        for name, subtasks in _SUMS.items():
            if all(_group(subtask) in measured for subtask in subtasks):
                measured[name] = sum(measured[_group(subtask)] for subtask in subtasks)
        return measured


def _said(text: str) -> str:
    """'yes' or 'no' if the first four characters have it, even inside a word; else 'other'."""
    beginning = text.strip().lower()[:4]
    return next((answer for answer in ("yes", "no") if answer in beginning), "other")


def _image_of(file: Path) -> Path:
    folder = file.parent.parent / "images" if file.parent.name.startswith("questions") else None
    for suffix in _IMAGES:
        image = (folder or file.parent) / f"{file.stem}{suffix}"
        if image.is_file():
            return image
    raise ValueError(f"{file} has no image {file.stem}.jpg or .png beside it")


def _questions(file: Path) -> list[tuple[str, str]]:
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    parts = [line.rstrip().rsplit("\t", 1) for line in lines]
    if not parts or any(len(p) != 2 or p[1].lower() not in ("yes", "no") for p in parts):
        raise ValueError(f"{file} should have lines of a question, a tab, and Yes or No")
    return [(question, answer) for question, answer in parts]
