"""The table of expected time and disk of ``tokcom study plan``."""

from __future__ import annotations

import torch
from joblib import cpu_count
from rich.filesize import decimal
from rich.table import Table

from ..execution.progress import KIND_NAMES, duration_text
from ..plan.forecast import Forecast, Part
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
    parts = forecast.parts
    if not parts:
        return _FINISHED
    if not any(part.known for part in parts):
        return _NONE_YET
    shown = plain_table(
        "work", "runs", "each", "total", "disk", "based on",
        title=f"expected time and disk{' of what is left' if begun else ''}",
    )  # fmt: skip
    for part in parts:
        shown.add_row(KIND_NAMES.get(part.kind, part.kind), str(part.runs), *_columns(part))
    trials = trials_at_once(study)
    least = "" if all(part.complete for part in parts) else "at least "
    shown.add_row(
        f"all, {trials} at once",
        str(sum(part.runs for part in parts)),
        "",
        f"{least}{duration_text(forecast.elapsed_s(trials))}",
        f"{least}{decimal(round(sum(part.bytes for part in parts)))}",
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


def _columns(part: Part) -> tuple[str, str, str, str]:
    if not part.known:
        return "-", "-", "-", "none"
    least = "" if part.complete else "at least "
    return (
        duration_text(part.seconds / len(part.known)),
        f"{least}{duration_text(part.seconds)}",
        f"{least}{decimal(round(part.bytes))}",
        f"{part.earlier} earlier",
    )
