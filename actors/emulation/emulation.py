"""The emulation: users who ask, a scheduler, device pools and a base station that answers.

Time runs in scheduling intervals, each long enough for the longest question. A batch of intervals
is planned, sent and answered as a whole; a lost question is sent again once its feedback has
arrived. A batch counts once its file is in the journal: an emulation that is killed resumes after
the last file, and no question is answered twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from channel_models import Members, PopulationSize, spawn_seed
from tokcom_core.systems import devices_of

from ..base_station import BaseStation
from ..engines.engine import ActorSpec, Engine, OnEngine, PeerLostError
from ..engines.retries import retrying
from ..faults import Victims
from ..messages import Served, TransmitRequest
from ..population import interval_s, share_of
from ..scheduling import IntervalScheduler
from .config import EmulationConfig, EmulationSetup
from .journal import EmulationState, Journal
from .planning import BatchPlan
from .pool import DevicePool
from .traffic import poisson_traffic

_T = TypeVar("_T")


class Emulation(OnEngine):
    """Many users on one air.

    Args:
        config: Users, traffic, scheduler and faults.
        setup: Devices, base station and air.
        folder: Folder of the journal; batches that are there already are not repeated.
        engine: Engine that pools and base station live on; released with the emulation.
        keep: Called with every file of the journal, to copy it elsewhere.

    Raises:
        ValueError: for more users at once than the band has room for.
    """

    def __init__(
        self,
        config: EmulationConfig,
        setup: EmulationSetup,
        folder: Path,
        engine: Engine | None = None,
        keep: Callable[[Path], None] | None = None,
    ) -> None:
        super().__init__(engine)
        self._config = config
        self._setup = setup
        self._device_names = devices_of(setup.streams)
        self.link = share_of(setup.station.link, config.users_at_once, len(self._device_names))
        self.interval_s = interval_s(self.link, setup.streams)
        self.encoding_ms = setup.encoding_ms
        self.users = config.users
        self.traffic = poisson_traffic(
            config.users, config.questions_per_s, config.duration_s, setup.samples, setup.seed
        )
        self.journal = Journal(folder, keep)
        self._scheduler = IntervalScheduler(config, self.interval_s, self._predict_rates)
        self._missing = config.missing(setup.seed, self._device_names)
        station = replace(setup.station, link=self.link)
        pool = ActorSpec("devices", DevicePool, (setup.devices, setup.streams, setup.trained))
        pools = min(config.users, config.pools or self._engine.processes)
        self._station, *self._pools = self._engine.spawn(
            [ActorSpec("station", BaseStation, (station,)), *[pool] * pools]
        )
        self._prepare_station()
        self.restarted = 0
        self.served: set[int] = self.journal.users()

    def run(self, watch: Callable[[Emulation, EmulationState], None] | None = None) -> None:
        """Serves all questions that are not in the journal; calls ``watch`` after each batch."""
        state = self.journal.last() or EmulationState.first(self._scheduler.state())
        while (state := self.step(state)).planned:
            if watch is not None:
                watch(self, state)

    def step(self, state: EmulationState) -> EmulationState:
        """Plans, sends, answers and records one batch; ``planned`` is 0 at the end."""
        self._scheduler.restore(state.interval, state.scheduler)
        plan = BatchPlan(state, self.traffic, self._config, self._scheduler)
        plan.fill()
        if not plan.questions:
            return replace(state, planned=0)
        questions = torch.tensor(plan.questions, dtype=torch.long)
        request = self._request(state.batch, questions, plan.grants.members(self.interval_s))
        served = self._transmit(state.batch, request)
        after = self._after(state, plan, served)
        self.journal.write(after, questions, request, served)
        self.served.update(request.members.users[served.received].tolist())
        return after

    def hardware(self) -> dict[str, str]:
        """What the base station runs on, see :meth:`BaseStation.hardware`."""
        hardware: dict[str, str] = self._engine.get(self._station.call("hardware"))[0]
        return hardware

    def device_weights(self) -> dict[str, int]:
        """Number of trained weights of each device."""
        counts: dict[str, int] = self._engine.get(self._pools[0].call("count_weights"))[0]
        return counts

    def _predict_rates(self, members: Members) -> Tensor:
        senders = self._device_names  # subcarriers are allocated in this order
        rates: Tensor = self._persist(
            lambda: self._engine.get(self._station.call("predict_rates", senders, members))[0]
        )
        return rates

    def _request(self, batch: int, questions: Tensor, members: Members) -> TransmitRequest:
        """The samples that the users of a batch send, and which of their devices are muted."""
        muted = {
            device: self._missing[device][members.users]
            | self._config.faults.offline(batch, device, len(questions))
            for device in self._device_names
        }
        rows = torch.from_numpy(self.traffic.rows)[questions]
        return TransmitRequest(self._setup.split, rows, members, muted)

    def _transmit(self, batch: int, request: TransmitRequest) -> Served:
        faults = self._config.faults
        rules = faults.rules(batch, self._setup.streams, len(request), self.encoding_ms)
        pool_of = request.members.users % len(self._pools)
        seed = spawn_seed(self._setup.seed, "emulation", batch)
        victims: Victims | None = faults.victims(batch, len(self._pools))

        def once() -> Served:
            nonlocal victims
            if faults.spill_mb:
                self._engine.fill_object_store(faults.spill_mb)
            frames = []
            for number, pool in enumerate(self._pools):
                (places,) = (pool_of == number).nonzero(as_tuple=True)
                if len(places):
                    frames += pool.call("transmit", places, request.of(places))
            refs = self._station.call("serve", seed, request, rules, *frames)
            if victims is not None:
                self._kill(victims)
                victims = None
            served: Served = self._engine.get(refs)[0]
            return served

        return self._persist(once)

    def _kill(self, victims: Victims) -> None:
        for number in victims.pools:
            self._engine.kill(self._pools[number])
        if victims.station:
            self._engine.kill(self._station)

    def _persist(self, action: Callable[[], _T]) -> _T:
        """Runs an action; retries it with restarted processes if some have died."""
        complete = True

        def attempt() -> _T:
            nonlocal complete
            try:
                if not complete:
                    self._restart()
                    complete = True
                return action()
            except PeerLostError:
                complete = False
                raise

        return retrying(attempt, "a batch")

    def _restart(self) -> None:
        """Restarts dead processes; on a failing node they may die again."""
        restarted = self._engine.restart_dead()
        self.restarted += len(restarted)
        if self._station in restarted:
            self._prepare_station()

    def _prepare_station(self) -> None:
        size = PopulationSize(self._config.users, self._setup.seed)
        self._engine.get(
            [
                *self._station.call("load", self._setup.trained),
                *self._station.call("set_channel", self._setup.air, self._setup.snr_db, size),
            ]
        )

    def _beyond_ms(self, served: Served) -> list[float]:
        """How long the base station waits for each question of a batch beyond its interval."""
        ends_ms = [log.ends_ms + log.waited_ms for log in served.streams.values()]
        beyond_ms = torch.stack(ends_ms).amax(0) - 1e3 * self.interval_s
        return beyond_ms.clamp(min=0.0).tolist()

    def _after(self, state: EmulationState, plan: BatchPlan, served: Served) -> EmulationState:
        """The state after a batch: questions are answered, tried again, or given up."""
        received = served.received.tolist()
        lost = [q for q, arrived in zip(plan.questions, received, strict=True) if not arrived]
        tried = {question: state.tries.get(question, 0) + 1 for question in lost}
        again = [q for q in lost if tried[q] <= self._config.retransmissions]
        before = [q for q in state.tries if q not in plan.questions]
        due = plan.due(self._beyond_ms(served))
        return EmulationState(
            batch=state.batch + 1,
            interval=self._scheduler.interval,
            now_s=self._scheduler.now_s,
            admitted=plan.admitted,
            waiting=tuple(sorted([*plan.left(), *again])),
            tries={q: state.tries[q] for q in before} | {q: tried[q] for q in again},
            due={q: state.due[q] for q in before} | {q: due[q] for q in again},
            scheduler=self._scheduler.state(),
            planned=len(plan.questions),
            answered=state.answered + int(served.received.sum()),
            score=state.score + float(served.scores.sum()),
            given_up=state.given_up + len(lost) - len(again),
            energy_mj=state.energy_mj
            + sum(float(log.costs["energy_mj"].sum()) for log in served.streams.values()),
        )
