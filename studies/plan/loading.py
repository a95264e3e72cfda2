"""Loads studies from files and presets, with overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ..errors import explain
from .overrides import Override, Overrides, overrides_of
from .paths import resolve_paths
from .study import Study

PRESETS = Path(__file__).parents[1] / "presets"


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping with the same key twice, of which YAML would take the last value."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for i, key in enumerate(keys):
            if (key.tag, key.value) in [(before.tag, before.value) for before in keys[:i]]:
                raise yaml.composer.ComposerError(
                    None, None, f"key {key.value!r} is there twice", key.start_mark
                )
        return node


def load(source: str | Path, overrides: Overrides = (), **keys: Any) -> Study:
    """Loads a study from a preset's name or a YAML file, and overrides some of its keys.

    ``load("quickstart", seeds=[0, 1])``, ``load("quickstart", {"link.access": "tdma"})`` and
    ``load("quickstart", ["link.access=tdma"])``: a value takes the place of all that the key had.
    Relative paths start from the file's folder, those of presets and overrides from the current
    one.

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
        raw = yaml.load(file.read_text(encoding="utf-8"), _UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not proper YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{file} should hold keys and values, such as 'name: mystudy'")
    raw = resolve_paths(raw, Path.cwd() if preset else file.parent.absolute())
    changes = [*overrides_of(overrides), *overrides_of(keys)]
    for change in changes:
        change.apply(raw)
    try:
        study = Study(**raw)
    except ValidationError as error:
        said = {change.key: change.said for change in changes}
        raise ValueError(explain(error, Study, str(file), said)) from None
    except TypeError as error:
        raise ValueError(f"{file}: {error}") from None
    _check_systems(study, changes)
    return study


def _check_systems(study: Study, changes: Sequence[Override]) -> None:
    """Refuses overrides of a system that no method has, which would change nothing."""
    used = sorted({study.system(method).name for method in study.methods})
    for change in changes:
        place, _, rest = change.key.partition(".")
        name = rest.partition(".")[0]
        if place == "systems" and name and used and name not in used:
            raise ValueError(
                f"{change.said}: no method of {study.name} has the system {name!r}; its systems "
                f"are: {', '.join(used)}"
            )


def presets() -> list[str]:
    """Names of the studies that come with the package."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


def preset_file(name: str) -> Path | None:
    return PRESETS / f"{name}.yaml" if name in presets() else None
