"""Airs by name, as studies write them: ``rayleigh`` or ``{name: tdl-a, speed_mps: 30}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union, get_args

from pydantic import (
    BeforeValidator,
    Discriminator,
    PlainValidator,
    SerializeAsAny,
    Tag,
    TypeAdapter,
)

from ..config import AirBase
from ..loading import load_object
from .delay_profiles import DelayProfileConfig, FixedDelayProfileConfig
from .flat import AwgnConfig, RayleighConfig, RicianConfig
from .places import CellConfig, SiteConfig
from .recorded import RecordedConfig
from .tensorflow import TensorflowConfig

_CONFIGS: tuple[type[AirBase], ...] = (
    AwgnConfig,
    RayleighConfig,
    RicianConfig,
    DelayProfileConfig,
    FixedDelayProfileConfig,
    CellConfig,
    SiteConfig,
    RecordedConfig,
    TensorflowConfig,
)

AIRS: dict[str, type[AirBase]] = {
    name: config for config in _CONFIGS for name in get_args(config.model_fields["name"].annotation)
}
"""Every built-in air by name, with its configuration."""

CUSTOM = "custom"
"""The name of airs of one's own, whose ``class`` is given as well."""


def _as_mapping(value: Any) -> Any:
    """Turns a bare name into a mapping; refuses unknown names."""
    raw = {"name": value} if isinstance(value, str) else value
    if isinstance(raw, dict) and raw.get("name") not in (*AIRS, CUSTOM):
        problem = f"no air {raw['name']!r}" if "name" in raw else f"air {raw} has no name"
        raise ValueError(f"{problem}; take some of {', '.join((*AIRS, CUSTOM))}")
    return raw


def _custom(value: Any) -> AirBase:
    """Makes an air of one's own; its class validates all keys except ``class``."""
    if isinstance(value, AirBase):
        return value
    path = value.get("class")
    if not isinstance(path, str):
        raise ValueError("air 'custom' needs 'class', package.module:Class")
    config = load_object(path)
    if not (isinstance(config, type) and issubclass(config, AirBase)):
        raise ValueError(f"{path} is no air; its class should inherit channel_models.AirBase")
    return config.model_validate({key: setting for key, setting in value.items() if key != "class"})


def _name_of(air: Any) -> Any:
    return air.get("name") if isinstance(air, dict) else getattr(air, "name", None)


if TYPE_CHECKING:
    NamedAir = AirBase
else:
    NamedAir = Annotated[
        Union[
            (
                *(Annotated[config, Tag(name)] for name, config in AIRS.items()),
                Annotated[SerializeAsAny[AirBase], PlainValidator(_custom), Tag(CUSTOM)],
            )
        ],
        Discriminator(_name_of),
        BeforeValidator(_as_mapping),
    ]
"""An air as a study writes it: its name, or a mapping with its name and keys."""

_ADAPTER: TypeAdapter[AirBase] = TypeAdapter(NamedAir)


def named_air(name: str, **settings: Any) -> AirBase:
    """Makes an air by name: ``named_air("tdl-a", speed_mps=30)``.

    Raises:
        ValueError: for an unknown name or setting.
    """
    return _ADAPTER.validate_python({"name": name, **settings})
