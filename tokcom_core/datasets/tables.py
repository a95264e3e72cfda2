"""Reads published annotation files, JSON and TSV; errors in them are reported in one line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pandas as pd


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: if it is missing or not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None


def read_objects(file: Path, key: str | None = None) -> list[dict[str, Any]]:
    """The list of objects that a JSON file holds, at its top level or under a key.

    Raises:
        ValueError: if it is missing or of another form.
    """
    content = read_json(file)
    if key is not None:
        content = content.get(key) if isinstance(content, dict) else None
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        under = "" if key is None else f" under {key!r}"
        raise ValueError(f"{file} should hold a JSON list of objects{under}")
    return content


def read_tsv(file: Path, columns: Iterable[str], quoted: bool) -> list[dict[str, str]]:
    """The rows of a table with a header, separated by tabs; missing cells are empty.

    Args:
        file: The table.
        columns: Columns that it must have.
        quoted: Whether cells may be quoted, as pandas writes them.

    Raises:
        ValueError: if it is missing, damaged or lacks a column.
    """
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    try:
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False, quoting=quoting)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{file} is not a table: {' '.join(str(error).split())}") from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(
            f"{file} has no columns {', '.join(missing)}; it has {', '.join(map(str, table))}"
        )
    return [{str(k): str(v) for k, v in row.items()} for row in table.to_dict("records")]


@contextmanager
def entries(file: Path) -> Iterator[None]:
    """Reports in one line that a file has an entry that lacks a field or has another form.

    Raises:
        ValueError: for such an entry in the block.
    """
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{file}: an entry lacks the field {error}") from None
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{file}: an entry is not of the published form: {error}") from None
