"""The report of a study: charts drawn from its tables, as files and on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..storage.folder import StudyFolder, condition_name
from ..tables.columns import MAX_POWER, TableLayout
from ..tables.files import Tables
from ..tables.findings import Findings
from ..tables.service import emulated
from ..tables.summary import summarise, summarise_part
from .accuracy import (
    accuracy_by_group,
    accuracy_by_overhead,
    accuracy_by_snr,
    accuracy_by_training,
)
from .chart import Chart
from .learning import curve_columns, earlier_phases, learning_curves
from .looks import budget_labels, panel_titles
from .page import render
from .printed import SCREEN, Style, draw, sheets
from .printed_users import users_figure
from .users import Users, users_of

_USERS = "users_"
"""Begins the names of the pictures and tables of an emulation's users."""


def write_report(findings: Findings, style: Style | None = None) -> list[Path]:
    """Writes the charts and the page into ``report/``; returns their paths.

    A study without any accuracy only has a page, which says why.

    Args:
        findings: What the study has found.
        style: Style of figures for a publication, written instead of all else.
    """
    folder = findings.tables.folder
    folder.report.mkdir(parents=True, exist_ok=True)
    charts = {} if findings.done.empty else _charts(findings.tables, *_drawn(findings))
    if style is not None:
        written = _print(charts, folder.report, style)
    else:
        figures = _print(charts, folder.report, SCREEN)
        data = [_write_table(chart, folder.report / name) for name, chart in charts.items()]
        users = _users(findings)
        people = [file for name, one in users.items() for file in _write_users(folder, name, one)]
        _remove_others(folder, people)
        page = folder.report / "report.html"
        page.write_text(render(findings, charts, users), encoding="utf-8")
        written = [*figures, *data, *people, page]
    for file in written:
        folder.store.keep(file)
    return written


def _drawn(findings: Findings) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Rows, summary and counts for charts; of deadlines that share their answers, the first."""
    layout, done = findings.tables.layout, findings.done
    apart = [name for name in (*layout.condition, "seed") if name != "deadline_ms"]
    fit = findings.study.deadline_policy == "fit"
    first = done if fit else done.drop_duplicates(apart)
    if len(first) == len(done):
        return done, findings.summary, findings.answered
    answered = findings.answered[findings.answered["cell"].isin(first["cell"])]
    return first, summarise(first, answered, layout), answered


def _charts(
    tables: Tables, done: pd.DataFrame, summary: pd.DataFrame, answered: pd.DataFrame
) -> Mapping[str, Chart]:
    """All charts of a study, by file name."""
    layout, curves = tables.layout, _curves(tables, done)
    parts = {p: summarise_part(done, answered, layout, p) for p in layout.parts}
    groups = {g: summarise_part(done, answered, layout, g)[1] for g in layout.groups}
    filled = {group: rows for group, rows in groups.items() if len(rows)}
    charts = {
        "accuracy_by_snr": accuracy_by_snr(done, summary, layout),
        **{
            f"accuracy_by_snr_{part}": replace(
                accuracy_by_snr(*shown, layout), title=f"Accuracy by SNR: {part}"
            )
            for part, shown in parts.items()
            if len(shown[0])
        },
        "accuracy_by_overhead": accuracy_by_overhead(done, summary, layout),
        "accuracy_by_training": accuracy_by_training(done, summary, layout),
        "learning_curves": learning_curves(curves, layout),
    }
    if (earlier := earlier_phases(curves, layout)).panels:
        charts["earlier_phases"] = earlier
    if len(filled) > 1:
        charts["accuracy_by_group"] = accuracy_by_group(done, filled, layout)
    return charts


def _curves(tables: Tables, done: pd.DataFrame) -> pd.DataFrame:
    """The training steps of finished cells, with the SNR of those trained where they are tested."""
    cells = done.drop_duplicates("cell").set_index("cell")
    matched_db = cells["eval_snr_db"].where(cells["train_snr_span_db"].isna())
    curves = tables.read_curves(list(cells.index), curve_columns(tables.layout))
    return curves.assign(eval_snr_db=curves["cell"].map(matched_db))


def _print(charts: Mapping[str, Chart], report: Path, style: Style) -> list[Path]:
    """Writes the figures of charts; one that takes several files is ``NAME``, ``NAME_2``..."""
    written = []
    for name, chart in charts.items():
        for number, sheet in enumerate(sheets(chart, style), 1):
            file = report / f"{name}{f'_{number}' if number > 1 else ''}{style.suffix}"
            with style.applied():
                draw(sheet, style).savefig(file)
            written.append(file)
    return written


def _write_table(chart: Chart, name: Path) -> Path:
    file = name.with_suffix(".csv")
    chart.table.to_csv(file, index=False)
    return file


def _users(findings: Findings) -> dict[str, Users]:
    """Users of each emulated condition, by file name."""
    asked, tables = emulated(findings.done), findings.tables
    titles = _titles(asked, tables.layout)
    stations_m = {air.label: air.station_xy_m for air in findings.study.airs}
    found = {}
    for title, (_, row) in zip(titles, asked.iterrows(), strict=True):
        snr_db = row["eval_snr_db"]
        devices, answers = (
            rows[rows["eval_snr_db"].eq(snr_db) | rows["eval_snr_db"].isna()]
            for rows in (tables.read_devices(row["cell"]), tables.read_answers(row["cell"]))
        )
        name = f"{_USERS}{condition_name(row['cell'], snr_db)}"
        found[name] = users_of(devices, answers, title, stations_m.get(row["air"]))
    return found


def _titles(asked: pd.DataFrame, layout: TableLayout) -> list[str]:
    """What tells emulated rows apart; SNR, power and seed only if there are several."""
    titles = asked["method"].astype(str) + ", " + panel_titles(asked, layout)
    budgets = pd.Series(budget_labels(asked, layout), asked.index)
    titles += (", " + budgets).where(budgets != "-", "")
    for level, text in (("eval_snr_db", ", {:g} dB"), (MAX_POWER, ", {:g} dBm")):
        if asked[level].nunique() > 1:
            titles += asked[level].map(text.format, na_action="ignore").fillna("")
    if asked["seed"].nunique() > 1:
        titles += ", seed " + asked["seed"].astype(str)
    return list(titles)


def _remove_others(folder: StudyFolder, people: Sequence[Path]) -> None:
    """Removes pictures and tables of other users: those of emulations that were replaced."""
    here = (file.name for file in folder.report.iterdir())
    for name in {*here, *folder.store.names(folder.report)} - {file.name for file in people}:
        if name.startswith(_USERS):
            folder.store.remove(folder.report / name)


def _write_users(folder: StudyFolder, name: str, users: Users) -> list[Path]:
    picture, table = (folder.report / f"{name}{suffix}" for suffix in (".png", ".csv"))
    with SCREEN.applied():
        users_figure(users).savefig(picture)
    users.table.to_csv(table, index=False)
    return [picture, table]
