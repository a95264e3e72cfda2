"""Loads studies from files and presets, with overrides of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ..errors import explain
from .paths import resolve_paths
from .study import Study

PRESETS = Path(__file__).parents[1] / "presets"


def load(source: str | Path, overrides: tuple[str, ...] = ()) -> Study:
    """Loads a study from a preset's name or a YAML file; ``overrides`` are ``key=value``.

    Relative paths start from the file's folder, those of presets and overrides from the current
    one.

    Raises:
        ValueError: in one line, for a missing or damaged file, unknown keys and bad values.
    """
    preset = preset_file(str(source))
    file = preset or Path(source)
    if not file.is_file():
        raise ValueError(f"no study {source}; give a YAML file or a preset: {', '.join(presets())}")
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{file} should hold keys and values, such as 'name: mystudy'")
    raw = resolve_paths(raw, Path.cwd() if preset else file.parent.absolute())
    for override in overrides:
        _apply(raw, override)
    try:
        return Study(**raw)
    except ValidationError as error:
        raise ValueError(explain(error, Study, str(file), overrides)) from None
    except TypeError as error:
        raise ValueError(f"{file}: {error}") from None


def presets() -> list[str]:
    """Names of the studies that come with the package."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


def preset_file(name: str) -> Path | None:
    return PRESETS / f"{name}.yaml" if name in presets() else None


def _apply(raw: dict[str, Any], override: str) -> None:
    """Sets a dotted key: ``systems.mlms.fine_tuning.steps=100``, ``seeds=[0,1,2]``."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ValueError(f"--set {override!r} should be key=value, such as seeds=[0,1]")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError(f"--set {override!r}: the value is not YAML") from None
    value = resolve_paths(value, Path.cwd(), tuple(key.split(".")))
    *path, last = key.split(".")
    for part in path:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            raise ValueError(f"--set {override!r}: {part!r} has no keys of its own")
    raw[last] = value
