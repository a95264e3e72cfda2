"""Published recipes: what a study's keys are by default when it names one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

RecipeName = Literal["paper1"]

RECIPES: dict[RecipeName, dict[str, Any]] = {
    # The code of paper 1's authors, to the letter where it trains. Padding is left out of losses,
    # pooling and attention, which their code does not do (docs/studies.md, "Recipes").
    "paper1": {
        "models": {
            "slide": "all",
            "slide_rounding": "floor",
            "frames": "first",
            "vision_crop": "center",
        },
        "alignment": {
            "steps": 500,
            "batch_size": 32,
            "learning_rate": 1e-4,
            "temperature": 0.07,
            "pooling": {"vision": "cls", "audio": "first_two"},
            "train_anchor": True,
            "reconstruct_questions": False,
            "gradient_clip": None,
            "snr_db": 10.0,
        },
        "fine_tuning": {
            "steps": 300,
            "floor_steps": 300,
            "batch_size": 8,
            "learning_rates": [1e-4],
            "schedule": "constant",
            "warmup_steps": 0,
            "gradient_clip": None,
            "rescale_receivers": False,
            "answer_loss": "first_token",
        },
        "evaluation": {"metric": "first_token"},
    },
}


def with_recipe(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A study's keys on top of those of the recipe that it names, if it names a known one."""
    found = (keys for name, keys in RECIPES.items() if name == raw.get("recipe"))
    return _merged(next(found, {}), raw)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    found = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], Mapping) and isinstance(over[key], Mapping):
            found[key] = _merged(under[key], over[key])
    return found
