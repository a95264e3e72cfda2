"""Schedulers: which of the waiting users get the band in an interval."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

SchedulerName = Literal["round-robin", "proportional-fair", "max-sinr"]

_MAX_RATE = 100.0
_MIN_ACHIEVED = 1e-30
"""Lower limit of a user's mean past rate, which decays for ever.

With it, the ratio of a rate to this mean stays finite in float32.
"""


class Scheduler(ABC):
    """Chooses the users who send in an interval.

    Attributes:
        needs_rates: Whether it looks at the users' channels at all.
    """

    needs_rates = True

    @abstractmethod
    def choose(self, waiting: Tensor, rates: Tensor, count: int) -> Tensor:
        """Chooses the users who send in one interval.

        Args:
            waiting: bool ``[U]``, who has something to send.
            rates: float ``[U]``, achievable in this interval (bit/s/Hz); 0 where nobody waits.
            count: Number of users who may send at once.

        Returns:
            int64 ``[at most count]``, distinct users who wait.
        """

    @abstractmethod
    def state(self) -> Tensor:
        """Everything that it remembers, for a checkpoint."""

    @abstractmethod
    def restore(self, state: Tensor) -> None:
        """Restores what :meth:`state` returned."""


class RoundRobin(Scheduler):
    """Serves all waiting users in turn."""

    needs_rates = False

    def __init__(self) -> None:
        self._next = 0

    def choose(self, waiting: Tensor, rates: Tensor, count: int) -> Tensor:
        (candidates,) = waiting.nonzero(as_tuple=True)
        first = int(torch.searchsorted(candidates, self._next))
        chosen = candidates.roll(-first)[:count]
        if len(chosen):
            self._next = int(chosen[-1]) + 1
        return chosen

    def state(self) -> Tensor:
        return torch.tensor([float(self._next)])

    def restore(self, state: Tensor) -> None:
        self._next = int(state[0])


class MaxSinr(Scheduler):
    """Serves the users with the best channels; the others may wait for ever."""

    def choose(self, waiting: Tensor, rates: Tensor, count: int) -> Tensor:
        return _best(rates, waiting, count)

    def state(self) -> Tensor:
        return torch.zeros(0)

    def restore(self, state: Tensor) -> None:
        """Does nothing: there is no state."""


class ProportionalFair(Scheduler):
    """Serves the users with the highest ratio of rate to mean past rate; Sionna SYS's scheduler.

    Rates above 100 bit/s/Hz count as 100: infinite ones, as at an infinite SNR, have no ratio.
    """

    def __init__(self, users: int) -> None:
        from ..sionna_api import PFSchedulerSUMIMO

        self._scheduler = PFSchedulerSUMIMO(users, 1, 1, precision="single", device="cpu")
        self._achieved = torch.zeros(users)

    def choose(self, waiting: Tensor, rates: Tensor, count: int) -> Tensor:
        rates = rates.clamp(max=_MAX_RATE)
        self._scheduler.rate_achieved_past.clamp_(min=_MIN_ACHIEVED)
        self._scheduler(self._achieved, torch.where(waiting, rates, 0.0)[None, None])
        chosen = _best(self._scheduler.pf_metric[0, 0], waiting, count)
        self._achieved = torch.zeros_like(self._achieved)
        self._achieved[chosen] = rates[chosen]
        return chosen

    def state(self) -> Tensor:
        return torch.stack([self._scheduler.rate_achieved_past, self._achieved])

    def restore(self, state: Tensor) -> None:
        self._scheduler.rate_achieved_past.copy_(state[0])
        self._achieved = state[1].clone()


def make_scheduler(name: SchedulerName, users: int) -> Scheduler:
    """The scheduler of a study's ``emulate.scheduler`` key."""
    if name == "round-robin":
        return RoundRobin()
    return MaxSinr() if name == "max-sinr" else ProportionalFair(users)


def _best(metric: Tensor, waiting: Tensor, count: int) -> Tensor:
    count = min(count, int(waiting.sum()))
    return torch.where(waiting, metric, -torch.inf).topk(count).indices
