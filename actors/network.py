"""The network: devices and base station, and the rounds of both stages of Algorithm 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from channel_models import AirBase, Members, PopulationSize, mean_db, spawn_seed

from .base_station import AlignmentLossConfig, AnswerLoss, BaseStation, StationConfig
from .device import Device, DeviceConfig
from .emulation.population import UserPopulation, interval_s
from .engines.engine import ActorSpec, Engine, OnEngine, Peer, PeerLostError
from .messages import MODALITY_OF, Answers, Arrival, Batch, StepReport, Stream, Training
from .training.batches import (
    BatchSampler,
    ScheduledSampler,
    ShuffledSampler,
    TrainingBatch,
    in_order,
)
from .training.checkpoints import Checkpoints, Losses

_MOST_DEATHS = 20
"""Crashes of a stage that are survived."""


@dataclass(frozen=True)
class StreamInput:
    """A stream that takes part in a round, and the split its samples come from."""

    stream: Stream
    split: str


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a split gave; per-sample values are means over samples."""

    exact: tuple[bool, ...]
    first_token: tuple[bool, ...]
    loss: float
    first_token_loss: float
    arrivals: dict[str, Arrival]
    interval_ms: float


class Network(OnEngine):
    """M devices and a base station on an engine.

    Args:
        devices: one of each modality.
        station: the base station; its link is one user's share of the band.
        engine: where they live; closed with the network.
        crowd: users that take turns on the air, each with such devices and samples of its own;
            None for a single one.
    """

    def __init__(
        self,
        devices: Sequence[DeviceConfig],
        station: StationConfig,
        engine: Engine | None = None,
        crowd: UserPopulation | None = None,
    ) -> None:
        super().__init__(engine)
        self._crowd = crowd
        self._devices = tuple(devices)
        self._link = station.link
        self._station, *made = self._engine.spawn(
            [
                ActorSpec("station", BaseStation, (station,)),
                *(ActorSpec("devices", Device, (config,)) for config in devices),
            ]
        )
        self._device: dict[str, Peer] = {
            config.modality: peer for config, peer in zip(devices, made, strict=True)
        }
        self._seed = station.seed
        self._air: tuple[AirBase, float] | None = None

    def set_channel(self, air: AirBase, snr_db: float) -> None:
        """Puts an air between devices and base station."""
        self._air = air, snr_db
        size = PopulationSize(self._crowd.users, self._seed) if self._crowd else None
        self._wait(self._station.call("set_channel", air, snr_db, size))

    def align(
        self,
        training: Training,
        contrast: AlignmentLossConfig,
        parts: Sequence[StreamInput],
        sizes: dict[str, int],
        batch_size: int,
        checkpoints: Checkpoints | None = None,
    ) -> Losses:
        """Stage 1. Returns the losses of each step.

        Args:
            training: optimiser and number of steps.
            contrast: which losses.
            parts: the streams, each with its split; streams of one split share their samples.
            sizes: number of samples of each split.
            batch_size: samples of a step.
            checkpoints: where to go on from, and what to go back to when a process dies.
        """
        used = {split: sizes[split] for split in sorted({part.split for part in parts})}
        turns = self._sampler("alignment", parts, used, batch_size, training.steps)

        def step(number: int) -> dict[str, float]:
            turn = turns.turn(number)
            seed = spawn_seed(self._seed, "alignment", number)
            return self._train_step(turn, _requests_of(parts, turn), "align", seed)

        def begin() -> None:
            self._start(training, "start_alignment", training, contrast)

        return self._train(begin, step, training.steps, checkpoints)

    def calibrate(self, parts: Sequence[StreamInput], size: int, batch_size: int) -> None:
        """Before stage 2: brings every receiver's output to the embeddings' RMS."""
        seed = spawn_seed(self._seed, "calibration")
        (split,) = {part.split for part in parts}
        rows = ShuffledSampler({split: size}, batch_size, {split: seed}, 1).turn(0).rows[split]
        frames = self._transmit(self._whole(parts, rows))
        self._wait(self._station.call("calibrate", seed, *frames))

    def fine_tune(
        self,
        training: Training,
        parts: Sequence[StreamInput],
        size: int,
        batch_size: int,
        checkpoints: Checkpoints | None = None,
        drop_modality: float = 0.0,
        answer_loss: AnswerLoss = "all_tokens",
    ) -> Losses:
        """Stage 2. Returns the task loss of each round; ``parts`` all have one split.

        ``drop_modality`` is the probability that audio, and likewise vision, is left out of a
        sample, for a foundation model that can do without. ``answer_loss`` names the
        cross-entropy that is trained on.
        """
        (split,) = {part.split for part in parts}
        turns = self._sampler("fine-tuning", parts, {split: size}, batch_size, training.steps)

        def step(number: int) -> dict[str, float]:
            turn = turns.turn(number)
            seed = spawn_seed(self._seed, "fine-tuning", number)
            batches = [_without(batch, drop_modality, seed) for batch in _requests_of(parts, turn)]
            return self._train_step(turn, batches, "fine_tune", seed, split, turn.rows[split])

        def begin() -> None:
            self._start(training, "start_fine_tuning", training, answer_loss)

        return self._train(begin, step, training.steps, checkpoints)

    def _train(
        self,
        begin: Callable[[], None],
        step: Callable[[int], dict[str, float]],
        steps: int,
        checkpoints: Checkpoints | None,
    ) -> Losses:
        """Runs the steps of a stage; rolls back to the last checkpoint when a process dies.

        A step is a function of its number and of what the checkpoint holds, so that neither a
        crash nor a resume changes the outcome.

        Raises:
            PeerLostError: if processes die before there is a checkpoint, or again and again.
        """
        if checkpoints is None:
            begin()
            return [step(number) for number in range(steps)]
        losses: Losses | None = None
        for _ in range(_MOST_DEATHS):
            try:
                if losses is None:
                    losses = self._resume(begin, checkpoints)
                while len(losses) < steps:
                    losses.append(step(len(losses)))
                    if checkpoints.due(len(losses)):
                        checkpoints.write(losses, self._checkpoint)
                return losses
            except PeerLostError:
                losses = None
        raise PeerLostError(f"processes died {_MOST_DEATHS} times in one stage")

    def _resume(self, begin: Callable[[], None], checkpoints: Checkpoints) -> Losses:
        """Puts everybody, the dead made anew, where the last checkpoint was; or makes the first."""
        restarted = self._engine.restart_dead()
        if self._station in restarted and self._air is not None:
            self.set_channel(*self._air)
        begin()
        latest = checkpoints.latest()
        if latest is None:
            if restarted:
                raise PeerLostError("a process died with what it had learnt in the stage before")
            checkpoints.write([], self._checkpoint)
            return []
        losses, folder = latest
        self._every_peer("restore", folder)
        return losses

    def _checkpoint(self, folder: Path) -> None:
        self._every_peer("checkpoint", folder)

    def _every_peer(self, method: str, *arguments: Any) -> None:
        peers = [*self._device.values(), self._station]
        self._wait([t for peer in peers for t in peer.call(method, *arguments)])

    def evaluate(self, parts: Sequence[StreamInput], size: int, batch_size: int) -> Evaluation:
        """Answers every question of a split once."""
        (split,) = {part.split for part in parts}
        answered: list[Answers] = []
        counts: list[int] = []
        for start in range(0, size, batch_size):
            rows = tuple(range(start, min(start + batch_size, size)))
            seed = spawn_seed(self._seed, "evaluation", split, start)
            frames = self._transmit(self._whole(parts, rows))
            answered += self._wait(self._station.call("answer", seed, split, rows, *frames))
            counts.append(len(rows))
        return _merge(answered, counts)

    def state(self) -> dict[str, Tensor]:
        """Every trained tensor of devices and base station."""
        peers = {**self._device, "station": self._station}
        states = self._wait([t for peer in peers.values() for t in peer.call("state")])
        return {
            f"{name}.{key}": tensor
            for name, state in zip(peers, states, strict=True)
            for key, tensor in state.items()
        }

    def save(self, folder: Path) -> None:
        """Saves everything trained below ``folder``."""
        self._every_peer("save", folder)

    def load(self, folder: Path) -> None:
        """Loads what :meth:`save` saved."""
        self._every_peer("load", folder)

    def parameter_counts(self) -> dict[str, int]:
        """Weights at the base station, see :meth:`BaseStation.parameter_counts`."""
        counts: dict[str, int] = self._wait(self._station.call("parameter_counts"))[0]
        return counts

    def _start(self, training: Training, method: str, *arguments: Any) -> None:
        refs = [t for device in self._device.values() for t in device.call("start", training)]
        self._wait([*refs, *self._station.call(method, *arguments)])

    def _sampler(
        self,
        role: str,
        parts: Sequence[StreamInput],
        sizes: dict[str, int],
        batch_size: int,
        steps: int,
    ) -> BatchSampler:
        """Who trains when, in one stage."""
        if self._crowd is None:
            seeds = {split: spawn_seed(self._seed, role, split) for split in sizes}
            return ShuffledSampler(sizes, batch_size, seeds, steps)
        streams = [part.stream for part in parts]
        senders = [device.name for device in self._devices]

        def predict_rates(members: Members) -> Tensor:
            rates: Tensor = self._wait(self._station.call("predict_rates", senders, members))[0]
            return rates

        seed = spawn_seed(self._seed, role, "crowd")
        return ScheduledSampler(
            self._crowd, sizes, batch_size, streams, self._interval_s(streams), seed, predict_rates
        )

    def _interval_s(self, streams: Sequence[Stream]) -> float:
        longest = {s: n for device in self._devices for s, n in device.tokens.items()}
        return interval_s(self._link, streams, longest, self._devices[0].token_width)

    def _whole(self, parts: Sequence[StreamInput], rows: tuple[int, ...]) -> list[Batch]:
        """These samples, with all that belongs to them; a crowd's users send them in order."""
        members = None
        if self._crowd is not None:
            length_s = self._interval_s([part.stream for part in parts])
            members = in_order(rows, self._crowd.users, self._crowd.users_at_once, length_s)
        return [Batch(p.stream, p.split, rows, False, members=members) for p in parts]

    def _transmit(self, batches: Sequence[Batch]) -> list[Any]:
        return [t for b in batches for t in self._device[MODALITY_OF[b.stream]].call("transmit", b)]

    def _train_step(
        self, turn: TrainingBatch, batches: Sequence[Batch], method: str, seed: int, *arguments: Any
    ) -> dict[str, float]:
        """Devices send, the base station learns and returns gradients, the devices learn.

        Returns the losses, and of a crowd what was not heard and the emulated time.
        """
        frames = self._transmit(batches)
        report, *gradients = self._station.call(
            method, seed, turn.rules, *arguments, *frames, returns=1 + len(frames)
        )
        learnt = []
        for modality, device in self._device.items():
            own = [
                g
                for b, g in zip(batches, gradients, strict=True)
                if MODALITY_OF[b.stream] == modality
            ]
            learnt += device.call("learn", *own)
        done: StepReport = self._wait([report, *learnt])[0]
        if turn.members is None:
            return done.losses
        loss_rates = {f"loss_rate_{stream}": share for stream, share in done.loss_rates.items()}
        return {**done.losses, **loss_rates, "emulated_s": turn.emulated_s}

    def _wait(self, refs: Sequence[Any]) -> list[Any]:
        return self._engine.get(refs)


def _requests_of(parts: Sequence[StreamInput], turn: TrainingBatch) -> list[Batch]:
    """What every part of a turn sends."""
    batches = []
    for part in parts:
        muted = turn.muted.get(MODALITY_OF[part.stream])
        quiet = () if muted is None else tuple(muted.tolist())
        rows = turn.rows[part.split]
        batches.append(Batch(part.stream, part.split, rows, True, quiet, turn.members))
    return batches


def _without(batch: Batch, share: float, seed: int) -> Batch:
    """Leaves a modality out of some samples of a batch; text is never left out."""
    if not share or MODALITY_OF[batch.stream] == "text":
        return batch
    rng = np.random.default_rng(spawn_seed(seed, "drop", batch.stream))
    dropped = rng.random(len(batch.rows)) < share
    if batch.muted:
        dropped |= np.array(batch.muted)
    return replace(batch, muted=tuple(dropped.tolist()))


def _merge(answered: Sequence[Answers], counts: Sequence[int]) -> Evaluation:
    weights = torch.tensor(counts, dtype=torch.float64) / sum(counts)

    def mean(values: list[float]) -> float:
        return float((torch.tensor(values, dtype=torch.float64) * weights).sum())

    def merged(parts: list[Any], name: str = "") -> Any:
        """The mean of every number in records of one kind; SNRs are averaged linearly."""
        first = parts[0]
        if isinstance(first, dict):
            return {key: merged([p[key] for p in parts], key) for key in first}
        if is_dataclass(first) and not isinstance(first, type):
            names = [f.name for f in fields(first)]
            return replace(first, **{n: merged([getattr(p, n) for p in parts], n) for n in names})
        if isinstance(first, str):
            return first
        return mean_db(parts, weights) if name.endswith(("snr_db", "sinr_db")) else mean(parts)

    return Evaluation(
        exact=tuple(hit for a in answered for hit in a.exact),
        first_token=tuple(hit for a in answered for hit in a.first_token),
        loss=mean([a.loss for a in answered]),
        first_token_loss=mean([a.first_token_loss for a in answered]),
        arrivals=merged([a.arrivals for a in answered]),
        interval_ms=mean([a.interval_ms for a in answered]),
    )
