"""Greedy answers, of which those are not generated that the loss has shown already."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tokcom_core.answers import greedy_answers
from tokcom_core.foundation import FoundationModel, concatenate

SCENE = "loud violin left front plays first . silent cello right back ."
QUESTIONS = ("where is the violin?", "is the violin louder than the cello?", "yes yes", "where")


@pytest.mark.parametrize("longest", [1, 2, 6])
def test_they_are_those_of_plain_generation(longest: int) -> None:
    """Whatever the true answers are: the same as all, some or none of the generated ones, or
    longer."""
    model = FoundationModel("pocket").eval()
    ids = [torch.tensor(model.tokenizer(f"{SCENE} {asked}")["input_ids"]) for asked in QUESTIONS]
    tokens = pad_sequence([model.embedding(own) for own in ids], batch_first=True)
    valid = pad_sequence([torch.ones_like(own, dtype=torch.bool) for own in ids], batch_first=True)
    prompt, valid = concatenate([(tokens, valid)])
    expected = model.generate(prompt, valid, longest)
    texts = model.decode(expected)
    truths = (texts, [*texts[:2], "left", "yes no left"], ["no no no no no no no no"] * 4)
    for truth in truths:
        asked: list[int] = []

        def generate(rows: Tensor, asked: list[int] = asked) -> Tensor:
            asked += rows.tolist()
            return model.generate(prompt[rows], valid[rows], longest)

        answers = model.answer_ids(truth)
        likeliest = model.answer_logits(prompt, valid, answers).argmax(-1)
        found = greedy_answers(likeliest, answers, model.end, longest, generate)
        assert found.shape[1] <= longest
        assert torch.equal(found[:, 0], expected[:, 0])
        assert model.decode(found) == texts
        if longest == 6:  # whole answers, with their ends
            assert asked == [i for i, text in enumerate(texts) if text != truth[i]]
