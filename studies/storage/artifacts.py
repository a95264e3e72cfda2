"""Artifacts: folders named by the hash of everything that they depend on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokcom_core.storage import atomic_folder

from ..plan.artifact_spec import Spec
from .store import Store

CURVES = "curves.parquet"
"""File of the losses of a phase, in its artifact."""
VALIDATION = "validation.json"
"""File of the validation loss of a trained network, in its artifact."""


class Artifacts:
    """The artifacts of one study folder."""

    def __init__(self, root: Path, store: Store) -> None:
        self.root = root
        self._store = store

    def path(self, spec: Spec) -> Path:
        """Folder of the artifact on this machine."""
        return self._store.fetch(self.root / spec.key)

    def has(self, spec: Spec) -> bool:
        return self._store.has(self.root / spec.key)

    def forget_unkept(self) -> None:
        """Removes copies of what the store does not keep: its removal asks to make it again."""
        kept = set(self._store.names(self.root))
        for folder in self.root.iterdir():
            if folder.name not in kept:
                self._store.remove(folder)

    @contextmanager
    def write(self, spec: Spec) -> Iterator[Path]:
        """Yields a temporary folder that becomes the artifact when the block succeeds.

        If a study runs twice at once, the first artifact stays.

        Raises:
            StorageError: for a full disk, or a folder that cannot be written.
        """
        if not self.has(spec):
            self._store.remove(self.root / spec.key)  # a copy that the store no longer keeps
        with atomic_folder(self.root / spec.key) as partial:
            yield partial
            (partial / "spec.json").write_text(spec.model_dump_json(indent=1))
        if not self.has(spec):
            self._store.keep(self.root / spec.key)
