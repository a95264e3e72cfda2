"""TaiChi on conversations: the loss on their responses, and where they are cut."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from tokcom_core.checkpoints.loading import load_tokenizer
from tokcom_core.datasets.samples import read_samples
from tokcom_core.systems import StreamInput
from tokcom_core.systems.taichi.receiver import TaichiReceiver
from tokcom_core.testing import MAX_ANSWER_TOKENS, ROWS

from .conftest import CaseOf, phase_of


def test_the_loss_of_a_conversation_is_on_responses_alone(taichi_case_of: CaseOf) -> None:
    """And is that of the whole language model on the same tokens, turn by turn."""
    case = taichi_case_of()
    unsplit = case.unsplit()
    receiver = unsplit.receiver
    assert isinstance(receiver, TaichiReceiver)
    loss = unsplit.losses(phase_of(case, "tuning"))["task"]
    samples = case.batch("tuning")
    model = AutoModelForCausalLM.from_pretrained(case.system.models.language)
    words = load_tokenizer(case.system.models.language)
    symbols, valid = unsplit.send(StreamInput("visual", "tuning"))
    total, count = torch.zeros(()), 0
    for own, there, column in zip(symbols, valid, samples["conversation"], strict=True):
        image = torch.view_as_real(own[there]).reshape(-1, receiver.language.width)
        ids, labels = [], []
        for instruction, response in json.loads(column):
            told, said = words(instruction)["input_ids"], words(response)["input_ids"]
            ids += [*told, *said, words.eos_token_id]
            labels += [-100] * len(told) + [*said, words.eos_token_id]
        inputs = torch.cat([image, model.get_input_embeddings()(torch.tensor(ids))])
        marks = torch.tensor([-100] * len(image) + labels)
        logits = model(inputs_embeds=inputs[None]).logits[0, :-1]
        total = total + F.cross_entropy(logits, marks[1:], reduction="sum")
        count += int((marks[1:] != -100).sum())
    assert max(len(json.loads(c)) for c in samples["conversation"]) > 1
    torch.testing.assert_close(loss, total / count, rtol=1e-4, atol=1e-5)


def test_conversations_without_a_response_have_no_loss(taichi_case_of: CaseOf) -> None:
    """As where nothing arrives: the mean over no word would be NaN."""
    case = taichi_case_of(conversation_tokens=1)
    unsplit = case.unsplit()
    unsplit.begin(phase_of(case, "tuning"))
    assert unsplit.losses(phase_of(case, "tuning")) == {}


def test_conversations_that_are_cut_are_told(
    taichi_case_of: CaseOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = taichi_case_of(conversation_tokens=5)
    samples = {split: read_samples(file) for split, file in case.samples.items()}
    with caplog.at_level(logging.WARNING):
        case.system.check_data(case.task, tmp_path, samples, 8)
    assert "conversations in training are cut, being longer than the 5 tokens of" in caplog.text


def test_a_long_text_is_validated_on_as_far_as_answers_go(taichi_case_of: CaseOf) -> None:
    """One that is scored is never longer, but LLaVA's replies are of hundreds of tokens."""
    found = taichi_case_of().unsplit().predict(truth=["red " * 50] * len(ROWS))
    assert found.loss_counts == {"task": len(ROWS) * (MAX_ANSWER_TOKENS + 1)}


@torch.no_grad()
@pytest.mark.parametrize("name", ["tuning", "coding"])
def test_a_batchs_loss_is_that_of_its_parts_by_their_tokens(
    taichi_case_of: CaseOf, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    both = taichi_case_of().unsplit()
    (phase,) = (phase for phase in both.case.phases if phase.name == name)
    whole = both.losses(phase)["task"]
    losses, counts = [], []
    for rows in (ROWS[:1], ROWS[1:]):
        monkeypatch.setattr("tokcom_core.testing.case.ROWS", rows)
        losses.append(both.losses(phase)["task"])
        targets = {own.split: both.case.batch(own.split) for own in phase.inputs}
        counts.append(both.receiver.loss_counts(name, targets)["task"])
    assert counts[0] * 3 != counts[1]  # not as many tokens a sample
    together = sum(n * loss for n, loss in zip(counts, losses, strict=True)) / sum(counts)
    torch.testing.assert_close(together, whole)
