"""One code for real checkpoints and pocket ones: parity with Hugging Face's own forward pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    VivitConfig,
    VivitImageProcessor,
    VivitModel,
)

from tokcom_core.datasets.layout import frames_folder
from tokcom_core.datasets.media import read_frames
from tokcom_core.devices import pick_device, pick_dtype
from tokcom_core.encoders import Ast, Vivit
from tokcom_core.encoders.audio import AudioEncoder
from tokcom_core.encoders.named import token_width
from tokcom_core.encoders.text import TextEncoder
from tokcom_core.encoders.vision import VisionEncoder


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
    assert Ast(checkpoint=str(ast_folder)).shape().length == 1214
    assert Vivit(checkpoint=str(vivit_folder)).shape().length == 3137


def test_audio_matches_hugging_face(ast_folder: Path) -> None:
    encoder = AudioEncoder(str(ast_folder), "cpu")
    assert encoder.length == 1214
    sound = np.random.default_rng(0).normal(0, 0.1, 30_000).astype(np.float32)
    values = ASTFeatureExtractor()(sound, sampling_rate=16_000, return_tensors="pt")
    expected = ASTModel.from_pretrained(ast_folder)(**values).last_hidden_state
    (tokens,) = encoder.encode([encoder.preprocess(sound)])
    torch.testing.assert_close(tokens, expected.detach(), rtol=1e-4, atol=1e-5)


def test_a_whole_sound_is_heard_in_consecutive_windows(ast_folder: Path) -> None:
    """25 s: two full spectrograms of 1,024 frames and the beginning of a third."""
    sound = np.random.default_rng(0).normal(0, 0.1, 400_000).astype(np.float32)
    first, whole = (AudioEncoder(str(ast_folder), "cpu", s) for s in ("first", "whole"))
    spectra = whole.preprocess(sound)
    assert spectra.shape == (3, 1024, 128)
    assert torch.equal(spectra[:1], first.preprocess(sound))
    frames = 1 + (400_000 - 400) // 160
    long = ASTFeatureExtractor(max_length=frames)(sound, sampling_rate=16_000, return_tensors="pt")
    torch.testing.assert_close(spectra.flatten(0, 1)[:frames], long["input_values"][0])
    one, three = whole.encode([spectra[:1], spectra])
    assert (one.shape, three.shape) == ((1, 1214, 32), (3, 1214, 32))
    torch.testing.assert_close(one, three[:1])


@pytest.mark.parametrize(("samples", "windows"), [(400, 1), (1024 * 160 + 399, 1), (164_240, 2)])
def test_a_window_has_at_least_one_frame_of_its_own(
    ast_folder: Path, samples: int, windows: int
) -> None:
    encoder = AudioEncoder(str(ast_folder), "cpu", "whole")
    assert len(encoder.preprocess(np.zeros(samples, np.float32))) == windows
    with pytest.raises(ValueError, match="399 samples are too short for a spectrogram"):
        encoder.preprocess(np.zeros(399, np.float32))


def test_vision_matches_hugging_face(vivit_folder: Path) -> None:
    encoder = VisionEncoder(str(vivit_folder), "cpu")
    clip = np.random.default_rng(0).integers(0, 255, (32, 224, 224, 3)).astype(np.uint8)
    processor = VivitImageProcessor(do_resize=False, do_center_crop=False)
    values = processor(list(clip), return_tensors="pt")
    expected = VivitModel.from_pretrained(vivit_folder)(**values).last_hidden_state
    assert encoder.length == expected.shape[1] == 3137
    (tokens,) = encoder.encode([encoder.preprocess(clip)])
    torch.testing.assert_close(tokens, expected.detach(), rtol=1e-4, atol=1e-5)


@pytest.fixture
def striped(tmp_path: Path) -> Path:
    """Folder of pictures of 1280 x 720, black but for a white twentieth at left and right."""
    folder = frames_folder(tmp_path, "clip")
    folder.mkdir(parents=True)
    picture = np.zeros((720, 1280, 3), np.uint8)
    picture[:, :64] = picture[:, -64:] = 255
    for i in range(1, 4):
        Image.fromarray(picture).save(folder / f"frame_{i:04d}.jpg")
    return folder


def test_the_whole_picture_is_seen(vivit_folder: Path, striped: Path) -> None:
    """The checkpoint's processor alone would crop the middle 56 % of the width out of it."""
    pixels = VisionEncoder(str(vivit_folder), "cpu").read(striped)
    assert pixels.shape == (1, 32, 3, 224, 224)
    rows = pixels.mean(dim=(0, 1, 2, 3))
    assert float(rows[:9].min()) > 0.9
    assert float(rows[-9:].min()) > 0.9
    assert float((rows > 0).float().mean()) == pytest.approx(0.1, abs=0.01)


def test_the_papers_way_squashes_the_picture_and_crops_it(
    vivit_folder: Path, striped: Path
) -> None:
    """Shortest edge to 256, the middle 224: 87.5 % of the width are left."""
    pixels = VisionEncoder(str(vivit_folder), "cpu", crop="center").read(striped)
    squashed = read_frames(striped, 32, size=(224, 224))
    expected = VivitImageProcessor()(list(squashed), return_tensors="pt")["pixel_values"]
    assert torch.equal(pixels, expected)
    rows = pixels.mean(dim=(0, 1, 2, 3))
    assert float(rows.max()) < -0.9  # the stripes are gone


def test_any_picture_fits_and_a_processor_that_does_not_is_refused(
    tmp_path: Path, vivit_folder: Path, striped: Path
) -> None:
    pocket = VisionEncoder("pocket", "cpu")
    assert pocket.read(striped).shape[-2:] == (48, 48)
    folder = tmp_path / "vivit"
    shutil.copytree(vivit_folder, folder)
    VivitImageProcessor(crop_size={"height": 200, "width": 200}).save_pretrained(folder)
    assert VisionEncoder(str(folder), "cpu").read(striped).shape[-2:] == (224, 224)
    with pytest.raises(ValueError, match="pictures of 200x200, its model takes 224x224; take"):
        VisionEncoder(str(folder), "cpu", crop="center")


def test_pocket_shapes_agree_with_the_loaded_models() -> None:
    for config in (Ast(), Vivit()):
        shape, encoder = config.shape(), config.build("cpu")
        assert isinstance(encoder, AudioEncoder | VisionEncoder)
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
        Ast(checkpoint=name).shape()


def test_another_architecture_is_refused(vivit_folder: Path) -> None:
    with pytest.raises(ValueError, match="is a vivit"):
        Ast(checkpoint=str(vivit_folder)).shape()


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="take auto"):
        pick_device("toaster")


@pytest.mark.parametrize(
    ("device", "native", "expected"),
    [
        ("cuda", True, torch.bfloat16),
        ("cuda", False, torch.float32),
        ("cpu", True, torch.float32),
        ("cpu", False, torch.float32),
    ],
)
def test_frozen_models_compute_in_bfloat16_where_a_gpu_does_natively(
    device: str, native: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that only emulates it takes float32."""
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: native or including_emulation,
    )
    assert pick_dtype(torch.device(device)) == expected
