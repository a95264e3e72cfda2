"""A crowd: who there is, who lacks what, how they share the band, and what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from channel_models import Link, spawn_seed
from channel_models.users.scheduling import SchedulerName

from ..messages import MODALITY_OF, Modality, Stream
from .faults import Faults


class UserPopulation(BaseModel):
    """Users of one base station.

    Attributes:
        users: each with a device of every modality, but for those they lack.
        users_at_once: how many share the band in an interval, evenly.
        scheduler: who sends when several have something to send.
        lacking_audio, lacking_vision: shares of the users without such a device.
        faults: what goes wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: int = Field(default=1000, ge=1)
    users_at_once: int = Field(default=1, ge=1)
    scheduler: SchedulerName = "proportional-fair"
    lacking_audio: float = Field(default=0.0, ge=0, le=1)
    lacking_vision: float = Field(default=0.0, ge=0, le=1)
    faults: Faults = Faults()

    def missing(self, seed: int) -> dict[Modality, Tensor]:
        """By modality, which users have no such device, bool ``[U]``."""

        def drawn(modality: Modality, share: float) -> Tensor:
            own = spawn_seed(seed, "lacking", modality)
            return torch.rand(self.users, generator=torch.Generator().manual_seed(own)) < share

        return {
            "audio": drawn("audio", self.lacking_audio),
            "vision": drawn("vision", self.lacking_vision),
            "text": torch.zeros(self.users, dtype=torch.bool),
        }


def share_of(link: Link, users_at_once: int, devices: int) -> Link:
    """Each user's share of the band.

    Raises:
        ValueError: if a share is too narrow for its devices.
    """
    share_hz = link.bandwidth_hz / users_at_once
    try:
        share = Link(**{**link.model_dump(), "bandwidth_hz": share_hz})
        share.blocks_per_device(devices)
    except ValueError:
        raise ValueError(
            f"users_at_once {users_at_once} leaves {share_hz:g} Hz to each user, too little for "
            f"{devices} devices; take fewer at once or more bandwidth_hz"
        ) from None
    return share


def interval_s(
    link: Link, streams: Sequence[Stream], longest: dict[str, int], token_width: int
) -> float:
    """A scheduling interval: the airtime of the longest streams of a sample, in whole slots.

    Args:
        link: one user's share of the band.
        streams: that a sample consists of.
        longest: tokens of each stream at most.
        token_width: d_T.
    """
    senders = [MODALITY_OF[stream] for stream in streams]
    uses = [longest[stream] * token_width / 2 for stream in streams]
    airtime_ms = link.interval_ms(senders, link.overheads(senders, uses, control_bits=0))
    slot_ms = 14 * link.symbol_ms
    return math.ceil(airtime_ms / slot_ms - 1e-9) * slot_ms / 1e3
