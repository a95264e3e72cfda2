"""The results of a study on the screen: conditions, service, claims, what is infeasible, files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..plan.budgets import loss_at_bandwidth_db
from ..storage.folder import StudyFolder
from ..tables.findings import Findings
from ..tables.service import SERVICE_NOTE, summarise_service
from .printing import print_table
from .screen import (
    claims_table,
    conditions_note,
    conditions_table,
    infeasible_notes,
    reasons_note,
    service_table,
)


def print_results(console: Console, findings: Findings) -> None:
    """Prints what a study has found."""
    study, results = findings.study, findings.results
    if missing := findings.missing_note:
        console.print(missing, soft_wrap=True)
    summary, layout = findings.summary, findings.tables.layout
    moved = any(loss_at_bandwidth_db(study, hz) for hz in study.bandwidth_hz)
    if not summary.empty:
        print_table(console, conditions_table(summary, layout, realised=moved))
        console.print(conditions_note(results, summary, layout))
    service = summarise_service(results, layout)
    if not service.empty:
        print_table(console, service_table(service, layout))
        console.print(SERVICE_NOTE)
    if study.claims:
        print_table(console, claims_table(findings.verdicts))
        console.print("in how many conditions; differences and intervals: report.html")
    if len(findings.diverged):
        diverged = reasons_note(findings.diverged, layout)
        console.print(Text("training has diverged", "red") + Text(": ") + diverged)
    cells = results.drop_duplicates("cell")
    reasons = cells.loc[cells["status"] == "infeasible", "reason"]
    for note in infeasible_notes(reasons, len(cells)):
        console.print(note, soft_wrap=True)


def print_folders(console: Console, folder: StudyFolder) -> None:
    """Prints where a study's tables are, and its page."""
    page = folder.report / "report.html"
    written = [page] if page.exists() else []
    print_paths(console, folder, [folder.results, folder.answers, folder.curves, *written])


def print_paths(console: Console, folder: StudyFolder, paths: Iterable[Path]) -> None:
    """Prints where files and folders of a study are, one a line."""
    for path in paths:
        place = f"{folder.store}/{path.relative_to(folder.root)}"
        console.print(place, soft_wrap=True, highlight=False)
