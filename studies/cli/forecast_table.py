"""The table of expected time and disk of ``tokcom study plan``."""

from __future__ import annotations

import torch
from joblib import cpu_count
from rich.filesize import decimal
from rich.table import Table

from ..execution.progress import KIND_NAMES, duration_text
from ..plan.forecast import Forecast, ForecastRow
from ..plan.study import Study
from ..tables.layout import layout_of
from .printing import plain_table

_FINISHED = "time and disk: nothing is left to run"
_NONE_YET = "time and disk: nothing like this has run here yet to estimate them from"


def forecast_table(study: Study, forecast: Forecast, begun: bool) -> Table | str:
    """Table of what each kind of work will take, and all of it.

    Args:
        study: Study that will run.
        forecast: What it will take.
        begun: Whether a part of the study is there, so that the table is about the rest.

    Returns:
        The table; one line if nothing is left, or nothing known of it.
    """
    rows = forecast.rows
    if not rows:
        return _FINISHED
    if not any(row.known for row in rows):
        return _NONE_YET
    shown = plain_table(
        "work", "runs", "each", "total", "disk", "based on",
        title=f"expected time and disk{' of what is left' if begun else ''}",
    )  # fmt: skip
    for row in rows:
        shown.add_row(KIND_NAMES.get(row.kind, row.kind), str(row.runs), *_columns(row))
    trials = trials_at_once(study)
    least = "" if all(row.complete for row in rows) else "at least "
    shown.add_row(
        f"all, {trials} at once",
        str(sum(row.runs for row in rows)),
        "",
        f"{least}{duration_text(forecast.elapsed_s(trials))}",
        f"{least}{decimal(round(sum(row.bytes for row in rows)))}",
        "",
    )
    return shown


def trials_at_once(study: Study) -> int:
    """Number of a study's trials that find room on this machine."""
    resources = study.resources
    room = [max(cpu_count(), resources.cpu) / resources.cpu]
    devices = len(layout_of(study).devices) if study.engine == "ray" else 0
    gpus = resources.gpu + resources.device_gpu * devices
    if gpus:
        room.append(torch.cuda.device_count() / gpus)
    return max(1, int(min(room)))


def _columns(row: ForecastRow) -> tuple[str, str, str, str]:
    if not row.known:
        return "-", "-", "-", "none"
    least = "" if row.complete else "at least "
    return (
        duration_text(row.seconds / len(row.known)),
        f"{least}{duration_text(row.seconds)}",
        f"{least}{decimal(round(row.bytes))}",
        f"{row.earlier} earlier",
    )
