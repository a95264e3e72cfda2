"""Refuses true and false where a number is meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails

from .base import listed

Place = tuple[int | str, ...]
"""Parts of a dotted key, and numbers of values of a list."""


def refuse_truth_for_number(raw: Mapping[str, Any], config: BaseModel) -> None:
    """Refuses true and false where a config has taken them for 1 and 0.

    Args:
        raw: Plain data of the config; keys in a short form, which it does not have, are not seen.
        config: What became of them.

    Raises:
        pydantic.ValidationError: with the place of each of them.
    """
    truths = [*_truths(raw, config)]
    if truths:
        raise ValidationError.from_exception_data(
            type(config).__name__,
            [InitErrorDetails(type="float_type", loc=loc, input=truth) for loc, truth in truths],
        )


def _truths(raw: Any, taken: Any, *place: int | str) -> Iterator[tuple[Place, bool]]:
    """Booleans in plain data that were taken for numbers, each behind its place."""
    if isinstance(raw, Mapping):
        if isinstance(taken, list | tuple) and len(taken) == 1:  # a single value stands for a list
            (taken,) = taken
        values = dict(taken) if isinstance(taken, BaseModel | Mapping) else {}
        for key in raw.keys() & values.keys():
            yield from _truths(raw[key], values[key], *place, key)
    elif isinstance(raw, list | tuple):
        for i, (value, became) in enumerate(zip(raw, listed(taken), strict=False)):
            yield from _truths(value, became, *place, i)
    elif isinstance(raw, bool):
        became = listed(taken)[:1]
        if any(isinstance(value, int | float) and not isinstance(value, bool) for value in became):
            yield place, raw
