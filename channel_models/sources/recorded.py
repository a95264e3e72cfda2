"""Recorded channels: replays a trace's realisations.

Shapes: ``B`` samples, ``M`` antennas, ``P`` paths, ``T`` time steps.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..numerology import SPEED_OF_LIGHT_MPS
from ..seeding import spawn_seed
from .source import Realisation, Request, Source, random_phases
from .trace import PLACE, Trace


class RecordedSource(Source):
    """Replays a trace: the seed chooses realisations, among the sender's own if there are any.

    If ``speed_mps`` is given, or all places are known, the seed of the request's place chooses
    them instead. The request's seed then draws uniform phases of the paths, such as a user a few
    wavelengths away would have.

    Args:
        trace: The recorded realisations.
        antennas: Number of the base station's antennas; must be that of the trace.
        speed_mps: Speed of the users, for paths whose directions are known.
        drop_seed: Seed that chooses, with a sender's name, the one realisation that the sender
            keeps; None chooses one for every sample.
        device: Torch device.

    Raises:
        ValueError: if the trace has another number of antennas.
    """

    def __init__(
        self,
        trace: Trace,
        antennas: int,
        speed_mps: float | None = None,
        drop_seed: int | None = None,
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
        self._speed_mps = speed_mps or 0.0
        self._drop_seed = drop_seed
        self._device = device
        self._rows = {
            sender: torch.tensor([i for i, s in enumerate(trace.senders) if s == sender])
            for sender in dict.fromkeys(trace.senders)
        }
        self._placed = speed_mps is not None or bool(np.isfinite(trace.places_m).all())
        self.static = trace.gains.shape[3] == 1 and not speed_mps
        self.flat = trace.gains.shape[2] == 1 and not trace.delays_s.any()

    def realise(self, request: Request) -> Realisation:
        rows = self._rows.get(request.sender, torch.arange(len(self._trace.senders)))
        generator = torch.Generator().manual_seed(request.seed)
        if self._drop_seed is None or not request.sender:
            chooser = (
                torch.Generator().manual_seed(request.seed_of_place) if self._placed else generator
            )
            chosen = rows[torch.randint(len(rows), (request.batch,), generator=chooser)]
        else:
            row = spawn_seed(self._drop_seed, request.sender) % len(rows)
            chosen = rows[row].expand(request.batch)
        places = torch.from_numpy(self._trace.places_m)[chosen].to(self._device)
        gains = self._gains[chosen.to(self._device)]
        if self._placed:
            gains = gains * random_phases(gains, generator)
        gains = self._in_time(gains, request, generator, chosen)
        location = dict(zip(PLACE, places.unbind(1), strict=True))
        return Realisation(gains, self._delays[chosen.to(self._device)], location)

    def _in_time(
        self, gains: Tensor, request: Request, generator: torch.Generator, chosen: Tensor
    ) -> Tensor:
        if self._speed_mps and self._trace.directions is not None:
            return gains * self._doppler(self._trace.directions, request, generator, chosen)
        recorded = gains.shape[3]
        if recorded == 1 or request.steps == 1:
            return gains[..., :1].expand(-1, -1, -1, request.steps)
        needed = request.stride * (request.steps - 1) + 1
        if needed > recorded:
            raise ValueError(
                f"the trace has {recorded} time steps, the transmission takes {needed}; "
                "record longer realisations"
            )
        symbol_hz = request.sampling_hz * request.stride
        if not math.isclose(symbol_hz, self._trace.sampling_hz, rel_tol=1e-6):
            raise ValueError(
                f"the trace was sampled at {self._trace.sampling_hz:g} Hz, the link needs "
                f"{symbol_hz:g}; record it with the link's subcarrier spacing"
            )
        return gains[..., : needed : request.stride]

    def _doppler(
        self,
        directions: NDArray[np.float32],
        request: Request,
        generator: torch.Generator,
        chosen: Tensor,
    ) -> Tensor:
        """Rotations by the paths' Doppler shifts, ``[B, 1, P, T]``; users head in any direction."""
        heading = 2 * torch.pi * torch.rand(len(chosen), generator=generator)
        velocity = self._speed_mps * torch.stack(
            [heading.cos(), heading.sin(), torch.zeros_like(heading)], dim=1
        )
        direction = torch.from_numpy(directions)[chosen]
        wavelength = SPEED_OF_LIGHT_MPS / self._trace.carrier_hz
        doppler_hz = (direction @ velocity[:, :, None]) / wavelength
        turns = doppler_hz * torch.arange(request.steps) / request.sampling_hz
        shift = (2 * torch.pi * turns).to(self._device)[:, None]
        return torch.polar(torch.ones_like(shift), shift)
