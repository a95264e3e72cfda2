"""The shipped checkpoints are as good as they say, measured anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import Qwen2ForCausalLM

from tokcom_core.checkpoints import KINDS, pocket_folder, resolve
from tokcom_core.datasets.minimusic.labels import audio_labels, vision_labels
from tokcom_core.datasets.minimusic.language import TEMPLATES
from tokcom_core.datasets.minimusic.scene import sample_scene
from tokcom_core.encoders.audio import AudioEncoder
from tokcom_core.encoders.vision import VisionEncoder
from tokcom_core.zoo.build import build_zoo, read_scores
from tokcom_core.zoo.pretrain_encoders import EncoderRecipe
from tokcom_core.zoo.pretrain_language import (
    LanguageRecipe,
    Packer,
    block_mask,
    build_tokenizer,
    evaluate_language,
)


def test_the_zoo_is_small_and_safe() -> None:
    files = [f for f in pocket_folder().rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 10e6
    assert {f.suffix for f in files} <= {".json", ".safetensors", ".jinja"}
    assert set(read_scores(pocket_folder())) == set(KINDS)


def test_the_language_model_answers_plain_captions() -> None:
    """The text oracle's zero-shot accuracy, on scenes never seen."""
    model = Qwen2ForCausalLM.from_pretrained(resolve("pocket", "language"), dtype=torch.float32)
    packer = Packer(build_tokenizer(), LanguageRecipe())
    scores = evaluate_language(model, packer, soft=False, scenes=200, seed=77)
    assert scores["all"] >= 0.9
    assert set(scores) == {"all", *(content for _, content, _ in TEMPLATES)}


def test_a_segment_sees_the_prefix_and_itself_only() -> None:
    mask = block_mask(torch.tensor([[0, 0, 1, 1, 2, 2, -1]]))[0, 0]
    visible = [[j for j in range(7) if mask[i, j] == 0] for i in range(6)]
    assert visible == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [0, 1, 4, 5]]


def test_labels_follow_the_scene() -> None:
    scenes = [sample_scene(np.random.default_rng(i)) for i in range(20)]
    seen, received = vision_labels(scenes), audio_labels(scenes)
    for i, scene in enumerate(scenes):
        visible = {s.instrument + 1 for s in scene.visible}
        assert set(seen.dense["instrument"][i].tolist()) - {0} == visible
        sounding = {s.instrument + 1: s for s in scene.sounding}
        assert set(received.dense["instrument"][i].tolist()) - {0} == set(sounding)
        for label, source in sounding.items():
            at = received.dense["instrument"][i] == label
            assert set(received.dense["loudness"][i][at].tolist()) == {(source.loudness or 0) + 1}


def test_the_whole_zoo_is_built_from_nothing(tmp_path: Path) -> None:
    """Tiny recipes: every step of the build, and the studies' own code loads what it made."""
    recipe = LanguageRecipe(
        hidden_size=32,
        layers=1,
        heads=2,
        key_value_heads=1,
        intermediate_size=32,
        steps=3,
        batch_size=2,
        evaluate_every=10,
    )
    build_zoo(tmp_path, 40, 0, recipe, EncoderRecipe(epochs=1, batch_size=16))
    scores = read_scores(tmp_path)
    assert set(scores) == set(KINDS)
    assert all(0 <= value <= 1 for group in scores.values() for value in group.values())
    model = Qwen2ForCausalLM.from_pretrained(tmp_path / "language")
    assert model.config.hidden_size == 32
    assert AudioEncoder(str(tmp_path / "audio")).length == AudioEncoder("pocket").length
    assert VisionEncoder(str(tmp_path / "vision")).length == VisionEncoder("pocket").length
