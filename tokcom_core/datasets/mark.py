"""The mark of a generated data set: what it is made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..storage import atomic_file


def claim_folder(
    root: Path, world: str, made_of: Mapping[str, int], folders: Iterable[str]
) -> None:
    """Marks ``root`` with what a world is made of, so that two data sets never mix.

    Args:
        root: Folder of the data set.
        world: Name of the miniature world, such as MiniMUSIC.
        made_of: Its size, its seed, and what else it depends on.
        folders: Folders that it is written to, below ``root``.

    Raises:
        ValueError: if ``root`` holds one of this world that is made of something else, or has one
            of the folders without a mark: its files are somebody's own.
    """
    mark = root / f"{world.lower()}.json"
    if mark.exists():
        if json.loads(mark.read_text()) != made_of:
            raise ValueError(
                f"{root} holds another {world} {mark.read_text()}; choose another folder"
            )
        return
    taken = [name for name in folders if (root / name).exists()]
    if taken:
        raise ValueError(
            f"{root} has {', '.join(taken)} already, with data that are not a {world}; choose "
            "another folder"
        )
    root.mkdir(parents=True, exist_ok=True)
    with atomic_file(mark) as partial:
        partial.write_text(json.dumps(dict(made_of)))
