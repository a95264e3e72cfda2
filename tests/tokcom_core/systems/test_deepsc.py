"""The DeepSC family: the contract, published symbol counts, and what each system sends and learns.

Expected sizes are those of the papers and their code, see the modules' docstrings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from actors.testing import SplitContract
from channel_models import normalise
from tokcom_core.checkpoints import POCKET_IMAGES
from tokcom_core.datasets.miniclevr.write import write_miniclevr
from tokcom_core.datasets.samples import Samples
from tokcom_core.encoders import Pixels
from tokcom_core.encoders.sizes import text_macs
from tokcom_core.systems import System
from tokcom_core.systems.deepsc import Deepsc, DeepscVqa, Udeepsc
from tokcom_core.systems.deepsc.answers import AnswerSet
from tokcom_core.systems.deepsc.config import (
    AnswerConfig,
    ChannelCode,
    ImageConfig,
    TransformerSize,
)
from tokcom_core.systems.deepsc.embeddings import PatchEmbedding
from tokcom_core.systems.deepsc.layers import (
    ChannelDecoder,
    LayerwiseTransformer,
    SemanticEncoder,
    by_task,
    channel_encoder,
    encoder_layers,
    unit_power,
)
from tokcom_core.systems.deepsc.published import PUBLISHED
from tokcom_core.systems.deepsc.unified import TaskDecoder
from tokcom_core.systems.mlms.transceiver import pack
from tokcom_core.tasks import Avqa, Task
from tokcom_core.tasks.clevr import Clevr
from tokcom_core.tasks.multitask import Multitask
from tokcom_core.tasks.reviews import Sst2
from tokcom_core.testing import SystemCase, SystemContract

TINY = {"width": 8, "depth": 1, "heads": 2, "feedforward": 8}
CODE = {"reals": 4, "hidden": 8, "decoder_hidden": 8}
PIXELS = {"name": "pixels", "size_px": 24, "patch_px": 12}
BOTH = Multitask(tasks=(Clevr(), Sst2()))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_miniclevr(root, images=30, seed=3, workers=1)
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
    found = system.device_gflop(task, "image", {}, {"image": 0.5})
    assert found == pytest.approx(2e-9 * 0.5 * size.macs(4 + 3)), "half of the samples have one"
    assert system.device_gflop(task, "text", {}, {}) > 0
    assert system.station_gflop({}, {"receiver": 100}) == pytest.approx(2e-9 * 3 * 100)


def test_operations_of_frozen_inputs_are_counted() -> None:
    """Layers of the pocket language model: width 128, 2 of 4 heads for keys, feed-forward 384."""
    task, words = Clevr(), 40
    keys = {"image": {**IMAGES, "code": CODE}, "text": {"layer": None, "max_words": words}}
    system = DeepscVqa.model_validate(keys)
    states = DeepscVqa.model_validate({**keys, "text": {"layer": 3, "max_words": words}})
    layer = 128 * (128 + 64 + 64 + 128) + 3 * 128 * 384
    more = [own.device_gflop(task, "text", {}, {}) for own in (states, system)]
    assert more[0] - more[1] == pytest.approx(2e-9 * words * 3 * layer)
    image = system.image
    assert image.detail is not None
    macs = image.encoder.shape().macs + image.detail.shape().macs + image.size.macs(36)
    found = system.device_gflop(task, "image", {}, {"image": 1.0, "detail": 1.0})
    assert found == pytest.approx(2e-9 * macs)
    with pytest.raises(ValueError, match="it has 0 to 4"):
        text_macs(POCKET_IMAGES, 5)


def test_details_are_added_where_they_lie_in_the_image() -> None:
    """A place of ConvNeXt's 12 x 12 changes the one of 6 x 6 that covers it alone."""
    config = ImageConfig.model_validate({**IMAGES, "code": CODE})
    embed = PatchEmbedding(config)
    patches, detail = torch.randn(1, 36, 96), torch.randn(1, 144, 64)
    usual = embed(patches, detail)
    assert usual.shape == (1, 36, 8)
    detail[:, 12 * 5 + 8] += torch.randn(64)
    changed = (embed(patches, detail) != usual).any(-1)[0]
    assert changed.nonzero()[:, 0].tolist() == [6 * 2 + 4]


def test_a_key_inside_a_part_leaves_the_others() -> None:
    system = Udeepsc.model_validate({"image": {"encoder": PIXELS, "vectors": 5}})
    assert system.image.encoder == Pixels(size_px=24, patch_px=12)
    assert system.image.vectors == 5
    assert system.image.code == Udeepsc().image.code


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


def test_models_of_tasks_see_their_own_samples_in_order() -> None:
    task = torch.tensor([1, 0, 1, 2])
    values = torch.arange(4.0)

    def run(number: int, own: torch.Tensor, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        assert not own.any(), "a model of one task knows no other"
        return (inputs + 10 * number,)

    (found,) = by_task(run, 3, task, values)
    assert found.tolist() == [10.0, 1.0, 12.0, 23.0]


def test_vectors_are_of_a_task_and_of_all_that_is_valid() -> None:
    torch.manual_seed(0)
    size = TransformerSize.model_validate(TINY)
    encoder = SemanticEncoder(torch.nn.Linear(5, 8), size, 4, vectors=2, tasks=2)
    tokens, task = torch.randn(1, 4, 5).expand(2, -1, -1).clone(), torch.tensor([0, 1])
    valid = torch.tensor([[True, True, True, False]]).expand(2, -1)
    vectors, filled = encoder((tokens,), valid, task)
    assert vectors.shape == (2, 2, 8)
    assert filled.all()
    assert not torch.allclose(vectors[0], vectors[1]), "tasks have vectors of their own"
    tokens[:, 3] += 1.0
    torch.testing.assert_close(encoder((tokens,), valid, task)[0], vectors)
    tokens[:, 2] += 1.0
    assert not torch.allclose(encoder((tokens,), valid, task)[0], vectors)


def test_queries_do_not_see_what_was_not_sent() -> None:
    """Where every word is a vector, texts of a batch differ in length."""
    system = Udeepsc.model_validate({"decoder": TINY, "queries": 3})
    codes = {"image": ChannelCode(reals=4), "question": ChannelCode(reals=6)}
    decoder = TaskDecoder(system, codes, 1, AnswerSet(AnswerConfig(classes=4, loss="sigmoid")))
    image, question = torch.randn(1, 3, 4), torch.randn(1, 2, 6)
    padded = torch.cat([question, torch.randn(1, 5, 6)], 1)
    valid = torch.ones(1, 7, dtype=torch.bool)
    words = valid & (torch.arange(7) < 2)
    task = torch.zeros(1, dtype=torch.long)
    alone, behind = (
        decoder({"image": (image, valid[:, :3]), "question": own}, task)
        for own in ((question, valid[:, :2]), (padded, words))
    )
    torch.testing.assert_close(behind, alone)


def test_what_has_no_channel_yet_is_sent_at_unit_power() -> None:
    """On average over the valid symbols of a sample, as a device sends it over an air."""
    vectors = 3 * torch.randn(2, 4, 6)
    valid = torch.tensor([[True, True, False, True], [False] * 4])
    symbols, marks = pack(unit_power(vectors, valid), valid)
    assert symbols[0][marks[0]].abs().square().mean() == pytest.approx(1.0)
    expected, _ = normalise(*pack(vectors, valid))
    torch.testing.assert_close(symbols[0][marks[0]], expected[0][marks[0]])
    assert symbols.isfinite().all(), "a question without an image sends none"


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


def test_every_image_layer_sees_the_text_layer_of_its_depth() -> None:
    """In DeepSC-VQA the first image layer does not depend on the second text layer."""
    size = TransformerSize(width=8, depth=2, heads=2, feedforward=8)
    fusion = LayerwiseTransformer(size, dropout=0.0)
    text, image = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    everything = torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 4, dtype=torch.bool)
    first = fusion.text[0](text)
    expected = fusion.image[1](fusion.image[0](image, first), fusion.text[1](first))
    torch.testing.assert_close(fusion(text, image, *everything)[1], expected)


def test_channel_decoder_is_deepscs() -> None:
    code = ChannelCode(reals=16, hidden=256, decoder_hidden=512)
    decoder = ChannelDecoder(128, code)
    received = torch.randn(3, 16)
    first = decoder.inner(received)
    assert decoder.block is not None
    inner, outer = decoder.block[1], decoder.block[3]
    expected = first + outer(torch.relu(inner(torch.relu(first))))
    torch.testing.assert_close(decoder(received), decoder.norm(expected))
    assert (inner.out_features, outer.out_features) == (512, 128)


def _answers(loss: str, classes: int, learned: list[str], task: list[int]) -> AnswerSet:
    answers = AnswerSet(AnswerConfig.model_validate({"classes": classes, "loss": loss}))
    answers.learn(learned, torch.tensor(task), tasks=3)
    return answers


def test_answers_are_the_most_frequent_of_the_training_split() -> None:
    answers = _answers("sigmoid", 2, ["no", "yes", "red", "yes", "no", "two"], [0] * 6)
    assert answers.answers == ("no", "yes")
    logits = torch.tensor([[0.3, -0.2], [1.0, 2.0]])
    target = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    found = answers.loss(logits, ["yes", "red"], torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(found, each.sum() / 2)


def test_softmax_leaves_out_answers_without_a_class() -> None:
    answers, task = _answers("softmax", 2, ["no", "yes"], [0, 0]), torch.tensor([0, 0])
    logits = torch.tensor([[0.3, -0.2], [1.0, 2.0]])
    expected = torch.nn.functional.cross_entropy(logits[:1], torch.tensor([1]))
    torch.testing.assert_close(answers.loss(logits, ["yes", "red"], task), expected)
    assert float(answers.loss(logits, ["red", "red"], task)) == 0.0


@pytest.mark.parametrize("loss", ["sigmoid", "softmax"])
def test_a_sample_has_the_answers_of_its_task_alone(loss: str) -> None:
    """Training 30 classes without an answer to be unlikely kept DeepSC at chance on reviews."""
    learned, task = ["no", "yes", "red", "good", "bad", "red"], [0, 0, 0, 1, 1, 0]
    both = _answers(loss, 32, learned, task)
    assert both.answers == ("red", "bad", "good", "no", "yes")
    logits = torch.randn(2, 32, requires_grad=True)
    mean = both.loss(logits, ["bad", "good"], torch.tensor([1, 1]))
    alone = _answers(loss, 2, ["bad", "good"], [0, 0])
    expected = alone.loss(logits[:, 1:3], ["bad", "good"], torch.tensor([0, 0]))
    torch.testing.assert_close(mean, expected)
    mean.backward()
    assert logits.grad is not None
    assert logits.grad.any(0).nonzero()[:, 0].tolist() == [1, 2]
    columns = dict.fromkeys(("sample_id", "media_id", "group"), ("",) * 3)
    truth = Samples({**columns, "answer": ("bad", "red", "red")})
    likely = torch.tensor([0.0, 1.0, 3.0, 2.0, 1.0, 4.0]).expand(3, -1)
    found = both.predict(likely, truth, torch.tensor([1, 0, 2]))
    assert found.texts == ("good", "no", "good"), "a task that is only tested on has all answers"


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


def test_a_task_without_images_is_refused_by_those_that_send_them() -> None:
    with pytest.raises(ValueError, match="needs an image"):
        Udeepsc().check(Avqa(), {})
    Deepsc().check(Avqa(), {})
