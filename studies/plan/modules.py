"""Modules from outside the package that a study imports: such a study file runs their code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from .study import Study

_OWN = ("actors", "channel_models", "studies", "tokcom_core")


def modules_of(*studies: Study) -> list[str]:
    """Names of the modules of some studies' custom airs, tasks, systems and encoders."""
    found = {type(c).__module__ for study in studies for c in _configs_of(study)}
    return sorted(name for name in found if name.partition(".")[0] not in _OWN)


def _configs_of(study: Study) -> Iterator[BaseModel]:
    """All configs of a study, its systems and their encoders."""
    systems = [study.system(method) for method in study.methods]
    features = [
        one
        for system in systems
        for device in dict.fromkeys(s.device for s in system.streams(study.task, study.tokens[0]))
        for own in system.features(study.task, device, study.tokens[0]).values()
        for one in own
    ]
    return _configs([study, *systems, *features])


def module_source(name: str) -> Path:
    """The file of a module, or the folder of a package, that holds a dotted name.

    Raises:
        ValueError: if there is no such module.
    """
    found = find_spec(name.partition(".")[0])
    if found is not None and found.submodule_search_locations:
        return Path(found.submodule_search_locations[0])
    if found is None or found.origin is None:
        raise ValueError(f"no module {name!r} in {os.getcwd()} or installed; modules are names")
    return Path(found.origin)


def _configs(value: Any) -> Iterator[BaseModel]:
    """All configs in a value."""
    if isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from _configs(getattr(value, name))
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _configs(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _configs(inner)
