"""The contract of frozen tokens: computed once, kept in a folder, shared by every network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

from ..config import Config
from ..datasets.samples import Samples
from ..tasks.base import Task


class Features(Config, ABC):
    """Frozen tokens of some splits of a task.

    Attributes:
        splits: Splits that they belong to; media in several splits are encoded once.
    """

    splits: tuple[str, ...]

    @abstractmethod
    def write(self, folder: Path, task: Task, root: Path, device: str) -> None:
        """Computes them from the data below ``root`` into ``folder``, on a torch device."""

    def encodings(
        self, task: Task, root: Path, samples: Samples, device: str
    ) -> Iterator[Callable[[], object]]:
        """Functions that encode each of these samples alone, as a device does, to be timed.

        Files are read before a function is yielded. By default there are none: what a device looks
        up takes no time.
        """
        return iter(())

    def covers(self, wanted: Features) -> bool:
        """Whether these features contain all of the wanted ones."""
        return self == wanted

    def joined(self, other: Features) -> Self | None:
        """Features that cover both; None if they cannot be joined."""
        return self if self.covers(other) else None

    def damaged(self, folder: Path) -> dict[str, str]:
        """Media that could not be read, with the reasons; their samples are left out."""
        return {}

    def repaired(self, folder: Path, task: Task, root: Path) -> set[str]:
        """Those media of :meth:`damaged` whose files could not be read, and can be by now."""
        return set()

    def windows(self, folder: Path, media_ids: Sequence[str]) -> float:
        """Mean number of the encoder's windows in some media, for counting operations."""
        return 0.0
