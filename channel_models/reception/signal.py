"""Frames on the resource grid, and the channels that they meet there.

Shapes: ``B`` samples, ``M`` antennas of the base station, ``T`` OFDM symbols with data, ``F``
subcarriers. If the channel is flat and static, and not estimated, the grid is a single row of all
symbols, and the response is a single value per sample and antenna.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..air import Air
from ..frame import Frame, Members
from ..numerology import Allocation, Grid, Link
from ..seeding import spawn_seed
from ..sources.source import Request, Source, draw
from .grid import at_steps, on_grid
from .response import frequency_response, subcarrier_hz

_PROBES = 8
"""About how many subcarriers of a user's part of the band a scheduler looks at."""


@dataclass(frozen=True)
class UserSignal:
    """A frame on its grid, and its channel.

    Attributes:
        symbols: ``[B, T, F]``.
        response: ``[B, M, T or 1, F or 1]`` at the data symbols.
        pilots: ``[B, M, slots, pilots of a slot, F]``; None unless the channel is estimated.
        rows: See :class:`~channel_models.numerology.Grid`.
        location: See :class:`~channel_models.air.ChannelOutput`.
    """

    symbols: Tensor
    response: Tensor
    pilots: Tensor | None
    rows: list[int]
    location: dict[str, Tensor]


class FadingChannel:
    """A source's channels on the resource grid.

    Args:
        link: Numerology and pilots.
        source: Yields channels.
        with_pilots: Whether the receiver estimates channels, and so needs the pilots' responses.
        device: Torch device.
    """

    def __init__(self, link: Link, source: Source, with_pilots: bool, device: torch.device) -> None:
        self._link = link
        self._source = source
        self._with_pilots = with_pilots
        self._device = device

    @property
    def static(self) -> bool:
        """Whether the channel stands still while a frame is sent."""
        return self._source.static

    def signal(
        self, frame: Frame, allocation: Allocation, seed: int, longest: int = 0
    ) -> UserSignal:
        """Puts a frame on its grid and draws its channel, both for at least ``longest`` symbols."""
        source, link = self._source, self._link
        length = max(longest, frame.symbols.shape[1])
        flat = source.flat and source.static and not self._with_pilots
        if flat:
            grid = Grid(length, 1, (0,), ())
        elif frame.stride > 1:
            grid = link.strided_grid(length, allocation.subcarriers, frame.stride)
        else:
            grid = link.grid(length, allocation.subcarriers)
        channel = draw(
            source,
            Request(
                batch=len(frame.symbols),
                steps=1 if source.static else grid.steps,
                sampling_hz=1e3 / link.symbol_ms / grid.stride,
                subcarriers=allocation.subcarriers,
                seed=Air.seed_of(frame, seed, "fading"),
                sender=frame.sender,
                members=frame.members,
                place_seed=spawn_seed(seed, frame.sender, "place"),
                attempt=frame.attempt,
                stride=grid.stride,
            ),
            link.antennas,
        )
        if flat:
            response = channel.gains.sum(2)[..., None]
        else:
            response = frequency_response(channel, subcarrier_hz(link, allocation, self._device))
        pilots = None
        if self._with_pilots:
            pilots = at_steps(response, grid.pilot_steps).unflatten(2, (grid.slots, -1))
        return UserSignal(
            on_grid(frame.symbols, (len(grid.data_steps), grid.subcarriers)),
            response if source.static else at_steps(response, grid.data_steps),
            pilots,
            grid.rows,
            channel.location,
        )

    def probe_power(self, sender: str, members: Members, allocation: Allocation) -> Tensor:
        """Power gain ``[B]`` of all antennas, as a mean over a few subcarriers of an allocation."""
        request = Request(
            batch=len(members.users),
            steps=1,
            sampling_hz=1e3 / self._link.symbol_ms,
            subcarriers=allocation.subcarriers,
            seed=0,
            sender=sender,
            members=members,
        )
        band = subcarrier_hz(self._link, allocation, self._device)
        probes = band[:: max(1, len(band) // _PROBES)]
        channel = draw(self._source, request, self._link.antennas)
        response = frequency_response(channel, probes)
        power = response.real.square() + response.imag.square()
        return power.sum(1).mean((1, 2))
