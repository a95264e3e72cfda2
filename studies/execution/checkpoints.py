"""Checkpoints in the study's store, so that a phase can resume on another machine."""

from __future__ import annotations

from pathlib import Path

from actors import Checkpoints
from actors.training.checkpoints import Losses

from ..storage.store import Store


class KeptCheckpoints(Checkpoints):
    """The latest checkpoint of one phase, on this machine and in the study's store.

    Args:
        folder: Folder of this phase alone, in the store.
        store: Store of the study.
        every: Number of steps between checkpoints.
    """

    def __init__(self, folder: Path, store: Store, every: int = 50) -> None:
        super().__init__(folder, every)
        self._store = store

    def latest(self) -> tuple[Losses, Path] | None:
        self._store.fetch_exactly(self._folder)
        return super().latest()

    def _keep(self, folder: Path) -> None:
        self._store.keep(folder)

    def _forget(self, folder: Path) -> None:
        self._store.remove(folder)
