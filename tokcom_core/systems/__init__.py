"""Systems: what each paper proposes, and the methods that studies compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import CUSTOM, Config, named, validate_named
from .base import (
    STATION,
    FeatureFolders,
    Predictions,
    Receiver,
    Seeded,
    System,
    TokenLengths,
    Transmitter,
)
from .deepsc import Deepsc, DeepscVqa, Udeepsc
from .deepsc.published import PUBLISHED
from .methods import (
    SHORT_NAMES,
    STREAM_KINDS,
    SUMMARIES,
    Method,
    flattened,
    merged,
    register,
    transport_of,
)
from .mlms import Mlms
from .mlms.methods import PAPER1
from .phases import Phase, StreamInput, Training
from .streams import Feedback, Received, Stream, Transport, devices_of
from .taichi import Taichi
from .taichi.methods import TAICHI_PAPER


class Systems(Config):
    """Settings of every system, which all methods of a study start from."""

    mlms: Mlms = Mlms()
    taichi: Taichi = Taichi()
    deepsc: Deepsc = Deepsc()
    udeepsc: Udeepsc = Udeepsc()
    deepsc_vqa: DeepscVqa = DeepscVqa()

    @property
    def first(self) -> System:
        """The default system of a study."""
        system: System = getattr(self, next(iter(type(self).model_fields)))
        return system


SYSTEMS: dict[str, type[System]] = {
    name: field.annotation
    for name, field in Systems.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, System)
}

for _name, _system in SYSTEMS.items():
    register(_name, _system.METHODS)

DEFAULT_METHODS = ("aligned", "unaligned")
"""Methods that a study compares by default."""

RECIPES: dict[str, dict[str, Any]] = {
    "paper1": PAPER1,
    "taichi": TAICHI_PAPER,
    "deepsc-papers": PUBLISHED,
}
"""Default keys of a study that names a published recipe."""

NamedSystem = named(System, lambda: SYSTEMS)
"""A system by name, a mapping with one, or a custom class."""


def system_of(method: Method, systems: Systems) -> System:
    """The system of a method, with its own settings on top of the study's.

    Raises:
        ValueError: for an unknown system, or settings that it does not have.
    """
    settings: Mapping[str, Any] = method.settings
    if method.system in SYSTEMS:
        cls = SYSTEMS[method.system]
        under = getattr(systems, method.system).model_dump(mode="json")
        settings = merged(under, cls.expanded(method.settings))
    elif method.system != CUSTOM:
        known = ", ".join([*SYSTEMS, CUSTOM])
        raise ValueError(f"no system {method.system!r}; take some of {known}")
    return validate_named({**settings, "name": method.system}, System, SYSTEMS)


__all__ = [
    "DEFAULT_METHODS",
    "RECIPES",
    "SHORT_NAMES",
    "STATION",
    "STREAM_KINDS",
    "SUMMARIES",
    "SYSTEMS",
    "FeatureFolders",
    "Feedback",
    "Method",
    "NamedSystem",
    "Phase",
    "Predictions",
    "Received",
    "Receiver",
    "Seeded",
    "Stream",
    "StreamInput",
    "System",
    "Systems",
    "TokenLengths",
    "Training",
    "Transmitter",
    "Transport",
    "devices_of",
    "flattened",
    "merged",
    "system_of",
    "transport_of",
]
