"""How fast this machine computes what a study's devices and base station compute."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from actors import ActorSpec, InlineEngine, Peer
from tokcom_core.datasets.samples import Samples
from tokcom_core.systems import devices_of

from ..plan.cells import NOISELESS, Plan, features_of
from ..plan.compute import Compute
from ..plan.operations import operations_of
from ..plan.specs import Cell
from ..plan.study import Study
from ..storage.folder import StudyFolder
from ..tables.costs import tokens_sent
from .finished import choose_learning_rates
from .networks import NetworkFactory

_WARM_UP = 2
"""Number of samples that are computed before the clock runs."""


@dataclass(frozen=True)
class Speed:
    """What one side computes for a question, and the time that it takes here.

    Attributes:
        gflop: 1e9 operations of a question, as the tables count them.
        seconds: Time of a question, one at a time.
    """

    gflop: float
    seconds: float

    @property
    def gflops(self) -> float:
        """Speed in GFLOP/s; 0 for a side that computes nothing."""
        return self.gflop / self.seconds if self.gflop else 0.0


@dataclass(frozen=True)
class Speeds:
    """Speeds of both sides of one method.

    Attributes:
        method: Label of the method.
        tokens: Its token lengths.
        questions: Number of questions that were computed.
        devices: Speed of each device.
        station: Speed of the base station.
    """

    method: str
    tokens: Mapping[str, int]
    questions: int
    devices: Mapping[str, Speed]
    station: Speed

    @property
    def compute(self) -> Compute:
        """The speeds as a key of a study.

        All devices have one speed there: the operations of the busiest device, divided by the time
        that the slowest device takes here.
        """
        busiest = max(own.gflop for own in self.devices.values())
        slowest_s = max(own.seconds for own in self.devices.values())
        return Compute(
            device_gflops=_rounded(Speed(busiest, slowest_s).gflops),
            station_gflops=_rounded(self.station.gflops),
        )


def measure_speeds(folder: StudyFolder, method: str | None, questions: int) -> Speeds:
    """Answers test questions one at a time, by a network that a study has trained, without noise.

    Of a method's networks, the one with the longest tokens and the first seed is taken. Reading
    files and emulating the air are not timed, except for the decoding of packets.

    Args:
        folder: Folder of the study.
        method: Label of a method; the first one that has a trained network by default.
        questions: Maximum number of questions.

    Raises:
        ValueError: if the study has no such method, the method sends files, or its training is not
            finished.
    """
    study = folder.open()
    plan = Plan(study)
    cell = _finished(plan, method, folder)
    system, task = cell.system, cell.task
    networks = NetworkFactory(study, folder, plan.features())
    asked = networks.samples(task.test_split)
    timed = asked.take(range(min(questions, len(asked))))
    engine = _TimedEngine()
    alone = cell.tested.model_copy(update={"crossing": None, "federation": None})
    with networks.network(alone, engine, cell.crossing) as network:
        network.load(folder.artifacts.path(cell.trained))
        digital = cell.crossing.air.digital
        network.set_channel(NOISELESS.model_copy(update={"digital": digital}), math.inf)
        served, split = system.served(task), task.test_split
        network.evaluate(served, split, 1, min(_WARM_UP, len(timed)))
        for peer in engine.peers:
            peer.seconds = 0.0
        found = network.evaluate(served, split, 1, len(timed))
    station_s, *device_s = (peer.seconds / len(timed) for peer in engine.peers)
    tokens = tokens_sent(found.streams.values())
    lengths = cell.tested.tokens
    operations = operations_of(cell, tokens, networks.windows(cell, timed))
    encoding_s = _encoding_seconds(folder, study, cell, timed)
    names = devices_of(system.streams(task, lengths))
    sent_s = dict(zip(names, device_s, strict=True))
    return Speeds(
        method=cell.method,
        tokens=lengths,
        questions=len(timed),
        devices={
            name: Speed(own, encoding_s.get(name, 0.0) + sent_s[name])
            for name, own in operations.device_gflop.items()
        },
        station=Speed(operations.station_gflop, station_s),
    )


def _finished(plan: Plan, method: str | None, folder: StudyFolder) -> Cell:
    """The cell with the longest tokens and the first seed, of a method that is trained."""
    cells = plan.known_cells(choose_learning_rates(plan, folder))
    methods = [own.label for own in plan.contenders if own.reference is None]
    if method is not None and method not in methods:
        raise ValueError(f"no method {method!r}; there are: {', '.join(methods)}")
    wanted = [method] if method is not None else methods
    sending = [c for c in cells if c.method in wanted and "file" in c.crossing.transport.values()]
    if method is not None and sending:
        raise ValueError(f"method {method!r} sends files, which no device encodes; take another")
    trained = [
        cell
        for cell in cells
        if cell.method in wanted and cell not in sending and folder.has(cell.trained)
    ]
    if not trained:
        raise ValueError(
            f"{' and '.join(wanted)} of {folder.store}: no training is finished; 'tokcom study "
            "resume' goes on"
        )
    first = [cell for cell in trained if cell.method == trained[0].method]
    return max(first, key=lambda cell: sum(cell.tested.tokens.values()))


def _encoding_seconds(
    folder: StudyFolder, study: Study, cell: Cell, samples: Samples
) -> dict[str, float]:
    """Mean time of the frozen encoders for a sample, by device."""
    found: dict[str, float] = {}
    wanted = features_of(cell.system, cell.task, cell.tested.tokens)
    for (device, _), every in wanted.items():
        for own in (f for f in every if cell.task.test_split in f.splits):
            runs = own.encodings(cell.task, folder.data(study), samples, study.torch_device)
            seconds = [_seconds(run) for run in runs]
            if timed := seconds[_WARM_UP:] or seconds:
                share = len(seconds) / len(samples)  # samples that have the medium
                found[device] = found.get(device, 0.0) + share * fmean(timed)
    return found


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # what the GPU has begun may not be finished yet
    return time.perf_counter() - start


class _TimedPeer(Peer):
    """A peer whose calls are timed."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.seconds = 0.0

    def call(self, method: str, *arguments: Any, returns: int = 1) -> list[Any]:
        found: list[Any] = []
        self.seconds += _seconds(
            lambda: found.extend(self._peer.call(method, *arguments, returns=returns))
        )
        return found


class _TimedEngine(InlineEngine):
    """Adds up the time of each peer, in the order in which they were made."""

    def spawn(self, specs: Sequence[ActorSpec]) -> list[Peer]:
        self.peers = [_TimedPeer(peer) for peer in super().spawn(specs)]
        return list(self.peers)


def _rounded(gflops: float) -> float | None:
    """A speed with three digits; None for a side that computes nothing."""
    return float(f"{gflops:.3g}") if gflops else None
