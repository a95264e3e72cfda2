"""Tasks: what is asked and how answers are scored."""

from ..config import named
from .avqa import Avqa
from .base import Reference, Task

TASKS: dict[str, type[Task]] = {"avqa": Avqa}

NamedTask = named(Task, lambda: TASKS)
"""A task by name, a mapping with one, or a custom class."""

__all__ = ["TASKS", "Avqa", "NamedTask", "Reference", "Task"]
