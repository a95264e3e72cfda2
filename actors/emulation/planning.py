"""The plan of one batch: which user sends which question in which interval."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence

import torch
from torch import Tensor

from ..scheduling import Grants, IntervalScheduler
from .config import EmulationConfig
from .journal import EmulationState
from .traffic import Traffic


class BatchPlan:
    """The questions that are sent in the intervals of one batch, and by whom.

    Args:
        state: State after the batch before.
        traffic: Questions of all users, in the order of their arrival.
        config: Number of users and maximum size of a batch.
        scheduler: Scheduler, at the first interval of the batch.
    """

    def __init__(
        self,
        state: EmulationState,
        traffic: Traffic,
        config: EmulationConfig,
        scheduler: IntervalScheduler,
    ) -> None:
        self.admitted = state.admitted
        self.questions: list[int] = []
        self.grants = Grants([], [])
        self._traffic = traffic
        self._config = config
        self._scheduler = scheduler
        self._queues: dict[int, list[int]] = {}
        self._lost = {question: state.due[question] for question in state.tries}
        for question in state.waiting:
            if question not in self._lost:
                self._queue(question)

    def fill(self) -> None:
        """Grants intervals until the batch is full, nobody waits, or the first feedback is due."""
        while self._continues():
            room = self._config.batch_size - len(self.questions)
            self._send(self._scheduler.grant(self._waiting_users(), room, self.grants))

    def left(self) -> list[int]:
        """Questions that still wait, including lost ones whose feedback is not known yet."""
        return [*self._lost, *(question for queue in self._queues.values() for question in queue)]

    def due(self, beyond_ms: Sequence[float]) -> dict[int, int]:
        """Interval from which each question of the batch may be sent again, if it is lost.

        Args:
            beyond_ms: How long the base station waits for each question beyond its interval.
        """
        sent = zip(self.questions, self.grants.intervals, beyond_ms, strict=True)
        return {
            question: interval + self._feedback_intervals(wait_ms)
            for question, interval, wait_ms in sent
        }

    def _continues(self) -> bool:
        """Admits what may be sent by now; if nobody waits, skips to the next question.

        Returns False if there is no next question, if the batch has no room for all who could send
        in the next interval, or if its first feedback is due.
        """
        room = self._config.batch_size - len(self.questions)
        if not room:
            return False
        self._admit()
        if not self._queues:
            following = self._next_interval()
            if following is None or self._feedback_is_due(following):
                return False
            self._scheduler.interval = following
            self._admit()
        if room < min(self._config.users_at_once, len(self._queues)):
            return False
        return not self._feedback_is_due(self._scheduler.interval)

    def _next_interval(self) -> int | None:
        """Interval in which the next question is asked, or may be sent again; None for neither."""
        intervals = list(self._lost.values())
        if self.admitted < len(self._traffic):
            ahead_s = float(self._traffic.arrivals_s[self.admitted]) - self._scheduler.now_s
            skipped = math.ceil(ahead_s / self._scheduler.interval_s)
            intervals.append(self._scheduler.interval + skipped)
        return min(intervals, default=None)

    def _feedback_intervals(self, beyond_ms: float = 0.0) -> int:
        """Number of intervals after which a question's feedback is known, from its own on."""
        after_ms = self._config.feedback_ms + beyond_ms
        return 1 + math.ceil(after_ms / (1e3 * self._scheduler.interval_s) - 1e-9)

    def _feedback_is_due(self, interval: int) -> bool:
        """Whether the feedback on the batch's first question is known in an interval."""
        sent = self.grants.intervals
        return bool(sent) and interval - sent[0] >= self._feedback_intervals()

    def _waiting_users(self) -> Tensor:
        """Whether each user has a question that waits, bool ``[U]``."""
        waiting = torch.zeros(self._config.users, dtype=torch.bool)
        waiting[list(self._queues)] = True
        return waiting

    def _send(self, users: Sequence[int]) -> None:
        """Moves the oldest waiting question of each user into the batch."""
        for user in users:
            queue = self._queues[user]
            self.questions.append(queue.pop(0))
            if not queue:
                del self._queues[user]

    def _admit(self) -> None:
        for question in [q for q, due in self._lost.items() if due <= self._scheduler.interval]:
            del self._lost[question]
            self._queue(question)
        arrivals = self._traffic.arrivals_s
        while self.admitted < len(arrivals) and arrivals[self.admitted] <= self._scheduler.now_s:
            self._queue(self.admitted)
            self.admitted += 1

    def _queue(self, question: int) -> None:
        insort(self._queues.setdefault(int(self._traffic.users[question]), []), question)
