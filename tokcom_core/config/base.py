"""The base of all configs, and values that may be lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen config that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


def listed(value: Any) -> list[Any]:
    """The values of a list, range, array or other iterable; a single value becomes a list of one.

    Text, a mapping and a config count as single values.
    """
    plain = value.tolist() if hasattr(value, "tolist") else value
    single = isinstance(plain, str | bytes | Mapping | BaseModel) or not isinstance(plain, Iterable)
    return [plain] if single else list(plain)
