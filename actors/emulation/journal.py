"""The journal of an emulation: one file per batch, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from tokcom_core.storage import atomic_file

from ..messages import Served, TransmitRequest

_REMEDY = (
    "the files after it from journals/ where the study is kept, and 'tokcom study resume' does "
    "these batches again"
)


@dataclass(frozen=True)
class EmulationState:
    """State of an emulation after a batch: everything that the next batch depends on.

    Attributes:
        batch: Number of batches so far.
        interval, now_s: Number and start time of the next scheduling interval.
        admitted: Number of questions that have been asked.
        waiting: Questions that still wait, oldest first.
        tries: Number of losses of each waiting question that has been lost, by question.
        due: Interval from which each of these may be sent again, as its feedback is known by then.
        scheduler: State of the scheduler.
        planned: Number of questions in the last batch.
        answered, given_up: Number of questions so far that were answered, or given up.
        score: Sum of the scores of all answers so far.
        energy_mj: Transmit energy of all devices so far.
    """

    batch: int
    interval: int
    now_s: float
    admitted: int
    waiting: tuple[int, ...]
    tries: dict[int, int]
    due: dict[int, int]
    scheduler: Tensor
    planned: int
    answered: int
    score: float
    given_up: int
    energy_mj: float

    @classmethod
    def first(cls, scheduler: Tensor) -> EmulationState:
        """The state before the first batch."""
        return cls(0, 0, 0.0, 0, (), {}, {}, scheduler, 0, 0, 0.0, 0, 0.0)


class Journal:
    """One file per batch: a row for each question and stream, and the state after the batch.

    Args:
        folder: Folder of the files.
        keep: Called with every new file.
    """

    def __init__(self, folder: Path, keep: Callable[[Path], None] | None = None) -> None:
        self._folder = folder
        self._keep = keep
        folder.mkdir(parents=True, exist_ok=True)

    def write(
        self, after: EmulationState, questions: Tensor, request: TransmitRequest, served: Served
    ) -> None:
        """Records a batch, which counts from then on."""
        table = pa.Table.from_pandas(_rows(questions, request, served), preserve_index=False)
        memory = {**asdict(after), "scheduler": after.scheduler.tolist()}
        table = table.replace_schema_metadata({"tokcom_state": json.dumps(memory)})
        file = self._file(after.batch)
        with atomic_file(file) as partial:
            pq.write_table(table, partial)
        if self._keep is not None:
            self._keep(file)

    def last(self) -> EmulationState | None:
        """The state after the last batch; None before the first.

        Raises:
            ValueError: for a damaged file.
        """
        files = self._files()
        if not files:
            return None
        with _reading(files[-1]):
            memory = json.loads(pq.read_schema(files[-1]).metadata[b"tokcom_state"])
            state = EmulationState(**memory)
        return replace(
            state,
            waiting=tuple(state.waiting),
            tries={int(question): count for question, count in state.tries.items()},
            due={int(question): interval for question, interval in state.due.items()},
            scheduler=torch.tensor(memory["scheduler"]),
        )

    def read(self) -> pd.DataFrame:
        """Every transmission, in order: a row for each question, stream and attempt.

        Raises:
            ValueError: for a damaged file.
        """
        tables = []
        for file in self._files():
            with _reading(file):
                tables.append(pd.read_parquet(file))
        return pd.concat(tables, ignore_index=True)

    def users(self) -> set[int]:
        """Users of whom at least one question has been received.

        Raises:
            ValueError: for a damaged file.
        """
        users: set[int] = set()
        for file in self._files():
            with _reading(file):
                rows = pq.read_table(file, columns=["user"], filters=[("received", "==", True)])
            users.update(rows["user"].to_pylist())
        return users

    def _files(self) -> list[Path]:
        """The files of all batches so far.

        Raises:
            ValueError: if one of them is missing: the later ones go on from it.
        """
        files = sorted(self._folder.glob("[0-9]*.parquet"))
        for file, expected in zip(files, map(self._file, count(1)), strict=False):
            if file != expected:
                raise ValueError(f"{expected} is missing; remove {_REMEDY}")
        return files

    def _file(self, batch: int) -> Path:
        return self._folder / f"{batch:08d}.parquet"


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Names a file that is damaged, and the remedy."""
    try:
        yield
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, json.JSONDecodeError):
        raise ValueError(f"{file} is damaged; remove it and {_REMEDY}") from None


def _rows(questions: Tensor, request: TransmitRequest, served: Served) -> pd.DataFrame:
    """One row for each question and stream of a batch."""
    frames = []
    for stream, log in served.streams.items():
        columns = {
            "request": questions,
            "user": request.members.users,
            "row": request.rows,
            "interval": request.members.intervals,
            "start_s": request.members.starts_s,
            "received": served.received,
            "score": served.scores,
            "first_token": served.first_token,
            "sent": log.sent,
            "lost": log.lost,
            "ends_ms": log.ends_ms,
            "waited_ms": log.waited_ms,
            "tokens": log.tokens,
            "realised_snr_db": log.realised_snr_db,
            "realised_sinr_db": log.sinr_db,
            **log.costs,
            **log.location,
        }
        frame = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
        frame.insert(2, "device", log.sender)
        frame.insert(3, "stream", stream)
        frame.insert(7, "predicted", served.predicted)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
