"""Traces: recorded realisations on disk as parquet.

Shapes: ``R`` realisations, ``M`` antennas, ``P`` paths, ``T`` time steps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_VERSION = 1
PLACE = ("x_m", "y_m", "height_m")
"""Coordinates of a user's place."""


@dataclass(frozen=True)
class Trace:
    """Recorded realisations.

    Attributes:
        gains: complex64 ``[R, M, P, T]``.
        delays_s: float32 ``[R, P]``.
        senders: Device that each realisation belongs to; an empty string for any device.
        sampling_hz: Rate of the time steps.
        carrier_hz: Carrier frequency.
        physical: True if gains include the path loss, so that a link budget sets the SNR; False if
            E|h|^2 = 1.
        places_m: float32 ``[R, 3]``, places of the users; NaN where unknown.
        directions: float32 ``[R, P, 3]``, unit vectors along which paths leave the user, for the
            Doppler shift of users that move; None if unknown.
    """

    gains: NDArray[np.complex64]
    delays_s: NDArray[np.float32]
    senders: tuple[str, ...]
    sampling_hz: float
    carrier_hz: float
    physical: bool
    places_m: NDArray[np.float32]
    directions: NDArray[np.float32] | None = None

    def write(self, file: str | Path) -> None:
        """Writes the trace; no half-written file ever has its name."""
        file = Path(file)
        _, antennas, paths, steps = self.gains.shape
        columns = {
            "sender": pa.array(self.senders),
            **{name: pa.array(self.places_m[:, i]) for i, name in enumerate(PLACE)},
            "a_real": _lists(self.gains.real),
            "a_imag": _lists(self.gains.imag),
            "tau_s": _lists(self.delays_s),
        }
        if self.directions is not None:
            columns["direction"] = _lists(self.directions)
        about = {
            "version": _VERSION,
            "antennas": antennas,
            "paths": paths,
            "steps": steps,
            "sampling_hz": self.sampling_hz,
            "carrier_hz": self.carrier_hz,
            "physical": self.physical,
        }
        table = pa.table(columns).replace_schema_metadata({"tokcom_trace": json.dumps(about)})
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
        try:
            pq.write_table(table, partial)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)


def is_physical(file: Path) -> bool:
    """Whether a trace's gains include the path loss, see :class:`Trace`; reads no gains.

    Raises:
        ValueError: for a file that is missing, damaged or not a trace.
    """
    with _reading(file):
        return bool(_about(pq.read_schema(file))["physical"])


def read_trace(file: Path) -> Trace:
    """Reads what :meth:`Trace.write` wrote.

    Raises:
        ValueError: for a file that is missing, damaged or not a trace.
    """
    with _reading(file):
        table = pq.read_table(file)
        about = _about(table.schema)
    count, antennas, paths, steps = (
        table.num_rows,
        *(about[k] for k in ("antennas", "paths", "steps")),
    )
    shape = (count, antennas, paths, steps)
    directions = None
    if "direction" in table.column_names:
        directions = _array(table, "direction").reshape(count, paths, 3)
    return Trace(
        gains=(_array(table, "a_real") + 1j * _array(table, "a_imag")).reshape(shape),
        delays_s=_array(table, "tau_s").reshape(count, paths),
        senders=tuple(table["sender"].to_pylist()),
        sampling_hz=about["sampling_hz"],
        carrier_hz=about["carrier_hz"],
        physical=about["physical"],
        places_m=np.stack([table[name].to_numpy() for name in PLACE], axis=1),
        directions=directions,
    )


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"no trace {file}; 'tokcom air record' makes one") from None
    except (pa.ArrowInvalid, OSError, KeyError, json.JSONDecodeError):
        raise ValueError(f"{file} is not a trace; 'tokcom air record' makes one") from None


def _about(schema: pa.Schema) -> dict[str, Any]:
    header: dict[str, Any] = json.loads((schema.metadata or {})[b"tokcom_trace"])
    return header


def _lists(values: NDArray[np.float32]) -> pa.ListArray:
    rows = np.ascontiguousarray(values, dtype=np.float32).reshape(len(values), -1)
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(offsets, rows.reshape(-1))


def _array(table: pa.Table, name: str) -> NDArray[np.float32]:
    flat: NDArray[np.float32] = table[name].combine_chunks().flatten().to_numpy().copy()
    return flat
