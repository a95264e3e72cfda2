"""Configs that a study file chooses by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import PlainSerializer, PlainValidator, ValidationError

from ..errors import instead_of, placed_line
from .base import Config

CUSTOM = "custom"
"""Name of a config whose class is outside the package:
``{name: custom, class: package.module:Class}``."""


class Named(Config):
    """A config that a study file chooses by name."""

    name: str


N = TypeVar("N", bound=Named)


def load_class(path: str, base: type[N]) -> type[N]:
    """The class at ``package.module:Class``.

    Raises:
        ValueError: if there is none, its module cannot be imported, or it does not inherit
            ``base``.
    """
    module, _, name = path.partition(":")
    if not (name and all(module.split(".")) and "/" not in module):
        raise ValueError(f"class {path!r} should be package.module:Class")
    try:
        cls = getattr(importlib.import_module(module), name, None)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and _is_or_holds(error.name, module):
            reason = f"no module {module!r} ({error}); install it, or put it on PYTHONPATH"
        else:
            reason = placed_line(error, module)
        raise ValueError(f"class {path!r}: {reason}") from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ValueError(f"class {path!r} should be a class that inherits {base.__name__}")
    return cls


def _is_or_holds(package: str | None, module: str) -> bool:
    """Whether ``package`` is the module itself or a package that contains it."""
    return package is not None and f"{module}.".startswith(f"{package}.")


def class_path(cls: type) -> str:
    """``package.module:Class``."""
    return f"{cls.__module__}:{cls.__qualname__}"


def validate_named(raw: Any, base: type[N], known: Mapping[str, type[N]]) -> N:
    """The config that ``raw`` stands for: an instance, a name, or a mapping with a name.

    Raises:
        ValueError: for a missing or unknown name, a custom class that cannot be loaded, or a key
            that its class does not have.
        pydantic.ValidationError: if the class of the config refuses values of its keys.
    """
    if isinstance(raw, base):
        return raw
    keys = {"name": raw} if isinstance(raw, str) else raw
    if not isinstance(keys, Mapping):
        raise ValueError(f"{raw!r} should be a name or a mapping with one")
    kind = base.__name__.removesuffix("Config").lower()
    if "name" not in keys:
        raise ValueError(
            f"keys {', '.join(map(str, keys))} without a name; take {{name: ..., ...}}, of "
            f"{', '.join([*known, CUSTOM])}"
        )
    name = str(keys["name"])
    if name == CUSTOM:
        if "class" not in keys:
            raise ValueError(f"a {kind} {CUSTOM!r} needs class: package.module:Class")
        settings = {key: value for key, value in keys.items() if key not in ("name", "class")}
        return _validated(load_class(str(keys["class"]), base), settings, f"{kind} {keys['class']}")
    if name not in known:
        raise ValueError(f"no {kind} {name!r}; take some of {', '.join([*known, CUSTOM])}")
    return _validated(known[name], keys, f"{kind} {name!r}")


def _validated(config: type[N], keys: Mapping[Any, Any], called: str) -> N:
    """A config of this class; its unknown keys are refused here, where it is known what it has."""
    try:
        return config.model_validate(keys)
    except ValidationError as error:
        for item in error.errors():
            if item["type"] == "extra_forbidden" and len(item["loc"]) == 1:
                key = str(item["loc"][0])
                remedy = instead_of(key, config.model_fields)
                raise ValueError(f"{called} has no key {key!r}{remedy}") from None
        raise


def dump_named(config: Named, known: Mapping[str, type[Named]]) -> dict[str, Any]:
    """The mapping from which :func:`validate_named` makes an equal config."""
    dumped = config.model_dump(mode="json")
    if type(config) in known.values():
        return dumped
    del dumped["name"]
    return {"name": CUSTOM, "class": class_path(type(config)), **dumped}


def named(base: type[N], known: Callable[[], Mapping[str, type[N]]]) -> Any:
    """The annotation of a field that holds one of ``known`` configs, or a custom one."""
    return Annotated[
        base,
        PlainValidator(lambda raw: validate_named(raw, base, known())),
        PlainSerializer(lambda config: dump_named(config, known())),
    ]
