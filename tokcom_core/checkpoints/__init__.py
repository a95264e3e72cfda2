"""Checkpoints by name: a Hugging Face name, a local folder, or a pocket one of this package."""

from __future__ import annotations

from pathlib import Path

POCKET = "pocket"
KINDS = ("language", "audio", "vision")

__all__ = ["KINDS", "POCKET", "checkpoint", "pocket_folder", "resolve"]


def pocket_folder() -> Path:
    """Folder of the small pretrained checkpoints in the package, in Hugging Face's layout."""
    return Path(__file__).parents[1] / "zoo" / "pocket"


def resolve(name: str, kind: str) -> str:
    """The argument of ``from_pretrained``: a folder, or a name that the Hub serves.

    ``pocket`` is the shipped folder of ``kind``; a local folder takes precedence over a
    name of the Hub, as it does for Hugging Face.

    Raises:
        ValueError: if there is no such checkpoint.
    """
    assert kind in KINDS
    if name == POCKET:
        return str(pocket_folder() / kind)
    folder = Path(name).expanduser()
    if name.startswith((".", "/", "~")) or folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(f"no checkpoint in {name}: it should hold a config.json")
        return str(folder)
    from .hub import hub_source

    return hub_source(name, kind)


def checkpoint(name: str, base: Path) -> str:
    """The name of a checkpoint; the absolute path if it is a folder.

    Args:
        name: Name or folder in a study file.
        base: Folder that relative paths start from.
    """
    folder = (base / Path(name).expanduser()).resolve()
    is_name = name == POCKET or not (name.startswith((".", "/", "~")) or folder.is_dir())
    return name if is_name else str(folder)
