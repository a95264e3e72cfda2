"""Resolves relative paths in a study, before workers in other folders see them."""

from __future__ import annotations

from collections.abc import Callable
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

    def resolved(text: str, key: tuple[str, ...]) -> str:
        if key in _PATHS:
            return str((base / Path(text).expanduser()).resolve())
        return checkpoint(text, base) if _is_checkpoint(key) else text

    return _changed(value, resolved, key)


def resolve_checkpoints(value: Any, base: Path) -> Any:
    """A study's plain data with the relative folders of checkpoints resolved, and no other path."""

    def resolved(text: str, key: tuple[str, ...]) -> str:
        relative = not Path(text).is_absolute()
        return checkpoint(text, base) if relative and _is_checkpoint(key) else text

    return _changed(value, resolved)


def _changed(
    value: Any, change: Callable[[str, tuple[str, ...]], str], key: tuple[str, ...] = ()
) -> Any:
    """Plain data with another text for each text, by the text and the parts of its key."""
    if isinstance(value, dict):
        return {name: _changed(inner, change, (*key, str(name))) for name, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_changed(inner, change, key) for inner in value)
    return change(value, key) if isinstance(value, str) else value


def _is_checkpoint(key: tuple[str, ...]) -> bool:
    """Whether a key holds a checkpoint of a system, for all its methods or for one."""
    for name, system in SYSTEMS.items():
        for path in system.PATHS:
            if key in (("systems", name, *path), ("methods", *path)):
                return True
    return False
