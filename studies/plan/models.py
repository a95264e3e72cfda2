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
    small = dict(raw)
    small["data"] = miniature_data(small.get("data"), _task(small).media)
    systems = small.get("systems")
    pocket = {name: system.POCKET for name, system in SYSTEMS.items()}
    small["systems"] = merged(systems if isinstance(systems, Mapping) else {}, pocket)
    if "methods" in small:
        small["methods"] = [_pocket_method(method) for method in listed(small["methods"])]
    resources = small.get("resources")
    if isinstance(resources, Mapping):
        small["resources"] = {**resources, "gpu": 0.0, "device_gpu": 0.0}
    if str(small.get("device", "")).startswith("cuda"):
        small["device"] = "auto"
    longest = _longest(small["systems"], _task(small))
    if "tokens" in small:
        shortened = [_shortened(budget, longest) for budget in gridded(small["tokens"])]
        small["tokens"] = [t for i, t in enumerate(shortened) if t not in shortened[:i]]
    return small


def _pocket_method(raw: Any) -> Any:
    """A method with pocket checkpoints, where it names others itself."""
    system = system_named_by(raw)
    return raw if system is None else _instead(raw, system.POCKET)


def _instead(settings: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of ``own``, with the values of ``others`` for those that both have and set."""
    replaced = dict(settings)
    for key in settings.keys() & others.keys():
        if isinstance(settings[key], Mapping) and isinstance(others[key], Mapping):
            replaced[key] = _instead(settings[key], others[key])
        elif settings[key] is not None:
            replaced[key] = others[key]
    return replaced


def _task(raw: Mapping[str, Any]) -> Task:
    try:
        return validate_named(raw.get("task", Avqa()), Task, TASKS)
    except ValueError:  # refused where the task is validated
        return Avqa()


def _longest(systems: Mapping[str, Any], task: Task) -> dict[str, int]:
    """Maximum token lengths of the pocket encoders, by device."""
    longest: dict[str, int] = {}
    for name, system in SYSTEMS.items():
        try:
            longest.update(system.model_validate(systems.get(name, {})).max_tokens(task))
        except ValidationError:  # refused where systems are validated
            continue
    return longest


def _shortened(budget: Any, longest: Mapping[str, int]) -> Any:
    if not isinstance(budget, Mapping):
        return budget  # refused where budgets are validated
    return {
        device: min(count, longest[device])
        if isinstance(count, int) and device in longest
        else count
        for device, count in budget.items()
    }
