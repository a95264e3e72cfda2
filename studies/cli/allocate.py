"""``tokcom allocate``: a band's resource blocks and token lengths for users who share it."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import AllocationPolicy, StudyDir
from .printing import console, print_table


def allocate(
    folder: StudyDir,
    bandwidth: Annotated[float, typer.Option(help="Of all users together, in Hz: 5e6.")],
    deadline: Annotated[float, typer.Option(help="Longest latency of a question, in ms.")],
    snr: Annotated[
        list[float], typer.Option(help="Receive SNR of one user in dB; repeat for each user.")
    ],
    by: Annotated[AllocationPolicy, typer.Option(help="What blocks go by.")] = "accuracy",
    method: Annotated[
        str | None, typer.Option(help="Of all users; by default each has the most accurate one.")
    ] = None,
    air: Annotated[str | None, typer.Option(help="By default the study's only one.")] = None,
) -> None:
    """Shares a band among users at different SNRs: blocks, token lengths, accuracy to expect."""
    from .. import allocate as allocate_blocks
    from ..storage.folder import StudyFolder
    from ..tables.layout import layout_of
    from .screen import accuracy_text, allocation_table, budgets_notes, starred_note

    allocation = allocate_blocks(folder, bandwidth, deadline, snr, by, method=method, air=air)
    study = StudyFolder(folder).open()
    layout = layout_of(study)
    print_table(console, allocation_table(allocation, layout))
    names = ("accuracy", "accuracy_low", "accuracy_high")
    mean = accuracy_text({name: allocation[name].mean(skipna=False) for name in names}, mixed=False)
    used, total = allocation["resource_blocks"].sum(), study.link_at(bandwidth).resource_blocks
    notes = [f"mean accuracy of the users {mean}", f"{used} of {total} resource blocks"]
    console.print("; ".join([*notes, *budgets_notes(layout), starred_note(allocation)]))
