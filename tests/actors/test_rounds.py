"""Answers in rounds: what further frames cost, and streams of a phase that stay off the air."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from actors.reception import summarise
from actors.rounds import AnswerSession, joint_airtime_ms
from channel_models import Air, Frame, Link, named_air
from tokcom_core.datasets.samples import Samples
from tokcom_core.systems import Feedback, Phase, StreamInput, Training

LINK = Link()


@pytest.fixture
def air() -> Air:
    return named_air("awgn").build(LINK, 10.0)


def _frame(samples: int, symbols: int) -> Frame:
    sent = torch.ones(samples, symbols, dtype=torch.complex64)
    return Frame("phone", "words", sent, sent.real > 0, torch.ones(samples), block=4)


def test_costs_of_all_rounds_are_means_over_all_samples(air: Air) -> None:
    """Two of eight samples take a second round: a quarter of its costs."""
    first, second = _frame(8, 400), _frame(2, 4)
    (one,), (two,) = air.transmit([first], 1), air.transmit([second], 2)
    two = replace(two, waiting_ms=torch.full((2,), 8.0, dtype=torch.float64))
    columns = ("sample_id", "media_id", "group", "answer")
    samples = Samples(dict.fromkeys(columns, tuple("abcdefgh")))
    session = AnswerSession(
        samples=samples,
        corpus=samples,
        streams={"words": summarise(first, one)},
        airtime_ms=joint_airtime_ms([first], [one], LINK),
    )
    before = session.streams["words"]
    rows = torch.tensor([1, 5])
    session.return_feedback(Feedback("words", rows, torch.tensor([7, 9]), bits=11.0))
    session.receive(second, two, LINK)
    after = session.streams["words"]
    assert session.feedback_bits == pytest.approx(11 * 2 / 8)
    assert after.tokens == pytest.approx(100 + 1 / 4)
    for name in ("data_channel_uses", "pilot_channel_uses", "airtime_ms", "energy_mj"):
        expected = getattr(one.overhead, name) + getattr(two.overhead, name) / 4
        assert getattr(after.overhead, name) == pytest.approx(expected), name
    assert after.overhead.control_bits == 32 + 32 / 4  # every frame has its own power scale
    assert session.airtime_ms == pytest.approx(
        one.overhead.airtime_ms + two.overhead.airtime_ms / 4
    )
    assert session.waiting_ms == pytest.approx(8.0 / 4)
    assert after.sinr_db == before.sinr_db


def test_tokens_that_are_erased_in_a_later_round_count(air: Air) -> None:
    """A quarter of 100 tokens, and one of the two of a second round: of 100.25 a sample."""
    first, second = _frame(8, 400), _frame(2, 4)
    (one,), (two,) = air.transmit([first], 1), air.transmit([second], 2)
    one = replace(one, erased=torch.arange(400).expand(8, -1) < 100)
    two = replace(two, erased=torch.tensor([[True], [False]]).expand(2, 4))
    samples = Samples(
        dict.fromkeys(("sample_id", "media_id", "group", "answer"), tuple("abcdefgh"))
    )
    session = AnswerSession(samples, samples, {"words": summarise(first, one)}, 0.0)
    session.receive(second, two, LINK)
    assert session.streams["words"].erased_fraction == pytest.approx((25 + 1 / 8) / 100.25)


def test_a_target_of_a_phase_does_not_cross_the_air() -> None:
    inputs = (StreamInput("words", "train"), StreamInput("truth", "train", over_air=False))
    training = Training(1, 1e-3, "linear")
    phase = Phase(name="codec", inputs=inputs, training=training, batch_size=4, losses=("task",))
    assert phase.crossing == ("words",)
    assert replace(phase, over_air=False).crossing == ()
