"""Checkpoints of a training phase, for crashes and resumes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tokcom_core.storage import atomic_folder

Losses = list[dict[str, float]]


class Checkpoints:
    """The latest checkpoint of one phase, in a folder that is complete or absent.

    Args:
        folder: Folder of this phase alone; removed by :meth:`clear`.
        every: Number of steps between checkpoints.
    """

    def __init__(self, folder: Path, every: int = 50) -> None:
        self._folder = folder
        self._every = every

    def due(self, step: int) -> bool:
        """Whether a checkpoint is written after this number of steps."""
        return step % self._every == 0

    def write(self, losses: Losses, save: Callable[[Path], None]) -> None:
        """Writes a checkpoint with ``save``, then removes the one before."""
        before = self._kept()
        whole = self._folder / f"{len(losses):08d}"
        shutil.rmtree(whole, ignore_errors=True)
        with atomic_folder(whole) as partial:
            save(partial)
            (partial / "losses.json").write_text(json.dumps(losses))
        self._keep(whole)
        for old in before:
            if old != whole:
                self._forget(old)

    def latest(self) -> tuple[Losses, Path] | None:
        """The losses up to the last checkpoint, and its folder."""
        kept = self._kept()
        if not kept:
            return None
        losses: Losses = json.loads((kept[-1] / "losses.json").read_text())
        return losses, kept[-1]

    def clear(self) -> None:
        """Removes all checkpoints."""
        self._forget(self._folder)

    def _keep(self, folder: Path) -> None:
        """Called with every checkpoint; a subclass may copy it elsewhere."""

    def _forget(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def _kept(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*"))
