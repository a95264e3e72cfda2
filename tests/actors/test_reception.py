"""SNRs of a stream: means of power ratios, over samples and over batches."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from actors.evaluation import merge_answers
from actors.messages import Answers, LossRules, ReceptionSummary
from actors.reception import sample_logs, summarise
from actors.rounds import joint_airtime_ms
from actors.step_reports import step_costs
from channel_models import Frame, Link, Reception, named_air, normalise
from channel_models.numerology import Access

BLOCK = 4
LINK = Link()


def _sent(snr_db: float, samples: int = 2000, **keys: Any) -> tuple[ReceptionSummary, Reception]:
    """A stream of four tokens over Rayleigh fading."""
    raw = torch.randn(
        samples, 16, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)
    )
    valid = torch.ones(samples, 16, dtype=torch.bool)
    symbols, scale = normalise(raw, valid)
    air = named_air("rayleigh").model_copy(update=keys).build(Link(), snr_db)
    frame = Frame("audio", "audio", symbols, valid, scale, block=BLOCK)
    (reception,) = air.transmit([frame], seed=3)
    return summarise(frame, reception), reception


def test_the_mean_snr_of_rayleigh_fading_is_the_nominal_one() -> None:
    """Powers are exponential: a standard error of 2000 samples is 2.2 %, .1 dB."""
    assert _sent(5.0)[0].realised_snr_db == pytest.approx(5.0, abs=0.3)


def test_samples_that_are_lost_in_noise_leave_the_mean_sinr_finite() -> None:
    found, reception = _sent(-10.0, 200, csi="estimated", interpolation="nearest")
    assert (reception.sinr_db == -math.inf).any()
    ratios = 10 ** (reception.sinr_db.double() / 10)
    assert found.sinr_db == pytest.approx(10 * math.log10(float(ratios.mean())))


def _pair(**sent: Tensor) -> list[tuple[Frame, Reception]]:
    """Streams of one text device, one after the other, over AWGN of 10 dB."""
    air = named_air("awgn").build(LINK, 10.0)
    frames = []
    for name, there in sent.items():
        valid = there[:, None].expand(-1, 4096)
        symbols, scale = normalise(torch.ones(valid.shape, dtype=torch.complex64), valid)
        frames.append(Frame("text", name, symbols, valid, scale, block=BLOCK))
    return list(zip(frames, air.transmit(frames, seed=3), strict=True))


def test_a_devices_streams_follow_each_other_until_its_deadline() -> None:
    there = torch.tensor([True, False])
    both = _pair(caption=torch.tensor([True, True]), question=there)
    airtime_ms = LINK.cost(4096, LINK.blocks_per_device(1)).airtime_ms
    none = dict.fromkeys(("caption", "question"), torch.zeros(2, dtype=torch.float64))
    for deadline_ms, lost in ((1.5, [True, False]), (2.5, [False, False])):
        rules = LossRules(-math.inf, 0.2 + deadline_ms * airtime_ms, dict.fromkeys(none, 0.2), none)
        logs = sample_logs(both, LINK.access, rules)
        assert not logs["caption"].lost.any()
        assert logs["question"].lost.tolist() == lost
        assert logs["question"].ends_ms.tolist() == pytest.approx([2 * airtime_ms, airtime_ms])


def test_devices_that_take_turns_end_one_after_the_other() -> None:
    """Under TDMA the second device ends with the interval."""
    for access, second in (("tdma", 2), ("ofdma", 1)):
        link = Link(access=access)
        air = named_air("awgn").build(link, 10.0)
        valid = torch.ones(1, 4096, dtype=torch.bool)
        symbols, scale = normalise(torch.ones(valid.shape, dtype=torch.complex64), valid)
        frames = [Frame(name, name, symbols, valid, scale, block=BLOCK) for name in ("a", "b")]
        received = list(zip(frames, air.transmit(frames, seed=3), strict=True))
        none = dict.fromkeys(("a", "b"), torch.zeros(1, dtype=torch.float64))
        rules = LossRules(-math.inf, 10.0, dict.fromkeys(none, 0.0), none)
        logs = sample_logs(received, access, rules)
        airtime_ms = float(logs["a"].ends_ms)
        assert float(logs["b"].ends_ms) == pytest.approx(second * airtime_ms)
        whole = link.joint_airtimes_ms(
            ["a", "b"], [log.costs["airtime_ms"] for log in logs.values()]
        )
        assert float(logs["b"].ends_ms) == pytest.approx(float(whole))


def test_a_straggler_is_waited_for_until_the_deadline() -> None:
    both = _pair(question=torch.tensor([True, True, True, False]))
    delay_ms = {"question": torch.tensor([0.0, 3.0, 30.0, 3.0], dtype=torch.float64)}
    airtime_ms = LINK.cost(4096, LINK.blocks_per_device(1)).airtime_ms
    logs = sample_logs(both, LINK.access, LossRules(-math.inf, 10.0, {"question": 0.0}, delay_ms))
    assert logs["question"].lost.tolist() == [False, False, True, False]
    assert logs["question"].waited_ms.tolist() == pytest.approx([0, 3, 10 - airtime_ms, 0])
    patient = sample_logs(
        both, LINK.access, LossRules(-math.inf, math.inf, {"question": 0.0}, delay_ms)
    )
    assert patient["question"].waited_ms.tolist() == [0, 3, 30, 0]


def test_a_gradient_returns_only_for_what_was_received() -> None:
    both = _pair(question=torch.tensor([True, True, True, False]))
    frames, receptions = [f for f, _ in both], [r for _, r in both]
    of_sample = 32 * (2 * 4096 + 1)
    alone = step_costs(frames, receptions, {})
    assert alone["gradient_bits"] == pytest.approx(3 / 4 * of_sample)
    delay_ms = {"question": torch.tensor([0.0, 30.0, 0.0, 0.0], dtype=torch.float64)}
    logs = sample_logs(both, LINK.access, LossRules(-math.inf, 10.0, {"question": 0.0}, delay_ms))
    assert step_costs(frames, receptions, logs)["gradient_bits"] == pytest.approx(of_sample / 2)


@pytest.mark.parametrize("sending", [0, 1, 3])
def test_samples_that_send_nothing_are_neither_noise_nor_lost(sending: int) -> None:
    raw = torch.randn(4, 16, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    valid = (torch.arange(4) < sending)[:, None].expand(4, 16)
    symbols, scale = normalise(raw, valid)
    frame = Frame("image", "image", symbols, valid, scale, block=BLOCK)
    (reception,) = named_air("awgn").build(Link(), 10.0).transmit([frame], seed=3)
    found = summarise(frame, reception)
    assert found.tokens == sending
    assert (found.erased_fraction, found.lost_fraction) == (0.0, 0.0)
    if sending:
        assert found.sinr_db == pytest.approx(10.0, abs=1e-4)


@pytest.mark.parametrize("lost", [False, True])
def test_the_reception_of_a_stream_does_not_depend_on_the_batches(lost: bool) -> None:
    """Of eight samples some send nothing, the others two or four tokens, some of them erased."""
    raw = torch.randn(8, 16, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([16, 0, 8, 0, 16, 16, 0, 8])
    valid = torch.arange(16) < lengths[:, None]
    symbols, scale = normalise(raw, valid)
    frame = Frame("image", "image", symbols, valid, scale, block=BLOCK)
    (reception,) = named_air("rayleigh").build(Link(), 3.0).transmit([frame], seed=3)
    erased = valid if lost else valid & (torch.arange(16) < BLOCK) & (torch.arange(8) < 5)[:, None]
    reception = replace(reception, erased=erased)
    whole = summarise(frame, reception)
    assert whole.lost_fraction == float(lost)
    for size in (1, 2, 3):
        parts = [slice(start, min(start + size, 8)) for start in range(0, 8, size)]
        answers = [
            Answers(
                (), (), (), {}, {}, {"image": summarise(_rows(frame, s), _rows(reception, s))}, 1
            )
            for s in parts
        ]
        merged = merge_answers(answers, [s.stop - s.start for s in parts]).streams["image"]
        for name in ("tokens", "realised_snr_db", "sinr_db", "erased_fraction", "lost_fraction"):
            assert getattr(merged, name) == pytest.approx(getattr(whole, name)), name


@pytest.mark.parametrize("access", ["ofdma", "tdma"])
def test_the_airtime_of_a_sample_does_not_depend_on_the_batches(access: Access) -> None:
    """Each waits for its own slowest device, and not for that of the batch's means."""
    link = Link(bandwidth_hz=720e3, access=access)
    air = named_air("awgn").build(link, 10.0)
    lengths = torch.randint(0, 40, (2, 8), generator=torch.Generator().manual_seed(1))
    frames = [_of_lengths(name, own) for name, own in zip("ab", lengths, strict=True)]
    whole = joint_airtime_ms(frames, air.transmit(frames, 1), link)
    each = []
    for i in range(8):
        one = [_rows(frame, slice(i, i + 1)) for frame in frames]
        each.append(joint_airtime_ms(one, air.transmit(one, 1), link))
    assert whole == pytest.approx(sum(each) / 8)
    of_means = link.joint_airtime_ms(["a", "b"], [r.overhead for r in air.transmit(frames, 1)])
    assert (of_means < whole) == (access == "ofdma")


def _of_lengths(sender: str, lengths: torch.Tensor) -> Frame:
    valid = torch.arange(40) < lengths[:, None]
    symbols, scale = normalise(torch.randn(len(lengths), 40, dtype=torch.complex64), valid)
    return Frame(sender, sender, symbols, valid, scale)


def _rows(record: Any, rows: slice) -> Any:
    """Some samples of a frame or a reception."""
    own = {f.name: getattr(record, f.name) for f in fields(record)}
    tensors = {name: value[rows] for name, value in own.items() if isinstance(value, torch.Tensor)}
    return replace(record, **tensors)


def test_batches_are_averaged_linearly_by_their_size() -> None:
    one, _ = _sent(5.0, 4)
    streams = [
        replace(
            one, realised_snr_db=10.0, sinr_db=-math.inf, tokens=4.0, location={"path_loss_db": 90}
        ),
        replace(one, realised_snr_db=0.0, sinr_db=3.0, tokens=8.0, location={"path_loss_db": 110}),
    ]
    answers = [
        Answers(
            ("yes",) * len(scores),
            scores,
            tuple(map(bool, scores)),
            {"task": loss, "first_token": loss},
            {"task": tokens},
            {"audio": a},
            1.0,
        )
        for a, scores, loss, tokens in [
            (streams[0], (1.0, 0.0, 0.3), 1.0, 4),
            (streams[1], (0.0,), 3.0, 4),
        ]
    ]
    evaluation = merge_answers(answers, [3, 1])
    assert evaluation.scores == (1.0, 0.0, 0.3, 0.0)
    assert evaluation.losses["first_token"] == pytest.approx(1.5)
    assert evaluation.losses["task"] == pytest.approx(2.0)  # of as many tokens in both
    merged = evaluation.streams["audio"]
    assert merged.realised_snr_db == pytest.approx(10 * math.log10(0.75 * 10 + 0.25))
    assert merged.sinr_db == pytest.approx(3.0 + 10 * math.log10(0.25))
    assert merged.tokens == 5.0
    assert merged.location["path_loss_db"] == pytest.approx(95.0)  # a loss in dB is averaged so
