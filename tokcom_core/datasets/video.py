"""Decodes video files: pictures, sound, and the size of the coded tracks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from ..slide import slide
from .layout import SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Sampling:
    """Which frames of a clip are kept, and at which size.

    Attributes:
        frames: Number of evenly spaced frames, or all if there are fewer. ViViT reads 32.
        size: Maximum width and height in pixels; each longer side is resized to it. ViViT reads
            224.
        rate_hz: Number of frames per second, from the start and at most ``frames`` in all. None
            spaces the frames evenly instead.
    """

    frames: int = 32
    size: int = 224
    rate_hz: float | None = None

    def __str__(self) -> str:
        which = "evenly" if self.rate_hz is None else f"at {self.rate_hz:g} a second"
        return f"{self.frames} frames {which} of {self.size} pixels at most"


def decode_frames(video: Path, sampling: Sampling) -> list[Image.Image]:
    """The frames of a clip that ``sampling`` keeps, at least one.

    Raises:
        ValueError: if there is no video stream, its codec is unknown, or the file ends too early.
        av.FFmpegError: if it cannot be decoded.
    """
    shown = count_shown(video)
    if sampling.rate_hz is not None:
        return _at_rate(video, sampling, sampling.rate_hz)
    kept, decoded = _evenly(video, shown, sampling)
    if decoded != shown:  # frames before the first key frame cannot be decoded
        kept, _ = _evenly(video, decoded, sampling)
    return kept


def count_shown(video: Path) -> int:
    """Number of frames that the file shows; those that an edit list hides do not count.

    Raises:
        ValueError: if there is no video stream, its codec is unknown, or the file ends too early.
        av.FFmpegError: if it cannot be opened.
    """
    with av.open(str(video)) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError("no decoder for its video codec")
        promised = len(stream.index_entries)
        whole = [p for p in container.demux(stream) if p.size and not p.is_corrupt]
    if not whole or len(whole) < promised:
        raise ValueError(f"truncated: {len(whole)} of {promised} frames")
    return sum(not packet.is_discard for packet in whole)


def _evenly(video: Path, total: int, sampling: Sampling) -> tuple[list[Image.Image], int]:
    """Evenly spaced frames of ``total`` ones, and the number of frames that the decoder yields."""
    if total == 0:
        raise ValueError("no frame can be decoded")
    wanted = set(slide(total, min(sampling.frames, total)).tolist())
    kept: list[Image.Image] = []
    decoded = 0
    convert = _FrameConverter(sampling.size)
    with av.open(str(video)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            decoded += 1
            if i in wanted:
                kept.append(convert(frame))
    return kept, decoded


def _at_rate(video: Path, sampling: Sampling, rate_hz: float) -> list[Image.Image]:
    with av.open(str(video)) as container:
        pictures = islice(_filtered(container, rate_hz), sampling.frames)
        kept = list(map(_FrameConverter(sampling.size), pictures))
    if not kept:
        raise ValueError(f"too short for a frame at {rate_hz:g} a second")
    return kept


def _filtered(container: InputContainer, rate_hz: float) -> Iterator[av.VideoFrame]:
    """Frames through libav's own ``fps`` filter, as ``ffmpeg -vf fps=RATE`` extracts them."""
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(template=container.streams.video[0]),
        graph.add("fps", f"{rate_hz}"),
        graph.add("buffersink"),
    ).configure()
    for frame in chain(container.decode(video=0), [None]):
        graph.vpush(frame)
        while True:
            try:
                yield graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                break


class _FrameConverter:
    """Converts frames to pictures as they are shown, with sides of at most ``size`` pixels.

    Scaling is bicubic, as in ffmpeg. A phone's video is stored sideways, and its display matrix
    says how to rotate it. One converter serves all frames of a video, because setting one up for
    each frame would take most of the time.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._converter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> Image.Image:
        width, height = min(frame.width, self._size), min(frame.height, self._size)
        sides: dict[str, Any] = {}
        if (width, height) != (frame.width, frame.height):
            sides = {"width": width, "height": height, "interpolation": "BICUBIC"}
        converted = self._converter.reformat(frame, format="rgb24", **sides)
        picture: Image.Image = converted.to_image()
        return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture


def decode_sound(video: Path) -> NDArray[np.int16]:
    """The sound of ``video`` as 16 kHz mono ``[samples]``.

    Raises:
        ValueError: if there is none.
        av.FFmpegError: if it cannot be decoded.
    """
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
    """Bits of the coded ``audio`` and ``vision`` tracks of a clip, as stored in the file.

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
