"""Loads studies from files and presets, with overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ..errors import explain
from .effects import check_effects
from .overrides import Override, Overrides, overrides_of
from .paths import resolve_paths
from .strict_yaml import parse
from .study import Study

PRESETS = Path(__file__).parents[1] / "presets"


def load(source: str | Path, overrides: Overrides = (), **keys: Any) -> Study:
    """Loads a study from a preset's name or a YAML file, and overrides some of its keys.

    Overrides take three forms: ``load("quickstart", seeds=[0, 1])``,
    ``load("quickstart", {"link.access": "tdma"})`` or
    ``load("quickstart", ["link.access=tdma"])``. A value replaces all that the key had.
    Relative paths start from the file's folder, those of presets and overrides from the current
    folder.

    Args:
        source: Name of a preset, or a YAML file.
        overrides: Values by dotted key, or texts ``key=value`` as after ``--set``.
        keys: Values of keys of the study itself.

    Raises:
        ValueError: in one line, for a missing or damaged file, unknown keys and bad values.
    """
    preset = preset_file(str(source))
    file = preset or Path(source)
    if not file.is_file():
        raise ValueError(f"no study {source}; give a YAML file or a preset: {', '.join(presets())}")
    try:
        raw = parse(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not proper YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{file} should hold keys and values, such as 'name: mystudy'")
    raw = resolve_paths(raw, Path.cwd() if preset else file.parent.absolute())
    changes = [*overrides_of(overrides), *overrides_of(keys)]
    study = changed_study(raw, changes, str(file))
    check_effects(study, changes)
    return study


def changed_study(raw: Mapping[str, Any], changes: Sequence[Override], source: str) -> Study:
    """The study of plain data with some keys overridden.

    Args:
        raw: Plain data of the study.
        changes: Overrides, in their order.
        source: Where the plain data come from; messages name it for errors that no override made.

    Raises:
        ValueError: in one line, for keys and values that a study does not take.
    """
    try:
        return Study.resolved(**_with(raw, changes))
    except ValidationError as error:
        raise ValueError(explain(error, Study, _Blame(raw, changes, source))) from None
    except TypeError as error:
        raise ValueError(f"{source}: {error}") from None


def _with(raw: Mapping[str, Any], changes: Sequence[Override]) -> dict[str, Any]:
    found = deepcopy(dict(raw))
    for change in changes:
        change.apply(found)
    return found


class _Blame:
    """What an error of a study is blamed on: an override, or where the other keys come from.

    Args:
        raw: Plain data of the study.
        changes: Overrides, in their order.
        source: Where the plain data come from.
    """

    def __init__(self, raw: Mapping[str, Any], changes: Sequence[Override], source: str) -> None:
        self._raw = raw
        self._changes = changes
        self._source = source

    def __call__(self, item: ErrorDetails) -> str:
        """The override that sets the error's key, else the one with which the error came up."""
        setting = (change for change in reversed(self._changes) if change.sets(item["loc"]))
        found = next(setting, None) or self._first_with(item)
        return self._source if found is None else found.said

    def _first_with(self, item: ErrorDetails) -> Override | None:
        """The first override with which the error appears; None if it was there before all."""
        for count in range(len(self._changes) + 1):
            if (item["loc"], item["msg"]) in self._complaints(count):
                return self._changes[count - 1] if count else None
        return None

    def _complaints(self, count: int) -> list[tuple[Any, str]]:
        """Place and message of each error with only the first ``count`` overrides."""
        try:
            Study.resolved(**_with(self._raw, self._changes[:count]))
        except ValidationError as error:
            return [(item["loc"], item["msg"]) for item in error.errors()]
        except TypeError:  # for keys that are not text
            pass
        return []


def presets() -> list[str]:
    """Names of the studies that come with the package."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


def preset_file(name: str) -> Path | None:
    return PRESETS / f"{name}.yaml" if name in presets() else None
