"""The systems by name, and which of them a method names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import (
    CUSTOM,
    Config,
    dump_named,
    load_class,
    named,
    refuse_truth_for_number,
    validate_named,
)
from .base import System
from .deepsc import Deepsc, DeepscVqa, Udeepsc
from .deepsc.published import PUBLISHED
from .methods import OWN_KEYS, SHORT_NAMES, Method, register
from .mlms import Mlms
from .mlms.methods import PAPER1
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
"""Default keys of a study, by the name of the published recipe that it follows."""

NamedSystem = named(System, lambda: SYSTEMS)
"""A system by name, a mapping with one, or a custom class."""


def system_class(method: Method) -> type[System]:
    """The class of a method's system.

    Raises:
        ValueError: for an unknown system, one that cannot be loaded, or one with a field that is a
            key of methods.
    """
    if method.system in SYSTEMS:
        return SYSTEMS[method.system]
    if method.system != CUSTOM:
        known = ", ".join([*SYSTEMS, CUSTOM])
        raise ValueError(f"no system {method.system!r}; take some of {known}")
    if "class" not in method.settings:
        raise ValueError(f"a system {CUSTOM!r} needs class: package.module:Class")
    cls = load_class(str(method.settings["class"]), System)
    if taken := [key for key in OWN_KEYS if key in cls.model_fields]:
        raise ValueError(
            f"{cls.__name__} has the field {taken[0]!r}, which is a key of methods; rename it"
        )
    return cls


def system_of(method: Method, systems: Systems) -> System:
    """The system of a method, with its own settings on top of the study's.

    Raises:
        ValueError: as :func:`system_class`, or for settings that the system does not have.
        pydantic.ValidationError: for values of settings that it does not take.
    """
    cls, settings = system_class(method), method.settings
    if method.system in SYSTEMS:
        under = getattr(systems, method.system).model_dump(mode="json")
        settings = cls.merged(under, method.settings)
    system = validate_named({**settings, "name": method.system}, System, SYSTEMS)
    refuse_truth_for_number(method.settings, system)
    return system


def system_named_by(method: Any) -> type[System] | None:
    """The system of the package that a method's keys name; None for a name alone or another."""
    if not isinstance(method, Mapping):
        return None
    short = SHORT_NAMES.get(str(method.get("name")), {})
    return SYSTEMS.get(str(method.get("system", short.get("system"))))


def method_keys(system: System) -> dict[str, Any]:
    """The keys of a method that is named after a system and has all of its settings."""
    keys = dump_named(system, SYSTEMS)
    return {"label": system.name, "system": keys.pop("name"), **keys}
