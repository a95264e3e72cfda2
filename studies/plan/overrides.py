"""Overrides of a study's keys, from the command line and from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .paths import resolve_paths
from .strict_yaml import parse_option

_NAMED = ("task", "methods", "airs", "loggers")
"""Keys whose values may be a name alone, which stands for a mapping with that name."""


@dataclass(frozen=True)
class Override:
    """A dotted key, the value that replaces its own, and what messages call the override."""

    key: str
    value: Any
    said: str

    def apply(self, raw: dict[str, Any]) -> None:
        """Sets the key in a study's plain data; relative paths start from the current folder.

        A key below a list of one value is a key of that value: ``tokens.audio``, where there is
        one budget.

        Raises:
            ValueError: if a key above it has no keys of its own, or has several values.
        """
        *path, last = self.key.split(".")
        place: Any = raw
        for part in path:
            if place.get(part) is None:
                place[part] = {}
            elif part in _NAMED:
                place[part] = _with_keys(place[part])
            place = place[part]
            if isinstance(place, list | tuple):
                if len(place) != 1:
                    raise ValueError(
                        f"{self.said}: {part!r} has {len(place)} values; set all, {part}=[...]"
                    )
                place = place[0]
            if not isinstance(place, dict):
                raise ValueError(f"{self.said}: {part!r} has no keys of its own")
        place[last] = self.plain

    @property
    def plain(self) -> Any:
        """Its value as a YAML file would hold it, with relative paths from the current folder."""
        return resolve_paths(plain(self.value), Path.cwd(), tuple(self.key.split(".")))

    def sets(self, place: Sequence[int | str]) -> bool:
        """Whether its key is this place in a study, or one above or below it; false for ().

        Args:
            place: Parts of a dotted key, and numbers of values of a list.
        """
        path = self.key.split(".")
        return bool(place) and all(a == str(b) for a, b in zip(path, place, strict=False))


Overrides = Sequence[str | Override] | Mapping[str, Any]
"""``key=value`` in YAML as after ``--set``, or values by key; a key may be dotted."""


def overrides_of(given: Overrides, option: str = "--set") -> list[Override]:
    """The overrides in their order.

    Args:
        given: The overrides.
        option: Option of the command line that the texts were given after.

    Raises:
        ValueError: in one line, for text that is not ``key=value`` with a value in YAML.
    """
    if isinstance(given, Mapping):
        return [Override(key, value, key) for key, value in given.items()]
    if isinstance(given, str):
        raise ValueError(f"overrides {given!r} should be a list of texts key=value, or a mapping")
    return [item if isinstance(item, Override) else _parsed(item, option) for item in given]


def override_by(option: str, key: str, value: object) -> Override:
    """The override that an option other than ``--set`` stands for, such as ``--users 300``.

    Args:
        option: Option of the command line; messages call the override by it.
        key: Dotted key.
        value: Value as it was given; a text is YAML, as after ``--set``.

    Raises:
        ValueError: in one line, for text that is not YAML.
    """
    said = option if value is True else f"{option} {value}"
    return replace(_parsed(f"{key}={value}", option), said=said)


def _parsed(text: str, option: str) -> Override:
    key, separator, value = text.partition("=")
    said = f"{option} {text}"
    if not separator or not key:
        raise ValueError(f"{said} should be key=value, such as seeds=[0,1]")
    return Override(key, parse_option(value, said), said)


def _with_keys(value: Any) -> Any:
    """A value, or several, with mappings in place of names alone."""
    if isinstance(value, list | tuple):
        return [_with_keys(own) for own in value]
    return {"name": value} if isinstance(value, str) else value


def plain(value: Any) -> Any:
    """A value as a YAML file would hold it: paths as text, NumPy's values as Python's."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
