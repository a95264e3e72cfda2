"""The data of a study: a folder, or a miniature data set that is generated."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from ..config import Config

logger = logging.getLogger(__name__)

AbsoluteFolder = Annotated[Path, AfterValidator(lambda path: path.expanduser().resolve())]


class MiniMusic(Config):
    """A MiniMUSIC that is generated in the study's folder."""

    clips: int = Field(default=2000, ge=25)
    seed: int = Field(default=1, ge=0)

    @property
    def identity(self) -> str:
        """Name that differs from those of other data."""
        return f"minimusic-{self.clips}-{self.seed}"

    @property
    def parts(self) -> dict[str, int]:
        """Parts that are generated one after the other, with the number of their items."""
        return {"MiniMUSIC: clips": self.clips, "MiniMUSIC: frames and sound": self.clips}

    def make(self, part: str, root: Path, progress: Callable[[int], None]) -> int:
        """Generates what is missing of one of :attr:`parts`; returns the number damaged."""
        from .media import prepare
        from .minimusic.write import write_minimusic

        if part == next(iter(self.parts)):
            write_minimusic(root, self.clips, self.seed, progress=progress)
            return 0
        prepared = prepare(root, progress=progress)
        for damaged in prepared.damaged:
            logger.warning("skipped %s", damaged)
        return len(prepared.damaged)


class Data(Config):
    """Either a miniature data set that is generated, or a folder of data sets."""

    minimusic: MiniMusic | None = None
    folder: AbsoluteFolder | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Data:
        if (self.made is None) == (self.folder is None):
            raise ValueError("give either 'minimusic' or 'folder'")
        return self

    @property
    def made(self) -> MiniMusic | None:
        """The data set to generate; None for an existing folder."""
        return self.minimusic


def rehearsed_data(raw: Any) -> dict[str, Any]:
    """The keys of a miniature data set instead of a folder."""
    own = raw.get("minimusic") if isinstance(raw, Mapping) else None
    return {"minimusic": own or {}}
