"""Recording: traces of what a source, or a generator of Sionna's kind, yields."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..seeding import spawn_seed
from .source import Request, Source
from .trace import PLACE, Trace


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
        [torch.stack([m.location.get(name, unknown).cpu() for name in PLACE], dim=1) for m in made]
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
