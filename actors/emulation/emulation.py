"""The emulation: users who ask, a scheduler, device pools and a base station that answers.

Time runs in scheduling intervals, each long enough for the longest question. A batch of intervals
is planned, sent and answered as a whole; what was lost is known to the scheduler when the next
batch is planned. A batch leaves one file behind, and only then counts: whoever is killed goes on
after the last of them, and no question is answered twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import Field
from torch import Tensor

from channel_models import AirBase, Members, PopulationSize, spawn_seed
from channel_models.users.scheduling import make_scheduler

from ..base_station import BaseStation, StationConfig
from ..device import DeviceConfig
from ..engines.engine import ActorSpec, Engine, OnEngine, PeerLostError
from ..messages import MODALITY_OF, Served, Stream
from .journal import EmulationState, Journal
from .planning import Planning
from .pool import DevicePool, TransmitRequest
from .population import UserPopulation, interval_s, share_of
from .traffic import poisson_traffic

_T = TypeVar("_T")

_ATTEMPTS = 20
"""How often a batch is tried again when processes die."""


class EmulationConfig(UserPopulation):
    """A crowd, and what its users ask.

    Attributes:
        duration_s: how long they ask; what is waiting then is still served.
        questions_per_s: mean rate of each user.
        retransmissions: how often a lost question is sent again, with all that belongs to it.
        pools: processes of devices; None for one a CPU of the engine.
        batch_size: questions that the base station answers together, at most.
        feedback_ms: what happens within this time is sent before the scheduler hears of losses.
        trains: whether the same crowd, rather than one user without faults, trains both stages.
    """

    duration_s: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    questions_per_s: float = Field(default=0.2, gt=0, allow_inf_nan=False)
    retransmissions: int = Field(default=1, ge=0)
    pools: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=64, ge=1)
    feedback_ms: float = Field(default=50.0, ge=0, allow_inf_nan=False)
    trains: bool = False

    @property
    def training_crowd(self) -> UserPopulation | None:
        """Who trains, and all that training depends on."""
        if not self.trains:
            return None
        crowd = {name: getattr(self, name) for name in UserPopulation.model_fields}
        return UserPopulation(**{**crowd, "faults": self.faults.of_devices()})


@dataclass(frozen=True)
class EmulationSetup:
    """What an emulation is made of, besides its config.

    Attributes:
        devices: one of each modality, as the users have them.
        station: the base station; its link is the whole band.
        streams: that a question consists of.
        trained: folder of the trained network.
        air: between users and base station.
        snr_db: where the air takes one.
        split: that the questions come from, and how many samples it has.
        samples: see ``split``.
        longest: tokens of each stream at most.
        seed: of traffic, places and noise.
    """

    devices: tuple[DeviceConfig, ...]
    station: StationConfig
    streams: tuple[Stream, ...]
    trained: Path
    air: AirBase
    snr_db: float
    split: str
    samples: int
    longest: dict[str, int]
    seed: int


class Emulation(OnEngine):
    """Many users on one air.

    Args:
        config: the users and what they do.
        setting: devices, base station, air.
        folder: where the journal is kept; what is there already is not done again.
        engine: where pools and base station live; closed with the emulation.
        keep: called with every file of the journal.

    Raises:
        ValueError: for more users at once than the band has room for.
    """

    def __init__(
        self,
        config: EmulationConfig,
        setting: EmulationSetup,
        folder: Path,
        engine: Engine | None = None,
        keep: Callable[[Path], None] | None = None,
    ) -> None:
        super().__init__(engine)
        self._config = config
        self._setting = setting
        self.link = share_of(setting.station.link, config.users_at_once, len(setting.streams))
        width = setting.devices[0].token_width
        self.interval_s = interval_s(self.link, setting.streams, setting.longest, width)
        self.users = config.users
        self.traffic = poisson_traffic(
            config.users,
            config.questions_per_s,
            config.duration_s,
            setting.samples,
            setting.seed,
        )
        self.journal = Journal(folder, keep)
        self._scheduler = make_scheduler(config.scheduler, config.users)
        self._missing = config.missing(setting.seed)
        station = replace(setting.station, link=self.link)
        pool = ActorSpec("devices", DevicePool, (setting.devices, setting.streams, setting.trained))
        pools = min(config.users, config.pools or self._engine.processes)
        self._station, *self._pools = self._engine.spawn(
            [ActorSpec("station", BaseStation, (station,)), *[pool] * pools]
        )
        self._prepare_station()
        self.restarted = 0
        self.served: set[int] = self.journal.users()

    def run(self, watch: Callable[[Emulation, EmulationState], None] | None = None) -> None:
        """Serves every question, from where the journal ends; ``watch`` sees every batch."""
        moment = self.journal.last() or EmulationState.first(self._scheduler.state())
        self._scheduler.restore(moment.scheduler)
        while (moment := self.step(moment)).planned:
            if watch is not None:
                watch(self, moment)

    def step(self, moment: EmulationState) -> EmulationState:
        """One batch: planned, sent, answered and written down; nothing planned means the end."""
        plan = self._plan(moment)
        if not len(plan.questions):
            return replace(moment, planned=0)
        served = self._transmit(moment.batch, plan)
        after = self._after(moment, plan, served)
        self.journal.write(after, plan.questions, plan.orders, served)
        self.served.update(plan.orders.members.users[served.received].tolist())
        return after

    def parameter_counts(self) -> dict[str, int]:
        """Weights at the base station, see :meth:`BaseStation.parameter_counts`."""
        counts: dict[str, int] = self._engine.get(self._station.call("parameter_counts"))[0]
        return counts

    def _plan(self, moment: EmulationState) -> _Plan:
        """Chooses who sends in the next intervals, until a batch is full or nobody waits."""
        config = self._config
        plan = Planning(
            moment,
            self.traffic,
            config.users,
            config.batch_size,
            config.feedback_ms,
            self.interval_s,
        )
        while plan.goes_on():
            waiting = plan.waiting_users()
            rates = self._rates(waiting, plan.interval, plan.now_s)
            room = min(self._config.users_at_once, self._config.batch_size - len(plan.questions))
            plan.send(self._scheduler.choose(waiting, rates, room).tolist())
        users = torch.tensor(plan.users, dtype=torch.long)
        members = Members(
            users,
            torch.tensor(plan.intervals, dtype=torch.long),
            torch.tensor(plan.starts_s, dtype=torch.float64),
        )
        questions = torch.tensor(plan.questions, dtype=torch.long)
        rows = torch.from_numpy(self.traffic.rows)[questions]
        missing = {
            modality: self._missing[modality][users]
            | self._config.faults.out(moment.batch, modality, len(users))
            for modality in {MODALITY_OF[stream] for stream in self._setting.streams}
        }
        orders = TransmitRequest(self._setting.split, rows, members, missing)
        return _Plan(questions, orders, plan)

    def _rates(self, waiting: Tensor, interval: int, now_s: float) -> Tensor:
        """What waiting users could achieve, ``[U]``; ones where the scheduler does not look."""
        rates = waiting.float()
        if self._scheduler.needs_rates:
            (users,) = waiting.nonzero(as_tuple=True)
            members = Members(
                users,
                torch.full_like(users, interval),
                torch.full(users.shape, now_s, dtype=torch.float64),
            )
            senders = [device.name for device in self._setting.devices]
            rates[users] = self._persist(
                lambda: self._engine.get(self._station.call("predict_rates", senders, members))[0]
            )
        return rates

    def _transmit(self, batch: int, plan: _Plan) -> Served:
        faults, count = self._config.faults, len(plan.questions)
        rules = faults.rules(batch, self._setting.streams, count)
        pool_of = plan.orders.members.users % len(self._pools)
        seed = spawn_seed(self._setting.seed, "emulation", batch)
        attempt = 0

        def once() -> Served:
            nonlocal attempt
            if faults.spill_mb:
                self._engine.fill_object_store(faults.spill_mb)
            frame_batches = []
            for number, pool in enumerate(self._pools):
                (places,) = (pool_of == number).nonzero(as_tuple=True)
                if len(places):
                    frame_batches += pool.call("transmit", places, plan.orders.of(places))
            refs = self._station.call("serve", seed, plan.orders, rules, *frame_batches)
            victims = faults.victims(batch, attempt, len(self._pools))
            attempt += 1
            for number in victims.pools:
                self._engine.kill(self._pools[number])
            if victims.station:
                self._engine.kill(self._station)
            served: Served = self._engine.get(refs)[0]
            return served

        return self._persist(once)

    def _persist(self, action: Callable[[], _T]) -> _T:
        """Does something again with processes made anew, if some have died meanwhile."""
        complete = True
        for _ in range(_ATTEMPTS):
            try:
                if not complete:
                    self._restart_dead()
                    complete = True
                return action()
            except PeerLostError:
                complete = False
        raise PeerLostError(f"processes died {_ATTEMPTS} times in one batch")

    def _restart_dead(self) -> None:
        """Makes the dead anew; a node that is dying may take them along once more."""
        restarted = self._engine.restart_dead()
        self.restarted += len(restarted)
        if self._station in restarted:
            self._prepare_station()

    def _prepare_station(self) -> None:
        size = PopulationSize(self._config.users, self._setting.seed)
        self._engine.get(
            [
                *self._station.call("load", self._setting.trained),
                *self._station.call("set_channel", self._setting.air, self._setting.snr_db, size),
            ]
        )

    def _after(self, moment: EmulationState, plan: _Plan, served: Served) -> EmulationState:
        """What has been settled: heard questions, and those that were lost too often."""
        lost = plan.questions[~served.received].tolist()
        tries = dict(moment.tries)
        for question in lost:
            tries[question] = tries.get(question, 0) + 1
        again = [q for q in lost if tries[q] <= self._config.retransmissions]
        for question in plan.questions.tolist():
            if question not in again:
                tries.pop(question, None)
        return EmulationState(
            batch=moment.batch + 1,
            interval=plan.planning.interval,
            now_s=plan.planning.now_s,
            admitted=plan.planning.admitted,
            waiting=tuple(sorted([*plan.planning.left(), *again])),
            tries=tries,
            scheduler=self._scheduler.state(),
            planned=len(plan.questions),
            answered=moment.answered + int(served.received.sum()),
            exact=moment.exact + int(served.exact.sum()),
            given_up=moment.given_up + len(lost) - len(again),
            energy_mj=moment.energy_mj
            + sum(float(log.costs["energy_mj"].sum()) for log in served.streams.values()),
        )


@dataclass(frozen=True)
class _Plan:
    """One batch: its questions, what the devices are told, and how it was planned."""

    questions: Tensor
    orders: TransmitRequest
    planning: Planning
