"""The pocket zoo: small pretrained checkpoints in Hugging Face's layout, shipped in the package."""

from __future__ import annotations

from pathlib import Path

from .hub import hub_source

POCKET = "pocket"
KINDS = ("language", "audio", "vision")

__all__ = ["KINDS", "POCKET", "pocket_folder", "resolve"]


def pocket_folder() -> Path:
    return Path(__file__).parent / "pocket"


def resolve(name: str, kind: str) -> str:
    """What to hand to ``from_pretrained``: a folder, or a name that the Hub hands out.

    ``pocket`` is the shipped folder of ``kind``; a folder of this machine goes before a name of the
    Hub, as it does for Hugging Face.

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
    return hub_source(name, kind)
