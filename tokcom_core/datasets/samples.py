"""Samples of one split, in one table that every device and the base station read alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import first_line
from .kept import Stamp, stamp

REQUIRED = ("sample_id", "media_id", "group", "answer")
"""Columns that every task has; texts that a data set does not have are empty."""

_PUBLISHED = "published_id"
"""Column of the data set's own ids, where some had to be made unique."""


@dataclass(frozen=True)
class Samples:
    """Columns of equal length, all of them text.

    ``sample_id`` is the data set's own id (see :meth:`with_unique_ids`). ``media_id`` names the
    media of a sample, such as a clip or a picture; answers about the same media are correlated.
    ``group`` is the kind of question, and ``answer`` the true answer. Further columns (question,
    caption ...) are up to the task.
    """

    columns: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        missing = [name for name in REQUIRED if name not in self.columns]
        lengths = {len(values) for values in self.columns.values()}
        if missing or len(lengths) != 1:
            raise ValueError(
                f"samples should have columns {', '.join(REQUIRED)} of one length, but have "
                f"{ {name: len(values) for name, values in self.columns.items()} }"
            )

    def __len__(self) -> int:
        return len(self.media_id)

    def __getitem__(self, column: str) -> tuple[str, ...]:
        return self.columns[column]

    @property
    def sample_id(self) -> tuple[str, ...]:
        return self.columns["sample_id"]

    @property
    def media_id(self) -> tuple[str, ...]:
        return self.columns["media_id"]

    @property
    def group(self) -> tuple[str, ...]:
        return self.columns["group"]

    @property
    def answer(self) -> tuple[str, ...]:
        return self.columns["answer"]

    @property
    def repeated_ids(self) -> int:
        """Number of ids that several samples about the same media share."""
        counts = Counter(zip(self.media_id, self.sample_id, strict=True))
        return sum(count > 1 for count in counts.values())

    @property
    def published_ids(self) -> tuple[str, ...]:
        """The data set's own ids, by which official evaluations identify samples."""
        return self.columns.get(_PUBLISHED, self.sample_id)

    def with_unique_ids(self) -> Samples:
        """The same samples, with ``1138-2`` for the second ``1138`` about the same media."""
        if not self.repeated_ids:
            return self
        keys: dict[tuple[str, str], None] = {}
        untried: dict[tuple[str, str], Iterator[str]] = {}
        for media_id, sample_id in zip(self.media_id, self.sample_id, strict=True):
            names = untried.setdefault((media_id, sample_id), _names(sample_id))
            keys[next((media_id, name) for name in names if (media_id, name) not in keys)] = None
        unique = tuple(name for _, name in keys)
        return Samples({**self.columns, "sample_id": unique, _PUBLISHED: self.sample_id})

    def keep(self, media_ids: Collection[str]) -> Samples:
        """The samples of these media only."""
        return self.take([i for i, name in enumerate(self.media_id) if name in media_ids])

    def take(self, rows: Sequence[int]) -> Samples:
        """The samples of these rows, in this order."""
        return Samples(
            {name: tuple(values[row] for row in rows) for name, values in self.columns.items()}
        )

    def write(self, file: Path) -> None:
        """Writes them as parquet.

        Raises:
            ValueError: for a text with half a character, as JSON may have it.
        """
        try:
            frame = pd.DataFrame({name: list(values) for name, values in self.columns.items()})
            frame.astype(str).to_parquet(file)
        except UnicodeEncodeError as error:
            rows = enumerate(zip(*self.columns.values(), strict=True))
            row = next(i for i, texts in rows if _is_broken("".join(texts)))
            raise ValueError(
                f"sample {self.sample_id[row]!r} about {self.media_id[row]!r} has a text with half "
                f"a character: {error}"
            ) from None


def _names(sample_id: str) -> Iterator[str]:
    yield sample_id
    yield from (f"{sample_id}-{number}" for number in count(2))


def _is_broken(text: str) -> bool:
    """Whether a text has a surrogate without the other half of its pair."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def read_samples(file: Path) -> Samples:
    """Reads what :meth:`Samples.write` wrote; a process rereads a file only if it has changed.

    Raises:
        ValueError: if the file is damaged.
    """
    return _read_samples(file, stamp(file))


@lru_cache(maxsize=16)
def _read_samples(file: Path, stamped: Stamp) -> Samples:
    """The samples in a file as it is now."""
    try:
        columns = pq.read_table(file).to_pydict()
    except (pa.ArrowInvalid, OSError) as error:
        if getattr(error, "errno", None) is not None:  # of the file system, not of the file
            raise
        raise ValueError(
            f"{file} is damaged ({first_line(error)}); remove it, and the next run makes it again"
        ) from None
    return Samples({name: tuple(values) for name, values in columns.items()})
