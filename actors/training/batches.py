"""Who sends which training samples in a step: everybody by chance, or a crowd by its scheduler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from channel_models import Members, spawn_seed
from channel_models.users.scheduling import make_scheduler

from ..emulation.faults import Rules
from ..emulation.population import UserPopulation
from ..messages import MODALITY_OF, Modality, Stream

_AHEAD = 16
"""Intervals whose channels are looked at together."""

RatePredictor = Callable[[Members], Tensor]
"""Achievable rates ``[B]`` of a crowd's users, see :meth:`BaseStation.predict_rates`."""


@dataclass(frozen=True)
class TrainingBatch:
    """One training step.

    Attributes:
        rows: by split, the samples of the batch.
        members: whose they are and when they are sent; None without a crowd.
        silent: by modality, bool ``[B]``: devices that are lacking or out.
        rules: when what a crowd sends counts as lost.
        emulated_s: when the last of them has been sent.
    """

    rows: dict[str, tuple[int, ...]]
    members: Members | None = None
    muted: dict[Modality, Tensor] = field(default_factory=dict)
    rules: Rules | None = None
    emulated_s: float = 0.0


class BatchSampler(ABC):
    """The turns of a stage, by number."""

    @abstractmethod
    def turn(self, number: int) -> TrainingBatch:
        """The same whenever it is asked for."""


class ShuffledSampler(BatchSampler):
    """Batches of distinct samples, every sample once in an epoch (but for its rest).

    Args:
        sizes: samples of each split.
        batch_size: of a step.
        seeds: of each split.
        count: steps.
    """

    def __init__(
        self, sizes: dict[str, int], batch_size: int, seeds: dict[str, int], count: int
    ) -> None:
        self._orders = {
            split: _batches(size, batch_size, seeds[split], count) for split, size in sizes.items()
        }

    def turn(self, number: int) -> TrainingBatch:
        return TrainingBatch({split: order[number] for split, order in self._orders.items()})


class ScheduledSampler(BatchSampler):
    """Users of a crowd, each with samples of its own, take turns on the air.

    Sample i of every split belongs to user i mod ``crowd.users``. Everybody always has something to
    send, but sends no sample twice in a batch; in every interval the scheduler lets some users
    send their next one. Turns depend on channels and seeds, not on what is learnt.

    Args:
        crowd: users, scheduler, faults.
        sizes: samples of each split.
        batch_size: of a step.
        streams: that a sample consists of.
        interval_s: length of a scheduling interval.
        seed: of the order of samples, and of who lacks what.
        predict_rates: what users could achieve.

    Raises:
        ValueError: if nobody has samples of every split.
    """

    def __init__(
        self,
        crowd: UserPopulation,
        sizes: dict[str, int],
        batch_size: int,
        streams: Sequence[Stream],
        interval_s: float,
        seed: int,
        predict_rates: RatePredictor,
    ) -> None:
        self._crowd = crowd
        self._streams = tuple(streams)
        self._interval_s = interval_s
        self._predict_rates = predict_rates
        self._scheduler = make_scheduler(crowd.scheduler, crowd.users)
        self._missing = crowd.missing(seed)
        self._own = {
            split: _dealt(size, crowd.users, spawn_seed(seed, "samples", split))
            for split, size in sizes.items()
        }
        counts = [[len(rows) for rows in dealt] for dealt in self._own.values()]
        self._stock = torch.tensor(counts).amin(0)
        self._batch_size = min(batch_size, int(self._stock.sum()))
        if not self._batch_size:
            raise ValueError(f"none of {crowd.users} users has samples of every split; take fewer")
        self._sent = torch.zeros(crowd.users, dtype=torch.long)
        self._interval = 0
        self._seen: tuple[int, Tensor] | None = None
        self._sampler: list[TrainingBatch] = []

    def turn(self, number: int) -> TrainingBatch:
        while len(self._sampler) <= number:
            before = self._scheduler.state(), self._sent.clone(), self._interval
            try:
                self._sampler.append(self._plan(len(self._sampler)))
            except BaseException:  # the base station has died under way: nothing has been planned
                memory, self._sent, self._interval = before
                self._scheduler.restore(memory)
                self._seen = None
                raise
        return self._sampler[number]

    def _plan(self, number: int) -> TrainingBatch:
        crowd = self._crowd
        rows: dict[str, list[int]] = {split: [] for split in self._own}
        users: list[int] = []
        intervals: list[int] = []
        left = self._stock.clone()
        while len(users) < self._batch_size:
            room = min(crowd.users_at_once, self._batch_size - len(users))
            waiting = left > 0
            chosen = self._scheduler.choose(waiting, self._rates(waiting), room).tolist()
            for user in chosen:
                for split, dealt in self._own.items():
                    own = dealt[user]
                    rows[split].append(int(own[int(self._sent[user]) % len(own)]))
                self._sent[user] += 1
                left[user] -= 1
                users.append(user)
                intervals.append(self._interval)
            self._interval += 1
        who = torch.tensor(users)
        when = torch.tensor(intervals)
        muted = {
            modality: self._missing[modality][who] | crowd.faults.out(number, modality, len(who))
            for modality in dict.fromkeys(MODALITY_OF[stream] for stream in self._streams)
        }
        return TrainingBatch(
            rows={split: tuple(found) for split, found in rows.items()},
            members=Members(who, when, when.double() * self._interval_s),
            muted=muted,
            rules=crowd.faults.rules(number, self._streams, len(who)),
            emulated_s=self._interval * self._interval_s,
        )

    def _rates(self, waiting: Tensor) -> Tensor:
        """What waiting users could achieve now, ``[U]``; ones where the scheduler does not look."""
        if not self._scheduler.needs_rates:
            return waiting.float()
        if self._seen is None or self._interval >= self._seen[0] + _AHEAD:
            (able,) = self._stock.nonzero(as_tuple=True)
            when = (self._interval + torch.arange(_AHEAD)).repeat_interleave(len(able))
            members = Members(able.repeat(_AHEAD), when, when.double() * self._interval_s)
            ahead = torch.zeros(_AHEAD, self._crowd.users)
            ahead[:, able] = self._predict_rates(members).reshape(_AHEAD, -1)
            self._seen = self._interval, ahead
        first, rates = self._seen
        return torch.where(waiting, rates[self._interval - first], 0.0)


def in_order(rows: Sequence[int], users: int, users_at_once: int, interval_s: float) -> Members:
    """A crowd's users who send their own of these samples, one after the other."""
    when = torch.arange(len(rows)) // users_at_once
    return Members(torch.tensor(rows) % users, when, when.double() * interval_s)


def _dealt(size: int, users: int, seed: int) -> list[np.ndarray]:
    """Each user's samples, in an order of its own."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(np.arange(user, size, users)) for user in range(users)]


def _batches(size: int, batch_size: int, seed: int, count: int) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    batch_size = min(batch_size, size)
    found: list[tuple[int, ...]] = []
    while len(found) < count:
        order = rng.permutation(size)
        starts = range(0, size - batch_size + 1, batch_size)
        found += [tuple(order[start : start + batch_size].tolist()) for start in starts]
    return found[:count]
