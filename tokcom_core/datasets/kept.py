"""What has been read from files, kept in memory for as long as the files stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

Row = TypeVar("Row")

Stamp = tuple[int, int, int]


def stamp(file: Path) -> Stamp:
    """Time of change in nanoseconds, size in bytes and inode, which tell a changed file.

    Raises:
        OSError: if there is no such file.
    """
    now = file.stat()
    return now.st_mtime_ns, now.st_size, now.st_ino


def _stamp_if_any(file: Path) -> Stamp | None:
    try:
        return stamp(file)
    except OSError:
        return None


class KeptRows(Generic[Row]):
    """Tables that were read from files; those unused for longest go when there are too many rows.

    The last one stays, however long it is.

    Args:
        max_rows: Number of rows to keep, of all tables together.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._tables: dict[Hashable, tuple[Hashable, tuple[Row, ...]]] = {}
        self._lock = Lock()

    def rows(
        self, key: Hashable, files: Iterable[Path], read: Callable[[], Sequence[Row]]
    ) -> tuple[Row, ...]:
        """The rows under a key; calls ``read`` if there are none or its files have changed."""
        stamps = tuple((file, _stamp_if_any(file)) for file in files)
        with self._lock:
            kept = self._tables.get(key)
        rows = kept[1] if kept is not None and kept[0] == stamps else tuple(read())
        with self._lock:
            self._tables.pop(key, None)
            self._tables[key] = stamps, rows  # at the end, as the one that was used last
            while len(self._tables) > 1 and self._count() > self._max_rows:
                del self._tables[next(iter(self._tables))]
        return rows

    def _count(self) -> int:
        return sum(len(rows) for _, rows in self._tables.values())
