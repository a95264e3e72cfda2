"""Paper 1's own study, from ``.mp4`` to the table, on checkpoints of the published structure.

Slow for the processes that the stages start; ``tests/tokcom_core/test_published.py`` looks at the
same files without a study.
"""

from __future__ import annotations

import json
import math
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoTokenizer,
    VivitForVideoClassification,
    VivitImageProcessor,
)

from tests.published import (
    AUDIO_TOKENS,
    TOKEN_WIDTH,
    VIDEO_TOKENS,
    write_ast,
    write_qwen2,
    write_vivit,
)
from tests.recordings import ALIGNED, ASKED_PER_CLIP, SPLITS, write_recordings
from tokcom_core.datasets.layout import MUSIC_AVQA, VALOR, frames_folder, sound_file
from tokcom_core.features import FeatureStore, open_features
from tokcom_core.tasks import Avqa

from .conftest import tokcom

pytestmark = pytest.mark.slow

AUDIO, VISION = 64, 32
"""Tokens sent."""
BLOCKS, DATA_SYMBOLS, SLOT_SYMBOLS, SLOT_MS = 13 // 3, 12, 14, 0.5
"""5 MHz have 13 resource blocks at 30 kHz for three devices; two symbols of a slot are pilots."""


@dataclass(frozen=True)
class Finished:
    """What the command left: the data set, the checkpoints and the study's folder."""

    data: Path
    models: Path
    out: Path

    @property
    def table(self) -> pd.DataFrame:
        return pd.read_parquet(self.out / "results")

    def features(self, modality: str) -> FeatureStore:
        """The stored tokens of the captioned clips."""
        for file in (self.out / "artifacts").glob("features-*/spec.json"):
            own = json.loads(file.read_text())["features"]
            if (own["dataset"], own["medium"]) == (VALOR, modality):
                return open_features(file.parent)
        raise AssertionError(f"no {modality} tokens below {self.out}")


def _tokcom(*arguments: object) -> str:
    done = tokcom(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    data, models, out = (tmp_path_factory.mktemp(name) for name in ("data", "models", "out"))
    texts = write_recordings(data)
    write_qwen2(models / "language", texts)
    write_ast(models / "audio")
    write_vivit(models / "vision")
    assert "10 clips extracted" in _tokcom("data", "prepare", data, "--rate", 0.6)
    system = "systems.mlms"
    settings = {
        "data.folder": data,
        **{
            f"systems.mlms.models.{kind}": models / kind for kind in ("language", "audio", "vision")
        },
        "methods": "[aligned, unaligned]",
        "airs": "[awgn]",
        "train_snr_db": "[10]",
        "eval_snr_db": "[10]",
        "bandwidth_hz": "5.0e+6",
        "tokens": f"[{{audio: {AUDIO}, vision: {VISION}}}]",
        "seeds": "[0]",
        "resources.gpu": 0,
        f"{system}.alignment.steps": 8,
        f"{system}.fine_tuning.steps": 4,
        f"{system}.fine_tuning.reference_steps": 4,
    }
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    shown = _tokcom("study", "run", "paper1", "--out", out / "study", *overrides)
    assert f"{AUDIO}+{VISION}" in shown
    return Finished(data, models, out / "study")


def test_every_cell_has_its_row(published: Finished) -> None:
    """No captions come with MUSIC-AVQA, so there is no text oracle."""
    table = published.table.set_index("method")
    assert sorted(table.index) == ["aligned", "blind", "unaligned"]
    assert set(table["status"]) == {"ok"}
    assert set(table["test_questions"]) == {ASKED_PER_CLIP * len(SPLITS["test"])}
    measured = ["accuracy", "first_token_accuracy", "task_loss", "first_token_loss"]
    assert np.isfinite(table[measured].astype(float)).all(axis=None)
    sent = table.loc[["aligned", "unaligned"]]
    assert (sent["tokens_audio"] == AUDIO).all() and (sent["tokens_vision"] == VISION).all()
    assert sent["blind_accuracy"].notna().all()


def test_channel_uses_and_airtime_are_the_closed_form(published: Finished) -> None:
    """A token of 96 features is 48 symbols: one OFDM symbol on a device's four blocks."""
    tokenizer = AutoTokenizer.from_pretrained(published.models / "language")
    questions = Avqa().samples(published.data, "test")["question"]
    texts = [len(tokenizer(question)["input_ids"]) for question in questions]
    assert TOKEN_WIDTH // 2 == 12 * BLOCKS

    sent = published.table.query("method != 'blind'")
    symbols = AUDIO + VISION + np.mean(texts)
    pilot_symbols = 2 * math.ceil(AUDIO / DATA_SYMBOLS)
    airtime_ms = (AUDIO + pilot_symbols) * SLOT_MS / SLOT_SYMBOLS
    assert max(texts) <= 32 < AUDIO  # the longest question that is sent whole
    for name, expected in (
        ("tokens_total", symbols),
        ("uplink_channel_uses", symbols * TOKEN_WIDTH / 2),
        ("airtime_ms", airtime_ms),
    ):
        assert sent[name].to_list() == pytest.approx([expected] * 2), name


def test_both_stages_learn(published: Finished) -> None:
    curves = pd.read_parquet(published.out / "curves")
    aligned = curves[(curves["method"] == "aligned") & (curves["phase"] == "alignment")]
    losses = ["reconstruction_caption", "contrastive_audio", "contrastive_vision"]
    assert np.isfinite(aligned[losses].astype(float)).all(axis=None)
    assert aligned["reconstruction_question"].isna().all()
    caption = aligned.sort_values("step")["reconstruction_caption"]
    assert caption.iloc[-1] < caption.iloc[0]
    tuned = curves[curves["phase"] == "fine-tuning"]
    assert np.isfinite(tuned["task"].astype(float)).all()
    assert tuned.groupby("method")["step"].nunique().eq(4).all()


def test_frames_are_stored_as_large_as_the_encoder_can_use(published: Finished) -> None:
    names = {MUSIC_AVQA: set().union(*SPLITS.values()), VALOR: set(ALIGNED)}
    for dataset, clips in names.items():
        for clip in clips:
            frames = sorted(frames_folder(published.data / dataset, clip).iterdir())
            assert len(frames) == 32  # of 36 at 0.6 a second
            assert Image.open(frames[0]).size == (224, 224)


def test_stored_tokens_are_those_of_the_published_audio_model(published: Finished) -> None:
    """What AST, loaded whole by Hugging Face, makes of the first 10.24 s, at floored positions."""
    clip, folder = ALIGNED[1], published.models / "audio"
    with wave.open(str(sound_file(published.data / VALOR, clip))) as reader:
        assert reader.getnframes() / reader.getframerate() == pytest.approx(60, abs=0.2)
        sound = np.frombuffer(reader.readframes(-1), "<i2") / 32768
    values = ASTFeatureExtractor.from_pretrained(folder)(
        sound.astype(np.float32), sampling_rate=16_000, return_tensors="pt"
    )
    model = ASTForAudioClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = model.base_model(**values).last_hidden_state[0]
    _compare(published.features("audio"), clip, expected, _floored(AUDIO_TOKENS, AUDIO))


def test_stored_tokens_are_those_of_the_published_video_model(published: Finished) -> None:
    """Likewise ViViT on the stored frames, resized to 256 and cropped to 224 by its processor."""
    clip, folder = ALIGNED[2], published.models / "vision"
    files = sorted(frames_folder(published.data / VALOR, clip).iterdir())
    frames = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    values = VivitImageProcessor.from_pretrained(folder)(frames, return_tensors="pt")
    model = VivitForVideoClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = model.base_model(**values).last_hidden_state[0]
    _compare(published.features("vision"), clip, expected, _floored(VIDEO_TOKENS, VISION))


def _floored(length: int, count: int) -> NDArray[np.int64]:
    """The authors' slide: evenly spaced positions, rounded down."""
    return np.floor(np.linspace(0, length - 1, count)).astype(np.int64)


def _compare(
    store: FeatureStore, clip: str, expected: torch.Tensor, positions: NDArray[np.int64]
) -> None:
    torch.testing.assert_close(
        store.select([clip], len(positions))[0], expected[positions], rtol=2e-3, atol=2e-3
    )
