"""Users of one base station: their devices, their shares of the band, their faults."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from channel_models import InfeasibleBudgetError, Link, spawn_seed
from channel_models.numerology import SYMBOLS_PER_SLOT
from channel_models.users.scheduling import SchedulerName
from tokcom_core.config import Config
from tokcom_core.systems import Stream

from .faults import Faults


class UserPopulation(Config):
    """Users of one base station.

    Attributes:
        users: Number of users; each has one of every device, except missing ones.
        users_at_once: Number of users that share the band in an interval, evenly.
        scheduler: Scheduler that chooses among the users that wait.
        missing_prob: Probability that a user does not have a device, by the device's name.
        faults: Faults of devices and processes.
    """

    users: int = Field(default=1000, ge=1)
    users_at_once: int = Field(default=1, ge=1)
    scheduler: SchedulerName = "proportional-fair"
    missing_prob: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default={})
    faults: Faults = Faults()

    @property
    def users_an_interval(self) -> int:
        """Maximum number of users that send in one interval."""
        return min(self.users_at_once, self.users)

    def whole_batch(self, batch_size: int) -> int:
        """The batch size rounded down to whole intervals, unless it is less than one interval."""
        return batch_size // self.users_an_interval * self.users_an_interval or batch_size

    def missing(self, seed: int, devices: Sequence[str]) -> dict[str, Tensor]:
        """Whether each user does not have a device, bool ``[U]`` by device."""

        def drawn(device: str) -> Tensor:
            generator = torch.Generator().manual_seed(spawn_seed(seed, "lacking", device))
            return torch.rand(self.users, generator=generator) < self.missing_prob.get(device, 0.0)

        return {device: drawn(device) for device in devices}


def share_of(link: Link, users_at_once: int, devices: int) -> Link:
    """The link of one user, which has an equal share of the band.

    Raises:
        InfeasibleBudgetError: if a share is too narrow for its devices.
    """
    share_hz = link.bandwidth_hz / users_at_once
    try:
        share = Link(**{**link.model_dump(), "bandwidth_hz": share_hz})
        share.blocks_per_device(devices)
    except ValueError:
        raise InfeasibleBudgetError(
            f"users_at_once {users_at_once} leaves {share_hz:g} Hz to each user, too little for "
            f"{devices} devices; take fewer at once or more bandwidth_hz"
        ) from None
    return share


def airtime_ms(link: Link, streams: Sequence[Stream]) -> float:
    """Airtime of one sample whose streams all have their maximum length, sent as token symbols.

    Args:
        link: One user's share of the band.
        streams: Streams that a sample consists of.
    """
    senders = [stream.device for stream in streams]
    uses = [float(stream.max_tokens * stream.symbols_per_token) for stream in streams]
    return link.joint_airtime_ms(senders, link.costs(uses, len(set(senders))))


def interval_s(link: Link, streams: Sequence[Stream]) -> float:
    """Length of a scheduling interval: :func:`airtime_ms` rounded up to whole slots."""
    slot_ms = SYMBOLS_PER_SLOT * link.symbol_ms
    return math.ceil(airtime_ms(link, streams) / slot_ms - 1e-9) * slot_ms / 1e3
