"""Checkpoints of a training stage: what a crash rolls back to."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

Losses = list[dict[str, float]]


class Checkpoints:
    """The latest state of one stage, in a folder of its own that is whole or not there.

    Args:
        folder: of this stage alone; removed by :meth:`clear`.
        every: steps from one checkpoint to the next.
    """

    def __init__(self, folder: Path, every: int = 50) -> None:
        self._folder = folder
        self._every = every

    def due(self, step: int) -> bool:
        """Whether the state after so many steps is kept."""
        return step % self._every == 0

    def write(self, losses: Losses, save: Callable[[Path], None]) -> None:
        """Keeps the state that ``save`` writes into a folder, in the place of the one before."""
        partial = self._folder / f".{len(losses):08d}.{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save(partial)
        (partial / "losses.json").write_text(json.dumps(losses))
        before = self._kept()
        whole = self._folder / f"{len(losses):08d}"
        shutil.rmtree(whole, ignore_errors=True)
        partial.rename(whole)
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
        """Removes everything."""
        self._forget(self._folder)

    def _keep(self, folder: Path) -> None:
        """Called with every checkpoint, for whoever wants it to outlive this machine."""

    def _forget(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def _kept(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*"))
