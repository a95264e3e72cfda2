"""Conversations about images in LLaVA's format (Liu et al., NeurIPS 2023): to train on alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..datasets.tables import entries, read_objects
from .instructions import Example, InstructionTask, Published, text_only

logger = logging.getLogger(__name__)

_PLACEHOLDER = "<image>"
_SPEAKERS = ["human", "gpt"]


@cache  # the file may be read again, but the warning is given once
def _warn_of_left_out(file: Path, count: int, first: str) -> None:
    logger.warning(
        "%s: %d conversations are left out, as human and gpt do not take turns in them; the first "
        "is %s",
        file,
        count,
        first,
    )


class Llava(InstructionTask):
    """Conversations as they are: no template is put around them, and all turns stay together.

    In ``train`` and ``val`` the first turn of each conversation is asked. A conversation that gpt
    begins loses its first text, as in LLaVA's own reader.

    Attributes:
        file: File of the conversations below the data folder.
        images: Folder below the data folder that the images' names are relative to.
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
            examples = [(str(row["id"]), self._example(row)) for row in read_objects(file)]
        left_out = [name for name, example in examples if example is None]
        if left_out:
            _warn_of_left_out(file, len(left_out), left_out[0])
        return [example for _, example in examples if example is not None]

    def annotation_files(self, root: Path) -> Sequence[Path]:
        return [root / self.file]

    def instruction(self, question: str) -> str:
        return question

    def _example(self, row: dict[str, Any]) -> Example | None:
        """None if human and gpt do not take turns."""
        name, turns = str(row["id"]), row["conversations"]
        if turns and turns[0]["from"] == "gpt":
            turns = turns[1:]
        if not turns or [turn["from"] for turn in turns] != _SPEAKERS * (len(turns) // 2):
            return None
        texts = [str(turn["value"]).replace(_PLACEHOLDER, "").strip() for turn in turns]
        (question, answer), *later = zip(texts[::2], texts[1::2], strict=True)
        image = row.get("image")
        return Example(
            sample_id=name,
            media_id=f"{self.images}/{image}" if image else text_only(f"llava/{name}"),
            question=question,
            answer=answer,
            group="llava",
            turns=tuple(later),
        )
