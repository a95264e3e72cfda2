"""Refuses overrides that would change nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from tokcom_core.systems import Method, flattened, system_class

from .overrides import Override
from .study import Study


def check_effects(study: Study, changes: Sequence[Override]) -> None:
    """Refuses overrides that others replace, or that no method of the study follows.

    Raises:
        ValueError: in one line, for a key that is set twice, a system that no method has, or keys
            that every method of a system sets itself.
    """
    for position, change in enumerate(changes):
        for later in changes[position + 1 :]:
            if f"{change.key}.".startswith(f"{later.key}."):
                raise ValueError(f"{change.said} is replaced by {later.said}; leave one out")
    used = {study.system(method).name for method in study.methods}
    if used:
        for change in changes:
            _check_followed(study, change, used)


def _check_followed(study: Study, change: Override, used: Collection[str]) -> None:
    """Refuses keys below ``systems`` that no method follows, given the names of its systems."""
    place, _, path = change.key.partition(".")
    name, _, key = path.partition(".")
    if place != "systems" or not name:
        return
    if name not in used:
        raise ValueError(
            f"{change.said}: no method of {study.name} has the system {name!r}; its systems "
            f"are: {', '.join(sorted(used))}"
        )
    methods = [method for method in study.methods if method.system == name]
    if key and methods and all(_sets(method, key, change.plain) for method in methods):
        raise ValueError(
            f"{change.said} changes nothing, since each method sets {key} itself; set it "
            f"there, such as methods: [{{name: ..., {_nested(key, change.value)}}}]"
        )


def _sets(method: Method, key: str, value: Any) -> bool:
    """Whether a method has settings of its own for all that a value sets at a system's key."""
    expanded = system_class(method).expanded
    asked = flattened(expanded(_at(key, value)))
    own = flattened(expanded(method.settings))
    return bool(asked) and all(
        any(f"{one}.".startswith(f"{theirs}.") for theirs in own) for one in asked
    )


def _at(key: str, value: Any) -> dict[str, Any]:
    """Nested mappings that hold a value at a dotted key."""
    first, *others = reversed(key.split("."))
    nested = {first: value}
    for part in others:
        nested = {part: nested}
    return nested


def _nested(key: str, value: Any) -> str:
    """``alignment: {steps: 3}``."""
    *outer, last = key.split(".")
    text = f"{last}: {value}"
    for part in reversed(outer):
        text = f"{part}: {{{text}}}"
    return text
