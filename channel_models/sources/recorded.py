"""Recorded channels: realisations on disk as parquet, to be met again by whoever replays them.

Shapes: ``R`` realisations, ``M`` antennas, ``P`` paths, ``T`` time steps.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..seeding import spawn_seed
from .source import Realisation, Request, Source

_VERSION = 1
_PLACE = ("x_m", "y_m", "height_m")


@dataclass(frozen=True)
class Trace:
    """Recorded realisations.

    Attributes:
        gains: complex64 ``[R, M, P, T]``.
        delays_s: float32 ``[R, P]``.
        senders: whose each realisation is; empty strings for anybody's.
        sampling_hz: rate of the time steps.
        carrier_hz: carrier frequency.
        physical: whether gains include path loss (a link budget sets the SNR), or have E|h|^2 = 1.
        places_m: float32 ``[R, 3]`` of the users, NaN where unknown.
        directions: float32 ``[R, P, 3]``, unit vectors in which paths leave the user, for the
            Doppler shift of users that move; None where unknown.
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
        """Writes the trace; a half-written file is never seen."""
        file = Path(file)
        _, antennas, paths, steps = self.gains.shape
        columns = {
            "sender": pa.array(self.senders),
            **{name: pa.array(self.places_m[:, i]) for i, name in enumerate(_PLACE)},
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
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        pq.write_table(table, partial)
        partial.replace(file)


def read_trace(file: Path) -> Trace:
    """Reads what :meth:`Trace.write` wrote.

    Raises:
        ValueError: for a file that is missing, damaged or not a trace.
    """
    try:
        table = pq.read_table(file)
        about = json.loads((table.schema.metadata or {})[b"tokcom_trace"])
    except FileNotFoundError:
        raise ValueError(f"no trace {file}; 'tokcom air record' makes one") from None
    except (pa.ArrowInvalid, OSError, KeyError, json.JSONDecodeError):
        raise ValueError(f"{file} is not a trace; 'tokcom air record' makes one") from None
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
        places_m=np.stack([table[name].to_numpy() for name in _PLACE], axis=1),
        directions=directions,
    )


def record(
    source: Source,
    request: Request,
    senders: Sequence[str],
    carrier_hz: float,
    physical: bool = False,
) -> Trace:
    """Records ``request.batch`` realisations of a source for each sender."""
    made = [
        source.realise(replace(request, sender=s, seed=spawn_seed(request.seed, s)))
        for s in senders
    ]
    gains = torch.cat([m.gains for m in made])
    delays = torch.cat([m.delays_s.expand(request.batch, -1) for m in made])
    unknown = torch.full((request.batch,), math.nan)
    places = torch.cat(
        [torch.stack([m.site.get(name, unknown).cpu() for name in _PLACE], dim=1) for m in made]
    )
    return Trace(
        gains.cpu().numpy(),
        delays.cpu().numpy(),
        tuple(s for s in senders for _ in range(request.batch)),
        request.sampling_hz,
        carrier_hz,
        physical,
        places.numpy(),
    )


def trace_of_generator(
    generator: Iterable[tuple[Tensor, Tensor]],
    sampling_hz: float,
    carrier_hz: float,
    physical: bool = False,
) -> Trace:
    """A trace of what a generator for Sionna's ``CIRDataset`` yields.

    Each item is ``a`` ``[1, M, 1, 1, P, T]`` and ``tau`` ``[1, 1, P]`` of one user.
    """
    items = [(np.asarray(a)[0, :, 0, 0], np.asarray(tau).reshape(-1)) for a, tau in generator]
    if not items:
        raise ValueError("the generator yields no realisation")
    return Trace(
        np.stack([a for a, _ in items]).astype(np.complex64),
        np.stack([tau for _, tau in items]).astype(np.float32),
        ("",) * len(items),
        sampling_hz,
        carrier_hz,
        physical,
        np.full((len(items), 3), math.nan, dtype=np.float32),
    )


class RecordedSource(Source):
    """Replays a trace: the seed chooses the realisations, among the sender's own if it has any.

    Args:
        trace: what was recorded.
        antennas: of the base station; must be those of the trace.
        moving_mps: speed for paths of known directions; each sample also gets uniform phases, as a
            user a few wavelengths off would.
        keep_place: each sender stays with one realisation, chosen by this seed and its name.
        device: torch device.

    Raises:
        ValueError: for other antennas than recorded.
    """

    def __init__(
        self,
        trace: Trace,
        antennas: int,
        moving_mps: float | None = None,
        keep_place: int | None = None,
        device: str = "cpu",
    ) -> None:
        if trace.gains.shape[1] != antennas:
            raise ValueError(
                f"the trace was recorded with {trace.gains.shape[1]} antennas, "
                f"the link has {antennas}; set link.antennas to the former"
            )
        self._trace = trace
        self._gains = torch.from_numpy(trace.gains).to(device)
        self._delays = torch.from_numpy(trace.delays_s).to(device)
        self._moving_mps = moving_mps
        self._keep_place = keep_place
        self._device = device
        self._rows = {
            sender: torch.tensor([i for i, s in enumerate(trace.senders) if s == sender])
            for sender in dict.fromkeys(trace.senders)
        }
        self.static = trace.gains.shape[3] == 1 and not moving_mps
        self.flat = trace.gains.shape[2] == 1 and not trace.delays_s.any()

    def realise(self, request: Request) -> Realisation:
        generator = torch.Generator().manual_seed(request.seed)
        own = self._rows.get(request.sender, torch.arange(len(self._trace.senders)))
        if self._keep_place is None:
            chosen = own[torch.randint(len(own), (request.batch,), generator=generator)]
        else:
            place = spawn_seed(self._keep_place, request.sender) % len(own)
            chosen = own[place].expand(request.batch)
        places = torch.from_numpy(self._trace.places_m)[chosen].to(self._device)
        gains = self._in_time(self._gains[chosen.to(self._device)], request, generator, chosen)
        site = dict(zip(_PLACE, places.unbind(1), strict=True))
        return Realisation(gains, self._delays[chosen.to(self._device)], site)

    def _in_time(
        self, gains: Tensor, request: Request, generator: torch.Generator, chosen: Tensor
    ) -> Tensor:
        if self._moving_mps is not None:
            return gains * self._rotation(request, generator, chosen)
        recorded = gains.shape[3]
        if recorded == 1 or request.steps == 1:
            return gains[..., :1].expand(-1, -1, -1, request.steps)
        if request.steps > recorded:
            raise ValueError(
                f"the trace has {recorded} time steps, the transmission takes {request.steps}; "
                "record longer realisations"
            )
        if not math.isclose(request.sampling_hz, self._trace.sampling_hz, rel_tol=1e-6):
            raise ValueError(
                f"the trace was sampled at {self._trace.sampling_hz:g} Hz, the link needs "
                f"{request.sampling_hz:g}; record it with the link's subcarrier spacing"
            )
        return gains[..., : request.steps]

    def _rotation(self, request: Request, generator: torch.Generator, chosen: Tensor) -> Tensor:
        """Random phases of the paths, and their Doppler shifts: ``[B, 1, P, T]``."""
        paths = self._gains.shape[2]
        turns = torch.rand(len(chosen), paths, 1, generator=generator)
        if self._trace.directions is not None and self._moving_mps:
            heading = 2 * torch.pi * torch.rand(len(chosen), generator=generator)
            velocity = self._moving_mps * torch.stack(
                [heading.cos(), heading.sin(), torch.zeros_like(heading)], dim=1
            )
            direction = torch.from_numpy(self._trace.directions)[chosen]
            wavelength = 299_792_458.0 / self._trace.carrier_hz
            doppler_hz = (direction @ velocity[:, :, None]) / wavelength
            turns = turns + doppler_hz * torch.arange(request.steps) / request.sampling_hz
        phase = (2 * torch.pi * turns).to(self._device)[:, None]
        return torch.polar(torch.ones_like(phase), phase)


def _lists(values: NDArray[np.float32]) -> pa.ListArray:
    rows = np.ascontiguousarray(values, dtype=np.float32).reshape(len(values), -1)
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(offsets, rows.reshape(-1))


def _array(table: pa.Table, name: str) -> NDArray[np.float32]:
    flat: NDArray[np.float32] = table[name].combine_chunks().flatten().to_numpy().copy()
    return flat
