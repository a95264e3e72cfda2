"""The emulation: users who ask, a scheduler, device pools and a base station that answers.

Time runs in scheduling intervals, each long enough for the longest question. A batch of intervals
is planned, sent and answered as a whole; what was lost is known to the scheduler when the next
batch is planned. A batch leaves one file behind, and only then counts: whoever is killed goes on
after the last of them, and no question is answered twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from channel_models import AirBase, CrowdSize, Link, Members, spawn_seed
from channel_models.scheduling import SchedulerName, make_scheduler

from .base_station import BaseStation, Rules, StationConfig
from .device import DeviceConfig
from .engine import Engine, OnEngine, PeerLostError
from .faults import Faults
from .journal import Journal, Moment
from .messages import MODALITY_OF, Modality, Served, Stream
from .planning import Planning
from .pool import DevicePool, Orders
from .traffic import poisson_traffic

_T = TypeVar("_T")

_ATTEMPTS = 20
"""How often a batch is tried again when processes die."""


class EmulationConfig(BaseModel):
    """How many users there are and what they do.

    Attributes:
        users: each with a device of every modality, but for those they lack.
        duration_s: how long they ask; what is waiting then is still served.
        questions_per_s: mean rate of each user.
        users_at_once: how many share the band in an interval, evenly.
        scheduler: who sends when several wait.
        retransmissions: how often a lost question is sent again, with all that belongs to it.
        lacking_audio, lacking_vision: shares of the users without such a device.
        pools: processes of devices; None for one a CPU of the engine.
        batch_size: questions that the base station answers together, at most.
        feedback_ms: what happens within this time is sent before the scheduler hears of losses.
        faults: what goes wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: int = Field(default=1000, ge=1)
    duration_s: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    questions_per_s: float = Field(default=0.2, gt=0, allow_inf_nan=False)
    users_at_once: int = Field(default=1, ge=1)
    scheduler: SchedulerName = "proportional-fair"
    retransmissions: int = Field(default=1, ge=0)
    lacking_audio: float = Field(default=0.0, ge=0, le=1)
    lacking_vision: float = Field(default=0.0, ge=0, le=1)
    pools: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=64, ge=1)
    feedback_ms: float = Field(default=50.0, ge=0, allow_inf_nan=False)
    faults: Faults = Faults()


@dataclass(frozen=True)
class Setting:
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

    Raises:
        ValueError: for more users at once than the band has room for.
    """

    def __init__(
        self,
        config: EmulationConfig,
        setting: Setting,
        folder: Path,
        engine: Engine | None = None,
    ) -> None:
        super().__init__(engine)
        self._config = config
        self._setting = setting
        self.link = share_of(setting.station.link, config.users_at_once, len(setting.streams))
        self.interval_s = _interval_s(self.link, setting)
        self.users = config.users
        self.traffic = poisson_traffic(
            config.users,
            config.questions_per_s,
            config.duration_s,
            setting.samples,
            setting.seed,
        )
        self.journal = Journal(folder)
        self._scheduler = make_scheduler(config.scheduler, config.users)
        self._lacking = self._draw_lacking()
        self._pools = [
            self._engine.spawn(DevicePool, setting.devices, setting.streams, setting.trained)
            for _ in range(min(config.users, config.pools or self._engine.processes))
        ]
        self._station = self._engine.spawn(BaseStation, replace(setting.station, link=self.link))
        self._prepare_station()
        self.revived = 0
        self.served: set[int] = self.journal.users()

    def run(self, watch: Callable[[Emulation, Moment], None] | None = None) -> None:
        """Serves every question, from where the journal ends; ``watch`` sees every batch."""
        moment = self.journal.last() or Moment.first(self._scheduler.state())
        self._scheduler.restore(moment.scheduler)
        while (moment := self.step(moment)).planned:
            if watch is not None:
                watch(self, moment)

    def step(self, moment: Moment) -> Moment:
        """One batch: planned, sent, answered and written down; nothing planned means the end."""
        plan = self._plan(moment)
        if not len(plan.questions):
            return replace(moment, planned=0)
        served = self._transmit(moment.batch, plan)
        after = self._after(moment, plan, served)
        self.journal.write(after, plan.questions, plan.orders, served)
        self.served.update(plan.orders.members.users[served.heard].tolist())
        return after

    def parameter_counts(self) -> dict[str, int]:
        """Weights at the base station, see :meth:`BaseStation.parameter_counts`."""
        counts: dict[str, int] = self._engine.get(self._station.call("parameter_counts"))[0]
        return counts

    def _plan(self, moment: Moment) -> _Plan:
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
        lacking = {
            modality: self._lacking[modality][users]
            | self._config.faults.out(moment.batch, modality, len(users))
            for modality in {MODALITY_OF[stream] for stream in self._setting.streams}
        }
        orders = Orders(self._setting.split, rows, members, lacking)
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
                lambda: self._engine.get(self._station.call("foresee", senders, members))[0]
            )
        return rates

    def _transmit(self, batch: int, plan: _Plan) -> Served:
        faults, count = self._config.faults, len(plan.questions)
        rules = Rules(
            outage_sinr_db=-math.inf if faults.outage_sinr_db is None else faults.outage_sinr_db,
            deadline_ms=math.inf if faults.deadline_ms is None else faults.deadline_ms,
            delay_ms={
                stream: faults.delay_ms(batch, MODALITY_OF[stream], count)
                for stream in self._setting.streams
            },
        )
        pool_of = plan.orders.members.users % len(self._pools)
        seed = spawn_seed(self._setting.seed, "emulation", batch)
        attempt = 0

        def once() -> Served:
            nonlocal attempt
            bundles = []
            for number, pool in enumerate(self._pools):
                (places,) = (pool_of == number).nonzero(as_tuple=True)
                if len(places):
                    bundles += pool.call("transmit", places, plan.orders.of(places))
            tickets = self._station.call("serve", seed, plan.orders, rules, *bundles)
            victims = faults.victims(batch, attempt, len(self._pools))
            attempt += 1
            for number in victims.pools:
                self._engine.kill(self._pools[number])
            if victims.station:
                self._engine.kill(self._station)
            served: Served = self._engine.get(tickets)[0]
            return served

        return self._persist(once)

    def _persist(self, action: Callable[[], _T]) -> _T:
        """Does something again with processes made anew, if some have died meanwhile."""
        complete = True
        for _ in range(_ATTEMPTS):
            try:
                if not complete:
                    self._revive()
                    complete = True
                return action()
            except PeerLostError:
                complete = False
        raise PeerLostError(f"processes died {_ATTEMPTS} times in one batch")

    def _revive(self) -> None:
        """Makes the dead anew; a node that is dying may take them along once more."""
        revived = self._engine.revive()
        self.revived += len(revived)
        if self._station in revived:
            self._prepare_station()

    def _prepare_station(self) -> None:
        size = CrowdSize(self._config.users, self._setting.seed)
        self._engine.get(
            [
                *self._station.call("load", self._setting.trained),
                *self._station.call("tune_in", self._setting.air, self._setting.snr_db, size),
            ]
        )

    def _after(self, moment: Moment, plan: _Plan, served: Served) -> Moment:
        """What has been settled: heard questions, and those that were lost too often."""
        lost = plan.questions[~served.heard].tolist()
        tries = dict(moment.tries)
        for question in lost:
            tries[question] = tries.get(question, 0) + 1
        again = [q for q in lost if tries[q] <= self._config.retransmissions]
        for question in plan.questions.tolist():
            if question not in again:
                tries.pop(question, None)
        return Moment(
            batch=moment.batch + 1,
            interval=plan.planning.interval,
            now_s=plan.planning.now_s,
            admitted=plan.planning.admitted,
            waiting=tuple(sorted([*plan.planning.left(), *again])),
            tries=tries,
            scheduler=self._scheduler.state(),
            planned=len(plan.questions),
            answered=moment.answered + int(served.heard.sum()),
            exact=moment.exact + int(served.exact.sum()),
            given_up=moment.given_up + len(lost) - len(again),
            energy_mj=moment.energy_mj
            + sum(float(log.costs["energy_mj"].sum()) for log in served.streams.values()),
        )

    def _draw_lacking(self) -> dict[Modality, Tensor]:
        """By modality, which users have no such device, bool ``[U]``."""
        users, seed = self._config.users, self._setting.seed

        def drawn(modality: Modality, share: float) -> Tensor:
            own = spawn_seed(seed, "lacking", modality)
            return torch.rand(users, generator=torch.Generator().manual_seed(own)) < share

        return {
            "audio": drawn("audio", self._config.lacking_audio),
            "vision": drawn("vision", self._config.lacking_vision),
            "text": torch.zeros(users, dtype=torch.bool),
        }


@dataclass(frozen=True)
class _Plan:
    """One batch: its questions, what the devices are told, and how it was planned."""

    questions: Tensor
    orders: Orders
    planning: Planning


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


def _interval_s(link: Link, setting: Setting) -> float:
    """Airtime of the longest question, in whole slots."""
    width = setting.devices[0].token_width
    uses = [setting.longest[stream] * width / 2 for stream in setting.streams]
    senders = [MODALITY_OF[stream] for stream in setting.streams]
    airtime_ms = link.interval_ms(senders, link.overheads(senders, uses, control_bits=0))
    slot_ms = 14 * link.symbol_ms
    return math.ceil(airtime_ms / slot_ms - 1e-9) * slot_ms / 1e3
