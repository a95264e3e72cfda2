"""The pocket zoo: small pretrained checkpoints in Hugging Face's layout, shipped in the package."""

from __future__ import annotations

from pathlib import Path

POCKET = "pocket"
KINDS = ("language", "audio", "vision")

__all__ = ["KINDS", "POCKET", "pocket_folder", "resolve"]


def pocket_folder() -> Path:
    return Path(__file__).parent / "pocket"


def resolve(name: str, kind: str) -> str:
    """What to hand to ``from_pretrained``: ``pocket`` becomes the shipped folder of ``kind``.

    Raises:
        ValueError: if ``name`` looks like a local folder and is none.
    """
    assert kind in KINDS
    if name == POCKET:
        return str(pocket_folder() / kind)
    if name.startswith((".", "/", "~")):
        folder = Path(name).expanduser()
        if not (folder / "config.json").is_file():
            raise ValueError(f"no checkpoint in {name}: it should hold a config.json")
        return str(folder)
    return name
