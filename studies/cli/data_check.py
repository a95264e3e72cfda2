"""``tokcom data check``: what a data folder holds, and what is missing or damaged in it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from .printing import console, plain_table, print_table

if TYPE_CHECKING:
    from tokcom_core.tasks import Task
    from tokcom_core.tasks.folders import SplitCheck

_SHOWN = 3


def check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A data folder, as 'data.folder' of a study.")
    ],
) -> None:
    """Reads a data folder: samples of each split, and which of their media are missing or damaged.

    Exit code 1 if some are, 2 if nothing there is in a published layout.
    """
    from rich.progress import Progress

    from tokcom_core.tasks.folders import check_splits, tasks_in

    root = folder.absolute()
    tasks = tasks_in(root)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("reading", total=None)
        checks = {
            task.name: check_splits(task, root, progress=lambda n: progress.advance(bar, n))
            for task in tasks
        }
    print_table(console, _table(tasks, checks))
    every = [split for splits in checks.values() for split in splits]
    lines = [line.replace(f"{root}/", "") for line in _complaints(every)]
    if any(split.unprepared for split in every):
        lines.append(f"'tokcom data prepare {folder}' extracts frames and sound")
    for line in [*lines, *_remarks(every)]:
        console.print(line, soft_wrap=True, highlight=False)
    if not all(split.complete for split in every):
        sys.exit(1)


def _table(tasks: Sequence[Task], checks: dict[str, list[SplitCheck]]) -> Table:
    shown = plain_table(
        "task", "split", "samples", "groups", "media", "ready", "to extract", "missing", "damaged"
    )  # fmt: skip
    for task in tasks:
        for split in checks[task.name]:
            if split.unreadable:
                shown.add_row(task.name, split.split, *["-"] * 7)
                continue
            groups = f"{len(split.groups)} of {len(task.groups)}" if split.groups else "-"
            lacks = map(len, (split.unprepared, split.missing, split.damaged))
            counts = (split.media, split.ready, *lacks)
            shown.add_row(task.name, split.split, f"{split.samples}", groups, *map(str, counts))
    return shown


def _remarks(splits: Sequence[SplitCheck]) -> list[str]:
    """Lines about what can be used, but should be known."""
    remarks = []
    for split in splits:
        name = f"{split.task}, {split.split}"
        if split.repeated_ids:
            number = f"{split.repeated_ids} ids occur more than once about the same clip or image"
            remarks.append(f"{name}: {number}; in a study the later ones are ID-2, ID-3 ...")
        if split.tested:
            number = f"{split.tested} of {split.media} clips or images"
            remarks.append(f"{name}: {number} are in the test split as well")
    return remarks


def _complaints(splits: Sequence[SplitCheck]) -> list[str]:
    """Lines that name what cannot be used, the first ones of each kind."""
    complaints = []
    for split in splits:
        lines = [f"missing {file}" for file in split.missing[:_SHOWN]]
        lines += split.damaged[:_SHOWN]
        more = len(split.missing) + len(split.damaged) - len(lines)
        lines += [f"and {more} more"] if more else []
        lines += [split.unreadable] if split.unreadable else []
        complaints += [f"{split.task}, {split.split}: {line}" for line in lines]
    return complaints
