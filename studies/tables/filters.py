"""Rows of a table by what they are: finished, or of methods that are no references."""

from __future__ import annotations

import pandas as pd

from .columns import TableLayout


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``results`` that have an accuracy."""
    return rows[rows["status"] == "ok"]


def without_references(rows: pd.DataFrame, layout: TableLayout) -> pd.DataFrame:
    """The rows of methods that are no references."""
    return rows[~rows["method"].isin(layout.reference_methods)]
