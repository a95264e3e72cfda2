"""Fault injection, with a seed of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from channel_models import spawn_seed
from tokcom_core.systems import Stream

from .messages import LossRules


class Faults(BaseModel):
    """Faults of devices and processes; none by default.

    Attributes:
        outage_sinr_db: SINR after equalisation below which a device is not received (deep fade).
        deadline_ms: Time after which a device is no longer received; it includes encoding, a
            straggler's delay and airtime.
        offline_prob: Probability that a device is offline during an interval.
        straggler_prob: Probability that a device is a straggler in an interval.
        straggler_ms: Mean delay of a straggler, exponentially distributed.
        pool_crash_prob: Probability that a pool's process is killed during a batch.
        station_crash_prob: Probability that the base station's process is killed during a batch.
        spill_mb: Amount of data put into Ray's object store during a batch, which makes Ray spill
            objects to disk.
        seed: Seed of all faults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outage_sinr_db: float | None = Field(default=None, allow_inf_nan=False)
    deadline_ms: float | None = Field(default=None, gt=0)
    offline_prob: float = Field(default=0.0, ge=0, lt=1)
    straggler_prob: float = Field(default=0.0, ge=0, le=1)
    straggler_ms: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    pool_crash_prob: float = Field(default=0.0, ge=0, le=0.5)
    station_crash_prob: float = Field(default=0.0, ge=0, le=0.5)
    spill_mb: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0)

    @property
    def need_ray(self) -> bool:
        """Whether the faults kill processes or fill Ray's object store, which only Ray allows."""
        return bool(self.pool_crash_prob or self.station_crash_prob or self.spill_mb)

    def of_devices(self) -> Faults:
        """The faults of devices alone; faults of processes change no result."""
        none = {"pool_crash_prob": 0.0, "station_crash_prob": 0.0, "spill_mb": 0.0}
        return self.model_copy(update=none)

    def offline(self, batch: int, device: str, count: int) -> Tensor:
        """Whether a device is offline for each sample of a batch, bool ``[count]``."""
        return _uniform(self.seed, count, batch, device, "out") < self.offline_prob

    def delay_ms(self, batch: int, device: str, count: int) -> Tensor:
        """Delay of a device before each sample of a batch, float64 ``[count]``."""
        slow = _uniform(self.seed, count, batch, device, "straggler") < self.straggler_prob
        delay = -self.straggler_ms * torch.log(_uniform(self.seed, count, batch, device, "delay"))
        return torch.where(slow, delay, 0.0)

    def rules(
        self,
        batch: int,
        streams: Sequence[Stream],
        count: int,
        encoding_ms: Mapping[str, float] | None = None,
    ) -> LossRules:
        """The rules by which the streams of a batch count as lost.

        Args:
            batch: Number of the batch.
            streams: Streams that are sent.
            count: Number of samples.
            encoding_ms: Time that each device computes before it sends; none by default.
        """
        return LossRules(
            outage_sinr_db=-math.inf if self.outage_sinr_db is None else self.outage_sinr_db,
            deadline_ms=math.inf if self.deadline_ms is None else self.deadline_ms,
            encoding_ms={s.name: (encoding_ms or {}).get(s.device, 0.0) for s in streams},
            delay_ms={s.name: self.delay_ms(batch, s.device, count) for s in streams},
        )

    def victims(self, batch: int, pools: int) -> Victims:
        """The processes that are killed during a batch, at its first attempt."""
        drawn = _uniform(self.seed, pools + 1, batch, "crash")
        hit = (drawn[:pools] < self.pool_crash_prob).nonzero()[:, 0]
        return Victims(tuple(hit.tolist()), bool(drawn[pools] < self.station_crash_prob))


@dataclass(frozen=True)
class Victims:
    """Processes to kill: indices of pools, and whether the base station is killed."""

    pools: tuple[int, ...]
    station: bool


def _uniform(seed: int, count: int, *role: str | int) -> Tensor:
    generator = torch.Generator().manual_seed(spawn_seed(seed, "faults", *role))
    return torch.rand(count, generator=generator, dtype=torch.float64).clamp(min=1e-12)
