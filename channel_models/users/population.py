"""A population: many users behind one air, each with channels of its own over time.

The samples of a batch come from different users and intervals, see
:class:`~channel_models.frame.Members`. The user, the sender and the interval determine a channel.
So a scheduler sees the same channel as the transmission after it, and no user's channel depends on
who else is scheduled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..frame import Members
from ..numerology import ROUND_TRIP_MS, SPEED_OF_LIGHT_MPS
from ..seeding import attempt_seed, spawn_seed
from ..sources.source import Realisation, Request, Source


@dataclass(frozen=True)
class PopulationSize:
    """The number of users, and the seed that determines their places and fading."""

    users: int
    seed: int


class FreshPopulation(Source):
    """Users who keep no place: in every interval all their channels are drawn again.

    Args:
        source: Yields one user's channels.
        size: Number of users and seed.
    """

    def __init__(self, source: Source, size: PopulationSize) -> None:
        self._source = source
        self._size = size
        self.static, self.flat = source.static, source.flat

    def realise(self, request: Request) -> Realisation:
        members = _members(request)
        parts = []
        intervals, where = torch.unique_consecutive(members.intervals, return_inverse=True)
        for i, interval in enumerate(intervals.tolist()):
            seed = spawn_seed(self._size.seed, "crowd", request.sender, interval)
            whole = self._source.realise(
                replace(
                    request, batch=self._size.users, members=None,
                    seed=attempt_seed(seed, request.attempt),
                    place_seed=spawn_seed(seed, "place"),
                )
            )  # fmt: skip
            parts.append(_of_users(whole, members.users[where == i]))
        return _joined(parts)


class PlacedPopulation(Source):
    """Users who each keep a place in a cell or on a site, and move within a few metres of it.

    Their places come from one drop, so that users near each other have similar large-scale
    parameters if the source correlates these.

    Path loss, shadowing, and the paths' powers and delays are drawn once. The phase of every path
    turns with its Doppler shift, from interval to interval and within a transmission. Each path
    arrives from a random direction, which gives Clarke's spectrum. The devices of a user stand a
    few wavelengths apart, so that their phases and directions differ.

    Args:
        source: Yields one realisation for each place; in a cell, places near each other have
            similar ones.
        size: Number of users and seed.
        carrier_hz: Carrier frequency.
        speed_mps: Speed of every user; at 0 the channels never change.
        device: Torch device.
    """

    static = False

    def __init__(
        self,
        source: Source,
        size: PopulationSize,
        carrier_hz: float,
        speed_mps: float,
        device: str,
    ) -> None:
        self._size = size
        self._max_hz = speed_mps * carrier_hz / SPEED_OF_LIGHT_MPS
        self._device = device
        self._motion: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self.static = speed_mps == 0
        self.flat = source.flat
        self._placed = source.realise(
            Request(
                batch=size.users,
                steps=1,
                sampling_hz=1.0,
                subcarriers=1,
                seed=spawn_seed(size.seed, "crowd", "places"),
                sender="",
                neighbours=True,
            )
        )
        self._delays = self._placed.delays_s.expand(size.users, -1)

    def realise(self, request: Request) -> Realisation:
        members = _members(request)
        turns, shift_hz = (m[members.users] for m in self._turning(request.sender))
        step = torch.arange(request.steps, device=self._device) / request.sampling_hz
        begins_s = members.starts_s + request.attempt * 1e-3 * ROUND_TRIP_MS
        elapsed = begins_s.to(self._device)[:, None] + step
        turned = turns[..., None] + shift_hz[..., None] * elapsed[:, None]
        phase = (2 * math.pi * torch.frac(turned)).float()[:, None]
        gains = self._placed.gains[members.users] * torch.polar(torch.ones_like(phase), phase)
        location = {name: values[members.users] for name, values in self._placed.location.items()}
        return Realisation(gains, self._delays[members.users], location)

    def _turning(self, sender: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Each path's phase at time 0, in turns, and its Doppler shift in Hz: both ``[U, P]``."""
        if sender not in self._motion:
            seed = spawn_seed(self._size.seed, "crowd", sender, "motion")
            generator = torch.Generator().manual_seed(seed)
            shape = (2, *self._delays.shape)
            drawn = torch.rand(shape, generator=generator, dtype=torch.float64).to(self._device)
            self._motion[sender] = drawn[0], self._max_hz * torch.cos(2 * math.pi * drawn[1])
        return self._motion[sender]


def _of_users(whole: Realisation, users: torch.Tensor) -> Realisation:
    """The channels of some users, one sample each, out of a realisation of all users."""
    delays = whole.delays_s if len(whole.delays_s) == 1 else whole.delays_s[users]
    location = {name: values[users] for name, values in whole.location.items()}
    return Realisation(whole.gains[users], delays, location)


def _joined(parts: Sequence[Realisation]) -> Realisation:
    """Joins realisations of one source along the batch."""
    gains = torch.cat([part.gains for part in parts])
    location = {
        name: torch.cat([part.location[name] for part in parts]) for name in parts[0].location
    }
    delays = [part.delays_s for part in parts]
    if all(len(d) == 1 and torch.equal(d, delays[0]) for d in delays):
        return Realisation(gains, delays[0], location)
    rows = [part.delays_s.expand(len(part.gains), -1) for part in parts]
    return Realisation(gains, torch.cat(rows), location)


def _members(request: Request) -> Members:
    if request.members is None:
        raise ValueError(
            f"{request.sender}: a population is behind the air; frames should name their members"
        )
    return request.members
