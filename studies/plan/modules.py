"""Modules outside the package that a study imports: such a study file runs code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from .study import Study

_OWN = ("actors", "channel_models", "studies", "tokcom_core")


def modules_of(study: Study) -> list[str]:
    """Names of the modules of its custom airs, tasks, systems and encoders."""
    systems = [study.system(method) for method in study.methods]
    features = [
        one
        for system in systems
        for device in dict.fromkeys(s.device for s in system.streams(study.task, study.tokens[0]))
        for own in system.features(study.task, device, study.tokens[0]).values()
        for one in own
    ]
    found = {type(c).__module__ for c in _configs([study, *systems, *features])}
    return sorted(name for name in found if name.partition(".")[0] not in _OWN)


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
