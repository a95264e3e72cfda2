"""The Pareto front of a summary: the most accurate conditions at every cost."""

from __future__ import annotations

import pandas as pd


def pareto(summary: pd.DataFrame, cost: str = "uplink_channel_uses") -> pd.DataFrame:
    """The conditions whose accuracy no other one reaches at the same or less cost.

    Args:
        summary: Rows with ``accuracy`` and the cost, such as those of
            :func:`studies.tables.summary.summarise` that share an air and an SNR.
        cost: Column of the cost.

    Returns:
        Their rows by increasing cost; of rows that are alike in both, the first. Rows without an
        accuracy or a cost are left out.

    Raises:
        ValueError: if there is no such column.
    """
    if cost not in summary:
        raise ValueError(
            f"no cost {cost!r} in the table; its columns are {', '.join(summary.columns)}"
        )
    known = summary.dropna(subset=["accuracy", cost])
    ordered = known.sort_values([cost, "accuracy"], ascending=[True, False], kind="stable")
    before = ordered["accuracy"].cummax().shift(fill_value=float("-inf"))
    return ordered[ordered["accuracy"] > before]
