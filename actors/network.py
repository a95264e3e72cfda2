"""The network: devices and base station, and the steps of every phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from channel_models import AirBase, Members, PopulationSize, SnrRange, spawn_seed
from tokcom_core.systems import Feedback, Phase, Stream, TokenLengths, devices_of

from .base_station import BaseStation, StationConfig
from .device import Device, DeviceConfig
from .engines.engine import ActorSpec, Engine, OnEngine, Peer, PeerLostError, StateLostError
from .engines.retries import retrying
from .evaluation import Evaluation, merge_answers
from .messages import Answers, StepPart, StepReport, StreamRequest
from .population import UserPopulation, interval_s
from .step_reports import merge_reports
from .training.batches import (
    BatchSampler,
    ScheduledSampler,
    Sending,
    ShuffledSampler,
    TrainingBatch,
    in_order,
)
from .training.checkpoints import Checkpoints, Losses

Progress = Callable[[int, dict[str, float]], None]
"""Called with the number of steps done and the losses of the last one."""


class Network(OnEngine):
    """M devices and a base station on an engine.

    Args:
        devices: Devices, each with a unique name.
        station: The base station; its link is one user's share of the band.
        sizes: Number of samples of each split.
        engine: Engine that they live on; released with the network.
        population: Users that are scheduled on the air, each with devices like these and samples of
            its own; None for a single user.
    """

    def __init__(
        self,
        devices: Sequence[DeviceConfig],
        station: StationConfig,
        sizes: Mapping[str, int],
        engine: Engine | None = None,
        population: UserPopulation | None = None,
    ) -> None:
        super().__init__(engine)
        self._population = population
        self._devices = tuple(devices)
        self._sizes = dict(sizes)
        self._link = station.link
        self._station, *made = self._engine.spawn(
            [
                ActorSpec("station", BaseStation, (station,)),
                *(ActorSpec("devices", Device, (config,)) for config in devices),
            ]
        )
        self._peer: dict[str, Peer] = {
            config.name: peer for config, peer in zip(devices, made, strict=True)
        }
        self._streams: dict[str, Stream] = {
            stream.name: stream for config in devices for stream in config.streams
        }
        self._seed = station.seed
        self._air: tuple[AirBase, float | SnrRange] | None = None
        self._learn = False
        self._blank: list[Peer] = []
        """Restarted peers to which no checkpoint has been restored yet."""

    def set_channel(self, air: AirBase, snr_db: float | SnrRange) -> None:
        """Puts an air between devices and station, at an average SNR or a range of them."""
        self._air = air, snr_db
        users = PopulationSize(self._population.users, self._seed) if self._population else None
        self._wait(self._station.call("set_channel", air, snr_db, users))

    def train(
        self,
        phase: Phase,
        checkpoints: Checkpoints | None = None,
        progress: Progress | None = None,
    ) -> Losses:
        """Trains one phase; returns the losses and costs of each step.

        Args:
            phase: Streams, optimiser, number of steps.
            checkpoints: Checkpoints to resume from, and to roll back to when a process dies.
            progress: Called after every step.
        """
        splits = sorted({inputs.split for inputs in phase.inputs})
        sampler = self._sampler(phase, {split: self._sizes[split] for split in splits})
        if phase.calibration_samples:
            self._calibrate(phase)

        def begin() -> None:
            peers = [*self._peer.values(), self._station]
            *learn, _ = self._wait([ref for peer in peers for ref in peer.call("begin", phase)])
            travels = {s: how for device in self._devices for s, how in device.transport.items()}
            back = [name for name in phase.crossing if travels.get(name) != "file"]
            senders = {self._streams[name].device for name in back}
            self._learn = any(
                learns for name, learns in zip(self._peer, learn, strict=True) if name in senders
            )

        def step(number: int) -> dict[str, float]:
            losses = self._step(phase, sampler.batch(number), number)
            if progress is not None:
                progress(number + 1, losses)
            return losses

        losses = self._train(begin, step, phase.training.steps, checkpoints)
        self._follow(phase)
        return losses

    def _follow(self, phase: Phase) -> None:
        """Hands devices the weights of which they have copies, as the base station has them now."""
        following = [
            self._peer[device.name] for device in self._devices if device.system.follows(phase.name)
        ]
        if following:
            state = self._station.call("state")
            self._wait([ref for peer in following for ref in peer.call("follow", *state)])

    def evaluate(
        self, streams: Sequence[str], split: str, batch_size: int, size: int | None = None
    ) -> Evaluation:
        """Answers every question of a split once, or the first ``size`` of them."""
        answered: list[Answers] = []
        counts: list[int] = []
        last = self._sizes[split] if size is None else size
        for start in range(0, last, batch_size):
            rows = tuple(range(start, min(start + batch_size, last)))
            seed = spawn_seed(self._seed, "evaluation", split, start)
            frames = self._transmit(self._whole(dict.fromkeys(streams, split), rows))
            reply = self._wait(self._station.call("answer", seed, split, rows, *frames))[0]
            answered.append(self._finished(reply, seed))
            counts.append(len(rows))
        return merge_answers(answered, counts)

    def _finished(self, reply: Answers | Feedback, seed: int) -> Answers:
        """Returns the answers to a batch, after as many rounds with the devices as they take."""
        number = 0
        while isinstance(reply, Feedback):
            number += 1
            device = self._peer[self._streams[reply.stream].device]
            (frame,) = device.call("reply", reply)
            of_round = spawn_seed(seed, "round", number)
            reply = self._wait(self._station.call("resume", of_round, frame))[0]
        return reply

    def embed(
        self, streams: Sequence[str], split: str, rows: Sequence[int], batch_size: int
    ) -> dict[str, Tensor]:
        """Embeddings ``[B, D]`` of samples that cross no air, see :meth:`BaseStation.embed`."""
        parts: list[dict[str, Tensor]] = []
        for start in range(0, len(rows), batch_size):
            batch = tuple(rows[start : start + batch_size])
            frames = self._transmit(self._whole(dict.fromkeys(streams, split), batch))
            parts += self._wait(self._station.call("embed", *frames))
        return {name: torch.cat([part[name] for part in parts]) for name in streams}

    def state(self) -> dict[str, Tensor]:
        """Every trained tensor of devices and base station."""
        peers = {**self._peer, "station": self._station}
        states = self._wait([ref for peer in peers.values() for ref in peer.call("state")])
        return {
            f"{name}.{key}": tensor
            for name, state in zip(peers, states, strict=True)
            for key, tensor in state.items()
        }

    def save(self, folder: Path) -> None:
        """Saves all trained tensors below ``folder``."""
        self._every_peer("save", folder)

    def load(self, folder: Path, devices: Sequence[str] | None = None) -> None:
        """Loads what :meth:`save` saved; only of some devices if not all of them were trained."""
        names = self._peer if devices is None else devices
        peers = [*(self._peer[name] for name in names), self._station]
        self._wait([ref for peer in peers for ref in peer.call("load", folder)])

    def hardware(self) -> dict[str, str]:
        """What the base station runs on, see :meth:`BaseStation.hardware`."""
        hardware: dict[str, str] = self._wait(self._station.call("hardware"))[0]
        return hardware

    def device_weights(self) -> dict[str, int]:
        """Number of trained weights of each device."""
        counts = self._wait([ref for p in self._peer.values() for ref in p.call("count_weights")])
        return {name: count for by_name in counts for name, count in by_name.items()}

    def _calibrate(self, phase: Phase) -> None:
        """Shows the receiver some samples of a phase before its first step."""
        seed = spawn_seed(self._seed, "calibration")
        (split,) = {inputs.split for inputs in phase.inputs}
        sizes, seeds = {split: self._sizes[split]}, {split: seed}
        sampler = ShuffledSampler(sizes, phase.calibration_samples, seeds, 1)
        streams = dict.fromkeys((inputs.stream for inputs in phase.inputs), split)
        frames = self._transmit(self._whole(streams, sampler.batch(0).rows[split]))
        self._wait(self._station.call("calibrate", seed, phase, *frames))

    def _train(
        self,
        begin: Callable[[], None],
        step: Callable[[int], dict[str, float]],
        steps: int,
        checkpoints: Checkpoints | None,
    ) -> Losses:
        """Runs the steps of a phase; rolls back to the last checkpoint when a process dies.

        A step depends only on its number and on the state that checkpoints hold, so that neither a
        crash nor a resume changes the result.

        Raises:
            StateLostError: if processes die before there is a checkpoint.
            RetriesExhaustedError: if processes die too often before the next checkpoint.
        """
        losses: Losses | None = None

        def advance() -> Losses:
            """Trains up to the next checkpoint, or the end of the phase."""
            nonlocal losses
            try:
                if losses is None:
                    losses = self._resume(begin, checkpoints)
                while len(losses) < steps:
                    losses.append(step(len(losses)))
                    if checkpoints is not None and checkpoints.due(len(losses)):
                        checkpoints.write(losses, self._checkpoint)
                        break
            except PeerLostError:
                losses = None
                raise
            return losses

        if checkpoints is None:  # nothing to go back to
            return advance()
        while len(done := retrying(advance, "training")) < steps:
            pass
        return done

    def _resume(self, begin: Callable[[], None], checkpoints: Checkpoints | None) -> Losses:
        """Restarts dead processes and restores the last checkpoint, or writes the first.

        Without checkpoints the phase just begins, and no process is restarted.
        """
        if checkpoints is None:
            begin()
            return []
        self._blank += self._engine.restart_dead()
        if self._station in self._blank and self._air is not None:
            self.set_channel(*self._air)
        begin()
        latest = checkpoints.latest()
        if latest is None:
            if self._blank:
                raise StateLostError("a process died with the weights of the phase before")
            checkpoints.write([], self._checkpoint)
            return []
        losses, folder = latest
        self._every_peer("restore", folder)
        self._blank.clear()
        return losses

    def _checkpoint(self, folder: Path) -> None:
        self._every_peer("checkpoint", folder)

    def _every_peer(self, method: str, *arguments: Any) -> None:
        peers = [*self._peer.values(), self._station]
        self._wait([ref for peer in peers for ref in peer.call(method, *arguments)])

    def _sampler(self, phase: Phase, sizes: dict[str, int]) -> BatchSampler:
        """The sampler of a phase's batches: shuffled, or scheduled among many users."""
        if self._population is None:
            seeds = {split: spawn_seed(self._seed, phase.name, split) for split in sizes}
            return ShuffledSampler(sizes, phase.batch_size, seeds, phase.training.steps)
        streams = tuple(self._streams[name] for name in phase.crossing)
        senders = devices_of(streams)

        def predict_rates(members: Members) -> Tensor:
            rates: Tensor = self._wait(self._station.call("predict_rates", senders, members))[0]
            return rates

        seed = spawn_seed(self._seed, phase.name, "crowd")
        missing = self._population.missing(self._seed, senders)
        sending = Sending(streams, missing, interval_s(self._link, streams), phase.batch_size)
        return ScheduledSampler(self._population, sizes, sending, seed, predict_rates)

    def _whole(self, inputs: Mapping[str, str], rows: tuple[int, ...]) -> list[StreamRequest]:
        """Requests for all streams of these samples; many users send them in order."""
        members = None
        if self._population is not None:
            length_s = interval_s(self._link, [self._streams[name] for name in inputs])
            users = self._population
            members = in_order(rows, users.users, users.users_an_interval, length_s)
        return [
            StreamRequest(s, split, rows, False, members=members) for s, split in inputs.items()
        ]

    def _transmit(self, requests: Sequence[StreamRequest]) -> list[Any]:
        return [
            ref
            for request in requests
            for ref in self._peer[self._streams[request.stream].device].call("transmit", request)
        ]

    def _step(self, phase: Phase, batch: TrainingBatch, number: int) -> dict[str, float]:
        """Runs one step on a batch, in as many parts as the phase asks for.

        Returns the losses and costs, and of many users also loss rates and the emulated time.
        If no sender learns, no gradient is sent back, and ``gradient_bits`` is 0.
        """
        seed = spawn_seed(self._seed, phase.name, number)
        tokens = _drawn_tokens(phase, seed)
        micro_batches = batch.parts(phase.micro_batch_size)
        parts = self._parts(micro_batches)
        reports = []
        for place, (micro_batch, part) in enumerate(zip(micro_batches, parts, strict=True)):
            part_seed = spawn_seed(seed, "part", place) if place else seed
            whole = self._requests_of(phase, micro_batch, tokens)
            requests = [_without(request, phase, part_seed) for request in whole]
            reports.append(self._exchange(part_seed, part, micro_batch, requests))
        report = merge_reports(reports, parts)
        values = {**report.losses, **report.costs}
        if "gradient_bits" in values and not self._learn:
            values["gradient_bits"] = 0.0
        if batch.members is None:
            return values
        lost = {f"loss_rate_{stream}": rate for stream, rate in report.loss_rates.items()}
        return {**values, **lost, "emulated_s": batch.emulated_s}

    def _parts(self, batches: Sequence[TrainingBatch]) -> list[StepPart]:
        """The step's parts, one per batch; a loss weighs by the number of values it averages."""
        if len(batches) == 1:
            return [StepPart()]
        counts: list[dict[str, int]]
        (counts,) = self._wait(self._station.call("loss_counts", [batch.rows for batch in batches]))
        samples = sum(batch.size for batch in batches)
        names = dict.fromkeys(name for count in counts for name in count)
        totals = {name: sum(count.get(name, 0) for count in counts) for name in names}
        return [
            StepPart(
                batch.size / samples,
                last=batch is batches[-1],
                fractions={name: count.get(name, 0) / max(1, n) for name, n in totals.items()},
            )
            for batch, count in zip(batches, counts, strict=True)
        ]

    def _exchange(
        self, seed: int, part: StepPart, batch: TrainingBatch, requests: Sequence[StreamRequest]
    ) -> StepReport:
        """Devices send, the base station learns and returns gradients, the devices learn."""
        frames = self._transmit(requests)
        report, *gradients = self._station.call(
            "step", seed, part, batch.rules, batch.rows, *frames, returns=1 + len(frames)
        )
        learnt = []
        for name, device in self._peer.items():
            returned = [
                gradient
                for request, gradient in zip(requests, gradients, strict=True)
                if self._streams[request.stream].device == name
            ]
            learnt += device.call("learn", part, *returned)
        done: StepReport = self._wait([report, *learnt])[0]
        return done

    def _requests_of(
        self, phase: Phase, batch: TrainingBatch, tokens: TokenLengths
    ) -> list[StreamRequest]:
        """Requests for every stream of a phase in a step."""
        requests = []
        for inputs in phase.inputs:
            stream, split = inputs.stream, inputs.split
            device = self._streams[stream].device
            muted = batch.muted.get(device)
            flags = () if muted is None else tuple(muted.tolist())
            rows, count = batch.rows[split], tokens.get(device)
            requests.append(StreamRequest(stream, split, rows, True, flags, batch.members, count))
        return requests

    def _wait(self, refs: Sequence[Any]) -> list[Any]:
        return self._engine.get(refs)


def _drawn_tokens(phase: Phase, seed: int) -> TokenLengths:
    """The token lengths of a step, where the phase draws them."""
    if not phase.any_tokens:
        return {}
    rng = np.random.default_rng(spawn_seed(seed, "tokens"))
    return phase.any_tokens[rng.integers(len(phase.any_tokens))]


def _without(request: StreamRequest, phase: Phase, seed: int) -> StreamRequest:
    """Leaves a stream out of some samples of a request, where the phase asks for it."""
    if not phase.drop_prob or request.stream not in phase.dropped:
        return request
    rng = np.random.default_rng(spawn_seed(seed, "drop", request.stream))
    dropped = rng.random(len(request.rows)) < phase.drop_prob
    if request.muted:
        dropped |= np.array(request.muted)
    return replace(request, muted=tuple(dropped.tolist()))
