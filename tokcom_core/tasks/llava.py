"""Conversations about images in LLaVA's format (Liu et al., NeurIPS 2023): to train on alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..datasets.tables import entries, read_objects
from .instructions import Example, InstructionTask, Published, text_only

_PLACEHOLDER = "<image>"
_SPEAKERS = ["human", "gpt"]


class Llava(InstructionTask):
    """Conversations as they are: no template is put around them, and all turns stay together.

    In ``train`` and ``val`` the first turn of each conversation is asked.

    Attributes:
        file: File of the conversations below the data folder.
        images: Folder below the data folder that the images' names start from.
    """

    name: Literal["llava"] = "llava"
    file: str = "LLaVA/llava_v1_5_mix665k.json"
    images: str = "LLaVA/images"

    groups: ClassVar[tuple[str, ...]] = ("llava",)

    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        if part == "test":
            return []
        (file,) = self.annotation_files(root)
        with entries(file):
            return [self._example(file, row) for row in read_objects(file)]

    def annotation_files(self, root: Path) -> Sequence[Path]:
        return [root / self.file]

    def instruction(self, question: str) -> str:
        return question

    def _example(self, file: Path, row: dict[str, Any]) -> Example:
        name, turns = str(row["id"]), row["conversations"]
        if not turns or [turn["from"] for turn in turns] != _SPEAKERS * (len(turns) // 2):
            raise ValueError(f"{file}: in conversation {name} human and gpt do not take turns")
        said = [str(turn["value"]).replace(_PLACEHOLDER, "").strip() for turn in turns]
        (question, answer), *later = zip(said[::2], said[1::2], strict=True)
        image = row.get("image")
        return Example(
            sample_id=name,
            media_id=f"{self.images}/{image}" if image else text_only(f"llava/{name}"),
            question=question,
            answer=answer,
            group="llava",
            turns=tuple(later),
        )
