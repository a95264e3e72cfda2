"""The models of a study: pocket checkpoints on miniature data, or the papers' own on real data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from tokcom_core.config import listed, validate_named
from tokcom_core.datasets.data import miniature_data, real_data
from tokcom_core.systems import SYSTEMS, merged, system_named_by
from tokcom_core.tasks import TASKS, Avqa, Task

from .lists import gridded

ModelsName = Literal["pocket", "real"]


def with_models(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A study's keys, with the models and the data that the key ``models`` names, if it is set."""
    replace = {"pocket": _with_pocket, "real": _with_real}
    name = raw.get("models")
    return replace[name](raw) if isinstance(name, str) and name in replace else dict(raw)


def _with_real(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A folder of data, a GPU, and the papers' checkpoints where the study names none."""
    real = {
        "systems": {name: {**system.REAL} for name, system in SYSTEMS.items()},
        "resources": {"gpu": 1.0},
    }
    return {**merged(real, raw), "data": real_data(raw.get("data"))}


def _with_pocket(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Miniature data and pocket checkpoints instead of the study's own.

    Token lengths are cut to those of the pocket encoders, and no GPU is used; all else stays.
    """
    found = dict(raw)
    found["data"] = miniature_data(found.get("data"), _task(found).media)
    own = found.get("systems")
    pocket = {name: system.POCKET for name, system in SYSTEMS.items()}
    found["systems"] = merged(own if isinstance(own, Mapping) else {}, pocket)
    if "methods" in found:
        found["methods"] = [_pocket_method(method) for method in listed(found["methods"])]
    resources = found.get("resources")
    if isinstance(resources, Mapping):
        found["resources"] = {**resources, "gpu": 0.0, "device_gpu": 0.0}
    if str(found.get("device", "")).startswith("cuda"):
        found["device"] = "auto"
    longest = _longest(found["systems"], _task(found))
    if "tokens" in found:
        shortened = [_shortened(budget, longest) for budget in gridded(found["tokens"])]
        found["tokens"] = [t for i, t in enumerate(shortened) if t not in shortened[:i]]
    return found


def _pocket_method(raw: Any) -> Any:
    """A method with pocket checkpoints, where it names others itself."""
    system = system_named_by(raw)
    return raw if system is None else _instead(raw, system.POCKET)


def _instead(own: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of ``own``, with the values of ``others`` for those that both have and set."""
    found = dict(own)
    for key in own.keys() & others.keys():
        if isinstance(own[key], Mapping) and isinstance(others[key], Mapping):
            found[key] = _instead(own[key], others[key])
        elif own[key] is not None:
            found[key] = others[key]
    return found


def _task(raw: Mapping[str, Any]) -> Task:
    try:
        return validate_named(raw.get("task", Avqa()), Task, TASKS)
    except ValueError:  # refused where the task is validated
        return Avqa()


def _longest(systems: Mapping[str, Any], task: Task) -> dict[str, int]:
    """Maximum token lengths of the pocket encoders, by device."""
    found: dict[str, int] = {}
    for name, system in SYSTEMS.items():
        try:
            found.update(system.model_validate(systems.get(name, {})).max_tokens(task))
        except ValidationError:  # refused where systems are validated
            continue
    return found


def _shortened(budget: Any, longest: Mapping[str, int]) -> Any:
    if not isinstance(budget, Mapping):
        return budget  # refused where budgets are validated
    return {
        device: min(count, longest[device])
        if isinstance(count, int) and device in longest
        else count
        for device, count in budget.items()
    }
