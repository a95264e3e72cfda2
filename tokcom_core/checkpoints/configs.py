"""Configurations of checkpoints, for their sizes: no weights and no model classes are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from safetensors import SafetensorError
from transformers import AutoConfig, PretrainedConfig

from ..errors import first_line
from . import resolve


def read_config(name: str, kind: str) -> PretrainedConfig:
    """The configuration of a checkpoint of some kind, see :data:`.KINDS`.

    Raises:
        ValueError: if there is no such checkpoint, or its configuration cannot be read.
    """
    return from_pretrained(AutoConfig.from_pretrained, name, kind)


def read_raw_config(name: str, kind: str) -> dict[str, Any]:
    """What a checkpoint's ``config.json`` says, whichever library has written it.

    Raises:
        ValueError: as :func:`read_config`.
    """
    keys: dict[str, Any] = from_pretrained(PretrainedConfig.get_config_dict, name, kind)[0]
    return keys


def from_pretrained(loader: Callable[..., Any], name: str, kind: str, **options: object) -> Any:
    """Calls a loader of transformers on a checkpoint; its errors become one line."""
    path = resolve(name, kind)
    try:
        return loader(path, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise unreadable(name, kind, error) from None


def unreadable(name: str, kind: str, error: Exception) -> ValueError:
    """One line for a checkpoint that cannot be read."""
    return ValueError(f"{kind} checkpoint {name!r} cannot be read: {first_line(error)}")
