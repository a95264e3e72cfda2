"""Paper 1's system: the contract, what its devices send, and how it answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tokcom_core.systems import StreamInput
from tokcom_core.systems.mlms.receiver import MlmsReceiver
from tokcom_core.testing import ROWS, SystemCase, SystemContract

from .conftest import MLMS_TOKENS, CaseOf


class TestMlms(SystemContract):
    @pytest.fixture(scope="class")
    def case(self, mlms_case_of: CaseOf) -> SystemCase:
        return mlms_case_of()


class TestLearnedSelection(SystemContract):
    """Devices that learn which tokens to send."""

    @pytest.fixture(scope="class")
    def case(self, mlms_case_of: CaseOf) -> SystemCase:
        return mlms_case_of(models={"selection": "learned"})


@pytest.mark.parametrize("selection", ["slide", "learned"])
def test_a_transmitter_sends_other_lengths_by_the_same_weights(
    mlms_case_of: CaseOf, selection: str
) -> None:
    case = mlms_case_of(models={"selection": selection})
    long = {"audio": 50, "vision": 117}
    unsplit, expected = case.unsplit(), replace(case, tokens=long).unsplit()
    own = {medium: StreamInput(medium, "train") for medium in MLMS_TOKENS}
    short = {medium: unsplit.send(stream)[0] for medium, stream in own.items()}
    for lengths, wanted in (
        (long, {m: expected.send(s)[0] for m, s in own.items()}),
        (MLMS_TOKENS, short),
    ):
        for medium, stream in own.items():
            unsplit.transmitters[medium].set_length(lengths[medium])
            symbols, _ = unsplit.send(stream)
            assert symbols.shape[1] == lengths[medium] * case.streams[medium].symbols_per_token
            assert torch.equal(symbols, wanted[medium])


class TestTextOracle(SystemContract):
    """A reference is a system, too."""

    @pytest.fixture(scope="class")
    def case(self, mlms_case_of: CaseOf) -> SystemCase:
        return mlms_case_of(intact_texts=["caption", "question"])

    def test_the_adapter_alone_learns(self, case: SystemCase) -> None:
        unsplit = case.unsplit()
        (phase,) = case.phases
        learning = {id(parameter) for parameter in unsplit.trainable(phase.name)}
        names = [n for n, p in unsplit.named_parameters().items() if id(p) in learning]
        assert names
        assert all("lora_" in name for name in names)


@torch.no_grad()
def test_the_prompt_is_vision_then_audio_then_the_question(mlms_case_of: CaseOf) -> None:
    """Eq. (12)."""
    unsplit = mlms_case_of().unsplit()
    receiver, served = unsplit.receiver, unsplit.served()
    assert isinstance(receiver, MlmsReceiver)
    prompt, valid = receiver._prompt(served)
    step = receiver.foundation.token_width // 2
    parts = []
    for stream, head in (("vision", "vision"), ("audio", "audio"), ("question", "text")):
        own = served[stream]
        tokens = receiver.receivers[head](own.symbols, own.noise_var)
        parts.append(tokens[0][own.delivered[0, ::step]])
    torch.testing.assert_close(prompt[0][valid[0]], torch.cat(parts))


def test_an_answer_does_not_depend_on_the_others_of_its_batch(
    mlms_case_of: CaseOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsplit = mlms_case_of().unsplit()
    unsplit.shake()
    texts = []
    for rows in ((0,), (0, 1)):
        monkeypatch.setattr("tokcom_core.testing.case.ROWS", rows)
        texts.append(unsplit.predict([True] * len(rows)).texts[0])
    assert texts[0] == texts[1]


def test_what_is_generated_has_one_limit_whatever_the_longest_true_answer(
    mlms_case_of: CaseOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsplit = mlms_case_of().unsplit()
    receiver = unsplit.receiver
    assert isinstance(receiver, MlmsReceiver)
    limits = []

    def generate(prompt: Tensor, valid: Tensor, max_new_tokens: int) -> Tensor:
        limits.append(max_new_tokens)
        return receiver.foundation.answer_ids(["yes"] * len(prompt))

    monkeypatch.setattr(receiver.foundation, "generate", generate)
    samples = unsplit.case.batch("test")
    everyone = torch.ones(len(ROWS), dtype=torch.bool)
    for answer in ("yes", "four four four"):
        columns = {**samples.columns, "answer": ("yes",) * (len(ROWS) - 1) + (answer,)}
        receiver.predict(unsplit.served(), type(samples)(columns), everyone)
    assert limits == [4, 4]
