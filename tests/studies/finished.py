"""What the finished study of all methods holds, and its table without what a clock says."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from studies.tables.columns import WALL_CLOCK_COLUMNS

METHODS = ["aligned", "digital", "raw-upload", "reconstruction", "unaligned"]
REFERENCES = ["blind", "text-oracle"]


def table_of(out: Path) -> pd.DataFrame:
    """The rows of ``results``, in order."""
    table = pd.read_parquet(out / "results")
    dropped = [*WALL_CLOCK_COLUMNS, "config"]  # the config repeats what the other columns say
    table = table.drop(columns=dropped)
    return table.sort_values(["cell", "eval_snr_db"], ignore_index=True)
