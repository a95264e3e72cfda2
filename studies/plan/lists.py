"""Lists in a study file."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from pydantic import AfterValidator, BeforeValidator, Field

from tokcom_core.config import listed


def gridded(value: Any) -> list[Any]:
    """The entries of a list; a mapping with lists stands for every combination of their values."""
    entries: list[Any] = []
    for entry in listed(value):
        if not isinstance(entry, Mapping):
            entries.append(entry)
            continue
        every = product(*(listed(values) for values in entry.values()))
        entries += [dict(zip(entry, values, strict=True)) for values in every]
    return entries


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuses repeated values."""
    if any(value in values[:i] for i, value in enumerate(values)):
        shown = ", ".join(str(getattr(value, "label", value)) for value in values)
        raise ValueError(f"values are repeated: {shown}; take each once")
    return values


GRID = (BeforeValidator(gridded), AfterValidator(distinct), Field(min_length=1))
"""Annotations of a key with one mapping or several, whose values may be lists themselves."""

SEVERAL = (BeforeValidator(listed), AfterValidator(distinct), Field(min_length=1))
"""Annotations of a key with one value or several distinct ones."""
