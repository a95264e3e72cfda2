"""Questions about rendered solids, CLEVR (Johnson et al., CVPR 2017); MiniCLEVR writes the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..datasets.coco import read_captions
from ..datasets.kept import Stamp, stamp
from ..datasets.tables import entries, read_objects
from .instructions import Example, InstructionTask, Published, SplitPath
from .templates import Kind

_SPLITS: dict[Published, str] = {"train": "train", "test": "val"}
_GROUPS = {
    **{f"query_{a}": f"query_{a}" for a in ("color", "shape", "size", "material")},
    **dict.fromkeys(("equal_integer", "less_than", "greater_than"), "compare_integer"),
    **{f"equal_{a}": "compare_attribute" for a in ("color", "shape", "size", "material")},
    "count": "count",
    "exist": "exist",
}
"""Group of a question by the last function of its program."""


class Clevr(InstructionTask):
    """Exact match over 28 answers.

    Attributes:
        folder: Folder below the data folder, with ``images``, ``questions`` and ``scenes``.
        captions: File of captions in COCO's format, for the text oracle. The scenes of images that
            it does not describe are put into words, if there are any.
    """

    name: Literal["clevr"] = "clevr"
    folder: str = "CLEVR_v1.0"
    captions: SplitPath = "captions/captions_{split}.json"

    kind: ClassVar[Kind] = "short-answer"
    groups: ClassVar[tuple[str, ...]] = tuple(dict.fromkeys(_GROUPS.values()))

    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        split = _SPLITS[part]
        file = self._file(root, "questions", split)
        captions = self._descriptions(root, split)
        with entries(file):
            return [
                Example(
                    sample_id=str(row.get("question_index", number)),
                    media_id=f"{self.folder}/images/{split}/{row['image_filename']}",
                    question=str(row["question"]),
                    answer=str(row["answer"]),
                    group=_group(file, row),
                    caption=captions.get(row["image_filename"], ""),
                )
                for number, row in enumerate(read_objects(file, "questions"))
            ]

    def has_captions(self, root: Path) -> bool:
        return bool(self._described(root, _SPLITS["test"]))

    def annotation_files(self, root: Path) -> Sequence[Path]:
        questions = [self._file(root, "questions", split) for split in _SPLITS.values()]
        described = [self._described(root, split) for split in _SPLITS.values()]
        return [*questions, *(file for files in described for file in files)]

    def _file(self, root: Path, kind: str, split: str) -> Path:
        return root / self.folder / kind / f"CLEVR_{split}_{kind}.json"

    def _described(self, root: Path, split: str) -> list[Path]:
        """The files that images are described by: captions, and scenes of those without any."""
        captions, scenes = self._captions_file(root, split), self._file(root, "scenes", split)
        some, all_of_them = False, False
        if captions.is_file():
            some, all_of_them = _covered(self._file(root, "questions", split), captions)
        files = [captions] if some else []
        return files if all_of_them or not scenes.is_file() else [*files, scenes]

    def _descriptions(self, root: Path, split: str) -> dict[str, str]:
        """Description of each image that has one, by its file name."""
        descriptions: dict[str, str] = {}
        for file in self._described(root, split):
            if file == self._captions_file(root, split):
                captions = read_captions(file)
                descriptions = {name: " ".join(texts) for name, texts in captions.items() if texts}
            else:
                with entries(file):
                    for row in read_objects(file, "scenes"):
                        descriptions.setdefault(row["image_filename"], _words(row))
        return descriptions

    def _captions_file(self, root: Path, split: str) -> Path:
        return root / self.captions.format(split=split)


def _covered(questions: Path, captions: Path) -> tuple[bool, bool]:
    """Whether some, and whether all images that are asked about have a caption.

    True for files that cannot be read: whoever reads their samples says so.
    """
    try:
        return _count_covered(questions, captions, (stamp(questions), stamp(captions)))
    except (OSError, ValueError):
        return True, True


@lru_cache(maxsize=8)
def _count_covered(
    questions: Path, captions: Path, stamps: tuple[Stamp, Stamp]
) -> tuple[bool, bool]:
    """The same of two files as they are now."""
    described = {name for name, texts in read_captions(captions).items() if texts}
    with entries(questions):
        images = {row["image_filename"] for row in read_objects(questions, "questions")}
    return not described.isdisjoint(images), images <= described


def _group(file: Path, row: Mapping[str, Any]) -> str:
    last = row["program"][-1]["function"]
    if last not in _GROUPS:
        raise ValueError(f"{file}: a program ends in {last!r}, which is no question of CLEVR")
    return _GROUPS[last]


def _words(scene: Mapping[str, Any]) -> str:
    """A scene as words: its solids from left to right, and how many stand in front of each."""
    solids = sorted(scene["objects"], key=lambda solid: solid["pixel_coords"][0])
    heights = [solid["pixel_coords"][1] for solid in solids]
    return " , ".join(
        f"{s['size']} {s['color']} {s['material']} {s['shape']} behind "
        f"{sum(other > height for other in heights)}"
        for s, height in zip(solids, heights, strict=True)
    )
