"""Airs replayed from a file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from ..config import AbsolutePath, AirBase
from ..numerology import Link
from ..sources.budget import Budget
from ..sources.recorded import RecordedSource
from ..sources.source import Source
from ..sources.trace import is_physical, read_trace


class RecordedConfig(Budget, AirBase):
    """Realisations replayed from a file that ``tokcom air record`` or ``Trace.write`` wrote.

    ``sha256`` is filled in with the file's hash, so that a study notices if the file has changed.
    """

    UNLABELLED: ClassVar[frozenset[str]] = frozenset({"file", "sha256"})

    name: Literal["recorded"] = "recorded"
    file: AbsolutePath
    sha256: str = ""

    @model_validator(mode="before")
    @classmethod
    def _digest(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and isinstance(raw.get("file"), str | Path):
            file = Path(raw["file"]).expanduser()
            if not file.is_file():
                raise ValueError(f"no trace {file}; 'tokcom air record' makes one")
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
            if raw.get("sha256") not in (None, "", sha256):
                raise ValueError(f"the trace {file} has changed since the study began")
            return {**raw, "sha256": sha256}
        return raw

    @property
    def sets_snr(self) -> bool:
        return not is_physical(self.file)

    def without_effect(self) -> dict[str, str]:
        return {**super().without_effect(), **self.unused_budget()}

    @property
    def label(self) -> str:
        name, *unusual = super().label.split(" ", 1)
        return " ".join([name, self.file.stem, *unusual])

    def source(self, link: Link, device: str) -> Source | None:
        trace = read_trace(self.file)
        replayed = RecordedSource(trace, link.antennas, device=device)
        if not trace.physical:
            return replayed
        return self.budgeted(replayed, link)
