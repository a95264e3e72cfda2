"""From ``.mp4`` to what the encoders read: frames as ``.png`` and 16 kHz mono sound as ``.wav``."""

from __future__ import annotations

import shutil
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..slide import slide
from ..storage import StorageError, writing
from .layout import frames_folder, sound_file
from .parallel import run_parallel

SAMPLE_RATE_HZ = 16_000
DEFAULT_FRAMES = 32
"""ViViT reads 32 frames of a clip."""


@dataclass(frozen=True)
class Damaged:
    """A media file that could not be read, and why."""

    file: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.file.name} ({self.reason})"


@dataclass(frozen=True)
class Prepared:
    """What a preparation did: ``done`` now, ``kept`` from an earlier run, ``damaged``."""

    done: int
    kept: int
    damaged: tuple[Damaged, ...]


def find_datasets(root: Path) -> list[Path]:
    """``root`` itself if it has a ``video`` folder, else its sub-folders that have one.

    Raises:
        ValueError: if there is none.
    """
    if not root.is_dir():
        raise ValueError(f"no folder {root}; 'tokcom data minimusic {root}' makes one")
    found = [d for d in (root, *sorted(root.iterdir())) if (d / "video").is_dir()]
    if not found:
        raise ValueError(f"{root} has no 'video' folder, nor has a folder in it")
    return found


def prepare(
    root: Path,
    frames: int = DEFAULT_FRAMES,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Prepared:
    """Extracts every clip of ``root`` that is not extracted yet; a damaged one is skipped.

    Raises:
        ValueError: if there is no video to prepare.
        StorageError: for a full disk; what is extracted stays.
    """
    jobs = [
        (dataset, video, frames)
        for dataset in find_datasets(root)
        for video in sorted((dataset / "video").glob("*.mp4"))
    ]
    if not jobs:
        raise ValueError(f"no .mp4 below {root}")
    waiting = [job for job in jobs if not _is_extracted(job[0], job[1].stem)]
    if progress is not None:
        progress(len(jobs) - len(waiting))
    damaged: list[Damaged] = []
    for failure in run_parallel(_extract_job, waiting, workers):
        if failure is not None:
            damaged.append(failure)
        if progress is not None:
            progress(1)
    return Prepared(len(waiting) - len(damaged), len(jobs) - len(waiting), tuple(damaged))


def _is_extracted(dataset: Path, video_id: str) -> bool:
    return sound_file(dataset, video_id).exists() and frames_folder(dataset, video_id).exists()


def _extract_job(job: tuple[Path, Path, int]) -> Damaged | None:
    dataset, video, frames = job
    try:
        with writing(sound_file(dataset, video.stem)):
            extract(dataset, video, frames)
    except StorageError:
        raise
    except (av.FFmpegError, ValueError, OSError) as error:
        return Damaged(video, str(error).splitlines()[0])
    return None


def extract(dataset: Path, video: Path, frames: int) -> None:
    """Writes the frames and the sound of one video into the layout of ``dataset``.

    Raises:
        ValueError: if a stream is missing or the file ends too early.
        av.FFmpegError: if it cannot be decoded.
    """
    pictures = list(decode_frames(video, frames))
    sound = decode_sound(video)
    folder = frames_folder(dataset, video.stem)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for i, picture in enumerate(pictures, start=1):
        picture.save(partial / f"frame_{i:04d}.png", compress_level=1)
    _write_wav(sound_file(dataset, video.stem), sound)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def decode_frames(video: Path, frames: int) -> Iterator[Image.Image]:
    """Yields ``frames`` evenly spaced frames, or all of them where there are fewer."""
    with av.open(str(video)) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        total = sum(1 for p in container.demux(container.streams.video[0]) if p.size)
        promised = container.streams.video[0].frames
    if total == 0 or total < promised:
        raise ValueError(f"truncated: {total} of {promised} frames")
    wanted = set(slide(total, min(frames, total)).tolist())
    decoded = 0
    with av.open(str(video)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            decoded += 1
            if i in wanted:
                yield frame.to_image()
    if decoded < total:
        raise ValueError(f"truncated: {decoded} of {total} frames decoded")


def decode_sound(video: Path) -> NDArray[np.int16]:
    """Returns the sound of ``video`` as 16 kHz mono ``[samples]``."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
    blocks: list[NDArray[np.int16]] = []
    with av.open(str(video)) as container:
        if not container.streams.audio:
            raise ValueError("no audio stream")
        for frame in container.decode(audio=0):
            blocks += [block.to_ndarray()[0] for block in resampler.resample(frame)]
        blocks += [block.to_ndarray()[0] for block in resampler.resample(None)]
    if not blocks:
        raise ValueError("the audio stream is empty")
    return np.concatenate(blocks)


def track_bits(video: Path) -> dict[str, int]:
    """Bits of the coded ``audio`` and ``vision`` tracks of a clip, as they stand in the file.

    Raises:
        ValueError: for a clip that is missing or damaged.
    """
    try:
        with av.open(str(video)) as container:
            bits = {"audio": 0, "vision": 0}
            for packet in container.demux():
                kind = "vision" if packet.stream.type == "video" else packet.stream.type
                if kind in bits:
                    bits[kind] += 8 * packet.size
            return bits
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{video} cannot be uploaded as a file: {error}") from None


def read_sound(file: Path) -> NDArray[np.float32]:
    """Reads a 16 kHz mono ``.wav`` as ``[samples]`` within -1..1.

    Raises:
        ValueError: if the file is damaged or of another format.
    """
    try:
        with wave.open(str(file)) as reader:
            layout = (reader.getnchannels(), reader.getsampwidth(), reader.getframerate())
            data = reader.readframes(reader.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    if layout != (1, 2, SAMPLE_RATE_HZ):
        raise ValueError(f"{file} should be 16-bit mono at {SAMPLE_RATE_HZ} Hz, but is {layout}")
    samples = np.frombuffer(data, dtype="<i2").astype(np.float32)
    return samples / np.float32(32768)


def read_frames(folder: Path, frames: int) -> NDArray[np.uint8]:
    """Reads ``frames`` evenly spaced frames, ``[frames, height, width, 3]``.

    A folder with fewer repeats some, evenly.

    Raises:
        ValueError: if there is none or one is damaged.
    """
    files = sorted(folder.glob("frame_*.png"))
    if not files:
        raise ValueError(f"no frames in {folder}; 'tokcom data prepare' extracts them")
    chosen = np.round(np.linspace(0, len(files) - 1, frames)).astype(int)
    try:
        return np.stack([np.asarray(Image.open(files[i]).convert("RGB")) for i in chosen])
    except OSError as error:
        raise ValueError(f"a frame in {folder} cannot be read: {error}") from None


def _write_wav(file: Path, sound: NDArray[np.int16]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    with wave.open(str(partial), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE_HZ)
        writer.writeframes(sound.astype("<i2").tobytes())
    partial.rename(file)
