"""What the layers of the DeepSC family see, and in which order."""

from __future__ import annotations

import torch

from tokcom_core.systems.deepsc import Udeepsc
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
)
from tokcom_core.systems.deepsc.unified import TaskDecoder

TINY = {"width": 8, "depth": 1, "heads": 2, "feedforward": 8}


def test_details_are_added_where_they_lie_in_the_image() -> None:
    """A place of ConvNeXt's 12 x 12 changes the one of 6 x 6 that covers it alone."""
    encoders = {"encoder": {"name": "clip"}, "detail": {"name": "convnext", "stages": [2]}}
    config = ImageConfig.model_validate({**encoders, "size": TINY, "code": {"reals": 4}})
    embed = PatchEmbedding(config)
    patches, detail = torch.randn(1, 36, 96), torch.randn(1, 144, 64)
    usual = embed(patches, detail)
    assert usual.shape == (1, 36, 8)
    detail[:, 12 * 5 + 8] += torch.randn(64)
    changed = (embed(patches, detail) != usual).any(-1)[0]
    assert changed.nonzero()[:, 0].tolist() == [6 * 2 + 4]


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
