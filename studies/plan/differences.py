"""How a study differs from its defaults, its preset, and the study that its folder is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from .loading import load, presets
from .study import Study

_CHANGES = {"description", "claims", "engine", "device", "resources", "loggers"}
"""Keys that change nothing in the table; its rows say themselves what they were computed on."""
_GROWS = [
    *("airs", "train_snr_db", "eval_snr_db", "bandwidth_hz", "deadline_ms", "tokens", "seeds"),
    *("link.tx_power_dbm", "emulate.users", "digital.bits"),
]
"""Keys with lists of values, to which values may be added later."""


def differences(old: Study, new: Study) -> list[str]:
    """The keys in which a study differs from an old one by more than growth: ``seeds.0 0 -> 1``.

    A swept key has grown if all its old values are still there. Lengths that are fitted meet their
    deadline on all airs, so that another air may change them all.
    """
    before, after = (study.model_dump(mode="json", exclude=_CHANGES) for study in (old, new))
    fitted = ("airs",) if new.deadline_policy == "fit" else ()
    for key in (key for key in _GROWS if key not in fitted):
        *path, name = key.split(".")
        had, has = (_keys_at(keys, path) for keys in (before, after))
        if all(value in has.get(name, ()) for value in had.get(name, ())):
            had[name] = has.get(name)
    return list(_differences(before, after, ()))


def preset_differences(study: Study) -> list[str]:
    """The keys in which a study differs from the preset whose name and description it has."""
    preset = load(study.name) if study.name in presets() else None
    if preset is None or preset.description != study.description:
        return []
    before, after = (own.model_dump(mode="json", exclude=_CHANGES) for own in (preset, study))
    return list(_differences(before, after, ()))


def without_defaults(study: Study) -> dict[str, Any]:
    """The keys that give the study, without those that are at their defaults."""
    every = study.model_dump(mode="json")
    defaults = Study(name=study.name).model_dump(mode="json")
    found = {"name": study.name, **_changed(every, defaults)}
    try:
        return found if Study.resolved(**found) == study else every
    except ValidationError:  # a recipe has other defaults
        return every


def _keys_at(keys: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """The keys at a path in a study's plain data; none where it has no value."""
    for name in path:
        keys = keys[name] or {}
    return keys


def _differences(old: Any, new: Any, key: tuple[str, ...]) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**old, **new}:
            yield from _differences(old.get(name), new.get(name), (*key, name))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, (*key, str(i)))
    elif old != new:
        yield f"{'.'.join(key)} {old} -> {new}"


def _changed(values: Any, defaults: Any) -> Any:
    if not isinstance(values, dict) or not isinstance(defaults, dict):
        return values
    if values.keys() != defaults.keys() or values.get("name") != defaults.get("name"):
        return values  # of another kind
    return {k: _changed(v, defaults[k]) for k, v in values.items() if v != defaults[k]}
