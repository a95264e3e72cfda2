"""Checkpoints of the published structure on a recording of 1280 x 720 and 60 s, piece by piece."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoTokenizer,
    Qwen2ForCausalLM,
    VivitForVideoClassification,
    VivitImageProcessor,
)

from tests.published import AUDIO_TOKENS, VIDEO_TOKENS, write_ast, write_qwen2, write_vivit
from tests.recordings import write_recording
from tokcom_core.datasets.layout import frames_folder, sound_file, video_file
from tokcom_core.datasets.media import prepare
from tokcom_core.datasets.video import Sampling
from tokcom_core.encoders.audio import AudioEncoder
from tokcom_core.encoders.text import TextEncoder
from tokcom_core.encoders.vision import VisionEncoder
from tokcom_core.foundation import FoundationModel

CLIP = "sa00002321"
QUESTION = "How many sounding violin in the video\uff1f"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip, prepared as the authors do."""
    root = tmp_path_factory.mktemp("recording")
    write_recording(video_file(root, CLIP), 1)
    assert prepare(root, Sampling(rate_hz=0.6), workers=1).done == 1
    return root


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    write_qwen2(folder, [QUESTION, "three"])
    assert len(list(folder.glob("*.safetensors"))) >= 3
    return folder


def test_audio_is_encoded_as_by_the_published_model(dataset: Path, tmp_path: Path) -> None:
    write_ast(tmp_path)
    encoder = AudioEncoder(str(tmp_path), "cpu")
    (tokens,) = encoder.encode([encoder.read(sound_file(dataset, CLIP))])
    with wave.open(str(sound_file(dataset, CLIP))) as reader:
        assert reader.getnframes() / reader.getframerate() == pytest.approx(60, abs=0.2)
        sound = np.frombuffer(reader.readframes(-1), "<i2").astype(np.float32) / 32768
    values = ASTFeatureExtractor.from_pretrained(tmp_path)(
        sound, sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        model = ASTForAudioClassification.from_pretrained(tmp_path).eval().base_model
        expected = model(**values).last_hidden_state
    assert expected.shape[1] == AUDIO_TOKENS
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-4)


def test_video_is_encoded_as_by_the_published_model(dataset: Path, tmp_path: Path) -> None:
    write_vivit(tmp_path)
    encoder = VisionEncoder(str(tmp_path), "cpu", crop="center", take="first")
    (tokens,) = encoder.encode([encoder.read(frames_folder(dataset, CLIP))])
    files = sorted(frames_folder(dataset, CLIP).iterdir())
    frames = [np.asarray(Image.open(file)) for file in files]
    assert len(frames) == 32  # of 36 at 0.6 a second
    assert frames[0].shape == (224, 224, 3)
    values = VivitImageProcessor.from_pretrained(tmp_path)(frames, return_tensors="pt")
    with torch.no_grad():
        model = VivitForVideoClassification.from_pretrained(tmp_path).eval().base_model
        expected = model(**values).last_hidden_state
    assert expected.shape[1] == VIDEO_TOKENS
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-4)


def test_language_model_is_read_from_its_shards(language: Path) -> None:
    """Text devices read the embedding alone, the base station all of the model."""
    published = Qwen2ForCausalLM.from_pretrained(language, dtype=torch.float32).eval()
    encoder, foundation = (
        TextEncoder(str(language), "cpu"),
        FoundationModel(str(language), device="cpu"),
    )
    ids = AutoTokenizer.from_pretrained(language)(QUESTION, return_tensors="pt")["input_ids"]
    assert encoder.ids(QUESTION) == ids[0].tolist()
    assert torch.equal(encoder(ids), published.get_input_embeddings()(ids))
    prompt, valid = encoder(ids), torch.ones_like(ids, dtype=torch.bool)
    answers = foundation.answer_ids(["three"])
    known = torch.cat([ids, answers[:, :-1]], dim=1)
    with torch.no_grad():
        logits = foundation.eval().answer_logits(prompt, valid, answers)
        expected = published(known).logits[:, -answers.shape[1] :]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert foundation.decode(answers[:, :-1]) == ["three"]
