"""The plan of one batch: which user sends which question in which interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .journal import EmulationState
from .traffic import Traffic


class Planning:
    """Who sends what in the intervals of one batch.

    Args:
        moment: where the emulation stands.
        traffic: who asks what, when.
        users: how many there are.
        batch_size: questions of the batch at most.
        feedback_ms: what happens within this time is sent before word of losses comes in.
        interval_s: length of a scheduling interval.
    """

    def __init__(
        self,
        moment: EmulationState,
        traffic: Traffic,
        users: int,
        batch_size: int,
        feedback_ms: float,
        interval_s: float,
    ) -> None:
        self.interval, self.now_s = moment.interval, moment.now_s
        self.admitted = moment.admitted
        self.questions: list[int] = []
        self.users: list[int] = []
        self.intervals: list[int] = []
        self.starts_s: list[float] = []
        self._traffic = traffic
        self._users = users
        self._batch_size = batch_size
        self._feedback_ms = feedback_ms
        self._interval_s = interval_s
        self._queues: dict[int, list[int]] = {}
        for question in moment.waiting:
            self._queue(question)

    def goes_on(self) -> bool:
        """Admits whoever has asked by now, or, if nobody waits, skips to the next question.

        False if the batch is full or word of its first losses comes in.
        """
        if len(self.questions) >= self._batch_size:
            return False
        self._admit()
        if not self._queues:
            if self.admitted >= len(self._traffic):
                return False
            ahead_s = float(self._traffic.arrivals_s[self.admitted]) - self.now_s
            skipped = math.ceil(ahead_s / self._interval_s)
            if self.questions and self._heard_of(self.interval + skipped):
                return False
            self._advance(skipped)
            self._admit()
        return not (self.questions and self._heard_of(self.interval))

    def _heard_of(self, interval: int) -> bool:
        """Whether by then it is known what became of the batch's first question."""
        passed_ms = 1e3 * self._interval_s * (interval - self.intervals[0])
        return passed_ms > self._feedback_ms

    def waiting_users(self) -> Tensor:
        """Bool ``[U]``."""
        waiting = torch.zeros(self._users, dtype=torch.bool)
        waiting[list(self._queues)] = True
        return waiting

    def send(self, users: Sequence[int]) -> None:
        """Gives the interval to some users, who send their oldest questions."""
        for user in users:
            queue = self._queues[user]
            self.questions.append(queue.pop(0))
            self.users.append(user)
            self.intervals.append(self.interval)
            self.starts_s.append(self.now_s)
            if not queue:
                del self._queues[user]
        self._advance(1)

    def left(self) -> list[int]:
        """Questions that still wait."""
        return [question for queue in self._queues.values() for question in queue]

    def _advance(self, intervals: int) -> None:
        self.interval += intervals
        self.now_s = self.interval * self._interval_s

    def _admit(self) -> None:
        arrivals = self._traffic.arrivals_s
        while self.admitted < len(arrivals) and arrivals[self.admitted] <= self.now_s:
            self._queue(self.admitted)
            self.admitted += 1

    def _queue(self, question: int) -> None:
        self._queues.setdefault(int(self._traffic.users[question]), []).append(question)
