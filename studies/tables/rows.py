"""From rows to a table's file: every table is written here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_rows(file: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Writes rows as parquet; what a row lacks is null.

    pyarrow drops what its schema does not know and says nothing; here that is a mistake.
    """
    unknown = {name for row in rows for name in row} - set(schema.names)
    assert not unknown, f"the schema has no columns {sorted(unknown)}"
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), file)
