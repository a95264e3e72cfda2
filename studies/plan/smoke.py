"""A smoke test: a study at the least size at which every method runs through all its phases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tokcom_core.config import CUSTOM, listed, load_class
from tokcom_core.datasets.data import smoke_data
from tokcom_core.systems import SYSTEMS, System, merged, system_named_by

from .lists import gridded

Scale = Literal["full", "smoke"]

_KEPT = {
    **dict.fromkeys(("seeds", "airs", "bandwidth_hz", "train_snr_db", "tokens"), 1),
    "eval_snr_db": 2,
}
"""Number of values that are kept of each swept key."""
_QUESTIONS = 16
_USERS = 20


def smoked(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A study's keys with few samples, steps, questions and conditions; all methods stay."""
    small = {**raw, "data": smoke_data(raw.get("data"))}
    for key, count in _KEPT.items():
        if key in small:
            small[key] = (gridded if key == "tokens" else listed)(small[key])[:count]
    if "deadline_ms" in small:  # the longest, which all methods may meet
        deadlines_ms = listed(small["deadline_ms"])
        fitted = small.get("deadline_policy") == "fit"
        finite_ms = [own for own in deadlines_ms if own is not None]
        keeps_none = len(finite_ms) < len(deadlines_ms) and not (fitted and finite_ms)
        small["deadline_ms"] = None if keeps_none else max(finite_ms)
    for key, swept in (("digital", "bits"), ("link", "tx_power_dbm")):
        keys = _mapping(small.get(key))
        if swept in keys:
            small[key] = {**keys, swept: listed(keys[swept])[:1]}
    own = _mapping(small.get("systems"))
    small["systems"] = {**own, **{name: _small(s, own.get(name)) for name, s in SYSTEMS.items()}}
    if "methods" in small:
        small["methods"] = [_small_method(method) for method in listed(small["methods"])]
    small["evaluation"] = {**_mapping(small.get("evaluation")), "questions": _QUESTIONS}
    for key in ("emulate", "federation"):
        if isinstance(small.get(key), Mapping):
            users = [own for own in listed(small[key].get("users", _USERS)) if isinstance(own, int)]
            small[key] = {**small[key], "users": min([_USERS, *users])}
    return small


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _small(system: type[System], raw: Any) -> dict[str, Any]:
    """A system's keys with few steps; a training that is switched off stays off."""
    settings = system.expanded(_mapping(raw))
    wanted = {key: few for key, few in system.SMOKE.items() if settings.get(key, few) is not None}
    return merged(settings, wanted)


def _small_method(raw: Any) -> Any:
    """A method with few steps, where it sets their number itself."""
    if isinstance(raw, Mapping) and raw.get("system") == CUSTOM:
        return _small_custom(raw)
    system = system_named_by(raw)
    return raw if system is None else _within(raw, system.SMOKE)


def _small_custom(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """A method of a system from outside the package, with the few steps that the system names."""
    try:
        system = load_class(str(raw.get("class")), System)
    except ValueError:  # refused where methods are validated
        return raw
    return _small(system, raw)


def _within(settings: Mapping[str, Any], few: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of ``own``, with the values of ``few`` for those that both have."""
    limited = dict(settings)
    for key in settings.keys() & few.keys():
        if not isinstance(few[key], Mapping):
            limited[key] = few[key]
        elif isinstance(settings[key], Mapping):
            limited[key] = _within(settings[key], few[key])
    return limited
