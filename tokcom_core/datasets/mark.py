"""The mark of a generated data set: what it is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..storage import atomic_file


def claim_folder(root: Path, world: str, made_of: Mapping[str, int]) -> None:
    """Marks ``root`` with what a world is made of, so that two data sets never mix.

    Args:
        root: Folder of the data set.
        world: Name of the miniature world, such as MiniMUSIC.
        made_of: Its size, its seed, and what else it depends on.

    Raises:
        ValueError: if ``root`` holds one of this world that is made of something else.
    """
    mark = root / f"{world.lower()}.json"
    if mark.exists() and json.loads(mark.read_text()) != made_of:
        raise ValueError(f"{root} holds another {world} {mark.read_text()}; choose another folder")
    root.mkdir(parents=True, exist_ok=True)
    with atomic_file(mark) as partial:
        partial.write_text(json.dumps(dict(made_of)))
