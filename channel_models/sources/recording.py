"""Recording: makes traces of what a source, or a generator for Sionna, yields."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..seeding import spawn_seed
from .source import Request, Source
from .trace import PLACE, Trace

MAX_DELAY_S = 1e-3
"""Delays must be below this: a path of 1 ms would be 300 km long."""


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

    Each item is ``a`` ``[1, M, 1, 1, P, T]`` and ``tau`` ``[1, 1, P]`` (s) of one user.

    Raises:
        ValueError: if there is no item, or one with wrong or differing shapes, gains that are not
            complex and finite, or impossible delays.
    """
    items = [
        _item(f"realisation {number} of the generator", np.asarray(a), np.asarray(tau))
        for number, (a, tau) in enumerate(generator)
    ]
    if not items:
        raise ValueError("the generator yields no realisation")
    shape = items[0][0].shape
    for number, (gains, _) in enumerate(items):
        if gains.shape != shape:
            raise ValueError(
                f"realisation {number} of the generator has {list(gains.shape)} antennas, paths "
                f"and time steps, the first {list(shape)}; they should have as many: pad with "
                "paths of zero gain"
            )
    return Trace(
        np.stack([a for a, _ in items]).astype(np.complex64),
        np.stack([tau for _, tau in items]).astype(np.float32),
        ("",) * len(items),
        sampling_hz,
        carrier_hz,
        physical,
        np.full((len(items), 3), math.nan, dtype=np.float32),
    )


def _item(
    which: str, gains: NDArray[np.complex64], delays_s: NDArray[np.float32]
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Gains ``[M, P, T]`` and delays ``[P]`` of an item of a generator.

    Raises:
        ValueError: see :func:`trace_of_generator`.
    """
    if gains.ndim != 6 or gains.shape[0] != 1 or gains.shape[2:4] != (1, 1):
        raise ValueError(
            f"{which} has gains {list(gains.shape)}; give [1, antennas, 1, 1, paths, steps]"
        )
    gains, delays_s = gains[0, :, 0, 0], delays_s.reshape(-1)
    if len(delays_s) != gains.shape[1]:
        raise ValueError(
            f"{which} has {gains.shape[1]} paths, but {len(delays_s)} delays; give each path one"
        )
    if not (np.iscomplexobj(gains) and np.isfinite(gains).all()):
        problem = "that are not finite" if np.iscomplexobj(gains) else f"of {gains.dtype}"
        raise ValueError(f"{which} has gains {problem}; give finite complex amplitudes")
    delays_s = np.where(gains.any((0, 2)), delays_s, 0.0)  # Sionna pads by -1 or 1 s
    if not ((delays_s >= 0) & (delays_s < MAX_DELAY_S)).all():
        earliest, latest = delays_s.min() + 0.0, delays_s.max() + 0.0  # -0 is 0
        raise ValueError(
            f"{which} has delays from {earliest:g} to {latest:g} s; give seconds, from 0 to below "
            f"{MAX_DELAY_S:g}"
        )
    return gains, delays_s
