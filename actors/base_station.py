"""The base station: the air, a system's receiver, and its optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from channel_models import (
    Air,
    AirBase,
    Frame,
    Link,
    Members,
    Overhead,
    PopulationSize,
    Reception,
    spawn_seed,
)
from tokcom_core.datasets.samples import Samples, read_samples
from tokcom_core.systems import Phase, Received, System
from tokcom_core.tasks import Task

from .engines.tensorflow import tensorflow_service
from .messages import (
    Answers,
    FrameBatch,
    Gradient,
    Rules,
    Served,
    StepReport,
    StreamLog,
    TransmitRequest,
    merge,
)
from .reception import arrival, stream_log
from .training.optimiser import Optimiser, seeded

Rows = Mapping[str, Sequence[int]]
"""Rows of each split."""


@dataclass(frozen=True)
class StationConfig:
    """Config of the base station.

    Attributes:
        system: System that the base station belongs to.
        task: Task, which scores the answers.
        tokens: Token length of each device.
        seed: Seed of the study, from which the station's own seeds are spawned.
        samples: Table of each split.
        link: Link, for airtime and energy.
        required: Streams without which a sample is not answered.
        max_answer_tokens: Maximum number of generated tokens.
        device: Torch device or ``auto``.
    """

    system: System
    task: Task
    tokens: Mapping[str, int]
    seed: int
    samples: Mapping[str, Path]
    link: Link
    required: tuple[str, ...] = ()
    max_answer_tokens: int = 8
    device: str = "auto"


class BaseStation:
    """Receives the frames of all devices, learns, answers, and returns gradients.

    A plain class: engines decide whether it lives in this process or in a Ray actor.
    """

    def __init__(self, config: StationConfig) -> None:
        self._config = config
        self.receiver = config.system.receiver(
            config.task,
            lambda *role: seeded(spawn_seed(config.seed, "station", *role)),
            config.tokens,
            config.device,
            config.max_answer_tokens,
        )
        self._device = next(self.receiver.parameters()).device
        self._samples = {split: read_samples(file) for split, file in config.samples.items()}
        self._air: Air | None = None
        self._phase: Phase | None = None
        self._optimiser: Optimiser | None = None

    def set_channel(
        self, air: AirBase, snr_db: float, population: PopulationSize | None = None
    ) -> None:
        """Sets the air between the devices, of one user or many, and this station."""
        name = "cuda:0" if self._device.type == "cuda" else "cpu"
        self._air = air.build(self._config.link, snr_db, name, tensorflow_service, population)

    def calibrate(self, seed: int, phase: Phase, *frames: Frame) -> None:
        """Shows the receiver the streams of a phase before its first step."""
        frames = tuple(_moved(frame, self._device) for frame in frames)
        with torch.no_grad():
            received = _received(frames, self._receive(frames, seed, phase.over_air), {})
            self.receiver.calibrate(phase.name, received)

    def begin(self, phase: Phase) -> None:
        """Begins a phase with a fresh optimiser."""
        self._phase = phase
        self._optimiser = Optimiser(self.receiver.trainable(phase.name), phase.training)
        self.receiver.zero_grad()  # of what learns in this phase, but did not in the one before
        self.receiver.begin(phase.name)

    def step(
        self, seed: int, rules: Rules | None, rows: Rows, *frames: Frame
    ) -> tuple[StepReport | Gradient, ...]:
        """One step of a phase; returns a report and each frame's gradient.

        Samples that are lost by the ``rules`` of many users are not trained on.
        """
        assert self._phase is not None and self._optimiser is not None, "begin() begins a phase"
        leaves = [_as_leaf(frame, self._device) for frame in frames]
        receptions, logs = self._receive_logged(leaves, seed, rules, self._phase.over_air)
        targets = {split: self._samples[split].take(own) for split, own in rows.items()}
        with seeded(spawn_seed(seed, "dropout")):
            losses = self.receiver.losses(
                self._phase.name, _received(leaves, receptions, logs), targets
            )
        if losses:
            torch.stack(list(losses.values())).sum().backward()
        self._optimiser.step()
        report = StepReport(
            losses={name: float(loss.detach()) for name, loss in losses.items()},
            loss_rates={s: 1 - float(log.received.double().mean()) for s, log in logs.items()},
        )
        return (report, *(Gradient(f.stream, f.symbols.grad, f.scale.grad) for f in leaves))

    @torch.no_grad()
    def answer(self, seed: int, split: str, rows: tuple[int, ...], *frames: Frame) -> Answers:
        """Answers one batch of questions and scores the answers."""
        self.receiver.eval()
        frames = tuple(_moved(frame, self._device) for frame in frames)
        receptions = self._receive(frames, seed)
        received = _received(frames, receptions, {})
        samples = self._samples[split].take(rows)
        everyone = torch.ones(len(rows), dtype=torch.bool, device=self._device)
        exact, first_token = self._score(received, samples, everyone)
        return Answers(
            exact=exact,
            first_token=first_token,
            losses=self.receiver.test_losses(received, samples),
            arrivals={
                frame.stream: arrival(frame, reception)
                for frame, reception in zip(frames, receptions, strict=True)
            },
            interval_ms=self._config.link.interval_ms(
                [frame.sender for frame in frames], [r.overhead for r in receptions]
            ),
        )

    def predict_rates(self, senders: Sequence[str], members: Members) -> Tensor:
        """Achievable rates ``[B]`` of many users in bit/s/Hz, for a scheduler."""
        assert self._air is not None, "set_channel() chooses an air"
        return torch.log2(1 + self._air.predict_snr(senders, members)).float().cpu()

    @torch.no_grad()
    def serve(
        self, seed: int, request: TransmitRequest, rules: Rules, *batches: FrameBatch
    ) -> Served:
        """Answers questions of many users; missing and lost streams are masked."""
        self.receiver.eval()
        frames = tuple(_moved(frame, self._device) for frame in merge(batches))
        receptions, logs = self._receive_logged(frames, seed, rules)
        answerable = torch.stack([logs[name].received for name in self._config.required]).all(0)
        exact, first_token = torch.zeros_like(answerable), torch.zeros_like(answerable)
        if answerable.any():
            received = _received(frames, receptions, logs)
            samples = self._samples[request.split].take(request.rows.tolist())
            scores = self._score(received, samples, answerable.to(self._device))
            exact[answerable], first_token[answerable] = (torch.tensor(hits) for hits in scores)
        return Served(answerable, exact, first_token, logs)

    def _score(
        self, received: Mapping[str, Received], samples: Samples, asked: Tensor
    ) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
        """Whether each answer, and its first token, is right, of the samples that are asked."""
        predictions = self.receiver.predict(received, samples, asked)
        own = samples.take(asked.nonzero()[:, 0].tolist())
        return tuple(self._config.task.correct(predictions.texts, own)), predictions.first_token

    def state(self) -> dict[str, Tensor]:
        """The trained tensors."""
        return self.receiver.trained_state()

    def save(self, folder: Path) -> None:
        """Saves the trained tensors below a folder."""
        self.receiver.save(folder, "station")

    def load(self, folder: Path) -> None:
        """Loads what :meth:`save` saved."""
        self.receiver.load(folder, "station")

    def checkpoint(self, folder: Path) -> None:
        """Saves all state that the next step depends on."""
        assert self._optimiser is not None, "begin() begins a phase"
        self.save(folder)
        self._optimiser.save(folder / "station-optimiser.safetensors")

    def restore(self, folder: Path) -> None:
        """Restores what :meth:`checkpoint` saved, after :meth:`begin`."""
        assert self._optimiser is not None, "begin() begins a phase"
        self.load(folder)
        self._optimiser.load(folder / "station-optimiser.safetensors")

    def parameter_counts(self) -> dict[str, int]:
        """See :meth:`Receiver.parameter_counts`."""
        return self.receiver.parameter_counts()

    def _receive(
        self, frames: Sequence[Frame], seed: int, over_air: bool = True
    ) -> list[Reception]:
        if not over_air:
            return [_without_air(frame) for frame in frames]
        assert self._air is not None, "set_channel() chooses an air"
        return self._air.transmit(frames, spawn_seed(seed, "air"))

    def _receive_logged(
        self, frames: Sequence[Frame], seed: int, rules: Rules | None, over_air: bool = True
    ) -> tuple[list[Reception], dict[str, StreamLog]]:
        """Receives frames; with rules, lost samples are erased and every stream has a log."""
        received = self._receive(frames, seed, over_air)
        if rules is None:
            return received, {}
        devices = len({frame.sender for frame in frames})
        logs = {
            f.stream: stream_log(f, r, self._config.link, rules, devices)
            for f, r in zip(frames, received, strict=True)
        }
        receptions = [
            replace(r, erased=r.erased | logs[f.stream].lost.to(self._device)[:, None])
            for f, r in zip(frames, received, strict=True)
        ]
        return receptions, logs


def _received(
    frames: Sequence[Frame], receptions: Sequence[Reception], logs: Mapping[str, StreamLog]
) -> dict[str, Received]:
    """The inputs of a system's receiver, by stream."""
    found = {}
    for frame, reception in zip(frames, receptions, strict=True):
        everything = torch.ones_like(frame.scale, dtype=torch.bool)
        log = logs.get(frame.stream)
        found[frame.stream] = Received(
            symbols=reception.symbols,
            noise_var=reception.noise_var,
            valid=frame.valid,
            erased=reception.erased,
            sent=(frame.symbols * frame.scale[:, None]).detach(),
            arrived=everything if log is None else log.received.to(frame.symbols.device),
        )
    return found


def _without_air(frame: Frame) -> Reception:
    """The reception of a phase that does not cross the air: exact and without overhead."""
    nothing = torch.zeros(1, 1, device=frame.symbols.device).expand(frame.symbols.shape)
    return Reception(
        symbols=torch.where(frame.valid, frame.symbols * frame.scale[:, None], 0),
        valid=frame.valid,
        noise_var=nothing,
        realised_snr_db=torch.full_like(frame.scale, torch.inf),
        erased=nothing.bool(),
        overhead=Overhead(),
        location={},
    )


def _moved(frame: Frame, device: torch.device) -> Frame:
    return replace(
        frame,
        symbols=frame.symbols.to(device),
        valid=frame.valid.to(device),
        scale=frame.scale.to(device),
    )


def _as_leaf(frame: Frame, device: torch.device) -> Frame:
    """A copy whose symbols and scale collect gradients."""
    moved = _moved(frame, device)
    return replace(
        moved,
        symbols=moved.symbols.detach().clone().requires_grad_(),
        scale=moved.scale.detach().clone().requires_grad_(),
    )
