"""Accuracies of the reference methods, for the rows of all others."""

from __future__ import annotations

import json

import pandas as pd

from ..storage.folder import StudyFolder
from .columns import TableLayout


def write_references(folder: StudyFolder, rows: pd.DataFrame) -> None:
    """Keeps the accuracies of the reference cells that have finished.

    Args:
        folder: Folder of the study.
        rows: Rows of ``results`` of reference methods alone.
    """
    done = rows[rows["status"] == "ok"]
    accuracies = {
        m: dict(zip(g["seed"].astype(str), g["accuracy"], strict=True))
        for m, g in done.groupby("method")
    }
    with folder.write(folder.references) as partial:
        partial.write_text(json.dumps(accuracies))


def read_references(folder: StudyFolder, layout: TableLayout, seed: int) -> dict[str, float | None]:
    """The reference accuracies at a seed, by column; None for unfinished references."""
    file = folder.store.fetch(folder.references)
    accuracies = json.loads(file.read_text()) if file.exists() else {}
    return {
        reference.column: accuracies.get(reference.method, {}).get(str(seed))
        for reference in layout.references
    }
