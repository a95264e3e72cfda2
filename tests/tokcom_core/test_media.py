"""Real media files in, and every kind of damage named and skipped."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tokcom_core.datasets import media
from tokcom_core.datasets.layout import frames_folder, sampling_file, sound_file, video_file
from tokcom_core.datasets.minimusic.render import FRAMES, SAMPLES, draw_frames, play, write_clip
from tokcom_core.datasets.minimusic.scene import BEATS, Scene, Source
from tokcom_core.datasets.reading import check_readable
from tokcom_core.datasets.video import Sampling, decode_frames
from tokcom_core.tasks import Avqa
from tokcom_core.tasks.uploads import upload_table

from .clips import numbered, numbers, write_clip_of, write_sound


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


def test_a_clip_of_an_unknown_codec_is_named(tmp_path: Path) -> None:
    file = video_file(tmp_path, "clip")
    write_clip_of(file, numbered(12))
    file.write_bytes(file.read_bytes().replace(b"avc1", b"zzzz"))
    for sampling in (Sampling(), Sampling(rate_hz=2.0)):
        (damaged,) = media.prepare(tmp_path, sampling, workers=1).damaged
        assert str(damaged) == "clip.mp4 (no decoder for its video codec)"
    with pytest.raises(ValueError, match=r"clip\.mp4 cannot be read: no decoder"):
        check_readable(file)


def test_long_videos_keep_evenly_spaced_frames(dataset: Path) -> None:
    kept = decode_frames(video_file(dataset, "clip"), Sampling(frames=5))
    every = decode_frames(video_file(dataset, "clip"), Sampling(frames=FRAMES))
    assert len(kept) == 5
    for got, index in zip(kept, (0, 6, 12, 19, 25), strict=True):
        assert np.array_equal(np.asarray(got), np.asarray(every[index]))


def test_unreadable_extractions_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFFnonsense")
    with pytest.raises(ValueError, match=r"bad\.wav cannot be read"):
        media.read_sound(bad)
    write_sound(bad, np.zeros(500, "<i2"))
    whole = bad.read_bytes()
    chunk = b"LIST" + struct.pack("<I", 4) + b"INFO"  # a recorder's notes, before the sound
    for damaged in (whole[:17] + b"\xff" + whole[18:], whole[:36] + chunk + whole[36:-11]):
        bad.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"bad\.wav cannot be read"):
            media.read_sound(bad)
    with pytest.raises(ValueError, match="no frames"):
        media.read_frames(tmp_path, 4)
    with pytest.raises(ValueError, match="no folder"):
        media.find_datasets(tmp_path / "missing")
    with pytest.raises(ValueError, match="'video' folder"):
        media.find_datasets(tmp_path)


@pytest.mark.parametrize(
    ("height", "width", "stored"), [(360, 640, (224, 224)), (180, 320, (180, 224))]
)
def test_frames_are_stored_whole_and_no_larger_than_an_encoder_takes(
    tmp_path: Path, height: int, width: int, stored: tuple[int, int]
) -> None:
    pictures = np.zeros((4, height, width, 3), np.uint8)
    pictures[:, :, : width // 10] = (255, 0, 0)
    pictures[:, :, -width // 10 :] = (0, 0, 255)
    write_clip_of(video_file(tmp_path, "clip"), pictures)
    assert media.prepare(tmp_path, workers=1).done == 1
    frames = media.read_frames(frames_folder(tmp_path, "clip"), 4)
    assert frames.shape == (4, *stored, 3)
    left, right = frames[:, :, :15].mean(axis=(0, 1, 2)), frames[:, :, -15:].mean(axis=(0, 1, 2))
    assert left.argmax() == 0
    assert right.argmax() == 2


def test_what_the_papers_script_extracted_is_read_and_kept(dataset: Path) -> None:
    """It writes ``frame_%04d.jpg``."""
    folder = frames_folder(dataset, "clip")
    folder.mkdir(parents=True)
    for i, level in enumerate((10, 90, 170), start=1):
        Image.new("RGB", (64, 64), (level,) * 3).save(folder / f"frame_{i:04d}.jpg")
    assert media.prepare(dataset, workers=1).done == 1  # the sound alone
    assert sorted(file.suffix for file in folder.iterdir()) == [".jpg"] * 3
    assert media.read_frames(folder, 3).mean(axis=(1, 2, 3)).round().tolist() == [10, 90, 170]
    assert media.prepare(dataset, workers=1).kept == 1
    assert media.read_sampling(dataset) is None  # nobody knows how its script was called


def test_another_sampling_than_what_is_there_is_refused(dataset: Path) -> None:
    """Frames that are there already would pass for those that are asked for."""
    assert media.prepare(dataset, Sampling(frames=4), workers=1).done == 1
    with pytest.raises(ValueError, match=r"holds 4 frames evenly .* not 8 frames at 0\.6 a second"):
        media.prepare(dataset, Sampling(frames=8, rate_hz=0.6), workers=1)
    assert media.prepare(dataset, Sampling(frames=4), workers=1).kept == 1
    sampling_file(dataset).write_text("{")
    with pytest.raises(ValueError, match=r"sampling\.json is damaged; remove"):
        media.prepare(dataset, Sampling(frames=4), workers=1)


def test_samplings_are_not_mixed_beside_frames_of_others(dataset: Path) -> None:
    folder = frames_folder(dataset, "theirs")
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "frame_0001.jpg")
    assert media.prepare(dataset, Sampling(frames=4), workers=1).done == 1
    with pytest.raises(ValueError, match="holds 4 frames evenly"):
        media.prepare(dataset, Sampling(frames=8), workers=1)


def test_extracted_is_what_can_be_read(dataset: Path) -> None:
    media.prepare(dataset, workers=1)
    wav, folder = sound_file(dataset, "clip"), frames_folder(dataset, "clip")
    for spoil in (
        lambda: wav.write_bytes(b""),
        lambda: wav.write_bytes(wav.read_bytes()[:5000]),
        lambda: wav.write_bytes(wav.read_bytes()[:-21]),
        lambda: [file.unlink() for file in folder.iterdir()],
        lambda: (folder / "frame_0001.png").write_bytes(b"none"),
    ):
        spoil()
        assert media.prepare(dataset, workers=1).done == 1
        assert len(media.read_frames(folder, FRAMES)) == FRAMES
        assert len(media.read_sound(wav)) > 0.9 * SAMPLES


@pytest.mark.parametrize("rate_hz", [None, 6.0])
def test_a_clip_that_was_filmed_upright_is_stored_upright(
    tmp_path: Path, rate_hz: float | None
) -> None:
    """Its display matrix turns it clockwise: what is coded on the left is shown at the top."""
    pictures = np.zeros((12, 32, 64, 3), np.uint8)
    pictures[:, :, :32] = 255
    file = tmp_path / "video" / "phone.mp4"
    write_clip_of(file, pictures)
    coded = bytearray(file.read_bytes())
    matrix = coded.index(b"tkhd") + 44
    coded[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    file.write_bytes(coded)
    picture = np.asarray(decode_frames(file, Sampling(frames=1, rate_hz=rate_hz))[0])
    assert picture.shape == (64, 32, 3)
    assert picture[:24].min() > 200
    assert picture[40:].max() < 50


def test_too_few_frames_are_repeated_evenly_or_the_last_one(tmp_path: Path) -> None:
    for i, picture in enumerate(numbered(6), start=1):
        Image.fromarray(picture).save(tmp_path / f"frame_{i:04d}.png")
    assert numbers(media.read_frames(tmp_path, 8)) == [0, 1, 1, 2, 3, 4, 4, 5]
    assert numbers(media.read_frames(tmp_path, 8, "first")) == [0, 1, 2, 3, 4, 5, 5, 5]
    assert numbers(media.read_frames(tmp_path, 4, "first")) == [0, 1, 2, 3]
    assert media.read_frames(tmp_path, 2, size=(24, 20)).shape == (2, 24, 20, 3)


def test_frames_at_the_papers_rate_are_those_of_ffmpeg(tmp_path: Path) -> None:
    """``ffmpeg -vf fps=0.6`` takes the last picture of each 1 / 0.6 s, counted from the middle."""
    every = [9, 29, 49, 69, 89, 109]
    write_clip_of(video_file(tmp_path, "clip"), numbered(120))
    media.prepare(tmp_path, Sampling(rate_hz=0.6), workers=1)
    frames = media.read_frames(frames_folder(tmp_path, "clip"), 6, "first")
    assert numbers(frames) == every
    kept = decode_frames(video_file(tmp_path, "clip"), Sampling(frames=4, rate_hz=0.6))
    assert numbers(np.stack([np.asarray(picture) for picture in kept])) == every[:4]


def _cut(source: Path, target: Path, start_s: float, stop_s: float) -> None:
    """``ffmpeg -ss START -to STOP -c copy``: from the key frame before, hidden by an edit list."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        streams = {s.index: write.add_stream_from_template(s) for s in read.streams}
        for packet in read.demux():
            if packet.dts is None or packet.pts is None or packet.pts * packet.time_base >= stop_s:
                continue
            begin_s = int(start_s) if packet.stream.type == "video" else start_s
            if packet.pts * packet.time_base >= begin_s:
                shift = int(start_s / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = streams[packet.stream.index]
                write.mux(packet)


def _edit(source: Path, target: Path, start_ticks: int, milliseconds: int) -> None:
    """Writes other times into the (first, the video's) edit list."""
    data = bytearray(source.read_bytes())
    entry = data.find(b"elst") + 12
    struct.pack_into(">Ii", data, entry, milliseconds, start_ticks)
    target.write_bytes(data)


def test_frames_that_an_edit_list_hides_are_not_missing(tmp_path: Path) -> None:
    whole = video_file(tmp_path, "whole")
    write_clip_of(whole, numbered(60))
    _cut(whole, video_file(tmp_path, "cut"), 1.5, 4.0)
    _edit(whole, video_file(tmp_path, "edited"), 26 * 1024, 2000)  # within the third second on
    prepared = media.prepare(tmp_path, workers=1)
    assert prepared.damaged == ()
    for name, first, last in (("cut", 18, 47), ("edited", 26, 49)):
        frames = numbers(media.read_frames(frames_folder(tmp_path, name), 3))
        assert (frames[0], frames[-1]) == (first, last)


def test_frames_before_the_first_key_frame_are_not_missing(tmp_path: Path) -> None:
    whole = video_file(tmp_path, "whole")
    write_clip_of(whole, numbered(60))
    with av.open(str(whole)) as read, av.open(str(video_file(tmp_path, "late")), "w") as write:
        streams = {s.index: write.add_stream_from_template(s) for s in read.streams}
        for packet in read.demux():
            if packet.dts is not None and not (packet.stream.type == "video" and packet.dts < 3072):
                packet.stream = streams[packet.stream.index]
                write.mux(packet)
    assert media.prepare(tmp_path, workers=1).damaged == ()
    frames = media.read_frames(frames_folder(tmp_path, "late"), 32, "first")
    assert (numbers(frames)[0], numbers(frames)[-1]) == (12, 59)


@pytest.mark.parametrize("share", [0.5, 0.97, 0.995])
def test_a_file_that_ends_early_is_damaged_though_its_index_is_whole(
    tmp_path: Path, share: float
) -> None:
    """As a download that broke off."""
    whole = video_file(tmp_path, "whole")
    write_clip_of(whole, numbered(60), options={"movflags": "faststart"})
    data = whole.read_bytes()
    whole.write_bytes(data[: int(share * len(data))])
    (damaged,) = media.prepare(tmp_path, workers=1).damaged
    assert "truncated" in damaged.reason


def test_uploads_of_two_data_sets_are_told_apart_by_their_names(minimusic: Path) -> None:
    """Sizes of files are kept by name: clips 0001 of VALOR and of MUSIC-AVQA would share one."""
    task = Avqa()
    (own, *_) = task.samples(minimusic, "test").media_id
    table = upload_table(task, minimusic, {"test": [own], "val": [own]})
    assert table["media_id"].tolist() == [own]
    with pytest.raises(ValueError, match=rf"VALOR and MUSIC-AVQA both have '{own}', .*rename"):
        upload_table(task, minimusic, {"align": [own], "test": [own]})
