"""The data of a study: a folder, or a miniature data set that is generated."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from ..config import Config
from .layout import MUSIC_AVQA, VALOR

MIN_CLIPS = 12
"""Fewest clips that fill every split of MiniMUSIC."""
MIN_IMAGES = 25
"""Fewest images, or reviews, that fill every split of MiniCLEVR."""

logger = logging.getLogger(__name__)

AbsoluteFolder = Annotated[Path, AfterValidator(lambda path: path.expanduser().resolve())]


class MiniatureData(Config, ABC):
    """The contract of data sets that are generated in the study's folder.

    Attributes:
        MEDIA: Media of its samples.
        FOLDERS: Folders of published data sets that it contains.
        SMOKE: Settings of a smoke test, with few items.
    """

    MEDIA: ClassVar[tuple[str, ...]] = ()
    FOLDERS: ClassVar[tuple[str, ...]] = ()
    SMOKE: ClassVar[dict[str, int | None]] = {}

    @property
    @abstractmethod
    def identity(self) -> str:
        """Name that no other data have."""

    @property
    @abstractmethod
    def parts(self) -> dict[str, int]:
        """Parts that are generated one after the other, with the number of their items."""

    @abstractmethod
    def make(self, part: str, root: Path, progress: Callable[[int], None]) -> int:
        """Generates the missing items of one of :attr:`parts`; returns how many are damaged."""


class MiniMusic(MiniatureData):
    """A MiniMUSIC that is generated in the study's folder."""

    clips: int = Field(default=2000, ge=MIN_CLIPS)
    seed: int = Field(default=1, ge=0)

    MEDIA: ClassVar[tuple[str, ...]] = ("audio", "vision")
    FOLDERS: ClassVar[tuple[str, ...]] = (MUSIC_AVQA, VALOR)
    SMOKE: ClassVar[dict[str, int | None]] = {"clips": 60}

    @property
    def identity(self) -> str:
        return f"minimusic-{self.clips}-{self.seed}"

    @property
    def parts(self) -> dict[str, int]:
        return {"MiniMUSIC: clips": self.clips, "MiniMUSIC: frames and sound": self.clips}

    def make(self, part: str, root: Path, progress: Callable[[int], None]) -> int:
        from .media import prepare
        from .minimusic.write import write_minimusic

        if part == next(iter(self.parts)):
            write_minimusic(root, self.clips, self.seed, progress=progress)
            return 0
        prepared = prepare(root, progress=progress)
        for damaged in prepared.damaged:
            logger.warning("skipped %s", damaged)
        return len(prepared.damaged)


class MiniClevr(MiniatureData):
    """A MiniCLEVR that is generated in the study's folder.

    Attributes:
        jpeg_quality: Quality of its images as JPEG files. By default, they are PNG files, as in
            CLEVR.
        reviews: Number of reviews in the style of IMDB; by default, as many as images.
    """

    images: int = Field(default=2000, ge=MIN_IMAGES)
    seed: int = Field(default=1, ge=0)
    jpeg_quality: int | None = Field(default=None, ge=1, le=95)
    reviews: int | None = Field(default=None, ge=MIN_IMAGES)

    MEDIA: ClassVar[tuple[str, ...]] = ("image",)
    FOLDERS: ClassVar[tuple[str, ...]] = ("CLEVR_v1.0", "captions", "SST-2", "aclImdb")
    SMOKE: ClassVar[dict[str, int | None]] = {"images": 40, "reviews": None}

    @property
    def identity(self) -> str:
        identity = f"miniclevr-{self.images}-{self.seed}"
        if self.jpeg_quality is not None:
            identity += f"-jpeg-{self.jpeg_quality}"
        return identity if self.reviews is None else f"{identity}-reviews-{self.reviews}"

    @property
    def parts(self) -> dict[str, int]:
        return {"MiniCLEVR: images": self.images}

    def make(self, part: str, root: Path, progress: Callable[[int], None]) -> int:
        from .miniclevr.write import write_miniclevr

        write_miniclevr(root, self, progress=progress)
        return 0


class Data(Config):
    """Either a miniature data set that is generated, or a folder of data sets."""

    minimusic: MiniMusic | None = None
    miniclevr: MiniClevr | None = None
    folder: AbsoluteFolder | None = None

    @model_validator(mode="after")
    def _one_alone(self) -> Data:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            known = ", ".join(map(repr, type(self).model_fields))
            alone = "miniclevr: {}" if self.folder is None else f"folder: {self.folder}"
            remedy = f', not {len(given)} of them: --set "data={{{alone}}}"' if given else ""
            raise ValueError(f"give one of {known}{remedy}")
        return self

    def check(self, task: str, media: Collection[str], files: Collection[Path]) -> None:
        """Refuses a task that reads other data than the miniature data set has.

        Args:
            task: Name of the task.
            media: Media of its samples.
            files: Files that it reads, below the data folder; empty if it does not name them.

        Raises:
            ValueError: for such a task.
        """
        holding = [name for name, world in _MINIATURES.items() if _holds(world, media, files)]
        chosen = next((name for name in _MINIATURES if getattr(self, name) is not None), None)
        if chosen is not None and chosen not in holding:
            others = [f"data: {{{name}: {{}}}}" for name in holding]
            remedy = " or ".join([*others, "data: {folder: DIR}"])
            raise ValueError(f"data.{chosen} has nothing of task {task!r}; take {remedy}")

    @property
    def made(self) -> MiniatureData | None:
        """The data set to generate; None for an existing folder."""
        return next((getattr(self, name) for name in _MINIATURES if getattr(self, name)), None)


_MINIATURES: dict[str, type[MiniatureData]] = {"minimusic": MiniMusic, "miniclevr": MiniClevr}


def _holds(world: type[MiniatureData], media: Collection[str], files: Collection[Path]) -> bool:
    """Whether a world has what a task reads, as far as the task names it."""
    known = {medium for other in _MINIATURES.values() for medium in other.MEDIA}
    about = not known & set(media) or bool({*world.MEDIA} & set(media))
    return about and all(f.is_absolute() or f.parts[0] in world.FOLDERS for f in files)


def miniature_data(raw: Any, media: Collection[str] = MiniMusic.MEDIA) -> dict[str, Any]:
    """The data keys that choose a miniature data set instead of a folder.

    Args:
        raw: Data keys of the study.
        media: Media of the task, by which the data set is chosen if ``raw`` names none.
    """
    named = raw if isinstance(raw, Mapping) else {}
    given = [name for name in _MINIATURES if named.get(name) is not None]
    fitting = [name for name, world in _MINIATURES.items() if set(world.MEDIA) & set(media)]
    chosen = next(iter([*given, *fitting, *_MINIATURES]))
    return {chosen: named.get(chosen) or {}}


def real_data(raw: Any) -> dict[str, Any]:
    """The data keys that choose a folder, ``data`` if none is named, not a miniature data set."""
    named = raw if isinstance(raw, Mapping) else {}
    return {"folder": named.get("folder") or "data"}


def smoke_data(raw: Any) -> dict[str, Any]:
    """The data keys of the same data with few items; a folder stays as it is."""
    named = raw if isinstance(raw, Mapping) else miniature_data(raw)
    return {
        name: {**settings, **_MINIATURES[name].SMOKE}
        if name in _MINIATURES and isinstance(settings, Mapping)
        else settings
        for name, settings in named.items()
    }
