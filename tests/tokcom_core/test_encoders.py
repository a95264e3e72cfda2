"""One code for real checkpoints and pocket ones: parity with Hugging Face's own forward pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    VivitConfig,
    VivitImageProcessor,
    VivitModel,
)

from tokcom_core.encoders import (
    AudioEncoder,
    TextEncoder,
    VisionEncoder,
    encoder_shape,
    pick_device,
    token_width,
)


@pytest.fixture(scope="module")
def ast_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The architecture of MIT/ast-finetuned-audioset-10-10-0.4593, narrow."""
    folder = tmp_path_factory.mktemp("ast")
    ASTModel(
        ASTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    ).save_pretrained(folder)
    ASTFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vivit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The architecture of google/vivit-b-16x2, narrow."""
    folder = tmp_path_factory.mktemp("vivit")
    VivitModel(
        VivitConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        )
    ).save_pretrained(folder)
    VivitImageProcessor().save_pretrained(folder)
    return folder


def test_real_sizes_are_read_from_the_configuration(ast_folder: Path, vivit_folder: Path) -> None:
    """The paper's 1214 audio and 3137 video tokens."""
    assert encoder_shape(str(ast_folder), "audio").length == 1214
    assert encoder_shape(str(vivit_folder), "vision").length == 3137


def test_audio_matches_hugging_face(ast_folder: Path) -> None:
    encoder = AudioEncoder(str(ast_folder), "cpu")
    assert encoder.length == 1214
    sound = np.random.default_rng(0).normal(0, 0.1, 30_000).astype(np.float32)
    values = ASTFeatureExtractor()(sound, sampling_rate=16_000, return_tensors="pt")
    expected = ASTModel.from_pretrained(ast_folder)(**values).last_hidden_state
    torch.testing.assert_close(encoder.encode([sound]), expected.detach(), rtol=1e-4, atol=1e-5)


def test_vision_matches_hugging_face(vivit_folder: Path) -> None:
    encoder = VisionEncoder(str(vivit_folder), "cpu")
    clip = np.random.default_rng(0).integers(0, 255, (32, 40, 60, 3)).astype(np.uint8)
    values = VivitImageProcessor()(list(clip), return_tensors="pt")
    expected = VivitModel.from_pretrained(vivit_folder)(**values).last_hidden_state
    assert encoder.length == expected.shape[1] == 3137
    torch.testing.assert_close(encoder.encode([clip]), expected.detach(), rtol=1e-4, atol=1e-5)


def test_pocket_shapes_agree_with_the_loaded_models() -> None:
    for kind, encoder in (("audio", AudioEncoder("pocket")), ("vision", VisionEncoder("pocket"))):
        shape = encoder_shape("pocket", kind)  # type: ignore[arg-type]
        assert (shape.length, shape.width) == (encoder.length, encoder.width)
        assert shape.summary_tokens == encoder.summary_tokens
        trained = [p for p in encoder._model.parameters() if p.requires_grad]
        assert not trained


def test_text_is_the_foundation_models_own_embeddings() -> None:
    encoder = TextEncoder("pocket", "cpu")
    ids = torch.tensor([encoder.ids("where is the violin?")])
    assert torch.equal(encoder(ids), encoder.embedding.weight[ids])
    assert encoder.width == token_width("pocket")
    assert encoder.tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all"])
def test_a_missing_checkpoint_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        encoder_shape(name, "audio")


def test_another_architecture_is_refused(vivit_folder: Path) -> None:
    with pytest.raises(ValueError, match="is a vivit"):
        encoder_shape(str(vivit_folder), "audio")


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="take auto"):
        pick_device("toaster")
