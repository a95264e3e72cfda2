"""Faults: what goes wrong on purpose, by a seed of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from channel_models import spawn_seed

from ..messages import MODALITY_OF, Stream


class Faults(BaseModel):
    """What devices and processes suffer; nothing by default.

    Attributes:
        outage_sinr_db: a device whose SINR after equalisation is lower is not heard (deep fade).
        deadline_ms: a device that takes longer, stragglers' delay included, is not heard.
        offline_prob: probability that a device is out during an interval.
        straggler_prob: probability that a device is a straggler in an interval.
        straggler_ms: mean delay of a straggler, exponentially distributed.
        pool_crash_prob: probability that a pool's process is killed during a batch.
        station_crash_prob: probability that the base station's is.
        spill_mb: put into Ray's object store while a batch is on its way, which spills to disk
            what then no longer fits.
        seed: of all these.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outage_sinr_db: float | None = Field(default=None, allow_inf_nan=False)
    deadline_ms: float | None = Field(default=None, gt=0)
    offline_prob: float = Field(default=0.0, ge=0, lt=1)
    straggler_prob: float = Field(default=0.0, ge=0, le=1)
    straggler_ms: float = Field(default=10.0, gt=0)
    pool_crash_prob: float = Field(default=0.0, ge=0, le=0.5)
    station_crash_prob: float = Field(default=0.0, ge=0, le=0.5)
    spill_mb: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0)

    @property
    def need_ray(self) -> bool:
        """Whether processes are killed, or Ray's object store is filled."""
        return bool(self.pool_crash_prob or self.station_crash_prob or self.spill_mb)

    def of_devices(self) -> Faults:
        """Those of the devices alone; the others change no number."""
        none = {"pool_crash_prob": 0.0, "station_crash_prob": 0.0, "spill_mb": 0.0}
        return self.model_copy(update=none)

    def out(self, batch: int, device: str, count: int) -> Tensor:
        """Whether a device is out for each sample of a batch, bool ``[count]``."""
        return _uniform(self.seed, count, batch, device, "out") < self.offline_prob

    def delay_ms(self, batch: int, device: str, count: int) -> Tensor:
        """How late a device begins with each sample of a batch, float64 ``[count]``."""
        slow = _uniform(self.seed, count, batch, device, "straggler") < self.straggler_prob
        delay = -self.straggler_ms * torch.log(_uniform(self.seed, count, batch, device, "delay"))
        return torch.where(slow, delay, 0.0)

    def rules(self, batch: int, streams: Sequence[Stream], count: int) -> Rules:
        """When what devices send in a batch counts as lost."""
        return Rules(
            outage_sinr_db=-math.inf if self.outage_sinr_db is None else self.outage_sinr_db,
            deadline_ms=math.inf if self.deadline_ms is None else self.deadline_ms,
            delay_ms={s: self.delay_ms(batch, MODALITY_OF[s], count) for s in streams},
        )

    def victims(self, batch: int, attempt: int, pools: int) -> Victims:
        """Whose processes are killed while a batch is on its way."""
        drawn = _uniform(self.seed, pools + 1, batch, attempt, "crash")
        hit = (drawn[:pools] < self.pool_crash_prob).nonzero()[:, 0]
        return Victims(tuple(hit.tolist()), bool(drawn[pools] < self.station_crash_prob))


@dataclass(frozen=True)
class Rules:
    """When what a device sent counts as lost.

    Attributes:
        outage_sinr_db: SINR after equalisation below which nothing can be read.
        deadline_ms: longest time a device may take.
        delay_ms: by stream, ``[B]``: what stragglers lose before they send.
    """

    outage_sinr_db: float
    deadline_ms: float
    delay_ms: dict[str, Tensor]

    def lost(self, stream: str, sinr_db: Tensor, airtime_ms: Tensor) -> Tensor:
        """Whether each sample of a stream is lost, bool ``[B]``."""
        late = airtime_ms + self.delay_ms[stream] > self.deadline_ms
        return (sinr_db < self.outage_sinr_db) | late


@dataclass(frozen=True)
class Victims:
    """Processes to be killed: numbers of pools, and whether the base station is among them."""

    pools: tuple[int, ...]
    station: bool


def _uniform(seed: int, count: int, *role: str | int) -> Tensor:
    generator = torch.Generator().manual_seed(spawn_seed(seed, "faults", *role))
    return torch.rand(count, generator=generator, dtype=torch.float64).clamp(min=1e-12)
