"""Is a review positive or negative: SST-2 of GLUE, and IMDB. There are no images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import ClassVar, Literal

from ..datasets.tables import read_tsv
from .instructions import Example, InstructionTask, Published, text_only
from .templates import Kind

_ANSWERS = {"0": "negative", "1": "positive"}


class Sst2(InstructionTask):
    """SST-2 (Socher et al., EMNLP 2013) as GLUE publishes it: accuracy on ``dev.tsv``.

    Attributes:
        folder: Folder below the data folder, with ``train.tsv`` and ``dev.tsv``.
    """

    name: Literal["sst2"] = "sst2"
    folder: str = "SST-2"

    kind: ClassVar[Kind] = "classification"
    groups: ClassVar[tuple[str, ...]] = ("sst2",)

    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        file = self._file(root, part)
        examples = []
        for number, row in enumerate(read_tsv(file, ("sentence", "label"), quoted=False)):
            if row["label"] not in _ANSWERS:
                raise ValueError(f"{file}: label {row['label']!r} of row {number} is not 0 or 1")
            name = f"{file.stem}-{number}"
            media_id = text_only(f"{self.folder}/{name}")
            answer = _ANSWERS[row["label"]]
            examples.append(Example(name, media_id, row["sentence"].strip(), answer, "sst2"))
        return examples

    def annotation_files(self, root: Path) -> Sequence[Path]:
        return [self._file(root, "train"), self._file(root, "test")]

    def _file(self, root: Path, part: Published) -> Path:
        return root / self.folder / ("train.tsv" if part == "train" else "dev.tsv")


class Imdb(InstructionTask):
    """IMDB (Maas et al., ACL 2011): accuracy on its 25,000 test reviews.

    Attributes:
        folder: Folder below the data folder, with ``{train,test}/{pos,neg}/NUMBER_STARS.txt``.
    """

    name: Literal["imdb"] = "imdb"
    folder: str = "aclImdb"

    kind: ClassVar[Kind] = "classification"
    groups: ClassVar[tuple[str, ...]] = ("imdb",)

    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        examples = []
        for file in self._files(root, part):
            name = file.relative_to(root).as_posix()
            answer = "positive" if file.parent.name == "pos" else "negative"
            examples.append(Example(name, text_only(name), _review(file), answer, "imdb"))
        return examples

    def has_captions(self, root: Path) -> bool:
        return False

    def annotation_files(self, root: Path) -> Sequence[Path]:
        return [*self._files(root, "train"), *self._files(root, "test")]

    def is_in(self, root: Path) -> bool:
        return (root / self.folder).is_dir()

    def _files(self, root: Path, part: Published) -> list[Path]:
        """Positive and negative reviews in turn, so that the last tenth has as many of each."""
        folders = [root / self.folder / part / kind for kind in ("pos", "neg")]
        every = [sorted(folder.glob("*.txt")) for folder in folders]
        for folder, files in zip(folders, every, strict=True):
            if not files:
                raise ValueError(f"no reviews in {folder}; task imdb reads the published layout")
        return [file for file in chain.from_iterable(zip_longest(*every)) if file is not None]


def _review(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    return " ".join(re.sub(r"<br\s*/?>", " ", text).split())
