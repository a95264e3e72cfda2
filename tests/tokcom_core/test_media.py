"""Real media files in, and every kind of damage named and skipped."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tokcom_core.datasets import media
from tokcom_core.datasets.layout import frames_folder, sound_file, video_file
from tokcom_core.datasets.minimusic.render import FRAMES, SAMPLES, draw_frames, play, write_clip
from tokcom_core.datasets.minimusic.scene import BEATS, Scene, Source


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """One clip: a loud drum at front left in the third beat."""
    source = Source(2, row=2, column=0, beat=2, loudness=2)
    rng = np.random.default_rng(0)
    video = video_file(tmp_path, "clip")
    video.parent.mkdir()
    scene = Scene((source,))
    write_clip(video, draw_frames(scene, rng), play(scene, rng))
    return tmp_path


def test_picture_and_sound_survive_the_file(dataset: Path) -> None:
    assert media.prepare(dataset, workers=1).done == 1
    frames = media.read_frames(frames_folder(dataset, "clip"), FRAMES)
    assert frames.shape == (FRAMES, 48, 48, 3)
    bright = frames.astype(float).mean(axis=(0, 3)).reshape(3, 16, 3, 16).mean(axis=(1, 3))
    assert np.unravel_index(bright.argmax(), (3, 3)) == (2, 0)
    sound = media.read_sound(sound_file(dataset, "clip"))
    assert abs(len(sound) - SAMPLES) < 2100  # an AAC frame of priming and padding
    loudness = [np.square(beat).mean() for beat in np.array_split(sound[:SAMPLES], BEATS)]
    assert int(np.argmax(loudness)) == 2


def test_preparation_resumes(dataset: Path) -> None:
    assert media.prepare(dataset, workers=1).done == 1
    again = media.prepare(dataset, workers=1)
    assert (again.done, again.kept) == (0, 1)
    sound_file(dataset, "clip").unlink()
    assert media.prepare(dataset, workers=1).done == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_clip_is_named_and_skipped(dataset: Path, share: float) -> None:
    whole = video_file(dataset, "clip").read_bytes()
    video_file(dataset, "cut").write_bytes(whole[: int(share * len(whole))])
    prepared = media.prepare(dataset, workers=1)
    assert prepared.done == 1
    assert [d.file.name for d in prepared.damaged] == ["cut.mp4"]
    assert not frames_folder(dataset, "cut").exists()


def test_a_clip_without_sound_is_named(dataset: Path) -> None:
    with av.open(str(video_file(dataset, "mute")), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width = stream.height = 48
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 48, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (damaged,) = media.prepare(dataset, workers=1).damaged
    assert str(damaged) == "mute.mp4 (no audio stream)"


def test_long_videos_keep_evenly_spaced_frames(dataset: Path) -> None:
    kept = list(media.decode_frames(video_file(dataset, "clip"), 5))
    every = list(media.decode_frames(video_file(dataset, "clip"), FRAMES))
    assert len(kept) == 5
    for got, index in zip(kept, (0, 6, 12, 19, 25), strict=True):
        assert np.array_equal(np.asarray(got), np.asarray(every[index]))


def test_unreadable_extractions_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFFnonsense")
    with pytest.raises(ValueError, match=r"bad\.wav cannot be read"):
        media.read_sound(bad)
    with pytest.raises(ValueError, match="no frames"):
        media.read_frames(tmp_path, 4)
    with pytest.raises(ValueError, match="no folder"):
        media.find_datasets(tmp_path / "missing")
    with pytest.raises(ValueError, match="'video' folder"):
        media.find_datasets(tmp_path)
