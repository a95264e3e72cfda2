"""Published recipes: default keys of a study that names one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

from tokcom_core.systems import RECIPES, SYSTEMS, merged


def _known(name: str) -> str:
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}; take one of {', '.join(RECIPES)}")
    return name


RecipeName = Annotated[str, AfterValidator(_known)]


def with_recipe(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A study's keys on top of those of its recipe, if it names a known one."""
    recipe = next((keys for name, keys in RECIPES.items() if name == raw.get("recipe")), {})
    systems = raw.get("systems")
    if isinstance(systems, Mapping):
        known = {name: own for name, own in systems.items() if isinstance(own, Mapping)}
        written = {name: SYSTEMS[name].expanded(known[name]) for name in SYSTEMS if name in known}
        raw = {**raw, "systems": {**systems, **written}}
    return merged(recipe, raw)
