"""Studies of a few steps, which all tests here start from, plans of studies, and searches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from studies.plan.cells import Plan
from studies.plan.search import Search, search_of
from studies.plan.specs import Cell
from studies.plan.study import Study
from tokcom_core.systems import merged

RATES = "systems.mlms.fine_tuning.learning_rates"
LANGUAGE = "systems.mlms.models.language"
"""Keys that searches are over."""

_SMALL: dict[str, Any] = {
    "name": "small",
    "systems": {
        "mlms": {
            "models": {"receiver_width": 32},
            "alignment": {"steps": 4, "batch_size": 16},
            "fine_tuning": {"steps": 4, "reference_steps": 4, "batch_size": 8},
        }
    },
    "methods": ["aligned"],
    "airs": ["rayleigh"],
    "tokens": {"audio": 4, "vision": 4},
    "evaluation": {"questions": 24, "batch_size": 16},
}


def mlms(**keys: Any) -> dict[str, Any]:
    """Keys of paper 1's system, where they stand in a study."""
    return {"systems": {"mlms": keys}}


def small_keys(**keys: Any) -> dict[str, Any]:
    """A study of a few steps, with these keys on top."""
    return merged(_SMALL, keys)


def small_study(**keys: Any) -> Study:
    """The same, validated."""
    return Study(**small_keys(**keys))


def write_study(file: Path, **keys: Any) -> Path:
    """The same, in a file."""
    file.write_text(yaml.safe_dump(small_keys(**keys)))
    return file


def small_search(**keys: Any) -> Search:
    """A search over two token lengths, unless these keys say otherwise."""
    return search_of(**{"method": "aligned", "over": {"tokens.audio": [2, 4]}, **keys})


def planned(**keys: Any) -> tuple[Plan, list[Cell]]:
    """The plan of a study with these keys, and the cells that are known before it runs."""
    plan = Plan(Study(name="s", **keys))
    return plan, plan.known_cells({})


def ours(cells: list[Cell]) -> list[Cell]:
    """All but the references."""
    return [cell for cell in cells if cell.reference is None]
