"""Lines of a plot from a summary: a column for each."""

from __future__ import annotations

import pandas as pd

from .columns import PACKET_BITS


def curve(summary: pd.DataFrame, x: str = "eval_snr_db", y: str = "accuracy") -> pd.DataFrame:
    """One column of a summary by another, with a column for each line: ``.plot()`` draws them.

    Lines differ in method, air and whatever else the conditions differ in, except for ``x``. If
    ``x`` is a token length, or a cost such as ``uplink_channel_uses``, all token lengths vary along
    a line.

    Args:
        summary: Rows of :func:`studies.summarise`.
        x: Column of the index.
        y: Column of the values.

    Raises:
        ValueError: if there is no such column, or if a line has several values at one ``x``.
    """
    for column in (x, y):
        if column not in summary:
            known = ", ".join(summary.columns)
            raise ValueError(f"no column {column!r} in the summary; its columns are {known}")
    axes = list(summary.columns[: summary.columns.get_loc("seeds")])
    lengths = {name for name in axes if name.startswith("tokens_")}
    along = lengths if x in lengths or x not in axes else {x}
    across = [
        axis
        for axis in axes
        if axis not in along and summary[axis].nunique(dropna=axis == PACKET_BITS) > 1
    ]
    across = across or ["method"]
    if summary.duplicated([x, *across]).any():
        raise ValueError(f"several conditions share a value of {x!r}; choose some by query()")
    return summary.set_index([x, *across])[y].unstack(across).sort_index()
