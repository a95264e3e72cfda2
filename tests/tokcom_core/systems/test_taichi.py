"""TaiChi: the contracts, what each phase trains, lengths, refusals and costs."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import Phi3Config, Starcoder2Config

from actors.testing import SplitContract, SplitSystem
from tokcom_core.encoders import Clip
from tokcom_core.systems.taichi.config import Models
from tokcom_core.tasks import Avqa
from tokcom_core.testing import SystemCase, SystemContract

from ..pictures import write_language
from .conftest import TAICHI_TOKENS, CaseOf, phase_of


class Contracts(SystemContract, SplitContract):
    """Both contracts."""


class TestJoint(Contracts):
    @pytest.fixture(scope="class")
    def case(self, taichi_case_of: CaseOf) -> SystemCase:
        return taichi_case_of(codec={"symbols_per_token": 4, "hidden": 16})


class TestMseWithAdapterTuning(Contracts):
    @pytest.fixture(scope="class")
    def case(self, taichi_case_of: CaseOf) -> SystemCase:
        own = {"language_tuning": "lora", "lora": {"rank": 2}, "order": "instruction-first"}
        return taichi_case_of(coding="mse", **own)


class TestWithoutCoding(Contracts):
    @pytest.fixture(scope="class")
    def case(self, taichi_case_of: CaseOf) -> SystemCase:
        return taichi_case_of(
            coding="none", codec={"symbols_per_token": None}, transmitter_layers=0
        )


class TestRelay(Contracts):
    @pytest.fixture(scope="class")
    def case(self, taichi_case_of: CaseOf) -> SystemCase:
        return taichi_case_of(decoding="relay", transmitter_layers=2)


class TestTextOracle(Contracts):
    @pytest.fixture(scope="class")
    def case(self, taichi_case_of: CaseOf) -> SystemCase:
        return taichi_case_of(
            intact_texts=["caption", "instruction"], codec={"symbols_per_token": None}
        )


def _learning(case: SystemCase) -> dict[str, set[str]]:
    """Parts that each phase trains: ``terminal.visual``, ``station.lora`` and the like."""
    unsplit = case.unsplit()
    names = {id(p): name for name, p in unsplit.named_parameters().items()}

    def part(name: str) -> str:
        side, own = name.split(".")[:2]
        return f"{side}.lora" if "lora_" in name else f"{side}.{own}"

    return {p.name: {part(names[id(w)]) for w in unsplit.trainable(p.name)} for p in case.phases}


def test_each_phase_trains_exactly_what_the_paper_trains(taichi_case_of: CaseOf) -> None:
    """Pretraining: BAN and KAN alone; tuning: the language model, too; joint coding: BAN, KAN and
    codec whole, the language model by LoRA; the other codings: the codec alone."""
    visual, codec = {"terminal.visual"}, {"terminal.encoder", "station.decoder"}
    lora = {"terminal.lora", "station.lora"}
    common = {
        "pretraining": visual,
        "tuning": visual | {"station.language"},
        "codec": codec,
    }
    assert _learning(taichi_case_of()) == {**common, "coding": visual | codec | lora}
    assert _learning(taichi_case_of(coding="cross-entropy")) == {**common, "coding": codec}
    assert _learning(taichi_case_of(coding="mse")) == common
    by_adapter = _learning(taichi_case_of(language_tuning="lora"))
    assert by_adapter["tuning"] == visual | {"station.lora"}


def test_a_terminal_sends_other_lengths_by_the_same_weights(taichi_case_of: CaseOf) -> None:
    """Also where its visual tokens are kept, those of every length apart."""
    case = taichi_case_of()
    unsplit = case.unsplit()
    for phase in case.phases:
        for count in (4, 9, 4):
            expected = replace(case, tokens={"terminal": count}).unsplit()
            unsplit.transmitters["terminal"].set_length(count)
            found = unsplit.losses(phase)
            for name, loss in expected.losses(phase).items():
                assert torch.equal(found[name], loss), (phase.name, count, name)


def test_a_terminal_has_no_dropout(taichi_case_of: CaseOf, tmp_path: Path) -> None:
    """A language model may have some; at the terminal no seed would reach it."""
    case = taichi_case_of()
    config = Starcoder2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=32, attention_dropout=0.5, residual_dropout=0.5, embedding_dropout=0.0,
    )  # fmt: skip
    models = case.system.models.model_dump(mode="json")
    models["language"] = str(write_language(tmp_path, config))
    own = taichi_case_of(models=models, coding="cross-entropy")
    split = SplitSystem(own, "awgn", 10.0)
    coding = phase_of(own, "coding")
    split.begin(coding)
    one, again = (split.transmit(coding.inputs, training=True)[0] for _ in range(2))
    assert torch.equal(one.symbols, again.symbols)


def test_settings_that_cannot_be_are_refused(taichi_case_of: CaseOf) -> None:
    for keys, tokens, message in (
        ({"transmitter_layers": 3}, 9, "take 0 to 2"),
        ({}, 8, "no grid of the shape 3 x 3.*9, 4, 1"),
        ({}, 16, "beyond the encoder's 9"),
        ({"codec": {"symbols_per_token": None}, "coding": "mse"}, 9, "trains the channel codec"),
        ({"codec": {"symbols_per_token": None}, "coding": "none"}, 9, "take transmitter_layers: 0"),
        ({"coding": "mse", "decoding": "relay"}, 9, "coding joint or cross-entropy, not 'mse'"),
    ):
        case = taichi_case_of(**keys)
        with pytest.raises(ValueError, match=message):
            case.system.check(case.task, {"terminal": tokens})
    with pytest.raises(ValueError, match="instruction task"):
        taichi_case_of().system.check(Avqa(), {"terminal": 9})
    with pytest.raises(ValueError, match=r"crop 'pad' of models.low and 'none' of models.high"):
        Models(low=Clip(crop="pad"))


def test_an_adapter_of_modules_that_the_language_model_lacks_is_refused(
    taichi_case_of: CaseOf, tmp_path: Path
) -> None:
    """Before anything is trained; PEFT would adapt those that there are."""
    case = taichi_case_of()
    config = Phi3Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    models = case.system.models.model_dump(mode="json")
    models["language"] = str(write_language(tmp_path, config))
    said = r"have no q_proj, k_proj, .*, up_proj for .* to some of o_proj, qkv_proj, gate_up_proj, "
    for keys, message in (
        ({}, said),
        ({"language_tuning": "lora", "coding": "mse"}, said),
        ({"lora": {"modules": ["qkv_proj", "self_attn.o_proj"]}}, None),
        ({"coding": "mse"}, None),
    ):
        own = taichi_case_of(models=models, **keys).system
        refused = nullcontext() if message is None else pytest.raises(ValueError, match=message)
        with refused:
            own.check(case.task, TAICHI_TOKENS)


def test_an_encoder_that_is_not_read_costs_nothing(taichi_case_of: CaseOf) -> None:
    """No store either, nor its checkpoint."""
    sent, windows = {"terminal": 9.0}, {"low": 1.0, "high": 1.0}
    both, low, high = (
        taichi_case_of(fusion={"kind": kind}) for kind in ("addition", "low", "high")
    )
    cost = {
        name: case.system.device_gflop(case.task, "terminal", sent, windows, TAICHI_TOKENS)
        for name, case in (("both", both), ("low", low), ("high", high))
    }
    for name, case in (("low", low), ("high", high)):
        assert list(case.system.features(case.task, "terminal", {"terminal": 9})) == [name]
        assert len(case.system.checkpoints(case.task)) == 2
    models = both.system.models
    own = {name: getattr(models, name).shape().gflop(1.0) for name in ("low", "high")}
    assert cost["both"] - cost["low"] > own["high"]
    assert cost["both"] - cost["high"] >= own["low"]
