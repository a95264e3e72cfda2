"""Operations that systems count, held against those that torch counts where their modules run.

On the pocket models, one sample, with random inputs. Both are whole numbers of multiplications by a
weight, so that they agree but for rounding. What torch counts as batched products is left out: they
are the attention's, of tokens with tokens, which no system counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config

from tokcom_core.datasets.samples import Samples
from tokcom_core.encoders import Ast, Clip, Convnext, EncoderConfig, Vivit
from tokcom_core.encoders.named import token_width
from tokcom_core.foundation import FoundationModel, applied_weights, positions_of
from tokcom_core.systems import Received
from tokcom_core.systems.deepsc import Deepsc, DeepscVqa, Udeepsc
from tokcom_core.systems.deepsc.embeddings import FeatureEmbedding
from tokcom_core.systems.deepsc.family import DeepScSystem
from tokcom_core.systems.deepsc.receiver import AnsweringReceiver
from tokcom_core.systems.deepsc.transmitter import ImageTransmitter, VectorTransmitter
from tokcom_core.systems.mlms import Mlms
from tokcom_core.systems.mlms.receiver import MlmsReceiver
from tokcom_core.systems.taichi import Taichi
from tokcom_core.systems.taichi.language import LanguageLayers
from tokcom_core.systems.taichi.receiver import TaichiReceiver
from tokcom_core.systems.taichi.sizes import TokenMacs, token_macs
from tokcom_core.systems.taichi.transmitter import TaichiTransmitter
from tokcom_core.tasks import Avqa, Task
from tokcom_core.tasks.clevr import Clevr
from tokcom_core.tasks.multitask import Multitask
from tokcom_core.tasks.reviews import Sst2
from tokcom_core.testing import SystemCase, handed_over
from tokcom_core.testing.case import seeded

WORDS = 7
REL = 1e-9
"""Floating point alone."""
BY_WEIGHTS = (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.convolution)


def measured(*runs: Callable[[], object]) -> float:
    """Operations of matrices and convolutions of weights in 1e9.

    Torch takes a batched product for Hugging Face's head, too, as its input is a slice.
    """
    with FlopCounterMode(display=False) as counter:
        for run in runs:
            run()
    found = counter.get_flop_counts()
    heads = [own for name, own in found.items() if name.endswith(".lm_head")]
    operations = sum(found.get("Global", {}).get(own, 0) for own in BY_WEIGHTS)
    return 1e-9 * (operations + sum(own.get(torch.ops.aten.bmm, 0) for own in heads))


def _encodings(config: EncoderConfig) -> Callable[[], object]:
    """Encodes one window of an encoder."""
    encoder: Any = config.build("cpu")
    own = encoder._model.config
    if isinstance(config, Ast):
        shape: tuple[int, ...] = (own.max_length, own.num_mel_bins)
    else:
        frames = (own.num_frames,) if isinstance(config, Vivit) else ()
        shape = (*frames, 3, *encoder._size)
    return lambda: encoder.encode([torch.zeros(1, *shape)])


@pytest.mark.parametrize("config", [Ast(), Vivit(), Clip(), Clip(layer=1), Convnext()])
def test_encoders(config: EncoderConfig) -> None:
    assert config.shape().gflop(1) == pytest.approx(measured(_encodings(config)), rel=REL)


def _taichi(**keys: Any) -> Taichi:
    return Taichi.model_validate(keys)


def _terminal(system: Taichi, count: int) -> tuple[Callable[[], object], ...]:
    """Runs all parts of a terminal: ``count`` visual tokens and some words."""
    names = [phase.name for phase in system.phases(Clevr())]
    stores: dict[str, Any] = {name: {} for name in system.fusion.reads}
    terminal = TaichiTransmitter(system, system.queries(count), stores, names, "cpu")
    grids = dict(zip(("low", "high"), system.models.grids(), strict=True))
    frozen = [
        torch.randn(1, grids[name].rows * grids[name].columns, grids[name].width)
        for name in system.fusion.reads
    ]
    states = torch.randn(1, count + WORDS, system.token_width)
    valid = torch.ones(states.shape[:2], dtype=torch.bool)
    visual, language = terminal.visual, terminal.language
    assert visual is not None
    return (
        *(_encodings(getattr(system.models, name)) for name in system.fusion.reads),
        lambda: visual(*frozen),
        lambda: language(states, valid, positions_of(valid)),
        lambda: terminal.encoder(states, valid),
    )


@pytest.mark.parametrize(
    ("projector", "count"),
    [
        *(("kan", 36), ("kan", 9), ("kan", 4)),
        *(("mlp", 36), ("mlp", 9), ("mlp", 4)),
        *(("ldp", 9), ("ldp", 4)),
    ],
)
def test_a_terminal_counts_its_visual_tokens(projector: str, count: int) -> None:
    """Stages at their own places, the projector at the queries; the adapter of the layers, too."""
    _agrees(_taichi(projector={"kind": projector}), count)


@pytest.mark.parametrize(
    "keys",
    [
        {"fusion": {"kind": "mining"}},
        {"fusion": {"kind": "addition"}},
        {"fusion": {"kind": "low"}},
        {"fusion": {"kind": "high"}},
        {"transmitter_layers": 0, "codec": {"symbols_per_token": None}},
        {"coding": "mse"},
    ],
)
def test_a_terminal_of_another_kind(keys: dict[str, Any]) -> None:
    _agrees(_taichi(**keys), 9)


def _agrees(system: Taichi, count: int) -> None:
    windows = dict.fromkeys(system.fusion.reads, 1.0)
    sent, lengths = {"terminal": float(count + WORDS)}, {"terminal": count}
    found = system.device_gflop(Clevr(), "terminal", sent, windows, lengths)
    assert found == pytest.approx(measured(*_terminal(system, count)), rel=REL)


@pytest.mark.parametrize("count", [36, 4])
@pytest.mark.parametrize(
    "keys",
    [
        {"coding": "joint"},
        {"coding": "mse"},
        {"transmitter_layers": 0, "codec": {"symbols_per_token": None}},
        {"language_tuning": "lora", "lora": {"rank": 2, "modules": ["q_proj", "down_proj"]}},
        {"decoding": "relay"},
    ],
)
def test_the_station_of_taichi_answers_where_the_prompt_ends(
    keys: dict[str, Any], count: int
) -> None:
    system = _taichi(**keys)
    receiver = system.receiver(Clevr(), seeded, {"terminal": count}, "cpu", 4)
    assert isinstance(receiver, TaichiReceiver)
    tokens = count + WORDS
    prompt = _arrived(tokens, receiver.decoder.symbols_per_token)
    found = system.station_gflop(Clevr(), {"terminal": tokens})
    run = partial(_first_word, receiver, prompt)
    assert found == pytest.approx(measured(run), rel=REL)


def _first_word(receiver: TaichiReceiver, prompt: Received) -> Tensor:
    return receiver._logits(receiver._prompt(prompt), 1)


def _arrived(tokens: int, symbols: int) -> Received:
    sent = torch.randn(1, tokens * symbols, dtype=torch.complex64)
    return handed_over(sent, torch.ones(sent.shape, dtype=torch.bool))


BOTH = Multitask(tasks=(Clevr(), Sst2()))
FAMILY = [
    (DeepscVqa(), Clevr()),
    (Udeepsc(), BOTH),
    (Udeepsc(shared=False), BOTH),
    (Deepsc(), Sst2()),
]


class _Told(VectorTransmitter):
    """A text device whose words are given."""

    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        raise NotImplementedError


@pytest.mark.parametrize(("system", "task"), FAMILY)
def test_devices_of_the_deepsc_family(system: DeepScSystem, task: Task) -> None:
    """Frozen encoders, embeddings, transformers and channel encoders."""
    tasks = ("clevr",)
    text, words = system.text, torch.ones(1, system.text.max_words, dtype=torch.bool)
    frozen: list[Callable[[], object]] = []
    embed: Callable[[], nn.Module] = partial(nn.Embedding, 50, text.size.width)
    inputs = torch.zeros(1, text.max_words, dtype=torch.long)
    if text.layer is not None:
        width = token_width(text.tokenizer)
        embed = partial(FeatureEmbedding, width, text.size.width)
        inputs = torch.randn(1, text.max_words, width)
        layers = LanguageLayers(text.tokenizer, "cpu", layers=text.layer)
        frozen.append(partial(layers, inputs, words, positions_of(words)))
    number = torch.zeros(1, dtype=torch.long)
    teller = _Told(text, embed, text.max_words, tasks, 1, "cpu")
    told = measured(*frozen, lambda: teller("text", inputs, words, number))
    assert system.device_gflop(task, "text", {}, {}, {}) == pytest.approx(told, rel=REL)
    image = system.image_config
    if image is None:
        return
    shapes = {name: own.shape() for name, own in image.encoders.items()}
    lengths = {name: own.length - own.summary_tokens for name, own in shapes.items()}
    features = [torch.randn(1, lengths[name], own.width) for name, own in shapes.items()]
    present = torch.ones(1, image.length, dtype=torch.bool)
    shower = ImageTransmitter(image, {name: {} for name in shapes}, tasks, 1, "cpu")
    shown = measured(
        *(_encodings(own) for own in image.encoders.values()),
        lambda: shower("image", *features, present, number),
    )
    windows = dict.fromkeys(shapes, 1.0)
    assert system.device_gflop(task, "image", {}, windows, {}) == pytest.approx(shown, rel=REL)


@pytest.mark.parametrize(("system", "task"), FAMILY)
def test_receivers_of_the_deepsc_family(system: DeepScSystem, task: Task) -> None:
    """Channel decoders, the transformer of one task, and the classifier, once."""
    receiver = system.receiver(task, seeded, {}, "cpu", 4)
    assert isinstance(receiver, AnsweringReceiver)
    vectors = {
        stream.name: (
            torch.randn(1, stream.max_tokens, 2 * stream.symbols_per_token),
            torch.ones(1, stream.max_tokens, dtype=torch.bool),
        )
        for stream in system.streams(task, {})
    }
    run = partial(receiver.logits, vectors, torch.zeros(1, dtype=torch.long))
    found = system.station_gflop(task, {})
    assert found == pytest.approx(measured(run), rel=REL)


@pytest.fixture(scope="module")
def hearing(tokens: dict[str, dict[str, Path]]) -> SystemCase:
    """Paper 1's system on the shared tokens."""
    features = {name: {name: tokens[name]} for name in ("audio", "vision", "text")}
    return SystemCase(Mlms(), Avqa(), {"audio": 6, "vision": 4}, tokens["samples"], features)


@pytest.mark.parametrize("selection", ["slide", "learned"])
def test_devices_of_paper_1(hearing: SystemCase, selection: str) -> None:
    system = Mlms.model_validate({"models": {"selection": selection}})
    case = replace(hearing, system=system)
    for device, transmitter in case.unsplit().transmitters.items():
        runs: list[Callable[[], object]] = []
        if device != "text":
            encoder = system.models.encoder(device)
            stored = case.tokens[device]
            if selection == "learned":
                stored = system.models.slid_length(device)
            features = torch.randn(1, stored, encoder.shape().width)
            valid = torch.ones(1, stored, dtype=torch.bool)
            runs = [_encodings(encoder), partial(transmitter, device, features, valid)]
        sent = {"audio": 6.0, "vision": 4.0, "text": 9.0}
        found = system.device_gflop(case.task, device, sent, {device: 1.0}, case.tokens)
        assert found == pytest.approx(measured(*runs), rel=REL)


@pytest.mark.parametrize("receiver_input", ["symbols", "symbols+noise"])
def test_the_station_of_paper_1_answers_where_the_prompt_ends(
    hearing: SystemCase, receiver_input: str
) -> None:
    system = Mlms.model_validate({"models": {"receiver_input": receiver_input}})
    receiver = replace(hearing, system=system).receiver().eval()
    assert isinstance(receiver, MlmsReceiver)
    sent = {"audio": 6, "vision": 4, "question": WORDS}
    symbols = receiver.foundation.token_width // 2
    received = {name: _arrived(count, symbols) for name, count in sent.items()}
    found = system.station_gflop(hearing.task, {"audio": 6, "vision": 4, "text": WORDS})
    assert found == pytest.approx(measured(lambda: _first_answer(receiver, received)), rel=REL)


def test_the_station_of_a_reference_of_paper_1_has_no_receivers(hearing: SystemCase) -> None:
    (blind, *_) = hearing.task.references(None)
    system = Mlms().reference(blind)
    assert system is not None
    receiver = replace(hearing, system=system, tokens={}).receiver().eval()
    assert isinstance(receiver, MlmsReceiver)
    received = {"question": _arrived(WORDS, receiver.foundation.token_width // 2)}
    found = system.station_gflop(hearing.task, {"text": WORDS})
    assert found == pytest.approx(measured(lambda: _first_answer(receiver, received)), rel=REL)


def _first_answer(receiver: MlmsReceiver, received: Mapping[str, Received]) -> Tensor:
    prompt, valid = receiver._prompt(received)
    end = torch.full((1, 1), receiver.foundation.end)
    return receiver.foundation.answer_logits(prompt, valid, end)


def test_both_papers_count_a_language_model_alike() -> None:
    """Its embedding is looked up; its head is applied where an answer is predicted."""
    foundation = FoundationModel("pocket", device="cpu")
    model, adapter = foundation.model, sum(p.numel() for p in foundation.adapter_state().values())
    layers = LanguageLayers("pocket", "cpu")
    bare = sum(p.numel() for p in layers.layers.parameters() if p.dim() > 1)
    vocabulary, width = model.get_input_embeddings().weight.shape
    assert applied_weights("pocket") == (bare + adapter, vocabulary * width)
    assert applied_weights("pocket", lora=None) == (bare, vocabulary * width)
    whole = {"transmitter_layers": 0, "codec": {"symbols_per_token": None}, "coding": "none"}
    found = token_macs(_taichi(models={"language": "pocket"}, **whole))
    assert found == TokenMacs(terminal=0, station=bare, head=vocabulary * width)


def test_a_language_model_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=16).save_pretrained(tmp_path)
    system = _taichi(models={"language": str(tmp_path)}, coding="mse")
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel, cannot be cut between its layers"):
        system.station_gflop(Clevr(), {"terminal": 9})
