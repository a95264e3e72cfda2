"""Numbers as text."""

from __future__ import annotations

from collections.abc import Iterable


def exact_text(value: float) -> str:
    """A number in six digits, or in as many more as it needs."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))  # NumPy's repr names its type


def listed_text(values: Iterable[float]) -> str:
    """Numbers in six digits, with commas between them."""
    return ", ".join(f"{value:g}" for value in values)
