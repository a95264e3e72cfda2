"""The platform knows no system, task or data set by name: they are the systems' and tasks' own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokcom_core.datasets.layout import MUSIC_AVQA, VALOR
from tokcom_core.systems import SHORT_NAMES, SYSTEMS
from tokcom_core.tasks import TASKS

ROOT = Path(__file__).parents[2]
FILES = [file for room in ("actors", "studies") for file in sorted((ROOT / room).rglob("*.py"))]


def _names() -> set[str]:
    """Of all modalities, devices, streams, phases, methods, references, losses and data sets."""
    found = {MUSIC_AVQA, VALOR, "minimusic", *SHORT_NAMES, *SYSTEMS, *TASKS}
    for task in (cls() for cls in TASKS.values()):
        references = task.references(None)
        found |= {*task.media, *task.texts, *task.groups, *(r.name for r in references)}
        for system in (cls() for cls in SYSTEMS.values()):
            streams = system.streams(task, system.DEFAULT_TOKENS)
            found |= {name for s in streams for name in (s.name, s.device, s.modality)}
            found |= {name for phase in system.phases(task) for name in (phase.name, *phase.losses)}
    return found - {"task", "digital", "first_token"}  # the word itself, a way to travel, a metric


def _literals(tree: ast.AST) -> Iterator[str]:
    """String constants; docstrings are sentences and never a name alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_literal_of_a_system_or_a_task(file: Path) -> None:
    assert not set(_literals(ast.parse(file.read_text()))) & _names()
