"""The base station: a system's receiver behind the air, and its optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from channel_models import (
    AirBase,
    Frame,
    Link,
    Members,
    PopulationSize,
    SnrRange,
    spawn_seed,
)
from tokcom_core.datasets.samples import Samples, read_samples
from tokcom_core.devices import hardware_of, pick_device
from tokcom_core.storage import reading
from tokcom_core.systems import (
    STATION,
    Feedback,
    Phase,
    Predictions,
    Receiver,
    System,
)
from tokcom_core.tasks import Task

from .contract import checked_answers, checked_losses, checked_part, checked_scores
from .messages import (
    Answers,
    FrameBatch,
    Gradient,
    LossRules,
    Served,
    StepPart,
    StepReport,
    TransmitRequest,
    merge,
)
from .reception import summarise
from .rounds import AnswerSession, joint_airtime_ms, waiting_ms
from .step_reports import step_costs
from .training.optimiser import Optimiser, seeded
from .uplink import Uplink, as_leaf, exactly, moved, receiver_inputs

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


class _Scored(NamedTuple):
    """Answers of some samples: text, score, and whether the first token is right."""

    predicted: tuple[str, ...]
    scores: tuple[float, ...]
    first_token: tuple[bool, ...]


class BaseStation:
    """Receives the frames of all devices, learns, answers, and returns gradients.

    A plain class: engines decide whether it lives in this process or in a Ray actor.
    """

    def __init__(self, config: StationConfig) -> None:
        self._config = config
        built = config.system.receiver(
            config.task,
            lambda *role: seeded(spawn_seed(config.seed, "station", *role)),
            config.tokens,
            config.device,
            config.max_answer_tokens,
        )
        self.receiver = checked_part(config.system, "receiver", built, Receiver)
        weights = next(self.receiver.parameters(), None)
        self._device = pick_device(config.device) if weights is None else weights.device
        streams = config.system.streams(config.task, config.tokens)
        self._streams = {stream.name: stream for stream in streams}
        self._samples = {split: read_samples(file) for split, file in config.samples.items()}
        self.receiver.prepare(self._samples[config.task.train_split])
        self._uplink = Uplink(config.link, self._device)
        self._phase: Phase | None = None
        self._optimiser: Optimiser | None = None
        self._session: AnswerSession | None = None

    def set_channel(
        self, air: AirBase, snr_db: float | SnrRange, population: PopulationSize | None = None
    ) -> None:
        """Sets the air, see :meth:`Uplink.set_channel`."""
        self._uplink.set_channel(air, snr_db, population)

    def calibrate(self, seed: int, phase: Phase, *frames: Frame) -> None:
        """Shows the receiver the streams of a phase before its first step."""
        frames = tuple(moved(frame, self._device) for frame in frames)
        with torch.no_grad():
            received = receiver_inputs(
                frames, self._uplink.receive(frames, seed, phase.crossing), {}
            )
            self.receiver.calibrate(phase.name, received)

    def begin(self, phase: Phase) -> None:
        """Begins a phase with a fresh optimiser."""
        self._phase = phase
        self.receiver.begin(phase.name)
        self._optimiser = Optimiser(self.receiver.trainable(phase.name), phase.training.at_station)
        self.receiver.zero_grad()  # weights untrained in the phase before have collected some

    def step(
        self, seed: int, part: StepPart, rules: LossRules | None, rows: Rows, *frames: Frame
    ) -> tuple[StepReport | Gradient, ...]:
        """Runs a step of a phase, or a part of one; returns a report and each frame's gradient.

        Samples that are lost according to ``rules``, which many users have, are not trained on.
        """
        assert self._phase is not None and self._optimiser is not None, "begin() begins a phase"
        leaves = [as_leaf(frame, self._device) for frame in frames]
        receptions, logs = self._uplink.receive_logged(leaves, seed, rules, self._phase.crossing)
        targets = self._targets(rows)
        with seeded(spawn_seed(seed, "dropout")):
            received = receiver_inputs(leaves, receptions, logs)
            given = self.receiver.losses(self._phase.name, received, targets)
            losses = checked_losses(self.receiver, self._phase, given)
        if (share := part.weighed(losses)) is not None:
            share.backward()
        if part.last:
            self._optimiser.step()
        crossing = self._phase.crossing
        sent = [pair for pair in zip(leaves, receptions, strict=True) if pair[0].stream in crossing]
        report = StepReport(
            losses={name: float(loss.detach()) for name, loss in losses.items()},
            costs=step_costs([f for f, _ in sent], [r for _, r in sent], logs),
            loss_rates={s: 1 - float(log.received.double().mean()) for s, log in logs.items()},
        )
        return (report, *(Gradient(f.stream, f.symbols.grad, f.scale.grad) for f in leaves))

    def loss_counts(self, parts: Sequence[Rows]) -> list[dict[str, int]]:
        """Number of values that each loss is the mean of, for each part of a batch.

        See :meth:`Receiver.loss_counts`.
        """
        assert self._phase is not None, "begin() begins a phase"
        phase = self._phase.name
        return [self.receiver.loss_counts(phase, self._targets(rows)) for rows in parts]

    def _targets(self, rows: Rows) -> dict[str, Samples]:
        return {split: self._samples[split].take(places) for split, places in rows.items()}

    @torch.no_grad()
    def answer(
        self, seed: int, split: str, rows: tuple[int, ...], *frames: Frame
    ) -> Answers | Feedback:
        """Answers one batch of questions and scores the answers.

        If it returns feedback instead, that goes to a device, whose reply goes to :meth:`resume`.
        """
        self.receiver.eval()
        frames = tuple(moved(frame, self._device) for frame in frames)
        receptions = self._uplink.receive(frames, seed)
        received = receiver_inputs(frames, receptions, {})
        samples = self._samples[split].take(rows)
        self._session = AnswerSession(
            samples=samples,
            corpus=self._samples[split],
            streams={
                frame.stream: summarise(frame, reception)
                for frame, reception in zip(frames, receptions, strict=True)
            },
            airtime_ms=joint_airtime_ms(frames, receptions, self._config.link),
            waiting_ms=waiting_ms(frames, receptions, self._config.link),
        )
        everyone = torch.ones(len(rows), dtype=torch.bool, device=self._device)
        return self._answered(self.receiver.predict(received, samples, everyone))

    @torch.no_grad()
    def resume(self, seed: int, frame: Frame) -> Answers | Feedback:
        """Goes on with the answers to the last batch, given a device's reply to the feedback."""
        assert self._session is not None, "answer() begins a batch"
        frame = moved(frame, self._device)
        receptions = self._uplink.receive([frame], seed)
        self._session.receive(frame, receptions[0], self._config.link)
        return self._answered(self.receiver.resume(receiver_inputs([frame], receptions, {})))

    def _answered(self, given: Predictions | Feedback) -> Answers | Feedback:
        assert self._session is not None, "answer() begins a batch"
        session = self._session
        given = checked_answers(self.receiver, len(session.samples), given)
        if isinstance(given, Feedback):
            session.return_feedback(given)
            return given
        scored = self._scored(given, session.samples, session.corpus)
        return Answers(
            predicted=scored.predicted,
            scores=scored.scores,
            first_token=scored.first_token,
            losses=given.losses,
            loss_counts=given.loss_counts,
            streams=session.streams,
            airtime_ms=session.airtime_ms,
            waiting_ms=session.waiting_ms,
            feedback_bits=session.feedback_bits,
        )

    @torch.no_grad()
    def embed(self, *frames: Frame) -> dict[str, Tensor]:
        """Embeddings ``[B, D]`` of streams by name, received without error.

        They are NaN where nothing is sent. See :meth:`Receiver.embeddings`.
        """
        self.receiver.eval()
        frames = tuple(moved(frame, self._device) for frame in frames)
        received = receiver_inputs(frames, [exactly(frame) for frame in frames], {})
        return {
            name: vectors.masked_fill(~received[name].valid.any(1, keepdim=True), torch.nan).cpu()
            for name, vectors in self.receiver.embeddings(received).items()
        }

    def predict_rates(self, senders: Sequence[str], members: Members) -> Tensor:
        """Achievable rates ``[B]`` of many users in bit/s/Hz, for a scheduler."""
        return self._uplink.predict_rates(senders, members)

    @torch.no_grad()
    def serve(
        self, seed: int, request: TransmitRequest, rules: LossRules, *batches: FrameBatch
    ) -> Served:
        """Answers questions of many users; missing and lost streams are masked."""
        self.receiver.eval()
        frames = tuple(moved(frame, self._device) for frame in merge(batches, self._streams))
        receptions, logs = self._uplink.receive_logged(frames, seed, rules)
        needed = [logs[name].received for name in self._config.required]
        everyone = torch.ones(len(request.rows), dtype=torch.bool)
        answerable = torch.stack([everyone, *needed]).all(0)
        predicted = [""] * len(answerable)
        scores, first_token = torch.zeros(len(answerable)).double(), torch.zeros_like(answerable)
        if answerable.any():
            received = receiver_inputs(frames, receptions, logs)
            corpus = self._samples[request.split]
            samples = corpus.take(request.rows.tolist())
            given = self.receiver.predict(received, samples, answerable.to(self._device))
            predictions = checked_answers(self.receiver, int(answerable.sum()), given)
            assert isinstance(predictions, Predictions), "many users are answered in one round"
            places = answerable.nonzero()[:, 0].tolist()
            scored = self._scored(predictions, samples.take(places), corpus)
            for place, text in zip(places, scored.predicted, strict=True):
                predicted[place] = text
            scores[answerable] = torch.tensor(scored.scores, dtype=torch.float64)
            first_token[answerable] = torch.tensor(scored.first_token)
        return Served(answerable, tuple(predicted), scores, first_token, logs)

    def _scored(self, given: Predictions, samples: Samples, corpus: Samples) -> _Scored:
        """Scores answers; ``corpus`` is the whole split that their samples belong to."""
        task = self._config.task
        scores = task.scores(given.texts, samples, corpus)
        return _Scored(given.texts, checked_scores(task, len(samples), scores), given.first_token)

    def state(self) -> dict[str, Tensor]:
        """The trained tensors."""
        return self.receiver.trained_state()

    def save(self, folder: Path) -> None:
        """Saves the trained tensors below a folder."""
        self.receiver.save(folder, STATION)

    def load(self, folder: Path) -> None:
        """Loads what :meth:`save` saved."""
        with reading(folder):
            self.receiver.load(folder, STATION)

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

    def hardware(self) -> dict[str, str]:
        """What the base station runs on, see :func:`tokcom_core.devices.hardware_of`."""
        return hardware_of(self._device)
