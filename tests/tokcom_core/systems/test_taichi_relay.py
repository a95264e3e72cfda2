"""TaiChi's relay: what it says and counts, pools of devices, tokens of answers on the air."""

from __future__ import annotations

import math

import pytest
import torch

from actors.messages import FrameBatch, LossRules, StreamRequest, TransmitRequest, merge
from actors.testing import SplitSystem
from channel_models import Members
from tokcom_core.checkpoints.loading import load_tokenizer
from tokcom_core.systems import Feedback, StreamInput
from tokcom_core.testing import ROWS

from .conftest import CaseOf


@torch.no_grad()
def test_relay_over_a_noiseless_air_says_what_the_whole_model_says(taichi_case_of: CaseOf) -> None:
    """Through devices, air and base station; without a codec, and so does one-way at k = 0."""
    expected = None
    for k, decoding in ((0, "one-way"), (0, "relay"), (1, "relay"), (2, "relay")):
        case = taichi_case_of(
            transmitter_layers=k, decoding=decoding, codec={"symbols_per_token": None}
        )
        split = SplitSystem(case, "awgn", math.inf)
        frames = split.transmit([StreamInput("prompt", "test")], training=False)
        answers = split.answer("test", frames)
        if expected is None:
            expected = answers.predicted
            assert max(len(text.split()) for text in expected) > 1
        assert answers.predicted == expected


@torch.no_grad()
def test_relay_is_counted(taichi_case_of: CaseOf) -> None:
    """A state of r symbols for every token but the last, and a token id back for each of them."""
    case = taichi_case_of(decoding="relay", codec={"symbols_per_token": 4})
    split = SplitSystem(case, "awgn", math.inf)
    frames = split.transmit([StreamInput("prompt", "test")], training=False)
    sent = frames[0].valid.sum(1).double().mean()
    answers = split.answer("test", frames)
    generated = split.station.receiver._relay.generation.tokens  # type: ignore[union-attr]
    ends = generated == 1
    counts = [int(own.nonzero()[0]) + 1 if own.any() else len(own) for own in ends]
    returned = sum(count - 1 for count in counts) / len(counts)
    assert returned > 0
    cost = answers.streams["prompt"].overhead
    assert cost.data_channel_uses == pytest.approx(float(sent) + 4 * returned)
    vocabulary = split.station.receiver.language.embedding.num_embeddings  # type: ignore[union-attr]
    bits = math.ceil(math.log2(vocabulary))
    assert answers.feedback_bits == pytest.approx(bits * returned)
    alone = SplitSystem(taichi_case_of(codec={"symbols_per_token": 4}), "awgn", math.inf)
    once = alone.answer("test", frames)
    assert once.feedback_bits == 0
    assert answers.airtime_ms > once.airtime_ms
    assert cost.energy_mj > once.streams["prompt"].overhead.energy_mj


def test_pools_of_devices_change_nothing(taichi_case_of: CaseOf) -> None:
    """Each pool of users pads its prompts to its own longest one, even to that of a muted user."""
    case = taichi_case_of(codec={"symbols_per_token": 4, "hidden": 16})
    split = SplitSystem(case, "awgn", 5.0)
    split.sides.shake()
    (prompt,) = (s for s in case.system.streams(case.task, case.tokens) if s.name == "prompt")
    rows = torch.tensor(ROWS)
    members = Members(rows, rows, rows.double())
    rules = LossRules(-math.inf, 1e9, {"prompt": 0.0}, {"prompt": torch.zeros(len(rows))})
    lengths = split.transmit([StreamInput("prompt", "test")], training=False)[0].valid.sum(1)
    silent = {"terminal": torch.arange(len(rows)) == lengths.argmax()}
    request = TransmitRequest("test", rows, members, silent)
    found = []
    for pools in (1, 2, len(rows)):
        batches = []
        for places in (torch.arange(len(rows))[pool::pools] for pool in range(pools)):
            own = request.of(places)
            own_rows, muted = tuple(own.rows.tolist()), tuple(own.muted["terminal"].tolist())
            prompts = StreamRequest("prompt", "test", own_rows, False, muted, own.members)
            batches.append(FrameBatch(places, (split.devices["terminal"].transmit(prompts),)))
        (frame,) = merge(batches, {prompt.name: prompt})
        if pools == 1:
            assert torch.equal(frame.valid, batches[0].frames[0].valid)
        found.append((frame, split.station.serve(3, request, rules, *batches)))
    (one, served), *others = found
    assert len(set(one.valid.sum(1).tolist())) > 2
    assert len(set(served.predicted)) > 1
    for frame, other in others:
        assert torch.equal(frame.valid, one.valid)
        torch.testing.assert_close(frame.symbols, one.symbols)
        assert other.predicted == served.predicted


@torch.no_grad()
def test_tokens_of_an_answer_have_the_power_that_training_gives_them(
    taichi_case_of: CaseOf,
) -> None:
    """Each is a frame of unit power, whether they are sent behind the prompt or one by one."""
    case = taichi_case_of(decoding="relay", codec={"symbols_per_token": 4})
    split = SplitSystem(case, "awgn", math.inf)
    (prompt,) = split.transmit([StreamInput("prompt", "test")], training=False)
    (whole,) = split.transmit([StreamInput("dialogue", "test")], training=False)
    words = load_tokenizer(case.system.models.language)
    first = [words(text)["input_ids"][0] for text in case.batch("test").answer]
    rows = torch.tensor([3, 0])
    split.transmit([StreamInput("prompt", "test")], training=False)
    values = torch.tensor(first)[rows]
    reply = split.devices["terminal"].reply(Feedback("prompt", rows, values, bits=1.0))
    size = prompt.symbols.shape[1]
    torch.testing.assert_close(whole.symbols[:, :size], prompt.symbols, rtol=1e-4, atol=1e-5)
    expected = whole.symbols[rows, size : size + 4]
    torch.testing.assert_close(reply.symbols, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(reply.symbols.abs().square().mean(1), torch.ones(2))
    valid = whole.valid.double()
    power = (whole.symbols.abs().square() * valid).sum(1) / valid.sum(1)
    torch.testing.assert_close(power.float(), torch.ones_like(whole.scale))


def test_a_state_that_is_sent_by_itself_arrives_with_its_own_scale(taichi_case_of: CaseOf) -> None:
    case = taichi_case_of(decoding="relay", codec={"symbols_per_token": None})
    split = SplitSystem(case, "awgn", math.inf)
    (prompt,) = split.transmit([StreamInput("prompt", "test")], training=False)
    rows = torch.tensor([1, 2])
    device = split.devices["terminal"]
    reply = device.reply(Feedback("prompt", rows, torch.tensor([5, 7]), bits=1.0))
    torch.testing.assert_close(reply.symbols.abs().square().mean(1), torch.ones(2))
    assert (reply.scale / prompt.scale[rows] - 1).abs().min() > 1e-3
    assert reply.control_bits == 32
