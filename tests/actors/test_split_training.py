"""Split learning's gradients are autograd's, and a network trains what the paper trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from actors import Device, Network, StreamRequest
from actors.network import _without
from actors.testing import SplitContract, SplitSystem
from channel_models import named_air
from tokcom_core.systems.mlms import Mlms
from tokcom_core.testing import SystemCase

from .conftest import TASK, TOKENS, PartsOf


class TestMlms(SplitContract):
    @pytest.fixture(scope="class")
    def case(self, tokens: dict[str, dict[str, Path]]) -> SystemCase:
        features = {name: {name: tokens[name]} for name in (*TOKENS, "text")}
        return SystemCase(Mlms(caption_tokens=64), TASK, TOKENS, tokens["samples"], features)

    def test_frozen_weights_stay_frozen(self, case: SystemCase) -> None:
        split = SplitSystem(case, "rayleigh", 5.0)
        before = {n: p.detach().clone() for n, p in split.sides.named_parameters().items()}
        phase = case.phases[-1]
        split.begin(replace(phase, training=replace(phase.training, warmup_steps=0)))
        for _ in range(2):  # the adapter's A learns once its B is no longer zero
            split.step(phase)
        for name, parameter in split.sides.named_parameters().items():
            same = torch.equal(parameter, before[name])
            assert same != parameter.requires_grad, name


class TestLearnedSelection(SplitContract):
    """Which tokens are sent is learned across the air, too."""

    @pytest.fixture(scope="class")
    def case(self, tokens: dict[str, dict[str, Path]]) -> SystemCase:
        features = {name: {name: tokens[name]} for name in (*TOKENS, "text")}
        keys = {"caption_tokens": 64, "models": {"selection": "learned"}}
        return SystemCase(Mlms.model_validate(keys), TASK, TOKENS, tokens["samples"], features)


def _changed(network: Network, before: dict[str, Tensor]) -> set[str]:
    after = network.state()
    assert after.keys() == before.keys()
    return {name for name in after if not torch.equal(after[name], before[name])}


def test_each_phase_trains_exactly_what_the_paper_trains(parts_of: PartsOf) -> None:
    parts = parts_of()
    alignment, fine_tuning = parts.phases(steps=4)
    with parts.network() as network:
        network.set_channel(named_air("rayleigh"), 10.0)
        everything = network.state()
        network.train(alignment)
        adapter = {n for n in everything if n.startswith("station.adapter.")}
        assert _changed(network, everything) == everything.keys() - adapter
        aligned = network.state()
        network.train(fine_tuning)
        assert _changed(network, aligned) == everything.keys()
    assert {name.split(".")[0] for name in everything} == {"audio", "vision", "station"}


def test_training_lowers_the_losses(parts_of: PartsOf) -> None:
    alignment = {"reconstruct_questions": False}
    parts = parts_of(system=Mlms.model_validate({"caption_tokens": 64, "alignment": alignment}))
    phase, _ = parts.phases(steps=40, batch_size=24)
    phase = replace(phase, training=replace(phase.training, learning_rate=2e-3))
    with Network(parts.devices, parts.station, {"align": 24}) as network:
        network.set_channel(named_air("awgn"), 10.0)
        losses = network.train(phase)
    assert losses[0].keys() >= set(phase.losses)
    for name in phase.losses:
        assert losses[-1][name] < 0.7 * losses[0][name], name


def test_a_phase_that_does_not_cross_the_air_needs_none(parts_of: PartsOf) -> None:
    """It learns from what was sent, as over an air without noise."""
    parts = parts_of()
    phase, _ = parts.phases(steps=3)
    with parts.network() as network:
        losses = network.train(replace(phase, over_air=False))
    with parts.network() as network:
        network.set_channel(named_air("awgn"), float("inf"))
        expected = network.train(phase)
    for found, wanted in zip(losses, expected, strict=True):
        assert found == pytest.approx({name: wanted[name] for name in phase.losses}, rel=1e-4)


def test_a_step_tells_what_it_cost_on_the_air(parts_of: PartsOf) -> None:
    """64 symbols a token, 32 bits of each stream's power scale, gradients of 32 bits a value."""
    parts = parts_of()
    *_, phase = parts.phases(steps=2)
    with parts.network() as network:
        network.set_channel(named_air("rayleigh"), 10.0)
        for step in network.train(phase):
            question = step["channel_uses_question"]
            assert question % (64 / 8) == 0 < question < 32 * 64
            assert step["channel_uses_audio"] == step["channel_uses_vision"] == 6 * 64
            assert step["samples"] == 8
            assert step["uplink_bits"] == 3 * 32
            assert step["gradient_bits"] == 32 * (2 * (2 * 6 * 64 + question) + 3)


def test_devices_that_learn_nothing_get_no_gradient(parts_of: PartsOf) -> None:
    """Eq. (9) alone sends texts, whose device is frozen; a small split counts by its share."""
    system = Mlms.model_validate({"caption_tokens": 64, "alignment": "reconstruction"})
    parts = parts_of(system=system)
    phase, _ = parts.phases(steps=1, batch_size=40)
    assert phase.crossing == ("caption", "question")
    with Network(parts.devices, parts.station, {"align": 20, "train": 40}) as network:
        network.set_channel(named_air("awgn"), 10.0)
        (step,) = network.train(phase)
    assert step["gradient_bits"] == 0
    assert step["samples"] == 40
    assert step["uplink_bits"] == 32 * (20 / 40 + 1)


def test_streams_are_dropped_on_purpose(parts_of: PartsOf) -> None:
    """About as often as asked, each by itself, never the question, and by the seed alone."""
    parts = parts_of(system=Mlms.model_validate({"fine_tuning": {"drop_modality": 0.3}}))
    phase = parts.phases(steps=1)[-1]
    rows = tuple(range(4000))

    def dropped(stream: str, muted: tuple[bool, ...] = ()) -> tuple[bool, ...]:
        return _without(StreamRequest(stream, "train", rows, True, muted), phase, 7).muted

    vision, audio = dropped("vision"), dropped("audio")
    assert abs(sum(vision) / 4000 - 0.3) < 5 * (0.21 / 4000) ** 0.5
    both = sum(v and a for v, a in zip(vision, audio, strict=True)) / 4000
    assert abs(both - 0.09) < 5 * (0.09 * 0.91 / 4000) ** 0.5
    assert dropped("question") == ()
    assert dropped("vision") == vision
    assert dropped("vision", (True,) * 4000) == (True,) * 4000


def test_nothing_is_sent_of_a_muted_sample(parts_of: PartsOf) -> None:
    (config,) = (device for device in parts_of().devices if device.name == "vision")
    sent = Device(config).transmit(
        StreamRequest("vision", "train", (0, 1), True, muted=(True, False))
    )
    assert not sent.valid[0].any()
    assert sent.valid[1].all()
    assert (sent.symbols[0] == 0).all()
