"""Checkpoints that are kept where their study is, for whoever takes the stage up elsewhere."""

from __future__ import annotations

from pathlib import Path

from actors import Checkpoints
from actors.training.checkpoints import Losses

from ..storage.store import LocalStore


class KeptCheckpoints(Checkpoints):
    """The latest state of one stage, here and in the study's store.

    Args:
        folder: of this stage alone, in the store.
        store: of the study.
        every: steps from one checkpoint to the next.
    """

    def __init__(self, folder: Path, store: LocalStore, every: int = 50) -> None:
        super().__init__(folder, every)
        self._store = store

    def latest(self) -> tuple[Losses, Path] | None:
        self._store.fetch_all(self._folder)
        return super().latest()

    def _keep(self, folder: Path) -> None:
        self._store.keep(folder)

    def _forget(self, folder: Path) -> None:
        self._store.remove(folder)
