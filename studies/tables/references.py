"""Accuracies of the reference methods, for the rows of all others."""

from __future__ import annotations

import json

import pandas as pd

from ..storage.folder import StudyFolder
from .columns import TableLayout
from .filters import finished, without_references


def with_references(rows: pd.DataFrame, layout: TableLayout) -> pd.DataFrame:
    """Rows of ``results``; finished ones get the accuracies of the references among them."""
    known = _accuracies(rows, layout)
    seeds = without_references(finished(rows), layout)["seed"].astype(str)
    found = {r.column: seeds.map(known.get(r.method, {})) for r in layout.references}
    return rows.assign(**found).astype(dict.fromkeys(found, float))


def write_references(folder: StudyFolder, rows: pd.DataFrame, layout: TableLayout) -> None:
    """Stores the accuracies of the references among rows of ``results``, for later rows."""
    with folder.write(folder.references) as partial:
        partial.write_text(json.dumps(_accuracies(rows, layout)))


def read_references(folder: StudyFolder, layout: TableLayout, seed: int) -> dict[str, float | None]:
    """The reference accuracies at a seed, by column; None for unfinished references."""
    file = folder.store.fetch(folder.references)
    accuracies = json.loads(file.read_text()) if file.exists() else {}
    return {
        reference.column: accuracies.get(reference.method, {}).get(str(seed))
        for reference in layout.references
    }


def _accuracies(rows: pd.DataFrame, layout: TableLayout) -> dict[str, dict[str, float]]:
    """The accuracy of each reference that has finished, by method and seed."""
    done = finished(rows[rows["method"].isin(layout.reference_methods)])
    return {
        str(method): dict(zip(group["seed"].astype(str), group["accuracy"], strict=True))
        for method, group in done.groupby("method")
    }
