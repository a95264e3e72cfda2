"""Scheduling of users to intervals, in training and in an emulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from channel_models import Members
from channel_models.users.scheduling import make_scheduler

from .population import UserPopulation

RatePredictor = Callable[[Members], Tensor]
"""Achievable rates ``[B]`` of users, see :meth:`BaseStation.predict_rates`."""


@dataclass(frozen=True)
class Grants:
    """Users and the intervals granted to them, in the order of sending.

    Attributes:
        users: Numbers of the users.
        intervals: Interval of each user.
    """

    users: list[int]
    intervals: list[int]

    def members(self, interval_s: float) -> Members:
        """The grants as members of a frame, given the length of an interval."""
        when = torch.tensor(self.intervals, dtype=torch.long)
        return Members(torch.tensor(self.users, dtype=torch.long), when, when.double() * interval_s)


class IntervalScheduler:
    """Grants one interval after the other to users that wait.

    Args:
        population: Users and their scheduler.
        interval_s: Length of an interval.
        predict_rates: Achievable rates of users; called only for channel-aware schedulers.
        lookahead: Number of intervals whose rates are predicted in one call; more than one pays off
            if users nearly always wait.
    """

    def __init__(
        self,
        population: UserPopulation,
        interval_s: float,
        predict_rates: RatePredictor,
        lookahead: int = 1,
    ) -> None:
        self.interval = 0
        self.interval_s = interval_s
        self._users = population.users
        self._users_at_once = population.users_at_once
        self._scheduler = make_scheduler(population.scheduler, population.users)
        self._predict_rates = predict_rates
        self._lookahead = lookahead
        self._predicted: tuple[int, Tensor] | None = None

    @property
    def now_s(self) -> float:
        """Start time of the next interval."""
        return self.interval * self.interval_s

    def grant(self, waiting: Tensor, room: int, grants: Grants) -> list[int]:
        """Grants the current interval to some waiting users, and moves on to the next one.

        Args:
            waiting: Whether each user has something to send, bool ``[U]``.
            room: Maximum number of users to grant.
            grants: Grants of the batch so far; the new ones are added.
        """
        rates = self._rates(waiting)
        count = min(self._users_at_once, room)
        users: list[int] = self._scheduler.choose(waiting, rates, count).tolist()
        grants.users.extend(users)
        grants.intervals.extend([self.interval] * len(users))
        self.interval += 1
        return users

    def state(self) -> Tensor:
        """State of the scheduler."""
        return self._scheduler.state()

    def restore(self, interval: int, state: Tensor) -> None:
        """Returns to an interval, with the scheduler in the state that :meth:`state` gave."""
        self.interval = interval
        self._scheduler.restore(state)
        self._predicted = None

    def _rates(self, waiting: Tensor) -> Tensor:
        """Achievable rates of waiting users, ``[U]``; ones for schedulers that ignore channels."""
        if not self._scheduler.needs_rates:
            return waiting.float()
        if self._lookahead == 1:
            return self._ahead(waiting)[0]
        last = self._predicted
        if last is None or self.interval >= last[0] + self._lookahead:
            everyone = torch.ones(self._users, dtype=torch.bool)
            last = self._predicted = self.interval, self._ahead(everyone)
        return torch.where(waiting, last[1][self.interval - last[0]], 0.0)

    def _ahead(self, wanted: Tensor) -> Tensor:
        """Rates of the wanted users in the next intervals, ``[lookahead, U]``."""
        (users,) = wanted.nonzero(as_tuple=True)
        when = (self.interval + torch.arange(self._lookahead)).repeat_interleave(len(users))
        members = Members(users.repeat(self._lookahead), when, when.double() * self.interval_s)
        rates = torch.zeros(self._lookahead, self._users)
        rates[:, users] = self._predict_rates(members).reshape(self._lookahead, -1)
        return rates
