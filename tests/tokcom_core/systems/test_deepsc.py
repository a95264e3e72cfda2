"""The DeepSC family: the contract, published symbol counts, and what each system sends and learns.

Expected sizes are those of the papers and their code, see the modules' docstrings.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from actors.testing import SplitContract
from tokcom_core.checkpoints import POCKET_IMAGES
from tokcom_core.datasets.data import MiniClevr
from tokcom_core.datasets.miniclevr.write import write_miniclevr
from tokcom_core.encoders import Pixels
from tokcom_core.encoders.sizes import text_macs
from tokcom_core.systems import Received, System
from tokcom_core.systems.deepsc import Deepsc, DeepscVqa, Udeepsc
from tokcom_core.systems.deepsc.config import AnswerConfig, TransformerSize
from tokcom_core.systems.deepsc.layers import channel_encoder, encoder_layers
from tokcom_core.systems.deepsc.published import PUBLISHED
from tokcom_core.tasks import Avqa, Task
from tokcom_core.tasks.clevr import Clevr
from tokcom_core.tasks.multitask import Multitask
from tokcom_core.tasks.reviews import Sst2
from tokcom_core.testing import ROWS, SystemCase, SystemContract

TINY = {"width": 8, "depth": 1, "heads": 2, "feedforward": 8}
CODE = {"reals": 4, "hidden": 8, "decoder_hidden": 8}
PIXELS = {"name": "pixels", "size_px": 24, "patch_px": 12}
BOTH = Multitask(tasks=(Clevr(), Sst2()))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_miniclevr(root, MiniClevr(images=30, seed=3), workers=1)
    return root


@pytest.fixture(scope="module")
def tokenizer(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A language model with a word-level tokenizer of the data; its weights do not matter."""
    texts = BOTH.samples(data, "train")["instruction"]
    words = sorted({word for text in texts for word in text.split()})
    ids = {word: number for number, word in enumerate(["<pad>", "<eos>", "<unk>", *words])}
    own = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    own.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=own, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    folder = tmp_path_factory.mktemp("language")
    fast.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(ids), hidden_size=4, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, intermediate_size=4,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return str(folder)


IMAGES = {
    "encoder": {"name": "clip"},
    "detail": {"name": "convnext", "stages": [2]},
    "size": TINY,
}
"""Both pocket encoders of images."""


def _text(tokenizer: str, **keys: Any) -> dict[str, Any]:
    """Words whose embedding is trained, unless ``keys`` say otherwise."""
    usual = {"tokenizer": tokenizer, "layer": None, "max_words": 24, "size": TINY}
    return {**usual, "code": {"reals": 6}, **keys}


def _unified(tokenizer: str, **keys: Any) -> Udeepsc:
    return Udeepsc.model_validate(
        {
            "image": {"encoder": PIXELS, "detail": None, "size": TINY, "vectors": 3},
            "text": _text(tokenizer, vectors=2),
            "decoder": TINY,
            "queries": 3,
            **keys,
        }
    )


@pytest.fixture(scope="module")
def prepare(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    def prepared(system: System, task: Task) -> SystemCase:
        return SystemCase.prepare(system, task, {}, data, tmp_path_factory.mktemp("case"))

    return prepared


class TestUdeepsc(SystemContract, SplitContract):
    @pytest.fixture(scope="class")
    def case(self, prepare: Any, tokenizer: str) -> SystemCase:
        case: SystemCase = prepare(_unified(tokenizer), Clevr())
        return case


class TestDeepscVqa(SystemContract, SplitContract):
    @pytest.fixture(scope="class")
    def case(self, prepare: Any, tokenizer: str) -> SystemCase:
        keys = {
            "image": {"encoder": PIXELS, "detail": None, "size": TINY, "code": CODE},
            "text": _text(tokenizer, code=CODE),
            "fusion": TINY,
        }
        case: SystemCase = prepare(DeepscVqa.model_validate(keys), Clevr())
        return case


class TestFrozenInputs(SystemContract, SplitContract):
    """Two encoders of images, and states of a language model."""

    @pytest.fixture(scope="class")
    def case(self, prepare: Any, tokenizer: str) -> SystemCase:
        keys = {
            "image": {**IMAGES, "code": CODE},
            "text": _text(tokenizer, layer=-1, code=CODE),
            "fusion": TINY,
        }
        case: SystemCase = prepare(DeepscVqa.model_validate(keys), Clevr())
        return case


class TestDeepsc(SystemContract, SplitContract):
    @pytest.fixture(scope="class")
    def case(self, prepare: Any, tokenizer: str) -> SystemCase:
        keys = {"text": _text(tokenizer, code=CODE), "decoder": TINY}
        case: SystemCase = prepare(Deepsc.model_validate(keys), Sst2())
        return case


def test_the_recipe_has_the_published_sizes() -> None:
    """Weights of DeepSC's semantic and channel layers, and U-DeepSC's 60 reals."""
    keys = PUBLISHED["systems"]
    deepsc, unified = (cls.model_validate(keys[cls().name]) for cls in (Deepsc, Udeepsc))
    fused = DeepscVqa.model_validate(keys["deepsc_vqa"])
    assert fused.image.detail is None
    assert unified.image.detail is None
    assert (deepsc.text.layer, unified.text.layer, fused.text.layer) == (None, -1, 0)
    layers = encoder_layers(deepsc.text.size)
    attention, feedforward, norms = 4 * (128 * 128 + 128), 2 * 128 * 512 + 512 + 128, 4 * 128
    assert sum(p.numel() for p in layers.parameters()) == 4 * (attention + feedforward + norms)
    code = channel_encoder(128, deepsc.text.code)
    assert [tuple(p.shape) for p in code.parameters()] == [(256, 128), (256,), (16, 256), (16,)]
    streams = unified.streams(Clevr(), {})
    assert 2 * sum(s.max_tokens * s.symbols_per_token for s in streams) == 60
    assert unified.answers.classes == 3129
    assert unified.image.size.depth == 6


def test_operations_are_two_a_weight_and_token() -> None:
    size = TransformerSize(**TINY)
    assert size.macs(tokens=3) == 3 * (4 * 8 * 8 + 2 * 8 * 8)
    image = {"encoder": PIXELS, "detail": None, "size": TINY, "vectors": 3}
    system = Udeepsc.model_validate({"image": image, "decoder": TINY, "queries": 3})
    task = Clevr()
    found = system.device_gflop(task, "image", {}, {"image": 0.5}, {})
    macs = 4 * 3 * 12 * 12 * 8 + size.macs(4 + 3) + 3 * 8 * 16
    assert found == pytest.approx(2e-9 * 0.5 * macs), "half of the samples have one"
    assert size.macs(tokens=3, memory=5) == size.macs(tokens=3) + 2 * (3 + 5) * 8 * 8


def test_operations_of_frozen_inputs_are_counted() -> None:
    """Layers of the pocket language model: width 128, 2 of 4 heads for keys, feed-forward 384."""
    task, words = Clevr(), 40
    keys = {"image": {**IMAGES, "code": CODE}, "text": {"layer": None, "max_words": words}}
    system = DeepscVqa.model_validate(keys)
    states = DeepscVqa.model_validate({**keys, "text": {"layer": 3, "max_words": words}})
    layer = 128 * (128 + 64 + 64 + 128) + 3 * 128 * 384
    more = [own.device_gflop(task, "text", {}, {}, {}) for own in (states, system)]
    embedding = 128 * system.text.size.width
    assert more[0] - more[1] == pytest.approx(2e-9 * words * (3 * layer + embedding))
    image = system.image
    assert image.detail is not None
    macs = image.encoder.shape().macs + image.detail.shape().macs + image.size.macs(36)
    detail = image.detail.shape()
    macs += 8 * (36 * image.encoder.shape().width + detail.length * detail.width)
    macs += 36 * 8 * (8 + 4)
    found = system.device_gflop(task, "image", {}, {"image": 1.0, "detail": 1.0}, {})
    assert found == pytest.approx(2e-9 * macs)
    with pytest.raises(ValueError, match="it has 0 to 4"):
        text_macs(POCKET_IMAGES, 5)


def test_a_key_inside_a_part_leaves_the_others() -> None:
    system = Udeepsc.model_validate({"image": {"encoder": PIXELS, "vectors": 5}})
    assert system.image.encoder == Pixels(size_px=24, patch_px=12)
    assert system.image.vectors == 5
    assert system.image.code == Udeepsc().image.code


@torch.no_grad()
def test_lost_tokens_are_not_attended_to(prepare: Any, tokenizer: str) -> None:
    """As in the receivers of the other systems; where all are lost, zeros are."""
    keys = {
        "image": {"encoder": PIXELS, "detail": None, "size": TINY, "code": CODE},
        "text": _text(tokenizer, code=CODE),
        "fusion": TINY,
    }
    case = prepare(DeepscVqa.model_validate(keys), Clevr())
    unsplit, asked = case.unsplit(), torch.ones(len(ROWS), dtype=torch.bool)
    served, block = unsplit.served(), CODE["reals"] // 2
    task = torch.zeros(len(ROWS), dtype=torch.long)

    def logits(own: Received) -> Tensor:
        vectors = unsplit.receiver._vectors({**served, "instruction": own}, asked)
        return unsplit.receiver.logits(vectors, task)

    whole = served["instruction"]
    second = torch.zeros_like(whole.valid)
    second[:, block : 2 * block] = True
    expected = logits(replace(whole, valid=whole.valid & ~second))
    found = logits(replace(whole, symbols=torch.where(second, 3.0, whole.symbols), erased=second))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, logits(whole))
    zeros = torch.zeros_like(whole.symbols)
    assert logits(replace(whole, symbols=zeros, erased=whole.valid)).isfinite().all()


def test_published_symbol_counts() -> None:
    """3 image vectors of 16 and 2 text vectors of 6 reals: 30 channel uses; 8 a word of DeepSC."""
    image, text = Udeepsc().streams(Clevr(), {})
    assert (image.max_tokens, image.symbols_per_token) == (3, 8)
    assert (text.max_tokens, text.symbols_per_token) == (2, 3)
    assert sum(s.max_tokens * s.symbols_per_token for s in (image, text)) == 30
    (words,) = Deepsc().streams(Sst2(), {})
    assert words.symbols_per_token == 8
    assert AnswerConfig(loss="sigmoid").classes == 3129


@pytest.mark.parametrize("shared", [True, False])
def test_tasks_share_a_model_or_have_their_own(prepare: Any, tokenizer: str, shared: bool) -> None:
    """A loss of reviews trains all of U-DeepSC, but only the reviews' part of T-DeepSC."""
    case = prepare(_unified(tokenizer, shared=shared), BOTH)
    unsplit, (*_, phase) = case.unsplit(), case.phases
    decoders = unsplit.receiver.decoders
    assert len(decoders) == len(unsplit.transmitters["text"].encoders) == (1 if shared else 2)
    tasks = case.batch("train")["task"]
    assert set(tasks) == {"clevr", "sst2"}
    losses = unsplit.losses(phase)
    losses["task"].backward()
    assert all(p.grad is not None for p in decoders.parameters())
    _, valid = unsplit.send(phase.inputs[0])
    assert [bool(own.any()) for own in valid] == [name == "clevr" for name in tasks]


def test_the_semantic_codec_is_trained_once_for_all_airs(prepare: Any, tokenizer: str) -> None:
    """Whatever is trained over them; without it there is the last phase alone, as published."""
    semantic, last = (case := prepare(_unified(tokenizer), Clevr())).phases
    assert (semantic.over_air, last.over_air) == (False, True)
    assert semantic.training.schedule == "constant_with_warmup"
    other = case.system.at_learning_rate(1e-5)
    assert other != case.system
    assert other.for_phase(semantic.name) == case.system.for_phase(semantic.name)
    assert other.for_phase(last.name) == other
    assert len(_unified(tokenizer, semantic=None).phases(Clevr())) == 1


def test_patches_are_read_row_by_row(data: Path) -> None:
    file = next(data.glob("CLEVR_v1.0/images/train/*.png"))
    whole = Pixels(size_px=24, patch_px=24).build()
    parts = Pixels(size_px=24, patch_px=12).build()
    ((one,),), ((four,),) = (e.encode([e.read(file)]) for e in (whole, parts))
    picture, patches = one.reshape(3, 24, 24), four.reshape(4, 3, 12, 12)
    torch.testing.assert_close(patches[1], picture[:, :12, 12:])
    torch.testing.assert_close(patches[2], picture[:, 12:, :12])
    assert picture.abs().max() <= 1
    with pytest.raises(ValueError, match="does not divide"):
        Pixels(size_px=24, patch_px=7)


def test_texts_longer_than_the_language_model_reads_are_refused(tokenizer: str) -> None:
    positions = Qwen2Config().max_position_embeddings
    fits, beyond = (
        _unified(tokenizer, text=_text(tokenizer, layer=-1, max_words=longest))
        for longest in (positions, positions + 1)
    )
    fits.check(Clevr(), {})
    with pytest.raises(ValueError, match=f"is more than the {positions} tokens that"):
        beyond.check(Clevr(), {})


@pytest.mark.parametrize(("system", "phase"), [(Udeepsc, "semantic"), (Deepsc, "transceiver")])
def test_only_the_last_phase_has_candidates_for_its_rate(system: type[System], phase: str) -> None:
    with pytest.raises(ValueError, match="candidates for 'training' alone; take one"):
        system.model_validate({phase: {"steps": 1, "learning_rates": [1e-3, 3e-4]}})


def test_a_task_without_images_is_refused_by_those_that_send_them() -> None:
    with pytest.raises(ValueError, match="needs an image"):
        Udeepsc().check(Avqa(), {})
    Deepsc().check(Avqa(), {})
