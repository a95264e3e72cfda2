"""Scores of the checkpoints of a zoo, in a file beside them."""

from __future__ import annotations

import json
from pathlib import Path

from ..checkpoints import KINDS

SCORES = "scores.json"

Scores = dict[str, dict[str, float]]
"""Held-out accuracy by checkpoint and attribute."""


def write_scores(folder: Path, scores: Scores) -> None:
    """Writes what a build has measured so far."""
    (folder / SCORES).write_text(json.dumps(scores, indent=1))


def read_scores(folder: Path) -> Scores:
    """Held-out accuracy by checkpoint and attribute, as the build measured it.

    Raises:
        ValueError: if ``folder`` holds no zoo.
    """
    file = folder / SCORES
    if not file.is_file():
        raise ValueError(f"no zoo in {folder}; 'tokcom zoo build DIR' makes one")
    scores: Scores = json.loads(file.read_text())
    if unknown := set(scores) - set(KINDS):
        raise ValueError(f"{file} has scores of {', '.join(sorted(unknown))}; remove the folder")
    return scores
