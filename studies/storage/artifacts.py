"""Stages are artifacts: folders named by the hash of all that they depend on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tokcom_core.storage import writing

from .store import LocalStore

SCHEMA = 1
"""Raised when the meaning of an artifact changes, so that old ones are not taken for new."""


class Spec(BaseModel):
    """All that one artifact depends on; its hash is the artifact's name."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    @property
    def kind(self) -> str:
        return type(self).__name__.removesuffix("Spec").lower()

    @property
    def key(self) -> str:
        return f"{self.kind}-{digest(self.model_dump(mode='json'))}"


def digest(value: Any) -> str:
    """A short hash of plain data."""
    text = json.dumps([SCHEMA, value], sort_keys=True, allow_nan=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Artifacts:
    """The artifacts of one study folder."""

    def __init__(self, root: Path, store: LocalStore) -> None:
        self.root = root
        self._store = store

    def path(self, spec: Spec) -> Path:
        """Its folder, on this machine."""
        return self._store.fetch(self.root / spec.key)

    def has(self, spec: Spec) -> bool:
        return self._store.has(self.root / spec.key)

    @contextmanager
    def write(self, spec: Spec) -> Iterator[Path]:
        """Yields a temporary folder that becomes the artifact when the block succeeds.

        Raises:
            StorageError: for a full disk, or a folder that cannot be written.
        """
        partial = self.root / f".{spec.key}.{os.getpid()}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            with writing(self.root / spec.key):
                partial.mkdir(parents=True)
                yield partial
                (partial / "spec.json").write_text(spec.model_dump_json(indent=1))
                if not self.has(spec):  # a study run twice at once makes the same thing twice
                    shutil.rmtree(self.root / spec.key, ignore_errors=True)
                    partial.rename(self.root / spec.key)
                    self._store.keep(self.root / spec.key)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def remove_partials(folder: Path) -> None:
    """Clears what a killed process left half-written."""
    for partial in folder.glob(".*.partial"):
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
