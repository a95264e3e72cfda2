"""Tasks: what is asked and how answers are scored."""

from ..config import named
from .avqa import Avqa
from .base import Reference, Task
from .catalogue import INSTRUCTION_TASKS
from .instructions import Example, InstructionTask
from .multitask import Multitask

TASKS: dict[str, type[Task]] = {"avqa": Avqa, **INSTRUCTION_TASKS, "multitask": Multitask}

NamedTask = named(Task, lambda: TASKS)
"""A task by name, a mapping with one, or a custom class."""

__all__ = [
    "TASKS",
    "Avqa",
    "Example",
    "InstructionTask",
    "Multitask",
    "NamedTask",
    "Reference",
    "Task",
]
