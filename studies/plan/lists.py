"""Lists in a study file."""

from __future__ import annotations

from typing import Any


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuses values that are there twice."""
    if any(value in values[:i] for i, value in enumerate(values)):
        raise ValueError(f"values are repeated: {', '.join(str(v) for v in values)}")
    return values
