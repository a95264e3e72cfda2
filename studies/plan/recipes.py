"""Published recipes: default keys of a study that names one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tokcom_core.systems import RECIPES, merged

RecipeName = Literal["paper1", "taichi", "deepsc-papers"]


def with_recipe(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A study's keys on top of those of its recipe, if it names a known one."""
    found = (keys for name, keys in RECIPES.items() if name == raw.get("recipe"))
    return merged(next(found, {}), raw)
