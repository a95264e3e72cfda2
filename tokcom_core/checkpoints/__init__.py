"""Checkpoints: their names, where they are, and how they are loaded."""

from .names import (
    KINDS,
    POCKET,
    POCKET_DRAWING,
    POCKET_IMAGES,
    POCKETS,
    NamedCheckpoint,
    checkpoint,
    index_file,
    is_of_hub,
    pocket_folder,
    resolve,
)

__all__ = [
    "KINDS",
    "POCKET",
    "POCKETS",
    "POCKET_DRAWING",
    "POCKET_IMAGES",
    "NamedCheckpoint",
    "checkpoint",
    "index_file",
    "is_of_hub",
    "pocket_folder",
    "resolve",
]
