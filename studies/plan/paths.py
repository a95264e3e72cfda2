"""Paths that a study names: what is relative becomes absolute once, before workers see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokcom_core.zoo import POCKET

_PATHS = (("data", "folder"), ("airs", "file"), ("airs", "scene"))
_CHECKPOINTS = (("models", "language"), ("models", "audio"), ("models", "vision"))


def resolve_paths(value: Any, base: Path, key: tuple[str, ...] = ()) -> Any:
    """A study's plain data with the relative paths in it taken from the folder ``base``.

    Args:
        value: of ``key``, all of the study without one.
        base: an absolute path.
        key: where the value stands.
    """
    if isinstance(value, dict):
        return {
            name: resolve_paths(inner, base, (*key, str(name))) for name, inner in value.items()
        }
    if isinstance(value, list):
        return [resolve_paths(inner, base, key) for inner in value]
    if isinstance(value, str) and key in _PATHS:
        return str(_from(base, value))
    if isinstance(value, str) and key in _CHECKPOINTS:
        return checkpoint(value, base)
    return value


def checkpoint(name: str, base: Path) -> str:
    """A name on Hugging Face's hub stays one, unless such a folder exists."""
    folder = _from(base, name)
    named = name == POCKET or not (name.startswith((".", "/", "~")) or folder.is_dir())
    return name if named else str(folder)


def _from(base: Path, path: str) -> Path:
    return (base / Path(path).expanduser()).resolve()
