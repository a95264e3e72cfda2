"""Extracts what the encoders read from ``.mp4``: ``.png`` frames and 16 kHz mono ``.wav`` sound."""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import first_line
from ..storage import StorageError, atomic_file, atomic_folder, remove_partials, writing
from .images import PICTURE_ERRORS, to_rgb
from .layout import (
    MIN_SAMPLES,
    SAMPLE_RATE_HZ,
    FrameChoice,
    frame_files,
    frames_folder,
    sampling_file,
    sound_file,
)
from .parallel import run_parallel
from .video import Sampling, decode_frames, decode_sound

_DEFAULT = Sampling()
_WAV_HEADER_BYTES = 44


@dataclass(frozen=True)
class Damaged:
    """A media file that could not be read, and why."""

    file: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.file.name} ({self.reason})"


@dataclass(frozen=True)
class Prepared:
    """Numbers of clips extracted now (``done``) and earlier (``kept``), and the damaged clips."""

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
    folders = [d for d in (root, *sorted(root.iterdir())) if (d / "video").is_dir()]
    if not folders:
        raise ValueError(f"{root} has no 'video' folder, nor has a folder in it")
    return folders


def prepare(
    root: Path,
    sampling: Sampling = _DEFAULT,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Prepared:
    """Extracts every clip of ``root`` that is not extracted yet; a damaged one is skipped.

    Raises:
        ValueError: if there is no video to prepare, or clips have been sampled in another way.
        StorageError: for a full disk; clips that are already extracted stay.
    """
    jobs = [
        (dataset, video, sampling)
        for dataset in find_datasets(root)
        for video in sorted((dataset / "video").glob("*.mp4"))
    ]
    if not jobs:
        raise ValueError(f"no .mp4 below {root}")
    for dataset in dict.fromkeys(dataset for dataset, *_ in jobs):
        _check_sampling(dataset, sampling)
        remove_partials(frames_folder(dataset, ""))
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


def _check_sampling(dataset: Path, sampling: Sampling) -> None:
    known = read_sampling(dataset)
    if known is not None and known != sampling and _has_any_frames(dataset):
        raise ValueError(
            f"{sampling_file(dataset).parent} holds {known}, not {sampling}; remove it, or ask for "
            "the same"
        )


def read_sampling(dataset: Path) -> Sampling | None:
    """The sampling of those of a data set's frames that tokcom has extracted; None if none are.

    Raises:
        ValueError: if the mark is damaged.
    """
    file = sampling_file(dataset)
    if not file.is_file():
        return None
    try:
        return Sampling(**json.loads(file.read_text()))
    except (ValueError, TypeError):
        raise ValueError(f"{file} is damaged; remove {file.parent} to extract anew") from None


def _has_any_frames(dataset: Path) -> bool:
    return any(frame_files(folder) for folder in frames_folder(dataset, "").glob("*/"))


def _mark_sampling(dataset: Path, sampling: Sampling) -> None:
    with atomic_file(sampling_file(dataset)) as partial:
        partial.write_text(json.dumps(asdict(sampling)))


def _is_extracted(dataset: Path, video_id: str) -> bool:
    return _has_sound(dataset, video_id) and _has_frames(dataset, video_id)


def _has_sound(dataset: Path, video_id: str) -> bool:
    try:
        with _open_sound(sound_file(dataset, video_id)) as reader:
            return reader.getnframes() > 0
    except ValueError:
        return False


def _has_frames(dataset: Path, video_id: str) -> bool:
    """Whether there is a frame, and the first can be read."""
    try:
        return bool(len(read_frames(frames_folder(dataset, video_id), 1, "first")))
    except ValueError:
        return False


def _extract_job(job: tuple[Path, Path, Sampling]) -> Damaged | None:
    dataset, video, sampling = job
    try:
        with writing(sound_file(dataset, video.stem)):
            extract(dataset, video, sampling)
    except StorageError:
        raise
    except (av.FFmpegError, ValueError, OSError) as error:
        return Damaged(video, first_line(error))
    return None


def extract(dataset: Path, video: Path, sampling: Sampling = _DEFAULT) -> None:
    """Writes the frames and the sound of one video, each only if it cannot be read already.

    Raises:
        ValueError: if a stream is missing or the file ends too early.
        av.FFmpegError: if it cannot be decoded.
    """
    lacks_frames = not _has_frames(dataset, video.stem)
    pictures = decode_frames(video, sampling) if lacks_frames else []
    if not _has_sound(dataset, video.stem):
        _write_wav(sound_file(dataset, video.stem), decode_sound(video))
    if lacks_frames:
        _mark_sampling(dataset, sampling)  # first, as frames without a mark are taken for others'
        _write_frames(frames_folder(dataset, video.stem), pictures)


def _write_frames(folder: Path, pictures: Sequence[Image.Image]) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # it may hold frames that cannot be read
    with atomic_folder(folder) as partial:
        for i, picture in enumerate(pictures, start=1):
            picture.save(partial / f"frame_{i:04d}.png", compress_level=1)


def read_sound(file: Path) -> NDArray[np.float32]:
    """Reads a 16 kHz mono ``.wav`` as ``[samples]`` within -1..1.

    Raises:
        ValueError: if the file is damaged or of another format.
    """
    with _open_sound(file) as reader:
        data = reader.readframes(reader.getnframes())
        if len(data) < 2 * reader.getnframes():  # behind a header that is longer than usual
            raise ValueError(f"{file} cannot be read: it ends too early")
    samples = np.frombuffer(data, dtype="<i2").astype(np.float32)
    return samples / np.float32(32768)


def check_length(samples: int) -> None:
    """Raises ValueError for a sound that is too short to be encoded."""
    if samples < MIN_SAMPLES:
        raise ValueError(
            f"{samples} samples are too short for a spectrogram; it takes {MIN_SAMPLES}"
        )


@contextmanager
def _open_sound(file: Path) -> Iterator[wave.Wave_read]:
    """Opens a ``.wav``, which should be complete and hold 16 kHz mono sound."""
    try:
        with wave.open(str(file)) as reader:
            form = (reader.getnchannels(), reader.getsampwidth(), reader.getframerate())
            if form != (1, 2, SAMPLE_RATE_HZ):
                raise ValueError(
                    f"{file} should be 16-bit mono at {SAMPLE_RATE_HZ} Hz, but is {form}"
                )
            if file.stat().st_size < _WAV_HEADER_BYTES + 2 * reader.getnframes():
                raise ValueError(f"{file} cannot be read: it ends too early")
            yield reader
    except (wave.Error, EOFError, OSError, RuntimeError) as error:  # the last for a wrong size
        raise ValueError(f"{file} cannot be read: {first_line(error)}") from None


def read_frames(
    folder: Path, frames: int, take: FrameChoice = "even", size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Reads frames of a clip, ``[frames, height, width, 3]``.

    Args:
        folder: Folder of the clip.
        frames: Number of frames. If the clip has fewer, ``even`` repeats some of them, and
            ``first`` repeats the last.
        take: Choice of frames: ``even``, spaced evenly over all of them, or the ``first`` ones.
        size: Height and width to resize the whole pictures to; None leaves them as they are.

    Raises:
        ValueError: if there is none, one is damaged, or they differ in size and ``size`` is None.
    """
    files = frame_files(folder)
    if not files:
        raise ValueError(f"no frames in {folder}; 'tokcom data prepare' extracts them")
    last = len(files) - 1
    chosen = (
        np.linspace(0, last, frames).round() if take == "even" else np.arange(frames).clip(0, last)
    )
    try:
        return np.stack([_read_picture(files[i], size) for i in chosen.astype(int)])
    except PICTURE_ERRORS as error:
        raise ValueError(
            f"a frame in {folder} cannot be read: {first_line(error)}; remove the folder, and "
            "'tokcom data prepare' extracts it again"
        ) from None


def _read_picture(file: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    with Image.open(file) as opened:
        picture = to_rgb(opened)
    if size is not None and picture.size != size[::-1]:
        picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _write_wav(file: Path, sound: NDArray[np.int16]) -> None:
    with atomic_file(file) as partial, wave.open(str(partial), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE_HZ)
        writer.writeframes(sound.astype("<i2").tobytes())
