"""Published recipes: default keys of a study that names one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

from tokcom_core.systems import RECIPES, merged


def _known(name: str) -> str:
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}; take one of {', '.join(RECIPES)}")
    return name


RecipeName = Annotated[str, AfterValidator(_known)]


def with_recipe(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A study's keys on top of those of its recipe, if it names a known one."""
    found = (keys for name, keys in RECIPES.items() if name == raw.get("recipe"))
    return merged(next(found, {}), raw)
