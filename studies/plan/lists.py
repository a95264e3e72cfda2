"""Lists in a study file."""

from __future__ import annotations

from typing import Any

from pydantic import AfterValidator, BeforeValidator, Field

from tokcom_core.config import listed


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuses values that are there twice."""
    if any(value in values[:i] for i, value in enumerate(values)):
        shown = ", ".join(str(getattr(value, "label", value)) for value in values)
        raise ValueError(f"values are repeated: {shown}; take each once")
    return values


SEVERAL = (BeforeValidator(listed), AfterValidator(distinct), Field(min_length=1))
"""Annotations of a key with one value or several distinct ones."""
