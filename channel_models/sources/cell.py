"""A cell: users dropped around the base station, with TR 38.901 system-level channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..seeding import sionna_seeded, spawn_seed
from ..sionna_api import InH, RMa, SystemLevelChannel, UMa, UMi, gen_single_sector_topology
from ..sionna_api import config as sionna_config
from .profiles import linear_array
from .source import Realisation, Request, Source, as_realisation, random_phases

Scenario = Literal["umi", "uma", "rma", "inh"]

_NEIGHBOURS = 1000
"""Most users in one topology: Sionna correlates every user with every other."""

_HALL_M = (60.0, 50.0)
_HALL_BS_HEIGHT_M = 3.0
_HALL_USER_HEIGHT_M = 1.0


@dataclass(frozen=True)
class CellModel:
    """A cell of TR 38.901, and its users' and base station's antennas.

    Attributes:
        scenario: Name of the scenario.
        carrier_hz: Carrier frequency.
        speed_mps: Speed of every user, in a random direction.
        indoor_prob: Probability that a user is indoors (not for InH); None takes the scenario's.
        o2i: Building penetration loss of UMi and UMa.
        antennas: Number of the base station's antennas.
        antenna_pattern: Pattern of these antennas: ``38.901``, which faces down in a hall, or
            ``omni``.
    """

    scenario: Scenario
    carrier_hz: float
    speed_mps: float
    indoor_prob: float | None
    o2i: Literal["low", "high"]
    antennas: int
    antenna_pattern: Literal["38.901", "omni"]

    def build(self, device: str) -> SystemLevelChannel:
        """Sionna's model of the cell, in the uplink, on a torch device."""
        shared = {
            "carrier_frequency": self.carrier_hz,
            "ut_array": linear_array(1, self.carrier_hz, device),
            "bs_array": linear_array(self.antennas, self.carrier_hz, device, self.antenna_pattern),
            "direction": "uplink",
            "precision": "single",
            "device": device,
        }
        if self.scenario == "umi":
            return UMi(o2i_model=self.o2i, **shared)
        if self.scenario == "uma":
            return UMa(o2i_model=self.o2i, **shared)
        return RMa(**shared) if self.scenario == "rma" else InH(**shared)


class CellSource(Source):
    """Users at random places of a sector (UMi, UMa, RMa) or a hall (InH).

    The seed of the request's place determines places and paths, and its own seed the paths' phases.

    Args:
        cell: The cell that users are dropped in.
        drop_seed: Determines, with its name, the place that each device keeps; None gives every
            sample a new place.
        device: Torch device.
    """

    def __init__(self, cell: CellModel, drop_seed: int | None, device: str) -> None:
        self._cell = cell
        self._drop_seed = drop_seed
        self._device = device
        self.static = cell.speed_mps == 0
        self._model = cell.build(device)

    def realise(self, request: Request) -> Realisation:
        keep = self._drop_seed is not None and bool(request.sender)
        place_seed = (
            spawn_seed(self._drop_seed or 0, request.sender) if keep else request.seed_of_place
        )
        with sionna_seeded(place_seed):
            topology = self._drop(1 if keep else request.batch)
            if keep:
                topology = [t.repeat(request.batch, *[1] * (t.ndim - 1)) for t in topology]
        with sionna_seeded(spawn_seed(request.seed_of_place, "paths")):
            channels = self._of_neighbours if request.neighbours else self._channels
            gains, delays = channels(topology, request)
        x_m, y_m, z_m = topology[0][:, 0].unbind(1)
        channel = as_realisation(gains, delays)
        location = {"x_m": x_m, "y_m": y_m, "height_m": z_m}
        generator = torch.Generator().manual_seed(request.seed)
        turned = channel.gains * random_phases(channel.gains, generator)
        return Realisation(turned, channel.delays_s, location)

    def _channels(self, topology: Sequence[Tensor], request: Request) -> tuple[Tensor, Tensor]:
        self._model.reset_topology()  # buffers of the last topology would change the draws
        self._model.set_topology(*topology)
        gains, delays = self._model(request.steps, request.sampling_hz)
        return gains, delays

    def _of_neighbours(self, topology: Sequence[Tensor], request: Request) -> tuple[Tensor, Tensor]:
        """Channels with similar large-scale parameters for users near each other.

        The correlation decays exponentially with distance (TR 38.901 section 7.5, step 4). Users
        who do not fit into one topology are divided by azimuth.
        """
        users, station, facing, tilt, velocity, indoors = topology
        x_m, y_m, _ = (users - station)[:, 0].unbind(1)
        order = torch.atan2(y_m, x_m).argsort()
        parts = []
        for near in order.split(_NEIGHBOURS):
            places, faces, ways, inside = (
                t[near].transpose(0, 1) for t in (users, facing, velocity, indoors)
            )
            topology_of_all = (places, station[:1], faces, tilt[:1], ways, inside)
            gains, delays = self._channels(topology_of_all, request)
            parts.append((gains.transpose(0, 3), delays.transpose(0, 2)))
        back = order.argsort()
        all_gains, all_delays = (torch.cat(part)[back] for part in zip(*parts, strict=True))
        return all_gains, all_delays

    def _drop(self, batch: int) -> list[Tensor]:
        """Places and orientations of users and base station, velocities, and who is indoors."""
        if self._cell.scenario == "inh":
            return self._drop_in_hall(batch)
        topology = gen_single_sector_topology(
            batch,
            1,
            self._cell.scenario,
            indoor_probability=self._cell.indoor_prob,
            min_ut_velocity=self._cell.speed_mps,
            max_ut_velocity=self._cell.speed_mps,
            precision="single",
            device=self._device,
        )
        return upright(*topology)

    def _drop_in_hall(self, batch: int) -> list[Tensor]:
        """Drops users uniformly in a hall, with the base station in the middle of its ceiling."""

        def uniform(*shape: int) -> Tensor:
            generator = sionna_config.torch_rng(self._device)
            return torch.rand(shape, generator=generator, device=self._device)

        users = (uniform(batch, 1, 3) - 0.5) * torch.tensor([*_HALL_M, 0.0], device=self._device)
        users[..., 2] = _HALL_USER_HEIGHT_M
        station = torch.zeros(batch, 1, 3, device=self._device)
        station[..., 2] = _HALL_BS_HEIGHT_M
        tilt = torch.zeros_like(station)
        if self._cell.antenna_pattern == "38.901":
            tilt[..., 1] = torch.pi / 2
        angle = 2 * torch.pi * uniform(batch, 1)
        velocity = self._cell.speed_mps * torch.stack(
            [angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=-1
        )
        facing = 2 * torch.pi * uniform(batch, 1, 3)
        indoors = torch.ones(batch, 1, dtype=torch.bool, device=self._device)
        return upright(users, station, facing, tilt, velocity, indoors)


def upright(users: Tensor, station: Tensor, facing: Tensor, *others: Tensor) -> list[Tensor]:
    """A topology whose users hold their antennas upright, as in TR 38.901 (table 7.8-1).

    Sionna rotates them about all three axes, which costs 3.6 dB by polarisation mismatch.
    """
    return [users, station, facing * facing.new_tensor([1.0, 0.0, 0.0]), *others]
