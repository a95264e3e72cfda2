"""Proofs about stage 2: what trains, what the zero adapter does, how masks and padding line up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tokcom_core.answers import IGNORED
from tokcom_core.checkpoints import pocket_folder, resolve
from tokcom_core.foundation import FoundationModel, LoraShape, concatenate

TEXTS = ["loud violin left front plays first .", "silent cello right back ."]


@pytest.fixture(scope="module")
def foundation() -> FoundationModel:
    return FoundationModel("pocket").eval()


@pytest.fixture(scope="module")
def base() -> AutoModelForCausalLM:
    return AutoModelForCausalLM.from_pretrained(resolve("pocket", "language"), dtype=torch.float32)


def _embedded(foundation: FoundationModel, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([foundation.tokenizer(text)["input_ids"]])
    return foundation.embedding(ids), torch.ones(ids.shape, dtype=torch.bool)


def test_only_the_adapter_on_query_and_value_trains(foundation: FoundationModel) -> None:
    trained = {name for name, p in foundation.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in n and (".q_proj." in n or ".v_proj." in n) for n in trained)
    layers = foundation.model.config.num_hidden_layers
    assert len(trained) == layers * 2 * 2
    assert all(min(p.shape) == 4 for n, p in foundation.named_parameters() if n in trained)


def test_zero_adapter_reproduces_the_base_model(
    foundation: FoundationModel, base: AutoModelForCausalLM
) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(resolve("pocket", "language"))
    question = "where is the violin?"
    answers = foundation.answer_ids(["left"])
    prompt, valid = _embedded(foundation, f"{TEXTS[0]} {question}")
    logits = foundation.answer_logits(prompt, valid, answers)
    ids = torch.tensor([tokenizer(f"{TEXTS[0]} {question} left")["input_ids"]])
    expected = base(input_ids=ids).logits[:, -2:]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_an_adapter_counts_by_its_alpha_over_its_rank() -> None:
    """The same one changes a layer's output four times as much at four times the alpha."""
    changes = []
    for alpha in (4, 16):
        foundation = FoundationModel("pocket", LoraShape(rank=4, alpha=alpha), "cpu").eval()
        modules = dict(foundation.named_modules())
        layer = next(own for name, own in modules.items() if name.endswith("q_proj"))
        for weights in (layer.lora_A["default"].weight, layer.lora_B["default"].weight):
            torch.nn.init.constant_(weights, 0.1)
        tokens = torch.linspace(0, 1, layer.in_features)
        changes.append(layer(tokens) - layer.base_layer(tokens))
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(changes[0], product @ tokens)
    torch.testing.assert_close(changes[1], 4 * changes[0])


def test_loss_is_cross_entropy_of_every_answer_token(
    foundation: FoundationModel, base: AutoModelForCausalLM
) -> None:
    """A two-token answer counts both tokens and its end, over the whole vocabulary; the loss of the
    first token is the mean over samples."""
    answers = foundation.answer_ids(["front left", "yes"])
    assert answers[1, -1] == IGNORED
    parts = [_embedded(foundation, text) for text in TEXTS]
    longest = max(p.shape[1] for p, _ in parts)
    padded = [
        (F.pad(p, (0, 0, 0, longest - p.shape[1])), F.pad(v, (0, longest - v.shape[1])))
        for p, v in parts
    ]
    prompt, valid = concatenate(
        [(torch.cat([p for p, _ in padded]), torch.cat([v for _, v in padded]))]
    )
    loss, first_token_loss, _ = foundation.answer_losses(prompt, valid, answers)
    expected = []
    for text, answer in zip(TEXTS, answers, strict=True):
        answer = answer[answer != IGNORED]
        start = foundation.tokenizer(text)["input_ids"]
        ids = torch.tensor([[*start, *answer.tolist()]])
        logits = base(input_ids=ids).logits[0, len(start) - 1 : -1]
        expected.append(F.cross_entropy(logits, answer, reduction="none"))
    torch.testing.assert_close(loss, torch.cat(expected).mean(), rtol=1e-4, atol=1e-5)
    first = torch.stack([tokens[0] for tokens in expected])
    torch.testing.assert_close(first_token_loss, first.mean(), rtol=1e-4, atol=1e-5)


def test_concatenation_keeps_the_order_and_moves_padding_left() -> None:
    first = torch.arange(1, 5.0).reshape(1, 4, 1)
    second = torch.arange(5, 8.0).reshape(1, 3, 1)
    tokens, valid = concatenate(
        [
            (first, torch.tensor([[True, True, False, True]])),
            (second, torch.tensor([[True, True, False]])),
        ]
    )
    assert tokens.flatten().tolist() == [0, 0, 1, 2, 4, 5, 6]
    assert valid.flatten().tolist() == [False, False, True, True, True, True, True]


def test_trimmed_concatenation_is_as_long_as_the_longest_sample() -> None:
    streams = [
        (
            torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]),
            torch.tensor([[False] * 2, [True, False]]),
        ),
        (
            torch.tensor([[[5.0], [6.0]], [[7.0], [8.0]]]),
            torch.tensor([[True, False], [False] * 2]),
        ),
    ]
    tokens, valid = concatenate(streams, trim=True)
    assert tokens[..., 0].tolist() == [[5], [3]]
    assert valid.tolist() == [[True], [True]]


def test_padding_changes_nothing(foundation: FoundationModel) -> None:
    prompt, valid = _embedded(foundation, TEXTS[0])
    answers = foundation.answer_ids(["left"])
    garbage = torch.randn(1, 5, foundation.token_width)
    none = torch.zeros(1, 5, dtype=torch.bool)
    padded, padded_valid = concatenate([(garbage, none), (prompt, valid), (garbage, none)])
    torch.testing.assert_close(
        foundation.answer_logits(padded, padded_valid, answers),
        foundation.answer_logits(prompt, valid, answers),
        rtol=1e-4,
        atol=1e-4,
    )
    assert torch.equal(
        foundation.generate(padded, padded_valid, 3), foundation.generate(prompt, valid, 3)
    )


def test_generation_is_greedy_over_the_whole_vocabulary(
    foundation: FoundationModel, base: AutoModelForCausalLM
) -> None:
    text = f"{TEXTS[0]} where is the violin?"
    prompt, valid = _embedded(foundation, text)
    ids = torch.tensor([foundation.tokenizer(text)["input_ids"]])
    for token in foundation.generate(prompt, valid, 2)[0]:
        assert token == base(input_ids=ids).logits[0, -1].argmax()
        ids = torch.cat([ids, token.reshape(1, 1)], dim=1)


def test_answers_are_plain_greedy_whatever_the_checkpoint_says(
    foundation: FoundationModel, tmp_path: Path
) -> None:
    """An instruct checkpoint's generation settings change none; its list of ends ends none."""
    folder = tmp_path / "language"
    shutil.copytree(pocket_folder() / "language", folder)
    said = foundation.tokenizer("yes no left")["input_ids"]
    settings = {
        "repetition_penalty": 5.0,
        "do_sample": True,
        "temperature": 9.0,
        "top_k": 3,
        "no_repeat_ngram_size": 1,
        "suppress_tokens": said,
        "min_length": 6,
        "num_beams": 2,
        "eos_token_id": [1, said[0]],
        "max_length": 2,
    }
    (folder / "generation_config.json").write_text(json.dumps(settings))
    config = json.loads((folder / "config.json").read_text())
    changed = {"repetition_penalty": 5.0, "eos_token_id": [1, said[0]]}
    (folder / "config.json").write_text(json.dumps({**config, **changed}))
    other = FoundationModel(str(folder)).eval()
    for question in ("where is the violin?", "is the violin louder than the cello?", "yes yes"):
        prompt, valid = _embedded(foundation, f"{TEXTS[0]} {question}")
        expected = foundation.generate(prompt, valid, 6)
        assert torch.equal(other.generate(prompt, valid, 6), expected)
        assert foundation.decode(expected) == other.decode(expected)


def test_adapter_survives_saving(foundation: FoundationModel, tmp_path: Path) -> None:
    other = FoundationModel("pocket")
    for name, parameter in other.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    other.save_adapter(tmp_path)
    assert (tmp_path / "adapter_config.json").is_file()
    fresh = FoundationModel("pocket")
    fresh.load_adapter(tmp_path)
    state = fresh.adapter_state()
    assert all(torch.equal(v, state[k]) for k, v in other.adapter_state().items())
