"""Keys of an emulation in a study file, and the other things that it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, model_validator

from channel_models import AirBase
from tokcom_core.systems import Stream

from ..base_station import StationConfig
from ..device import DeviceConfig
from ..population import UserPopulation


class EmulationConfig(UserPopulation):
    """Many users, and what they ask.

    Attributes:
        duration_s: Time in which they ask; questions that still wait at its end are served, too.
        questions_per_s: Mean rate of each user.
        retransmissions: Maximum number of times that a lost question is sent again, with all of its
            streams.
        pools: Number of processes of devices; None for as many as the engine can run at once.
        batch_size: Maximum number of questions that the base station answers in one batch, which
            consists of whole intervals.
        feedback_ms: Time after which the scheduler learns of losses.
        trains: Whether the same users, rather than one user without faults, train every phase.
    """

    duration_s: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    questions_per_s: float = Field(default=0.2, gt=0, allow_inf_nan=False)
    retransmissions: int = Field(default=1, ge=0)
    pools: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=64, ge=1)
    feedback_ms: float = Field(default=50.0, ge=0, allow_inf_nan=False)
    trains: bool = False

    @model_validator(mode="after")
    def _whole_intervals(self) -> EmulationConfig:
        if self.batch_size < self.users_an_interval:
            raise ValueError(
                f"batch_size {self.batch_size} has no room for the {self.users_an_interval} users "
                f"of one interval (users, users_at_once); take {self.users_an_interval} or more"
            )
        return self

    @property
    def training_population(self) -> UserPopulation | None:
        """The users who train, with all that training depends on; None if a single user trains."""
        if not self.trains:
            return None
        keys = {name: getattr(self, name) for name in UserPopulation.model_fields}
        return UserPopulation(**{**keys, "faults": self.faults.of_devices()})


@dataclass(frozen=True)
class EmulationSetup:
    """What an emulation is made of, besides its config.

    Attributes:
        devices: Devices that a user has, one of each name.
        station: The base station; its link is the whole band.
        streams: Streams that a question consists of.
        trained: Folder of the trained network.
        air: Air between users and base station.
        snr_db: Average SNR, where the air takes one.
        split: Split that the questions come from.
        samples: Number of its samples that are asked about.
        seed: Seed of traffic, places and noise.
        encoding_ms: Time that each device computes before it sends; none by default.
    """

    devices: tuple[DeviceConfig, ...]
    station: StationConfig
    streams: tuple[Stream, ...]
    trained: Path
    air: AirBase
    snr_db: float
    split: str
    samples: int
    seed: int
    encoding_ms: Mapping[str, float] = field(default_factory=dict)
