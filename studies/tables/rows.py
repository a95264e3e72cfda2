"""Reads and writes the parquet file of every table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokcom_core.errors import first_line

from .columns import VERSION_KEY

_FEW_ROWS = 100
"""A file of fewer rows is read in a sixth less time without dictionaries, which make large files
small. Without statistics, any small file is read in two thirds of the time."""


def write_rows(file: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Writes rows as parquet; missing values are null.

    pyarrow silently drops columns that its schema does not have; here they are an error.
    """
    unknown = {name for row in rows for name in row} - set(schema.names)
    assert not unknown, f"the schema has no columns {sorted(unknown)}"
    table = pa.Table.from_pylist(list(rows), schema=schema)
    few = len(rows) < _FEW_ROWS
    pq.write_table(table, file, write_statistics=False, use_dictionary=not few)


def read_rows(file: Path, schema: pa.Schema) -> pa.Table:
    """Reads what :func:`write_rows` wrote, or those of its columns that ``schema`` has.

    Raises:
        ValueError: for a file of another schema version, whose columns mean something else, or one
            that is damaged.
    """
    remedy = "remove it and what is named alike below results; 'tokcom study resume' makes both"
    table = _read(file, schema, schema.names, remedy)
    return table if table.schema.equals(schema, check_metadata=True) else table.cast(schema)


def read_values(file: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Rows without their missing values, of a study that may have columns other than ``schema``.

    Raises:
        ValueError: for a file of another schema version, or one that is damaged.
    """
    remedy = f"remove {file.parent}; 'tokcom study resume --retry-failed' makes it again"
    rows = _read(file, schema, None, remedy).to_pylist()
    return [{k: value for k, value in row.items() if value is not None} for row in rows]


def read_config(file: Path) -> str:
    """The config of a cell in a table of any schema version; an empty one if it cannot be read."""
    try:
        with pq.ParquetFile(file, pre_buffer=False) as opened:
            rows = opened.read(columns=["config"], use_threads=False).to_pylist()
    except (pa.ArrowInvalid, FileNotFoundError):
        rows = []
    return next((row["config"] for row in rows if row.get("config")), "{}")


def _read(file: Path, schema: pa.Schema, columns: Sequence[str] | None, remedy: str) -> pa.Table:
    try:
        return _opened(file, schema, columns)
    except (pa.ArrowInvalid, FileNotFoundError) as error:
        raise ValueError(f"{file} is damaged ({first_line(error)}); {remedy}") from None


def _opened(file: Path, schema: pa.Schema, columns: Sequence[str] | None) -> pa.Table:
    with pq.ParquetFile(file, pre_buffer=False) as opened:  # files are small, and many
        table = opened.read(columns=columns, use_threads=False)
    _compare_versions(file, table.schema, schema)
    return table if columns is None else table.select(columns)


def check_version(file: Path, schema: pa.Schema) -> None:
    """Raises ValueError for a file of another schema version; one that is damaged passes."""
    with suppress(pa.ArrowInvalid, FileNotFoundError):
        _compare_versions(file, pq.read_schema(file), schema)


def _compare_versions(file: Path, own: pa.Schema, schema: pa.Schema) -> None:
    found, expected = ((s.metadata or {}).get(VERSION_KEY, b"none").decode() for s in (own, schema))
    if found != expected:
        raise ValueError(
            f"{file} has schema version {found}, not {expected}; run its study again with "
            "another --out"
        )
