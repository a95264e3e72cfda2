"""The results of a study on the screen: conditions, service, claims, what is infeasible, files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from rich.console import Console

from ..plan.budgets import loss_at_bandwidth_db
from ..storage.folder import StudyFolder
from ..tables.claims import judge
from ..tables.files import Tables
from ..tables.layout import layout_of
from ..tables.service import summarise_service
from ..tables.summary import count_answers, summarise
from .printing import print_table
from .screen import (
    SERVICE_NOTE,
    claims_table,
    conditions_note,
    conditions_table,
    infeasible_notes,
    service_table,
)


def print_results(console: Console, folder: StudyFolder, results: pd.DataFrame) -> None:
    """Prints what the rows of ``results`` say, and where the files are."""
    study = folder.open()
    tables = Tables(folder, layout_of(study))
    layout = tables.layout
    moved = any(loss_at_bandwidth_db(study, hz) for hz in study.bandwidth_hz)
    answered = count_answers(tables, results["cell"].unique())
    summary = summarise(results, answered, layout)
    if not summary.empty:
        print_table(console, conditions_table(summary, layout, realised=moved))
        console.print(conditions_note(results, summary, layout))
    service = summarise_service(results, layout)
    if not service.empty:
        print_table(console, service_table(service, layout))
        console.print(SERVICE_NOTE)
    if study.claims:
        print_table(console, claims_table(judge(tables, results, study.claims)))
        console.print("in how many conditions; differences and intervals: report.html")
    cells = results.drop_duplicates("cell")
    reasons = cells.loc[cells["status"] == "infeasible", "reason"]
    for note in infeasible_notes(reasons, len(cells)):
        console.print(note, soft_wrap=True)
    page = folder.report / "report.html"
    written = [page] if page.exists() else []
    print_paths(console, folder, [folder.results, folder.answers, folder.curves, *written])


def print_paths(console: Console, folder: StudyFolder, paths: Iterable[Path]) -> None:
    """Prints where files and folders of a study are, one a line."""
    for path in paths:
        place = f"{folder.store}/{path.relative_to(folder.root)}"
        console.print(place, soft_wrap=True, highlight=False)
