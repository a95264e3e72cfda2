"""TaiChi: the contracts, what each phase trains, order, relay, what the two sides share."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, Phi3Config, Starcoder2Config

from actors.messages import Batch, FrameBatch, Rules, TransmitRequest, merge
from actors.testing import SplitContract, SplitSystem
from channel_models import Members
from tokcom_core.checkpoints.loading import load_tokenizer
from tokcom_core.datasets.samples import Samples, read_samples
from tokcom_core.encoders import Clip
from tokcom_core.systems import Feedback, Phase, StreamInput
from tokcom_core.systems.taichi import Taichi
from tokcom_core.systems.taichi.config import Models
from tokcom_core.systems.taichi.parameters import named_weights
from tokcom_core.systems.taichi.receiver import TaichiReceiver
from tokcom_core.systems.taichi.transmitter import TaichiTransmitter
from tokcom_core.tasks import Avqa
from tokcom_core.testing import MAX_ANSWER_TOKENS, ROWS, SystemCase, SystemContract

from ..pictures import Pictures, write_language, write_models, write_pictures

TOKENS = {"terminal": 9}
CaseOf = Callable[..., SystemCase]


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> CaseOf:
    """The system with some keys, on shared data, tokens and models."""
    root = write_pictures(tmp_path_factory.mktemp("data"))
    models = write_models(tmp_path_factory.mktemp("models"))
    folder = tmp_path_factory.mktemp("case")

    def system(**keys: Any) -> Taichi:
        return Taichi.model_validate({"models": models, "transmitter_layers": 1, **keys})

    shared = SystemCase.prepare(system(), Pictures(), TOKENS, root, folder)

    def build(**keys: Any) -> SystemCase:
        own = system(**keys)
        tokens = {name: TOKENS[name] for name in own.budgets(shared.task)}
        features = shared.features if tokens else {}
        return SystemCase(own, shared.task, tokens, shared.samples, features)

    return build


class Contracts(SystemContract, SplitContract):
    """Both contracts."""


class TestJoint(Contracts):
    @pytest.fixture(scope="class")
    def case(self, case_of: CaseOf) -> SystemCase:
        return case_of(codec={"symbols_per_token": 4, "hidden": 16})


class TestMseWithAdapterTuning(Contracts):
    @pytest.fixture(scope="class")
    def case(self, case_of: CaseOf) -> SystemCase:
        own = {"language_tuning": "lora", "lora": {"rank": 2}, "order": "instruction-first"}
        return case_of(coding="mse", **own)


class TestWithoutCoding(Contracts):
    @pytest.fixture(scope="class")
    def case(self, case_of: CaseOf) -> SystemCase:
        return case_of(coding="none", codec={"symbols_per_token": None}, transmitter_layers=0)


class TestRelay(Contracts):
    @pytest.fixture(scope="class")
    def case(self, case_of: CaseOf) -> SystemCase:
        return case_of(decoding="relay", transmitter_layers=2)


class TestTextOracle(Contracts):
    @pytest.fixture(scope="class")
    def case(self, case_of: CaseOf) -> SystemCase:
        return case_of(intact_texts=["caption", "instruction"], codec={"symbols_per_token": None})


def _learning(case: SystemCase) -> dict[str, set[str]]:
    """Parts that each phase trains: ``terminal.visual``, ``station.lora`` and the like."""
    unsplit = case.unsplit()
    names = {id(p): name for name, p in unsplit.named_parameters().items()}

    def part(name: str) -> str:
        side, own = name.split(".")[:2]
        return f"{side}.lora" if "lora_" in name else f"{side}.{own}"

    return {p.name: {part(names[id(w)]) for w in unsplit.trainable(p.name)} for p in case.phases}


def test_each_phase_trains_exactly_what_the_paper_trains(case_of: CaseOf) -> None:
    """Pretraining: BAN and KAN alone; tuning: the language model, too; joint coding: BAN, KAN and
    codec whole, the language model by LoRA; the other codings: the codec alone."""
    visual, codec = {"terminal.visual"}, {"terminal.encoder", "station.decoder"}
    lora = {"terminal.lora", "station.lora"}
    common = {
        "pretraining": visual,
        "tuning": visual | {"station.language"},
        "codec": codec,
    }
    assert _learning(case_of()) == {**common, "coding": visual | codec | lora}
    assert _learning(case_of(coding="cross-entropy")) == {**common, "coding": codec}
    assert _learning(case_of(coding="mse")) == common
    by_adapter = _learning(case_of(language_tuning="lora"))
    assert by_adapter["tuning"] == visual | {"station.lora"}


def test_a_terminal_sends_other_lengths_by_the_same_weights(case_of: CaseOf) -> None:
    """Also where its visual tokens are kept, those of every length apart."""
    case = case_of()
    unsplit = case.unsplit()
    for phase in case.phases:
        for count in (4, 9, 4):
            expected = replace(case, tokens={"terminal": count}).unsplit()
            unsplit.transmitters["terminal"].set_length(count)
            found = unsplit.losses(phase)
            for name, loss in expected.losses(phase).items():
                assert torch.equal(found[name], loss), (phase.name, count, name)


def test_a_terminal_has_no_dropout(case_of: CaseOf, tmp_path: Path) -> None:
    """A language model may have some; at the terminal no seed would reach it."""
    case = case_of()
    config = Starcoder2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=32, attention_dropout=0.5, residual_dropout=0.5, embedding_dropout=0.0,
    )  # fmt: skip
    models = case.system.models.model_dump(mode="json")
    models["language"] = str(write_language(tmp_path, config))
    own = case_of(models=models, coding="cross-entropy")
    split = SplitSystem(own, "awgn", 10.0)
    coding = _phase(own, "coding")
    split.begin(coding)
    one, again = (split.transmit(coding.inputs, training=True)[0] for _ in range(2))
    assert torch.equal(one.symbols, again.symbols)


def test_phases_off_the_air_do_not_depend_on_the_air(case_of: CaseOf) -> None:
    """Neither on k and r nor on coding and decoding, so that all of these share them."""
    systems = [
        case_of(**keys).system
        for keys in (
            {},
            {"transmitter_layers": 2},
            {"codec": {"symbols_per_token": 2}},
            {"coding": "mse"},
            {"decoding": "relay", "lora": {"rank": 2}},
        )
    ]
    for phase in ("pretraining", "tuning"):
        assert len({own.for_phase(phase).model_dump_json() for own in systems}) == 1
    codecs = [own.for_phase("codec").model_dump_json() for own in systems]
    assert codecs[0] == codecs[3] == codecs[4]
    assert len({codecs[0], codecs[1], codecs[2]}) == 3


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_the_terminal_takes_its_layers_from_the_base_station(
    case_of: CaseOf, tmp_path: Path, tuning: str
) -> None:
    """Off the air the base station tunes them; afterwards the terminal's own file has them."""
    case = case_of(language_tuning=tuning)
    apart = replace(case, system=case.system.for_phase("tuning"))
    tuned = apart.unsplit()
    tuned.shake()
    tuned.begin(_phase(apart, "tuning"))
    for folder, unsplit in ((tmp_path / "tuning", tuned), (tmp_path / "codec", case.unsplit())):
        folder.mkdir()
        if unsplit is not tuned:
            for name, side in unsplit.sides.items():
                side.load(tmp_path / "tuning", name)
            unsplit.begin(_phase(case, "codec"))
        for name, side in unsplit.sides.items():
            side.save(folder, name)
    saved = load_file(tmp_path / "tuning" / "terminal.safetensors")
    assert not [name for name in saved if name.startswith("language")]
    (tmp_path / "codec" / "station.safetensors").unlink()
    later = case.unsplit().transmitters["terminal"]
    later.load(tmp_path / "codec", "terminal")
    assert isinstance(later, TaichiTransmitter)
    wanted = named_weights(tuned.receiver)
    found = {n: p for n, p in named_weights(later).items() if n.startswith("language")}
    same = {n for n, p in found.items() if n in wanted and torch.equal(p, wanted[n])}
    assert {n for n in found if tuning == "full" or "lora_" in n} - same == (
        {n for n in found if "lora_" in n} if tuning == "full" else set()
    )


def _phase(case: SystemCase, name: str) -> Phase:
    return next(phase for phase in case.phases if phase.name == name)


def test_the_loss_of_a_conversation_is_on_responses_alone(case_of: CaseOf) -> None:
    """And is that of the whole language model on the same tokens, turn by turn."""
    case = case_of()
    unsplit = case.unsplit()
    receiver = unsplit.receiver
    assert isinstance(receiver, TaichiReceiver)
    loss = unsplit.losses(_phase(case, "tuning"))["task"]
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


def test_conversations_without_a_response_have_no_loss(case_of: CaseOf) -> None:
    """As where nothing arrives: the mean over no word would be NaN."""
    case = case_of(conversation_tokens=1)
    unsplit = case.unsplit()
    unsplit.begin(_phase(case, "tuning"))
    assert unsplit.losses(_phase(case, "tuning")) == {}


def test_conversations_that_are_cut_are_told(
    case_of: CaseOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = case_of(conversation_tokens=5)
    samples = {split: read_samples(file) for split, file in case.samples.items()}
    with caplog.at_level(logging.WARNING):
        case.system.check_data(case.task, tmp_path, samples, 8)
    assert "conversations in training are cut, being longer than the 5 tokens of" in caplog.text


def test_a_long_text_is_validated_on_as_far_as_answers_go(case_of: CaseOf) -> None:
    """One that is scored is never longer, but LLaVA's replies are of hundreds of tokens."""
    found = case_of().unsplit().predict(truth=["red " * 50] * len(ROWS))
    assert found.loss_counts == {"task": len(ROWS) * (MAX_ANSWER_TOKENS + 1)}


@torch.no_grad()
@pytest.mark.parametrize("name", ["tuning", "coding"])
def test_a_batchs_loss_is_that_of_its_parts_by_their_tokens(
    case_of: CaseOf, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    both = case_of().unsplit()
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


@torch.no_grad()
def test_image_states_depend_on_an_instruction_only_if_it_comes_first(case_of: CaseOf) -> None:
    for order in ("image-first", "instruction-first"):
        case = case_of(order=order, codec={"symbols_per_token": None}, transmitter_layers=2)
        unsplit = case.unsplit()
        terminal = unsplit.transmitters["terminal"]
        samples = case.batch("test").take([0, 0])
        columns = {**samples.columns, "instruction": ("is it red", "a blue ball")}
        two = terminal.read("prompt", "test", Samples(columns))
        symbols, valid = terminal("prompt", *two)
        states = torch.view_as_real(symbols).reshape(2, -1, case.system.token_width)
        assert valid.all() and states.shape[1] == 9 + 3
        image = states[:, :9] if order == "image-first" else states[:, -9:]
        assert torch.allclose(image[0], image[1], atol=1e-5) == (order == "image-first")


@torch.no_grad()
def test_images_are_fused_once_while_nothing_of_it_learns(case_of: CaseOf, tmp_path: Path) -> None:
    """By themselves, so that their tokens do not depend on the batch; new weights, new tokens."""
    case = case_of()
    samples, terminal = read_samples(case.samples["train"]), case.unsplit().transmitters["terminal"]
    assert isinstance(terminal, TaichiTransmitter)
    assert terminal.visual is not None
    images: list[int] = []
    terminal.visual.register_forward_hook(lambda _, inputs, __: images.append(len(inputs[0])))
    terminal.begin("coding")
    learning = terminal("prompt", *terminal.read("prompt", "train", samples))
    assert images == [len(samples)]
    terminal.begin("codec")
    kept = terminal("prompt", *terminal.read("prompt", "train", samples))
    single = terminal("prompt", *terminal.read("prompt", "train", samples.take([0])))
    target, _ = terminal("states", *terminal.read("states", "train", samples))
    shown = {name for name in samples.media_id if name.endswith(".png")}
    assert len(set(samples.media_id)) > len(shown) + 1
    assert images[1:] == [1] * (len(shown) + 1), "all without an image have the same tokens"
    torch.testing.assert_close(kept, learning)
    torch.testing.assert_close(single[0], kept[0][:1, -single[0].shape[1] :])
    for weights in terminal.visual.parameters():
        weights += 0.1
    terminal.save(tmp_path, "terminal")
    terminal.load(tmp_path, "terminal")
    other, _ = terminal("states", *terminal.read("states", "train", samples))
    assert not torch.allclose(target, other)


@torch.no_grad()
def test_relay_over_a_noiseless_air_says_what_the_whole_model_says(case_of: CaseOf) -> None:
    """Through devices, air and base station; without a codec, and so does one-way at k = 0."""
    expected = None
    for k, decoding in ((0, "one-way"), (0, "relay"), (1, "relay"), (2, "relay")):
        case = case_of(transmitter_layers=k, decoding=decoding, codec={"symbols_per_token": None})
        split = SplitSystem(case, "awgn", math.inf)
        frames = split.transmit([StreamInput("prompt", "test")], training=False)
        answers = split.answer("test", frames)
        if expected is None:
            expected = answers.predicted
            assert max(len(text.split()) for text in expected) > 1
        assert answers.predicted == expected


@torch.no_grad()
def test_relay_is_counted(case_of: CaseOf) -> None:
    """A state of r symbols for every token but the last, and a token id back for each of them."""
    case = case_of(decoding="relay", codec={"symbols_per_token": 4})
    split = SplitSystem(case, "awgn", math.inf)
    frames = split.transmit([StreamInput("prompt", "test")], training=False)
    sent = frames[0].valid.sum(1).double().mean()
    answers = split.answer("test", frames)
    generated = split.station.receiver._relay.generation.tokens  # type: ignore[union-attr]
    ends = generated == 1
    counts = [int(own.nonzero()[0]) + 1 if own.any() else len(own) for own in ends]
    returned = sum(count - 1 for count in counts) / len(counts)
    assert returned > 0
    cost = answers.arrivals["prompt"].overhead
    assert cost.data_channel_uses == pytest.approx(float(sent) + 4 * returned)
    vocabulary = split.station.receiver.language.embedding.num_embeddings  # type: ignore[union-attr]
    bits = math.ceil(math.log2(vocabulary))
    assert answers.feedback_bits == pytest.approx(bits * returned)
    alone = SplitSystem(case_of(codec={"symbols_per_token": 4}), "awgn", math.inf)
    once = alone.answer("test", frames)
    assert once.feedback_bits == 0
    assert answers.interval_ms > once.interval_ms
    assert cost.energy_mj > once.arrivals["prompt"].overhead.energy_mj


def test_pools_of_devices_change_nothing(case_of: CaseOf) -> None:
    """Each pool of users pads its prompts to its own longest one."""
    split = SplitSystem(case_of(codec={"symbols_per_token": 4, "hidden": 16}), "awgn", 5.0)
    split.sides.shake()
    rows = torch.tensor(ROWS)
    members = Members(rows, rows, rows.double())
    rules = Rules(-math.inf, 1e9, {"prompt": 0.0}, {"prompt": torch.zeros(len(rows))})
    silent = {"terminal": torch.zeros(len(rows), dtype=torch.bool)}
    request = TransmitRequest("test", rows, members, silent)
    found = []
    for pools in (1, 2, len(rows)):
        batches = []
        for places in (torch.arange(len(rows))[pool::pools] for pool in range(pools)):
            own = request.of(places)
            batch = Batch("prompt", "test", tuple(own.rows.tolist()), False, (), own.members)
            batches.append(FrameBatch(places, (split.devices["terminal"].transmit(batch),)))
        (frame,) = merge(batches)
        found.append((frame, split.station.serve(3, request, rules, *batches)))
    (one, served), *others = found
    assert len(set(one.valid.sum(1).tolist())) > 1
    assert len(set(served.predicted)) > 1
    for frame, other in others:
        assert torch.equal(frame.valid, one.valid)
        torch.testing.assert_close(frame.symbols, one.symbols)
        assert other.predicted == served.predicted


@pytest.mark.parametrize("begun", ["encoder", "decoder"])
def test_a_codec_of_which_a_part_is_lost_is_refused(
    case_of: CaseOf, tmp_path: Path, begun: str
) -> None:
    """As a whole it may be missing: the phases before coding have none."""
    sides = case_of().unsplit().sides
    for name, side in sides.items():
        side.save(tmp_path, name)
    name = "terminal" if begun == "encoder" else "station"
    file = tmp_path / f"{name}.safetensors"
    weights = load_file(file)
    codec = [key for key in weights if key.startswith(f"{begun}.")]
    save_file({key: own for key, own in weights.items() if key != codec[0]}, file)
    with pytest.raises(ValueError, match=f"1 weights are missing, such as {codec[0]}"):
        sides[name].load(tmp_path, name)
    save_file({key: own for key, own in weights.items() if key not in codec}, file)
    sides[name].load(tmp_path, name)


@torch.no_grad()
def test_tokens_of_an_answer_have_the_power_that_training_gives_them(case_of: CaseOf) -> None:
    """Each is a frame of unit power, whether they are sent behind the prompt or one by one."""
    case = case_of(decoding="relay", codec={"symbols_per_token": 4})
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


def test_a_state_that_is_sent_by_itself_arrives_with_its_own_scale(case_of: CaseOf) -> None:
    case = case_of(decoding="relay", codec={"symbols_per_token": None})
    split = SplitSystem(case, "awgn", math.inf)
    (prompt,) = split.transmit([StreamInput("prompt", "test")], training=False)
    rows = torch.tensor([1, 2])
    device = split.devices["terminal"]
    reply = device.reply(Feedback("prompt", rows, torch.tensor([5, 7]), bits=1.0))
    torch.testing.assert_close(reply.symbols.abs().square().mean(1), torch.ones(2))
    assert (reply.scale / prompt.scale[rows] - 1).abs().min() > 1e-3
    assert reply.control_bits == 32


def test_settings_that_cannot_be_are_refused(case_of: CaseOf) -> None:
    for keys, tokens, message in (
        ({"transmitter_layers": 3}, 9, "take 0 to 2"),
        ({}, 8, "no grid of the shape 3 x 3.*9, 4, 1"),
        ({}, 16, "beyond the encoder's 9"),
        ({"codec": {"symbols_per_token": None}, "coding": "mse"}, 9, "trains the channel codec"),
        ({"codec": {"symbols_per_token": None}, "coding": "none"}, 9, "take transmitter_layers: 0"),
        ({"coding": "mse", "decoding": "relay"}, 9, "coding joint or cross-entropy, not 'mse'"),
    ):
        case = case_of(**keys)
        with pytest.raises(ValueError, match=message):
            case.system.check(case.task, {"terminal": tokens})
    with pytest.raises(ValueError, match="instruction task"):
        case_of().system.check(Avqa(), {"terminal": 9})
    with pytest.raises(ValueError, match=r"crop 'pad' of models.low and 'none' of models.high"):
        Models(low=Clip(crop="pad"))


def test_an_adapter_of_modules_that_the_language_model_lacks_is_refused(
    case_of: CaseOf, tmp_path: Path
) -> None:
    """Before anything is trained; PEFT would adapt those that there are."""
    case = case_of()
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
        own = case_of(models=models, **keys).system
        refused = nullcontext() if message is None else pytest.raises(ValueError, match=message)
        with refused:
            own.check(case.task, TOKENS)


def test_an_encoder_that_is_not_read_costs_nothing(case_of: CaseOf) -> None:
    """No store either, nor its checkpoint."""
    sent, windows = {"terminal": 9.0}, {"low": 1.0, "high": 1.0}
    both, low, high = (case_of(fusion={"kind": kind}) for kind in ("addition", "low", "high"))
    cost = {
        name: case.system.device_gflop(case.task, "terminal", sent, windows, TOKENS)
        for name, case in (("both", both), ("low", low), ("high", high))
    }
    for name, case in (("low", low), ("high", high)):
        assert list(case.system.features(case.task, "terminal", {"terminal": 9})) == [name]
        assert len(case.system.checkpoints(case.task)) == 2
    models = both.system.models
    own = {name: getattr(models, name).shape().gflop(1.0) for name in ("low", "high")}
    assert cost["both"] - cost["low"] > own["high"]
    assert cost["both"] - cost["high"] >= own["low"]
