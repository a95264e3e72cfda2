from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tokcom_core.datasets.layout import MUSIC_AVQA
from tokcom_core.datasets.samples import load_task_samples, majority_accuracy, read_samples
from tokcom_core.encoders import AudioEncoder
from tokcom_core.features import open_features, write_features
from tokcom_core.slide import slide


def test_stored_tokens_are_the_encoders(
    minimusic: Path, tokens: dict[str, dict[str, Path]]
) -> None:
    store = open_features(tokens["audio"]["test"])
    encoder = AudioEncoder("pocket")
    video_id = next(iter(store.row))
    fresh = encoder.encode([encoder.read(minimusic / MUSIC_AVQA, video_id)])
    stored = store.select([video_id], np.arange(encoder.length))
    torch.testing.assert_close(stored, fresh, rtol=2e-3, atol=2e-3)  # half precision


def test_only_the_asked_positions_are_kept(minimusic: Path, tmp_path: Path) -> None:
    encoder = AudioEncoder("pocket")
    samples = load_task_samples(minimusic, "val")
    clips = list(dict.fromkeys(samples.video_id))
    positions = np.union1d(slide(encoder.length, 4), slide(encoder.length, 6))
    write_features(tmp_path, encoder, minimusic / MUSIC_AVQA, clips, positions)
    store = open_features(tmp_path)
    assert isinstance(store.tokens, np.memmap)
    assert store.tokens.shape == (len(clips), len(positions), encoder.width)
    assert store.select(clips[:2], slide(encoder.length, 6)).shape == (2, 6, encoder.width)
    with pytest.raises(ValueError, match="lacks some"):
        store.select(clips[:1], slide(encoder.length, 9))


def test_damaged_clips_are_skipped_and_named(minimusic: Path, tmp_path: Path) -> None:
    encoder = AudioEncoder("pocket")
    clips = list(dict.fromkeys(load_task_samples(minimusic, "val").video_id))
    damaged = write_features(
        tmp_path, encoder, minimusic / MUSIC_AVQA, ["missing", *clips], np.arange(3)
    )
    assert len(damaged) == 1
    assert damaged[0].startswith("missing: ")
    store = open_features(tmp_path)
    assert set(store.row) == set(clips)
    assert store.damaged == tuple(damaged)
    with pytest.raises(ValueError, match="none of the 1 clips"):
        write_features(tmp_path, encoder, minimusic / MUSIC_AVQA, ["missing"], np.arange(3))


def test_samples_survive_their_file_and_can_be_thinned(minimusic: Path, tmp_path: Path) -> None:
    samples = load_task_samples(minimusic, "test")
    samples.write(tmp_path / "s.parquet")
    assert read_samples(tmp_path / "s.parquet") == samples
    clip = samples.video_id[0]
    assert set(samples.keep([clip]).video_id) == {clip}
    assert all(samples.caption)


def test_majority_answer_by_template(minimusic: Path) -> None:
    samples = load_task_samples(minimusic, "train")
    by_hand = 0
    for template in set(samples.template):
        answers = [
            a for a, t in zip(samples.answer, samples.template, strict=True) if t == template
        ]
        by_hand += max(answers.count(a) for a in answers)
    assert majority_accuracy(samples, samples) == pytest.approx(by_hand / len(samples))
