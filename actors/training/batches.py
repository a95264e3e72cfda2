"""Samplers of training batches: shuffled, or scheduled among many users."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from channel_models import Members, spawn_seed
from tokcom_core.systems import Stream, devices_of

from ..messages import LossRules
from ..population import UserPopulation
from ..scheduling import Grants, IntervalScheduler, RatePredictor

_LOOKAHEAD = 16
"""Number of intervals whose rates are predicted in one call."""


@dataclass(frozen=True)
class Sending:
    """Streams, interval and batch size of a phase of many users.

    Attributes:
        streams: Streams of a sample.
        missing: Whether each user does not have a device, bool ``[U]`` by device.
        interval_s: Length of a scheduling interval.
        batch_size: Number of samples of a step.
    """

    streams: tuple[Stream, ...]
    missing: Mapping[str, Tensor]
    interval_s: float
    batch_size: int


@dataclass(frozen=True)
class TrainingBatch:
    """Samples of one training step.

    Attributes:
        rows: Rows of the batch, by split.
        members: User and time of each sample; None for a single user.
        muted: Whether a device is missing or offline, bool ``[B]`` by device.
        rules: Rules by which what many users send counts as lost.
        emulated_s: Emulated time at which the last sample has been sent.
    """

    rows: dict[str, tuple[int, ...]]
    members: Members | None = None
    muted: dict[str, Tensor] = field(default_factory=dict)
    rules: LossRules | None = None
    emulated_s: float = 0.0

    @property
    def size(self) -> int:
        """Number of samples of the split that has the most."""
        return max(len(rows) for rows in self.rows.values())

    def parts(self, size: int | None) -> list[TrainingBatch]:
        """The batch of a single user in parts of at most ``size`` samples; None leaves it whole."""
        if size is None or size >= self.size:
            return [self]
        assert self.members is None, "what many users send at once is received at once"
        starts = range(0, self.size, size)
        splits = self.rows.items()
        return [TrainingBatch({k: rows[i : i + size] for k, rows in splits}) for i in starts]


class BatchSampler(ABC):
    """The batches of a phase, by number."""

    @abstractmethod
    def batch(self, number: int) -> TrainingBatch:
        """The batch of a step; the same at every call."""


class ShuffledSampler(BatchSampler):
    """Batches of distinct samples, every sample once in an epoch (an incomplete batch is dropped).

    Args:
        sizes: Number of samples of each split.
        batch_size: Number of samples of a step.
        seeds: Seed of each split.
        count: Number of steps.
    """

    def __init__(
        self, sizes: dict[str, int], batch_size: int, seeds: dict[str, int], count: int
    ) -> None:
        self._orders = {
            split: _batches(size, batch_size, seeds[split], count) for split, size in sizes.items()
        }

    def batch(self, number: int) -> TrainingBatch:
        return TrainingBatch({split: order[number] for split, order in self._orders.items()})


class ScheduledSampler(BatchSampler):
    """Batches of many users who are scheduled on the air, each with samples of its own.

    Sample i of every split belongs to user i mod ``population.users``. Every user always has
    something to send, but sends no sample twice in a batch; in every interval the scheduler lets
    some users send their next one. The batch size is rounded down to whole intervals, unless it is
    less than one. Batches depend on channels and seeds, not on what is learnt.

    Args:
        population: Users, scheduler, faults.
        sizes: Number of samples of each split.
        sending: Streams, missing devices, interval and batch size.
        seed: Seed of the order of samples.
        predict_rates: Achievable rates of users.

    Raises:
        ValueError: if nobody has samples of every split.
    """

    def __init__(
        self,
        population: UserPopulation,
        sizes: Mapping[str, int],
        sending: Sending,
        seed: int,
        predict_rates: RatePredictor,
    ) -> None:
        self._population = population
        self._streams = sending.streams
        self._scheduler = IntervalScheduler(
            population, sending.interval_s, predict_rates, lookahead=_LOOKAHEAD
        )
        self._missing = sending.missing
        self._dealt = {
            split: _dealt(size, population.users, spawn_seed(seed, "samples", split))
            for split, size in sizes.items()
        }
        counts = [[len(rows) for rows in dealt] for dealt in self._dealt.values()]
        self._stock = torch.tensor(counts).amin(0)
        self._batch_size = min(population.whole_batch(sending.batch_size), int(self._stock.sum()))
        if not self._batch_size:
            raise ValueError(
                f"none of {population.users} users has samples of every split; take fewer"
            )
        self._sent = torch.zeros(population.users, dtype=torch.long)
        self._planned: list[TrainingBatch] = []

    def batch(self, number: int) -> TrainingBatch:
        while len(self._planned) <= number:
            before = self._scheduler.interval, self._scheduler.state(), self._sent.clone()
            try:
                self._planned.append(self._plan(len(self._planned)))
            except BaseException:  # such as the base station's death: undo the unfinished plan
                interval, memory, self._sent = before
                self._scheduler.restore(interval, memory)
                raise
        return self._planned[number]

    def _plan(self, number: int) -> TrainingBatch:
        rows: dict[str, list[int]] = {split: [] for split in self._dealt}
        grants = Grants([], [])
        left = self._stock.clone()
        while len(grants.users) < self._batch_size:
            room = self._batch_size - len(grants.users)
            for user in self._scheduler.grant(left > 0, room, grants):
                for split, dealt in self._dealt.items():
                    user_rows = dealt[user]
                    rows[split].append(int(user_rows[int(self._sent[user]) % len(user_rows)]))
                self._sent[user] += 1
                left[user] -= 1
        faults, who = self._population.faults, torch.tensor(grants.users)
        return TrainingBatch(
            rows={split: tuple(chosen) for split, chosen in rows.items()},
            members=grants.members(self._scheduler.interval_s),
            muted={
                device: self._missing[device][who] | faults.offline(number, device, len(who))
                for device in devices_of(self._streams)
            },
            rules=faults.rules(number, self._streams, len(who)),
            emulated_s=self._scheduler.now_s,
        )


def in_order(rows: Sequence[int], users: int, users_an_interval: int, interval_s: float) -> Members:
    """Assigns samples of a split to the users who own them and, in order, to intervals.

    The time at which a sample is sent does not depend on its batch.
    """
    numbers = torch.tensor(rows)
    when = numbers // users_an_interval
    return Members(numbers % users, when, when.double() * interval_s)


def _dealt(size: int, users: int, seed: int) -> list[np.ndarray]:
    """The samples of each user, in a random order."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(np.arange(user, size, users)) for user in range(users)]


def _batches(size: int, batch_size: int, seed: int, count: int) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    batch_size = min(batch_size, size)
    batches: list[tuple[int, ...]] = []
    while len(batches) < count:
        order = rng.permutation(size)
        starts = range(0, size - batch_size + 1, batch_size)
        batches += [tuple(order[start : start + batch_size].tolist()) for start in starts]
    return batches[:count]
