"""Configs: their base, those that a study file chooses by name, and booleans for numbers."""

from .base import Config, listed
from .booleans import Place, refuse_truth_for_number
from .by_name import (
    CUSTOM,
    Named,
    class_path,
    dump_named,
    load_class,
    named,
    validate_named,
)

__all__ = [
    "CUSTOM",
    "Config",
    "Named",
    "Place",
    "class_path",
    "dump_named",
    "listed",
    "load_class",
    "named",
    "refuse_truth_for_number",
    "validate_named",
]
