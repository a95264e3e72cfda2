"""A whole table of a study, its axes in the study's own order."""

from __future__ import annotations

from typing import Literal, get_args

import pandas as pd

from ..plan.study import Study
from .files import Tables
from .findings import Findings

TableName = Literal["results", "answers", "devices", "curves"]


def read_table(findings: Findings, name: str) -> pd.DataFrame:
    """All rows of a table, with ordered categories where columns name parts of the study.

    Methods are in the study's order, between lower and upper references. Airs and devices are in
    the study's order, groups of questions in the task's, phases in that of training. Sorted tables,
    groups and axes of plots keep these orders.

    Args:
        findings: Findings of the study.
        name: Name of the table.

    Raises:
        ValueError: for an unknown table.
    """
    if name not in get_args(TableName):
        raise ValueError(f"no table {name!r}; there are: {', '.join(get_args(TableName))}")
    rows, tables, cells = findings.results, findings.tables, list(findings.done["cell"].unique())
    if name == "answers":
        rows = tables.read_all_answers(cells)
    elif name == "devices":
        rows = tables.read_all_devices(cells)
    elif name == "curves":
        rows = tables.read_curves(cells)
    return _in_order(rows, _orders(findings.study, tables))


def _orders(study: Study, tables: Tables) -> dict[str, list[str]]:
    """Values of the columns that name parts of the study, in order."""
    layout = tables.layout
    bounds: dict[str, list[str]] = {"lower": [], "upper": []}
    for reference in layout.references:
        bounds[reference.bound].append(reference.method)
    systems = [study.system(method) for method in study.methods]
    phases = [phase.name for system in systems for phase in system.phases(study.task)]
    return {
        "method": [*bounds["lower"], *(m.label for m in study.methods), *bounds["upper"]],
        "air": [air.label for air in study.airs],
        "device": list(layout.devices),
        "group": list(layout.groups),
        "phase": phases,
    }


def _in_order(rows: pd.DataFrame, orders: dict[str, list[str]]) -> pd.DataFrame:
    for column in orders.keys() & set(rows.columns):
        known = dict.fromkeys([*orders[column], *rows[column].dropna().unique()])
        present = [value for value in known if (rows[column] == value).any()]
        rows = rows.assign(**{column: pd.Categorical(rows[column], present, ordered=True)})
    return rows
