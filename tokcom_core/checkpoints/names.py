"""Checkpoints by name: a Hugging Face name, a local folder, or a pocket one of this package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POCKET, POCKET_IMAGES, POCKET_DRAWING = "pocket", "pocket-images", "pocket-drawing"
_WORLDS = {
    POCKET: "pocket",
    POCKET_IMAGES: "pocket_images",
    POCKET_DRAWING: "pocket_drawing",
}
KINDS = ("language", "audio", "vision", "clip", "convnext", "diffusion", "judge", "refinement")

POCKETS = tuple(_WORLDS)
"""Names of all worlds' shipped checkpoints."""

_INDEX = {"diffusion": "model_index.json", "refinement": "adapter_config.json"}
"""The file that tells what a checkpoint is, where it is not ``config.json``."""


@dataclass(frozen=True)
class NamedCheckpoint:
    """A checkpoint that something is loaded from.

    Attributes:
        kind: One of :data:`KINDS`.
        name: Hugging Face name, folder, or one of :data:`POCKETS`.
    """

    kind: str
    name: str


def pocket_folder(world: str = POCKET) -> Path:
    """Folder of the small pretrained checkpoints in the package, in Hugging Face's layout.

    Those of ``pocket`` know MiniMUSIC's sounds and clips, those of ``pocket-images`` MiniCLEVR's
    images; those of ``pocket-drawing`` draw them.
    """
    return Path(__file__).parents[1] / "zoo" / _WORLDS[world]


def resolve(name: str, kind: str) -> str:
    """The argument of ``from_pretrained``: a folder, or a name that the Hub serves.

    ``pocket``, ``pocket-images`` and ``pocket-drawing`` are the shipped folders of ``kind``; a
    local folder takes precedence over a name of the Hub, as it does for Hugging Face.

    Raises:
        ValueError: if there is no such checkpoint.
    """
    assert kind in KINDS
    if name in _WORLDS:
        return str(_pocket(name, kind))
    folder, index = Path(name).expanduser(), index_file(kind)
    if not is_of_hub(name):
        if not (folder / index).is_file():
            raise ValueError(f"no checkpoint in {name}: it should hold a {index}")
        return str(folder)
    from .hub import hub_source

    return hub_source(name, kind, index)


def is_of_hub(name: str, base: Path | None = None) -> bool:
    """Whether a name is one of the Hub, rather than a pocket one or a folder.

    Args:
        name: Name of a checkpoint.
        base: Folder that relative paths start from, the current one by default.
    """
    folder = Path(base or "") / Path(name).expanduser()
    return not (name in _WORLDS or name.startswith((".", "/", "~")) or folder.is_dir())


def index_file(kind: str) -> str:
    """Name of the file that every checkpoint of a kind has."""
    return _INDEX.get(kind, "config.json")


def _pocket(world: str, kind: str) -> Path:
    folder = pocket_folder(world) / kind
    if not folder.is_dir():
        others = [other for other in _WORLDS if (pocket_folder(other) / kind).is_dir()]
        raise ValueError(
            f"{world!r} has no {kind} checkpoint; take "
            f"{' or '.join([*map(repr, others), 'a folder or a model of the Hub'])}"
        )
    return folder


def checkpoint(name: str, base: Path) -> str:
    """The name of a checkpoint; the absolute path if it is a folder.

    Args:
        name: Name or folder in a study file.
        base: Folder that relative paths start from.
    """
    if name in _WORLDS or is_of_hub(name, base):
        return name
    return str((base / Path(name).expanduser()).resolve())
