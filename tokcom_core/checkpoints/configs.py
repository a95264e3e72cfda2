"""Reads configurations of checkpoints: sizes and stop tokens, no weights or model classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoConfig, PretrainedConfig
from transformers.utils import GENERATION_CONFIG_NAME, cached_file

from ..errors import first_line
from .names import resolve


def read_config(name: str, kind: str) -> PretrainedConfig:
    """The configuration of a checkpoint of some kind, see :data:`.KINDS`.

    Raises:
        ValueError: if there is no such checkpoint, or its configuration cannot be read.
    """
    return from_pretrained(AutoConfig.from_pretrained, name, kind)


def read_raw_config(name: str, kind: str) -> dict[str, Any]:
    """The content of a checkpoint's ``config.json``, whichever library has written it.

    Raises:
        ValueError: as :func:`read_config`.
    """
    keys: dict[str, Any] = from_pretrained(PretrainedConfig.get_config_dict, name, kind)[0]
    return keys


def stop_tokens(name: str) -> tuple[int, ...]:
    """Tokens that end a text according to a language model's own settings; none if these name none.

    Chat models often end a turn with another token than their tokenizer's end-of-sequence.

    Raises:
        ValueError: if the settings cannot be read.
    """
    ends: int | list[int] | None = from_pretrained(_read_stop_tokens, name, "language")
    return () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)


def _read_stop_tokens(path: str) -> Any:
    file = cached_file(path, GENERATION_CONFIG_NAME, _raise_exceptions_for_missing_entries=False)
    if file is None:
        return getattr(AutoConfig.from_pretrained(path).get_text_config(), "eos_token_id", None)
    return json.loads(Path(file).read_text(encoding="utf-8")).get("eos_token_id")


def from_pretrained(loader: Callable[..., Any], name: str, kind: str, **options: object) -> Any:
    """Calls a loader of transformers on a checkpoint; its errors become a one-line ValueError."""
    path = resolve(name, kind)
    try:
        return loader(path, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise unreadable(name, kind, error) from None


def unreadable(name: str, kind: str, error: Exception) -> ValueError:
    """The one-line error for a checkpoint that cannot be read."""
    return ValueError(f"{kind} checkpoint {name!r} cannot be read: {first_line(error)}")
