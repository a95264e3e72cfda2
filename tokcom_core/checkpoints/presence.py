"""Which checkpoints are on this machine, with all their weights; nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..errors import first_line
from .hub import cached_folder
from .names import NamedCheckpoint, index_file, is_of_hub, resolve

_SHARDS = ".safetensors.index.json"


def local_folder(wanted: NamedCheckpoint) -> Path | None:
    """The folder of a checkpoint on this machine; None if the Hub would serve it.

    The Hub is asked only if the Hugging Face cache does not hold the whole checkpoint.

    Raises:
        ValueError: if there is no such checkpoint, or its weights are missing or damaged.
    """
    of_hub = is_of_hub(wanted.name)
    cached = cached_folder(wanted.name, index_file(wanted.kind)) if of_hub else None
    if cached is not None and missing_weights(cached) is None:
        return cached
    source = resolve(wanted.name, wanted.kind)
    if of_hub and source == wanted.name:
        return None
    if (missing := missing_weights(Path(source))) is not None:
        raise ValueError(f"{wanted.kind} checkpoint {wanted.name!r} in {source}: {missing}")
    return Path(source)


def missing_weights(folder: Path) -> str | None:
    """What is wrong with the weights in a folder, judged by their headers; None if nothing is."""
    files = sorted(folder.rglob("*.safetensors"))
    if not files and not any(folder.rglob("*.bin")):
        return "no file of weights, neither .safetensors nor .bin"
    for file in files:
        try:
            with safe_open(file, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            return f"{file.name} is damaged ({error})"
    for index in sorted(folder.rglob(f"*{_SHARDS}")):
        try:
            shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            return f"{index.name} is damaged ({first_line(error)})"
        absent = [shard for shard in shards if not (index.parent / shard).is_file()]
        if absent:
            return f"{len(absent)} of {len(shards)} files of weights are missing, {absent[0]} first"
    return None
