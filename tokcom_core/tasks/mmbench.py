"""MMBench (Liu et al., ECCV 2024): multiple choice, asked again with the options rotated.

The published table holds its images as base64; they are written below the data folder once. All
rotations of a question share ``index % 1e6``. In the official, circular score, a question counts as
right only if all of its rotations are answered correctly, so a model that always says A scores 0.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from ..datasets.samples import Samples
from ..datasets.tables import read_tsv
from ..storage import atomic_file
from .instructions import Example, InstructionTask, Published
from .siblings import complete, with_siblings
from .templates import Kind

ABILITIES = (
    *("coarse_perception", "finegrained_perception (instance-level)"),
    *("finegrained_perception (cross-instance)", "attribute_reasoning"),
    *("relation_reasoning", "logic_reasoning"),
)
_LETTERS = "ABCD"
_ROTATION = 1_000_000
_COLUMNS = ("index", "question", "A", "B", "answer", "l2-category", "image")


def _group(ability: str) -> str:
    return f"mmbench_{'_'.join(re.findall('[a-z]+', ability.lower()))}"


class MmBench(InstructionTask):
    """Scored by the plain accuracy of samples, and officially by the circular score in percent.

    There is nothing to train on. If only some questions are asked, the official metric covers those
    whose rotations were all asked.

    Attributes:
        folder: Folder below the data folder, which the images are written to as well.
        table: Published file of the development set, whose answers are public.
    """

    name: Literal["mmbench"] = "mmbench"
    folder: str = "MMBench"
    table: str = "mmbench_dev_20230712.tsv"

    kind: ClassVar[Kind] = "choice"
    groups: ClassVar[tuple[str, ...]] = tuple(map(_group, ABILITIES))
    metrics: ClassVar[tuple[str, ...]] = ("mmbench_circular",)

    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        if part == "train":
            return []
        (file,) = self.annotation_files(root)
        rows = read_tsv(file, _COLUMNS, quoted=True)
        images = {row["index"]: row["image"] for row in rows}
        examples = [self._example(root, file, row, images) for row in rows]
        return with_siblings(examples, [_question(example.sample_id) for example in examples])

    def has_captions(self, root: Path) -> bool:
        return False

    def annotation_files(self, root: Path) -> Sequence[Path]:
        return [root / self.folder / self.table]

    def _example(
        self, root: Path, file: Path, row: Mapping[str, str], images: Mapping[str, str]
    ) -> Example:
        options = {letter: row[letter] for letter in _LETTERS if row.get(letter)}
        if not row["index"].isdigit() or row["answer"] not in options:
            raise ValueError(f"{file}: question {row['index']} has no answer {row['answer']!r}")
        choices = [f"{letter}. {text}" for letter, text in options.items()]
        hint = [row["hint"]] if row.get("hint") else []
        base = _question(row["index"])
        image = images.get(row["image"], row["image"])  # rotations may name the row that holds it
        return Example(
            sample_id=row["index"],
            media_id=_extracted(root, f"{self.folder}/images/{file.stem}/{base}.jpg", image, file),
            question="\n".join([*hint, row["question"], *choices]),
            answer=row["answer"],
            group=_group(row["l2-category"]),
            more={"options": "\n".join(choices)},
        )

    def scores(
        self, predicted: Sequence[str], samples: Samples, corpus: Samples | None = None
    ) -> list[float]:
        """Whether the option that each text chooses is the right one."""
        return [
            float(chosen_option(text, options) == answer)
            for text, options, answer in zip(
                predicted, samples["options"], samples.answer, strict=True
            )
        ]

    def measure(
        self, predicted: Sequence[str], samples: Samples, scores: Sequence[float]
    ) -> dict[str, float]:
        rows = complete(samples, [_question(index) for index in samples.published_ids], scores)
        if rows.empty:
            return {}
        return {"mmbench_circular": 100 * float(rows.groupby("whole")["right"].min().mean())}


def _question(index: str) -> int:
    """Number of the question that an index is a rotation of."""
    return int(index) % _ROTATION


def chosen_option(text: str, options: str) -> str | None:
    """The letter that an answer chooses; None if it chooses none, or several.

    As the published evaluation does before it asks GPT: by the letter, if exactly one stands in the
    answer, or else by the words of an option, if exactly one is in the answer. Letters within an
    answer that is the words of an option do not count ('20 C'), unless it is a letter and no more.

    Args:
        text: The answer: a letter ('B', '(B)', 'B. a cat', 'The answer is B.'), or the words of one
            option. As 'a' is a word, too, a lower-case letter counts only if the answer has no
            other letter; and in an answer of more than three words, an 'A' before a word in lower
            case does not count, unless it is a label ('A. cat').
        options: The options as ``A. text``, one per line.
    """
    known = dict(line.split(". ", 1) for line in options.splitlines() if line[1:3] == ". ")
    if (bare := _plain(text).upper()) in known:
        return bare
    plain = {letter: _plain(words) for letter, words in known.items() if _plain(words)}
    whole = [letter for letter, words in plain.items() if words == _plain(text)]
    if len(whole) == 1:
        return whole[0]
    alone = re.sub(r"[^a-z]", "", text.lower()).upper()
    if alone in known:
        return alone
    letters = set(re.findall(r"\b[A-D]\b", text)) & set(known)
    article = len(text.split()) > 3 and re.search(r"\bA\s+[a-z]", text)
    if len(letters) != 1 or (letters == {"A"} and article):
        letters = {letter for letter, words in plain.items() if words in _plain(text)}
    return letters.pop() if len(letters) == 1 else None


def _plain(text: str) -> str:
    """A text in lower case, without punctuation around it."""
    return text.lower().strip(" .,;:!?()'\"")


def _extracted(root: Path, media_id: str, image: str, table: Path) -> str:
    """Writes an image unless the very same one is there; returns its ``media_id``."""
    file = root / media_id
    try:
        content = base64.b64decode(image, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{table}: the image of {file.stem} is not base64: {error}") from None
    if not file.is_file() or file.read_bytes() != content:
        with atomic_file(file) as partial:
            partial.write_bytes(content)
    return media_id
