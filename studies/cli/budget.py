"""``tokcom budget``: what a link carries."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import StudyDir
from .printing import console, print_table


def budget(
    folder: StudyDir,
    bandwidth: Annotated[float, typer.Option(help="Of all users together, in Hz: 5e6.")],
    deadline: Annotated[
        float | None, typer.Option(help="Longest latency of a question, in ms.")
    ] = None,
    snr: Annotated[
        float | None, typer.Option(help="At the receiver, in dB; every evaluated one by default.")
    ] = None,
    users: Annotated[int, typer.Option(help="Users who send at once, on equal shares.")] = 1,
) -> None:
    """Shows which methods and token lengths a link carries, and the accuracy to expect."""
    from .. import budget as affordable
    from ..storage.folder import StudyFolder
    from ..tables.layout import layout_of
    from .screen import budgets_notes, conditions_table, starred_note

    conditions = affordable(folder, bandwidth, deadline, snr, users)
    study = StudyFolder(folder).open()
    layout = layout_of(study)
    print_table(console, conditions_table(conditions, layout))
    notes = [
        starred_note(conditions),
        *budgets_notes(layout),
        "ms on this link, the most accurate first",
    ]
    link_budgets = [air.label for air in study.airs if not air.sets_snr]
    if snr is not None and link_budgets:
        notes.append(
            f"without airs whose SNRs are those of a link budget: {', '.join(link_budgets)}"
        )
    console.print("; ".join(notes))
