"""Resolves relative paths in a study, before workers in other folders see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokcom_core.checkpoints import checkpoint
from tokcom_core.systems import SYSTEMS

_PATHS = (("data", "folder"), ("airs", "file"), ("airs", "scene"))


def resolve_paths(value: Any, base: Path, key: tuple[str, ...] = ()) -> Any:
    """Plain data of a study with its relative paths resolved from the folder ``base``.

    Args:
        value: Value of ``key``; the whole study for the empty key.
        base: Absolute path.
        key: Parts of the value's key.
    """
    if isinstance(value, dict):
        return {
            name: resolve_paths(inner, base, (*key, str(name))) for name, inner in value.items()
        }
    if isinstance(value, list):
        return [resolve_paths(inner, base, key) for inner in value]
    if isinstance(value, str) and key in _PATHS:
        return str((base / Path(value).expanduser()).resolve())
    if isinstance(value, str) and _is_checkpoint(key):
        return checkpoint(value, base)
    return value


def _is_checkpoint(key: tuple[str, ...]) -> bool:
    """Whether a key holds a checkpoint of a system, for all its methods or for one."""
    for name, system in SYSTEMS.items():
        for path in system.PATHS:
            if key in (("systems", name, *path), ("methods", *path)):
                return True
    return False
