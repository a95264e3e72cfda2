"""The contract of a system that is split over an air, as tests to inherit; needs pytest.

A test class inherits them beside :class:`tokcom_core.testing.SystemContract`, which says how.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from channel_models import Air, Frame, Link, Reception, named_air, normalise, spawn_seed
from tokcom_core.datasets.samples import Samples, read_samples
from tokcom_core.systems import Feedback, Phase, Received, StreamInput, devices_of
from tokcom_core.testing import MAX_ANSWER_TOKENS, ROWS, SystemCase, Unsplit, handed_over

from .base_station import BaseStation, StationConfig
from .device import Device, DeviceConfig
from .messages import Answers, Gradient, LossRules, StepPart, StreamRequest
from .training.optimiser import Optimiser, seeded

SEED, SNR_DB = 17, 5.0


class SplitSystem:
    """Devices and base station of a case, stepped by hand.

    Attributes:
        devices: Devices by name.
        station: The base station.
        sides: The same transmitters and receiver, without devices and base station around them.
    """

    def __init__(self, case: SystemCase, air: str, snr_db: float) -> None:
        self._case, self._streams = case, case.streams
        names = devices_of(tuple(self._streams.values()))
        self.devices = {
            name: Device(
                DeviceConfig(
                    name=name,
                    system=case.system,
                    task=case.task,
                    tokens=case.tokens,
                    seed=SEED,
                    samples=case.samples,
                    features=case.features.get(name, {}),
                    device="cpu",
                )
            )
            for name in names
        }
        self.station = BaseStation(
            StationConfig(
                system=case.system,
                task=case.task,
                tokens=case.tokens,
                seed=SEED,
                samples=case.samples,
                link=Link(),
                max_answer_tokens=MAX_ANSWER_TOKENS,
                device="cpu",
            )
        )
        self.station.set_channel(named_air(air), snr_db)
        transmitters = {name: device.transmitter for name, device in self.devices.items()}
        self.sides = Unsplit(case, transmitters, self.station.receiver)

    def transmit(self, inputs: Sequence[StreamInput], training: bool) -> list[Frame]:
        """The frames of a batch."""
        return [
            self._sender(own.stream).transmit(StreamRequest(own.stream, own.split, ROWS, training))
            for own in inputs
        ]

    def corpus(self, name: str) -> Samples:
        """All samples of a split."""
        return read_samples(self._case.samples[name])

    def begin(self, phase: Phase) -> None:
        """Begins a phase everywhere."""
        self.station.begin(phase)
        for device in self.devices.values():
            device.begin(phase)

    def step(
        self, phase: Phase, rules: LossRules | None = None, frames: Sequence[Frame] | None = None
    ) -> dict[str, float]:
        """Runs a step of a phase that has begun; returns the losses.

        The devices send the phase's batch, unless ``frames`` are given.
        """
        rows = {inputs.split: ROWS for inputs in phase.inputs}
        sent = self.transmit(phase.inputs, training=True) if frames is None else frames
        report, *gradients = self.station.step(SEED, StepPart(), rules, rows, *sent)
        assert not isinstance(report, Gradient)
        for device in self.devices.values():
            returned = [g for g in gradients if isinstance(g, Gradient)]
            device.learn(StepPart(), *(g for g in returned if self._sender(g.stream) is device))
        return report.losses

    def answer(self, split: str, frames: Sequence[Frame]) -> Answers:
        """The base station's answers, after as many rounds as they take."""
        reply = self.station.answer(SEED, split, ROWS, *frames)
        while isinstance(reply, Feedback):
            reply = self.station.resume(SEED, self._sender(reply.stream).reply(reply))
        return reply

    def _sender(self, stream: str) -> Device:
        return self.devices[self._streams[stream].device]


def _over(air: Air, unsplit: Unsplit, phase: Phase) -> dict[str, Received]:
    """Received streams of a phase, still attached to the graph of their transmitters."""
    received = {inputs.stream: handed_over(*unsplit.send(inputs)) for inputs in phase.inputs}
    frames = []
    for inputs in phase.inputs:
        if inputs.stream not in phase.crossing:
            continue
        symbols, valid = unsplit.send(inputs)
        unit, scale = normalise(symbols, valid)
        stream = unsplit.case.streams[inputs.stream]
        if not stream.sends_scale:
            scale = torch.ones_like(scale)
        frame = Frame(stream.device, stream.name, unit, valid, scale, stream.symbols_per_token)
        frames.append(replace(frame, sends_scale=stream.sends_scale))
    if frames:
        receptions = air.transmit(frames, spawn_seed(SEED, "air"))
        received |= {f.stream: _received(f, r) for f, r in zip(frames, receptions, strict=True)}
    return received


def _received(frame: Frame, reception: Reception) -> Received:
    return Received(
        symbols=reception.symbols,
        noise_var=reception.noise_var,
        valid=frame.valid,
        erased=reception.erased,
        sent=(frame.symbols * frame.scale[:, None]).detach(),
        arrived=torch.ones(len(ROWS), dtype=torch.bool),
    )


def _delayed(phase: Phase, late: Collection[str]) -> LossRules:
    """Rules by which some streams of a phase are lost, and nothing else."""
    delay_ms = {s: torch.full((len(ROWS),), 2e9 if s in late else 0.0) for s in phase.crossing}
    return LossRules(-math.inf, 1e9, dict.fromkeys(delay_ms, 0.0), delay_ms)


def _gradients(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: p.grad for name, p in parameters.items() if p.grad is not None}


class SplitContract:
    """Tests that every system passes when it is split between devices and a base station."""

    def test_split_gradients_are_those_of_end_to_end_autograd(
        self, case: SystemCase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Optimiser, "step", lambda self: None)  # leaves the gradients there
        air = named_air("rayleigh").build(Link(), SNR_DB)
        for phase in case.phases:
            split = SplitSystem(case, "rayleigh", SNR_DB)
            whole = SplitSystem(case, "rayleigh", SNR_DB).sides
            split.sides.shake()
            whole.shake()
            split.begin(phase)
            losses = split.step(phase)
            whole.begin(phase)
            received = _over(air, whole, phase)
            targets = {inputs.split: case.batch(inputs.split) for inputs in phase.inputs}
            with seeded(spawn_seed(SEED, "dropout")):
                expected = whole.receiver.losses(phase.name, received, targets)
            torch.stack(list(expected.values())).sum().backward()
            assert losses == pytest.approx({n: float(v.detach()) for n, v in expected.items()})
            gradients = _gradients(split.sides.named_parameters())
            wanted = _gradients(whole.named_parameters())
            assert gradients.keys() == wanted.keys()
            for name, gradient in gradients.items():
                assert gradient.abs().max() > 0, name
                torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-7, msg=name)

    def test_a_phase_begins_without_the_gradients_of_another(self, case: SystemCase) -> None:
        split = SplitSystem(case, "awgn", SNR_DB)
        for phase in case.phases:
            split.begin(phase)
            assert not _gradients(split.sides.named_parameters())
            split.step(phase)

    def test_many_users_of_whom_none_is_lost_train_as_one(self, case: SystemCase) -> None:
        for phase in case.phases:
            alone, among = (SplitSystem(case, "awgn", SNR_DB) for _ in range(2))
            alone.begin(phase)
            among.begin(phase)
            assert among.step(phase, _delayed(phase, ())) == alone.step(phase)

    def test_of_a_lost_stream_nothing_is_learnt(self, case: SystemCase) -> None:
        """Whatever it held, the losses are the same."""
        for phase in case.phases:
            for lost in phase.crossing:
                held, other = (SplitSystem(case, "awgn", SNR_DB) for _ in range(2))
                frames = held.transmit(phase.inputs, training=True)
                swapped = [
                    replace(f, symbols=f.symbols.roll(1, 0)) if f.stream == lost else f
                    for f in frames
                ]
                held.begin(phase)
                other.begin(phase)
                rules = _delayed(phase, [lost])
                assert held.step(phase, rules, frames) == other.step(phase, rules, swapped)

    def test_the_power_of_a_sample_says_something_only_where_it_is_sent(
        self, case: SystemCase
    ) -> None:
        split = SplitSystem(case, "awgn", math.inf)
        split.sides.shake()
        test = case.task.test_split
        served = [StreamInput(name, test) for name in case.system.served(case.task)]
        for frame in split.transmit(served, training=False):
            sent = frame.valid.any(1)
            energy = frame.symbols.abs().square().sum(1)
            torch.testing.assert_close(energy[sent], frame.valid.sum(1)[sent].float())
            sends_scale = case.streams[frame.stream].sends_scale
            assert frame.control_bits == (32 if sends_scale else 0)
            assert sends_scale or torch.equal(frame.scale, torch.ones_like(frame.scale))

    def test_without_noise_it_is_what_it_is_unsplit(self, case: SystemCase) -> None:
        split = SplitSystem(case, "awgn", math.inf)
        split.sides.shake()
        served = case.system.served(case.task)
        test = case.task.test_split
        frames = split.transmit([StreamInput(name, test) for name in served], training=False)
        answers = split.answer(test, frames)
        predictions = split.sides.predict()
        assert answers.predicted == predictions.texts
        scores = case.task.scores(predictions.texts, case.batch(test), split.corpus(test))
        assert answers.scores == tuple(scores)
        assert answers.first_token == predictions.first_token
        assert answers.losses == pytest.approx(predictions.losses, rel=1e-4)
